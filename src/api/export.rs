//! What workloads have settled on as kustomize patches or as Helm values, and the command that
//! fetches it.

use std::io::Write;

use anyhow::Context;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use clap::{Args, ValueEnum};
use http::{Request, Uri};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::error::ApiError;
use crate::core::export::SettledWorkload;
use crate::terminal::ServerArgs;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    #[default]
    Json,
    /// YAML: a strategic merge patch for each workload, for kustomize or kubectl
    Patch,
    /// YAML: values for Helm, by namespace, kind, workload and container
    Helm,
}

/// In YAML.
pub fn written(workloads: &[SettledWorkload], format: Format) -> Result<Response, ApiError> {
    let text = match format {
        Format::Helm => yaml(&values(workloads))?,
        _ => {
            let patches = workloads.iter().map(|workload| yaml(&patch(workload)));
            patches.collect::<Result<Vec<_>, _>>()?.join("---\n")
        }
    };
    Ok(([(CONTENT_TYPE, "application/yaml")], text).into_response())
}

fn yaml(value: &Value) -> Result<String, ApiError> {
    serde_norway::to_string(value).map_err(|error| ApiError::internal(&error))
}

fn patch(workload: &SettledWorkload) -> Value {
    let of = |sidecar: bool| -> Vec<Value> {
        let ours = workload.containers.iter().filter(|of| of.sidecar == sidecar);
        ours.map(|of| json!({"name": of.name, "resources": of.resources})).collect()
    };
    let mut spec = Map::new();
    for (field, containers) in [("initContainers", of(true)), ("containers", of(false))] {
        if !containers.is_empty() {
            spec.insert(field.to_owned(), containers.into());
        }
    }
    let key = &workload.key;
    let template = json!({"template": {"spec": spec}});
    let spec = match key.kind.as_str() {
        "CronJob" => json!({"jobTemplate": {"spec": template}}),
        _ => template,
    };
    json!({"apiVersion": format!("{}/v1", key.group), "kind": key.kind,
        "metadata": {"name": key.name, "namespace": key.namespace}, "spec": spec})
}

fn values(workloads: &[SettledWorkload]) -> Value {
    let mut all = Map::new();
    for SettledWorkload { key, containers } in workloads {
        let mut place = &mut all;
        for part in [&key.namespace, &key.kind.to_lowercase(), &key.name] {
            let below = place.entry(part.clone()).or_insert_with(|| Map::new().into());
            let Value::Object(below) = below else { unreachable!("only objects are put in") };
            place = below;
        }
        place.extend(containers.iter().map(|of| (of.name.clone(), json!(of.resources))));
    }
    json!({"dqnScaler": all})
}

/// Write what workloads have settled on, as a running service knows it
#[derive(Debug, Clone, Args)]
pub struct ExportArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Kustomize patches, or values for Helm
    #[arg(long, value_enum, default_value_t = ExportFormat::Patch)]
    format: ExportFormat,
    /// Only workloads of this namespace
    #[arg(long)]
    namespace: Option<String>,
    /// Only workloads whose kind, name or instance contains this
    #[arg(long)]
    search: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ExportFormat {
    Patch,
    Helm,
}

pub async fn run(args: ExportArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let address = args.server.address();
    let uri: Uri = address.parse().with_context(|| format!("--server {address}"))?;
    let client = kube::Client::try_from(kube::Config::new(uri))?;
    let format = match args.format {
        ExportFormat::Patch => "patch",
        ExportFormat::Helm => "helm",
    };
    let mut path = format!("/workloads?format={format}");
    for (name, value) in [("namespace", args.namespace), ("search", args.search)] {
        if let Some(value) = value {
            path += &format!("&{name}={}", utf8_percent_encode(&value, NON_ALPHANUMERIC));
        }
    }
    let request = Request::get(path).body(Vec::new())?;
    let text = client
        .request_text(request)
        .await
        .with_context(|| format!("no answer of {address}, which --server names"))?;
    Ok(out.write_all(text.as_bytes())?)
}
