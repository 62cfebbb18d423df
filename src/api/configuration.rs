//! Reading and changing the configuration.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::error::{ApiError, BadRequest};
use super::extract::{JsonBody, SharedState};
use super::json::Json;
use crate::config::{Config, ConfigError, ConfigUpdate};

/// What holds now
#[utoipa::path(
    get, path = "/config", tag = "configuration", responses((status = 200, body = Config))
)]
pub async fn read(State(state): SharedState) -> Json<Config> {
    Json(Config::clone(&state.config()))
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
    JsonBody(update): JsonBody<ConfigUpdate>,
) -> Result<Json<ConfigUpdated>, ApiError> {
    let (fields, ignored) = (serde_json::to_string(&update).unwrap_or_default(), update.ignored());
    let updated = state.config.update(|config| {
        let config = config.updated(update)?;
        Ok::<_, ConfigError>((config.clone(), config))
    });
    let config = updated.map_err(|error| ApiError::bad_request(error.to_string()))?;
    tracing::info!(fields, "configuration updated");
    Ok(Json(ConfigUpdated { success: true, message: "Configuration updated", config, ignored }))
}
