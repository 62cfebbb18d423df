//! What a policy did to one pod, and what that cost.

use serde::Serialize;

use super::demand::STEPS_PER_DAY;
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

/// Sums over the steps of one series.
#[derive(Debug, Clone, Copy, Default)]
pub struct ScoreAccumulator {
    steps: f64,
    up: f64,
    throttled: f64,
    unserved: f64,
    wanted: f64,
    slack: PerResource<f64>,
    allocated: PerResource<f64>,
    oom_kills: f64,
    resizes: f64,
    /// Changes of a resource against its previous change, and which way that went (1 up, -1 down, 0
    /// none yet).
    reversals: f64,
    directions: PerResource<f64>,
    /// Absolute errors of the prediction head, as shares of the limit, and of "it stays as it is".
    prediction_error: PerResource<f64>,
    persistence_error: PerResource<f64>,
    predictions: f64,
}

impl ScoreAccumulator {
    pub fn step(&mut self, demand: Resources, limits: Resources, step: &Step) {
        self.steps += 1.0;
        self.allocated.cpu += limits.cpu;
        self.allocated.memory += limits.memory;
        if !step.up {
            return;
        }
        self.up += 1.0;
        self.throttled += f64::from(u8::from(step.throttled));
        self.unserved += step.unserved;
        self.wanted += demand.cpu;
        self.slack.cpu += 1.0 - step.usage.cpu / limits.cpu;
        self.slack.memory += 1.0 - step.usage.memory / limits.memory;
        self.oom_kills += f64::from(u8::from(step.oom_killed));
    }

    /// Counts a change of the limits, if it is one.
    pub fn resized(&mut self, from: Resources, to: Resources) {
        let mut changed = false;
        for (change, least, last) in [
            (to.cpu - from.cpu, 1e-6, &mut self.directions.cpu),
            (to.memory - from.memory, 1e-3, &mut self.directions.memory),
        ] {
            if change.abs() > least {
                changed = true;
                self.reversals += f64::from(u8::from(*last == -change.signum()));
                *last = change.signum();
            }
        }
        self.resizes += f64::from(u8::from(changed));
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
        let days = self.steps / STEPS_PER_DAY;
        let up = self.up.max(1.0);
        let allocated_cpu = self.allocated.cpu / (ceiling.cpu * self.steps);
        let allocated_memory = self.allocated.memory / (ceiling.memory * self.steps);
        let unserved = self.unserved / self.wanted.max(1e-9);
        let (ooms, resizes) = (self.oom_kills / days, self.resizes / days);
        let penalty =
            UNSERVED_PRICE * unserved + OOM_PRICE * ooms.min(OOM_CAP) + RESIZE_PRICE * resizes;
        let predictions = self.predictions.max(1.0);
        Score {
            cpu_slack: self.slack.cpu / up,
            memory_slack: self.slack.memory / up,
            throttled: self.throttled / up,
            unserved,
            ooms,
            resizes,
            reversals: self.reversals / days,
            allocated_cpu,
            allocated_memory,
            penalty,
            cost: (allocated_cpu + allocated_memory) / 2.0 + penalty,
            cpu_error: self.prediction_error.cpu / predictions,
            memory_error: self.prediction_error.memory / predictions,
            cpu_persistence: self.persistence_error.cpu / predictions,
            memory_persistence: self.persistence_error.memory / predictions,
        }
    }
}

/// Shares are 0 to 1; kills, resizes and reversals are per pod-day.
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

    fn replay(demand: &[(f64, f64)], limits: Resources) -> Score {
        let (mut counts, mut container) = (ScoreAccumulator::default(), Container::default());
        let mut max = Resources::ZERO;
        for (index, &(cpu, memory)) in demand.iter().enumerate() {
            let demand = Resources { cpu, memory };
            max = Resources { cpu: max.cpu.max(cpu), memory: max.memory.max(memory) };
            counts.step(demand, limits, &container.step(index as f64 * 30.0, 30.0, demand, limits));
        }
        counts.score(max)
    }

    #[test]
    fn the_limit_at_the_maximum_costs_one() {
        let score = replay(&[(1.0, 100.0), (2.0, 50.0)], Resources { cpu: 2.0, memory: 100.0 });
        assert_eq!((score.cost, score.penalty), (1.0, 0.0));
        assert_eq!((score.cpu_slack, score.memory_slack), (0.25, 0.25));
    }

    #[test]
    fn unserved_demand_costs_ten_times_its_share() {
        let score = replay(&[(1.0, 100.0), (3.0, 100.0)], Resources { cpu: 2.0, memory: 100.0 });
        assert_eq!((score.unserved, score.throttled), (0.25, 0.5));
        assert!((score.cost - ((2.0 / 3.0 + 1.0) / 2.0 + 2.5)).abs() < 1e-12);
    }

    #[test]
    fn oom_kills_are_counted_by_the_day_up_to_a_cap_and_downtime_is_no_slack() {
        let score = replay(&[(1.0, 200.0); 3], Resources { cpu: 2.0, memory: 100.0 });
        assert_eq!(score.ooms, 2880.0 / 3.0);
        assert_eq!((score.penalty, score.memory_slack, score.cpu_slack), (1.0, 0.0, 0.5));
    }

    #[test]
    fn resizes_cost_by_the_day_and_no_change_is_none() {
        let limits = Resources { cpu: 1.0, memory: 100.0 };
        let mut counts = ScoreAccumulator::default();
        for _ in 0..2880 {
            counts.step(limits, limits, &Container::default().step(0.0, 30.0, limits, limits));
            counts.resized(limits, limits);
        }
        counts.resized(limits, Resources { cpu: 1.2, memory: 120.0 });
        let score = counts.score(limits);
        assert_eq!(score.resizes, 1.0);
        assert!((score.cost - 1.0005).abs() < 1e-12);
    }
    #[test]
    fn a_reversal_is_a_change_against_the_previous_one_of_the_same_resource() {
        let mut counts = ScoreAccumulator::default();
        let path = [
            (1.0, 100.0),
            (1.2, 100.0),
            (1.2, 80.0),
            (1.44, 80.0),
            (1.44, 64.0),
            (1.2, 80.0),
            (1.0, 100.0),
        ];
        for pair in path.windows(2) {
            let [from, to] = [pair[0], pair[1]].map(|(cpu, memory)| Resources { cpu, memory });
            counts.step(from, from, &Container::default().step(0.0, 30.0, from, from));
            counts.resized(from, to);
        }
        let score = counts.score(Resources { cpu: 1.44, memory: 100.0 });
        assert_eq!((score.resizes, score.reversals), (2880.0, 2880.0 * 2.0 / 6.0));
    }
}
