//! What the handlers and the background tasks share.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::cluster::{Cluster, connect};
use crate::config::{Changes, Config};
use crate::leader::{Leadership, SharedLeadership};
use crate::scaler::autoscale::Autoscaler;
use crate::scaler::cycle::Scaler;
use crate::store::Health;

pub struct AppState {
    pub clock: Clock,
    /// Swapped whole: a reader sees one configuration or the other, never a mixture.
    pub config: watch::Sender<Arc<Config>>,
    /// What the configuration is without the changes made at run time.
    base: Arc<Config>,
    pub leadership: SharedLeadership,
    pub scaler: Scaler,
    pub autoscaler: Autoscaler,
    pub store_health: Mutex<Health>,
    pub stopping: CancellationToken,
    /// Work that clients have asked for and that is finished before the service ends.
    pub under_way: TaskTracker,
    cluster: RwLock<Option<Arc<Cluster>>>,
}

impl AppState {
    pub fn new(config: Config, scaler: Scaler, clock: Clock, stopping: CancellationToken) -> Self {
        let base = Arc::new(config);
        Self {
            clock,
            config: watch::Sender::new(base.clone()),
            base,
            leadership: Arc::new(Leadership::alone()),
            scaler,
            autoscaler: Autoscaler::default(),
            store_health: Mutex::default(),
            stopping,
            under_way: TaskTracker::new(),
            cluster: RwLock::new(None),
        }
    }

    pub fn config(&self) -> Arc<Config> {
        self.config.borrow().clone()
    }

    /// What has been changed at run time.
    pub fn changes(&self) -> Changes {
        Changes::between(&self.base, &self.config())
    }

    /// Takes over the changes that another life or another replica has stored, instead of those
    /// made here.
    pub fn adopt(&self, changes: &Changes) {
        let config = changes.onto(&self.base);
        let adopted = self.config.send_if_modified(|current| {
            let changes = **current != config;
            *current = Arc::new(config);
            changes
        });
        if adopted {
            self.scaler.metrics.config_changed();
        }
        if adopted && let Some(cluster) = self.cluster() {
            cluster.watch(&self.config().namespaces);
        }
    }

    pub fn cluster(&self) -> Option<Arc<Cluster>> {
        self.cluster.read().clone()
    }

    pub fn connected(&self, client: kube::Client) {
        let client = self.scaler.metrics.counted(client);
        let cluster = Cluster::new(client, self.clock, self.leadership.clone(), &self.config());
        cluster.watch(&self.config().namespaces);
        *self.cluster.write() = Some(Arc::new(cluster));
    }

    /// Keeps trying until a cluster answers.
    pub async fn connect(self: Arc<Self>) {
        let mut pause = Duration::from_secs(1);
        loop {
            match connect::connect(self.config().in_cluster, self.leadership.identity()).await {
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
