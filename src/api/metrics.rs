//! The metrics for Prometheus.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

use super::error::ApiError;
use super::extract::SharedState;
use crate::blocking::run_blocking;
use crate::metrics::Now;

/// Metrics in the text format of Prometheus
#[utoipa::path(
    get, path = "/metrics", tag = "monitoring",
    responses((
        status = 200, body = String, content_type = "text/plain", example = "dqn_scaler_dry_run 1"
    ))
)]
pub async fn metrics(State(state): SharedState) -> Result<impl IntoResponse, ApiError> {
    let (config, cluster) = (state.config(), state.cluster());
    let now = Now {
        config: &config,
        features: state.scaler.features().len(),
        leading: state.leadership.acts(),
        connected: cluster.is_some(),
        watch_fresh: cluster.as_ref().is_some_and(|cluster| cluster.is_fresh()),
        open_breakers: state.scaler.wanted.count_open_breakers(),
        waiting: state.scaler.wanted.waiting(),
        pace: cluster.as_ref().map(|cluster| cluster.pace()).unwrap_or_default(),
        certificate_expiry: state.certificate.lock().map(|validity| validity.until),
        watch_ends: cluster.map(|cluster| cluster.watch_ends()).unwrap_or_default(),
    };
    let text = run_blocking(|| state.scaler.metrics.text(&now))
        .map_err(|error| ApiError::internal(&error))?;
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text))
}
