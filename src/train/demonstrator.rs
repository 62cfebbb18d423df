//! A rule that knows its way about: what the network imitates before it finds better by itself.

use super::environment::Pod;
use crate::model::QValues;
use crate::scaler::action::{Action, Resource};
use crate::scaler::decision::{Decision, decide};
use crate::scaler::observation::Observation;
use crate::scaler::policy::Policy;

/// The shares of the limit from which more is wanted.
const ENOUGH_CPU: f64 = 0.97;
const ENOUGH_MEMORY: f64 = 0.9;

/// Up when it gets tight, else down: the guard refuses what would be too little.
fn wish(resource: Resource, observation: &Observation) -> Action {
    let enough = if resource == Resource::Cpu { ENOUGH_CPU } else { ENOUGH_MEMORY };
    if observation.utilization(resource) >= enough { Action::Increase } else { Action::Decrease }
}

/// The wishes for CPU and memory.
pub fn wishes(observation: &Observation) -> [Action; 2] {
    Resource::ALL.map(|resource| wish(resource, observation))
}

/// What a network would answer that wants just this.
pub fn answer([cpu, memory]: [Action; 2]) -> QValues {
    let only = |wish: Action| Action::ALL.map(|action| f32::from(u8::from(action == wish)));
    QValues { cpu: only(cpu), memory: only(memory), future: [0.0; 2] }
}

/// Steers a pod by the rule, as production would by a network.
pub fn act(pod: &mut Pod, observation: &Observation, policy: &Policy) -> Decision {
    let answer = answer(wishes(observation));
    let decision = decide(observation, &pod.history, &answer, policy, observation.at);
    pod.apply(&decision);
    decision
}
