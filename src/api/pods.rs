//! The pods: all of the configured namespaces, or one with its usage.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::{ApiError, PodPath, SharedState, cluster};
use crate::clock::rfc3339;
use crate::cluster::inventory::OwnedPod;
use crate::cluster::retry::Deadline;
use crate::config::Config;
use crate::scaler::cycle::is_monitored;

pub async fn list(State(state): SharedState) -> Result<Json<Value>, ApiError> {
    let config = state.config();
    let pods = cluster(&state)?.pods(&config.namespaces, Deadline::default()).await?;
    let pods: Vec<_> = pods.iter().map(|pod| shown(pod, &config)).collect();
    Ok(Json(json!({"success": true, "count": pods.len(), "pods": pods})))
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
