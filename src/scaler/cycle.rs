//! One way through the data, for one pod or for all: observe, decide, plan, apply, record.

use std::collections::{HashMap, HashSet};
use std::iter::repeat;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use futures::{FutureExt, StreamExt};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::agent::{Agent, Decided, Seen};
use super::apply::{self, Applied, ApplyError, Fallback, apply, fall_back, take_back};
use super::board::Board;
use super::decision::Decision;
use super::event::{self, ResizeEvent};
use super::faults::Faults;
use super::guard::Override;
use super::journal::{Entry, Journal};
use super::observation::observe;
use super::outcome::{DRY_RUN, Outcome, SkipReason, Status};
use super::pending::{Pending, asked_for, pending};
use super::phases::{Phase, Phases, Stopwatch};
use super::plan::{Plan, plan};
use super::policy::Policy;
use super::terms::{self, only_named, terms};
use super::turns::{Turns, urgency};
use crate::blocking::at_length;
use crate::cluster::Cluster;
use crate::cluster::error::ClusterError;
use crate::cluster::events::Queue;
use crate::cluster::inventory::OwnedPod;
use crate::cluster::metrics::Usage;
use crate::cluster::pod::PodKey;
use crate::cluster::retry::Deadline;
use crate::cluster::template::TemplateChange;
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
    agent: Arc<Agent>,
    pub journal: Mutex<Journal>,
    pub board: Board,
    pub metrics: Metrics,
    pub events: Queue,
    faults: Faults,
    /// Pods that are being changed right now.
    claims: Mutex<HashSet<PodKey>>,
    stopping: CancellationToken,
}

/// What came of every pod, and how long it took.
pub struct Cycle {
    pub outcomes: Vec<Outcome>,
    pub phases: Phases,
}

/// A pod that is being changed, for as long as this lives.
struct Claim<'a> {
    claims: &'a Mutex<HashSet<PodKey>>,
    pod: PodKey,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.claims.lock().remove(&self.pod);
    }
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
            let usage = at_length(|| answer.and_then(|metrics| cluster.usage(&namespace, &metrics, &here)));
            pods.extend(here.into_iter().zip(measured(usage)?.into_iter().chain(repeat(None))));
            watch.lap(Phase::Parse);
        }
        at_length(|| self.metrics.pods(&pods, config));
        let outcomes = self.run(cluster, config, pods, &mut watch).await?;
        self.board.forget_gone(cluster.clock().now().timestamp(), config.auto_scale_interval as i64);
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
        // When not all can be changed in this cycle, what was begun and the pods in need come first, and of the others each has
        // its chance.
        decided.sort_by_cached_key(|Decided { owned, decision, .. }| {
            let urgency = decision.as_ref().map_or(u8::MAX, urgency);
            (if owned.pod.resize.is_some() { 0 } else { urgency }, rand::random::<u32>())
        });
        let turns = Turns::new(config);
        let work = decided.into_iter().map(|decided| self.handle(cluster, config, decided, &turns, now));
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

    /// Does with one pod what was decided on it, and whatever comes of it stays with this pod.
    async fn handle(
        &self,
        cluster: &Cluster,
        config: &Config,
        decided: Decided,
        turns: &Turns,
        now: DateTime<Utc>,
    ) -> Outcome {
        // Nearly all pods need nothing, and would go by without a pause for anybody else.
        tokio::task::consume_budget().await;
        let Decided { owned, decision, resized_at } = decided;
        let pod = owned.pod.key.clone();
        let decision = match decision {
            Ok(decision) => decision,
            Err(reason) => {
                let policy = config.policy();
                if reason == SkipReason::InvalidAnnotation {
                    let live = !config.dry_run && cluster.may_act();
                    let event = self.faults.tell(&owned, &policy, live, now);
                    event.into_iter().for_each(|event| self.put(event));
                }
                let message = terms::message(reason, &owned, &policy);
                return Outcome { pod, status: Status::Skipped(reason), message, decided: None };
            }
        };
        let claim = self.claim(&pod);
        if claim.is_none() || self.agent.resized_at(&pod) != resized_at {
            // What was decided on limits that change meanwhile is decided anew in the next cycle.
            let message = format!("Pod {} is being resized by another request", pod.name);
            let status = Status::Skipped(SkipReason::CooldownPeriod);
            return Outcome { pod, status, message, decided: Some(decision) };
        }
        let act = AssertUnwindSafe(self.act(cluster, config, &owned, &decision, turns)).catch_unwind();
        let (status, message) = act.await.unwrap_or_else(|_| {
            tracing::error!(pod = %pod.name, namespace = %pod.namespace, "a panic in the handling of one pod");
            (Status::Failed, "Internal error".into())
        });
        let done = cluster.clock().now().timestamp();
        match status {
            Status::Success(_) => self.agent.resized(&pod, done),
            Status::Failed => self.agent.failed(&pod, done, config.auto_scale_interval as i64),
            _ => {}
        }
        let outcome = Outcome { pod, status, message, decided: Some(decision) };
        self.record(&outcome, config, now);
        outcome
    }

    async fn act(
        &self,
        cluster: &Cluster,
        config: &Config,
        owned: &OwnedPod,
        decision: &Decision,
        turns: &Turns,
    ) -> (Status, String) {
        let name = &owned.pod.key.name;
        let now = cluster.clock().now().timestamp();
        let (asked_at, retry_at) = (self.agent.resized_at(&owned.pod.key), self.agent.retry_at(&owned.pod.key));
        let unfinished = owned.pod.resize.as_ref().and_then(|condition| {
            Some((pending(condition, asked_at, now, config.deferred_timeout as i64)?, condition.message.clone()))
        });
        if let Some((Pending::Wait, message)) = &unfinished {
            let message = format!("Pod {name} waits for the kubelet to finish a resize: {message}");
            return (Status::Skipped(SkipReason::CooldownPeriod), message);
        }
        // The wait after a change does not hold up what must become of that change; the wait after a failure does.
        if decision.cooling_down && (unfinished.is_none() || retry_at.is_some_and(|retry| now < retry)) {
            return (Status::Skipped(SkipReason::CooldownPeriod), SkipReason::CooldownPeriod.message(name));
        }
        let plan = plan(&owned.pod, decision);
        if plan.is_empty() && unfinished.is_none() {
            if decision.overrides.iter().any(|(_, why)| *why == Override::ManagedByHpa) {
                let message = terms::message(SkipReason::ManagedByHpa, owned, &config.policy());
                return (Status::Skipped(SkipReason::ManagedByHpa), message);
            }
            return (Status::NoActionNeeded, "No scaling action needed".into());
        }
        if config.dry_run {
            return (Status::DryRun, DRY_RUN.into());
        }
        if let Some(held) = terms::hold(owned) {
            return held;
        }
        if !cluster.may_act() {
            return (Status::Skipped(SkipReason::NotLeading), SkipReason::NotLeading.message(name));
        }
        if self.stopping.is_cancelled() {
            return (Status::Failed, "The service is stopping: the resize was not begun".into());
        }
        if !turns.take(&owned.pod.key.namespace) {
            return (Status::Skipped(SkipReason::RateLimited), SkipReason::RateLimited.message(name));
        }
        let patience = Duration::from_secs(config.resize_timeout);
        let began = Instant::now();
        // What was asked for before is done first.
        let managed_by_hpa = terms::managed_by_hpa(owned);
        let plan = if unfinished.is_some() { asked_for(&owned.pod, managed_by_hpa) } else { plan };
        let applied = match unfinished {
            Some((Pending::TakeBack, message)) => take_back(cluster, owned, &message).await,
            Some((_, message)) => {
                let refusal = format!("the kubelet did not resize the pod: {message}");
                match fall_back(cluster, owned, &plan, TemplateChange::OnlyUp, refusal).await {
                    // What neither the kubelet does nor the template is asked for no more.
                    Err(ApplyError::Refused(refusal)) => take_back(cluster, owned, &refusal).await,
                    done => done,
                }
            }
            None => apply(cluster, owned, &plan, apply::automatic(&decision.actions), patience).await,
        };
        self.resized(cluster, owned, &plan, &applied, began, &event::cause(decision));
        match applied {
            Ok(applied) => {
                let (old, new) = (&decision.observation.limit, &decision.new_limit);
                tracing::info!(
                    pod = %name, namespace = %owned.pod.key.namespace, method = applied.method.name(),
                    cpu = %format_args!("{:.3} -> {:.3}", old.cpu, new.cpu),
                    memory_mb = %format_args!("{:.0} -> {:.0}", old.memory, new.memory),
                    "resized"
                );
                let message = applied.pending.map(|pending| format!("Scaling accepted, {pending}"));
                (Status::Success(applied.method), message.unwrap_or_else(|| "Scaling executed successfully".into()))
            }
            Err(error) => {
                tracing::warn!(pod = %name, namespace = %owned.pod.key.namespace, %error, "resize failed");
                (Status::Failed, error.to_string())
            }
        }
    }

    /// Gives a pod the resources that a person asks for; None while it is being changed by something else.
    pub async fn resize(
        &self,
        cluster: &Cluster,
        config: &Config,
        owned: &OwnedPod,
        plan: &Plan,
        fallback: Fallback,
    ) -> Option<Result<Applied, ApplyError>> {
        let _claim = self.claim(&owned.pod.key)?;
        let patience = Duration::from_secs(config.resize_timeout);
        let began = Instant::now();
        let applied = apply(cluster, owned, plan, fallback, patience).await;
        self.resized(cluster, owned, plan, &applied, began, event::ASKED_FOR);
        if applied.is_ok() {
            self.agent.resized(&owned.pod.key, cluster.clock().now().timestamp());
        }
        Some(applied)
    }

    /// Tells of a resize that was tried.
    fn resized(
        &self,
        cluster: &Cluster,
        owned: &OwnedPod,
        plan: &Plan,
        applied: &Result<Applied, ApplyError>,
        began: Instant,
        cause: &str,
    ) {
        self.metrics.resized(began.elapsed(), applied);
        self.put(ResizeEvent::of(owned, plan, applied, cause, cluster.clock().now()));
    }

    fn put(&self, event: ResizeEvent) {
        if !self.events.put(event) {
            self.metrics.event("dropped");
        }
    }

    /// The right to change a pod; nobody else has it until the claim is dropped.
    fn claim(&self, pod: &PodKey) -> Option<Claim<'_>> {
        let claimed = self.claims.lock().insert(pod.clone());
        claimed.then(|| Claim { claims: &self.claims, pod: pod.clone() })
    }

    fn record(&self, outcome: &Outcome, config: &Config, now: DateTime<Utc>) {
        let Some(decision) = outcome.decided.clone() else { return };
        let (pod, status, message) = (outcome.pod.clone(), outcome.status.clone(), outcome.message.clone());
        self.journal.lock().record(Entry { pod, at: now, decision, status, message }, config.decisions_kept);
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
        Ok(own_policy) => Seen { observation: observe(&owned.pod, usage, config, now), owned, own_policy },
        Err(reason) => Seen { owned, observation: Err(reason), own_policy: None },
    }
}
