//! The HTTP API: a file for each section of the documentation, thin handlers on the shared state.

pub mod access;
mod autoscale;

mod configuration;
mod cors;
mod dashboard;
mod decisions;
mod document;
mod error;
mod metrics;
mod overview;
mod pods;
mod resize;
mod scaling;
mod service;
mod statistics;

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::{IntoParams, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::document::Document;
pub use self::error::ApiError;
use crate::cluster::Cluster;
use crate::core::names;
use crate::core::outcome::Status;
use crate::leader::Role;
use crate::service::state::AppState;

const LARGEST_BODY: usize = 1024 * 1024;

type SharedState = axum::extract::State<Arc<AppState>>;

pub fn router(state: Arc<AppState>) -> Router {
    let (router, mut document) = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(service::index))
        .routes(routes!(service::health))
        .routes(routes!(service::livez))
        .routes(routes!(service::readyz))
        .routes(routes!(service::model_info))
        .routes(routes!(service::model_card))
        .routes(routes!(document::read))
        .routes(routes!(configuration::read, configuration::update))
        .routes(routes!(pods::list))
        .routes(routes!(overview::overview))
        .routes(routes!(pods::read))
        .routes(routes!(overview::history))
        .routes(routes!(scaling::scale_pod))
        .routes(routes!(scaling::scale_all))
        .routes(routes!(resize::resize))
        .routes(routes!(decisions::decisions))
        .routes(routes!(statistics::statistics))
        .routes(routes!(statistics::timeline))
        .routes(routes!(metrics::metrics))
        .routes(routes!(autoscale::start))
        .routes(routes!(autoscale::stop))
        .routes(routes!(autoscale::status))
        .route_layer(middleware::from_fn_with_state(state.clone(), leading))
        .route_layer(middleware::from_fn_with_state(state.clone(), access::guard))
        .split_for_parts();
    document::complete(&mut document);
    router
        .merge(document::page())
        .route("/dashboard", get(dashboard::folder))
        .route("/dashboard/", get(dashboard::index))
        .route("/dashboard/{file}", get(dashboard::file))
        .fallback(|| async { ApiError::new(StatusCode::NOT_FOUND, "Endpoint not found") })
        .method_not_allowed_fallback(|| async {
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed")
        })
        .layer(Extension(Arc::new(document)))
        .layer(middleware::from_fn(bounded))
        .layer(CatchPanicLayer::custom(|panic: Box<dyn std::any::Any + Send>| -> Response {
            let message = panic.downcast_ref::<String>().cloned();
            let message =
                message.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            ApiError::internal(&message.unwrap_or_else(|| "a panic without words".into()))
                .into_response()
        }))
        .layer(middleware::from_fn_with_state(state.clone(), cors::cors))
        .with_state(state)
}

/// Reads the body, whether the route cares for it or not: one that is too large is refused
/// everywhere.
async fn bounded(
    request: axum::extract::Request,
    next: middleware::Next,
) -> Result<Response, ApiError> {
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
        Role::Follower(leader) if request.method() == Method::POST => {
            Err(ApiError::follower(leader.as_deref()))
        }
        _ => Ok(next.run(request).await),
    }
}

fn cluster(state: &AppState) -> Result<Arc<Cluster>, ApiError> {
    state.cluster().ok_or_else(ApiError::no_cluster)
}

/// Sees work that changes pods through to its end, even if the client goes away meanwhile.
async fn finish<T, F>(
    state: &Arc<AppState>,
    work: impl FnOnce(Arc<AppState>) -> F,
) -> Result<T, ApiError>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    state.under_way.spawn(work(state.clone())).await.map_err(|error| ApiError::internal(&error))
}

/// `{namespace}/{pod_name}` of a path, both valid names, and the namespace one that this service
/// may look into.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
struct PodPath {
    /// Kubernetes namespace
    #[param(max_length = 63, pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", example = "data")]
    namespace: String,
    /// Pod name
    #[param(
        rename = "pod_name",
        max_length = 253,
        pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
        example = "postgres-0"
    )]
    name: String,
}

impl FromRequestParts<Arc<AppState>> for PodPath {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut Parts,
        state: &Arc<AppState>,
    ) -> Result<Self, ApiError> {
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Path((namespace, name)) =
            path.map_err(|error| ApiError::bad_request(error.body_text()))?;
        if !names::is_dns_label(&namespace) {
            return Err(ApiError::bad_request(format!(
                "{namespace:?} is not a valid namespace name"
            )));
        }
        if !names::is_dns_subdomain(&name) {
            return Err(ApiError::bad_request(format!("{name:?} is not a valid pod name")));
        }
        if !state.config().allows(&namespace) {
            let message = format!(
                "The namespace {namespace:?} is not among allowed_namespaces: nothing was done"
            );
            return Err(ApiError::new(StatusCode::FORBIDDEN, message));
        }
        Ok(Self { namespace, name })
    }
}

/// A query string, or a 400 that says what is wrong with it.
struct Query<T>(T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let query = axum::extract::Query::<T>::from_request_parts(parts, state).await;
        query
            .map(|axum::extract::Query(query)| Self(query))
            .map_err(|error| ApiError::bad_request(error.body_text()))
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

/// What came of a decision, as a query names it, if it does.
fn status(query: &HashMap<String, String>) -> Result<Option<String>, ApiError> {
    let Some(text) = query.get("status").filter(|text| !text.is_empty()) else { return Ok(None) };
    if Status::NAMES.contains(&text.as_str()) {
        return Ok(Some(text.clone()));
    }
    Err(ApiError::bad_request(format!("status: must be one of {}", Status::NAMES.join(", "))))
}

/// A truth value of a query, if it is there.
fn boolean(query: &HashMap<String, String>, name: &'static str) -> Result<Option<bool>, ApiError> {
    match query.get(name).map(String::as_str) {
        None | Some("") => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(_) => Err(ApiError::bad_request(format!("{name}: must be true or false"))),
    }
}
