//! One container under a demand, seen and steered as in production.

use std::sync::Arc;

use chrono::DateTime;

use super::demand::{self, DemandSeries, STEP, STEPS_PER_HOUR};
use super::meter::{Meter, Sample};
use super::score::{Passed, within_bounds};
use super::timing::Timing;
use crate::core::decision::Decision;
use crate::core::history::{AppliedChange, ContainerHistory};
use crate::core::observation::Observation;
use crate::core::pod::{ContainerResources, OomKill, PodContainer, pod_key};
use crate::core::policy::Policy;
use crate::core::resource::{PerResource, Resource};
use crate::core::second_look::NEAR;
use crate::core::workload::WorkloadContainer;
use crate::core::{self, memory};
use crate::sim::bursts;
use crate::sim::noise::mix;
use crate::sim::physics::{Container, Resources};

/// So many seconds' worth of demand wait while a container is throttled; what comes on top is never
/// served.
const PATIENCE: f64 = 5.0;

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
    /// The CPU demand without bursts.
    mean_cpu: f64,
    /// CPU seconds that wait for their turn.
    waiting: f64,
    is_near_limit: bool,
    pub history: ContainerHistory,
    /// What is remembered from life to life; None: nothing.
    workload: Option<WorkloadContainer>,
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

/// A moment at which something may be decided.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Moment {
    /// A pod of the template has taken the place of the one before. Something is to be decided
    /// where its workload is known to need something else.
    Birth(Option<Observation>),
    /// Nothing is seen of a container that is down, or that was not yet measured.
    Cycle(Option<Observation>),
    SecondLook(Observation),
}

impl Pod {
    /// A pod that runs through the whole series, with the limits that the series begins with, or
    /// twice the mean of its first hour.
    pub fn new(series: Arc<DemandSeries>, timing: Timing) -> Self {
        let first_hour = &series.demand[..STEPS_PER_HOUR.min(series.demand.len())];
        let mean = demand::mean(first_hour);
        let twice = Resources { cpu: 2.0 * mean.cpu, memory: 2.0 * mean.memory };
        let limits = within_bounds(series.template.unwrap_or(twice));
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
            mean_cpu: 0.0,
            waiting: 0.0,
            is_near_limit: false,
            history: ContainerHistory::default(),
            workload: (timing.life.is_some() && !timing.forget).then(WorkloadContainer::default),
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
                return Some(Moment::Birth(self.be_born(next, policy)));
            }
            if next == 0 {
                self.meet(policy);
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

    fn be_born(&mut self, now: i64, policy: &Policy) -> Option<Observation> {
        (self.born, self.limits) = (now, self.template);
        (self.asked, self.oom_kill, self.is_near_limit) = (None, None, false);
        (self.container, self.meter) = (Container::default(), Meter::default());
        self.history = ContainerHistory::default();
        self.meet(policy);
        self.observe(None, true, policy, self.now())
    }

    /// Takes over what the workload remembers.
    fn meet(&mut self, policy: &Policy) {
        let now = self.now();
        let Some(workload) = &mut self.workload else { return };
        let (cpu, memory) = (self.limits.cpu, self.limits.memory * 1_048_576.0);
        let (cpu, memory) = (format!("{cpu:.6}"), format!("{memory:.0}"));
        let limits = ContainerResources::new(&[], &[("cpu", &cpu), ("memory", &memory)]);
        let container = PodContainer::new("app", limits);
        let name = self.series.name.clone();
        let key = pod_key("default", name.clone(), name);
        let created = DateTime::from_timestamp(now, 0);
        let pod = core::pod::Pod { created, ..core::pod::Pod::new(key, vec![container.clone()]) };
        memory::meet(&mut self.history, workload, &pod, &container, policy, now);
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
            self.mean_cpu = now.cpu;
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
        // Work that is throttled waits for its turn, but not for ever.
        let asked = Resources { cpu: demand.cpu + self.waiting / tick as f64, ..demand };
        let mut step = self.container.step(now as f64, tick as f64, asked, limits);
        self.waiting = 0.0;
        if self.timing.bursts {
            let behind = step.unserved * tick as f64;
            self.waiting = behind.min(PATIENCE * self.mean_cpu);
            step.unserved = (behind - self.waiting) / tick as f64;
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
        let window = sample.map_or(0, |sample| sample.end - sample.begin);
        let burst = sample.and_then(|sample| sample.burst);
        let observation = Observation { window, burst, measured, containers, oom_kill, ..seen };
        let needs = Resource::ALL.iter().any(|of| self.history.known_need(*of, now).is_some());
        let killed = self.history.unanswered_kill(&observation, now).is_some();
        if sample.is_none() && !needs && !killed {
            self.is_near_limit &= up;
            return None;
        }
        match &mut self.workload {
            Some(workload) => {
                memory::observe(&mut self.history, workload, &observation, policy, now);
            }
            None => {
                self.history.observe(&observation, policy, now);
            }
        }
        self.is_near_limit = is_near_limit(&observation, &self.history, policy);
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
            self.meter.look_away();
            for change in &asked.changes {
                self.history.applied(change, policy, now);
            }
        }
    }
}

/// Uses most of a limit, or will in the next cycle if it goes on as over the last samples.
fn is_near_limit(seen: &Observation, history: &ContainerHistory, policy: &Policy) -> bool {
    Resource::ALL.into_iter().filter(|of| seen.measured[*of]).any(|resource| {
        let trend = history.trend(resource, seen.limit[resource]).max(0.0);
        let rise = trend / (policy.history_window.max(2) - 1) as f64;
        seen.utilization(resource) + rise >= NEAR
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::decision::decide;
    use crate::core::network::QValues;

    const UP: QValues =
        QValues { cpu: [0.0, 0.0, 1.0], memory: [0.0, 1.0, 0.0], future: [0.0; 2], room: None };
    const KEEP: QValues =
        QValues { cpu: [0.0, 1.0, 0.0], memory: [0.0, 1.0, 0.0], future: [0.0; 2], room: None };
    /// Seconds pass, and demand is as it stands in the series.
    const REAL: Timing =
        Timing { tick: 1, window: 15, age: 1, second_look: Some(10), delay: 3, ..Timing::IDEAL };

    fn series(demand: &[(f64, f64)]) -> Arc<DemandSeries> {
        let demand = demand.iter().map(|&(cpu, memory)| Resources { cpu, memory }).collect();
        Arc::new(DemandSeries { name: "made-up".into(), demand, template: None })
    }

    fn pod(demand: &[(f64, f64)], timing: Timing) -> Pod {
        Pod::new(series(demand), timing)
    }

    fn act(pod: &mut Pod, observation: &Observation, answer: &QValues, policy: &Policy) {
        let decision = decide(observation, &pod.history, answer, policy, pod.now());
        pod.apply(&decision, policy);
    }

    #[test]
    fn limits_begin_at_twice_the_mean_of_the_first_hour() {
        let mut demand = vec![(1.0, 100.0); 60];
        demand.extend(vec![(2.0, 200.0); 60]);
        demand.extend(vec![(7.0, 900.0); 600]);
        let begin = |demand: &[(f64, f64)]| pod(demand, Timing::IDEAL).limits;
        assert_eq!(begin(&demand), Resources { cpu: 3.0, memory: 300.0 });
        assert_eq!(begin(&[(0.001, 1.0)]), Resources { cpu: 0.1, memory: 20.0 });
    }

    #[test]
    fn an_oom_kill_is_answered_at_once_and_the_restart_is_not_seen() {
        let policy = Policy::default();
        let mut pod = pod(&[(1.0, 250.0); 6], Timing::IDEAL);
        pod.limits.memory = 200.0;
        let next = |pod: &mut Pod| match pod.advance(&policy, |_| ()) {
            Some(Moment::Cycle(observation)) => observation,
            moment => panic!("{moment:?}"),
        };
        let observation = next(&mut pod).unwrap();
        act(&mut pod, &observation, &KEEP, &policy);
        assert!((pod.limits.memory - 240.0).abs() < 1e-9);
        assert!(next(&mut pod).is_none() && next(&mut pod).is_none());
        // Still too little: killed again, raised twice as far, in spite of the cooldown.
        let observation = next(&mut pod).unwrap();
        act(&mut pod, &observation, &KEEP, &policy);
        assert!((pod.limits.memory - 336.0).abs() < 1e-9);
    }

    #[test]
    fn a_kill_is_known_before_the_container_is_measured_again() {
        let policy = Policy::default();
        let mut pod = pod(&[(1.0, 250.0); 6], REAL);
        pod.limits.memory = 200.0;
        let Some(Moment::Cycle(Some(seen))) = pod.advance(&policy, |_| ()) else { panic!() };
        assert!(!seen.is_measured() && seen.oom_kill.is_some());
        act(&mut pod, &seen, &KEEP, &policy);
        assert_eq!(pod.limits.memory, 200.0, "a resize takes its time");
        assert_eq!(pod.advance(&policy, |_| ()), Some(Moment::Cycle(None)));
        assert!((pod.limits.memory - 240.0).abs() < 1e-9);
    }

    #[test]
    fn a_cycle_sees_the_newest_sample_of_metrics_server() {
        let mut demand = vec![(0.2, 50.0); 4];
        demand.extend([(0.6, 60.0); 4]);
        let mut pod = pod(&demand, Timing { second_look: None, ..REAL });
        pod.limits.cpu = 1.0;
        let mut cycles = Vec::new();
        while let Some(moment) = pod.advance(&Policy::default(), |_| ()) {
            let Moment::Cycle(seen) = moment else { panic!("{moment:?}") };
            cycles.push(seen.map(|seen| (pod.now() - seen.at, (seen.usage.cpu * 100.0).round())));
        }
        // The scrape of a cycle's own second can be read a second later.
        let old = |cpu| Some((15, cpu));
        assert_eq!(cycles[..2], [None, old(20.0)]);
        assert_eq!(cycles[4..6], [old(20.0), old(60.0)]);
    }

    #[test]
    fn what_is_near_its_limit_is_looked_at_between_cycles() {
        let looks = |cpu: f64, timing: Timing| {
            let mut pod = pod(&vec![(cpu, 50.0); 120], timing);
            pod.limits = Resources { cpu: 1.0, memory: 100.0 };
            let mut looks = Vec::new();
            while let Some(moment) = pod.advance(&Policy::default(), |_| ()) {
                if let Moment::SecondLook(seen) = moment {
                    looks.push((pod.now(), pod.now() - seen.at));
                }
            }
            looks
        };
        assert!(looks(0.7, REAL).is_empty());
        assert_eq!(looks(0.9, REAL)[..4], [(40, 10), (50, 5), (70, 10), (80, 5)]);
        let kubelet = Timing { kubelet: true, second_look: Some(2), ..REAL };
        // The first look has nothing to compare the counter with.
        assert_eq!(looks(0.9, kubelet)[..3], [(34, 1), (36, 1), (38, 1)]);
        assert!(looks(0.9, Timing { second_look: None, ..REAL }).is_empty());
    }

    #[test]
    fn a_resize_is_in_force_after_its_delay_and_starts_the_cooldown_then() {
        let policy = Policy::default();
        let mut pod = pod(&vec![(1.0, 50.0); 20], REAL);
        pod.limits.cpu = 0.5;
        let Some(Moment::Cycle(None)) = pod.advance(&policy, |_| ()) else { panic!() };
        let Some(Moment::Cycle(Some(seen))) = pod.advance(&policy, |_| ()) else { panic!() };
        act(&mut pod, &seen, &UP, &policy);
        let asked_at = pod.now();
        let mut under = Vec::new();
        pod.advance(&policy, |passed| under.push(passed.limits.cpu));
        assert_eq!(under[..4], [0.5, 0.5, 0.5, 0.9]);
        assert_eq!(pod.history.resized_at.get(), Some(asked_at + 3));
    }

    #[test]
    fn each_life_begins_with_the_template_and_knows_nothing() {
        let policy = Policy::default();
        let timing = Timing { life: Some(3600), forget: true, ..Timing::IDEAL };
        let mut pod = pod(&[(1.0, 100.0); 300], timing);
        let mut births = Vec::new();
        while let Some(moment) = pod.advance(&policy, |_| ()) {
            match moment {
                Moment::Birth(None) => {
                    births.push(pod.now());
                    assert_eq!(pod.limits, pod.template);
                    assert_eq!(pod.history, ContainerHistory::default());
                }
                Moment::Cycle(Some(seen)) => act(&mut pod, &seen, &UP, &policy),
                moment => panic!("{moment:?}"),
            }
        }
        assert_eq!(births, [3570, 7170]);
    }

    #[test]
    fn a_life_begins_with_what_the_one_before_has_taught() {
        let policy = Policy { cooldown: 0, ..Policy::default() };
        let timing = Timing { life: Some(3600), delay: 30, ..Timing::IDEAL };
        let mut pod = pod(&[(1.0, 100.0); 300], timing);
        let down =
            QValues { cpu: [1.0, 0.0, 0.0], memory: [1.0, 0.0, 0.0], future: [0.0; 2], room: None };
        let mut lives = Vec::new();
        while let Some(moment) = pod.advance(&policy, |_| ()) {
            match moment {
                Moment::Birth(seen) => {
                    assert_eq!(pod.limits, pod.template);
                    let seen = seen.unwrap();
                    act(&mut pod, &seen, &KEEP, &policy);
                    lives.push(Vec::new());
                }
                Moment::Cycle(Some(seen)) => {
                    act(&mut pod, &seen, &down, &policy);
                    if let Some(life) = lives.last_mut() {
                        life.push(pod.limits);
                    }
                }
                _ => {}
            }
        }
        for life in lives {
            let first = life[0];
            assert!((1.1..1.3).contains(&first.cpu) && (105.0..130.0).contains(&first.memory));
        }
    }

    #[test]
    fn bursts_keep_the_demand_and_what_waits_is_served_in_a_while() {
        let total = |limit: f64| {
            let mut pod = pod(&[(1.0, 50.0); 120], Timing { bursts: true, ..REAL });
            pod.limits = Resources { cpu: limit, memory: 100.0 };
            let mut sums = [0.0; 4];
            while pod
                .advance(&Policy::default(), |passed| {
                    sums[0] += passed.demand.cpu;
                    sums[1] += passed.step.usage.cpu;
                    sums[2] += passed.step.unserved;
                    sums[3] += f64::from(u8::from(passed.step.throttled));
                })
                .is_some()
            {}
            sums.map(|sum| sum / 3600.0)
        };
        let [wanted, used, unserved, throttled] = total(1.2);
        assert!((wanted - 1.0).abs() < 1e-9 && (used - 1.0).abs() < 0.01 && unserved < 0.001);
        assert!((0.1..0.6).contains(&throttled), "{throttled}");
        // A limit below the mean serves itself, as it does without bursts.
        let [_, used, unserved, _] = total(0.8);
        assert!((used - 0.8).abs() < 0.005 && (unserved - 0.2).abs() < 0.005, "{unserved}");
    }

    #[test]
    fn steps_are_interpolated_unless_they_are_held() {
        let demand = |hold| {
            let mut pod = pod(&[(1.0, 100.0), (2.0, 200.0)], Timing { hold, ..REAL });
            pod.limits = Resources { cpu: 8.0, memory: 1000.0 };
            let mut demand = Vec::new();
            while pod.advance(&Policy::default(), |passed| demand.push(passed.demand)).is_some() {}
            [demand[0], demand[15], demand[59]].map(|demand| (demand.cpu, demand.memory))
        };
        assert_eq!(demand(true), [(1.0, 100.0), (1.0, 100.0), (2.0, 200.0)]);
        assert_eq!(demand(false), [(1.0, 100.0), (1.5, 150.0), (2.0, 200.0)]);
    }
}
