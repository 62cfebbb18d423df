//! One way through the data, for one pod or for all: observe, decide, plan, apply, record.

use std::collections::{HashMap, HashSet};
use std::iter::repeat;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures::StreamExt;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::agent::{Agent, Decided, Observed};
use super::changes::Changes as PastChanges;
use super::invalid_annotations::InvalidAnnotations;
use super::journal::Journal;
use super::outcomes::{self, Outcomes};
use super::place::Place;
use super::pod_status::PodStatuses;
use super::stopwatch::Stopwatch;
use super::throttling::{Known, Throttling};
use super::wanted::Wanted;
use super::watchlist::{MOST, Watchlist};
use crate::blocking::run_blocking;
use crate::client::error::ClusterError;
use crate::client::retry::Deadline;
use crate::cluster::events::Queue;
use crate::cluster::{Cluster, Unreadable};
use crate::config::Config;
use crate::core::balance::Balance;
use crate::core::budget::ResizeBudget;
use crate::core::change_record::{By, Origin};
use crate::core::context::OwnedPod;
use crate::core::eligibility::{eligibility, is_monitored};
use crate::core::features::FeatureSet;
use crate::core::observation::{Observation, Usage, observe};
use crate::core::outcome::{Outcome, Status};
use crate::core::phases::{Phase, Phases};
use crate::core::pod::PodKey;
use crate::core::pod_decision::{PodDecision, Urgency};
use crate::core::policy::{Controls, Settings};
use crate::core::second_look::listed;
use crate::metrics::Metrics;
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
    pub changes: Mutex<PastChanges>,
    pub outcomes: Outcomes,
    pub pod_status: PodStatuses,
    pub metrics: Metrics,
    pub events: Queue,
    pub(super) invalid_annotations: InvalidAnnotations,
    /// Pods that are being changed right now.
    pub(super) claims: Mutex<HashSet<PodKey>>,
    pub wanted: Wanted,
    pub throttling: Throttling,
    /// What the last cycle found worth a look before the next.
    pub(super) watchlist: Mutex<Arc<Watchlist>>,
    pub(super) stopping: CancellationToken,
}

/// What pods are decided on for.
pub(super) struct Round {
    pub budget: Mutex<ResizeBudget>,
    /// Who asks for what comes of it.
    by: By,
    /// Between two cycles: what changes nothing is told by the cycles alone.
    pub between: bool,
    /// What is wanted is put down for the dispatcher, in place of what cycles before this moment
    /// wanted; None: it is made at once, and waited for.
    later_since: Option<i64>,
    /// Pods that are near their limit.
    near: Mutex<Vec<PodKey>>,
    /// Of a cycle: what all pods together ask for.
    balance: Mutex<Option<Balance>>,
}

/// Whether a cycle makes the changes that it wants itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changes {
    Awaited,
    Dispatched,
}

impl Round {
    pub fn cycle(config: &Config) -> Self {
        let budget = ResizeBudget::new(config.resizes_per_cycle, config.resizes_per_namespace);
        Self {
            budget: Mutex::new(budget),
            by: By::Loop,
            between: false,
            later_since: None,
            near: Mutex::default(),
            balance: Mutex::default(),
        }
    }

    pub fn between_cycles(config: &Config) -> Self {
        Self { between: true, by: By::SecondLook, ..Self::cycle(config) }
    }

    fn asked_for(config: &Config) -> Self {
        Self { by: By::Person, ..Self::cycle(config) }
    }

    fn tells(&self, outcome: &Outcome) -> bool {
        !self.between || matches!(outcome.status, Status::Success(_) | Status::Failed)
    }
}

/// What came of every pod, and how long it took.
pub struct Cycle {
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
            agent: Arc::new(Agent::new(network, features)),
            journal: Mutex::default(),
            changes: Mutex::default(),
            outcomes: Outcomes::default(),
            pod_status: PodStatuses::default(),
            metrics: Metrics::default(),
            events,
            invalid_annotations: InvalidAnnotations::default(),
            claims: Mutex::default(),
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
        let (killed, mut unmeasured) = run_blocking(|| {
            self.agent.retain_present(&listing.pods, &read, long_ago, now);
            let pods = listing.pods.into_iter().map(OwnedPod::select_containers);
            let (killed, others): (Vec<_>, Vec<_>) =
                pods.partition(|owned| self.agent.has_unanswered_kill(&owned.pod, now));
            (killed, by_namespace(others))
        });
        let round = match changes {
            Changes::Dispatched => Round { later_since: Some(now), ..Round::cycle(config) },
            Changes::Awaited => Round::asked_for(config),
        };
        *round.balance.lock() = Some(balance);
        // A kill for memory does not wait for metrics, which may be slow or silent.
        let killed: Vec<_> = killed.into_iter().map(|owned| (owned, None)).collect();
        let mut outcomes = match killed.is_empty() {
            true => Vec::new(),
            false => self.run(cluster, config, killed, &round, &mut watch).await?,
        };
        let mut pods = Vec::new();
        // As long as answers come, there is time for the next.
        let deadline = Mutex::new(Deadline::default());
        let answers = read.into_iter().map(|namespace| {
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
            let usage = run_blocking(|| {
                answer.and_then(|metrics| cluster.usage(&namespace, &metrics, &here))
            });
            pods.extend(here.into_iter().zip(measured(usage).into_iter().chain(repeat(None))));
            watch.lap(Phase::Parse);
        }
        let mut near = run_blocking(|| {
            self.metrics.pods(&pods, config);
            Watchlist::of(&pods, now)
        });
        outcomes.extend(self.run(cluster, config, pods, &round, &mut watch).await?);
        if let Some(balance) = round.balance.lock().take() {
            self.outcomes.end(balance);
        }
        run_blocking(|| {
            near.add_near(round.near.into_inner());
            *self.watchlist.lock() = Arc::new(near);
        });
        self.pod_status
            .retain_present(cluster.clock().now().timestamp(), config.auto_scale_interval as i64);
        Ok(Cycle { outcomes, phases: watch.phases() })
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
        let (round, pods) = (Round::asked_for(config), vec![(owned.clone(), usage.clone())]);
        let outcomes = self.run(cluster, config, pods, &round, &mut Stopwatch::start()).await?;
        Ok(ScaledOne { owned, usage, outcomes })
    }

    /// What would be decided on one pod now, and what would come of it, in words: nothing is done
    /// and nothing is written down.
    pub async fn consider(
        &self,
        cluster: &Cluster,
        config: &Config,
        namespace: &str,
        name: &str,
    ) -> Result<(Decided, String), CycleError> {
        let deadline = Deadline::default();
        let owned = cluster.pod_with_context(namespace, name, deadline).await?.select_containers();
        let usage = measured(cluster.usage_of(&owned, deadline).await);
        let settings = self.settings(cluster, config).await;
        let now = cluster.clock().now().timestamp();
        let throttled = self.throttling.known(now);
        let observed = vec![observe_pod(owned, usage, &settings, &throttled, now)];
        let (agent, policy) = (self.agent.clone(), settings.policy.clone());
        let decide = move || agent.decide(observed, &policy, now, &mut Stopwatch::start());
        let decided = tokio::task::spawn_blocking(decide).await??.pop();
        let decided = decided.ok_or_else(|| ModelError::Input("a pod without an answer".into()))?;
        let mut budget = ResizeBudget::new(1, 1);
        let comes = match self.next_step(cluster, &settings, &decided, &mut budget) {
            Ok(_) => "it is resized at its turn".to_owned(),
            Err((_, message)) => message,
        };
        Ok((decided, comes))
    }

    async fn settings(&self, cluster: &Cluster, config: &Config) -> Settings {
        let mut settings = config.settings();
        settings.policy.memory_cuts = cluster.lowers_memory().await;
        settings
    }

    /// Decides on these pods and acts: the one way for all that is measured, whenever it is.
    pub(super) async fn run(
        &self,
        cluster: &Cluster,
        config: &Config,
        pods: Vec<(OwnedPod, Option<Usage>)>,
        round: &Round,
        watch: &mut Stopwatch,
    ) -> Result<Vec<Outcome>, CycleError> {
        let now = cluster.clock().now();
        let (agent, settings) = (self.agent.clone(), self.settings(cluster, config).await);
        let throttled = self.throttling.known(now.timestamp());
        let observed =
            |(owned, usage)| observe_pod(owned, usage, &settings, &throttled, now.timestamp());
        let observed = run_blocking(|| pods.into_iter().map(observed).collect());
        let (mut laps, policy) = (*watch, settings.policy.clone());
        let (decided, laps) = tokio::task::spawn_blocking(move || {
            let decided = agent.decide(observed, &policy, now.timestamp(), &mut laps);
            (decided, laps)
        })
        .await?;
        *watch = laps;
        let mut decided = decided?;
        let origin = Origin { by: round.by, at: now.timestamp() };
        decided.iter_mut().for_each(|decided| decided.origin = origin);
        let (mut outcomes, due) =
            run_blocking(|| self.plan(cluster, config, &settings, decided, round, now));
        watch.lap(Phase::Plan);
        match round.later_since {
            Some(since) => self.wanted.put(due, now.timestamp(), since),
            None => {
                let work = due.into_iter().map(|due| async {
                    self.act(cluster, config, &settings, due, &Place::default(), now).await
                });
                let acted = futures::stream::iter(work).buffer_unordered(config.resize_concurrency);
                outcomes.extend(acted.collect::<Vec<_>>().await);
            }
        }
        outcomes.retain(|outcome| round.tells(outcome));
        run_blocking(|| {
            outcomes.sort_unstable_by(|a, b| a.pod.cmp(&b.pod));
            self.tell(&outcomes, now.timestamp());
        });
        watch.lap(Phase::Apply);
        Ok(outcomes)
    }

    /// What came of pods, for those who look.
    pub(super) fn tell(&self, outcomes: &[Outcome], now: i64) {
        if outcomes.is_empty() {
            return;
        }
        self.pod_status.record(outcomes, now);
        self.metrics.outcomes(outcomes);
    }

    /// What comes of the pods that nothing is sent for, and the others in the order of their turns:
    /// when not all can be changed in this cycle, what was begun and the pods in need come first,
    /// and of the others each has its chance.
    fn plan(
        &self,
        cluster: &Cluster,
        config: &Config,
        settings: &Settings,
        mut decided: Vec<Decided>,
        round: &Round,
        now: DateTime<Utc>,
    ) -> (Vec<Outcome>, Vec<Decided>) {
        self.settle(&decided, now);
        self.agent.with_templates(|template| {
            let mut balance = round.balance.lock();
            let Some(balance) = balance.as_mut() else { return };
            let ours = |of: &&Decided| is_monitored(&of.owned, &settings.exclusions);
            for decided in decided.iter().filter(ours) {
                let template = template(&decided.owned, &settings.policy).map(|(of, _)| of);
                outcomes::add(balance, decided, template.as_ref());
            }
        });
        if !round.between {
            let pods = decided
                .iter()
                .filter_map(|of| Some((&of.owned.pod.key, of.decision.as_ref().ok()?)));
            round.near.lock().extend(listed(pods, &settings.policy, MOST));
        }
        decided.sort_by_cached_key(|Decided { owned, decision, .. }| {
            let urgency = decision.as_ref().map_or(Urgency::Stays, PodDecision::urgency);
            let begun = owned.pod.resize.is_some();
            (if begun { Urgency::Killed } else { urgency }, rand::random::<u32>())
        });
        let mut budget = round.budget.lock();
        let (mut outcomes, mut due) = (Vec::new(), Vec::new());
        for decided in decided {
            match self.next_step(cluster, settings, &decided, &mut budget) {
                Ok(_) => due.push(decided),
                Err(left) => outcomes.push(self.outcome(cluster, settings, decided, left, now)),
            }
        }
        drop(budget);
        outcomes.retain(|outcome| round.tells(outcome));
        self.record(&outcomes, config, now);
        (outcomes, due)
    }
}

/// Without metrics nothing is decided, which is not a failure.
fn measured<T: Default>(usage: Result<T, ClusterError>) -> T {
    usage.unwrap_or_else(|error| {
        tracing::warn!(%error, "no metrics");
        T::default()
    })
}

fn by_namespace(pods: Vec<OwnedPod>) -> HashMap<String, Vec<OwnedPod>> {
    let mut by_namespace: HashMap<String, Vec<OwnedPod>> = HashMap::new();
    for owned in pods {
        match by_namespace.get_mut(&owned.pod.key.namespace) {
            Some(pods) => pods.push(owned),
            None => drop(by_namespace.insert(owned.pod.key.namespace.clone(), vec![owned])),
        }
    }
    by_namespace
}

/// A pod with what was measured of its containers, and the policy it is decided by.
fn observe_pod(
    owned: OwnedPod,
    usage: Option<Usage>,
    settings: &Settings,
    throttling: &Known,
    now: i64,
) -> Observed {
    let max_age = settings.metrics_max_age;
    match eligibility(&owned, settings) {
        Ok(own_policy) => {
            let controls = own_policy.as_deref().unwrap_or(&settings.policy).controls;
            let container = |index| {
                let seen = observe(&owned.pod, index, usage.as_ref(), max_age, now);
                let name = owned.pod.containers.get(index).map(|container| &*container.name);
                let throttled = throttling.share(&owned.pod.key, name.unwrap_or_default());
                let seen = Observation { throttled, ..seen };
                if controls == Controls::Requests { seen.by_requests() } else { seen }
            };
            let containers = (0..owned.pod.containers.len()).map(container).collect();
            Observed { containers: Ok(containers), owned, own_policy }
        }
        Err(reason) => Observed { owned, containers: Err(reason), own_policy: None },
    }
}
