//! Usage as `metrics.k8s.io/v1beta1` tells it, summed over a pod's containers.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use kube::Client;
use serde::Deserialize;

use super::error::{Call, ClusterError};
use super::quantity;
use super::retry::{Deadline, with_retries};
use crate::scaler::action::PerResource;

const RESOURCE: &str = "pods.metrics.k8s.io";

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// Seconds since the epoch.
    pub at: i64,
    /// Cores and MiB.
    pub usage: PerResource<f64>,
}

#[derive(Deserialize)]
struct PodMetricsList {
    items: Vec<PodMetrics>,
}

#[derive(Deserialize)]
struct PodMetrics {
    metadata: Metadata,
    timestamp: DateTime<Utc>,
    containers: Vec<ContainerMetrics>,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
}

#[derive(Deserialize)]
struct ContainerMetrics {
    usage: ContainerUsage,
}

#[derive(Deserialize)]
struct ContainerUsage {
    cpu: String,
    memory: String,
}

impl PodMetrics {
    /// None when a container's figure is no quantity: half a sum would be a guess.
    fn usage(&self) -> Option<Usage> {
        let mut usage = PerResource::new(0.0, 0.0);
        for container in &self.containers {
            usage.cpu += quantity::cores(&container.usage.cpu)?;
            usage.memory += quantity::mib(&container.usage.memory)?;
        }
        (!self.containers.is_empty()).then_some(Usage { at: self.timestamp.timestamp(), usage })
    }
}

fn path(namespace: &str) -> String {
    format!("/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods")
}

async fn get<T: serde::de::DeserializeOwned>(
    client: &Client,
    call: Call,
    path: &str,
    deadline: Deadline,
) -> Result<T, ClusterError> {
    with_retries(call, deadline, || async {
        let request = http::Request::get(path).body(Vec::new()).map_err(kube::Error::HttpError)?;
        client.request::<T>(request).await
    })
    .await
}

/// The usage of every pod of a namespace, by pod name.
pub async fn of_namespace(
    client: &Client,
    namespace: &str,
    deadline: Deadline,
) -> Result<HashMap<String, Usage>, ClusterError> {
    let call = Call::over("list", RESOURCE, namespace);
    let list: PodMetricsList = get(client, call, &path(namespace), deadline).await?;
    Ok(list.items.into_iter().filter_map(|pod| pod.usage().map(|usage| (pod.metadata.name, usage))).collect())
}

/// The usage of one pod; None when there is none (yet), or no metrics API at all.
pub async fn of_pod(
    client: &Client,
    namespace: &str,
    name: &str,
    deadline: Deadline,
) -> Result<Option<Usage>, ClusterError> {
    let call = Call::on("get", RESOURCE, namespace, name);
    match get::<PodMetrics>(client, call, &format!("{}/{name}", path(namespace)), deadline).await {
        Ok(metrics) => Ok(metrics.usage()),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_summed_and_a_bad_figure_voids_it() {
        let parse = |cpu: &str| {
            let text = format!(
                r#"{{"metadata":{{"name":"web"}},"timestamp":"2026-11-23T10:00:00Z","window":"15s","containers":[
                {{"name":"a","usage":{{"cpu":"150000000n","memory":"131072Ki"}}}},
                {{"name":"b","usage":{{"cpu":"{cpu}","memory":"128Mi"}}}}]}}"#
            );
            serde_json::from_str::<PodMetrics>(&text).unwrap().usage()
        };
        assert_eq!(parse("50m").unwrap().usage, PerResource::new(0.2, 256.0));
        assert_eq!(parse("fast"), None);
    }
}
