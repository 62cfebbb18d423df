//! Usage as `metrics.k8s.io/v1beta1` tells it, summed over a pod's containers.

use std::borrow::Cow;
use std::collections::HashMap;

use chrono::{DateTime, Utc};
use futures::AsyncReadExt;
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

// Texts are borrowed from the answer, which is large: nothing of it is copied but the pods' names.

#[derive(Deserialize)]
struct PodMetricsList<'a> {
    #[serde(borrow)]
    items: Vec<PodMetrics<'a>>,
}

#[derive(Deserialize)]
struct PodMetrics<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
    timestamp: DateTime<Utc>,
    #[serde(borrow)]
    containers: Vec<ContainerMetrics<'a>>,
}

#[derive(Deserialize)]
struct Metadata<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
}

#[derive(Deserialize)]
struct ContainerMetrics<'a> {
    #[serde(borrow)]
    usage: ContainerUsage<'a>,
}

#[derive(Deserialize)]
struct ContainerUsage<'a> {
    #[serde(borrow)]
    cpu: Cow<'a, str>,
    #[serde(borrow)]
    memory: Cow<'a, str>,
}

impl PodMetrics<'_> {
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

/// The body of an answer, in one piece.
async fn get(client: &Client, call: Call, path: &str, deadline: Deadline) -> Result<Vec<u8>, ClusterError> {
    with_retries(call, deadline, || async {
        let request = http::Request::get(path).body(Vec::new()).map_err(kube::Error::HttpError)?;
        let mut body = Vec::new();
        let mut stream = std::pin::pin!(client.request_stream(request).await?);
        stream.read_to_end(&mut body).await.map_err(kube::Error::ReadEvents)?;
        Ok(body)
    })
    .await
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8], call: Call) -> Result<T, ClusterError> {
    serde_json::from_slice(body).map_err(|error| ClusterError::Unavailable { call, message: error.to_string() })
}

/// The metrics of a namespace as the API server sends them.
pub async fn of_namespace(client: &Client, namespace: &str, deadline: Deadline) -> Result<Vec<u8>, ClusterError> {
    get(client, Call::over("list", RESOURCE, namespace), &path(namespace), deadline).await
}

/// The usage of every pod of a namespace, by pod name.
pub fn read_list(body: &[u8], namespace: &str) -> Result<HashMap<String, Usage>, ClusterError> {
    let list: PodMetricsList = read(body, Call::over("list", RESOURCE, namespace))?;
    let usage = |pod: PodMetrics| pod.usage().map(|usage| (pod.metadata.name.into_owned(), usage));
    Ok(list.items.into_iter().filter_map(usage).collect())
}

/// The usage of one pod; None when there is none (yet), or no metrics API at all.
pub async fn of_pod(
    client: &Client,
    namespace: &str,
    name: &str,
    deadline: Deadline,
) -> Result<Option<Usage>, ClusterError> {
    let call = Call::on("get", RESOURCE, namespace, name);
    match get(client, call.clone(), &format!("{}/{name}", path(namespace)), deadline).await {
        Ok(body) => Ok(read::<PodMetrics>(&body, call)?.usage()),
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
