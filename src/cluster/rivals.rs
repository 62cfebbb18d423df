//! The other autoscalers of a workload: what they scale is not scaled here.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::autoscaling::v2::{HorizontalPodAutoscaler, MetricSpec};
use kube::Client;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};

use super::error::{Call, ClusterError};
use super::pod::{Owner, group_of};
use super::retry::{Deadline, with_retries};
use crate::scaler::action::PerResource;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Hpa,
    Vpa,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Hpa => "HorizontalPodAutoscaler",
            Self::Vpa => "VerticalPodAutoscaler",
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Rival {
    pub kind: Kind,
    pub name: String,
    target: Target,
    /// What is left to it.
    pub resources: PerResource<bool>,
}

/// What a reference to a target says. Without an API version its group is not known, and may be
/// any.
#[derive(Debug, Clone, PartialEq)]
struct Target {
    group: Option<String>,
    kind: String,
    name: String,
}

impl Target {
    fn new(api_version: Option<&str>, kind: &str, name: &str) -> Self {
        let group =
            api_version.filter(|text| !text.is_empty()).map(|text| group_of(text).to_owned());
        Self { group, kind: kind.into(), name: name.into() }
    }

    fn is(&self, group: Option<&str>, kind: &str) -> bool {
        self.kind == kind
            && group.zip(self.group.as_deref()).is_none_or(|(one, other)| one == other)
    }
}

impl Rival {
    /// None for one that goes by other metrics alone: limits do not matter to it.
    pub fn from_hpa(hpa: &HorizontalPodAutoscaler) -> Option<Self> {
        let spec = hpa.spec.as_ref()?;
        let metrics = spec.metrics.as_deref().unwrap_or_default();
        let measured =
            |name: &str| metrics.iter().filter_map(resource).any(|resource| resource == name);
        // Without metrics it goes by CPU.
        let resources = PerResource::new(metrics.is_empty() || measured("cpu"), measured("memory"));
        let target = &spec.scale_target_ref;
        (resources.cpu || resources.memory).then(|| Self {
            kind: Kind::Hpa,
            name: hpa.metadata.name.clone().unwrap_or_default(),
            target: Target::new(target.api_version.as_deref(), &target.kind, &target.name),
            resources,
        })
    }

    /// None for one that only recommends.
    pub fn from_vpa(vpa: &DynamicObject) -> Option<Self> {
        let spec = &vpa.data["spec"];
        let target = |field| spec["targetRef"][field].as_str();
        (spec["updatePolicy"]["updateMode"] != "Off").then_some(Self {
            kind: Kind::Vpa,
            name: vpa.metadata.name.clone().unwrap_or_default(),
            target: Target::new(target("apiVersion"), target("kind")?, target("name")?),
            resources: PerResource::new(true, true),
        })
    }
}

fn resource(metric: &MetricSpec) -> Option<&str> {
    let of_pod = metric.resource.as_ref().map(|resource| resource.name.as_str());
    of_pod.or_else(|| metric.container_resource.as_ref().map(|resource| resource.name.as_str()))
}

/// The rivals of a namespace by the names of their targets, so that a pod that has none costs a
/// look-up and no more.
#[derive(Debug, Default)]
pub struct Rivals(HashMap<String, Vec<Arc<Rival>>>);

impl Rivals {
    pub fn new(rivals: impl IntoIterator<Item = Arc<Rival>>) -> Self {
        let mut by_name: HashMap<_, Vec<_>> = HashMap::new();
        for rival in rivals {
            by_name.entry(rival.target.name.clone()).or_default().push(rival);
        }
        Self(by_name)
    }

    /// Those of a controller, or of the one that it is named after: the Jobs of a CronJob and the
    /// ReplicationControllers of a DeploymentConfig are not watched, and carry its name before a
    /// number.
    pub fn of<'a>(&'a self, controller: &'a Owner) -> impl Iterator<Item = &'a Arc<Rival>> {
        let maker = match controller.kind.as_str() {
            "Job" => Some("CronJob"),
            "ReplicationController" => Some("DeploymentConfig"),
            _ => None,
        };
        let maker = maker.and_then(|kind| Some((None, kind, controller.name.rsplit_once('-')?.0)));
        let itself =
            (Some(controller.group.as_str()), controller.kind.as_str(), controller.name.as_str());
        [Some(itself), maker].into_iter().flatten().flat_map(|(group, kind, name)| {
            self.0.get(name).into_iter().flatten().filter(move |rival| rival.target.is(group, kind))
        })
    }
}

pub fn vpa_resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("autoscaling.k8s.io", "v1", Kind::Vpa.name()))
}

/// Whether the cluster knows VerticalPodAutoscalers at all, which come with an add-on.
pub async fn serves_vpas(client: &Client, deadline: Deadline) -> Result<bool, ClusterError> {
    let call = Call {
        verb: "get",
        resource: "autoscaling.k8s.io/v1",
        namespace: String::new(),
        name: None,
    };
    match with_retries(call, deadline, || client.list_api_group_resources("autoscaling.k8s.io/v1"))
        .await
    {
        Ok(served) => Ok(served.resources.iter().any(|resource| resource.kind == Kind::Vpa.name())),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn hpa(target: Value, metrics: Value) -> Option<Rival> {
        let spec = json!({"maxReplicas": 3, "scaleTargetRef": target, "metrics": metrics});
        Rival::from_hpa(
            &serde_json::from_value(json!({"metadata": {"name": "h"}, "spec": spec})).unwrap(),
        )
    }

    fn vpa(target: Value, policy: Value) -> Option<Rival> {
        let spec = json!({"targetRef": target, "updatePolicy": policy});
        Rival::from_vpa(
            &serde_json::from_value(json!({"metadata": {"name": "v"}, "spec": spec})).unwrap(),
        )
    }

    fn web() -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"})
    }

    #[test]
    fn an_hpa_counts_for_the_resources_that_it_measures() {
        let measures =
            |metrics| hpa(web(), metrics).map(|hpa| (hpa.resources.cpu, hpa.resources.memory));
        let target = json!({"type": "Utilization", "averageUtilization": 70});
        let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": target}});
        let memory = json!({"type": "ContainerResource", "containerResource": {"name": "memory", "container": "app", "target": target}});
        let queue = json!({"type": "External", "external": {"metric": {"name": "depth"}, "target": target}});
        assert_eq!(measures(json!([cpu])), Some((true, false)));
        assert_eq!(measures(json!([queue, memory])), Some((false, true)));
        assert_eq!(measures(json!([queue])), None);
        assert_eq!(measures(json!([])), Some((true, false)), "the default metric");
    }

    #[test]
    fn a_vpa_counts_unless_it_only_recommends() {
        assert_eq!(vpa(web(), json!({"updateMode": "Off"})), None);
        for policy in [
            json!(null),
            json!({}),
            json!({"updateMode": "Initial"}),
            json!({"updateMode": "InPlaceOrRecreate"}),
        ] {
            assert_eq!(vpa(web(), policy).unwrap().resources, PerResource::new(true, true));
        }
    }

    #[test]
    fn a_target_is_known_by_group_kind_and_name_and_not_by_version() {
        let of = |target, group: &str, kind: &str, name: &str| {
            let rivals = Rivals::new(vpa(target, json!({})).map(Arc::new));
            let controller = Owner {
                group: group.into(),
                kind: kind.into(),
                name: name.into(),
                uid: "w".into(),
            };
            rivals.of(&controller).count() == 1
        };
        let target =
            |version: &str, kind: &str| json!({"apiVersion": version, "kind": kind, "name": "web"});
        assert!(
            of(web(), "apps", "Deployment", "web")
                && of(target("apps/v2", "Deployment"), "apps", "Deployment", "web")
        );
        assert!(
            of(json!({"kind": "Deployment", "name": "web"}), "apps", "Deployment", "web"),
            "any group"
        );
        assert!(of(target("v1", "ReplicationController"), "", "ReplicationController", "web"));
        assert!(
            !of(web(), "example.test", "Deployment", "web")
                && !of(web(), "apps", "StatefulSet", "web")
        );
        assert!(!of(web(), "apps", "Deployment", "web-2"));
        assert!(of(target("batch/v1", "CronJob"), "batch", "Job", "web-29382910"));
        assert!(of(target("batch/v1", "Job"), "batch", "Job", "web"));
        assert!(!of(target("batch/v1", "CronJob"), "batch", "Job", "web-api-29382910"));
        assert!(of(
            target("apps.openshift.io/v1", "DeploymentConfig"),
            "",
            "ReplicationController",
            "web-3"
        ));
    }
}
