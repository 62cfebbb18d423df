//! On which terms one pod may be scaled: what is configured, what it and its workload wish for, and
//! what other autoscalers do.

use std::sync::Arc;

use super::action::PerResource;
use super::outcome::{SkipReason, Status};
use super::policy::Policy;
use super::wishes::{Mode, PREFIX, Wishes};
use crate::cluster::binding::Unknown;
use crate::cluster::inventory::OwnedPod;
use crate::cluster::rivals::Kind;
use crate::config::Config;

/// What speaks against scaling the pod, whatever it uses.
pub fn cannot_scale(owned: &OwnedPod, config: &Config) -> Option<SkipReason> {
    terms(owned, config, &config.policy()).err()
}

/// The policy of a pod that can be scaled, where it is another than for all.
pub fn terms(
    owned: &OwnedPod,
    config: &Config,
    policy: &Policy,
) -> Result<Option<Box<Policy>>, SkipReason> {
    if is_excluded(owned, config) {
        return Err(SkipReason::Excluded);
    }
    let own_policy = own_policy(owned, policy).map_err(|_| SkipReason::InvalidAnnotation)?;
    let pod = &owned.pod;
    match refusal(owned) {
        Some(reason) => Err(reason),
        None if *pod.phase != *"Running" || pod.deleting => Err(SkipReason::NotRunning),
        None if pod.limit() == PerResource::new(0.0, 0.0) => Err(SkipReason::NoResourceSpec),
        None => Ok(own_policy),
    }
}

pub fn is_excluded(owned: &OwnedPod, config: &Config) -> bool {
    let labels = &owned.pod.labels;
    let by_label = config.excluded_labels.iter().any(|(key, value)| labels.get(key) == Some(value));
    let by_deployment =
        owned.workload.as_ref().is_some_and(|workload| match workload.kind.as_str() {
            "Deployment" => config.excluded_deployments.contains(&workload.name),
            // A ReplicaSet whose Deployment is not known yet carries its name before the hash.
            "ReplicaSet" => workload
                .name
                .rsplit_once('-')
                .is_some_and(|(name, _)| config.excluded_deployments.iter().any(|d| d == name)),
            _ => false,
        });
    by_label || by_deployment || owned.pod.mirror
}

/// Watched and acted upon: neither excluded nor finished nor on its way out.
pub fn is_monitored(owned: &OwnedPod, config: &Config) -> bool {
    let finished = matches!(&*owned.pod.phase, "Succeeded" | "Failed");
    !is_excluded(owned, config) && !finished && !owned.pod.deleting
}

/// The pod with no more containers than it names, if it names some and has them all.
pub fn only_named(mut owned: OwnedPod) -> OwnedPod {
    let named = owned.binding.wishes.as_ref().and_then(|wishes| wishes.containers.as_ref());
    if let Some(named) = named.filter(|_| missing(&owned).is_none()) {
        owned.pod = Arc::new(owned.pod.only(named));
    }
    owned
}

/// The first container that is named and that the pod does not have.
fn missing(owned: &OwnedPod) -> Option<&str> {
    let named = owned.binding.wishes.as_ref()?.containers.as_ref()?;
    let is_there =
        |name: &&String| owned.pod.containers.iter().any(|container| container.name == **name);
    named.iter().find(|name| !is_there(name)).map(String::as_str)
}

/// Why annotations cannot be followed, and the objects that they sit on.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("on {place}, {problem}")]
pub struct Fault {
    place: String,
    pub problem: String,
}

/// The policy for the pod where it is another than for all.
pub fn own_policy(owned: &OwnedPod, policy: &Policy) -> Result<Option<Box<Policy>>, Fault> {
    let managed_by_hpa = managed_by_hpa(owned);
    let Some(wishes) = &owned.binding.wishes else {
        let differs = managed_by_hpa != policy.managed_by_hpa;
        return Ok(differs.then(|| Box::new(Policy { managed_by_hpa, ..policy.clone() })));
    };
    let narrowed = wishes.narrow(policy).map_err(|problem| {
        let own = owned.pod.wishes.as_deref();
        let place = match own {
            Some(own) if wishes.fault.is_some() => place(owned, own.fault.is_some()),
            Some(own) if own.has_bounds() && (own.min, own.max) != (wishes.min, wishes.max) => {
                format!("{} and {}", place(owned, true), place(owned, false))
            }
            _ => place(owned, own.is_some_and(Wishes::has_bounds)),
        };
        Fault { place, problem }
    })?;
    if let Some(name) = missing(owned) {
        let own = owned.pod.wishes.as_ref().is_some_and(|own| own.containers.is_some());
        let place = place(owned, own);
        let problem = format!("annotation {PREFIX}containers: the pod has no container {name:?}");
        return Err(Fault { place, problem });
    }
    Ok(Some(Box::new(Policy { managed_by_hpa, ..narrowed })))
}

/// The object that an annotation sits on: the pod itself where it is its `own`, or where there is
/// no workload.
pub fn place(owned: &OwnedPod, own: bool) -> String {
    match &owned.workload {
        Some(workload) if !own => workload.to_string(),
        _ => format!("Pod {}", owned.pod.key.name),
    }
}

/// The resources that a HorizontalPodAutoscaler measures the workload by.
pub fn managed_by_hpa(owned: &OwnedPod) -> PerResource<bool> {
    let hpas = owned.binding.rivals.iter().filter(|rival| rival.kind == Kind::Hpa);
    PerResource::build(|resource| hpas.clone().any(|hpa| *hpa.resources.get(resource)))
}

/// Why the pod is left alone, whatever it uses.
pub fn refusal(owned: &OwnedPod) -> Option<SkipReason> {
    if mode(owned) == Some(Mode::Off) {
        return Some(SkipReason::SwitchedOff);
    }
    owned
        .binding
        .rivals
        .iter()
        .any(|rival| rival.kind == Kind::Vpa)
        .then_some(SkipReason::ManagedByVpa)
}

/// What a decision comes to on a pod that may be decided on and not changed.
pub fn hold(owned: &OwnedPod) -> Option<(Status, String)> {
    if mode(owned) == Some(Mode::Recommend) {
        let place = place_of_mode(owned);
        let message = format!(
            "Recommended only, as the annotation {PREFIX}mode on {place} says: nothing was changed"
        );
        return Some((Status::DryRun, message));
    }
    let (reason, why) = match owned.binding.unknown.as_deref()? {
        Unknown::Wishes(why) => (SkipReason::WishesUnknown, why),
        Unknown::Rivals(why) => (SkipReason::ConflictsUnknown, why),
    };
    Some((Status::Skipped(reason), format!("{}: {why}", reason.message(&owned.pod.key.name))))
}

fn place_of_mode(owned: &OwnedPod) -> String {
    place(owned, owned.pod.wishes.as_ref().is_some_and(|own| own.mode.is_some()))
}

fn mode(owned: &OwnedPod) -> Option<Mode> {
    owned.binding.wishes.as_ref().and_then(|wishes| wishes.mode)
}

/// Why the pod is left alone, in words that name what is in the way.
pub fn message(reason: SkipReason, owned: &OwnedPod, policy: &Policy) -> String {
    let text = reason.message(&owned.pod.key.name);
    let kind = match reason {
        SkipReason::InvalidAnnotation => {
            return own_policy(owned, policy)
                .err()
                .map_or(text.clone(), |fault| format!("{text}: {fault}"));
        }
        SkipReason::SwitchedOff => return format!("{text} on {}", place_of_mode(owned)),
        SkipReason::ManagedByHpa => Kind::Hpa,
        SkipReason::ManagedByVpa => Kind::Vpa,
        _ => return text,
    };
    let names = owned
        .binding
        .rivals
        .iter()
        .filter(|rival| rival.kind == kind)
        .map(|rival| rival.name.as_str());
    format!("{text} {}", names.collect::<Vec<_>>().join(", "))
}

/// What came of the pod last, in words that name what was in the way, if something is that has a
/// name.
pub fn told(status: &Status, owned: &OwnedPod, config: &Config) -> Option<String> {
    use SkipReason::{
        ConflictsUnknown, CooldownPeriod, NoMetrics, NotLeading, RateLimited, WishesUnknown,
    };
    match status {
        // What says it all, and what `hold` has more to say of.
        Status::Skipped(CooldownPeriod | NoMetrics | NotLeading | RateLimited) => None,
        Status::Skipped(reason) if !matches!(reason, WishesUnknown | ConflictsUnknown) => {
            Some(message(*reason, owned, &config.policy()))
        }
        _ => hold(owned)
            .filter(|(held, _)| held == status && !config.dry_run)
            .map(|(_, message)| message),
    }
}

/// What keeps the pod from being scaled or changed now, whatever it uses.
pub fn in_the_way(owned: &OwnedPod, config: &Config) -> Option<String> {
    let policy = config.policy();
    match terms(owned, config, &policy) {
        Err(reason) => Some(message(reason, owned, &policy)),
        Ok(_) if config.dry_run => None,
        Ok(_) => hold(owned).map(|(_, message)| message),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::binding::Binding;
    use crate::cluster::pod::Pod;
    use crate::cluster::rivals::Rival;

    fn owned(wishes: &[(&str, &str)]) -> OwnedPod {
        let named = wishes.iter().map(|(name, value)| (format!("{PREFIX}{name}"), json!(value)));
        let annotations: serde_json::Map<_, _> = named.collect();
        let container =
            |name| json!({"name": name, "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}});
        let pod = json!({
            "metadata": {"namespace": "default", "name": "web", "uid": "u", "annotations": annotations},
            "spec": {"containers": [container("app"), container("proxy")]}
        });
        let pod = Pod::from_kube(&serde_json::from_value(pod).unwrap()).unwrap();
        let binding = Binding { wishes: pod.wishes.clone(), ..Binding::default() };
        OwnedPod { pod: Arc::new(pod), workload: None, binding }
    }

    fn hpa(metric: &str) -> Arc<Rival> {
        let target = json!({"type": "Utilization", "averageUtilization": 70});
        let spec = json!({
            "maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "web"},
            "metrics": [{"type": "Resource", "resource": {"name": metric, "target": target}}]
        });
        let hpa = json!({"metadata": {"name": "web-hpa"}, "spec": spec});
        Arc::new(Rival::from_hpa(&serde_json::from_value(hpa).unwrap()).unwrap())
    }

    #[test]
    fn most_pods_have_no_terms_of_their_own() {
        let pod = owned(&[]);
        assert_eq!(own_policy(&pod, &Policy::default()), Ok(None));
        assert!(
            refusal(&pod).is_none()
                && hold(&pod).is_none()
                && Arc::ptr_eq(&only_named(pod.clone()).pod, &pod.pod)
        );
    }

    #[test]
    fn containers_that_are_not_named_are_as_if_they_were_not_there() {
        let pod = only_named(owned(&[("containers", "app")]));
        assert_eq!(pod.pod.limit(), PerResource::new(1.0, 1024.0));
        assert!(own_policy(&pod, &Policy::default()).is_ok());
        let wrong = only_named(owned(&[("containers", "app,other")]));
        assert_eq!(wrong.pod.containers.len(), 2);
        let told = message(SkipReason::InvalidAnnotation, &wrong, &Policy::default());
        assert!(told.contains("dqn-scaler.io/containers") && told.contains("\"other\""), "{told}");
    }

    #[test]
    fn modes_leave_alone_recommend_or_go_on() {
        assert_eq!(refusal(&owned(&[("mode", "off")])), Some(SkipReason::SwitchedOff));
        let recommended = owned(&[("mode", "recommend")]);
        assert_eq!((refusal(&recommended), hold(&recommended).unwrap().0), (None, Status::DryRun));
        let live = owned(&[("mode", "live")]);
        assert!(refusal(&live).is_none() && hold(&live).is_none());
    }

    #[test]
    fn what_is_not_known_holds_changes_back_and_is_named() {
        let mut pod = owned(&[("mode", "live")]);
        for (unknown, reason) in [
            (Unknown::Wishes("list deployments".into()), SkipReason::WishesUnknown),
            (Unknown::Rivals("list hpas".into()), SkipReason::ConflictsUnknown),
        ] {
            let (Unknown::Wishes(why) | Unknown::Rivals(why)) = unknown.clone();
            pod.binding.unknown = Some(Arc::new(unknown));
            let (status, message) = hold(&pod).unwrap();
            assert!(status == Status::Skipped(reason) && message.ends_with(&why), "{message}");
        }
    }

    #[test]
    fn what_hpas_measure_is_left_to_all_of_them() {
        let mut pod = owned(&[("max-cpu", "2")]);
        pod.binding.rivals = vec![hpa("cpu")];
        let policy = own_policy(&pod, &Policy::default()).unwrap().unwrap();
        assert_eq!((policy.managed_by_hpa, policy.max.cpu), (PerResource::new(true, false), 2.0));
        assert!(message(SkipReason::ManagedByHpa, &pod, &policy).contains("web-hpa"));
        pod.binding = Binding { rivals: vec![hpa("cpu"), hpa("memory")], ..Binding::default() };
        let policy = own_policy(&pod, &Policy::default()).unwrap().unwrap();
        assert_eq!((policy.managed_by_hpa, refusal(&pod)), (PerResource::new(true, true), None));
    }
}
