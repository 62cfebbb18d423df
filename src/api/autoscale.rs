//! Starting, stopping and watching the background task.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::{ApiError, SharedState, cluster};
use crate::state::AppState;

pub async fn start(State(state): SharedState) -> Result<Json<Value>, ApiError> {
    cluster(&state)?;
    enable(&state, true);
    let interval = state.config().auto_scale_interval;
    Ok(Json(json!({"success": true, "message": "Auto-scaling started", "interval": interval})))
}

pub async fn stop(State(state): SharedState) -> Json<Value> {
    enable(&state, false);
    Json(json!({"success": true, "message": "Auto-scaling stopped"}))
}

fn enable(state: &AppState, enabled: bool) {
    state.config.send_if_modified(|config| {
        let changes = config.auto_scale_enabled != enabled;
        Arc::make_mut(config).auto_scale_enabled = enabled;
        changes
    });
}

pub async fn status(State(state): SharedState) -> Json<Value> {
    let config = state.config();
    let running = config.auto_scale_enabled && state.cluster().is_some() && state.autoscaler.is_alive();
    Json(json!({
        "enabled": config.auto_scale_enabled,
        "running": running,
        "interval_seconds": config.auto_scale_interval,
        "thread_alive": running
    }))
}
