//! What a cycle leaves to be looked at before the next one.

use hashbrown::HashSet;
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
    /// Every node that has a pod, by name.
    pub nodes: Vec<Shared<str>>,
    /// The same while pods are taken in.
    met: HashSet<Shared<str>>,
}

impl Watchlist {
    /// Takes in the nodes of these pods, and those of them that are young.
    pub fn extend(&mut self, pods: &[(OwnedPod, Option<Usage>)], now: i64) {
        for (owned, _) in pods {
            if let Some(node) = &owned.pod.node_name {
                self.met.get_or_insert_with(node, Shared::clone);
            }
        }
        let young = pods.iter().filter(|(owned, _)| is_young(&owned.pod, now));
        let young = young.take(MOST.saturating_sub(self.pods.len()));
        self.pods.extend(young.map(|(owned, _)| owned.pod.key.clone()));
    }

    /// Ends with the pods that a cycle has found near their limit, before the others.
    pub fn complete(&mut self, mut pods: Vec<PodKey>) {
        let near: HashSet<PodKey> = pods.iter().cloned().collect();
        pods.extend(self.pods.drain(..).filter(|pod| !near.contains(pod)));
        self.pods = pods;
        self.nodes = std::mem::take(&mut self.met).into_iter().collect();
        self.nodes.sort_unstable();
    }
}
