//! What the handlers share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::certificate::SharedValidity;
use crate::client::connect::{self, Connection};
use crate::client::kubelet::KubeletClient;
use crate::clock::Clock;
use crate::cluster::{Cluster, SharedCluster};
use crate::config::{Config, Origin, Origins, SharedConfig};
use crate::leader::SharedLeadership;
use crate::scaler::cycle::Scaler;
use crate::scaler::recorded_history;
use crate::store::SharedHealth;

#[derive(Clone)]
pub struct AppState {
    pub clock: Clock,
    pub config: Arc<SharedConfig>,
    pub cluster: SharedCluster,
    pub leadership: SharedLeadership,
    pub scaler: Arc<Scaler>,
    /// Whether the task of the autoscale loop is in its loop.
    pub autoscaler_alive: Arc<AtomicBool>,
    pub store_health: SharedHealth,
    pub certificate: SharedValidity,
    /// How the asking of the Prometheus that knows the past goes.
    pub prometheus: recorded_history::SharedHealth,
    /// The model that decides is the one that this version ships.
    pub shipped_model: bool,
    /// Where the settings of the start come from.
    pub origins: Arc<Origins>,
    /// The cluster is simulated in this process.
    pub simulated: bool,
    pub stopping: CancellationToken,
    /// Work that clients have asked for and that is finished before the service ends.
    pub under_way: TaskTracker,
}

impl AppState {
    pub fn new(
        mut config: Config,
        scaler: Scaler,
        clock: Clock,
        leadership: SharedLeadership,
        stopping: CancellationToken,
    ) -> Self {
        config.state_dim = Some(scaler.features().len());
        Self {
            clock,
            config: Arc::new(SharedConfig::new(config)),
            cluster: SharedCluster::default(),
            leadership,
            scaler: Arc::new(scaler),
            autoscaler_alive: Arc::default(),
            store_health: SharedHealth::default(),
            certificate: SharedValidity::default(),
            prometheus: recorded_history::SharedHealth::default(),
            shipped_model: false,
            origins: Arc::default(),
            simulated: false,
            stopping,
            under_way: TaskTracker::new(),
        }
    }

    pub fn config(&self) -> Arc<Config> {
        self.config.current()
    }

    /// Where a setting that holds now comes from.
    pub fn origin(&self, option: &str) -> Origin {
        if self.config.changes().has(option) { Origin::RunTime } else { self.origins.of(option) }
    }

    pub fn cluster(&self) -> Option<Arc<Cluster>> {
        self.cluster.get()
    }

    pub fn autoscaler_is_alive(&self) -> bool {
        self.autoscaler_alive.load(Ordering::Relaxed)
    }

    /// To a cluster whose kubelets are not asked for anything.
    pub fn connected(&self, client: kube::Client) {
        self.connected_to(client, None);
    }

    pub fn connected_to(&self, client: kube::Client, kubelets: Option<KubeletClient>) {
        let client = self.scaler.metrics.counted(client);
        let config = self.config();
        let mut cluster = Cluster::new(client, self.clock, self.leadership.clone(), &config);
        if let Some(kubelets) = kubelets {
            cluster = cluster.with_kubelets(kubelets, &config);
        }
        cluster.watch(&config.namespaces);
        self.cluster.set(cluster);
    }

    /// Keeps trying until a cluster answers.
    pub async fn connect(self) {
        let mut pause = Duration::from_secs(1);
        loop {
            let config = self.config();
            let identity = self.leadership.identity();
            let connecting =
                connect::connect(config.in_cluster, identity, config.kubelet_insecure_tls);
            match connecting.await {
                Ok(Connection { client, kubelets }) => {
                    tracing::info!("connected to the cluster");
                    return self.connected_to(client, Some(kubelets));
                }
                Err(error) => tracing::warn!(%error, "no cluster yet"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(30));
        }
    }

    /// Informs those who do not read the configuration at each turn what has changed in it.
    pub async fn follow_config(self) {
        let mut changes = self.config.subscribe();
        while changes.changed().await.is_ok() {
            let config = changes.borrow_and_update().clone();
            self.scaler.metrics.config_changed();
            if let Some(cluster) = self.cluster() {
                cluster.watch(&config.namespaces);
            }
        }
    }
}
