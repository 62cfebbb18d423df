//! The background task that makes the changes that cycles and looks between them want: a cycle
//! waits for no API server and no kubelet.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::cycle::Scaler;
use super::wanted::Change;
use crate::cluster::{Cluster, SharedCluster};
use crate::config::SharedConfig;

/// Changes that may be under way in all, most of them waiting for a kubelet's word.
const MOST_UNDER_WAY: usize = 2000;

pub struct Dispatcher {
    pub config: Arc<SharedConfig>,
    pub cluster: SharedCluster,
    pub scaler: Arc<Scaler>,
}

impl Dispatcher {
    /// Runs until the service stops; what was begun is finished.
    pub async fn run(self, stopping: CancellationToken) {
        let mut under_way = JoinSet::new();
        loop {
            while under_way.try_join_next().is_some() {}
            if under_way.len() >= MOST_UNDER_WAY {
                under_way.join_next().await;
            }
            let turn = async {
                match self.cluster.get().filter(|_| self.scaler.wanted.waiting() > 0) {
                    Some(cluster) => Some((cluster.turn().await, cluster)),
                    None => None,
                }
            };
            let turn = tokio::select! {
                turn = turn => turn,
                () = stopping.cancelled() => break,
            };
            // Chosen only now that it can be sent at once.
            let next = turn.and_then(|(turn, cluster)| Some((self.next(&cluster)?, turn, cluster)));
            let Some((change, turn, cluster)) = next else {
                tokio::select! {
                    () = self.scaler.wanted.more.notified() => continue,
                    () = stopping.cancelled() => break,
                }
            };
            let (scaler, config) = (self.scaler.clone(), self.config.clone());
            under_way.spawn(async move {
                let node = change.decided.owned.pod.node_name.clone();
                let (now, config) = (cluster.clock().now(), config.current());
                let urgency = change.decided.urgency();
                scaler.metrics.dispatched(urgency, now.timestamp() - change.at);
                let settings = config.settings();
                let outcome =
                    scaler.act(&cluster, &config, &settings, change.decided, &turn, now).await;
                scaler.wanted.done(node.as_deref().unwrap_or_default());
                if let Some(waiter) = change.waiter {
                    // Whoever waited may have ended.
                    _ = waiter.send(outcome);
                }
            });
        }
        while under_way.join_next().await.is_some() {}
    }

    fn next(&self, cluster: &Cluster) -> Option<Change> {
        let (change, old) = self.scaler.wanted.next(cluster.clock().now().timestamp());
        self.scaler.metrics.too_old(old);
        change
    }
}
