//! A connected cluster: what is asked of it, and how it is changed.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use kube::Client;
use tokio::sync::OnceCell;

use super::inventory::{Inventory, Listing, Unreadable};
use super::kubelets::Kubelets;
use super::metrics;
use super::reads::{KEPT, Once};
use super::write_limiter::{WriteLimiter, WriteTurn, throttled};
use crate::client::connect::{ResizeSupport, resize_support};
use crate::client::error::{Call, ClusterError};
use crate::client::kubelet::KubeletClient;
use crate::client::retry::{Deadline, while_allowed};
use crate::clock::Clock;
use crate::config::Config;
use crate::core::context::OwnedPod;
use crate::core::observation::Usage;
use crate::core::pod::{Pod, PodKey};
use crate::core::policy::Settings;
use crate::leader::SharedLeadership;

/// A connected cluster, real or simulated: the difference ends at the client.
pub struct Cluster {
    client: Client,
    /// Waits for nobody.
    direct: Client,
    clock: Clock,
    pub(super) inventory: Inventory,
    resize_support: OnceCell<ResizeSupport>,
    leadership: SharedLeadership,
    write_limiter: Arc<WriteLimiter>,
    usages: Once<PodKey, Result<Option<Usage>, ClusterError>>,
    /// When the newest usage that was fetched had been measured, in seconds since the epoch; 0
    /// before there was any.
    measured_at: AtomicI64,
    kubelets: Option<Kubelets>,
}

impl Cluster {
    pub fn new(
        client: Client,
        clock: Clock,
        leadership: SharedLeadership,
        config: &Config,
    ) -> Self {
        let write_limiter = WriteLimiter::new(config.writes_per_second, config.resize_concurrency);
        let direct = client.clone();
        let client = throttled(client, leadership.clone(), write_limiter.clone());
        Self {
            // Who is bounded to some namespaces does not look at others.
            inventory: Inventory::new(client.clone(), config.allowed_namespaces.is_empty()),
            client,
            direct,
            clock,
            resize_support: OnceCell::new(),
            leadership,
            write_limiter,
            usages: Once::new(KEPT),
            measured_at: AtomicI64::new(0),
            kubelets: None,
        }
    }

    /// One whose kubelets can be asked, too.
    pub fn with_kubelets(self, client: KubeletClient, config: &Config) -> Self {
        let preferred = config.kubelet_preferred_address_types.clone();
        let kubelets = Kubelets::new(client, self.client.clone(), self.clock, preferred);
        Self { kubelets: Some(kubelets), ..self }
    }

    pub fn kubelets(&self) -> Option<&Kubelets> {
        self.kubelets.as_ref()
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    /// For the election alone: a Lease has to be renewed in time, and is written before there is a
    /// leader.
    pub fn direct(&self) -> &Client {
        &self.direct
    }

    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// What this replica is called.
    pub fn replica(&self) -> &str {
        self.leadership.identity()
    }

    /// Begins to watch the namespaces, so that the first question finds an answer.
    pub fn watch(&self, namespaces: &[String]) {
        self.inventory.watch(namespaces);
    }

    pub async fn pods(
        &self,
        namespaces: &[String],
        deadline: Deadline,
    ) -> Result<Listing, ClusterError> {
        let listing = self.inventory.pods(namespaces, deadline).await?;
        self.write_limiter.begin(listing.pods.len());
        Ok(listing)
    }

    /// For those who only look.
    pub async fn look(
        &self,
        namespace: &str,
        name: &str,
        deadline: Deadline,
    ) -> Result<OwnedPod, ClusterError> {
        self.inventory.look(namespace, name, deadline).await
    }

    pub async fn pod(
        &self,
        namespace: &str,
        name: &str,
        deadline: Deadline,
    ) -> Result<OwnedPod, ClusterError> {
        self.inventory.pod(namespace, name, deadline).await
    }

    /// A pod with what binds it, in any namespace.
    pub async fn pod_with_context(
        &self,
        namespace: &str,
        name: &str,
        deadline: Deadline,
    ) -> Result<OwnedPod, ClusterError> {
        self.inventory.pod_with_context(namespace, name, deadline).await
    }

    /// What the metrics API says of a namespace, to be read by [`Self::usage`].
    pub async fn metrics(
        &self,
        namespace: &str,
        deadline: Deadline,
    ) -> Result<metrics::Answer, ClusterError> {
        metrics::of_namespace(&self.client, namespace, deadline).await
    }

    pub fn usage(
        &self,
        namespace: &str,
        metrics: &metrics::Answer,
        pods: &[OwnedPod],
    ) -> Result<Vec<Option<Usage>>, ClusterError> {
        let usage = metrics::read_list(metrics, namespace, pods)?;
        if let Some(newest) = usage.iter().flatten().map(|usage| usage.at).max() {
            self.measured_at.fetch_max(newest, Ordering::Relaxed);
        }
        Ok(usage)
    }

    pub async fn usage_of(
        &self,
        owned: &OwnedPod,
        deadline: Deadline,
    ) -> Result<Option<Usage>, ClusterError> {
        metrics::of_pod(&self.client, owned, deadline).await
    }

    /// What a pod uses, for those who only look: asked for once for all of them, in its turn.
    pub async fn look_at_usage(&self, owned: &OwnedPod) -> Result<Option<Usage>, ClusterError> {
        let (client, limiter) = (self.client.clone(), self.inventory.limiter());
        let asked = owned.clone();
        let question = || async move {
            let deadline = Deadline::default();
            limiter.turn(metrics::call_of(&asked.pod.key), deadline).await?;
            metrics::of_pod(&client, &asked, deadline).await
        };
        self.usages.ask(owned.pod.key.clone(), question).await
    }

    /// How often watches had to be taken up again, by resource and reason.
    pub fn watch_ends(&self) -> BTreeMap<(&'static str, &'static str), u64> {
        self.inventory.watch_ends()
    }

    /// Pods that have begun to run, or were killed for memory, since this was last asked, as soon
    /// as there are any.
    pub async fn news(&self) -> Vec<OwnedPod> {
        self.inventory.news().await
    }

    /// What the watches know of a pod now, if they are in order.
    pub fn watched(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        self.inventory.watched(namespace, name)
    }

    /// With what binds them.
    pub fn watched_with_context(&self, pods: Vec<Arc<Pod>>) -> Vec<OwnedPod> {
        self.inventory.watched_with_context(pods)
    }

    /// When the newest usage that is known had been measured.
    pub fn measured_at(&self) -> Option<i64> {
        Some(self.measured_at.load(Ordering::Relaxed)).filter(|at| *at > 0)
    }

    /// Pods of these namespaces that the watches hold now, whether they are complete or not; of all
    /// without any.
    pub fn known_pods(&self, namespaces: Option<&HashSet<&str>>) -> Vec<OwnedPod> {
        self.inventory.known(namespaces)
    }

    /// The namespaces whose pods cannot be read now.
    pub fn unreadable(&self) -> Vec<Unreadable> {
        self.inventory.unreadable()
    }

    /// Why it is not known what binds some pods, so that they are not changed.
    pub fn never_read(&self) -> Vec<ClusterError> {
        self.inventory.never_read()
    }

    /// Whether what is known of the pods is what the API server has.
    pub fn is_fresh(&self) -> bool {
        self.inventory.is_fresh()
    }

    /// What this process is called.
    pub fn identity(&self) -> &str {
        self.leadership.identity()
    }

    /// Whether this replica may change anything now.
    pub fn may_act(&self) -> bool {
        self.leadership.acts()
    }

    /// Waits until something may be written, whatever it is.
    pub async fn turn(&self) -> WriteTurn {
        self.write_limiter.turn().await
    }

    /// The same for what is less pressing than changes of pods.
    pub async fn turn_of_less(&self) -> WriteTurn {
        self.write_limiter.turn_of_less().await
    }

    /// Writes a second that the answers of the API server allow now, and how often they were
    /// halved.
    pub fn pace(&self) -> (f64, u64) {
        self.write_limiter.pace()
    }

    /// A call that changes the cluster: in this turn or in the next, and refused unless this
    /// replica leads at the moment of each sending.
    pub(super) async fn write<T, F, Fut>(
        &self,
        call: Call,
        turn: &WriteTurn,
        deadline: Deadline,
        attempt: F,
    ) -> Result<T, ClusterError>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T, kube::Error>>,
    {
        let Some(permit) = self.write_limiter.permit(turn, deadline.left()).await else {
            return Err(ClusterError::NotSent { call, why: "too many writes were waiting" });
        };
        let namespace = call.namespace.clone();
        let write = || permit.write(&namespace, attempt());
        while_allowed(call, deadline, || self.may_act(), write).await
    }

    /// What holds for all pods of this cluster. As long as it is not known whether memory limits
    /// are lowered in place, and whether what does not run is resized, they are not.
    pub async fn settings(&self, config: &Config) -> Settings {
        let (mut settings, support) = (config.settings(), self.resize_support().await);
        (settings.policy.memory_cuts, settings.policy.resizes_down) =
            support.map_or((false, false), |support| (support.memory_cuts, support.resizes_down));
        settings
    }

    pub(super) async fn resize_support(&self) -> Result<ResizeSupport, ClusterError> {
        self.resize_support.get_or_try_init(|| resize_support(&self.client)).await.copied()
    }
}
