//! Reading and changing the configuration.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

use super::error::BadRequest;
use super::{ApiError, JsonObject, SharedState};
use crate::config::Config;

/// What holds now
#[utoipa::path(get, path = "/config", tag = "configuration", responses((status = 200, body = Config)))]
pub async fn read(State(state): SharedState) -> Json<Config> {
    Json(Config::clone(&state.config()))
}

/// The fields that can be changed while the service runs, each of them optional.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "says what the body is, which is read field by field to name what is wrong"
)]
pub struct ConfigUpdate {
    /// Decide and explain, change nothing.
    #[schema(nullable = false)]
    dry_run: Option<bool>,
    /// Run the autoscale loop.
    #[schema(nullable = false)]
    auto_scale_enabled: Option<bool>,
    /// Seconds between two cycles.
    #[schema(nullable = false, minimum = 1, maximum = 86400, example = 60)]
    auto_scale_interval: Option<u64>,
    /// Share of the limit that one step adds or takes.
    #[schema(nullable = false, exclusive_minimum = 0, exclusive_maximum = 1, example = 0.3)]
    scale_factor: Option<f64>,
    /// Minutes between two changes of a pod.
    #[schema(nullable = false, minimum = 0, maximum = 1440, example = 45)]
    scaling_cooldown: Option<u64>,
    /// Namespaces to watch.
    #[schema(nullable = false, min_items = 1, pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", example = json!(["default", "data"]))]
    namespaces: Option<Vec<String>>,
    /// Deployments never touched.
    #[schema(nullable = false, example = json!(["redis"]))]
    excluded_deployments: Option<Vec<String>>,
    /// Labels of pods never touched.
    #[schema(nullable = false, example = json!({"app": "redis"}))]
    excluded_labels: Option<BTreeMap<String, String>>,
}

#[derive(Serialize, ToSchema)]
pub struct ConfigUpdated {
    #[schema(example = true)]
    success: bool,
    #[schema(example = "Configuration updated")]
    message: &'static str,
    /// What holds now.
    config: Config,
    /// Fields of the request that cannot be changed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ignored: Vec<String>,
}

/// Change the configuration, all or nothing
///
/// It takes effect at once, in the running loop too. Other fields are ignored and named in the
/// answer.
#[utoipa::path(
    post, path = "/config", tag = "configuration", request_body = ConfigUpdate,
    responses((status = 200, body = ConfigUpdated), BadRequest)
)]

pub async fn update(
    State(state): SharedState,
    JsonObject(fields): JsonObject,
) -> Result<Json<ConfigUpdated>, ApiError> {
    let updated = state
        .config
        .update(|config| config.updated(&fields).map(|updated| (updated.config.clone(), updated)));
    let updated = updated.map_err(|error| ApiError::bad_request(error.to_string()))?;
    let changed = serde_json::to_string(&fields).unwrap_or_default();
    tracing::info!(fields = changed, "configuration updated");
    let (config, ignored) = (updated.config, updated.ignored);
    Ok(Json(ConfigUpdated { success: true, message: "Configuration updated", config, ignored }))
}
