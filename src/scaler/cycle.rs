//! One way through the data, for one pod or for all: observe, decide, plan, apply, record.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::{FutureExt, StreamExt};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::apply::{self, apply, fall_back, take_back};
use super::decision::{Decision, decide};
use super::explain::{Explanation, explain};
use super::history::PodHistory;
use super::journal::{Entry, Journal};
use super::observation::Observation;
use super::outcome::{Outcome, SkipReason, Status};
use super::pending::{Pending, asked_for, pending};
use super::plan::plan;
use crate::cluster::Cluster;
use crate::cluster::error::ClusterError;
use crate::cluster::inventory::OwnedPod;
use crate::cluster::metrics::Usage;
use crate::cluster::pod::PodKey;
use crate::cluster::retry::Deadline;
use crate::cluster::template::TemplateChange;
use crate::config::Config;
use crate::model::features::FeatureSet;
use crate::model::{ModelError, Network};

/// The longest pause after resizes of a pod that failed in a row.
const LONGEST_RETRY_SECONDS: i64 = 3600;

#[derive(Debug, thiserror::Error)]
pub enum CycleError {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error("model: {0}")]
    Model(#[from] ModelError),
    #[error("the forward pass did not finish: {0}")]
    Forward(#[from] tokio::task::JoinError),
}

pub struct Scaler {
    network: Arc<Network>,
    features: FeatureSet,
    histories: Mutex<HashMap<PodKey, PodHistory>>,
    pub journal: Mutex<Journal>,
    /// One pass over all pods at a time.
    pass: tokio::sync::Mutex<()>,
    stopping: CancellationToken,
}

struct Candidate {
    owned: OwnedPod,
    observation: Observation,
    history: PodHistory,
}

impl Scaler {
    pub fn new(network: Network, features: FeatureSet, stopping: CancellationToken) -> Self {
        Self {
            network: Arc::new(network),
            features,
            histories: Mutex::default(),
            journal: Mutex::default(),
            pass: tokio::sync::Mutex::new(()),
            stopping,
        }
    }

    pub fn features(&self) -> &FeatureSet {
        &self.features
    }

    /// Every pod of the configured namespaces.
    pub async fn scale_all(&self, cluster: &Cluster, config: &Config) -> Result<Vec<Outcome>, CycleError> {
        let _pass = self.pass.lock().await;
        let deadline = Deadline::default();
        let pods = cluster.pods(&config.namespaces, deadline).await?;
        let mut usages = HashMap::new();
        for namespace in &config.namespaces {
            let usage = match cluster.usage(namespace, deadline).await {
                Ok(usage) => usage,
                Err(error) => {
                    tracing::warn!(%error, "no metrics");
                    HashMap::new()
                }
            };
            usages.insert(namespace.clone(), usage);
        }
        self.forget_gone(&pods, &config.namespaces);
        let pods = pods.into_iter().map(|owned| {
            let key = &owned.pod.key;
            let usage = usages.get(&key.namespace).and_then(|usages| usages.get(&key.name)).copied();
            (owned, usage)
        });
        self.run(cluster, config, pods.collect()).await
    }

    /// One pod, wherever it is.
    pub async fn scale_one(
        &self,
        cluster: &Cluster,
        config: &Config,
        namespace: &str,
        name: &str,
    ) -> Result<Vec<Outcome>, CycleError> {
        let _pass = self.pass.lock().await;
        let deadline = Deadline::default();
        let owned = cluster.pod(namespace, name, deadline).await?;
        let usage = cluster.usage_of(namespace, name, deadline).await?;
        self.run(cluster, config, vec![(owned, usage)]).await
    }

    async fn run(
        &self,
        cluster: &Cluster,
        config: &Config,
        pods: Vec<(OwnedPod, Option<Usage>)>,
    ) -> Result<Vec<Outcome>, CycleError> {
        let now = cluster.clock().now();
        let mut outcomes = Vec::with_capacity(pods.len());
        let mut candidates = Vec::new();
        for (owned, usage) in pods {
            match self.observe(&owned, usage, config, now) {
                Ok((observation, history)) => candidates.push(Candidate { owned, observation, history }),
                Err(reason) => outcomes.push(skipped(owned.pod.key.clone(), reason, None)),
            }
        }
        let decisions = self.decide(&candidates, config, now).await?;
        let work = candidates.into_iter().zip(decisions).map(|(candidate, decision)| async move {
            let key = candidate.owned.pod.key.clone();
            let explanation = explain(&decision, &candidate.history);
            let act = AssertUnwindSafe(self.act(cluster, config, &candidate.owned, &decision)).catch_unwind();
            let (status, message) = act.await.unwrap_or_else(|_| {
                tracing::error!(pod = %key.name, namespace = %key.namespace, "a panic in the handling of one pod");
                (Status::Failed, "Internal error".into())
            });
            self.record(&key, &decision, &status, config, now);
            Outcome { pod: key, status, message, decided: Some((decision, explanation)) }
        });
        let mut acted: Vec<_> = futures::stream::iter(work).buffer_unordered(config.resize_concurrency).collect().await;
        outcomes.append(&mut acted);
        outcomes.sort_by(|a, b| a.pod.cmp(&b.pod));
        Ok(outcomes)
    }

    fn observe(
        &self,
        owned: &OwnedPod,
        usage: Option<Usage>,
        config: &Config,
        now: DateTime<Utc>,
    ) -> Result<(Observation, PodHistory), SkipReason> {
        let pod = &owned.pod;
        if let Some(reason) = cannot_scale(owned, config) {
            return Err(reason);
        }
        let usage = usage.filter(|usage| now.timestamp() - usage.at <= config.metrics_max_age as i64);
        let usage = usage.ok_or(SkipReason::NoMetrics)?;
        let observation = Observation {
            at: usage.at,
            usage: usage.usage,
            limit: pod.limit(),
            containers: pod.containers.len(),
            oom_killed_at: pod.oom_killed_at,
        };
        let mut histories = self.histories.lock();
        let history = histories.entry(pod.key.clone()).or_default();
        history.observe(&observation, &config.policy());
        Ok((observation, history.clone()))
    }

    async fn decide(
        &self,
        candidates: &[Candidate],
        config: &Config,
        now: DateTime<Utc>,
    ) -> Result<Vec<Decision>, CycleError> {
        let policy = config.policy();
        let mut rows = Vec::with_capacity(candidates.len() * self.features.len());
        for candidate in candidates {
            self.features.extend_row(&mut rows, &candidate.observation, &candidate.history, &policy);
        }
        let (network, shape) = (self.network.clone(), (candidates.len(), self.features.len()));
        let q_values = tokio::task::spawn_blocking(move || {
            // The rows were written one feature after another: the shape fits by construction.
            let states = ndarray::Array2::from_shape_vec(shape, rows).unwrap_or_default();
            network.forward(states.view())
        })
        .await??;
        let decide = |(candidate, q): (&Candidate, _)| {
            decide(&candidate.observation, &candidate.history, q, &policy, now.timestamp())
        };
        Ok(candidates.iter().zip(&q_values).map(decide).collect())
    }

    async fn act(&self, cluster: &Cluster, config: &Config, owned: &OwnedPod, decision: &Decision) -> (Status, String) {
        let name = &owned.pod.key.name;
        let now = cluster.clock().now().timestamp();
        let (asked_at, retry_at) = {
            let histories = self.histories.lock();
            histories.get(&owned.pod.key).map_or((None, None), |history| (history.resized_at, history.retry_at))
        };
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
            return (Status::NoActionNeeded, "No scaling action needed".into());
        }
        if config.dry_run {
            return (Status::DryRun, "Dry run: nothing was changed".into());
        }
        if self.stopping.is_cancelled() {
            return (Status::Failed, "The service is stopping: the resize was not begun".into());
        }
        let patience = Duration::from_secs(config.resize_timeout);
        let applied = match unfinished {
            Some((Pending::TakeBack, message)) => take_back(cluster, owned, &message).await,
            Some((_, message)) => {
                let refusal = format!("the kubelet did not resize the pod: {message}");
                fall_back(cluster, owned, &asked_for(&owned.pod), TemplateChange::OnlyUp, refusal).await
            }
            None => apply(cluster, owned, &plan, apply::automatic(&decision.actions), patience).await,
        };
        match applied {
            Ok(applied) => {
                let message = applied.pending.map(|pending| format!("Scaling accepted, {pending}"));
                (Status::Success(applied.method), message.unwrap_or_else(|| "Scaling executed successfully".into()))
            }
            Err(error) => {
                tracing::warn!(pod = %name, namespace = %owned.pod.key.namespace, %error, "resize failed");
                (Status::Failed, error.to_string())
            }
        }
    }

    fn record(&self, key: &PodKey, decision: &Decision, status: &Status, config: &Config, now: DateTime<Utc>) {
        let applied = matches!(status, Status::Success(_));
        if let Some(history) = self.histories.lock().get_mut(key) {
            if applied {
                history.resized_at = Some(now.timestamp());
                (history.retry_at, history.failures) = (None, 0);
            } else if *status == Status::Failed {
                let pause = (config.auto_scale_interval as i64) << history.failures.min(10);
                history.retry_at = Some(now.timestamp() + pause.min(LONGEST_RETRY_SECONDS));
                history.failures += 1;
            }
        }
        let can_scale = !matches!(status, Status::Skipped(_));
        let entry = Entry { pod: key.clone(), at: now, decision: decision.clone(), can_scale, applied };
        self.journal.lock().record(entry, config.decisions_kept);
    }

    fn forget_gone(&self, pods: &[OwnedPod], namespaces: &[String]) {
        let present: std::collections::HashSet<_> = pods.iter().map(|owned| &owned.pod.key).collect();
        self.histories.lock().retain(|key, _| !namespaces.contains(&key.namespace) || present.contains(key));
    }
}

/// What speaks against scaling the pod, whatever it uses.
pub fn cannot_scale(owned: &OwnedPod, config: &Config) -> Option<SkipReason> {
    let pod = &owned.pod;
    if is_excluded(owned, config) {
        Some(SkipReason::Excluded)
    } else if pod.phase != "Running" || pod.deleting {
        Some(SkipReason::NotRunning)
    } else if pod.limit() == super::action::PerResource::new(0.0, 0.0) {
        Some(SkipReason::NoResourceSpec)
    } else {
        None
    }
}

pub fn is_excluded(owned: &OwnedPod, config: &Config) -> bool {
    let labels = &owned.pod.labels;
    let by_label = config.excluded_labels.iter().any(|(key, value)| labels.get(key) == Some(value));
    let by_deployment = owned.workload.as_ref().is_some_and(|workload| match workload.kind.as_str() {
        "Deployment" => config.excluded_deployments.contains(&workload.name),
        // A ReplicaSet whose Deployment is not known yet carries its name before the hash.
        "ReplicaSet" => workload
            .name
            .rsplit_once('-')
            .is_some_and(|(name, _)| config.excluded_deployments.iter().any(|d| d == name)),
        _ => false,
    });
    by_label || by_deployment || owned.pod.mirror
}

/// Watched and acted upon: neither excluded nor finished nor on its way out.
pub fn is_monitored(owned: &OwnedPod, config: &Config) -> bool {
    let finished = matches!(owned.pod.phase.as_str(), "Succeeded" | "Failed");
    !is_excluded(owned, config) && !finished && !owned.pod.deleting
}

fn skipped(pod: PodKey, reason: SkipReason, decided: Option<(Decision, Explanation)>) -> Outcome {
    let message = reason.message(&pod.name);
    Outcome { pod, status: Status::Skipped(reason), message, decided }
}
