//! A resize that the API server accepted and the kubelet has not carried out: wait for it, give it
//! up, or take it back.

use crate::plan::{Change, Plan};
use crate::pod::{ContainerResources, Pod, PodContainer, Quantities, ResizeState};
use crate::resource::{PerResource, Resource};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pending {
    /// The kubelet may still do it.
    Wait(String),
    /// It never will, or has not for too long: the template is next.
    GiveUp(String),
    /// It failed, or does not answer: only a new resize ends that.
    TakeBack(String),
}

/// A resize that the kubelet is carrying out may take so many times as long as one that it defers.
const IN_PROGRESS_TIMEOUT_FACTOR: i64 = 12;

/// None when nothing stands in the way of a new resize. `since` is when the pod was first seen to
/// differ from what it asks for, in seconds since the epoch.
pub fn pending(pod: &Pod, since: Option<i64>, now: i64, timeout: i64) -> Option<Pending> {
    let waited = |dated: Option<i64>| dated.or(since).map_or(0, |since| now - since);
    let Some(condition) = &pod.resize else {
        return (!pod.containers.are_settled()).then(|| match waited(None) {
            waited if waited < timeout => Pending::Wait("the kubelet has not answered yet".into()),
            waited => Pending::TakeBack(format!("the kubelet has not answered for {waited} s")),
        });
    };
    let message = condition.message.clone();
    Some(match condition.state {
        ResizeState::InProgress
            if waited(condition.since) < IN_PROGRESS_TIMEOUT_FACTOR * timeout =>
        {
            Pending::Wait(message)
        }
        ResizeState::InProgress => {
            let waited = waited(condition.since);
            Pending::TakeBack(format!("the kubelet has been at it for {waited} s: {message}"))
        }
        ResizeState::Infeasible => Pending::GiveUp(message),
        ResizeState::Error => Pending::TakeBack(message),
        ResizeState::Deferred if waited(condition.since) < timeout => Pending::Wait(message),
        ResizeState::Deferred => Pending::GiveUp(message),
    })
}

/// What the pod's spec asks for, as a plan, but for the resources that another autoscaler goes by.
pub fn asked_for(pod: &Pod, others: PerResource<bool>) -> Plan {
    let asked = |container: &PodContainer| {
        let mut change = change(&container.resources);
        for resource in Resource::ALL.into_iter().filter(|resource| others[*resource]) {
            change.requests.remove(resource.name());
            change.limits.remove(resource.name());
        }
        (container.name.to_string(), change)
    };
    pod.containers.iter().map(asked).collect()
}

/// What is in force, as a plan for the containers whose spec asks for something else.
pub fn in_force(pod: &Pod) -> Plan {
    let pairs = pod
        .containers
        .iter()
        .filter_map(|container| Some((container, container.in_force.as_ref()?)));
    pairs
        .filter(|(container, actual)| change(actual) != change(&container.resources))
        .map(|(container, actual)| (container.name.to_string(), change(actual)))
        .collect()
}

fn change(resources: &ContainerResources) -> Change {
    let only_scaled = |quantities: &Quantities| {
        let scaled = |name: &String| Resource::ALL.iter().any(|resource| resource.name() == name);
        quantities
            .iter()
            .filter(|(name, _)| scaled(name))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect()
    };
    Change { requests: only_scaled(&resources.requests), limits: only_scaled(&resources.limits) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::{ResizeCondition, pod_key};

    fn pod(in_force: Option<&str>) -> Pod {
        let key = pod_key("shop", "web-1", "u");
        let resources = |cpu: &str| ContainerResources::new(&[], &[("cpu", cpu)]);
        let in_force = in_force.map(|cpu| resources(cpu).into());
        let app = PodContainer { in_force, ..PodContainer::new("app", resources("1")) };
        Pod::new(key, vec![app])
    }

    fn conditioned(state: ResizeState, since: Option<i64>) -> Pod {
        let condition = ResizeCondition { state, message: "full".into(), since };
        Pod { resize: Some(condition.into()), ..pod(None) }
    }

    fn wait() -> Option<Pending> {
        Some(Pending::Wait("full".into()))
    }

    fn give_up() -> Option<Pending> {
        Some(Pending::GiveUp("full".into()))
    }

    #[test]
    fn a_deferred_resize_is_given_up_after_its_time_and_an_infeasible_one_at_once() {
        let deferred = conditioned(ResizeState::Deferred, Some(100));
        assert_eq!(pending(&deferred, None, 399, 300), wait());
        assert_eq!(pending(&deferred, None, 400, 300), give_up());
        let undated = conditioned(ResizeState::Deferred, None);
        assert_eq!(pending(&undated, None, 9999, 300), wait());
        assert_eq!(pending(&undated, Some(100), 400, 300), give_up());
        let of = |state| pending(&conditioned(state, Some(0)), None, 0, 300);
        assert_eq!(of(ResizeState::Infeasible), give_up());
        assert_eq!(of(ResizeState::InProgress), wait());
        assert_eq!(of(ResizeState::Error), Some(Pending::TakeBack("full".into())));
    }

    #[test]
    fn a_kubelet_that_does_not_answer_is_waited_for_and_then_not() {
        assert_eq!(pending(&pod(None), None, 0, 300), None);
        assert_eq!(pending(&pod(Some("1")), None, 0, 300), None);
        let silent = |since, now| pending(&pod(Some("500m")), since, now, 300);
        assert!(matches!(silent(None, 9999), Some(Pending::Wait(_))));
        assert!(matches!(silent(Some(100), 399), Some(Pending::Wait(_))));
        let given_up = Pending::TakeBack("the kubelet has not answered for 300 s".into());
        assert_eq!(silent(Some(100), 400), Some(given_up));
        let stuck = conditioned(ResizeState::InProgress, Some(0));
        assert!(matches!(pending(&stuck, None, 3600, 300), Some(Pending::TakeBack(_))));
    }
}
