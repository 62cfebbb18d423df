//! Who may write: nobody (read-only), whoever knows the token, or anybody; and a line in the log
//! for each write.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

use super::error::ApiError;
use super::extract::SharedState;
use super::{bodies, cors};
use crate::config::Config;
use crate::service::token;

/// What permits a refused write.
const NOBODY: &str = "nobody";

/// Stands before every route and lets reads pass.
pub async fn guard(State(state): SharedState, request: Request, next: Next) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let mut line = AuditLine::of(&parts);
    let response = match permit(&state.config(), &parts).await {
        Ok(by) => {
            line.by = by;
            next.run(Request::from_parts(parts, body)).await
        }
        Err(error) => {
            let unread = Request::from_parts(parts, body);
            refusal(bodies::discard(unread).await.err().unwrap_or(error))
        }
    };
    line.status = Some(response.status());
    response
}

/// What permits a write.
async fn permit(config: &Config, request: &Parts) -> Result<&'static str, ApiError> {
    let headers = &request.headers;
    if config.read_only {
        return Err(ApiError::new(StatusCode::FORBIDDEN, "The API is read-only"));
    }
    // A browser sends simple requests first and asks for leave to show the answer afterwards.
    if let Some(origin) = headers.get(ORIGIN)
        && !cors::is_allowed(&config.cors_origins, origin)
        && !is_own(origin, request)
    {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "The origin of the request is not allowed to write",
        ));
    }
    let Some(file) = &config.write_token_file else { return Ok("anybody") };
    let expected = token::read(file).await.map_err(|error| {
        tracing::error!(%error, "writes are refused");
        ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "Writes are refused: the token cannot be read",
        )
    })?;
    let given = bearer(headers).unwrap_or_default();
    if bool::from(expected.as_bytes().ct_eq(given.as_bytes())) {
        Ok("token")
    } else {
        Err(ApiError::new(
            StatusCode::UNAUTHORIZED,
            "A write needs the header Authorization: Bearer TOKEN",
        ))
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// A page that this service itself has served.
fn is_own(origin: &HeaderValue, request: &Parts) -> bool {
    let authority = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.split_once("://"))
        .map(|(_, authority)| authority);
    // HTTP/2 has no Host.
    let host = request.headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| request.uri.authority().map(|authority| authority.as_str()));
    authority.is_some() && authority == host
}

fn refusal(error: ApiError) -> Response {
    let mut response = error.into_response();
    if response.status() == StatusCode::UNAUTHORIZED {
        response
            .headers_mut()
            .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"dqn-scaler\""));
    }
    response
}

/// Written when the write is over, also when its client has gone meanwhile or its handling has
/// broken off.
struct AuditLine {
    client: Option<SocketAddr>,
    /// As a proxy says, or whoever pretends to be one.
    forwarded_for: String,
    origin: String,
    method: Method,
    path: String,
    by: &'static str,
    status: Option<StatusCode>,
}

impl AuditLine {
    fn of(request: &Parts) -> Self {
        let header = |name: HeaderName| {
            let text =
                request.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
            shortened(text)
        };
        Self {
            client: request.extensions.get().map(|ConnectInfo(address)| *address),
            forwarded_for: header(HeaderName::from_static("x-forwarded-for")),
            origin: header(ORIGIN),
            method: request.method.clone(),
            path: shortened(request.uri.path()),
            by: NOBODY,
            status: None,
        }
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(200).collect()
}

impl Drop for AuditLine {
    fn drop(&mut self) {
        let client = self.client.map(|address| address.to_string()).unwrap_or_default();
        let status = self.status.map(|status| status.as_u16()).unwrap_or_default();
        // Places of their own in the code: a flood of refused writes takes no line of others.
        macro_rules! write_line {
            ($message:literal) => {
                tracing::info!(
                    target: "audit", client, forwarded_for = self.forwarded_for,
                    origin = self.origin, method = %self.method, path = self.path,
                    permitted_by = self.by, status, $message
                )
            };
        }
        match (self.by, status) {
            (_, 0) => write_line!("write, broken off"),
            (NOBODY, _) => write_line!("write"),
            _ => write_line!("write"),
        }
    }
}
