//! What has become of a resize that the API server accepted, read from the pod alone.

use crate::plan::Plan;
use crate::pod::{Pod, ResizeState};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResizeProgress {
    /// In force, or the container does not run and will start with it.
    Done,
    /// The kubelet has not said anything.
    Unanswered,
    InProgress,
    Deferred(String),
    Infeasible(String),
    Error(String),
}

impl ResizeProgress {
    /// There is a word of the kubelet to come.
    pub fn is_early(&self) -> bool {
        matches!(self, Self::Unanswered | Self::InProgress)
    }
}

pub fn progress(pod: &Pod, plan: &Plan) -> ResizeProgress {
    if let Some(condition) = &pod.resize {
        let message = condition.message.clone();
        return match condition.state {
            ResizeState::InProgress => ResizeProgress::InProgress,
            ResizeState::Deferred => ResizeProgress::Deferred(message),
            ResizeState::Infeasible => ResizeProgress::Infeasible(message),
            ResizeState::Error => ResizeProgress::Error(message),
        };
    }
    if is_in_force(pod, plan) { ResizeProgress::Done } else { ResizeProgress::Unanswered }
}

fn is_in_force(pod: &Pod, plan: &Plan) -> bool {
    plan.iter().all(|(name, change)| {
        let index = pod.containers.iter().position(|container| *container.name == **name);
        let Some(index) = index else { return false };
        let Some(in_force) = &pod.containers[index].in_force else {
            return pod.state(index).down || *pod.phase != *"Running";
        };
        change.resources().is_met_by(in_force)
    })
}
