//! What was decided on the containers of a pod, and their sum.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::action::Action;
use crate::decision::{Basis, Decision};
use crate::guard::Override;
use crate::resource::{PerResource, Resource};
use crate::skip_reason::SkipReason;

/// In the order of the spec. At least one container was decided on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PodDecision {
    /// Shared with the journal.
    pub containers: Arc<[ContainerDecision]>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerDecision {
    /// Empty where the pod itself stands in the place of its containers.
    pub name: Arc<str>,
    /// Or why nothing was decided on it.
    pub decision: Result<Decision, SkipReason>,
}

/// How pressing an action is, the most pressing first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Killed for memory.
    Killed,
    /// Grows, with what is left of the limit in per cent.
    Full(u8),
    Shrinks,
    Stays,
}

impl Urgency {
    /// As metrics name it: what is used to nine tenths at least is full, else it grows in time.
    pub fn name(self) -> &'static str {
        match self {
            Self::Killed => "killed",
            Self::Full(..=10) => "full",
            Self::Full(_) => "grows",
            Self::Shrinks => "shrinks",
            Self::Stays => "stays",
        }
    }
}

impl PodDecision {
    /// None where nothing was decided on any container.
    pub fn new(containers: Arc<[ContainerDecision]>) -> Result<Self, SkipReason> {
        let first = containers.first().map(|first| first.decision.as_ref().err().copied());
        match containers.iter().any(|container| container.decision.is_ok()) {
            true => Ok(Self { containers }),
            false => Err(first.flatten().unwrap_or(SkipReason::NoMetrics)),
        }
    }

    /// A pod of one container.
    pub fn single(name: &str, decision: Decision) -> Self {
        let container = ContainerDecision { name: name.into(), decision: Ok(decision) };
        Self { containers: Arc::new([container]) }
    }

    pub fn decided(&self) -> impl Iterator<Item = (&Arc<str>, &Decision)> + Clone {
        self.containers.iter().filter_map(|of| Some((&of.name, of.decision.as_ref().ok()?)))
    }

    pub fn changes_something(&self) -> bool {
        self.decided().any(|(_, decision)| decision.changes_something())
    }

    /// Every container that was decided on waits.
    pub fn cooling_down(&self) -> bool {
        self.decided().all(|(_, decision)| decision.cooling_down)
    }

    pub fn is_overridden_by(&self, why: Override) -> bool {
        self.decided().any(|(_, decision)| decision.is_overridden_by(why))
    }

    /// Of the most pressing container.
    pub fn urgency(&self) -> Urgency {
        let all = self
            .decided()
            .flat_map(|(_, decision)| Resource::ALL.map(|resource| urgency(decision, resource)));
        all.min().unwrap_or(Urgency::Stays)
    }

    /// Of a resource: the container that grows most urgently, else one that shrinks, else the
    /// fullest.
    fn deciding(&self, resource: Resource) -> Option<&Decision> {
        let key = |decision: &Decision| {
            let full = (decision.observation.utilization(resource) * 1000.0) as u32;
            (urgency(decision, resource), u32::MAX - full)
        };
        self.decided().map(|(_, decision)| decision).min_by_key(|decision| key(decision))
    }

    /// The pod as a whole: usage and limits summed over the containers that were decided on, and
    /// of each resource the Q values of the container that decides.
    pub fn summary(&self) -> Cow<'_, Decision> {
        let mut decided = self.decided().map(|(_, decision)| decision);
        let Some(first) = decided.clone().next() else {
            unreachable!("a decision has at least one container");
        };
        if decided.clone().nth(1).is_none() {
            return Cow::Borrowed(first);
        }
        let of = |resource| self.deciding(resource).unwrap_or(first);
        let deciding = PerResource::build(of);
        let sum = |of: &dyn Fn(&Decision, Resource) -> f64| {
            PerResource::build(|resource| decided.clone().map(|one| of(one, resource)).sum())
        };
        let (usage, limit, request, new_limit) = (
            sum(&|one, resource| one.observation.usage[resource]),
            sum(&|one, resource| one.observation.limit[resource]),
            sum(&|one, resource| one.observation.request[resource]),
            sum(&|one, resource| one.new_limit[resource]),
        );
        let mut observation = first.observation;
        (observation.usage, observation.limit, observation.request) = (usage, limit, request);
        observation.measured = PerResource::build(|resource| {
            decided.clone().any(|one| one.observation.measured[resource])
        });
        observation.oom_kill = decided.find_map(|one| one.observation.oom_kill);
        let mut q_values = deciding.cpu.q_values;
        q_values.memory = deciding.memory.q_values.memory;
        q_values.future[1] = deciding.memory.q_values.future[1];
        Cow::Owned(Decision {
            observation,
            q_values,
            predicted: PerResource::build(|resource| deciding[resource].predicted[resource]),
            actions: PerResource::build(|resource| deciding[resource].actions[resource]),
            new_limit,
            confidence: PerResource::build(|resource| deciding[resource].confidence[resource]),
            future: PerResource::build(|resource| deciding[resource].future[resource]),
            trend: PerResource::build(|resource| deciding[resource].trend[resource]),
            overridden: PerResource::build(|resource| deciding[resource].overridden[resource]),
            cooling_down: self.cooling_down(),
            floor: PerResource::build(|resource| deciding[resource].floor[resource]),
            // The rest of it is told by container.
            basis: PerResource::build(|resource| Basis {
                wait: deciding[resource].basis[resource].wait,
                ..Basis::default()
            }),
            controls: first.controls,
            out_of_bounds: PerResource::build(|resource| {
                deciding[resource].out_of_bounds[resource]
            }),
        })
    }
}

fn urgency(decision: &Decision, resource: Resource) -> Urgency {
    match decision.actions[resource] {
        Action::Increase if decision.basis[resource].cause == Some(Override::OomKilled) => {
            Urgency::Killed
        }
        Action::Increase if decision.basis[resource].cause == Some(Override::KnownNeed) => {
            Urgency::Full(0)
        }
        Action::Increase => {
            let used = decision.observation.utilization(resource).clamp(0.0, 1.0);
            Urgency::Full((100.0 * (1.0 - used)).ceil() as u8)
        }
        Action::Decrease => Urgency::Shrinks,
        Action::Maintain => Urgency::Stays,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::Wait;
    use crate::observation::Observation;
    use Action::{Decrease, Increase, Maintain};

    fn decision(cpu: Action, memory: Action, used: f64) -> Decision {
        let usage = PerResource::new(used, 10.0);
        let observation = Observation::measured(0, usage, PerResource::new(1.0, 100.0));
        Decision { actions: PerResource::new(cpu, memory), ..Decision::maintain(observation) }
    }

    fn pod(containers: Vec<Result<Decision, SkipReason>>) -> PodDecision {
        let named = containers.into_iter().enumerate().map(|(index, decision)| ContainerDecision {
            name: format!("c{index}").into(),
            decision,
        });
        PodDecision::new(named.collect()).unwrap()
    }

    #[test]
    fn pods_in_need_come_before_those_that_have_too_much() {
        let mut killed = decision(Maintain, Increase, 0.1);
        killed.basis.memory.cause = Some(Override::OomKilled);
        let in_order = [
            pod(vec![Ok(decision(Maintain, Maintain, 0.99)), Ok(killed)]),
            pod(vec![Ok(decision(Increase, Maintain, 1.3))]),
            pod(vec![Ok(decision(Decrease, Maintain, 0.2)), Ok(decision(Increase, Maintain, 0.9))]),
            // Its CPU is fuller, but that is not what grows.
            pod(vec![Ok(decision(Maintain, Increase, 0.99))]),
            pod(vec![Ok(decision(Decrease, Maintain, 0.99)), Err(SkipReason::NoMetrics)]),
            pod(vec![Ok(decision(Maintain, Maintain, 0.99))]),
        ];
        let urgencies: Vec<_> = in_order.iter().map(PodDecision::urgency).collect();
        assert!(urgencies.is_sorted_by(|a, b| a < b), "{urgencies:?}");
    }

    #[test]
    fn a_pod_is_summed_up_and_told_by_the_container_that_decides() {
        let (mut idle, mut full) =
            (decision(Decrease, Maintain, 0.1), decision(Increase, Maintain, 1.0));
        (idle.new_limit.cpu, full.new_limit.cpu) = (0.8, 1.2);
        full.q_values.cpu = [0.1, 0.2, 0.9];
        full.basis.cpu.wait = Some(Wait::Measurement);
        idle.q_values.memory = [0.5, 0.6, 0.1];
        let pod = pod(vec![Ok(idle), Ok(full.clone()), Err(SkipReason::NoMetrics)]);
        let summary = pod.summary();
        assert_eq!(summary.observation.usage.cpu, 1.1);
        assert_eq!((summary.observation.limit.cpu, summary.new_limit.cpu), (2.0, 2.0));
        assert_eq!((summary.actions.cpu, summary.q_values.cpu), (Increase, full.q_values.cpu));
        assert_eq!(summary.q_values.memory, [0.5, 0.6, 0.1]);
        assert_eq!(summary.basis.cpu.wait, Some(Wait::Measurement));
        assert_eq!(PodDecision::single("app", full.clone()).summary().as_ref(), &full);
    }

    #[test]
    fn a_pod_of_which_nothing_is_known_is_skipped() {
        let unknown =
            || ContainerDecision { name: "app".into(), decision: Err(SkipReason::NoMetrics) };
        assert_eq!(PodDecision::new([unknown()].into()), Err(SkipReason::NoMetrics));
    }
}
