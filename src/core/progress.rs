//! What has become of a resize that the API server accepted, read from the pod alone.

use crate::plan::Plan;
use crate::pod::{Pod, ResizeState};
use crate::quantity;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResizeProgress {
    /// In force, or the container does not run and will start with it.
    Done,
    /// The kubelet is at it, or has not looked yet.
    InProgress,
    Deferred(String),
    Infeasible(String),
    Error(String),
}

/// Below these the kernel knows no finer CPU limit and no smaller CPU share.
const SMALLEST_CPU_LIMIT: f64 = 0.01;
const SMALLEST_CPU_REQUEST: f64 = 0.002;

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
    if is_in_force(pod, plan) { ResizeProgress::Done } else { ResizeProgress::InProgress }
}

fn is_in_force(pod: &Pod, plan: &Plan) -> bool {
    plan.iter().all(|(name, change)| {
        let container = pod.containers.iter().find(|container| &container.name == name);
        let Some(actual) = container.and_then(|container| container.in_force.as_ref()) else {
            return *pod.phase != *"Running";
        };
        let matches = |wanted: &std::collections::BTreeMap<String, String>,
                       actual: &std::collections::BTreeMap<String, String>,
                       smallest_cpu: f64| {
            wanted.iter().all(|(resource, text)| {
                let smallest = if resource == "cpu" { smallest_cpu } else { 0.0 };
                let value = |text: &str| quantity::cores(text).map(|value| value.max(smallest));
                let actual = actual.get(resource).and_then(|text| value(text));
                value(text)
                    .zip(actual)
                    .is_some_and(|(wanted, actual)| (wanted - actual).abs() <= wanted * 1e-6)
            })
        };
        matches(&change.limits, &actual.limits, SMALLEST_CPU_LIMIT)
            && matches(&change.requests, &actual.requests, SMALLEST_CPU_REQUEST)
    })
}
