//! How many pods one cycle may change.

use std::collections::{HashMap, HashSet};

use crate::pod::PodKey;

/// What is left of a cycle's pods to change. A pod that has been taken once may be changed again.
///
/// ```
/// use dqn_scaler_core::budget::ResizeBudget;
/// use dqn_scaler_core::pod::pod_key;
///
/// let key = |namespace: &str, uid: &str| pod_key(namespace, uid, uid);
/// let pods = [("a", "1"), ("a", "2"), ("a", "3"), ("b", "4"), ("c", "5"), ("a", "1")];
/// let mut budget = ResizeBudget::new(3, 2);
/// let taken = pods.map(|(namespace, uid)| budget.take(&key(namespace, uid)));
/// assert_eq!(taken, [true, true, false, true, false, true]);
/// ```
#[derive(Debug, Clone)]
pub struct ResizeBudget {
    left: usize,
    per_namespace: usize,
    by_namespace: HashMap<String, usize>,
    taken: HashSet<PodKey>,
}

impl ResizeBudget {
    pub fn new(in_all: usize, per_namespace: usize) -> Self {
        let (by_namespace, taken) = (HashMap::new(), HashSet::new());
        Self { left: in_all, per_namespace, by_namespace, taken }
    }

    /// Takes this pod, if there is one left in all and in its namespace.
    pub fn take(&mut self, pod: &PodKey) -> bool {
        if self.taken.contains(pod) {
            return true;
        }
        let here = self.by_namespace.get(&pod.namespace).copied().unwrap_or_default();
        if self.left == 0 || here >= self.per_namespace {
            return false;
        }
        self.left -= 1;
        self.by_namespace.insert(pod.namespace.clone(), here + 1);
        self.taken.insert(pod.clone())
    }
}
