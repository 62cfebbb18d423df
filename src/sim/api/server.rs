//! The way in from outside: plain HTTP, for kubectl and for tests.

use std::net::Ipv4Addr;
use std::sync::Arc;

use tokio::net::TcpListener;

use crate::sim::simulation::Simulation;

/// Serves the simulated cluster's API on a socket, to anybody, until the task ends; its kubelets
/// have sockets at the same address.
pub async fn serve(simulation: Arc<Simulation>, listener: TcpListener) {
    let host = match listener.local_addr().map(|address| address.ip()) {
        Ok(host) if !host.is_unspecified() => host,
        _ => Ipv4Addr::LOCALHOST.into(),
    };
    let kubelets = simulation.listen(host).await;
    if let Err(error) = &kubelets {
        tracing::error!(%error, "the simulated kubelets cannot be reached");
    }
    if let Err(error) = axum::serve(listener, super::router(simulation)).await {
        tracing::error!(%error, "the simulated cluster's API has stopped");
    }
}
