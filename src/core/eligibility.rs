//! Whether a pod may be scaled: what is configured, what its annotations say, and what other
//! autoscalers do.

use crate::autoscalers::AutoscalerKind;
use crate::context::{OwnedPod, UnknownContext};
use crate::outcome::Status;
use crate::overrides::{Mode, PREFIX, PodOverrides};
use crate::pod::{Pod, TemplateKind};
use crate::policy::{Exclusions, Policy, Settings};
use crate::resource::PerResource;
use crate::skip_reason::SkipReason;

/// The policy of a pod that may be decided on, where it is another than for all.
pub fn eligibility(
    owned: &OwnedPod,
    settings: &Settings,
) -> Result<Option<Box<Policy>>, SkipReason> {
    if is_excluded(owned, &settings.exclusions) {
        return Err(SkipReason::Excluded);
    }
    let own_policy =
        own_policy(owned, &settings.policy).map_err(|_| SkipReason::InvalidAnnotation)?;
    let pod = &owned.pod;
    match blocked_reason(owned) {
        Some(reason) => Err(reason),
        None if *pod.phase != *"Running" || pod.deleting => Err(SkipReason::NotRunning),
        None if pod.limit() == PerResource::new(0.0, 0.0) => Err(match pod.resources {
            Some(_) => SkipReason::PodLevelResources,
            None => SkipReason::NoResourceSpec,
        }),
        None => Ok(own_policy),
    }
}

fn is_excluded(owned: &OwnedPod, exclusions: &Exclusions) -> bool {
    let labels = &owned.pod.labels;
    let by_label = exclusions.labels.iter().any(|(key, value)| labels.get(key) == Some(value));
    let named = |name: &str| exclusions.deployments.iter().any(|excluded| excluded == name);
    let unknown = owned.context.unknown.as_deref();
    let owner_is_unknown = matches!(unknown, Some(UnknownContext::Annotations(_)));
    let by_deployment = owned.workload.as_ref().is_some_and(|workload| {
        match TemplateKind::of(workload) {
            Some(kind) => kind == TemplateKind::Deployment && named(&workload.name),
            // As long as its owner is not known, a ReplicaSet's name tells that of its Deployment.
            None if workload.is_replica_set() && owner_is_unknown => {
                workload.name.rsplit_once('-').is_some_and(|(name, _)| named(name))
            }
            None => false,
        }
    });
    by_label || by_deployment || owned.pod.mirror
}

/// Finished, or on its way out.
pub fn is_ending(pod: &Pod) -> bool {
    pod.deleting || matches!(&*pod.phase, "Succeeded" | "Failed")
}

/// Watched and acted upon: neither excluded nor finished nor on its way out.
pub fn is_monitored(owned: &OwnedPod, exclusions: &Exclusions) -> bool {
    !is_excluded(owned, exclusions) && !is_ending(&owned.pod)
}

/// Why annotations cannot be followed, and the objects that they stand on.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("on {source_object}, {problem}")]
pub struct InvalidAnnotation {
    source_object: String,
    pub problem: String,
}

/// The policy for the pod where it is another than for all.
pub fn own_policy(
    owned: &OwnedPod,
    policy: &Policy,
) -> Result<Option<Box<Policy>>, InvalidAnnotation> {
    let managed_by_hpa = owned.managed_by_hpa();
    let limits = owned.context.limits.as_ref().map_or(policy.limits, |limits| {
        limits.shared(owned.pod.containers.len(), owned.pod.limit())
    });
    let is_job = owned.workload.as_ref().is_some_and(|of| of.group == "batch");
    let own = (managed_by_hpa, limits, is_job);
    let Some(overrides) = &owned.context.overrides else {
        let differs = own != (policy.managed_by_hpa, policy.limits, policy.is_job);
        let own = || Policy { managed_by_hpa, limits, is_job, ..policy.clone() };
        return Ok(differs.then(|| Box::new(own())));
    };
    let narrowed = overrides.narrow(policy).map_err(|problem| {
        let own = owned.pod.overrides.as_deref();
        let source_object = match own {
            Some(own) if overrides.fault.is_some() => owned.annotation_source(own.fault.is_some()),
            Some(own)
                if own.has_bounds() && (own.min, own.max) != (overrides.min, overrides.max) =>
            {
                format!("{} and {}", owned.annotation_source(true), owned.annotation_source(false))
            }
            _ => owned.annotation_source(own.is_some_and(PodOverrides::has_bounds)),
        };
        InvalidAnnotation { source_object, problem }
    })?;
    if let Some(name) = owned.missing_container() {
        let own = owned.pod.overrides.as_ref().is_some_and(|own| own.containers.is_some());
        let problem = format!("annotation {PREFIX}containers: the pod has no container {name:?}");
        return Err(InvalidAnnotation { source_object: owned.annotation_source(own), problem });
    }
    Ok(Some(Box::new(Policy { managed_by_hpa, limits, is_job, ..narrowed })))
}

/// The policy by which new pods of the same workload are given a size; None where they are left as
/// their template has them.
pub fn policy_of_new(owned: &OwnedPod, settings: &Settings) -> Option<Policy> {
    let is_left_alone = settings.dry_run
        || is_excluded(owned, &settings.exclusions)
        || owned.pod.resources.is_some()
        || blocked_reason(owned).is_some()
        || blocked_change(owned).is_some();
    let own = own_policy(owned, &settings.policy).ok().filter(|_| !is_left_alone)?;
    Some(own.map_or_else(|| settings.policy.clone(), |own| *own))
}

/// Seconds from a resize until a container that is down may be resized again before it runs.
const AGAIN_WHILE_DOWN: i64 = 600;

/// Whether kubelets carry out what is asked for a container that is down. They may be older than
/// the API server: one that would not is told of it at most once in a while.
pub fn may_resize_down(pod: &Pod, resized_at: Option<i64>, policy: &Policy, now: i64) -> bool {
    // The pod's cgroup has a limit only where each container has one.
    (0..pod.containers.len()).any(|index| pod.containers.figures(index).by_request.memory)
        || (policy.resizes_down && resized_at.is_none_or(|at| now - at > AGAIN_WHILE_DOWN))
}

/// Why the pod is not even decided on, whatever it uses.
fn blocked_reason(owned: &OwnedPod) -> Option<SkipReason> {
    if owned.mode() == Some(Mode::Off) {
        return Some(SkipReason::SwitchedOff);
    }
    owned.autoscalers_of(AutoscalerKind::Vertical).next().map(|_| SkipReason::ManagedByVpa)
}

/// What a decision comes to on a pod that may be decided on and not changed.
pub fn blocked_change(owned: &OwnedPod) -> Option<(Status, String)> {
    if owned.mode() == Some(Mode::Recommend) {
        let source = owned.mode_source();
        let message = format!(
            "Recommended only, as the annotation {PREFIX}mode on {source} says: nothing was changed"
        );
        return Some((Status::DryRun, message));
    }
    let (reason, why) = match owned.context.unknown.as_deref()? {
        UnknownContext::Annotations(why) => (SkipReason::AnnotationsUnknown, why),
        UnknownContext::Autoscalers(why) => (SkipReason::AutoscalersUnknown, why),
    };
    let message = format!("{}: {why}", reason.message(&owned.pod.key.name));
    Some((Status::Skipped(reason), message))
}

/// Why the pod is left alone, in words that name the annotation or the autoscaler.
pub fn message(reason: SkipReason, owned: &OwnedPod, policy: &Policy) -> String {
    let text = reason.message(&owned.pod.key.name);
    let kind = match reason {
        SkipReason::InvalidAnnotation => {
            let invalid = own_policy(owned, policy).err();
            return invalid.map_or(text.clone(), |invalid| format!("{text}: {invalid}"));
        }
        SkipReason::SwitchedOff => return format!("{text} on {}", owned.mode_source()),
        SkipReason::ManagedByHpa => AutoscalerKind::Horizontal,
        SkipReason::ManagedByVpa => AutoscalerKind::Vertical,
        _ => return text,
    };
    let names = owned.autoscalers_of(kind).map(|autoscaler| autoscaler.name.as_str());
    format!("{text} {}", names.collect::<Vec<_>>().join(", "))
}

/// The message of the last outcome, where it names an annotation, an object or a call that failed.
pub fn last_message(status: &Status, owned: &OwnedPod, settings: &Settings) -> Option<String> {
    use SkipReason::{
        AnnotationsUnknown, AutoscalersUnknown, CooldownPeriod, NoMetrics, NotLeading, RateLimited,
    };
    match status {
        // The reason says it all, or `blocked_change` has more to say.
        Status::Skipped(CooldownPeriod | NoMetrics | NotLeading | RateLimited) => None,
        Status::Skipped(reason) if !matches!(reason, AnnotationsUnknown | AutoscalersUnknown) => {
            Some(message(*reason, owned, &settings.policy))
        }
        _ => {
            let blocked = blocked_change(owned).filter(|(blocked, _)| blocked == status);
            blocked.filter(|_| !settings.dry_run).map(|(_, message)| message)
        }
    }
}

/// What keeps the pod from being scaled or changed now, whatever it uses.
pub fn current_block(owned: &OwnedPod, settings: &Settings) -> Option<String> {
    match eligibility(owned, settings) {
        Err(reason) => Some(message(reason, owned, &settings.policy)),
        Ok(_) if settings.dry_run => None,
        Ok(_) => blocked_change(owned).map(|(_, message)| message),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::autoscalers::{CompetingAutoscaler, Target};
    use crate::context::ScalingContext;
    use crate::pod::{ContainerResources, Pod, PodContainer, pod_key};

    fn owned(annotations: &[(&str, &str)]) -> OwnedPod {
        let annotations: BTreeMap<_, _> = annotations
            .iter()
            .map(|(name, value)| (format!("{PREFIX}{name}"), (*value).to_owned()))
            .collect();
        let key = pod_key("default", "web", "u");
        let resources = ContainerResources::new(&[], &[("cpu", "1"), ("memory", "1Gi")]);
        let container = |name| PodContainer::new(name, resources.clone());
        let overrides = PodOverrides::parse(Some(&annotations)).map(Arc::new);
        let pod = Pod::new(key, vec![container("app"), container("proxy")]);
        OwnedPod::bare(Pod { overrides, ..pod })
    }

    #[test]
    fn what_is_down_is_resized_where_kubelets_carry_it_out() {
        let (pod, now) = (&owned(&[]).pod, 1000);
        let known = Policy { resizes_down: true, ..Policy::default() };
        let unknown = Policy { resizes_down: false, ..Policy::default() };
        let long_ago = Some(now - AGAIN_WHILE_DOWN - 1);
        assert!(may_resize_down(pod, None, &known, now));
        assert!(may_resize_down(pod, long_ago, &known, now));
        assert!(!may_resize_down(pod, Some(now - AGAIN_WHILE_DOWN), &known, now));
        assert!(!may_resize_down(pod, None, &unknown, now));
        let proxy = PodContainer::new("proxy", ContainerResources::default());
        let beside_one_without_limit =
            Pod::new(pod.key.clone(), vec![pod.containers[0].clone(), proxy]);
        assert!(may_resize_down(&beside_one_without_limit, None, &unknown, now));
    }

    fn hpa(resources: PerResource<bool>) -> Arc<CompetingAutoscaler> {
        Arc::new(CompetingAutoscaler {
            kind: AutoscalerKind::Horizontal,
            name: "web-hpa".into(),
            target: Target::new(Some("apps/v1"), "Deployment", "web"),
            resources,
        })
    }

    #[test]
    fn most_pods_have_the_policy_of_all() {
        let pod = owned(&[]);
        assert_eq!(own_policy(&pod, &Policy::default()), Ok(None));
        assert!(blocked_reason(&pod).is_none() && blocked_change(&pod).is_none());
        assert!(Arc::ptr_eq(&pod.clone().select_containers().pod, &pod.pod));
    }

    #[test]
    fn the_pods_of_a_job_have_a_policy_that_says_so() {
        let of = |group: &str, annotations: &[(&str, &str)]| {
            let (group, kind) = (group.to_owned(), "CronJob".to_owned());
            let owner = crate::pod::Owner { group, kind, name: "report".into(), uid: "w".into() };
            let pod = OwnedPod { workload: Some(owner.into()), ..owned(annotations) };
            own_policy(&pod, &Policy::default()).unwrap().is_some_and(|policy| policy.is_job)
        };
        assert!(of("batch", &[]) && of("batch", &[("max-cpu", "2")]));
        assert!(!of("example.com", &[]) && !of("example.com", &[("max-cpu", "2")]));
    }

    #[test]
    fn containers_that_are_not_named_are_as_if_they_were_not_there() {
        let pod = owned(&[("containers", "app")]).select_containers();
        assert_eq!(pod.pod.limit(), PerResource::new(1.0, 1024.0));
        assert!(own_policy(&pod, &Policy::default()).is_ok());
        let wrong = owned(&[("containers", "app,other")]).select_containers();
        assert_eq!(wrong.pod.containers.len(), 2);
        let message = message(SkipReason::InvalidAnnotation, &wrong, &Policy::default());
        assert!(message.contains("dqn-scaler.io/containers"), "{message}");
        assert!(message.contains("\"other\""), "{message}");
    }

    #[test]
    fn modes_leave_alone_recommend_or_go_on() {
        assert_eq!(blocked_reason(&owned(&[("mode", "off")])), Some(SkipReason::SwitchedOff));
        let recommended = owned(&[("mode", "recommend")]);
        assert_eq!(blocked_reason(&recommended), None);
        assert_eq!(blocked_change(&recommended).unwrap().0, Status::DryRun);
        let live = owned(&[("mode", "live")]);
        assert!(blocked_reason(&live).is_none() && blocked_change(&live).is_none());
    }

    #[test]
    fn what_is_not_known_blocks_changes_and_is_named() {
        let mut pod = owned(&[("mode", "live")]);
        for (unknown, reason, why) in [
            (
                UnknownContext::Annotations("list deployments".into()),
                SkipReason::AnnotationsUnknown,
                "list deployments",
            ),
            (
                UnknownContext::Autoscalers("list hpas".into()),
                SkipReason::AutoscalersUnknown,
                "list hpas",
            ),
        ] {
            pod.context.unknown = Some(Arc::new(unknown));
            let (status, message) = blocked_change(&pod).unwrap();
            assert_eq!(status, Status::Skipped(reason));
            assert!(message.ends_with(why), "{message}");
        }
    }

    #[test]
    fn what_hpas_measure_is_left_to_all_of_them() {
        let mut pod = owned(&[("max-cpu", "2")]);
        pod.context.autoscalers = vec![hpa(PerResource::new(true, false))];
        let policy = own_policy(&pod, &Policy::default()).unwrap().unwrap();
        assert_eq!(policy.managed_by_hpa, PerResource::new(true, false));
        assert_eq!(policy.max.cpu, 2.0);
        assert!(message(SkipReason::ManagedByHpa, &pod, &policy).contains("web-hpa"));
        let autoscalers =
            vec![hpa(PerResource::new(true, false)), hpa(PerResource::new(false, true))];
        pod.context = ScalingContext { autoscalers, ..ScalingContext::default() };
        let policy = own_policy(&pod, &Policy::default()).unwrap().unwrap();
        assert_eq!(policy.managed_by_hpa, PerResource::new(true, true));
        assert_eq!(blocked_reason(&pod), None);
    }

    #[test]
    fn a_deployment_is_excluded_by_its_name_and_no_other_kind() {
        let exclusions = Exclusions { deployments: vec!["redis".into()], ..Default::default() };
        let excluded = |group: &str, kind: &str, name: &str| {
            let owner = crate::pod::Owner {
                group: group.into(),
                kind: kind.into(),
                name: name.into(),
                uid: "w".into(),
            };
            let pod = OwnedPod { workload: Some(owner.into()), ..owned(&[]) };
            let mut not_known_yet = pod.clone();
            let unknown = UnknownContext::Annotations("not known yet".into());
            not_known_yet.context.unknown = Some(Arc::new(unknown));
            [pod, not_known_yet].map(|pod| is_excluded(&pod, &exclusions))
        };
        assert_eq!(excluded("apps", "Deployment", "redis"), [true, true]);
        assert_eq!(
            excluded("apps", "ReplicaSet", "redis-7d9c"),
            [false, true],
            "it has no Deployment, or it is not known which"
        );
        assert_eq!(excluded("apps", "StatefulSet", "redis"), [false, false]);
        assert_eq!(excluded("example.test", "Deployment", "redis"), [false, false]);
    }
}
