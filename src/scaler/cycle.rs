//! One way through the data, for one pod or for all: observe, decide, plan, apply, record.

use std::collections::{HashMap, HashSet};
use std::iter::repeat;
use std::sync::Arc;

use futures::StreamExt;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::agent::{Agent, Decided, Seen};
use super::board::Board;
use super::faults::Faults;
use super::journal::Journal;
use super::observation::observe;
use super::outcome::Outcome;
use super::phases::{Phase, Phases, Stopwatch};
use super::policy::Policy;
use super::terms::{only_named, terms};
use super::turns::{Turns, urgency};
use crate::blocking::at_length;
use crate::cluster::Cluster;
use crate::cluster::error::ClusterError;
use crate::cluster::events::Queue;
use crate::cluster::inventory::OwnedPod;
use crate::cluster::metrics::Usage;
use crate::cluster::pod::PodKey;
use crate::cluster::retry::Deadline;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::model::features::FeatureSet;
use crate::model::{ModelError, Network};

#[derive(Debug, thiserror::Error)]
pub enum CycleError {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error("model: {0}")]
    Model(#[from] ModelError),
    #[error("the decisions did not finish: {0}")]
    Decisions(#[from] tokio::task::JoinError),
}

pub struct Scaler {
    pub(super) agent: Arc<Agent>,
    pub journal: Mutex<Journal>,
    pub board: Board,
    pub metrics: Metrics,
    pub events: Queue,
    pub(super) faults: Faults,
    /// Pods that are being changed right now.
    pub(super) claims: Mutex<HashSet<PodKey>>,
    pub(super) stopping: CancellationToken,
}

/// What came of every pod, and how long it took.
pub struct Cycle {
    pub outcomes: Vec<Outcome>,
    pub phases: Phases,
}

impl Scaler {
    pub fn new(network: Network, features: FeatureSet, stopping: CancellationToken) -> Self {
        Self {
            agent: Arc::new(Agent::new(network, features)),
            journal: Mutex::default(),
            board: Board::default(),
            metrics: Metrics::default(),
            events: Queue::default(),
            faults: Faults::default(),
            claims: Mutex::default(),
            stopping,
        }
    }

    pub fn agent(&self) -> &Agent {
        &self.agent
    }

    pub fn features(&self) -> &FeatureSet {
        self.agent.features()
    }

    /// Every pod of the configured namespaces.
    pub async fn scale_all(&self, cluster: &Cluster, config: &Config) -> Result<Cycle, CycleError> {
        let cycle = self.cycle(cluster, config).await;
        match &cycle {
            Ok(cycle) => self.metrics.cycle_done(&cycle.phases),
            Err(_) => self.metrics.cycle_failed(),
        }
        cycle
    }

    async fn cycle(&self, cluster: &Cluster, config: &Config) -> Result<Cycle, CycleError> {
        let mut watch = Stopwatch::start();
        let pods = cluster.pods(&config.namespaces, Deadline::default()).await?;
        watch.lap(Phase::List);
        let long_ago = cluster.clock().now().timestamp() - config.policy().guard.window.memory;
        let mut unmeasured = at_length(|| {
            self.agent.forget_gone(&pods, &config.namespaces, long_ago);
            by_namespace(pods)
        });
        let mut pods = Vec::new();
        // As long as answers come, there is time for the next.
        let deadline = Mutex::new(Deadline::default());
        let answers = config.namespaces.clone().into_iter().map(|namespace| {
            let deadline = *deadline.lock();
            async move { (cluster.metrics(&namespace, deadline).await, namespace) }
        });
        // The next answer comes while this one is read.
        let mut answers = futures::stream::iter(answers).buffered(2);
        while let Some((answer, namespace)) = answers.next().await {
            watch.lap(Phase::Fetch);
            if answer.is_ok() {
                *deadline.lock() = Deadline::default();
            }
            let here = unmeasured.remove(&namespace).unwrap_or_default();
            let usage =
                at_length(|| answer.and_then(|metrics| cluster.usage(&namespace, &metrics, &here)));
            pods.extend(here.into_iter().zip(measured(usage)?.into_iter().chain(repeat(None))));
            watch.lap(Phase::Parse);
        }
        at_length(|| self.metrics.pods(&pods, config));
        let outcomes = self.run(cluster, config, pods, &mut watch).await?;
        self.board
            .forget_gone(cluster.clock().now().timestamp(), config.auto_scale_interval as i64);
        Ok(Cycle { outcomes, phases: watch.phases() })
    }

    /// One pod, wherever it is.
    pub async fn scale_one(
        &self,
        cluster: &Cluster,
        config: &Config,
        namespace: &str,
        name: &str,
    ) -> Result<Vec<Outcome>, CycleError> {
        let deadline = Deadline::default();
        let owned = only_named(cluster.bound_pod(namespace, name, deadline).await?);
        let usage = measured(cluster.usage_of(&owned, deadline).await)?;
        self.run(cluster, config, vec![(owned, usage)], &mut Stopwatch::start()).await
    }

    async fn run(
        &self,
        cluster: &Cluster,
        config: &Config,
        pods: Vec<(OwnedPod, Option<Usage>)>,
        watch: &mut Stopwatch,
    ) -> Result<Vec<Outcome>, CycleError> {
        let now = cluster.clock().now();
        let (agent, policy) = (self.agent.clone(), config.policy());
        let seen = |(owned, usage)| look(owned, usage, config, &policy, now.timestamp());
        let seen = at_length(|| pods.into_iter().map(seen).collect());
        let mut laps = *watch;
        let (decided, laps) = tokio::task::spawn_blocking(move || {
            let decided = agent.decide(seen, &policy, now.timestamp(), &mut laps);
            (decided, laps)
        })
        .await?;
        *watch = laps;
        let mut decided = decided?;
        // When not all can be changed in this cycle, what was begun and the pods in need come
        // first, and of the others each has its chance.
        decided.sort_by_cached_key(|Decided { owned, decision, .. }| {
            let urgency = decision.as_ref().map_or(u8::MAX, urgency);
            (if owned.pod.resize.is_some() { 0 } else { urgency }, rand::random::<u32>())
        });
        let turns = Turns::new(config);
        let work =
            decided.into_iter().map(|decided| self.handle(cluster, config, decided, &turns, now));
        let mut outcomes: Vec<_> =
            futures::stream::iter(work).buffer_unordered(config.resize_concurrency).collect().await;
        at_length(|| {
            outcomes.sort_unstable_by(|a, b| a.pod.cmp(&b.pod));
            self.board.note(&outcomes, now.timestamp());
            self.metrics.outcomes(&outcomes);
        });
        watch.lap(Phase::Apply);
        Ok(outcomes)
    }
}

/// Without metrics nothing is decided, which is not a failure; a missing permission is.
fn measured<T: Default>(usage: Result<T, ClusterError>) -> Result<T, ClusterError> {
    match usage {
        Err(error) if !matches!(error, ClusterError::Forbidden { .. }) => {
            tracing::warn!(%error, "no metrics");
            Ok(T::default())
        }
        known => known,
    }
}

fn by_namespace(pods: Vec<OwnedPod>) -> HashMap<String, Vec<OwnedPod>> {
    let mut by_namespace: HashMap<String, Vec<OwnedPod>> = HashMap::new();
    for owned in pods.into_iter().map(only_named) {
        match by_namespace.get_mut(&owned.pod.key.namespace) {
            Some(pods) => pods.push(owned),
            None => drop(by_namespace.insert(owned.pod.key.namespace.clone(), vec![owned])),
        }
    }
    by_namespace
}

/// A pod with what was measured of it, and the policy it is decided by.
fn look(owned: OwnedPod, usage: Option<Usage>, config: &Config, policy: &Policy, now: i64) -> Seen {
    match terms(&owned, config, policy) {
        Ok(own_policy) => {
            Seen { observation: observe(&owned.pod, usage, config, now), owned, own_policy }
        }
        Err(reason) => Seen { owned, observation: Err(reason), own_policy: None },
    }
}
