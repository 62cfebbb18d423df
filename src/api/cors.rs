//! Cross-origin rules as Flask-CORS has them by default: any origin, echoed when there is one.

use axum::extract::Request;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ALLOW, ORIGIN, VARY,
};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

const METHODS: &str = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT";

pub async fn cors(request: Request, next: Next) -> Response {
    let origin = request.headers().get(ORIGIN).cloned();
    let asked_method = request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let asked_headers = request.headers().get(ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    let preflight = request.method() == Method::OPTIONS;
    let mut response = next.run(request).await;
    if preflight && response.status() == StatusCode::METHOD_NOT_ALLOWED {
        // The route is known, or this would be a 404.
        let allow = response.headers().get(ALLOW).cloned();
        response = StatusCode::OK.into_response();
        if let Some(allow) = allow {
            response.headers_mut().insert(ALLOW, allow);
        }
        if asked_method || origin.is_some() {
            response.headers_mut().insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
            if let Some(headers) = asked_headers {
                response.headers_mut().insert(ACCESS_CONTROL_ALLOW_HEADERS, headers);
            }
        }
    }
    let headers = response.headers_mut();
    if origin.is_some() {
        headers.append(VARY, HeaderValue::from_static("Origin"));
    }
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.unwrap_or(HeaderValue::from_static("*")));
    response
}
