//! What a request asks for, read from its method and address as the API server and its authorizer
//! read them.

use axum::body::Bytes;
use axum::extract::{FromRequest, Query, Request};
use axum::http::{HeaderMap, Method, Uri, header};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::sim::resources::Resource;
use crate::sim::selector::Selector;
use crate::sim::status::ApiError;
use crate::sim::store::Key;

/// The largest body that the API server reads.
pub const LARGEST_BODY: usize = 3 * 1024 * 1024;

/// Verb, resource and name as RBAC knows them; what a request does not have is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    pub verb: &'static str,
    pub group: String,
    pub version: String,
    /// `pods`, or the whole path where it leads to no resource.
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
}

impl Target {
    pub fn of(method: &Method, uri: &Uri) -> Self {
        let decoded = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
        let parts: Vec<String> =
            uri.path().split('/').filter(|part| !part.is_empty()).map(decoded).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let (group, version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] if !rest.is_empty() => ("", *version, rest),
            ["apis", group, version, rest @ ..] if !rest.is_empty() => (*group, *version, rest),
            _ => {
                return Self {
                    verb: verb(method, true, false),
                    resource: uri.path().to_owned(),
                    ..Self::default()
                };
            }
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..]
                if !matches!(rest, [] | ["status" | "finalize"]) =>
            {
                (*namespace, rest)
            }
            _ => ("", rest),
        };
        let (resource, name, subresource) = match rest {
            [resource] => (*resource, "", String::new()),
            [resource, name, subresource @ ..] => (*resource, *name, subresource.join("/")),
            [] => ("", "", String::new()),
        };
        let watches = uri
            .query()
            .is_some_and(|query| Parameters::parse(query).is_ok_and(|parameters| parameters.watch));
        Self {
            verb: verb(method, !name.is_empty(), watches),
            group: group.to_owned(),
            version: version.to_owned(),
            resource: resource.to_owned(),
            subresource,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    pub fn is_path(&self) -> bool {
        self.resource.starts_with('/')
    }

    /// `pods`, or `pods/resize`.
    pub fn full_resource(&self) -> String {
        match self.subresource.as_str() {
            "" => self.resource.clone(),
            subresource => format!("{}/{subresource}", self.resource),
        }
    }

    pub fn key(&self) -> Key {
        Key::new(&self.namespace, &self.name)
    }

    /// The namespace, or none for all of them.
    pub fn within(&self) -> Option<&str> {
        Some(self.namespace.as_str()).filter(|namespace| !namespace.is_empty())
    }
}

fn verb(method: &Method, named: bool, watches: bool) -> &'static str {
    match (method.as_str(), named) {
        ("GET", _) if watches => "watch",
        ("GET", true) => "get",
        ("GET", false) => "list",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", true) => "delete",
        ("DELETE", false) => "deletecollection",
        _ => "",
    }
}

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

/// Anything but `0` and `false` is true, even nothing.
fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    String::deserialize(deserializer).map(|text| text != "0" && !text.eq_ignore_ascii_case("false"))
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
                let told =
                    format!("dryRun: Unsupported value: {other:?}: supported values: \"All\"");
                Err(ApiError::new(422, "Invalid", told))
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
            let told = "the body of the request was in an unknown format - accepted media types include: application/json";
            return Err(ApiError::new(415, "UnsupportedMediaType", told));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn target(method: Method, uri: &str) -> Target {
        Target::of(&method, &uri.parse().unwrap())
    }

    #[test]
    fn addresses_are_read_as_rbac_reads_them() {
        let expected = Target {
            verb: "patch",
            version: "v1".into(),
            resource: "pods".into(),
            subresource: "resize".into(),
            namespace: "shop".into(),
            name: "web".into(),
            ..Target::default()
        };
        assert_eq!(
            target(Method::PATCH, "/api/v1/namespaces/shop/pods/web/resize?dryRun=All"),
            expected
        );
        let list = target(Method::GET, "/apis/apps/v1/deployments?watch=false");
        assert_eq!(
            (list.verb, list.group.as_str(), list.resource.as_str()),
            ("list", "apps", "deployments")
        );
        assert_eq!(target(Method::GET, "/api/v1/pods?watch").verb, "watch");
        let namespace = target(Method::GET, "/api/v1/namespaces/shop/status");
        assert_eq!((namespace.name.as_str(), namespace.subresource.as_str()), ("shop", "status"));
        let path = target(Method::GET, "/api/v1");
        assert!(path.is_path() && path.verb == "get" && path.resource == "/api/v1");
    }
}
