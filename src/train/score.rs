//! What a policy did to one pod, and what that cost.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::core::resource::PerResource;
use crate::sim::physics::{Resources, Step};

/// Prices of the COST, in units of the constant limit at the series' maximum.
pub const UNSERVED_PRICE: f64 = 10.0;
pub const OOM_PRICE: f64 = 0.05;
/// More OOM kills a day than this cost no more.
pub const OOM_CAP: f64 = 20.0;
pub const RESIZE_PRICE: f64 = 0.0005;
/// The bounds of every limit: cores, MiB.
pub const LEAST: Resources = Resources { cpu: 0.1, memory: 20.0 };
pub const GREATEST: Resources = Resources { cpu: 8.0, memory: 16_384.0 };

pub fn within_bounds(limits: Resources) -> Resources {
    Resources {
        cpu: limits.cpu.clamp(LEAST.cpu, GREATEST.cpu),
        memory: limits.memory.clamp(LEAST.memory, GREATEST.memory),
    }
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

/// Sums over the life of one container, in days.
#[derive(Debug, Clone, Default)]
pub struct ScoreAccumulator {
    days: f64,
    up: f64,
    throttled: f64,
    unserved: f64,
    wanted: f64,
    slack: PerResource<f64>,
    allocated: PerResource<f64>,
    oom_kills: f64,
    /// When its limits changed, and whether a resource went against its previous change.
    resizes: Vec<(i64, bool)>,
    /// Which way the last change of a resource went: 1 up, -1 down, 0 none yet.
    directions: PerResource<f64>,
    /// Absolute errors of the prediction head, as shares of the limit, and of "it stays as it is".
    prediction_error: PerResource<f64>,
    persistence_error: PerResource<f64>,
    predictions: f64,
}

impl ScoreAccumulator {
    /// Counts a time that has passed. What is allocated is the limit, or where the request is less
    /// whatever is more of request and usage.
    pub fn pass(&mut self, passed: &Passed, requests: Resources) {
        let Passed { seconds, demand, limits, step, .. } = passed;
        let days = seconds / 86_400.0;
        let allocated = Resources {
            cpu: requests.cpu.max(step.usage.cpu).min(limits.cpu),
            memory: requests.memory.max(step.usage.memory).min(limits.memory),
        };
        self.days += days;
        self.allocated.cpu += days * allocated.cpu;
        self.allocated.memory += days * allocated.memory;
        if !step.up {
            return;
        }
        self.up += days;
        self.throttled += if step.throttled { days } else { 0.0 };
        self.unserved += days * step.unserved;
        self.wanted += days * demand.cpu;
        self.slack.cpu += days * (1.0 - step.usage.cpu / allocated.cpu);
        self.slack.memory += days * (1.0 - step.usage.memory / allocated.memory);
        self.oom_kills += f64::from(u8::from(step.oom_killed));
    }

    /// Counts a change of the limits (or requests), if it is one.
    pub fn resized(&mut self, at: i64, from: Resources, to: Resources) {
        let (mut changed, mut reversed) = (false, false);
        for (change, least, last) in [
            (to.cpu - from.cpu, 1e-6, &mut self.directions.cpu),
            (to.memory - from.memory, 1e-3, &mut self.directions.memory),
        ] {
            if change.abs() > least {
                changed = true;
                reversed |= *last == -change.signum();
                *last = change.signum();
            }
        }
        if changed {
            self.resizes.push((at, reversed));
        }
    }

    /// Compares a prediction of the next step with what came, and with the usage before it (cores,
    /// MiB).
    pub fn predicted(
        &mut self,
        expected: Resources,
        before: Resources,
        came: Resources,
        limits: Resources,
    ) {
        self.predictions += 1.0;
        self.prediction_error.cpu += (expected.cpu - came.cpu).abs() / limits.cpu;
        self.prediction_error.memory += (expected.memory - came.memory).abs() / limits.memory;
        self.persistence_error.cpu += (before.cpu - came.cpu).abs() / limits.cpu;
        self.persistence_error.memory += (before.memory - came.memory).abs() / limits.memory;
    }

    /// The score, given the largest demand of the whole series.
    pub fn score(&self, max: Resources) -> Score {
        let ceiling = within_bounds(max);
        let up = self.up.max(f64::MIN_POSITIVE);
        let allocated_cpu = self.allocated.cpu / (ceiling.cpu * self.days);
        let allocated_memory = self.allocated.memory / (ceiling.memory * self.days);
        let unserved = self.unserved / self.wanted.max(1e-9);
        let ooms = self.oom_kills / self.days;
        let predictions = self.predictions.max(1.0);
        Score {
            cpu_slack: self.slack.cpu / up,
            memory_slack: self.slack.memory / up,
            throttled: self.throttled / up,
            unserved,
            ooms,
            allocated_cpu,
            allocated_memory,
            cpu_error: self.prediction_error.cpu / predictions,
            memory_error: self.prediction_error.memory / predictions,
            cpu_persistence: self.persistence_error.cpu / predictions,
            memory_persistence: self.persistence_error.memory / predictions,
            penalty: UNSERVED_PRICE * unserved + OOM_PRICE * ooms.min(OOM_CAP),
            ..Score::default()
        }
    }
}

/// The score of a pod of containers, each given by its sums and the largest demand of its series.
/// Its kills are those of all containers, its COST their mean and the price of its resizes:
/// containers that are resized at one moment are resized by one request.
pub fn of_pod(containers: &[(ScoreAccumulator, Resources)]) -> Score {
    let scores: Vec<Score> = containers.iter().map(|(sums, max)| sums.score(*max)).collect();
    let days = containers.first().map_or(1.0, |(sums, _)| sums.days);
    let mut resizes = BTreeMap::new();
    for (at, reversed) in containers.iter().flat_map(|(sums, _)| &sums.resizes) {
        *resizes.entry(at).or_insert(false) |= reversed;
    }
    let per_day = |count: usize| count as f64 / days;
    let mut score = Score::mean(&scores);
    score.ooms *= scores.len() as f64;
    score.resizes = per_day(resizes.len());
    score.reversals = per_day(resizes.into_values().filter(|reversed| *reversed).count());
    score.penalty += RESIZE_PRICE * score.resizes;
    score.cost = (score.allocated_cpu + score.allocated_memory) / 2.0 + score.penalty;
    score
}

/// Shares are 0 to 1; kills, resizes, and resizes that reverse the one before, are per pod-day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Score {
    pub cpu_slack: f64,
    pub memory_slack: f64,
    pub throttled: f64,
    pub unserved: f64,
    pub ooms: f64,
    pub resizes: f64,
    pub reversals: f64,
    pub allocated_cpu: f64,
    pub allocated_memory: f64,
    pub penalty: f64,
    pub cost: f64,
    pub cpu_error: f64,
    pub memory_error: f64,
    pub cpu_persistence: f64,
    pub memory_persistence: f64,
}

impl Score {
    /// The mean of each figure.
    pub fn mean(scores: &[Self]) -> Self {
        let count = scores.len().max(1) as f64;
        let mean = |of: fn(&Self) -> f64| scores.iter().map(of).sum::<f64>() / count;
        Self {
            cpu_slack: mean(|s| s.cpu_slack),
            memory_slack: mean(|s| s.memory_slack),
            throttled: mean(|s| s.throttled),
            unserved: mean(|s| s.unserved),
            ooms: mean(|s| s.ooms),
            resizes: mean(|s| s.resizes),
            reversals: mean(|s| s.reversals),
            allocated_cpu: mean(|s| s.allocated_cpu),
            allocated_memory: mean(|s| s.allocated_memory),
            penalty: mean(|s| s.penalty),
            cost: mean(|s| s.cost),
            cpu_error: mean(|s| s.cpu_error),
            memory_error: mean(|s| s.memory_error),
            cpu_persistence: mean(|s| s.cpu_persistence),
            memory_persistence: mean(|s| s.memory_persistence),
        }
    }

    /// The share of resizes that reverse the one before.
    pub fn reversal_share(&self) -> f64 {
        if self.resizes > 0.0 { self.reversals / self.resizes } else { 0.0 }
    }

    pub fn median_cost(scores: &[Self]) -> f64 {
        let mut costs: Vec<f64> = scores.iter().map(|score| score.cost).collect();
        costs.sort_by(f64::total_cmp);
        match costs.len() {
            0 => 0.0,
            count if count % 2 == 1 => costs[count / 2],
            count => (costs[count / 2 - 1] + costs[count / 2]) / 2.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::physics::Container;

    fn passed(container: &mut Container, now: f64, demand: Resources, limits: Resources) -> Passed {
        let step = container.step(now, 30.0, demand, limits);
        Passed { seconds: 30.0, ends_step: true, demand, limits, step }
    }

    fn counted(demand: &[(f64, f64)], limits: Resources) -> (ScoreAccumulator, Resources) {
        let (mut counts, mut container) = (ScoreAccumulator::default(), Container::default());
        let mut max = Resources::ZERO;
        for (index, &(cpu, memory)) in demand.iter().enumerate() {
            let demand = Resources { cpu, memory };
            max = Resources { cpu: max.cpu.max(cpu), memory: max.memory.max(memory) };
            counts.pass(&passed(&mut container, index as f64 * 30.0, demand, limits), limits);
        }
        (counts, max)
    }

    fn replay(demand: &[(f64, f64)], limits: Resources) -> Score {
        of_pod(&[counted(demand, limits)])
    }

    #[test]
    fn the_limit_at_the_maximum_costs_one() {
        let score = replay(&[(1.0, 100.0), (2.0, 50.0)], Resources { cpu: 2.0, memory: 100.0 });
        assert!((score.cost - 1.0).abs() < 1e-12 && score.penalty == 0.0);
        assert!((score.cpu_slack - 0.25).abs() + (score.memory_slack - 0.25).abs() < 1e-12);
    }

    #[test]
    fn unserved_demand_costs_ten_times_its_share() {
        let score = replay(&[(1.0, 100.0), (3.0, 100.0)], Resources { cpu: 2.0, memory: 100.0 });
        assert!((score.unserved - 0.25).abs() + (score.throttled - 0.5).abs() < 1e-12);
        assert!((score.cost - ((2.0 / 3.0 + 1.0) / 2.0 + 2.5)).abs() < 1e-12);
    }

    #[test]
    fn oom_kills_are_counted_by_the_day_up_to_a_cap_and_downtime_is_no_slack() {
        let score = replay(&[(1.0, 200.0); 3], Resources { cpu: 2.0, memory: 100.0 });
        assert!((score.ooms - 2880.0 / 3.0).abs() < 1e-9);
        assert_eq!((score.penalty, score.memory_slack, score.cpu_slack), (1.0, 0.0, 0.5));
    }

    #[test]
    fn a_request_below_the_limit_is_allocated_or_what_is_used_beyond_it() {
        let (mut counts, mut container) = (ScoreAccumulator::default(), Container::default());
        let limits = Resources { cpu: 4.0, memory: 400.0 };
        let requests = Resources { cpu: 1.0, memory: 100.0 };
        for demand in [(0.5, 50.0), (3.0, 300.0)] {
            let demand = Resources { cpu: demand.0, memory: demand.1 };
            counts.pass(&passed(&mut container, 0.0, demand, limits), requests);
        }
        let score = counts.score(limits);
        assert!((score.allocated_cpu - 0.5).abs() + (score.allocated_memory - 0.5).abs() < 1e-12);
        assert!((score.cpu_slack - 0.25).abs() < 1e-12);
    }

    #[test]
    fn resizes_cost_by_the_day_and_no_change_is_none() {
        let limits = Resources { cpu: 1.0, memory: 100.0 };
        let (mut counts, max) = counted(&[(1.0, 100.0); 2880], limits);
        counts.resized(0, limits, limits);
        counts.resized(30, limits, Resources { cpu: 1.2, memory: 120.0 });
        let score = of_pod(&[(counts, max)]);
        assert!((score.resizes - 1.0).abs() < 1e-9);
        assert!((score.cost - 1.0005).abs() < 1e-9);
    }

    #[test]
    fn a_reversal_is_a_resize_against_the_previous_change_of_a_resource() {
        let (mut counts, max) =
            counted(&[(1.0, 100.0); 2880], Resources { cpu: 1.5, memory: 150.0 });
        let path = [
            (1.0, 100.0),
            (1.2, 100.0),
            (1.2, 80.0),
            (1.44, 80.0),
            (1.44, 64.0),
            (1.2, 80.0),
            (1.0, 100.0),
        ];
        for (at, pair) in path.windows(2).enumerate() {
            let [from, to] = [pair[0], pair[1]].map(|(cpu, memory)| Resources { cpu, memory });
            counts.resized(at as i64, from, to);
        }
        let score = of_pod(&[(counts, max)]);
        assert!((score.resizes - 6.0).abs() + (score.reversals - 1.0).abs() < 1e-9);
        assert!((score.reversal_share() - 1.0 / 6.0).abs() < 1e-9);
    }

    #[test]
    fn a_pod_is_resized_once_however_many_containers_change_and_killed_with_each() {
        let limits = Resources { cpu: 2.0, memory: 100.0 };
        let more = Resources { cpu: 3.0, memory: 100.0 };
        let mut both = [counted(&[(1.0, 200.0); 3], limits), counted(&[(2.0, 100.0); 3], limits)];
        both[0].0.resized(30, limits, more);
        both[1].0.resized(30, limits, more);
        both[1].0.resized(60, more, limits);
        let (score, day) = (of_pod(&both), 960.0);
        assert!((score.resizes - 2.0 * day).abs() < 1e-9, "{}", score.resizes);
        assert!((score.reversals - day).abs() < 1e-9);
        assert!((score.ooms - day).abs() < 1e-9);
        assert!((score.penalty - (0.5 + 0.0005 * 2.0 * day)).abs() < 1e-9);
    }
}
