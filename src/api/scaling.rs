//! Deciding on pods at a client's wish: one or all.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::decisions::{Confidence, CurrentMetrics, FuturePredictions};
use super::error::{BadRequest, NoCluster, NoSuchPod};
use super::statistics::{ActionDistribution, Overview};
use super::{ApiError, PodPath, SharedState, cluster, finish};
use crate::clock::rfc3339;
use crate::core::action::Action;
use crate::core::decision::Decision;
use crate::core::explain::explain;
use crate::core::outcome::{DRY_RUN, Method, Outcome, SkipReason, Status};
use crate::core::resource::Resource;

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
    #[schema(schema_with = status_names)]
    status: &'static str,
    /// Whether the cluster was changed.
    applied: bool,
    /// Why the pod was skipped (as in /scale/all), or what failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "cooldown_period")]
    reason: Option<String>,
    /// Why it was skipped, or why nothing was changed though the service is live, in words that
    /// name what is in the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "Pod postgres-0 is in cooldown period")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    scaling_method: Option<Method>,
}

pub fn status_names() -> utoipa::openapi::schema::Object {
    utoipa::openapi::ObjectBuilder::new()
        .schema_type(utoipa::openapi::schema::Type::String)
        .enum_values(Some(Status::NAMES))
        .build()
}

/// Stands for those names where a query takes one.
pub struct StatusName;

impl PartialSchema for StatusName {
    fn schema() -> RefOr<Schema> {
        status_names().into()
    }
}

impl ToSchema for StatusName {}

/// How a decision came about.
#[derive(Serialize, ToSchema, Default)]
pub struct Described {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    current_metrics: Option<CurrentMetrics>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub predictions: Option<Predictions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    confidence: Option<Confidence>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    future_predictions: Option<FuturePredictions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub q_values: Option<QValues>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub resource_changes: Option<ResourceChanges>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub explanation: Option<Explanation>,
}

/// What the network prefers, before guard, cooldown and bounds.
#[derive(Serialize, ToSchema)]
pub struct Predictions {
    cpu_action: Action,
    memory_action: Action,
    #[schema(maximum = 2, example = 2)]
    cpu_action_index: usize,
    #[schema(maximum = 2, example = 1)]
    memory_action_index: usize,
}

/// Of DECREASE, MAINTAIN and INCREASE, in this order.
#[derive(Serialize, ToSchema)]
pub struct QValues {
    #[schema(example = json!([0.1, 0.3, 0.9]))]
    cpu_q_values: [f32; 3],
    #[schema(example = json!([0.2, 0.95, 0.4]))]
    memory_q_values: [f32; 3],
}

#[derive(Serialize, ToSchema)]
pub struct ResourceChanges {
    /// Cores.
    cpu: ResourceChange,
    /// MiB.
    memory: ResourceChange,
}

/// The limit of the whole pod, after guard, cooldown and bounds.
#[derive(Serialize, ToSchema)]
pub struct ResourceChange {
    #[schema(minimum = 0, example = 0.5)]
    current: f64,
    #[schema(minimum = 0, example = 0.6)]
    new: f64,
    #[schema(example = 20.0)]
    change_percent: f64,
    action: Action,
}

/// Derived from the state, the Q values and the guard's changes.
#[derive(Serialize, ToSchema)]
pub struct Explanation {
    #[schema(
        example = "CPU utilization is high (92 % of the limit); the network prefers INCREASE."
    )]
    reasoning: String,
    #[schema(example = json!(["cpu_trend_increasing", "memory_stable"]))]
    factors: Vec<String>,
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
    let (status, method) = (outcome.status.name(), method(&outcome.status));
    let skipped = matches!(outcome.status, Status::Skipped(_));
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
        message: (skipped || outcome.status == Status::DryRun && outcome.message != DRY_RUN)
            .then_some(outcome.message),
        scaling_method: method,
    };
    Ok(Json(ScaledPod { success: true, result }))
}

fn method(status: &Status) -> Option<Method> {
    if let Status::Success(method) = status { Some(*method) } else { None }
}

pub fn describe(decision: &Decision) -> Described {
    let change = |resource| {
        let (current, new) = (decision.observation.limit[resource], decision.new_limit[resource]);
        let percent = if current > 0.0 { (new / current - 1.0) * 100.0 } else { 0.0 };
        ResourceChange {
            current: rounded(current),
            new: rounded(new),
            change_percent: rounded(percent),
            action: decision.actions[resource],
        }
    };
    let (predicted, q_values, explanation) =
        (&decision.predicted, &decision.q_values, explain(decision));
    Described {
        current_metrics: Some(CurrentMetrics::of(decision)),
        predictions: Some(Predictions {
            cpu_action: predicted.cpu,
            memory_action: predicted.memory,
            cpu_action_index: predicted.cpu.index(),
            memory_action_index: predicted.memory.index(),
        }),
        confidence: Some(Confidence::of(decision)),
        future_predictions: Some(FuturePredictions::of(decision)),
        q_values: Some(QValues { cpu_q_values: q_values.cpu, memory_q_values: q_values.memory }),
        resource_changes: Some(ResourceChanges {
            cpu: change(Resource::Cpu),
            memory: change(Resource::Memory),
        }),
        explanation: Some(Explanation {
            reasoning: explanation.reasoning,
            factors: explanation.factors,
        }),
    }
}

/// Without the tail that binary fractions leave behind.
fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
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
    #[schema(schema_with = status_names)]
    status: &'static str,
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
#[utoipa::path(post, path = "/scale/all", tag = "scaling", responses((status = 200, body = ScaledAll), NoCluster))]
pub async fn scale_all(State(state): SharedState) -> Result<Json<ScaledAll>, ApiError> {
    let cluster = cluster(&state)?;
    let cycle =
        finish(
            &state,
            |state| async move { state.scaler.scale_all(&cluster, &state.config()).await },
        )
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
        status: outcome.status.name(),
        message: outcome.message,
        reason,
        actions: decided
            .map(|decision| Actions { cpu: decision.actions.cpu, memory: decision.actions.memory }),
    }
}
