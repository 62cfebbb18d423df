//! Service information, health, and the model.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::SharedState;
use crate::clock::rfc3339;
use crate::leader::Role;
use crate::scaler::action::Action;

pub async fn index() -> Json<Value> {
    Json(json!({
        "service": "DQN Kubernetes Resource Scaler",
        "version": env!("CARGO_PKG_VERSION"),
        "model": "Deep Q-Network (DQN)",
        "endpoints": {
            "GET /health": "Health check",
            "GET /config": "Get current configuration",
            "POST /config": "Update configuration",
            "GET /pods": "List all monitored pods",
            "GET /pods/<namespace>/<pod_name>": "Get specific pod info",
            "POST /scale/pod/<namespace>/<pod_name>": "Scale specific pod",
            "POST /scale/all": "Process and scale all pods",
            "GET /decisions": "Get recent scaling decisions",
            "GET /statistics": "Get scaling statistics",
            "POST /autoscale/start": "Start automatic scaling",
            "POST /autoscale/stop": "Stop automatic scaling",
            "GET /autoscale/status": "Get auto-scaler status",
            "POST /api/namespaces/<namespace>/pods/<pod_name>/resize": "Resize pod resources"
        }
    }))
}

pub async fn health(State(state): SharedState) -> Json<Value> {
    Json(json!({"status": "healthy", "service": "dqn-scaler", "timestamp": rfc3339(state.clock.now())}))
}

/// The process answers: all that a restart could mend.
pub async fn livez() -> &'static str {
    "ok"
}

/// 200 when questions can be answered: by a leader or a follower, with the cluster in view. Metrics that have stopped are
/// told of and change nothing: without them nothing is decided.
pub async fn readyz(State(state): SharedState) -> (StatusCode, Json<Value>) {
    let cluster = state.cluster();
    let fresh = cluster.as_ref().is_some_and(|cluster| cluster.is_fresh());
    let (role, leader) = match state.leadership.role() {
        Role::Alone => ("alone", None),
        Role::Leader => ("leader", Some(state.leadership.identity().to_owned())),
        Role::Follower(leader) => ("follower", leader),
    };
    let config = state.config();
    let now = state.clock.now().timestamp();
    let measured_at = cluster.as_ref().and_then(|cluster| cluster.measured_at());
    let age = measured_at.map(|at| now - at);
    let code = if fresh { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let details = json!({
        "status": if fresh { "ready" } else { "not ready" },
        "role": role,
        "leader": leader,
        "identity": state.leadership.identity(),
        "model": {"loaded": true, "path": config.model_path, "features": state.scaler.features().len()},
        "cluster": {"connected": cluster.is_some()},
        "watch": {"fresh": fresh},
        "metrics": {
            "fresh": age.is_some_and(|age| age <= config.metrics_max_age as i64),
            "newest": measured_at.and_then(super::monitoring::at),
            "age_seconds": age
        },
        "state": *state.store_health.lock(),
        "timestamp": rfc3339(state.clock.now())
    });
    (code, Json(details))
}

pub async fn model_info(State(state): SharedState) -> Json<Value> {
    let config = state.config();
    let actions: Value = Action::ALL.iter().map(|a| (a.index().to_string(), Value::from(a.name()))).collect();
    let labels: Vec<_> = state.scaler.features().iter().map(|feature| feature.label()).collect();
    Json(json!({
        "model_type": "Deep Q-Network (DQN)",
        "model_path": config.model_path,
        "state_dim": config.state_dim,
        "action_dim": config.action_dim,
        "actions": actions,
        "state_features": labels
    }))
}

/// What is known of the model that this version ships, and whether it is the one in use.
const MODEL_CARD: &str = include_str!("../../models/README.md");
const SHIPPED_MODEL: &[u8] = include_bytes!("../../models/final-models/dqn_model.pth");

pub async fn model_card(State(state): SharedState) -> Json<Value> {
    let in_use = tokio::fs::read(state.config().find_model()).await.is_ok_and(|file| file == SHIPPED_MODEL);
    Json(json!({"success": true, "in_use": in_use, "card": MODEL_CARD}))
}
