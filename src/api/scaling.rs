//! Deciding on pods on request: one or all.

use std::borrow::Cow;

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::answers::{ContainerResult, Described, Resources, StatusName, describe, left};
use super::error::{ApiError, BadRequest, NoCluster, NoSuchPod};
use super::extract::{PodPath, SharedState};
use super::json::Json;
use super::statistics::{ActionDistribution, Overview};
use super::work::{cluster, finish};
use crate::clock::rfc3339;
use crate::core::action::Action;
use crate::core::decision::Decision;
use crate::core::observation::{Observation, observe, together};
use crate::core::outcome::{DRY_RUN, Method, Outcome, Status};
use crate::core::pod::{Pod, PodContainer};
use crate::core::skip_reason::SkipReason;
use crate::scaler::cycle::Changes;

#[derive(Serialize, ToSchema)]
pub struct ScaledPod {
    #[schema(example = true)]
    success: bool,
    result: ScalingResult,
}

/// What was decided on the pod and what came of it. Of a pod on which nothing can be decided there
/// is what is known of it, and why it is left alone.
#[derive(Serialize, ToSchema)]
pub struct ScalingResult {
    #[schema(example = "postgres-0")]
    pod_name: String,
    #[schema(example = "data")]
    namespace: String,
    #[schema(format = DateTime, example = "2026-11-25T10:30:00.000Z")]
    timestamp: String,
    #[serde(flatten)]
    #[schema(inline)]
    decided: Described,
    /// False: the pod was skipped, `reason` says why.
    can_scale: bool,
    status: StatusName,
    /// Whether the cluster was changed.
    applied: bool,
    /// Why the pod was skipped (as in /scale/all), or what failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "cooldown_period")]
    reason: Option<String>,
    /// Why it was skipped, why nothing was changed though the service is live, or what of the
    /// change is refused or still to come, in words that name what is in the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "Pod postgres-0 is in cooldown period")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    scaling_method: Option<Method>,
    /// The same of each container: of the pod there are sums, and the Q values of the container
    /// that decides.
    containers: Vec<ContainerResult>,
    /// What is left of the preferred action after guard, cooldown and bounds.
    cpu_action: Action,
    /// The same of memory.
    memory_action: Action,
    /// The limits that the pod has.
    current_resources: Resources,
    /// The limits that it is to have.
    proposed_resources: Resources,
}

/// Decide on one pod, and act on it unless this is a dry run
#[utoipa::path(
    post, path = "/scale/pod/{namespace}/{pod_name}", tag = "scaling", params(PodPath),
    responses((status = 200, body = ScaledPod), BadRequest, NoSuchPod, NoCluster)
)]
pub async fn scale_pod(
    State(state): SharedState,
    path: PodPath,
) -> Result<Json<ScaledPod>, ApiError> {
    let cluster = cluster(&state)?;
    let scaled = finish(&state, |state| async move {
        let (namespace, name) = (path.namespace, path.name);
        state.scaler.scale_one(&cluster, &state.config(), &namespace, &name).await
    })
    .await??;
    let (owned, usage, mut outcomes) = (scaled.owned, scaled.usage, scaled.outcomes);
    let outcome = outcomes.pop().ok_or_else(|| ApiError::internal(&"a pod without an outcome"))?;
    let now = state.clock.now();
    let max_age = state.config().settings().metrics_max_age;
    let seen = |index| observe(&owned.pod, index, usage.as_ref(), max_age, now.timestamp());
    let seen: Vec<_> = (0..owned.pod.containers.len()).map(seen).collect();
    let result = ScalingResult::of(&outcome, &owned.pod, &seen, rfc3339(now));
    Ok(Json(ScaledPod { success: true, result }))
}

impl ScalingResult {
    fn of(outcome: &Outcome, pod: &Pod, seen: &[Observation], timestamp: String) -> Self {
        let Outcome { pod: key, status, message, decided } = outcome;
        let (method, skipped) = (method(status), matches!(status, Status::Skipped(_)));
        let why_left = if let Status::Skipped(reason) = status { Some(*reason) } else { None };
        let partly = method.is_some() && outcome.remark().is_some();
        let summary = match decided {
            Some(decided) => decided.summary(),
            None => Cow::Owned(Decision::maintain(together(seen))),
        };
        let described = match decided {
            Some(_) => describe(&summary),
            None => left(&summary.observation, why_left, message),
        };
        Self {
            pod_name: key.name.clone(),
            namespace: key.namespace.clone(),
            timestamp,
            decided: described,
            can_scale: !skipped,
            status: StatusName::from(status),
            applied: method.is_some(),
            reason: match status {
                Status::Skipped(reason) => Some(reason.name().to_owned()),
                Status::Failed => Some(message.to_string()),
                _ => None,
            },
            message: (skipped || partly || *status == Status::DryRun && message != DRY_RUN)
                .then(|| message.to_string()),
            scaling_method: method,
            containers: each(outcome, pod, seen),
            cpu_action: summary.actions.cpu,
            memory_action: summary.actions.memory,
            current_resources: Resources::of(&summary.observation.limit),
            proposed_resources: Resources::of(&summary.new_limit),
        }
    }
}

/// The containers in the order of the spec, whether or not anything was decided on them.
fn each(outcome: &Outcome, pod: &Pod, seen: &[Observation]) -> Vec<ContainerResult> {
    let decided = outcome.decided.as_ref().map(|decided| &*decided.containers);
    let decided = decided.unwrap_or_default();
    let one = |(container, seen): (&PodContainer, &Observation)| {
        let name = &*container.name;
        let of = decided.iter().find(|of| *of.name == *name).map(|of| &of.decision);
        match of {
            Some(Ok(decision)) => ContainerResult::decided(name, decision),
            Some(Err(reason)) => {
                let why = reason.message(&pod.key.name);
                ContainerResult::left(name, Some(*reason), seen, &why)
            }
            None => {
                let reason =
                    if let Status::Skipped(reason) = outcome.status { Some(reason) } else { None };
                ContainerResult::left(name, reason, seen, &outcome.message)
            }
        }
    };
    pod.containers.iter().zip(seen).map(one).collect()
}

fn method(status: &Status) -> Option<Method> {
    if let Status::Success(method) = status { Some(*method) } else { None }
}

#[derive(Serialize, ToSchema)]
pub struct ScaledAll {
    #[schema(example = true)]
    success: bool,
    /// How many results follow.
    processed: usize,
    results: Vec<PodResult>,
    statistics: BriefStatistics,
    #[schema(format = DateTime, example = "2026-11-25T10:30:00.000Z")]
    timestamp: String,
}

#[derive(Serialize, ToSchema)]
pub struct PodResult {
    #[schema(example = "postgres-0")]
    pod_name: String,
    #[schema(example = "data")]
    namespace: String,
    status: StatusName,
    #[schema(example = "Scaling executed successfully")]
    message: String,
    /// Why the pod was skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<SkipReason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    actions: Option<Actions>,
}

#[derive(Serialize, ToSchema)]
pub struct Actions {
    cpu: Action,
    memory: Action,
}

#[derive(Serialize, ToSchema)]
pub struct BriefStatistics {
    overview: Overview,
    action_distribution: ActionDistribution,
}

/// Decide on every monitored pod, and act unless this is a dry run
///
/// A failure of one pod never stops the others.
#[utoipa::path(
    post, path = "/scale/all", tag = "scaling",
    responses((status = 200, body = ScaledAll), NoCluster)
)]
pub async fn scale_all(State(state): SharedState) -> Result<Json<ScaledAll>, ApiError> {
    let cluster = cluster(&state)?;
    let cycle = finish(&state, |state| async move {
        state.scaler.scale_all(&cluster, &state.config(), Changes::Awaited).await
    })
    .await??;
    let results: Vec<_> = cycle.outcomes.into_iter().map(result).collect();
    let totals = state.scaler.journal.lock().totals();
    let statistics = BriefStatistics {
        overview: Overview::of(&state, &totals),
        action_distribution: ActionDistribution::of(&totals),
    };
    let timestamp = rfc3339(state.clock.now());
    Ok(Json(ScaledAll { success: true, processed: results.len(), results, statistics, timestamp }))
}

fn result(outcome: Outcome) -> PodResult {
    let reason = if let Status::Skipped(reason) = outcome.status { Some(reason) } else { None };
    let decided = outcome.decided.filter(|_| reason.is_none()).map(|of| of.summary().into_owned());
    PodResult {
        pod_name: outcome.pod.name.clone(),
        namespace: outcome.pod.namespace.clone(),
        status: StatusName::from(&outcome.status),
        message: outcome.message.into_owned(),
        reason,
        actions: decided
            .map(|decision| Actions { cpu: decision.actions.cpu, memory: decision.actions.memory }),
    }
}
