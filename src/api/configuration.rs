//! Reading and changing the configuration.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::{ApiError, JsonObject, SharedState};
use crate::config::Config;

pub async fn read(State(state): SharedState) -> Result<Json<Value>, ApiError> {
    Ok(Json(shown(&state.config())?))
}

pub async fn update(State(state): SharedState, JsonObject(fields): JsonObject) -> Result<Json<Value>, ApiError> {
    // Read, checked and written under one lock: of two updates at once neither loses what the other changed.
    let mut result = None;
    state.config.send_if_modified(|config| {
        let updated = config.updated(&fields);
        if let Ok(updated) = &updated {
            *config = Arc::new(updated.config.clone());
        }
        let changed = updated.is_ok();
        result = Some(updated);
        changed
    });
    let updated = result.ok_or_else(|| ApiError::internal(&"the update was not looked at"))?;
    let updated = updated.map_err(|error| ApiError::bad_request(error.to_string()))?;
    let changed = serde_json::to_string(&fields).unwrap_or_default();
    tracing::info!(fields = changed, "configuration updated");
    let mut answer = json!({"success": true, "message": "Configuration updated", "config": shown(&updated.config)?});
    if !updated.ignored.is_empty() {
        answer["ignored"] = json!(updated.ignored);
    }
    if let Some(cluster) = state.cluster() {
        cluster.watch(&updated.config.namespaces);
    }
    Ok(Json(answer))
}

fn shown(config: &Config) -> Result<Value, ApiError> {
    serde_json::to_value(config).map_err(|error| ApiError::internal(&error))
}
