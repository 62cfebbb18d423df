//! The changes that the cycles want and that are still to be made: at most one a pod, the newest.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::agent::Decided;

/// A change that has waited longer is not made: what it goes by is too old, and the next cycle
/// brings it anew.
const OLDEST: i64 = 15;
/// Changes of the pods of one node that may be under way: one whose kubelet does not answer costs
/// only itself.
const MOST_OF_NODE: usize = 10;

#[derive(Default)]
pub struct Wanted {
    changes: Mutex<Changes>,
    pub more: Notify,
}

#[derive(Default)]
struct Changes {
    /// The most urgent first.
    waiting: VecDeque<Change>,
    /// By node.
    under_way: HashMap<String, usize>,
}

pub struct Change {
    pub decided: Decided,
    /// Seconds since the epoch.
    pub at: i64,
}

impl Change {
    fn node(&self) -> &str {
        self.decided.owned.pod.node_name.as_deref().unwrap_or_default()
    }
}

impl Wanted {
    /// What a cycle wants, the most urgent first; what cycles before `since` wanted counts no more.
    pub fn put(&self, decided: Vec<Decided>, at: i64, since: i64) {
        let mut changes = self.changes.lock();
        changes.waiting.retain(|change| change.at >= since);
        changes.waiting.extend(decided.into_iter().map(|decided| Change { decided, at }));
        drop(changes);
        self.more.notify_one();
    }

    /// The most urgent change of a node that is not busy, which is under way from now on; and how
    /// many were too old.
    pub fn next(&self, now: i64) -> (Option<Change>, usize) {
        let mut changes = self.changes.lock();
        let Changes { waiting, under_way } = &mut *changes;
        let before = waiting.len();
        waiting.retain(|change| now - change.at <= OLDEST);
        let old = before - waiting.len();
        let free = |change: &Change| {
            under_way.get(change.node()).is_none_or(|changes| *changes < MOST_OF_NODE)
        };
        let next = waiting.iter().position(free).and_then(|index| waiting.remove(index));
        if let Some(change) = &next {
            *under_way.entry(change.node().to_owned()).or_default() += 1;
        }
        (next, old)
    }

    /// A change of a pod of that node is over.
    pub fn done(&self, node: &str) {
        let mut changes = self.changes.lock();
        if let Some(left) = changes.under_way.get_mut(node) {
            *left = left.saturating_sub(1);
            if *left == 0 {
                changes.under_way.remove(node);
            }
        }
        drop(changes);
        self.more.notify_one();
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.changes.lock().waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::context::OwnedPod;
    use crate::core::pod::{Pod, PodKey};
    use crate::core::skip_reason::SkipReason;

    fn change(name: &str, node: &str) -> Decided {
        let key = PodKey { namespace: "shop".into(), name: name.into(), uid: name.into() };
        let pod = Pod { node_name: Some(node.into()), ..Pod::new(key, Vec::new()) };
        Decided {
            owned: OwnedPod::bare(pod),
            decision: Err(SkipReason::NoMetrics),
            resized_at: None,
            unsettled_since: None,
            backs_off: false,
            origin: Default::default(),
        }
    }

    fn next(wanted: &Wanted, now: i64) -> Option<String> {
        wanted.next(now).0.map(|change| change.decided.owned.pod.key.name.clone())
    }

    #[test]
    fn changes_come_in_their_order_and_only_while_they_are_new() {
        let wanted = Wanted::default();
        wanted.put(vec![change("a", "n1"), change("b", "n2")], 100, 100);
        wanted.put(vec![change("c", "n1")], 103, 100);
        assert_eq!(next(&wanted, 104).as_deref(), Some("a"));
        wanted.put(vec![change("d", "n1")], 110, 102);
        assert_eq!((wanted.waiting(), next(&wanted, 111).as_deref()), (2, Some("c")));
        let (none, old) = wanted.next(126);
        assert!(none.is_none() && old == 1);
    }

    #[test]
    fn a_busy_node_holds_nobody_else_back() {
        let wanted = Wanted::default();
        let mut all: Vec<_> = (0..12).map(|pod| change(&format!("p{pod}"), "busy")).collect();
        all.push(change("other", "n2"));
        wanted.put(all, 0, 0);
        for pod in 0..MOST_OF_NODE {
            assert_eq!(next(&wanted, 1), Some(format!("p{pod}")));
        }
        assert_eq!(next(&wanted, 1).as_deref(), Some("other"));
        assert_eq!(next(&wanted, 1), None);
        wanted.done("busy");
        assert_eq!(next(&wanted, 1).as_deref(), Some("p10"));
    }
}
