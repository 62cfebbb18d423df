//! How many pods one cycle may change.

use std::collections::HashMap;

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
