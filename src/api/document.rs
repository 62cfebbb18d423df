//! The OpenAPI document, made from the routes themselves, and the page that shows it.

use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use utoipa::OpenApi;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Ref, ResponseBuilder};
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::error::Failure;
use super::json::JSON;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "dqn-scaler",
        description = "\
            Gives every pod of a Kubernetes cluster the CPU and memory it needs, in place.\n\n\
            Timestamps are UTC, CPU is in cores, memory in MiB, also where a name says MB. Every \
            error is `{\"success\": false, \"error\": …}`: 404 for a path that is none, 405 for a \
            method that the path does not have, 413 for a body over 1 MiB. HEAD answers wherever \
            GET does.\n\n\
            Several slashes in a row in a path count as one, and of a parameter that is given \
            twice the first counts. A body is `application/json`. Answers in JSON end with a \
            newline.",
    ),
    tags(
        (name = "service", description = "The service itself and its model"),
        (name = "configuration", description = "What holds, and changing it"),
        (name = "pods", description = "What is watched"),
        (name = "scaling", description = "Deciding at once"),
        (name = "resize", description = "Giving a pod what you name"),
        (name = "monitoring", description = "What was decided and done"),
        (name = "autoscale", description = "The loop"),
    ),
    components(schemas(Failure))
)]
pub struct Document;

/// Adds what every operation may answer, and what every write may.
pub fn complete(document: &mut utoipa::openapi::OpenApi) {
    let token = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
    document.components.get_or_insert_default().add_security_scheme("token", token);
    for (path, item) in &mut document.paths.paths {
        let one_namespace = path.contains("{namespace}");
        for operation in [&mut item.get, &mut item.post].into_iter().flatten() {
            answers(operation, "413", "The body is larger than 1 MiB.");
            answers(
                operation,
                "500",
                "The API server does not answer, a right is missing, or there is a bug.",
            );
        }
        if let Some(read) = item.get.as_mut().filter(|_| one_namespace) {
            answers(read, "403", "The namespace is not among `allowed_namespaces`.");
        }
        if let Some(write) = &mut item.post {
            // Needed where a token is configured, and only there.
            let (none, token) =
                (SecurityRequirement::default(), SecurityRequirement::new("token", [""; 0]));
            write.security = Some(vec![none, token]);
            answers(write, "401", "The token is missing or wrong.");
            let refused =
                "The API is read-only, or the origin of the request is not allowed to write";
            let outside = if one_namespace {
                ", or the namespace is not among `allowed_namespaces`"
            } else {
                ""
            };
            answers(write, "403", &format!("{refused}{outside}."));
            answers(write, "408", "The body did not come within 10 seconds.");
            answers(
                write,
                "503",
                "This replica follows another, the token cannot be read, or too many bodies are \
                    being read.",
            );
        }
    }
}

fn answers(operation: &mut Operation, status: &str, description: &str) {
    let content = utoipa::openapi::Content::new(Some(Ref::from_schema_name("Failure")));
    let response: utoipa::openapi::Response = ResponseBuilder::new()
        .description(description)
        .content("application/json", content)
        .build();
    operation.responses.responses.entry(status.to_owned()).or_insert(response.into());
}

/// This document
#[utoipa::path(get, path = "/openapi.json", tag = "service",
    responses((status = 200, body = std::collections::HashMap<String, serde_json::Value>)))]
pub async fn read(Extension(Written(document)): Extension<Written>) -> Response {
    ([(CONTENT_TYPE, JSON)], document).into_response()
}

/// The document as it is sent.
#[derive(Clone)]
pub struct Written(Bytes);

impl Written {
    pub fn of(document: &utoipa::openapi::OpenApi) -> Self {
        let text = document.to_json().unwrap_or_else(|error| {
            tracing::error!(%error, "the OpenAPI document cannot be written");
            String::new()
        });
        Self(Bytes::from(text + "\n"))
    }
}

/// The document for people, at `/docs`: all of it comes from the binary, and nothing is asked of
/// another host.
pub fn page<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let config = Config::new(["/openapi.json"]).validator_url("none").try_it_out_enabled(true);
    SwaggerUi::new("/docs").config(config).into()
}
