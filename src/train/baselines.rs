//! Policies without a network, to be compared with: constants, thresholds, peaks, and one that
//! knows the future.

use std::collections::VecDeque;

use super::demand::{DemandSeries, STEP};
use super::score::within_bounds;
use crate::core::action::Action;
use crate::sim::physics::Resources;

/// A container at one moment, as a rule sees it.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    pub at: i64,
    pub limits: Resources,
    /// None where nothing was measured, as while it restarts. After a kill the memory is the limit.
    pub usage: Option<Resources>,
    /// It was killed for memory since the last moment.
    pub killed: bool,
}

/// A policy for one container. It is asked in every cycle; where nothing was measured its answer is
/// ignored.
pub trait Rule {
    /// The limits to begin with, where they are not those of the template.
    fn begin(&mut self, _series: &DemandSeries) -> Option<Resources> {
        None
    }

    fn act(&mut self, seen: &Seen) -> Resources;

    /// The limits that a further pod of the template begins with.
    fn next_life(&mut self, template: Resources) -> Resources {
        template
    }

    /// The requests that go with the limits.
    fn requests(&self, limits: Resources) -> Resources {
        limits
    }
}

const SCALE_FACTOR: f64 = 0.2;

fn scaled(limits: Resources, cpu: Action, memory: Action) -> Resources {
    within_bounds(Resources {
        cpu: limits.cpu * cpu.factor(SCALE_FACTOR),
        memory: limits.memory * memory.factor(SCALE_FACTOR),
    })
}

fn choose(up: bool, down: bool) -> Action {
    match (up, down) {
        (true, false) => Action::Increase,
        (false, true) => Action::Decrease,
        _ => Action::Maintain,
    }
}

/// A fixed limit of twice the mean of the whole series.
pub struct TwiceTheMean(Resources);

impl Default for TwiceTheMean {
    fn default() -> Self {
        Self(Resources::UNLIMITED)
    }
}

impl Rule for TwiceTheMean {
    fn begin(&mut self, series: &DemandSeries) -> Option<Resources> {
        let mean = series.mean();
        self.0 = within_bounds(Resources { cpu: 2.0 * mean.cpu, memory: 2.0 * mean.memory });
        Some(self.0)
    }

    fn act(&mut self, seen: &Seen) -> Resources {
        seen.limits
    }

    fn next_life(&mut self, _template: Resources) -> Resources {
        self.0
    }
}

/// Up above 80 % of the limit, down below 40 %.
pub struct Threshold;

impl Rule for Threshold {
    fn act(&mut self, seen: &Seen) -> Resources {
        let limits = seen.limits;
        let Some(usage) = seen.usage else { return limits };
        let action = |share: f64| choose(share > 0.8, share < 0.4);
        scaled(limits, action(usage.cpu / limits.cpu), action(usage.memory / limits.memory))
    }
}

/// Up when the usage passes a share of the limit now, down only when the peak of a window is under
/// another share.
pub struct Peak {
    up: Resources,
    down: Resources,
    cpu: SlidingMax,
    memory: SlidingMax,
}

impl Peak {
    /// Up at 80 %, down when the peak of 30 minutes is under 60 %.
    pub fn half_an_hour(interval: i64) -> Self {
        let share = |share| Resources { cpu: share, memory: share };
        Self {
            up: share(0.8),
            down: share(0.6),
            cpu: SlidingMax::new(1800 / interval),
            memory: SlidingMax::new(1800 / interval),
        }
    }

    /// The best of these rules found by hand on recorded series: peaks of 2 h (CPU) and 8 h
    /// (memory).
    pub fn tuned(interval: i64) -> Self {
        Self {
            up: Resources { cpu: 0.95, memory: 0.9 },
            down: Resources { cpu: 0.75, memory: 0.72 },
            cpu: SlidingMax::new(2 * 3600 / interval),
            memory: SlidingMax::new(8 * 3600 / interval),
        }
    }
}

impl Rule for Peak {
    fn act(&mut self, seen: &Seen) -> Resources {
        let limits = seen.limits;
        let cpu = self.cpu.push(seen.usage.map(|usage| usage.cpu));
        let memory = self.memory.push(seen.usage.map(|usage| usage.memory));
        let Some(usage) = seen.usage else { return limits };
        scaled(
            limits,
            choose(usage.cpu > self.up.cpu * limits.cpu, cpu < self.down.cpu * limits.cpu),
            choose(
                usage.memory > self.up.memory * limits.memory,
                memory < self.down.memory * limits.memory,
            ),
        )
    }

    fn next_life(&mut self, template: Resources) -> Resources {
        self.cpu = SlidingMax::new(self.cpu.window as i64);
        self.memory = SlidingMax::new(self.memory.window as i64);
        template
    }
}

/// The largest of the last values; endless until there are as many as the window holds.
struct SlidingMax {
    window: usize,
    count: usize,
    last: f64,
    /// Positions and values, falling: the first is the largest of the window.
    falling: VecDeque<(usize, f64)>,
}

impl SlidingMax {
    fn new(window: i64) -> Self {
        Self {
            window: window.max(1) as usize,
            count: 0,
            last: f64::INFINITY,
            falling: VecDeque::new(),
        }
    }

    /// Takes in a value (where nothing was measured, the last one again) and tells the largest.
    fn push(&mut self, value: Option<f64>) -> f64 {
        let value = value.unwrap_or(self.last);
        self.last = value;
        self.count += 1;
        while self.falling.back().is_some_and(|(_, smaller)| *smaller <= value) {
            self.falling.pop_back();
        }
        self.falling.push_back((self.count, value));
        while self.falling.front().is_some_and(|(position, _)| position + self.window <= self.count)
        {
            self.falling.pop_front();
        }
        if self.count < self.window {
            return f64::INFINITY;
        }
        self.falling.front().map_or(f64::INFINITY, |(_, largest)| *largest)
    }
}

/// Knows the next half an hour and stays 15 % above it, in steps of 20 %: what three actions can do
/// at best.
#[derive(Default)]
pub struct Oracle {
    needed: Vec<Resources>,
}

impl Rule for Oracle {
    fn begin(&mut self, series: &DemandSeries) -> Option<Resources> {
        let ahead = |of: fn(&Resources) -> f64| {
            let mut window = SlidingMax::new(1);
            window.window = 61;
            let mut peaks: Vec<f64> = Vec::with_capacity(series.demand.len());
            for demand in series.demand.iter().rev() {
                window.push(Some(of(demand)));
                peaks.push(window.falling.front().map_or(0.0, |(_, largest)| *largest));
            }
            peaks.reverse();
            peaks
        };
        let (cpu, memory) = (ahead(|d| d.cpu), ahead(|d| d.memory));
        let needed = |(cpu, memory): (&f64, &f64)| {
            within_bounds(Resources { cpu: cpu * 1.15, memory: memory * 1.15 })
        };
        self.needed = cpu.iter().zip(&memory).map(needed).collect();
        None
    }

    fn act(&mut self, seen: &Seen) -> Resources {
        let Some(needed) =
            self.needed.get(seen.at as usize / STEP as usize + 1).or(self.needed.last())
        else {
            return seen.limits;
        };
        let limits = seen.limits;
        let action = |limit: f64, needed: f64| {
            choose(limit < needed, limit * (1.0 - SCALE_FACTOR) >= needed)
        };
        scaled(limits, action(limits.cpu, needed.cpu), action(limits.memory, needed.memory))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(index: i64, cpu: f64, memory: f64) -> Seen {
        let (usage, limits) = (Resources { cpu, memory }, Resources { cpu: 1.0, memory: 100.0 });
        Seen { at: index * 30, limits, usage: Some(usage), killed: false }
    }

    #[test]
    fn thresholds_act_on_the_present_alone() {
        assert_eq!(Threshold.act(&seen(0, 0.81, 39.0)), Resources { cpu: 1.2, memory: 80.0 });
        assert_eq!(Threshold.act(&seen(0, 0.8, 40.0)), Resources { cpu: 1.0, memory: 100.0 });
    }

    #[test]
    fn a_peak_rule_cuts_only_when_its_window_is_full_and_low() {
        let mut rule = Peak::tuned(30);
        for index in 0..239 {
            assert_eq!(rule.act(&seen(index, 0.74, 50.0)).cpu, 1.0);
        }
        assert_eq!(rule.act(&seen(239, 0.74, 50.0)), Resources { cpu: 0.8, memory: 100.0 });
        assert_eq!(rule.act(&seen(240, 0.96, 91.0)), Resources { cpu: 1.2, memory: 120.0 });
        for index in 241..480 {
            assert_eq!(rule.act(&seen(index, 0.1, 50.0)).cpu, 1.0, "{index}");
        }
        assert_eq!(rule.act(&seen(480, 0.1, 50.0)).cpu, 0.8);
    }

    #[test]
    fn a_sliding_maximum_forgets() {
        let mut window = SlidingMax::new(3);
        let push = |window: &mut SlidingMax, value| window.push(Some(value));
        assert_eq!(
            (push(&mut window, 5.0), push(&mut window, 1.0)),
            (f64::INFINITY, f64::INFINITY)
        );
        assert_eq!(
            (push(&mut window, 2.0), push(&mut window, 3.0), window.push(None)),
            (5.0, 3.0, 3.0)
        );
    }

    #[test]
    fn the_oracle_rises_before_the_demand_does() {
        let calm = Resources { cpu: 0.5, memory: 50.0 };
        let mut demand = vec![calm; 200];
        demand[100] = Resources { cpu: 0.9, memory: 50.0 };
        let mut oracle = Oracle::default();
        oracle.begin(&DemandSeries { name: "made-up".into(), demand, template: None });
        assert_eq!(oracle.act(&seen(38, 0.5, 50.0)).cpu, 0.8);
        assert_eq!(oracle.act(&seen(39, 0.5, 50.0)).cpu, 1.2);
        assert_eq!(oracle.act(&seen(100, 0.5, 50.0)).cpu, 0.8);
    }

    #[test]
    fn a_fixed_limit_stays() {
        let demand =
            vec![Resources { cpu: 0.5, memory: 50.0 }, Resources { cpu: 1.5, memory: 150.0 }];
        let mut rule = TwiceTheMean::default();
        let begin = rule.begin(&DemandSeries { name: "made-up".into(), demand, template: None });
        let twice = Resources { cpu: 2.0, memory: 200.0 };
        assert_eq!(begin, Some(twice));
        assert_eq!(rule.act(&seen(0, 0.1, 1.0)), Resources { cpu: 1.0, memory: 100.0 });
        assert_eq!(rule.next_life(Resources::ZERO), twice);
    }
}
