//! The other autoscalers of a workload: what they scale is not scaled here.

use std::collections::HashMap;
use std::sync::Arc;

use crate::pod::{Owner, group_of};
use crate::resource::PerResource;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AutoscalerKind {
    Horizontal,
    Vertical,
}

impl AutoscalerKind {
    /// The kind of the Kubernetes object.
    pub fn name(self) -> &'static str {
        match self {
            Self::Horizontal => "HorizontalPodAutoscaler",
            Self::Vertical => "VerticalPodAutoscaler",
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct CompetingAutoscaler {
    pub kind: AutoscalerKind,
    pub name: String,
    pub target: Target,
    /// What is left to it.
    pub resources: PerResource<bool>,
}

/// What a reference to a target says. Without an API version its group is not known, and may be
/// any.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    group: Option<String>,
    kind: String,
    name: String,
}

impl Target {
    pub fn new(api_version: Option<&str>, kind: &str, name: &str) -> Self {
        let group =
            api_version.filter(|text| !text.is_empty()).map(|text| group_of(text).to_owned());
        Self { group, kind: kind.into(), name: name.into() }
    }

    /// A built-in kind is meant whatever the API version says, which may be from another age: so
    /// the Vertical Pod Autoscaler resolves it.
    /// Whether it is not one of Kubernetes' own controllers.
    fn is_custom(&self) -> bool {
        let may_be_of = |group: &str| self.group.as_deref().is_none_or(|own| own == group);
        ["apps", "batch", ""]
            .into_iter()
            .all(|group| !may_be_of(group) || !is_built_in(group, &self.kind))
    }

    fn is(&self, group: Option<&str>, kind: &str) -> bool {
        let same_group =
            || group.zip(self.group.as_deref()).is_none_or(|(one, other)| one == other);
        self.kind == kind && (group.is_some_and(|group| is_built_in(group, kind)) || same_group())
    }
}

fn is_built_in(group: &str, kind: &str) -> bool {
    matches!(
        (group, kind),
        ("apps", "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet")
            | ("batch", "Job" | "CronJob")
            | ("", "ReplicationController")
    )
}

/// The autoscalers of a namespace by the names of their targets, so that a pod that has none costs
/// a look-up and no more.
#[derive(Debug, Default)]
pub struct CompetingAutoscalers(HashMap<String, Vec<Arc<CompetingAutoscaler>>>);

impl CompetingAutoscalers {
    pub fn new(autoscalers: impl IntoIterator<Item = Arc<CompetingAutoscaler>>) -> Self {
        let mut by_name: HashMap<_, Vec<_>> = HashMap::new();
        for autoscaler in autoscalers {
            by_name.entry(autoscaler.target.name.clone()).or_default().push(autoscaler);
        }
        Self(by_name)
    }

    /// Whether any of them targets a kind that is not built in.
    pub fn have_custom_targets(&self) -> bool {
        self.0.values().flatten().any(|autoscaler| autoscaler.target.is_custom())
    }

    /// Those of a controller.
    pub fn of<'a>(
        &'a self,
        controller: &'a Owner,
    ) -> impl Iterator<Item = &'a Arc<CompetingAutoscaler>> {
        self.targeting(Some(&controller.group), &controller.kind, &controller.name)
    }

    /// Those of what a controller is named after, for one whose owner cannot be read: the Jobs of a
    /// CronJob and the ReplicationControllers of a DeploymentConfig carry its name before a number.
    pub fn of_maker<'a>(
        &'a self,
        controller: &'a Owner,
    ) -> impl Iterator<Item = &'a Arc<CompetingAutoscaler>> {
        let maker = match controller.kind.as_str() {
            "Job" => Some("CronJob"),
            "ReplicationController" => Some("DeploymentConfig"),
            _ => None,
        };
        let maker = maker.and_then(|kind| Some((kind, controller.name.rsplit_once('-')?.0)));
        maker.into_iter().flat_map(|(kind, name)| self.targeting(None, kind, name))
    }

    fn targeting<'a>(
        &'a self,
        group: Option<&'a str>,
        kind: &'a str,
        name: &str,
    ) -> impl Iterator<Item = &'a Arc<CompetingAutoscaler>> + use<'a> {
        let named = self.0.get(name).into_iter().flatten();
        named.filter(move |autoscaler| autoscaler.target.is(group, kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vpa(api_version: &str, (kind, name): (&str, &str)) -> CompetingAutoscalers {
        CompetingAutoscalers::new([Arc::new(CompetingAutoscaler {
            kind: AutoscalerKind::Vertical,
            name: "v".into(),
            target: Target::new(Some(api_version), kind, name),
            resources: PerResource::new(true, true),
        })])
    }

    fn owner((group, kind, name): (&str, &str, &str)) -> Owner {
        Owner { group: group.into(), kind: kind.into(), name: name.into(), uid: "w".into() }
    }

    fn targets(api_version: &str, target: (&str, &str), controller: (&str, &str, &str)) -> bool {
        vpa(api_version, target).of(&owner(controller)).count() == 1
    }

    #[test]
    fn a_target_is_known_by_group_kind_and_name_and_not_by_version() {
        let deployment = ("Deployment", "web");
        let web = ("apps", "Deployment", "web");
        for version in ["apps/v1", "apps/v2", "", "extensions/v1beta1"] {
            assert!(targets(version, deployment, web), "{version}");
        }
        assert!(!targets("apps/v1", deployment, ("example.test", "Deployment", "web")));
        assert!(!targets("apps/v1", deployment, ("apps", "StatefulSet", "web")));
        assert!(!targets("apps/v1", deployment, ("apps", "Deployment", "web-2")));
        let app = ("example.test", "App", "shop");
        assert!(targets("example.test/v2", ("App", "shop"), app));
        assert!(!targets("other.test/v1", ("App", "shop"), app));
        let controller = ("", "ReplicationController", "web");
        assert!(targets("v1", ("ReplicationController", "web"), controller));
    }

    #[test]
    fn what_is_made_by_another_object_carries_its_name_before_a_number() {
        let targets_maker = |api_version, target, controller| {
            vpa(api_version, target).of_maker(&owner(controller)).count() == 1
        };
        let job = ("batch", "Job", "web-29382910");
        assert!(targets_maker("batch/v1", ("CronJob", "web"), job));
        assert!(!targets_maker("batch/v1", ("Job", "web-29382910"), job), "the Job itself");
        assert!(targets("batch/v1", ("Job", "web-29382910"), job));
        let other = ("batch", "Job", "web-api-29382910");
        assert!(!targets_maker("batch/v1", ("CronJob", "web"), other));
        let revision = ("", "ReplicationController", "web-3");
        assert!(targets_maker("apps.openshift.io/v1", ("DeploymentConfig", "web"), revision));
    }

    #[test]
    fn a_target_of_a_custom_kind_is_told_from_a_built_in_one() {
        let is_custom = |api_version, kind| vpa(api_version, (kind, "web")).have_custom_targets();
        assert!(!is_custom("apps/v1", "Deployment") && !is_custom("", "CronJob"));
        assert!(!is_custom("v1", "ReplicationController"));
        assert!(is_custom("kafka.strimzi.io/v1", "Kafka") && is_custom("", "Kafka"));
        assert!(is_custom("example.test/v1", "Deployment"));
        assert!(!CompetingAutoscalers::default().have_custom_targets());
    }
}
