//! Deciding on pods on request: one or all.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::answers::{ContainerResult, Described, StatusName, containers, describe};
use super::error::{ApiError, BadRequest, NoCluster, NoSuchPod};
use super::extract::{PodPath, SharedState};
use super::json::Json;
use super::statistics::{ActionDistribution, Overview};
use super::work::{cluster, finish};
use crate::clock::rfc3339;
use crate::core::action::Action;
use crate::core::outcome::{DRY_RUN, Method, Outcome, Status};
use crate::core::skip_reason::SkipReason;
use crate::scaler::cycle::Changes;

#[derive(Serialize, ToSchema)]
pub struct ScaledPod {
    #[schema(example = true)]
    success: bool,
    result: ScalingResult,
}

/// What was decided on the pod and what came of it. A pod on which nothing can be decided has no
/// figures.
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
    #[serde(skip_serializing_if = "Vec::is_empty")]
    containers: Vec<ContainerResult>,
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
    let mut outcomes = finish(&state, |state| async move {
        state.scaler.scale_one(&cluster, &state.config(), &path.namespace, &path.name).await
    })
    .await??;
    let outcome = outcomes.pop().ok_or_else(|| ApiError::internal(&"a pod without an outcome"))?;
    let (status, method) = (StatusName::from(&outcome.status), method(&outcome.status));
    let skipped = matches!(outcome.status, Status::Skipped(_));
    let partly = matches!(outcome.status, Status::Success(_)) && outcome.remark().is_some();
    let result = ScalingResult {
        pod_name: outcome.pod.name,
        namespace: outcome.pod.namespace,
        timestamp: rfc3339(state.clock.now()),
        decided: outcome
            .decided
            .as_ref()
            .map(|decision| describe(&decision.summary()))
            .unwrap_or_default(),
        can_scale: !skipped,
        status,
        applied: method.is_some(),
        reason: match outcome.status {
            Status::Skipped(reason) => Some(reason.name().to_owned()),
            Status::Failed => Some(outcome.message.clone()),
            _ => None,
        },
        message: (skipped
            || partly
            || outcome.status == Status::DryRun && outcome.message != DRY_RUN)
            .then_some(outcome.message),
        scaling_method: method,
        containers: outcome.decided.as_ref().map(containers).unwrap_or_default(),
    };
    Ok(Json(ScaledPod { success: true, result }))
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
    let decided = outcome.decided.filter(|_| reason.is_none()).map(|of| of.summary());
    PodResult {
        pod_name: outcome.pod.name,
        namespace: outcome.pod.namespace,
        status: StatusName::from(&outcome.status),
        message: outcome.message,
        reason,
        actions: decided
            .map(|decision| Actions { cpu: decision.actions.cpu, memory: decision.actions.memory }),
    }
}
