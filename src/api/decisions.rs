//! Past decisions, all or those that are asked for.

use axum::extract::State;
use axum::response::Response;
use serde::de::{Error, IntoDeserializer};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::answers::{
    Confidence, ContainerResult, CurrentMetrics, Explanation, FuturePredictions, Predictions,
    QValues, ResourceChanges, Resources, StatusName, containers, describe,
};
use super::error::{ApiError, BadRequest};
use super::extract::{Query, SharedState};
use super::large;
use super::query;
use crate::blocking::run_blocking;
use crate::clock::rfc3339;
use crate::core::action::Action;
use crate::core::decision::Decision;
use crate::core::outcome::Status;
use crate::core::resource::Resource;
use crate::scaler::journal::Entry;

#[derive(Serialize, ToSchema)]
pub struct Decisions {
    #[schema(example = true)]
    success: bool,
    /// How many decisions follow.
    count: usize,
    /// Oldest first.
    decisions: Vec<PastDecision>,
}

#[derive(Serialize, ToSchema)]
pub struct PastDecision {
    #[schema(example = "postgres-0")]
    pod_name: String,
    #[schema(example = "data")]
    namespace: String,
    #[schema(format = DateTime, example = "2026-11-25T10:30:00.000Z")]
    timestamp: String,
    cpu_action: Action,
    memory_action: Action,
    confidence: Confidence,
    /// False: the pod was skipped, as in its cooldown.
    can_scale: bool,
    current_metrics: CurrentMetrics,
    utilization: Utilization,
    future_predictions: NextUsage,
    /// Whether the cluster was changed.
    applied: bool,
    /// Why the pod was skipped, or what came of it, in words.
    #[schema(example = "cooldown_period")]
    reason: String,
    resource_changes: ResourceChanges,
    /// The limits that the pod had.
    current_resources: Resources,
    /// The limits that it was to have.
    proposed_resources: Resources,
    #[serde(flatten)]
    #[schema(inline)]
    details: Details,
}

/// Only where `details=true` asks for them.
#[derive(Serialize, ToSchema, Default)]
pub struct Details {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    predictions: Option<Predictions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    q_values: Option<QValues>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    explanation: Option<Explanation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    status: Option<StatusName>,
    /// What came of it, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "Scaling executed successfully")]
    message: Option<String>,
    /// The same of each container.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    containers: Vec<ContainerResult>,
}

/// The usage that the network expects at the next step, each under two names.
#[derive(Serialize, ToSchema)]
pub struct NextUsage {
    #[serde(flatten)]
    #[schema(inline)]
    documented: FuturePredictions,
    /// Cores.
    #[schema(minimum = 0, example = 0.18)]
    cpu: f64,
    /// MiB.
    #[schema(minimum = 0, example = 250.0)]
    memory: f64,
}

/// Usage as a share of the limit.
#[derive(Serialize, ToSchema)]
pub struct Utilization {
    /// Per cent.
    #[schema(minimum = 0, example = 30.0)]
    cpu_percentage: f64,
    /// Per cent.
    #[schema(minimum = 0, example = 50.1)]
    memory_percentage: f64,
}

/// Which decisions are asked for: all that is named must hold.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DecisionQuery {
    /// How many decisions at most: 50 if it is absent or no whole number, 10,000 if it is more
    #[serde(default = "default_limit", deserialize_with = "limit")]
    #[param(value_type = i64, minimum = 1, example = 10)]
    limit: usize,
    /// A part of namespace/name
    #[serde(default, deserialize_with = "lowercase")]
    #[param(nullable = false, example = "postgres")]
    pod: Option<String>,
    /// The pod's namespace
    #[serde(default, deserialize_with = "query::text")]
    #[param(nullable = false)]
    namespace: Option<String>,
    /// The action on either resource, in any case
    #[serde(default, deserialize_with = "action")]
    #[param(nullable = false)]
    action: Option<Action>,
    /// Whether the cluster was changed
    #[serde(default, deserialize_with = "query::boolean")]
    #[param(nullable = false)]
    applied: Option<bool>,
    /// What came of the decision
    #[serde(default, deserialize_with = "query::choice")]
    #[param(nullable = false, example = "success")]
    status: Option<StatusName>,
    /// Also how each decision came about, and what came of it
    #[serde(default, deserialize_with = "query::boolean")]
    #[param(nullable = false)]
    details: Option<bool>,
}

fn default_limit() -> usize {
    50
}

/// More are not given at once.
const MOST: usize = 10_000;

fn limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let text = String::deserialize(deserializer)?;
    let Ok(limit) = text.trim().parse::<i64>() else { return Ok(default_limit()) };
    if limit < 1 {
        return Err(D::Error::custom("must be at least 1"));
    }
    Ok(usize::try_from(limit).unwrap_or(MOST).min(MOST))
}

fn lowercase<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(query::text(deserializer)?.map(|text| text.to_lowercase()))
}

fn action<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Action>, D::Error> {
    let text = query::text(deserializer)?.map(|text| text.to_uppercase());
    query::choice(text.unwrap_or_default().into_deserializer())
}

impl DecisionQuery {
    fn takes(&self, entry: &Entry) -> bool {
        self.applied.is_none_or(|applied| entry.applied() == applied)
            && self.namespace.as_ref().is_none_or(|namespace| &entry.pod.namespace == namespace)
            && self.status.as_ref().is_none_or(|status| *status == (&entry.status).into())
            && self.pod.as_ref().is_none_or(|part| {
                format!("{}/{}", entry.pod.namespace, entry.pod.name).contains(part)
            })
            && self.action.is_none_or(|action| {
                let actions = entry.containers.summary().actions;
                actions.cpu == action || actions.memory == action
            })
    }
}

/// The newest decisions, of all pods or of those that the query asks for
#[utoipa::path(
    get, path = "/decisions", tag = "monitoring", params(DecisionQuery),
    responses((status = 200, body = Decisions), BadRequest)
)]
pub async fn decisions(
    State(state): SharedState,
    Query(query): Query<DecisionQuery>,
) -> Result<Response, ApiError> {
    let entries = run_blocking(|| {
        state.scaler.journal.lock().newest(query.limit, |entry| query.takes(entry))
    });
    let details = query.details.unwrap_or(false);
    let frame = Decisions { success: true, count: entries.len(), decisions: Vec::new() };
    large::list(&frame, entries, move |entry| shown(entry, details))
}

fn shown(entry: &Entry, details: bool) -> PastDecision {
    let decision = &*entry.containers.summary();
    let percentage =
        |resource| (decision.observation.utilization(resource) * 1000.0).round() / 10.0;
    PastDecision {
        pod_name: entry.pod.name.clone(),
        namespace: entry.pod.namespace.clone(),
        timestamp: rfc3339(entry.at),
        cpu_action: decision.actions.cpu,
        memory_action: decision.actions.memory,
        confidence: Confidence::of(decision),
        can_scale: entry.can_scale(),
        current_metrics: CurrentMetrics::of(decision),
        utilization: Utilization {
            cpu_percentage: percentage(Resource::Cpu),
            memory_percentage: percentage(Resource::Memory),
        },
        future_predictions: NextUsage {
            documented: FuturePredictions::of(decision),
            cpu: decision.future.cpu,
            memory: decision.future.memory,
        },
        applied: entry.applied(),
        reason: match entry.status {
            Status::Skipped(reason) => reason.name().to_owned(),
            _ => entry.message.to_string(),
        },
        resource_changes: ResourceChanges::of(decision),
        current_resources: Resources::of(&decision.observation.limit),
        proposed_resources: Resources::of(&decision.new_limit),
        details: if details { in_detail(entry, decision) } else { Details::default() },
    }
}

fn in_detail(entry: &Entry, decision: &Decision) -> Details {
    let described = describe(decision);
    Details {
        predictions: described.predictions,
        q_values: described.q_values,
        explanation: described.explanation,
        status: Some((&entry.status).into()),
        message: Some(entry.message.to_string()),
        containers: containers(&entry.containers),
    }
}
