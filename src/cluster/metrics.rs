//! Usage as `metrics.k8s.io/v1beta1` tells it, summed over a pod's containers.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

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
    name: Cow<'a, str>,
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
    /// Of all containers, or of a part of them. None when a figure is missing or no quantity: half a sum would be a guess.
    fn usage(&self, part: Option<&BTreeSet<String>>) -> Option<Usage> {
        let counts = |container: &&ContainerMetrics| part.is_none_or(|part| part.contains(container.name.as_ref()));
        let (mut usage, mut counted) = (PerResource::new(0.0, 0.0), 0);
        for container in self.containers.iter().filter(counts) {
            counted += 1;
            usage.cpu += quantity::cores(&container.usage.cpu)?;
            usage.memory += quantity::mib(&container.usage.memory)?;
        }
        let complete = counted > 0 && part.is_none_or(|part| part.len() == counted);
        complete.then_some(Usage { at: self.timestamp.timestamp(), usage })
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

/// The containers that count, by the name of the pod; of a pod that is not named all do.
pub type Parts<'a> = HashMap<&'a str, &'a BTreeSet<String>>;

/// The usage of every pod of a namespace, by pod name.
pub fn read_list(body: &[u8], namespace: &str, parts: &Parts) -> Result<HashMap<String, Usage>, ClusterError> {
    let list: PodMetricsList = read(body, Call::over("list", RESOURCE, namespace))?;
    let usage = |pod: PodMetrics| {
        let usage = pod.usage(parts.get(pod.metadata.name.as_ref()).copied())?;
        Some((pod.metadata.name.into_owned(), usage))
    };
    Ok(list.items.into_iter().filter_map(usage).collect())
}

/// The usage of one pod; None when there is none (yet), or no metrics API at all.
pub async fn of_pod(
    client: &Client,
    namespace: &str,
    name: &str,
    part: Option<&BTreeSet<String>>,
    deadline: Deadline,
) -> Result<Option<Usage>, ClusterError> {
    let call = Call::on("get", RESOURCE, namespace, name);
    match get(client, call.clone(), &format!("{}/{name}", path(namespace)), deadline).await {
        Ok(body) => Ok(read::<PodMetrics>(&body, call)?.usage(part)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_summed_and_a_bad_figure_voids_it() {
        let usage = |cpu: &str, part: &[&str]| {
            let text = format!(
                r#"{{"metadata":{{"name":"web"}},"timestamp":"2026-11-23T10:00:00Z","window":"15s","containers":[
                {{"name":"a","usage":{{"cpu":"150000000n","memory":"131072Ki"}}}},
                {{"name":"b","usage":{{"cpu":"{cpu}","memory":"128Mi"}}}}]}}"#
            );
            let part: BTreeSet<_> = part.iter().map(|name| String::from(*name)).collect();
            let part = Some(&part).filter(|part| !part.is_empty());
            serde_json::from_str::<PodMetrics>(&text).unwrap().usage(part).map(|usage| usage.usage)
        };
        assert_eq!(usage("50m", &[]), Some(PerResource::new(0.2, 256.0)));
        assert_eq!(usage("fast", &[]), None);
        assert_eq!(usage("fast", &["a"]), Some(PerResource::new(0.15, 128.0)), "what does not count voids nothing");
        assert_eq!(usage("fast", &["a", "b"]), None);
        assert_eq!(usage("50m", &["a", "c"]), None, "a container that is not measured");
    }
}
