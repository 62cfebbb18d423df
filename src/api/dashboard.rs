//! The dashboard: pages, styles and scripts that are part of the binary, under a policy that lets
//! nothing else in.

use axum::extract::Path;
use axum::http::StatusCode;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY,
};
use axum::http::header::{LOCATION, X_CONTENT_TYPE_OPTIONS};
use axum::response::{IntoResponse, Response};

use super::error::ApiError;

/// Scripts, styles and data of this origin and no other, no frame around it, nothing inline.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const ICON: &str = "image/svg+xml";

macro_rules! files {
    ($($name:literal: $kind:ident),+ $(,)?) => {
        const FILES: &[(&str, &str, &str)] =
            &[$(($name, $kind, include_str!(concat!("../dashboard/", $name)))),+];
    };
}

files! {
    "index.html": HTML,
    "style.css": CSS,
    "icon.svg": ICON,
    "app.js": SCRIPT,
    "api.js": SCRIPT,
    "changes.js": SCRIPT,
    "charts.js": SCRIPT,
    "configuration.js": SCRIPT,
    "controls.js": SCRIPT,
    "decision.js": SCRIPT,
    "decisions.js": SCRIPT,
    "dialogs.js": SCRIPT,
    "dom.js": SCRIPT,
    "fields.js": SCRIPT,
    "format.js": SCRIPT,
    "listing.js": SCRIPT,
    "markdown.js": SCRIPT,
    "model.js": SCRIPT,
    "outcome.js": SCRIPT,
    "overview.js": SCRIPT,
    "pod.js": SCRIPT,
    "pods.js": SCRIPT,
    "workload.js": SCRIPT,
    "workloads.js": SCRIPT,
}

/// To the folder of the page, relative to where the page is asked for: a proxy may serve it below a
/// path of its own.
pub async fn folder() -> Response {
    (StatusCode::PERMANENT_REDIRECT, [(LOCATION, "dashboard/")]).into_response()
}

pub async fn index() -> Result<Response, ApiError> {
    file(Path("index.html".into())).await
}

pub async fn file(Path(name): Path<String>) -> Result<Response, ApiError> {
    let found = FILES.iter().find(|(known, ..)| *known == name);
    let (_, kind, text) =
        found.ok_or_else(|| ApiError::new(StatusCode::NOT_FOUND, "Endpoint not found"))?;
    let headers: [(HeaderName, &str); 5] = [
        (CONTENT_TYPE, kind),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-cache"),
    ];
    Ok((headers, *text).into_response())
}
