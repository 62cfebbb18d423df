//! The pods: all of the configured namespaces, or one with its usage.

use std::convert::Infallible;
use std::iter::once;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{ApiError, PodPath, SharedState, cluster};
use crate::clock::rfc3339;
use crate::cluster::inventory::OwnedPod;
use crate::cluster::retry::Deadline;
use crate::config::Config;
use crate::scaler::cycle::is_monitored;

/// Pods of one piece of the answer.
const PIECE: usize = 500;

/// In pieces, each made when the one before has been taken: the answer of a large cluster is never in memory as a whole.
pub async fn list(State(state): SharedState) -> Result<Response, ApiError> {
    let config = state.config();
    let pods = cluster(&state)?.pods(&config.namespaces, Deadline::default()).await?;
    let begin = format!(r#"{{"success":true,"count":{},"pods":["#, pods.len());
    let pieces = (0..pods.len()).step_by(PIECE).map(move |first| {
        let piece = &pods[first..(first + PIECE).min(pods.len())];
        let piece: Vec<_> = piece.iter().map(|pod| shown(pod, &config).to_string()).collect();
        let comma = if first == 0 { "" } else { "," };
        comma.to_owned() + &piece.join(",")
    });
    let all = once(begin).chain(pieces).chain(once("]}".to_owned())).map(Ok::<_, Infallible>);
    let body = Body::from_stream(futures::stream::iter(all));
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}

fn shown(owned: &OwnedPod, config: &Config) -> Value {
    let pod = &owned.pod;
    let containers: Vec<_> = pod
        .containers
        .iter()
        .map(|container| {
            let resources = &container.resources;
            json!({
                "name": container.name,
                "image": container.image,
                "resources": {"requests": resources.requests, "limits": resources.limits}
            })
        })
        .collect();
    json!({
        "name": pod.key.name,
        "namespace": pod.key.namespace,
        "status": pod.phase,
        "creation_timestamp": pod.created.map(rfc3339),
        "labels": pod.labels,
        "node_name": pod.node_name,
        "pod_ip": pod.pod_ip,
        "containers": containers,
        "owner": pod.owner.as_ref().map(|owner| json!({"kind": owner.kind, "name": owner.name})),
        "monitored": is_monitored(owned, config)
    })
}

pub async fn read(State(state): SharedState, path: PodPath) -> Result<Json<Value>, ApiError> {
    let cluster = cluster(&state)?;
    let deadline = Deadline::default();
    let pod = cluster.pod(&path.namespace, &path.name, deadline).await?.pod;
    let usage = cluster.usage_of(&path.namespace, &path.name, deadline).await?.map(|usage| usage.usage);
    let request = pod.request();
    Ok(Json(json!({
        "success": true,
        "pod": format!("{}/{}", path.namespace, path.name),
        "metrics": {"cpu_usage_cores": usage.map(|u| u.cpu), "memory_usage_mb": usage.map(|u| u.memory)},
        "resources": {"cpu_requests_cores": request.cpu, "memory_requests_mb": request.memory}
    })))
}
