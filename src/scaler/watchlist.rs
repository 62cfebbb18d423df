//! What a cycle leaves to be looked at before the next one.

use std::collections::{BTreeSet, HashSet};

use internment::ArcIntern as Shared;

use crate::core::context::OwnedPod;
use crate::core::observation::Usage;
use crate::core::pod::PodKey;
use crate::core::second_look::is_young;

/// Pods that are near their limit, and young ones; the most of each.
pub const MOST: usize = 500;

#[derive(Debug, Default)]
pub struct Watchlist {
    /// The fullest first, then the young ones.
    pub pods: Vec<PodKey>,
    /// Every node that has a pod.
    pub nodes: BTreeSet<Shared<str>>,
}

impl Watchlist {
    /// Takes in the nodes of these pods, and those of them that are young.
    pub fn extend(&mut self, pods: &[(OwnedPod, Option<Usage>)], now: i64) {
        for (owned, _) in pods {
            let node = owned.pod.node_name.as_ref();
            if let Some(node) = node.filter(|node| !self.nodes.contains(*node)) {
                self.nodes.insert(node.clone());
            }
        }
        let young = pods.iter().filter(|(owned, _)| is_young(&owned.pod, now));
        let young = young.take(MOST.saturating_sub(self.pods.len()));
        self.pods.extend(young.map(|(owned, _)| owned.pod.key.clone()));
    }

    /// The pods that a cycle has found near their limit, before the others.
    pub fn add_near(&mut self, mut pods: Vec<PodKey>) {
        let near: HashSet<&PodKey> = pods.iter().collect();
        let young = std::mem::take(&mut self.pods).into_iter();
        let young: Vec<_> = young.filter(|pod| !near.contains(pod)).collect();
        pods.extend(young);
        self.pods = pods;
    }
}
