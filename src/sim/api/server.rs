//! The way in from outside: plain HTTP, for kubectl and for tests.

use std::sync::Arc;

use tokio::net::TcpListener;

use crate::sim::simulation::Simulation;

/// Serves the simulated cluster's API on a socket, to anybody, until the task ends.
pub async fn serve(simulation: Arc<Simulation>, listener: TcpListener) {
    if let Err(error) = axum::serve(listener, super::router(simulation)).await {
        tracing::error!(%error, "the simulated cluster's API has stopped");
    }
}
