//! One way through the data, for one pod or for all: observe, decide, plan, apply, record.

use std::collections::VecDeque;
use std::iter::repeat;
use std::sync::Arc;

use futures::StreamExt;
use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::agent::Agent;
use super::changes::Changes as PastChanges;
use super::claims::Claims;
use super::invalid_annotations::InvalidAnnotations;
use super::journal::Journal;
use super::outcomes::Outcomes;
use super::panics::{Panicked, attempt, catch};
use super::pod_status::PodStatuses;
use super::round::{Round, Sifted, Way};
use super::stopwatch::Stopwatch;
use super::throttling::Throttling;
use super::wanted::Wanted;
use super::watchlist::Watchlist;
use crate::blocking::run_blocking;
use crate::client::error::ClusterError;
use crate::client::retry::Deadline;
use crate::cluster::events::Queue;
use crate::cluster::{Cluster, Unreadable};
use crate::config::Config;
use crate::core::context::OwnedPod;
use crate::core::features::FeatureSet;
use crate::core::observation::Usage;
use crate::core::outcome::Outcome;
use crate::core::phases::{Phase, Phases};
use crate::metrics::{Inputs, Metrics};
use crate::model::{ModelError, Network};

#[derive(Debug, thiserror::Error)]
pub enum CycleError {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error("model: {0}")]
    Model(#[from] ModelError),
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

pub struct Scaler {
    pub(super) agent: Agent,
    /// Places of those who decide at the same time.
    pub(super) deciding: Semaphore,
    pub journal: Mutex<Journal>,
    pub changes: Mutex<PastChanges>,
    pub outcomes: Outcomes,
    pub pod_status: PodStatuses,
    pub metrics: Metrics,
    pub events: Queue,
    pub(super) invalid_annotations: InvalidAnnotations,
    pub(super) claims: Claims,
    pub wanted: Wanted,
    pub throttling: Throttling,
    /// What the last cycle found worth a look before the next.
    pub(super) watchlist: Mutex<Arc<Watchlist>>,
    pub(super) stopping: CancellationToken,
}

/// Pods that are decided on together, with one forward pass for all of their containers: so few
/// that what one step of it has read is still in the processor's cache for the next.
const BATCH: usize = 256;
/// The histories are one by one: more would wait for them, each on a thread of its own with buffers
/// of libtorch.
const DECIDE_AT_ONCE: usize = 2;

/// Whether a cycle makes the changes that it wants itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changes {
    Awaited,
    Dispatched,
}

/// What came of every pod, where that was waited for, and how long it took.
pub struct Cycle {
    pub pods: usize,
    pub outcomes: Vec<Outcome>,
    pub phases: Phases,
}

/// One pod, what was measured of it, and what came of it.
pub struct ScaledOne {
    pub owned: OwnedPod,
    pub usage: Option<Usage>,
    pub outcomes: Vec<Outcome>,
}

impl Scaler {
    pub fn new(
        network: Network,
        features: FeatureSet,
        events: Queue,
        stopping: CancellationToken,
    ) -> Self {
        Self {
            agent: Agent::new(network, features),
            deciding: Semaphore::new(DECIDE_AT_ONCE),
            journal: Mutex::default(),
            changes: Mutex::default(),
            outcomes: Outcomes::default(),
            pod_status: PodStatuses::default(),
            metrics: Metrics::default(),
            events,
            invalid_annotations: InvalidAnnotations::default(),
            claims: Claims::default(),
            wanted: Wanted::default(),
            throttling: Throttling::default(),
            watchlist: Mutex::default(),
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
    pub async fn scale_all(
        &self,
        cluster: &Cluster,
        config: &Config,
        changes: Changes,
    ) -> Result<Cycle, CycleError> {
        let cycle = self.cycle(cluster, config, changes).await;
        match &cycle {
            Ok(cycle) => self.metrics.cycle_done(&cycle.phases),
            Err(_) => self.metrics.cycle_failed(),
        }
        cycle
    }

    async fn cycle(
        &self,
        cluster: &Cluster,
        config: &Config,
        changes: Changes,
    ) -> Result<Cycle, CycleError> {
        let mut watch = Stopwatch::start();
        let listing = cluster.pods(&config.namespaces, Deadline::default()).await?;
        for Unreadable { namespace, error } in &listing.unreadable {
            let what = "a namespace cannot be read, its pods are left alone";
            tracing::warn!(%namespace, %error, "{what}");
        }
        watch.lap(Phase::List);
        let now = cluster.clock().now().timestamp();
        let long_ago = now - config.policy().guard.window.memory;
        let is_read = |namespace: &&String| {
            listing.unreadable.iter().all(|unreadable| unreadable.namespace != **namespace)
        };
        let read: Vec<_> = config.namespaces.iter().filter(is_read).cloned().collect();
        let live = !config.dry_run && cluster.may_act();
        let balance = run_blocking(|| self.outcomes.begin(&listing.pods, live, now));
        let policy = cluster.settings(config).await.policy;
        let (killed, mut unmeasured) = run_blocking(|| {
            self.agent.retain_present(&listing.pods, &read, long_ago, now);
            let (mut killed, mut others) = (Vec::new(), HashMap::<String, Vec<_>>::new());
            for owned in listing.pods.into_iter().map(OwnedPod::select_containers) {
                let pod = &owned.pod;
                let is_killed =
                    catch(&pod.key, || self.agent.has_unanswered_kill(pod, &policy, now));
                // What panics here is told of when it is decided on with the others.
                if is_killed.unwrap_or(false) {
                    killed.push((owned, None));
                    continue;
                }
                others.entry_ref(&*owned.pod.key.namespace).or_default().push(owned);
            }
            (killed, others)
        });
        let pods = killed.len() + unmeasured.values().map(Vec::len).sum::<usize>();
        let round = match changes {
            Changes::Dispatched => Round::new(config, Way::Later { since: now }),
            Changes::Awaited => Round::new(config, Way::Now),
        };
        *round.balance.lock() = Some(balance);
        // A kill for memory does not wait for metrics, which may be slow or silent.
        let mut outcomes = match killed.is_empty() {
            true => Vec::new(),
            false => self.run(cluster, config, killed, &round, &mut watch).await?,
        };
        let (mut sifted, mut measured_pods) = (Sifted::default(), VecDeque::new());
        let (exclusions, mut inputs) = (config.exclusions(), Inputs::new(config));
        let mut near = Watchlist::default();
        // As long as answers come, there is time for the next.
        let deadline = Mutex::new(Deadline::default());
        let answers = read.into_iter().map(|namespace| {
            let deadline = *deadline.lock();
            async move { (cluster.metrics(&namespace, deadline).await, namespace) }
        });
        // The next answer comes while this one is read.
        let mut answers = futures::stream::iter(answers).buffered(2);
        loop {
            let answer = answers.next().await;
            watch.lap(Phase::Fetch);
            let is_last = answer.is_none();
            if let Some((answer, namespace)) = answer {
                if answer.is_ok() {
                    *deadline.lock() = Deadline::default();
                }
                let here = unmeasured.remove(&namespace).unwrap_or_default();
                run_blocking(|| {
                    let usage = attempt("reading metrics", || {
                        answer.and_then(|metrics| cluster.usage(&namespace, &metrics, &here))
                    });
                    let usage = usage.map(measured).unwrap_or_default();
                    let usage = usage.into_iter().chain(repeat(None));
                    measured_pods.extend(here.into_iter().zip(usage));
                });
                watch.lap(Phase::Parse);
            }
            while measured_pods.len() >= BATCH || (is_last && !measured_pods.is_empty()) {
                let count = measured_pods.len().min(BATCH);
                let batch: Vec<_> = measured_pods.drain(..count).collect();
                run_blocking(|| {
                    attempt("counting pods", || {
                        inputs.extend(&batch, &exclusions);
                        near.extend(&batch, now);
                    })
                });
                self.sift(cluster, config, batch, &round, &mut watch, &mut sifted).await?;
            }
            if is_last {
                break;
            }
        }
        outcomes.extend(self.carry_out(cluster, config, sifted, &round, &mut watch).await);
        if let Some(balance) = round.balance.lock().take() {
            self.outcomes.end(balance);
        }
        run_blocking(|| {
            outcomes.sort_unstable_by(|a, b| a.pod.cmp(&b.pod));
            self.metrics.pods(inputs);
            near.complete(round.near());
            *self.watchlist.lock() = Arc::new(near);
            let (now, interval) = (cluster.clock().now(), config.auto_scale_interval as i64);
            self.pod_status.retain_present(now.timestamp(), interval, pods);
        });
        watch.lap(Phase::Apply);
        Ok(Cycle { pods, outcomes, phases: watch.phases() })
    }

    /// One pod, wherever it is.
    pub async fn scale_one(
        &self,
        cluster: &Cluster,
        config: &Config,
        namespace: &str,
        name: &str,
    ) -> Result<ScaledOne, CycleError> {
        let deadline = Deadline::default();
        let owned = cluster.pod_with_context(namespace, name, deadline).await?.select_containers();
        let usage = measured(cluster.usage_of(&owned, deadline).await);
        let round = Round::new(config, Way::Now);
        let pods = vec![(owned.clone(), usage.clone())];
        let outcomes = self.run(cluster, config, pods, &round, &mut Stopwatch::start()).await?;
        Ok(ScaledOne { owned, usage, outcomes })
    }
}

/// Without metrics nothing is decided, which is not a failure.
pub(super) fn measured<T: Default>(usage: Result<T, ClusterError>) -> T {
    usage.unwrap_or_else(|error| {
        tracing::warn!(%error, "no metrics");
        T::default()
    })
}
