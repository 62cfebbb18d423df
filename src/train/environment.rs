//! One container under a demand, seen and steered as in production.

use std::sync::Arc;

use super::demand::{self, DemandSeries, STEP, STEPS_PER_HOUR};
use super::meter::{Meter, Sample};
use super::score::within_bounds;
use super::timing::Timing;
use crate::core::decision::Decision;
use crate::core::history::{AppliedChange, ContainerHistory};
use crate::core::observation::Observation;
use crate::core::pod::OomKill;
use crate::core::policy::Policy;
use crate::core::resource::PerResource;
use crate::core::second_look::is_near_limit;
use crate::sim::bursts;
use crate::sim::noise::mix;
use crate::sim::physics::{Container, Resources, Step};

/// A container that runs through a series from beginning to end, in one pod after the other.
#[derive(Debug, Clone)]
pub struct Pod {
    pub series: Arc<DemandSeries>,
    timing: Timing,
    /// Tell its moments and its bursts from those of others.
    moments: u64,
    fluctuation: u64,
    /// Ticks lived.
    ticks: i64,
    /// When the present life began.
    born: i64,
    /// What every life begins with.
    pub template: Resources,
    /// In force.
    pub limits: Resources,
    asked: Option<Asked>,
    container: Container,
    meter: Meter,
    /// What CPU demand is multiplied by, tick by tick of the present step.
    bursts: Vec<f64>,
    /// CPU seconds of the present step that wait for their turn.
    waiting: f64,
    is_near_limit: bool,
    pub history: ContainerHistory,
    oom_kill: Option<OomKill>,
    /// How many containers the pod is said to have.
    pub containers: usize,
}

/// A resize that is not in force yet.
#[derive(Debug, Clone)]
struct Asked {
    limits: Resources,
    changes: Vec<AppliedChange>,
    in_force_at: i64,
}

/// A part of time that has passed.
#[derive(Debug, Clone, Copy)]
pub struct Passed {
    pub seconds: f64,
    /// The last part of a step of the series.
    pub ends_step: bool,
    pub demand: Resources,
    pub limits: Resources,
    pub step: Step,
}

/// A moment at which something may be decided.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Moment {
    /// A pod of the template has taken the place of the one before.
    Birth,
    /// Nothing is seen of a container that is down, or that was not yet measured.
    Cycle(Option<Observation>),
    SecondLook(Observation),
}

impl Pod {
    /// A pod that runs through the whole series, with limits of twice the mean of its first hour.
    pub fn new(series: Arc<DemandSeries>, timing: Timing) -> Self {
        let first_hour = &series.demand[..STEPS_PER_HOUR.min(series.demand.len())];
        let mean = demand::mean(first_hour);
        let limits = within_bounds(Resources { cpu: 2.0 * mean.cpu, memory: 2.0 * mean.memory });
        Self {
            moments: series.fingerprint(),
            fluctuation: series.fingerprint(),
            series,
            timing,
            ticks: 0,
            born: 0,
            template: limits,
            limits,
            asked: None,
            container: Container::default(),
            meter: Meter::default(),
            bursts: Vec::new(),
            waiting: 0.0,
            is_near_limit: false,
            history: ContainerHistory::default(),
            oom_kill: None,
            containers: 1,
        }
    }

    /// Looked at and measured at the same moments as another container.
    pub fn beside(self, other: &Self) -> Self {
        Self { moments: other.moments, ..self }
    }

    pub fn is_over(&self) -> bool {
        self.ticks * self.timing.tick >= self.series.demand.len() as i64 * STEP as i64
    }

    /// The beginning of the last tick.
    pub fn now(&self) -> i64 {
        (self.ticks - 1) * self.timing.tick
    }

    /// Lets time pass until something may be decided. None: the series is over.
    pub fn advance(&mut self, policy: &Policy, mut witness: impl FnMut(&Passed)) -> Option<Moment> {
        while !self.is_over() {
            let next = self.ticks * self.timing.tick;
            if self.timing.life.is_some_and(|life| next >= self.born + life) {
                self.be_born(next);
                return Some(Moment::Birth);
            }
            let passed = self.pass();
            witness(&passed);
            let now = self.now();
            self.take_effect(policy, now);
            let due = |every: i64| (now + self.phase(every)) % every == 0;
            let second_look = self.timing.second_look.filter(|_| self.is_near_limit);
            let (cycle, look) = (due(self.timing.interval), second_look.is_some_and(due));
            let sample = match (cycle, look) {
                (_, true) if self.timing.kubelet => self.meter.look(now, &self.timing),
                _ if cycle || look => self.meter.newest(now),
                _ => continue,
            };
            // A first look tells nothing yet, and metrics-server is then as good as any.
            let sample = sample.or_else(|| self.meter.newest(now).filter(|_| cycle));
            if self.asked.is_some() {
                continue;
            }
            let observation = self.observe(sample, passed.step.up, policy, now);
            match observation {
                _ if cycle => return Some(Moment::Cycle(observation)),
                Some(observation) => return Some(Moment::SecondLook(observation)),
                None => {}
            }
        }
        None
    }

    /// What keeps pods from doing all at the same moment.
    fn phase(&self, every: i64) -> i64 {
        if self.timing.bursts { (mix(self.moments) % every as u64) as i64 } else { 0 }
    }

    fn be_born(&mut self, now: i64) {
        (self.born, self.limits) = (now, self.template);
        (self.asked, self.oom_kill, self.is_near_limit) = (None, None, false);
        (self.container, self.meter) = (Container::default(), Meter::default());
        self.history = ContainerHistory::default();
    }

    /// What is wanted in the next tick.
    fn demand(&mut self) -> Resources {
        let (tick, step) = (self.timing.tick, STEP as i64);
        let (index, second) = (self.ticks * tick / step, self.ticks * tick % step);
        let demand = &self.series.demand;
        let mut now = demand[index as usize];
        if !self.timing.hold
            && let Some(next) = demand.get(index as usize + 1)
        {
            let share = second as f64 / step as f64;
            now.cpu += share * (next.cpu - now.cpu);
            now.memory += share * (next.memory - now.memory);
        }
        if self.timing.bursts {
            if second == 0 {
                let seed = self.fluctuation ^ mix(index as u64);
                self.bursts = bursts::factors(seed, (step / tick) as usize, tick as u64);
            }
            now.cpu *= self.bursts[(second / tick) as usize];
        }
        now
    }

    /// Lets one tick pass under the limits in force.
    fn pass(&mut self) -> Passed {
        let (tick, limits) = (self.timing.tick, self.limits);
        let demand = self.demand();
        self.ticks += 1;
        let (now, ends_step) = (self.now(), self.ticks * tick % STEP as i64 == 0);
        // Work that is throttled waits, but not for longer than its step.
        let asked = Resources { cpu: demand.cpu + self.waiting / tick as f64, ..demand };
        let mut step = self.container.step(now as f64, tick as f64, asked, limits);
        self.waiting = 0.0;
        if self.timing.bursts && !ends_step {
            self.waiting = std::mem::take(&mut step.unserved) * tick as f64;
        }
        if step.up {
            self.meter.count(now, &step, self.phase(self.timing.window.max(tick)), &self.timing);
        } else {
            self.meter = Meter::default();
        }
        if step.oom_killed {
            let restart = self.oom_kill.map_or(0, |kill| kill.restart) + 1;
            self.oom_kill = Some(OomKill { restart, finished_at: now });
        }
        Passed { seconds: tick as f64, ends_step, demand, limits, step }
    }

    /// What is known now, and not yet answered.
    fn observe(
        &mut self,
        sample: Option<Sample>,
        up: bool,
        policy: &Policy,
        now: i64,
    ) -> Option<Observation> {
        let limit = PerResource::new(self.limits.cpu, self.limits.memory);
        let sample = sample.filter(|_| up);
        let usage = sample.map_or(Resources::ZERO, |sample| sample.usage);
        let usage = PerResource::new(usage.cpu, usage.memory);
        let seen = Observation::measured(sample.map_or(now, |sample| sample.end), usage, limit);
        let measured = PerResource::new(sample.is_some(), sample.is_some());
        let (containers, oom_kill) = (self.containers, self.oom_kill);
        let observation = Observation { measured, containers, oom_kill, ..seen };
        if sample.is_none() && self.history.unanswered_kill(&observation, now).is_none() {
            self.is_near_limit &= up;
            return None;
        }
        self.history.observe(&observation, policy, now);
        self.is_near_limit = is_near_limit(&observation, &self.history);
        if !self.is_near_limit {
            self.meter.look_away();
        }
        Some(observation)
    }

    /// Resizes the pod by a decision.
    pub fn apply(&mut self, decision: &Decision, policy: &Policy) {
        if decision.changes_something() {
            let limit = decision.new_limit;
            let limits = Resources { cpu: limit.cpu, memory: limit.memory };
            self.ask(limits, decision.changes().collect(), policy);
        }
    }

    /// Resizes the pod.
    pub fn resize(&mut self, limits: Resources, policy: &Policy) {
        if limits != self.limits {
            self.ask(limits, Vec::new(), policy);
        }
    }

    fn ask(&mut self, limits: Resources, changes: Vec<AppliedChange>, policy: &Policy) {
        let now = self.now();
        self.asked = Some(Asked { limits, changes, in_force_at: now + self.timing.delay });
        self.take_effect(policy, now);
    }

    /// Puts in force what was asked for long enough ago, as the kubelet does in place.
    fn take_effect(&mut self, policy: &Policy, now: i64) {
        if let Some(asked) = self.asked.take_if(|asked| asked.in_force_at <= now) {
            self.limits = asked.limits;
            for change in &asked.changes {
                self.history.applied(change, policy, now);
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
        pod.apply(&decide(&observation, &pod.history, &keep, &policy, observation.at));
        assert!((pod.limits.memory - 240.0).abs() < 1e-9);
        assert!(pod.live(&policy).1.is_none() && pod.live(&policy).1.is_none());
        // Still too little: killed again, raised twice as far, in spite of the cooldown.
        let observation = pod.live(&policy).1.unwrap();
        pod.apply(&decide(&observation, &pod.history, &keep, &policy, observation.at));
        assert!((pod.limits.memory - 336.0).abs() < 1e-9);
    }
}
