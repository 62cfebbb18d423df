//! The cluster, once there is one, for all who wait for it or ask whether it is there.

use std::sync::Arc;

use tokio::sync::watch;

use super::connected::Cluster;

#[derive(Clone)]
pub struct SharedCluster(watch::Sender<Option<Arc<Cluster>>>);

impl Default for SharedCluster {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl SharedCluster {
    pub fn get(&self) -> Option<Arc<Cluster>> {
        self.0.borrow().clone()
    }

    pub fn set(&self, cluster: Cluster) {
        self.0.send_replace(Some(Arc::new(cluster)));
    }

    /// Waits until there is one.
    pub async fn connected(&self) -> Arc<Cluster> {
        let mut clusters = self.0.subscribe();
        loop {
            if let Some(cluster) = clusters.borrow_and_update().clone() {
                return cluster;
            }
            if clusters.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}
