//! The way to faults and to the log from outside.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use crate::sim::faults::Rule;
use crate::sim::log::Entry;
use crate::sim::simulation::Simulation;
use crate::sim::status::ApiError;

pub async fn rules(State(simulation): State<Arc<Simulation>>) -> Json<Vec<Rule>> {
    Json(simulation.faults().rules())
}

pub async fn replace_rules(
    State(simulation): State<Arc<Simulation>>,
    body: axum::body::Bytes,
) -> Result<Json<Vec<Rule>>, ApiError> {
    let rules =
        serde_json::from_slice(&body).map_err(|error| ApiError::bad_request(error.to_string()))?;
    simulation.faults().replace(rules);
    Ok(Json(simulation.faults().rules()))
}

pub async fn remove_rules(State(simulation): State<Arc<Simulation>>) -> StatusCode {
    simulation.faults().replace(Vec::new());
    StatusCode::NO_CONTENT
}

pub async fn requests(State(simulation): State<Arc<Simulation>>) -> Json<Vec<Entry>> {
    Json(simulation.faults().log.requests())
}

pub async fn forget_requests(State(simulation): State<Arc<Simulation>>) -> StatusCode {
    simulation.faults().log.forget();
    StatusCode::NO_CONTENT
}
