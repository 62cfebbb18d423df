//! A resize that the API server accepted and the kubelet has not carried out: wait for it, give it
//! up, or take it back.

use crate::plan::{Change, Plan};
use crate::pod::{ContainerResources, Pod, PodContainer, ResizeCondition, ResizeState};
use crate::resource::{PerResource, Resource};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pending {
    /// The kubelet may still do it.
    Wait,
    /// It never will, or has not for too long: the template is next.
    GiveUp,
    /// It failed and the kubelet tries it for ever: only a new resize ends that.
    TakeBack,
}

/// None when nothing stands in the way of a new resize. `asked_at` stands in for servers that do
/// not date the condition.
pub fn pending(
    condition: &ResizeCondition,
    asked_at: Option<i64>,
    now: i64,
    deferred_timeout: i64,
) -> Option<Pending> {
    match condition.state {
        ResizeState::InProgress => Some(Pending::Wait),
        ResizeState::Infeasible => Some(Pending::GiveUp),
        ResizeState::Error => Some(Pending::TakeBack),
        ResizeState::Deferred => {
            let waiting =
                condition.since.or(asked_at).is_none_or(|since| now - since < deferred_timeout);
            Some(if waiting { Pending::Wait } else { Pending::GiveUp })
        }
    }
}

/// What the pod's spec asks for, as a plan, but for the resources that another autoscaler goes by.
pub fn asked_for(pod: &Pod, others: PerResource<bool>) -> Plan {
    let asked = |container: &PodContainer| {
        let mut change = change(&container.resources);
        for resource in Resource::ALL.into_iter().filter(|resource| others[*resource]) {
            change.requests.remove(resource.name());
            change.limits.remove(resource.name());
        }
        (container.name.clone(), change)
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
        .map(|(container, actual)| (container.name.clone(), change(actual)))
        .collect()
}

fn change(resources: &ContainerResources) -> Change {
    let only_scaled = |quantities: &std::collections::BTreeMap<String, String>| {
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

    #[test]
    fn a_deferred_resize_is_given_up_after_its_time_and_an_infeasible_one_at_once() {
        let condition = |state, since| ResizeCondition { state, message: String::new(), since };
        let deferred = condition(ResizeState::Deferred, Some(100));
        assert_eq!(pending(&deferred, None, 399, 300), Some(Pending::Wait));
        assert_eq!(pending(&deferred, None, 400, 300), Some(Pending::GiveUp));
        let undated = condition(ResizeState::Deferred, None);
        assert_eq!(pending(&undated, None, 9999, 300), Some(Pending::Wait));
        assert_eq!(pending(&undated, Some(100), 400, 300), Some(Pending::GiveUp));
        assert_eq!(
            pending(&condition(ResizeState::Infeasible, None), None, 0, 300),
            Some(Pending::GiveUp)
        );
        assert_eq!(
            pending(&condition(ResizeState::InProgress, None), None, 0, 300),
            Some(Pending::Wait)
        );
        assert_eq!(
            pending(&condition(ResizeState::Error, None), None, 0, 300),
            Some(Pending::TakeBack)
        );
    }
}
