//! What is done with one pod: what was decided on it, or what a person asks for. Whatever comes of
//! it stays with this pod.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use futures::FutureExt;
use parking_lot::Mutex;

use super::agent::Decided;
use super::apply::{self, Applied, ApplyError, Fallback, apply, fall_back, take_back};
use super::cycle::Scaler;
use super::decision::Decision;
use super::event::{self, PodEvent};
use super::guard::Override;
use super::journal::Entry;
use super::outcome::{DRY_RUN, Outcome, SkipReason, Status};
use super::pending::{Pending, asked_for, pending};
use super::plan::{Plan, plan};
use super::terms;
use super::turns::Turns;
use crate::cluster::Cluster;
use crate::cluster::inventory::OwnedPod;
use crate::cluster::pod::PodKey;
use crate::cluster::template::TemplateChange;
use crate::config::Config;

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
    /// Does with one pod what was decided on it, and whatever comes of it stays with this pod.
    pub(super) async fn handle(
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
        let act =
            AssertUnwindSafe(self.act(cluster, config, &owned, &decision, turns)).catch_unwind();
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
        let (asked_at, retry_at) =
            (self.agent.resized_at(&owned.pod.key), self.agent.retry_at(&owned.pod.key));
        let unfinished = owned.pod.resize.as_ref().and_then(|condition| {
            Some((
                pending(condition, asked_at, now, config.deferred_timeout as i64)?,
                condition.message.clone(),
            ))
        });
        if let Some((Pending::Wait, message)) = &unfinished {
            let message = format!("Pod {name} waits for the kubelet to finish a resize: {message}");
            return (Status::Skipped(SkipReason::CooldownPeriod), message);
        }
        // The wait after a change does not hold up what must become of that change; the wait after
        // a failure does.
        if decision.cooling_down
            && (unfinished.is_none() || retry_at.is_some_and(|retry| now < retry))
        {
            return (
                Status::Skipped(SkipReason::CooldownPeriod),
                SkipReason::CooldownPeriod.message(name),
            );
        }
        let plan = plan(&owned.pod, decision);
        if plan.is_empty() && unfinished.is_none() {
            if decision.is_overridden_by(Override::ManagedByHpa) {
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
            return (
                Status::Skipped(SkipReason::RateLimited),
                SkipReason::RateLimited.message(name),
            );
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
            None => {
                apply(cluster, owned, &plan, apply::automatic(&decision.actions), patience).await
            }
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
                (
                    Status::Success(applied.method),
                    message.unwrap_or_else(|| "Scaling executed successfully".into()),
                )
            }
            Err(error) => {
                tracing::warn!(pod = %name, namespace = %owned.pod.key.namespace, %error, "resize failed");
                (Status::Failed, error.to_string())
            }
        }
    }

    /// Gives a pod the resources that a person asks for; None while it is being changed by
    /// something else.
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
        self.put(PodEvent::of(owned, plan, applied, cause, cluster.clock().now()));
    }

    fn put(&self, event: PodEvent) {
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
        let (pod, status, message) =
            (outcome.pod.clone(), outcome.status.clone(), outcome.message.clone());
        self.journal
            .lock()
            .record(Entry { pod, at: now, decision, status, message }, config.decisions_kept);
    }
}
