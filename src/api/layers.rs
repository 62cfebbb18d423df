//! What is done with every request, whatever its route.

use std::any::Any;

use axum::extract::{Request, State};
use axum::http::header::ALLOW;
use axum::http::{Method, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::bodies;
use super::error::ApiError;
use super::extract::SharedState;
use crate::leader::Role;

/// Several slashes in a row in a path count as one.
pub fn single_slashes(mut request: Request) -> Request {
    let uri = request.uri();
    if !uri.path().contains("//") {
        return request;
    }
    let mut path: Vec<_> = uri.path().chars().collect();
    path.dedup_by(|a, b| *a == '/' && *b == '/');
    let mut path = path.into_iter().collect::<String>();
    if let Some(query) = uri.query() {
        path = format!("{path}?{query}");
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = path.parse().ok();
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    request
}

/// `Allow` names OPTIONS, too, which is answered wherever there is a route.
pub fn allow_options(mut response: Response) -> Response {
    let allow = response.headers().get(ALLOW).and_then(|allow| allow.to_str().ok());
    if let Some(Ok(allow)) = allow.map(|allow| format!("{allow},OPTIONS").parse()) {
        response.headers_mut().insert(ALLOW, allow);
    }
    response
}

/// A follower answers what is asked; what is to be changed is the leader's to change.
pub async fn leading(
    State(state): SharedState,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    match state.leadership.role() {
        Role::Follower(leader) if request.method() == Method::POST => {
            let error = ApiError::follower(leader.as_deref());
            Err(bodies::discard(request).await.err().unwrap_or(error))
        }
        _ => Ok(next.run(request).await),
    }
}

/// A panic in a handler ends there.
pub fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let message = panic.downcast_ref::<String>().map(String::as_str);
    let message = message.or_else(|| panic.downcast_ref::<&str>().copied());
    ApiError::internal(&message.unwrap_or("a panic without words")).into_response()
}
