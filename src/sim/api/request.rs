//! A request as its handlers see it: what it asks for, its parameters and its body.

use axum::body::Bytes;
use axum::extract::{FromRequest, Query, Request};
use axum::http::{HeaderMap, Uri, header};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::sim::resources::Resource;
use crate::sim::selector::Selector;
use crate::sim::status::ApiError;
use crate::sim::target::{Target, flag};

/// The largest body that the API server reads.
pub const LARGEST_BODY: usize = 3 * 1024 * 1024;

/// The query parameters that the API server knows; others are ignored, as it does.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Parameters {
    pub label_selector: String,
    pub field_selector: String,
    pub limit: usize,
    #[serde(rename = "continue")]
    pub continue_from: String,
    pub resource_version: String,
    pub resource_version_match: String,
    #[serde(deserialize_with = "flag")]
    pub watch: bool,
    pub timeout_seconds: Option<u64>,
    #[serde(deserialize_with = "flag")]
    pub allow_watch_bookmarks: bool,
    #[serde(deserialize_with = "optional_flag")]
    pub send_initial_events: Option<bool>,
    pub include_object: String,
    pub dry_run: String,
    pub grace_period_seconds: Option<i64>,
    pub propagation_policy: String,
    pub field_manager: String,
}

fn optional_flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    flag(deserializer).map(Some)
}

impl Parameters {
    fn parse(query: &str) -> Result<Self, ApiError> {
        let uri = Uri::builder().path_and_query(format!("/?{query}")).build();
        let uri = uri.map_err(|error| ApiError::bad_request(error.to_string()))?;
        let Query(parameters) = Query::try_from_uri(&uri)
            .map_err(|rejection| ApiError::bad_request(rejection.body_text()))?;
        Ok(parameters)
    }

    pub fn selector(&self) -> Result<Selector, ApiError> {
        Selector::parse(&self.label_selector, &self.field_selector)
    }

    /// The version asked for; none for "whatever is newest".
    pub fn version(&self) -> Result<Option<u64>, ApiError> {
        match self.resource_version.as_str() {
            "" | "0" => Ok(None),
            text => text
                .parse()
                .map(Some)
                .map_err(|_| ApiError::bad_request(format!("invalid resource version {text:?}"))),
        }
    }

    /// Whether nothing is to be stored.
    pub fn is_dry_run(&self) -> Result<bool, ApiError> {
        match self.dry_run.as_str() {
            "" => Ok(false),
            "All" => Ok(true),
            other => {
                let message =
                    format!("dryRun: Unsupported value: {other:?}: supported values: \"All\"");
                Err(ApiError::new(422, "Invalid", message))
            }
        }
    }
}

/// A request as its handlers see it.
pub struct Call {
    pub target: Target,
    pub parameters: Parameters,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Call {
    pub async fn read(target: Target, request: Request) -> Result<Self, ApiError> {
        let parameters = Parameters::parse(request.uri().query().unwrap_or_default())?;
        let headers = request.headers().clone();
        let body = Bytes::from_request(request, &()).await.map_err(|rejection| {
            let reason =
                if rejection.status() == 413 { "RequestEntityTooLarge" } else { "BadRequest" };
            ApiError::new(rejection.status().as_u16(), reason, rejection.body_text())
        })?;
        Ok(Self { target, parameters, headers, body })
    }

    pub fn header(&self, name: header::HeaderName) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as JSON.
    pub fn json(&self) -> Result<Value, ApiError> {
        let content_type = self.header(header::CONTENT_TYPE);
        if !matches!(
            content_type.split(';').next().unwrap_or_default().trim(),
            "" | "application/json"
        ) {
            let message = "the body of the request was in an unknown format - accepted media types \
                include: application/json (the simulated cluster reads no protobuf, which \
                `kubectl create` and `kubectl expose` send of what they make themselves: add \
                `--dry-run=client -o yaml | kubectl apply -f -`)";
            return Err(ApiError::new(415, "UnsupportedMediaType", message));
        }
        self.parsed()
    }

    /// The body as JSON, whatever its content type says.
    pub fn parsed(&self) -> Result<Value, ApiError> {
        serde_json::from_slice(&self.body).map_err(|error| {
            ApiError::bad_request(format!("the object provided is unrecognized: {error}"))
        })
    }

    pub fn not_found(&self, resource: Resource) -> ApiError {
        ApiError::not_found(resource, &self.target.name)
    }
}
