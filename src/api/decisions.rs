//! Past decisions, all or those that are asked for.

use std::collections::HashMap;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::error::BadRequest;
use super::scaling::{
    Explanation, Predictions, QValues, ResourceChanges, StatusName, describe, status_names,
};
use super::{ApiError, Query, SharedState, boolean, status};
use crate::clock::rfc3339;
use crate::core::action::Action;
use crate::core::decision::Decision;
use crate::core::resource::Resource;
use crate::scaler::journal::Entry;

const DEFAULT_LIMIT: i64 = 50;

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
    future_predictions: FuturePredictions,
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
    resource_changes: Option<ResourceChanges>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    explanation: Option<Explanation>,
    /// Whether the cluster was changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    applied: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = status_names)]
    status: Option<&'static str>,
    /// What came of it, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "Scaling executed successfully")]
    message: Option<String>,
}

/// The largest softmax of each head's Q values.
#[derive(Serialize, ToSchema)]
pub struct Confidence {
    #[schema(minimum = 0, maximum = 1, example = 0.85)]
    cpu: f64,
    #[schema(minimum = 0, maximum = 1, example = 0.92)]
    memory: f64,
}

impl Confidence {
    pub fn of(decision: &Decision) -> Self {
        Self { cpu: decision.confidence.cpu, memory: decision.confidence.memory }
    }
}

/// Summed over the pod's containers.
#[derive(Serialize, ToSchema)]
pub struct CurrentMetrics {
    /// Cores.
    #[schema(minimum = 0, example = 0.15)]
    cpu_usage: f64,
    /// MiB.
    #[schema(minimum = 0, example = 256.5)]
    memory_usage_mb: f64,
    /// Cores; the request of a container that has no limit.
    #[schema(minimum = 0, example = 0.5)]
    cpu_limit: f64,
    /// MiB; the request of a container that has no limit.
    #[schema(minimum = 0, example = 512.0)]
    memory_limit_mb: f64,
}

impl CurrentMetrics {
    pub fn of(decision: &Decision) -> Self {
        let (usage, limit) = (&decision.observation.usage, &decision.observation.limit);
        Self {
            cpu_usage: usage.cpu,
            memory_usage_mb: usage.memory,
            cpu_limit: limit.cpu,
            memory_limit_mb: limit.memory,
        }
    }
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

/// The usage that the network expects at the next step.
#[derive(Serialize, ToSchema)]
pub struct FuturePredictions {
    /// Cores.
    #[schema(minimum = 0, example = 0.18)]
    next_step_cpu: f64,
    /// MiB.
    #[schema(minimum = 0, example = 250.0)]
    next_step_memory: f64,
}

impl FuturePredictions {
    pub fn of(decision: &Decision) -> Self {
        Self { next_step_cpu: decision.future.cpu, next_step_memory: decision.future.memory }
    }
}

/// The newest decisions, of all pods or of those that the query asks for
#[utoipa::path(
    get, path = "/decisions", tag = "monitoring",
    params(
        ("limit" = inline(Option<i64>), Query, nullable = false, minimum = 1, example = 10,
            description = "How many decisions at most: 50 if it is absent or no whole number"),
        ("pod" = Option<String>, Query, nullable = false, example = "postgres", description = "A part of namespace/name"),
        ("namespace" = Option<String>, Query, nullable = false, description = "The pod's namespace"),
        ("action" = Option<Action>, Query, nullable = false, description = "The action on either resource, in any case"),
        ("applied" = Option<bool>, Query, nullable = false, description = "Whether the cluster was changed"),
        ("status" = inline(Option<StatusName>), Query, nullable = false, example = "success", description = "What came of the decision"),
        ("details" = Option<bool>, Query, nullable = false, description = "Also how each decision came about, and what came of it"),
    ),
    responses((status = 200, body = Decisions), BadRequest)
)]
pub async fn decisions(
    State(state): SharedState,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Json<Decisions>, ApiError> {
    let limit =
        query.get("limit").and_then(|text| text.trim().parse().ok()).unwrap_or(DEFAULT_LIMIT);
    if limit < 1 {
        return Err(ApiError::bad_request("limit: must be at least 1"));
    }
    let filter = Filter::parse(&query)?;
    let details = boolean(&query, "details")?.unwrap_or(false);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let entries = state.scaler.journal.lock().newest(limit, |entry| filter.takes(entry));
    let decisions: Vec<_> = entries.iter().map(|entry| shown(entry, details)).collect();
    Ok(Json(Decisions { success: true, count: decisions.len(), decisions }))
}

/// Which decisions are asked for: all that is named must hold.
#[derive(Default)]
struct Filter {
    /// A part of `namespace/name`.
    pod: Option<String>,
    namespace: Option<String>,
    /// Of either resource.
    action: Option<Action>,
    applied: Option<bool>,
    /// What came of it.
    status: Option<String>,
}

impl Filter {
    fn parse(query: &HashMap<String, String>) -> Result<Self, ApiError> {
        let named = |name: &str| query.get(name).filter(|text| !text.is_empty());
        let action = named("action").map(|text| {
            let known =
                Action::ALL.into_iter().find(|action| action.name().eq_ignore_ascii_case(text));
            known.ok_or_else(|| {
                ApiError::bad_request("action: must be DECREASE, MAINTAIN or INCREASE")
            })
        });
        Ok(Self {
            pod: named("pod").map(|text| text.to_lowercase()),
            namespace: named("namespace").cloned(),
            action: action.transpose()?,
            applied: boolean(query, "applied")?,
            status: status(query)?,
        })
    }

    fn takes(&self, entry: &Entry) -> bool {
        let actions = &entry.decision.actions;
        self.applied.is_none_or(|applied| entry.applied() == applied)
            && self.action.is_none_or(|action| actions.cpu == action || actions.memory == action)
            && self.namespace.as_ref().is_none_or(|namespace| &entry.pod.namespace == namespace)
            && self.status.as_ref().is_none_or(|status| entry.status.name() == status)
            && self.pod.as_ref().is_none_or(|part| {
                format!("{}/{}", entry.pod.namespace, entry.pod.name).contains(part)
            })
    }
}

fn shown(entry: &Entry, details: bool) -> PastDecision {
    let decision = &entry.decision;
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
        future_predictions: FuturePredictions::of(decision),
        details: if details { in_detail(entry) } else { Details::default() },
    }
}

fn in_detail(entry: &Entry) -> Details {
    let described = describe(&entry.decision);
    Details {
        predictions: described.predictions,
        q_values: described.q_values,
        resource_changes: described.resource_changes,
        explanation: described.explanation,
        applied: Some(entry.applied()),
        status: Some(entry.status.name()),
        message: Some(entry.message.clone()),
    }
}
