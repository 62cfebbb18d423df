//! The HTTP API: a file for each section of the documentation, thin handlers on the shared state.

mod autoscale;
mod board;
mod configuration;
mod cors;
mod dashboard;
mod error;
mod monitoring;
mod pods;
mod resize;
mod scaling;
mod service;

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Map, Value};
use tower_http::catch_panic::CatchPanicLayer;

pub use self::error::ApiError;
use crate::cluster::Cluster;
use crate::cluster::names;
use crate::leader::Role;
use crate::state::AppState;

const LARGEST_BODY: usize = 1024 * 1024;

type SharedState = axum::extract::State<Arc<AppState>>;

pub fn router(state: Arc<AppState>) -> Router {
    Router::new()
        .route("/", get(service::index))
        .route("/health", get(service::health))
        .route("/livez", get(service::livez))
        .route("/readyz", get(service::readyz))
        .route("/model/info", get(service::model_info))
        .route("/model/card", get(service::model_card))
        .route("/config", get(configuration::read).post(configuration::update))
        .route("/pods", get(pods::list))
        .route("/pods/overview", get(board::overview))
        .route("/pods/{namespace}/{pod_name}", get(pods::read))
        .route("/pods/{namespace}/{pod_name}/history", get(board::history))
        .route("/scale/pod/{namespace}/{pod_name}", post(scaling::scale_pod))
        .route("/scale/all", post(scaling::scale_all))
        .route("/api/namespaces/{namespace}/pods/{pod_name}/resize", post(resize::resize))
        .route("/decisions", get(monitoring::decisions))
        .route("/statistics", get(monitoring::statistics))
        .route("/statistics/timeline", get(monitoring::timeline))
        .route("/autoscale/start", post(autoscale::start))
        .route("/autoscale/stop", post(autoscale::stop))
        .route("/autoscale/status", get(autoscale::status))
        .route("/dashboard", get(dashboard::folder))
        .route("/dashboard/", get(dashboard::index))
        .route("/dashboard/{file}", get(dashboard::file))
        .route_layer(middleware::from_fn_with_state(state.clone(), leading))
        .fallback(|| async { ApiError::new(StatusCode::NOT_FOUND, "Endpoint not found") })
        .method_not_allowed_fallback(|| async { ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed") })
        .layer(middleware::from_fn(bounded))
        .layer(CatchPanicLayer::custom(|panic: Box<dyn std::any::Any + Send>| -> Response {
            let message = panic.downcast_ref::<String>().cloned();
            let message = message.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            ApiError::internal(&message.unwrap_or_else(|| "a panic without words".into())).into_response()
        }))
        .layer(middleware::from_fn(cors::cors))
        .with_state(state)
}

/// Reads the body, whether the route cares for it or not: one that is too large is refused everywhere.
async fn bounded(request: axum::extract::Request, next: middleware::Next) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, LARGEST_BODY).await.map_err(|error| {
        if error.into_inner().is::<http_body_util::LengthLimitError>() {
            ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than 1 MiB")
        } else {
            ApiError::bad_request("the body ended before its time")
        }
    })?;
    Ok(next.run(axum::extract::Request::from_parts(parts, body.into())).await)
}

/// A follower answers what is asked; what is to be changed is the leader's to change.
async fn leading(
    axum::extract::State(state): SharedState,
    request: axum::extract::Request,
    next: middleware::Next,
) -> Result<Response, ApiError> {
    match state.leadership.role() {
        Role::Follower(leader) if request.method() == Method::POST => Err(ApiError::follower(leader.as_deref())),
        _ => Ok(next.run(request).await),
    }
}

fn cluster(state: &AppState) -> Result<Arc<Cluster>, ApiError> {
    state.cluster().ok_or_else(ApiError::no_cluster)
}

/// Sees work that changes pods through to its end, even if the client goes away meanwhile.
async fn finish<T, F>(state: &Arc<AppState>, work: impl FnOnce(Arc<AppState>) -> F) -> Result<T, ApiError>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    state.under_way.spawn(work(state.clone())).await.map_err(|error| ApiError::internal(&error))
}

/// `{namespace}/{pod_name}` of a path, both valid names.
struct PodPath {
    namespace: String,
    name: String,
}

impl<S: Send + Sync> FromRequestParts<S> for PodPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Path((namespace, name)) = path.map_err(|error| ApiError::bad_request(error.body_text()))?;
        if !names::is_dns_label(&namespace) {
            return Err(ApiError::bad_request(format!("{namespace:?} is not a valid namespace name")));
        }
        if !names::is_dns_subdomain(&name) {
            return Err(ApiError::bad_request(format!("{name:?} is not a valid pod name")));
        }
        Ok(Self { namespace, name })
    }
}

/// A body that is a JSON object.
struct JsonObject(Map<String, Value>);

impl<S: Send + Sync> axum::extract::FromRequest<S> for JsonObject {
    type Rejection = ApiError;

    async fn from_request(request: axum::extract::Request, state: &S) -> Result<Self, ApiError> {
        match axum::Json::<Value>::from_request(request, state).await {
            Ok(axum::Json(Value::Object(object))) => Ok(Self(object)),
            Ok(_) => Err(ApiError::bad_request("the body must be a JSON object")),
            Err(rejection) => Err(ApiError::bad_request(rejection.body_text())),
        }
    }
}
