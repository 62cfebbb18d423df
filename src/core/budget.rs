//! How many pods one cycle may change, and which come first.

use std::collections::HashMap;

use crate::action::Action;
use crate::decision::Decision;
use crate::guard::Override;
use crate::resource::Resource;

/// What is left of a cycle's resizes.
///
/// ```
/// use dqn_scaler_core::budget::ResizeBudget;
///
/// let mut budget = ResizeBudget::new(3, 2);
/// let taken = ["a", "a", "a", "b", "c"].map(|namespace| budget.take(namespace));
/// assert_eq!(taken, [true, true, false, true, false]);
/// ```
#[derive(Debug, Clone)]
pub struct ResizeBudget {
    left: usize,
    per_namespace: usize,
    by_namespace: HashMap<String, usize>,
}

impl ResizeBudget {
    pub fn new(in_all: usize, per_namespace: usize) -> Self {
        Self { left: in_all, per_namespace, by_namespace: HashMap::new() }
    }

    /// Takes a resize of a pod of this namespace, if there is one left.
    pub fn take(&mut self, namespace: &str) -> bool {
        let here = self.by_namespace.get(namespace).copied().unwrap_or_default();
        if self.left == 0 || here >= self.per_namespace {
            return false;
        }
        self.left -= 1;
        self.by_namespace.insert(namespace.to_owned(), here + 1);
        true
    }
}

/// The smaller, the earlier: killed for memory, then what grows (the fuller first), then what
/// shrinks.
pub fn urgency(decision: &Decision) -> u8 {
    let grows = |resource| decision.actions[resource] == Action::Increase;
    if decision.is_overridden_by(Override::OomKilled) {
        return 0;
    }
    let growing = Resource::ALL.into_iter().filter(|resource| grows(*resource));
    let utilization = growing.map(|resource| decision.observation.utilization(resource));
    match utilization.reduce(f64::max) {
        Some(share) => 1 + (100.0 * (1.0 - share.clamp(0.0, 1.0))) as u8,
        None if decision.changes_something() => 200,
        None => u8::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::Observation;
    use crate::resource::PerResource;

    #[test]
    fn pods_in_need_come_before_those_that_have_too_much() {
        use Action::{Decrease, Increase, Maintain};
        let decision = |cpu, memory, utilization: f64, guard_overrides| {
            let usage = PerResource::new(utilization, 10.0);
            let observation = Observation::measured(0, usage, PerResource::new(1.0, 100.0));
            let actions = PerResource::new(cpu, memory);
            Decision { actions, guard_overrides, ..Decision::maintain(observation) }
        };
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
