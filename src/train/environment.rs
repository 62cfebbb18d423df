//! One pod under a demand, seen and steered as in production.

use std::sync::Arc;

use super::demand::{self, DemandSeries, STEP, STEPS_PER_HOUR};
use super::score::within_bounds;
use crate::core::decision::Decision;
use crate::core::history::ContainerHistory;
use crate::core::observation::Observation;
use crate::core::pod::OomKill;
use crate::core::policy::Policy;
use crate::core::resource::PerResource;
use crate::sim::physics::{Container, Resources, Step};

/// A pod of one container that runs through a series from `begin` to `end`.
#[derive(Debug, Clone)]
pub struct Pod {
    pub series: Arc<DemandSeries>,
    begin: usize,
    end: usize,
    /// The next step to be lived.
    now: usize,
    pub limits: Resources,
    container: Container,
    pub history: ContainerHistory,
    oom_kill: Option<OomKill>,
    /// How many containers the pod is said to have.
    pub containers: usize,
}

impl Pod {
    /// A pod that runs through the whole series, with limits of twice the mean of its first hour.
    pub fn new(series: Arc<DemandSeries>) -> Self {
        let end = series.demand.len();
        Self::between(series, 0, end)
    }

    pub fn between(series: Arc<DemandSeries>, begin: usize, end: usize) -> Self {
        let end = end.min(series.demand.len());
        let first_hour = &series.demand[begin.min(end)..(begin + STEPS_PER_HOUR).min(end)];
        let mean = demand::mean(first_hour);
        let limits = within_bounds(Resources { cpu: 2.0 * mean.cpu, memory: 2.0 * mean.memory });
        Self {
            series,
            begin,
            end,
            now: begin,
            limits,
            container: Container::default(),
            history: ContainerHistory::default(),
            oom_kill: None,
            containers: 1,
        }
    }

    pub fn is_over(&self) -> bool {
        self.now >= self.end
    }

    /// How many steps have been lived.
    pub fn age(&self) -> usize {
        self.now - self.begin
    }

    /// What is wanted in the next step.
    pub fn demand(&self) -> Resources {
        self.series.demand[self.now]
    }

    /// Lets one step pass under the present limits.
    pub fn pass(&mut self) -> Step {
        let time = self.age() as f64 * STEP;
        let step = self.container.step(time, STEP, self.demand(), self.limits);
        self.now += 1;
        step
    }

    /// Lets one step pass and measures it. While the container is down nothing is measured.
    pub fn live(&mut self, policy: &Policy) -> (Step, Option<Observation>) {
        let at = (self.age() as f64 * STEP) as i64;
        let step = self.pass();
        if !step.up {
            return (step, None);
        }
        if step.oom_killed {
            let restart = self.oom_kill.map_or(0, |kill| kill.restart) + 1;
            self.oom_kill = Some(OomKill { restart, finished_at: at });
        }
        let usage = PerResource::new(step.usage.cpu, step.usage.memory);
        let limit = PerResource::new(self.limits.cpu, self.limits.memory);
        let (containers, oom_kill) = (self.containers, self.oom_kill);
        let seen = Observation::measured(at, usage, limit);
        let observation = Observation { containers, oom_kill, ..seen };
        self.history.observe(&observation, policy, at);
        (step, Some(observation))
    }

    /// Gives the pod the limits of a decision, as the kubelet does in place.
    pub fn apply(&mut self, decision: &Decision, policy: &Policy) {
        if decision.changes_something() {
            self.limits =
                Resources { cpu: decision.new_limit.cpu, memory: decision.new_limit.memory };
            for change in decision.changes() {
                self.history.applied(&change, policy, decision.observation.at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::decision::decide;
    use crate::core::network::QValues;

    fn pod(demand: &[(f64, f64)]) -> Pod {
        let demand = demand.iter().map(|&(cpu, memory)| Resources { cpu, memory }).collect();
        Pod::new(Arc::new(DemandSeries { name: "made-up".into(), demand }))
    }

    #[test]
    fn limits_begin_at_twice_the_mean_of_the_first_hour() {
        let mut demand = vec![(1.0, 100.0); 60];
        demand.extend(vec![(2.0, 200.0); 60]);
        demand.extend(vec![(7.0, 900.0); 600]);
        assert_eq!(pod(&demand).limits, Resources { cpu: 3.0, memory: 300.0 });
        assert_eq!(pod(&[(0.001, 1.0)]).limits, Resources { cpu: 0.1, memory: 20.0 });
    }

    #[test]
    fn an_oom_kill_is_answered_at_once_and_the_restart_is_not_seen() {
        let policy = Policy::default();
        let mut pod = pod(&[(1.0, 250.0); 6]);
        pod.limits.memory = 200.0;
        let keep = QValues { cpu: [0.0, 1.0, 0.0], memory: [0.0, 1.0, 0.0], future: [0.0, 0.0] };
        let (step, observation) = pod.live(&policy);
        assert!(step.oom_killed);
        let observation = observation.unwrap();
        let decision = decide(&observation, &pod.history, &keep, &policy, observation.at);
        pod.apply(&decision, &policy);
        assert!((pod.limits.memory - 240.0).abs() < 1e-9);
        assert!(pod.live(&policy).1.is_none() && pod.live(&policy).1.is_none());
        // Still too little: killed again, raised twice as far, in spite of the cooldown.
        let observation = pod.live(&policy).1.unwrap();
        let decision = decide(&observation, &pod.history, &keep, &policy, observation.at);
        pod.apply(&decision, &policy);
        assert!((pod.limits.memory - 336.0).abs() < 1e-9);
    }
}
