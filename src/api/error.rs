//! Every error leaves in one envelope, with the status code that says whose fault it is.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::{IntoResponses, ToSchema};

use super::json::Json;
use crate::client::error::ClusterError;
use crate::scaler::ApplyError;
use crate::scaler::cycle::CycleError;

/// What every error answers.
#[derive(Serialize, ToSchema)]
pub struct Failure {
    #[schema(example = false)]
    success: bool,
    /// What is wrong, in words.
    #[schema(example = "namespaces: must name at least one namespace")]
    error: String,
}

/// The request cannot be read, or a value in it is not allowed; nothing was changed.
#[derive(IntoResponses)]
#[response(status = 400)]
pub struct BadRequest(
    #[to_schema]
    #[expect(dead_code, reason = "says what the answer is")]
    Failure,
);

/// The cluster has no such pod.
#[derive(IntoResponses)]
#[response(status = 404)]
pub struct NoSuchPod(
    #[to_schema]
    #[expect(dead_code, reason = "says what the answer is")]
    Failure,
);

/// The pod is being changed by another request.
#[derive(IntoResponses)]
#[response(status = 409)]
pub struct Busy(
    #[to_schema]
    #[expect(dead_code, reason = "says what the answer is")]
    Failure,
);

/// The service is not connected to a cluster, which it keeps trying; a write also: this replica
/// follows another.
#[derive(IntoResponses)]
#[response(status = 503)]
pub struct NoCluster(
    #[to_schema]
    #[expect(dead_code, reason = "says what the answer is")]
    Failure,
);

/// The namespace is not among `allowed_namespaces`, or admission in the cluster forbids it: a
/// quota, a LimitRange, a policy. Nothing was changed.
#[derive(IntoResponses)]
#[response(status = 403)]
pub struct ForbiddenByCluster(
    #[to_schema]
    #[expect(dead_code, reason = "says what the answer is")]
    Failure,
);

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
        let leads = leader
            .map_or("at the moment no replica leads".into(), |leader| format!("{leader} leads"));
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("This replica follows and changes nothing: {leads}"),
        )
    }

    /// The message for the log only.
    pub fn internal(message: &dyn std::fmt::Display) -> Self {
        tracing::error!(error = %message, "internal error");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal server error")
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(Failure { success: false, error: self.message })).into_response()
    }
}

impl From<ClusterError> for ApiError {
    fn from(error: ClusterError) -> Self {
        let status = match &error {
            ClusterError::NotFound { .. } => StatusCode::NOT_FOUND,
            // What the client asked for is not allowed there: by a quota, a LimitRange or a policy,
            // or by validation.
            ClusterError::Refused { code: 403, .. } => StatusCode::FORBIDDEN,
            ClusterError::Refused { code: 400 | 422, .. } | ClusterError::NotInPlace { .. } => {
                StatusCode::BAD_REQUEST
            }
            ClusterError::Conflict { .. } => StatusCode::CONFLICT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
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
            ApplyError::Refused(message) => Self::bad_request(message),
        }
    }
}
