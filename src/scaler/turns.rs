//! How many pods one cycle may change, and which come first.

use std::collections::HashMap;

use parking_lot::Mutex;

use super::action::{Action, Resource};
use super::decision::Decision;
use super::guard::Override;
use crate::config::Config;

/// What is left of a cycle's changes.
pub struct Turns {
    per_namespace: usize,
    taken: Mutex<(usize, HashMap<String, usize>)>,
    in_all: usize,
}

impl Turns {
    pub fn new(config: &Config) -> Self {
        let (per_namespace, in_all) = (config.resizes_per_namespace, config.resizes_per_cycle);
        Self { per_namespace, in_all, taken: Mutex::default() }
    }

    /// Takes a change of a pod of this namespace, if there is one left.
    pub fn take(&self, namespace: &str) -> bool {
        let mut taken = self.taken.lock();
        let (all, by_namespace) = &mut *taken;
        let here = by_namespace.get(namespace).copied().unwrap_or_default();
        if *all >= self.in_all || here >= self.per_namespace {
            return false;
        }
        *all += 1;
        by_namespace.insert(namespace.to_owned(), here + 1);
        true
    }
}

/// The smaller, the earlier: killed for memory, then what grows (the fuller first), then what
/// shrinks.
pub fn urgency(decision: &Decision) -> u8 {
    let grows = |resource| *decision.actions.get(resource) == Action::Increase;
    if decision.is_overridden_by(Override::OomKilled) {
        return 0;
    }
    let fullest = Resource::ALL.into_iter().filter(|resource| grows(*resource));
    let fullest =
        fullest.map(|resource| decision.observation.utilization(resource)).reduce(f64::max);
    match fullest {
        Some(share) => 1 + (100.0 * (1.0 - share.clamp(0.0, 1.0))) as u8,
        None if decision.changes_something() => 200,
        None => u8::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::QValues;
    use crate::scaler::action::PerResource;
    use crate::scaler::observation::Observation;

    #[test]
    fn a_cycle_changes_no_more_than_it_may() {
        let config = Config { resizes_per_cycle: 3, resizes_per_namespace: 2, ..Config::default() };
        let turns = Turns::new(&config);
        let taken = ["a", "a", "a", "b", "c"].map(|namespace| turns.take(namespace));
        assert_eq!(taken, [true, true, false, true, false]);
    }

    #[test]
    fn pods_in_need_come_before_those_that_have_too_much() {
        let zero = PerResource::new(0.0, 0.0);
        let decision = |cpu, memory, utilization: f64, overrides| Decision {
            observation: Observation {
                at: 0,
                usage: PerResource::new(utilization, 10.0),
                limit: PerResource::new(1.0, 100.0),
                containers: 1,
                measured: true,
                oom_killed_at: None,
                fullest: PerResource::default(),
            },
            q_values: QValues { cpu: [0.0; 3], memory: [0.0; 3], future: [0.0; 2] },
            predicted: PerResource::new(cpu, memory),
            actions: PerResource::new(cpu, memory),
            new_limit: zero,
            confidence: zero,
            future: zero,
            trend: zero,
            overrides,
            cooling_down: false,
            beyond: PerResource::default(),
        };
        use Action::{Decrease, Increase, Maintain};
        let in_order = [
            decision(Maintain, Increase, 0.1, vec![(Resource::Memory, Override::OomKilled)]),
            decision(Increase, Maintain, 1.3, vec![]),
            decision(Increase, Decrease, 0.9, vec![]),
            // Its CPU is fuller, but that is not what grows.
            decision(Maintain, Increase, 0.99, vec![]),
            decision(Decrease, Maintain, 0.99, vec![]),
            decision(Maintain, Maintain, 0.99, vec![]),
        ];
        let urgencies: Vec<_> = in_order.iter().map(urgency).collect();
        assert!(urgencies.is_sorted_by(|a, b| a < b), "{urgencies:?}");
    }
}
