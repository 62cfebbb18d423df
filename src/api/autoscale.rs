//! Starting, stopping and watching the background task.

use std::convert::Infallible;

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::error::{ApiError, NoCluster};
use super::extract::SharedState;
use super::json::Json;
use super::work::cluster;
use crate::config::Config;
use crate::service::state::AppState;

#[derive(Serialize, ToSchema)]
pub struct Started {
    #[schema(example = true)]
    success: bool,
    #[schema(example = "Auto-scaling started")]
    message: &'static str,
    /// Seconds between two cycles.
    #[schema(example = 30)]
    interval: u64,
}

/// Let the autoscale loop run
///
/// Started twice is as started once.
#[utoipa::path(
    post, path = "/autoscale/start", tag = "autoscale",
    responses((status = 200, body = Started), NoCluster)
)]
pub async fn start(State(state): SharedState) -> Result<Json<Started>, ApiError> {
    cluster(&state)?;
    enable(&state, true);
    let interval = state.config().auto_scale_interval;
    Ok(Json(Started { success: true, message: "Auto-scaling started", interval }))
}

#[derive(Serialize, ToSchema)]
pub struct Stopped {
    #[schema(example = true)]
    success: bool,
    #[schema(example = "Auto-scaling stopped")]
    message: &'static str,
}

/// Stop the autoscale loop
///
/// A cycle that is under way ends cleanly; stopped twice is as stopped once.
#[utoipa::path(
    post, path = "/autoscale/stop", tag = "autoscale", responses((status = 200, body = Stopped))
)]
pub async fn stop(State(state): SharedState) -> Json<Stopped> {
    enable(&state, false);
    Json(Stopped { success: true, message: "Auto-scaling stopped" })
}

fn enable(state: &AppState, enabled: bool) {
    let Ok(()) = state.config.update(|config| {
        let config = Config { auto_scale_enabled: enabled, ..config.clone() };
        Ok::<_, Infallible>((config, ()))
    });
}

#[derive(Serialize, ToSchema)]
pub struct LoopStatus {
    /// What the configuration says.
    enabled: bool,
    /// Enabled, connected to a cluster, and the task is alive.
    running: bool,
    #[schema(example = 30)]
    interval_seconds: u64,
    thread_alive: bool,
}

/// Whether the autoscale loop runs
#[utoipa::path(
    get, path = "/autoscale/status", tag = "autoscale", responses((status = 200, body = LoopStatus))
)]
pub async fn status(State(state): SharedState) -> Json<LoopStatus> {
    let config = state.config();
    let running =
        config.auto_scale_enabled && state.cluster().is_some() && state.autoscaler_is_alive();
    Json(LoopStatus {
        enabled: config.auto_scale_enabled,
        running,
        interval_seconds: config.auto_scale_interval,
        thread_alive: running,
    })
}
