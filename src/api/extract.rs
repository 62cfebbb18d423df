//! What handlers take from a request: each type is read, checked and documented as it stands.

use std::collections::HashSet;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use serde::de::value::MapDeserializer;
use serde_json::Value;
use tokio::sync::Semaphore;
use utoipa::IntoParams;

use super::error::ApiError;
use super::json::JSON;
use super::query::QueryError;
use crate::blocking::run_blocking;
use crate::core::names;
use crate::service::state::AppState;

/// What is parsed at once. JSON takes many times its length, so larger ones are parsed one by one.
const SMALL_BODY: usize = 64 * 1024;
static PARSING: Semaphore = Semaphore::const_new(1);
/// Which some editors write at the beginning of a file.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

pub type SharedState = State<Arc<AppState>>;

/// `{namespace}/{pod_name}` of a path, both valid names, and the namespace one that this service
/// may look into.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct PodPath {
    /// Kubernetes namespace
    #[param(max_length = 63, pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", example = "data")]
    pub namespace: String,
    /// Pod name
    #[param(
        rename = "pod_name",
        max_length = 253,
        pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
        example = "postgres-0"
    )]
    pub name: String,
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

/// A query string, or a 400 that names the parameter. The first of a name counts.
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let pairs = axum::extract::Query::<Vec<(String, String)>>::from_request_parts(parts, state);
        let mut pairs = pairs.await.map_err(|error| ApiError::bad_request(error.body_text()))?.0;
        let mut seen = HashSet::new();
        pairs.retain(|(name, _)| seen.insert(name.clone()));
        let parameters = MapDeserializer::<_, QueryError>::new(pairs.into_iter());
        serde_path_to_error::deserialize(parameters)
            .map(Self)
            .map_err(|error| ApiError::bad_request(error.to_string()))
    }
}

/// A body that is a JSON object, or a 400 that names what is wrong in it.
pub struct JsonBody<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default();
        if !kind.trim().eq_ignore_ascii_case(JSON) {
            return Err(ApiError::bad_request(format!(
                "Expected request with `Content-Type: {JSON}`"
            )));
        }
        // It has been read before: see `bodies`.
        let body = Bytes::from_request(request, state).await;
        let body = body.map_err(|error| ApiError::bad_request(error.body_text()))?;
        let text = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&body);
        if text.len() <= SMALL_BODY {
            return parsed(text).map(Self);
        }
        let _turn = PARSING.acquire().await;
        run_blocking(|| parsed(text)).map(Self)
    }
}

fn parsed<T: DeserializeOwned>(text: &[u8]) -> Result<T, ApiError> {
    let axum::Json(value) = axum::Json::<Value>::from_bytes(text)
        .map_err(|error| ApiError::bad_request(error.body_text()))?;
    if !value.is_object() {
        return Err(ApiError::bad_request("the body must be a JSON object"));
    }
    serde_path_to_error::deserialize(value)
        .map_err(|error| ApiError::bad_request(error.to_string()))
}
