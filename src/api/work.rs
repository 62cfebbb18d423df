//! How handlers come to the cluster, and how they work on it.

use std::sync::Arc;

use super::error::ApiError;
use crate::cluster::Cluster;
use crate::service::state::AppState;

pub fn cluster(state: &AppState) -> Result<Arc<Cluster>, ApiError> {
    state.cluster().ok_or_else(ApiError::no_cluster)
}

/// Sees work that changes pods through to its end, even if the client goes away meanwhile.
pub async fn finish<T, F>(
    state: &Arc<AppState>,
    work: impl FnOnce(Arc<AppState>) -> F,
) -> Result<T, ApiError>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    state.under_way.spawn(work(state.clone())).await.map_err(|error| ApiError::internal(&error))
}
