//! Cross-origin rules as Flask-CORS has them by default: any origin, echoed when there is one. With
//! a list, only those on it.

use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::extract::SharedState;

const METHODS: &str = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT";

pub async fn cors(State(state): SharedState, request: Request, next: Next) -> Response {
    let listed = state.config().cors_origins.clone();
    let origin = request.headers().get(ORIGIN).cloned();
    let asked_method = request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let asked_headers = request.headers().get(ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    let preflight = request.method() == Method::OPTIONS;
    let mut response = next.run(request).await;
    let refused = origin.as_ref().is_some_and(|origin| !is_allowed(&listed, origin));
    if preflight && response.status() == StatusCode::METHOD_NOT_ALLOWED {
        // The route is known, or this would be a 404.
        response = StatusCode::OK.into_response();
        if !refused && (asked_method || origin.is_some()) {
            response
                .headers_mut()
                .insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
            if let Some(headers) = asked_headers {
                response.headers_mut().insert(ACCESS_CONTROL_ALLOW_HEADERS, headers);
            }
        }
    }
    let headers = response.headers_mut();
    if origin.is_some() || !is_any(&listed) {
        headers.append(VARY, HeaderValue::from_static("Origin"));
    }
    let answered = match origin {
        Some(origin) => Some(origin).filter(|_| !refused),
        None => is_any(&listed).then(|| HeaderValue::from_static("*")),
    };
    if let Some(answered) = answered {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, answered);
    }
    response
}

pub fn is_allowed(listed: &[String], origin: &HeaderValue) -> bool {
    is_any(listed) || listed.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes())
}

fn is_any(listed: &[String]) -> bool {
    listed.iter().any(|allowed| allowed == "*")
}
