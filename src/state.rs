//! What the handlers and the background tasks share.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::cluster::{Cluster, connect};
use crate::config::Config;
use crate::scaler::autoscale::Autoscaler;
use crate::scaler::cycle::Scaler;

pub struct AppState {
    pub clock: Clock,
    /// Swapped whole: a reader sees one configuration or the other, never a mixture.
    pub config: watch::Sender<Arc<Config>>,
    pub scaler: Scaler,
    pub autoscaler: Autoscaler,
    pub stopping: CancellationToken,
    /// Work that clients have asked for and that is finished before the service ends.
    pub under_way: TaskTracker,
    cluster: RwLock<Option<Arc<Cluster>>>,
}

impl AppState {
    pub fn new(config: Config, scaler: Scaler, clock: Clock, stopping: CancellationToken) -> Self {
        Self {
            clock,
            config: watch::Sender::new(Arc::new(config)),
            scaler,
            autoscaler: Autoscaler::default(),
            stopping,
            under_way: TaskTracker::new(),
            cluster: RwLock::new(None),
        }
    }

    pub fn config(&self) -> Arc<Config> {
        self.config.borrow().clone()
    }

    pub fn cluster(&self) -> Option<Arc<Cluster>> {
        self.cluster.read().clone()
    }

    pub fn connected(&self, client: kube::Client) {
        let cluster = Cluster::new(client, self.clock);
        cluster.watch(&self.config().namespaces);
        *self.cluster.write() = Some(Arc::new(cluster));
    }

    /// Keeps trying until a cluster answers.
    pub async fn connect(self: Arc<Self>) {
        let mut pause = Duration::from_secs(1);
        loop {
            match connect::connect(self.config().in_cluster).await {
                Ok(client) => {
                    tracing::info!("connected to the cluster");
                    return self.connected(client);
                }
                Err(error) => tracing::warn!(%error, "no cluster yet"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(30));
        }
    }
}
