//! Failures as the API server reports them: `Status` objects.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::resources::Resource;

/// A refusal, with all that a `Status` says of it.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiError {
    pub code: u16,
    pub reason: &'static str,
    pub message: String,
    pub details: Option<Box<Value>>,
    /// Seconds for the `Retry-After` header.
    pub retry_after: Option<u64>,
}

/// One finding of a validation.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldError {
    field: String,
    reason: &'static str,
    message: String,
}

impl FieldError {
    pub fn invalid(field: impl Into<String>, value: &str, problem: &str) -> Self {
        let message = format!("Invalid value: {}: {problem}", Value::from(value));
        Self { field: field.into(), reason: "FieldValueInvalid", message }
    }

    pub fn forbidden(field: impl Into<String>, problem: &str) -> Self {
        Self {
            field: field.into(),
            reason: "FieldValueForbidden",
            message: format!("Forbidden: {problem}"),
        }
    }

    pub fn required(field: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            reason: "FieldValueRequired",
            message: "Required value".to_owned(),
        }
    }
}

impl ApiError {
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: None, retry_after: None }
    }

    fn about(mut self, resource: Resource, name: &str) -> Self {
        let known = resource.describe();
        let mut details = json!({ "name": name, "kind": known.plural });
        if !known.group.is_empty() {
            details["group"] = known.group.into();
        }
        self.details = Some(Box::new(details));
        self
    }

    pub fn not_found(resource: Resource, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{} \"{name}\" not found", resource.qualified()))
            .about(resource, name)
    }

    /// No such path.
    pub fn no_resource() -> Self {
        let mut error =
            Self::new(404, "NotFound", "the server could not find the requested resource");
        error.details = Some(Box::new(json!({})));
        error
    }

    pub fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        let mut error = Self::new(405, "MethodNotAllowed", message);
        error.details = Some(Box::new(json!({})));
        error
    }

    pub fn already_exists(resource: Resource, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", resource.qualified());
        Self::new(409, "AlreadyExists", message).about(resource, name)
    }

    pub fn conflict(resource: Resource, name: &str, why: &str) -> Self {
        let message =
            format!("Operation cannot be fulfilled on {} \"{name}\": {why}", resource.qualified());
        Self::new(409, "Conflict", message).about(resource, name)
    }

    pub fn modified(resource: Resource, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version \
            and try again";
        Self::conflict(resource, name, why)
    }

    pub fn forbidden(resource: Resource, name: &str, why: &str) -> Self {
        let message = format!("{} \"{name}\" is forbidden: {why}", resource.qualified());
        Self::new(403, "Forbidden", message).about(resource, name)
    }

    /// A pod does not fit its node, however empty that is.
    pub fn node_capacity(pod: &str, why: &str) -> Self {
        let mut error = Self::forbidden(Resource::Pods, pod, why);
        if let Some(details) = &mut error.details {
            details["causes"] = json!([{ "reason": "NodeCapacity", "message": why }]);
        }
        error
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// The resource version asked for is older than what is kept.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    pub fn invalid(resource: Resource, name: &str, errors: &[FieldError]) -> Self {
        let subject = format!("{} \"{name}\"", resource.qualified_kind());
        let mut error = Self::unprocessable(&subject, errors);
        let causes = error.details.as_ref().and_then(|details| details.get("causes")).cloned();
        error = error.about(resource, name);
        if let (Some(details), Some(causes)) = (&mut error.details, causes) {
            details["kind"] = resource.describe().kind.into();
            details["causes"] = causes;
        }
        error
    }

    /// A patch whose result cannot be read as an object: the API server names no object then.
    pub fn unreadable(patch: &str, problem: &str) -> Self {
        Self::unprocessable(" \"\"", &[FieldError::invalid("patch", patch, problem)])
    }

    fn unprocessable(subject: &str, errors: &[FieldError]) -> Self {
        let findings: Vec<String> =
            errors.iter().map(|error| format!("{}: {}", error.field, error.message)).collect();
        let all = match findings.as_slice() {
            [one] => one.clone(),
            several => format!("[{}]", several.join(", ")),
        };
        let causes: Vec<Value> = errors
            .iter()
            .map(|error| {
                json!({
                    "reason": error.reason, "message": error.message, "field": error.field,
                })
            })
            .collect();
        let mut error = Self::new(422, "Invalid", format!("{subject} is invalid: {all}"));
        error.details = Some(Box::new(json!({ "causes": causes })));
        error
    }

    /// The `Status` object of this failure.
    pub fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason,
        });
        if let Some(details) = &self.details {
            status["details"] = (**details).clone();
        }
        status["code"] = self.code.into();
        status
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let code = StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (code, Json(self.status())).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_read_as_the_api_server_writes_them() {
        let one = [FieldError::invalid(
            "spec",
            "Guaranteed",
            "Pod QOS Class may not change as a result of resizing",
        )];
        let error = ApiError::invalid(Resource::Pods, "web", &one);
        let message = "Pod \"web\" is invalid: spec: Invalid value: \"Guaranteed\": Pod QOS Class \
            may not change as a result of resizing";
        assert_eq!(error.message, message);
        assert_eq!(error.status()["details"]["causes"][0]["field"], "spec");
        assert_eq!(
            ApiError::not_found(Resource::Deployments, "x").message,
            "deployments.apps \"x\" not found"
        );
    }
}
