//! Every error leaves in one envelope, with the status code that says whose fault it is.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::cluster::error::ClusterError;
use crate::scaler::apply::ApplyError;
use crate::scaler::cycle::CycleError;

pub struct ApiError {
    status: StatusCode,
    message: String,
}

impl ApiError {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub fn no_cluster() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "Kubernetes client not initialized")
    }

    pub fn follower(leader: Option<&str>) -> Self {
        let leads = leader.map_or("at the moment no replica leads".into(), |leader| format!("{leader} leads"));
        Self::new(StatusCode::SERVICE_UNAVAILABLE, format!("This replica follows and changes nothing: {leads}"))
    }

    /// The message for the log only.
    pub fn internal(message: &dyn std::fmt::Display) -> Self {
        tracing::error!(error = %message, "internal error");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal server error")
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(json!({"success": false, "error": self.message}))).into_response()
    }
}

impl From<ClusterError> for ApiError {
    fn from(error: ClusterError) -> Self {
        let status = if error.is_not_found() { StatusCode::NOT_FOUND } else { StatusCode::INTERNAL_SERVER_ERROR };
        Self::new(status, error.to_string())
    }
}

impl From<CycleError> for ApiError {
    fn from(error: CycleError) -> Self {
        match error {
            CycleError::Cluster(error) => error.into(),
            other => Self::internal(&other),
        }
    }
}

impl From<ApplyError> for ApiError {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Cluster(error) => error.into(),
            ApplyError::Refused(message) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, message),
        }
    }
}
