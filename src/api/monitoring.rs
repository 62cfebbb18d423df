//! Past decisions and statistics.

use std::collections::HashMap;

use axum::Json;
use axum::extract::{Query, State};
use chrono::DateTime;
use serde_json::{Value, json};

use super::scaling::describe;
use super::{ApiError, SharedState};
use crate::clock::rfc3339;
use crate::scaler::action::{Action, Resource};
use crate::scaler::board::Tally;
use crate::scaler::cycle::is_monitored;
use crate::scaler::decision::Decision;
use crate::scaler::journal::{Entry, Totals, by_action};
use crate::state::AppState;

const DEFAULT_LIMIT: i64 = 50;

/// The newest decisions, of all pods or of those that the query asks for.
pub async fn decisions(
    State(state): SharedState,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Json<Value>, ApiError> {
    let limit = query.get("limit").and_then(|text| text.trim().parse().ok()).unwrap_or(DEFAULT_LIMIT);
    if limit < 1 {
        return Err(ApiError::bad_request("limit: must be at least 1"));
    }
    let filter = Filter::parse(&query)?;
    let details = boolean(&query, "details")?.unwrap_or(false);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let entries = state.scaler.journal.lock().newest(limit, |entry| filter.takes(entry));
    let decisions: Vec<_> = entries.iter().map(|entry| shown(entry, details)).collect();
    Ok(Json(json!({"success": true, "count": decisions.len(), "decisions": decisions})))
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
            let known = Action::ALL.into_iter().find(|action| action.name().eq_ignore_ascii_case(text));
            known.ok_or_else(|| ApiError::bad_request("action: must be DECREASE, MAINTAIN or INCREASE"))
        });
        Ok(Self {
            pod: named("pod").map(|text| text.to_lowercase()),
            namespace: named("namespace").cloned(),
            action: action.transpose()?,
            applied: boolean(query, "applied")?,
            status: named("status").cloned(),
        })
    }

    fn takes(&self, entry: &Entry) -> bool {
        let actions = &entry.decision.actions;
        self.applied.is_none_or(|applied| entry.applied() == applied)
            && self.action.is_none_or(|action| actions.cpu == action || actions.memory == action)
            && self.namespace.as_ref().is_none_or(|namespace| &entry.pod.namespace == namespace)
            && self.status.as_ref().is_none_or(|status| entry.status.name() == status)
            && self.pod.as_ref().is_none_or(|part| format!("{}/{}", entry.pod.namespace, entry.pod.name).contains(part))
    }
}

pub fn boolean(query: &HashMap<String, String>, name: &'static str) -> Result<Option<bool>, ApiError> {
    match query.get(name).map(String::as_str) {
        None | Some("") => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(_) => Err(ApiError::bad_request(format!("{name}: must be true or false"))),
    }
}

fn shown(entry: &Entry, details: bool) -> Value {
    let decision = &entry.decision;
    let percentage = |resource| (decision.observation.utilization(resource) * 1000.0).round() / 10.0;
    let mut shown = json!({
        "pod_name": entry.pod.name,
        "namespace": entry.pod.namespace,
        "timestamp": rfc3339(entry.at),
        "cpu_action": decision.actions.cpu,
        "memory_action": decision.actions.memory,
        "confidence": decision.confidence,
        "can_scale": entry.can_scale(),
        "current_metrics": current_metrics(decision),
        "utilization": {
            "cpu_percentage": percentage(Resource::Cpu),
            "memory_percentage": percentage(Resource::Memory)
        },
        "future_predictions": future_predictions(decision)
    });
    if let (true, Some(fields)) = (details, shown.as_object_mut()) {
        describe(fields, decision);
        fields.insert("applied".into(), entry.applied().into());
        fields.insert("status".into(), entry.status.name().into());
        fields.insert("message".into(), entry.message.as_str().into());
    }
    shown
}

pub fn current_metrics(decision: &Decision) -> Value {
    let (usage, limit) = (&decision.observation.usage, &decision.observation.limit);
    json!({
        "cpu_usage": usage.cpu,
        "memory_usage_mb": usage.memory,
        "cpu_limit": limit.cpu,
        "memory_limit_mb": limit.memory
    })
}

pub fn future_predictions(decision: &Decision) -> Value {
    json!({"next_step_cpu": decision.future.cpu, "next_step_memory": decision.future.memory})
}

pub async fn statistics(State(state): SharedState) -> Json<Value> {
    let config = state.config();
    let totals = state.scaler.journal.lock().totals();
    let (usage, confidence) = (totals.average_usage(), totals.average_confidence());
    Json(json!({
        "success": true,
        "statistics": {
            "overview": overview(&state, &totals),
            "action_distribution": action_distribution(&totals),
            "resource_utilization": {
                "average_cpu_usage": usage.cpu,
                "average_memory_usage_mb": usage.memory
            },
            "model_performance": {
                "average_cpu_confidence": confidence.cpu,
                "average_memory_confidence": confidence.memory,
                "model_type": "Multi-Head DQN"
            },
            "system_status": {
                "dry_run_mode": config.dry_run,
                "cooldown_period_minutes": config.scaling_cooldown,
                "scale_factor": config.scale_factor,
                "kubernetes_available": state.cluster().is_some()
            },
            "timestamp": rfc3339(state.clock.now())
        }
    }))
}

/// What the cycles did over time, since the service has run or for the last day.
pub async fn timeline(State(state): SharedState) -> Json<Value> {
    let (step, tallies) = state.scaler.board.timeline();
    let shown = |tally: &Tally| {
        json!({
            "timestamp": at(tally.at),
            "applied": tally.applied,
            "dry_run": tally.dry_run,
            "no_action_needed": tally.unchanged,
            "skipped": tally.skipped,
            "failed": tally.failed
        })
    };
    Json(json!({
        "success": true,
        "step_seconds": step,
        "cycles": tallies.iter().map(shown).collect::<Vec<_>>(),
        "timestamp": rfc3339(state.clock.now())
    }))
}

/// Seconds since the epoch in the format of the API.
pub fn at(seconds: i64) -> Option<String> {
    DateTime::from_timestamp(seconds, 0).map(rfc3339)
}

pub fn overview(state: &AppState, totals: &Totals) -> Value {
    let config = state.config();
    let pods = state.cluster().map(|cluster| cluster.known_pods()).unwrap_or_default();
    json!({
        "total_decisions": totals.decisions,
        "total_pods_monitored": pods.iter().filter(|pod| is_monitored(pod, &config)).count(),
        "applied_scalings": totals.applied,
        "scaling_rate": totals.scaling_rate()
    })
}

pub fn action_distribution(totals: &Totals) -> Value {
    json!({"cpu_actions": by_action(&totals.actions.cpu), "memory_actions": by_action(&totals.actions.memory)})
}
