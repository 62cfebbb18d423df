//! Past decisions and statistics.

use std::collections::HashMap;

use axum::Json;
use axum::extract::{Query, State};
use serde_json::{Value, json};

use super::{ApiError, SharedState};
use crate::clock::rfc3339;
use crate::scaler::action::Resource;
use crate::scaler::cycle::is_monitored;
use crate::scaler::decision::Decision;
use crate::scaler::journal::{Entry, Totals, by_action};
use crate::state::AppState;

const DEFAULT_LIMIT: i64 = 50;

pub async fn decisions(
    State(state): SharedState,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Json<Value>, ApiError> {
    let limit = query.get("limit").and_then(|text| text.trim().parse().ok()).unwrap_or(DEFAULT_LIMIT);
    if limit < 1 {
        return Err(ApiError::bad_request("limit: must be at least 1"));
    }
    let entries = state.scaler.journal.lock().newest(usize::try_from(limit).unwrap_or(usize::MAX));
    let decisions: Vec<_> = entries.iter().map(shown).collect();
    Ok(Json(json!({"success": true, "count": decisions.len(), "decisions": decisions})))
}

fn shown(entry: &Entry) -> Value {
    let decision = &entry.decision;
    let percentage = |resource| (decision.observation.utilization(resource) * 1000.0).round() / 10.0;
    json!({
        "pod_name": entry.pod.name,
        "namespace": entry.pod.namespace,
        "timestamp": rfc3339(entry.at),
        "cpu_action": decision.actions.cpu,
        "memory_action": decision.actions.memory,
        "confidence": decision.confidence,
        "can_scale": entry.can_scale,
        "current_metrics": current_metrics(decision),
        "utilization": {
            "cpu_percentage": percentage(Resource::Cpu),
            "memory_percentage": percentage(Resource::Memory)
        },
        "future_predictions": future_predictions(decision)
    })
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
