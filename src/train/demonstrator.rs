//! A rule that knows its way about: what the network imitates before it finds better by itself.

use super::environment::Pod;
use crate::core::action::Action;
use crate::core::decision::{Decision, decide};
use crate::core::history::ContainerHistory;
use crate::core::network::QValues;
use crate::core::observation::Observation;
use crate::core::policy::Policy;
use crate::core::resource::{PerResource, Resource};

/// The shares of the limit from which more is wanted.
const ENOUGH: PerResource<f64> = PerResource { cpu: 0.97, memory: 0.97 };
/// How far ahead a rising trend is followed, in spans of it.
const LEAD: PerResource<f64> = PerResource { cpu: 0.0, memory: 0.6 };
/// Up when it gets tight, else down: the guard refuses what would be too little.
fn preferred_action(
    resource: Resource,
    observation: &Observation,
    history: &ContainerHistory,
) -> Action {
    let used = observation.utilization(resource);
    let trend = history.trend(resource, observation.limit[resource]);
    let tight = used + LEAD[resource] * trend.max(0.0) >= ENOUGH[resource];
    if tight { Action::Increase } else { Action::Decrease }
}

/// The preferred actions for CPU and memory.
pub fn preferred_actions(observation: &Observation, history: &ContainerHistory) -> [Action; 2] {
    Resource::ALL.map(|resource| preferred_action(resource, observation, history))
}

/// What a network would answer that wants just this.
pub fn answer([cpu, memory]: [Action; 2]) -> QValues {
    let only =
        |preferred: Action| Action::ALL.map(|action| f32::from(u8::from(action == preferred)));
    QValues { cpu: only(cpu), memory: only(memory), ..QValues::default() }
}

/// Steers a pod by the rule, as production would by a network.
pub fn act(pod: &mut Pod, observation: &Observation, policy: &Policy) -> Decision {
    let answer = answer(preferred_actions(observation, &pod.history));
    let decision = decide(observation, &pod.history, &answer, policy, observation.at);
    pod.apply(&decision, policy);
    decision
}
