//! Usage as `metrics.k8s.io/v1beta1` reports it, summed over a pod's containers.

use std::borrow::Cow;
use std::collections::HashMap;

use chrono::{DateTime, Utc};
use futures::AsyncReadExt;
use kube::Client;
use serde::Deserialize;

use crate::client::error::{Call, ClusterError};
use crate::client::retry::{Deadline, with_retries};
use crate::core::context::OwnedPod;
use crate::core::observation::Usage;
use crate::core::pod::{Containers, PodKey};
use crate::core::quantity;
use crate::core::resource::PerResource;

const RESOURCE: &str = "pods.metrics.k8s.io";

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
    /// Of these containers. None when a figure is no quantity, or one is missing where `all` are
    /// needed: half a sum would be a guess.
    fn usage(&self, containers: &Containers, all: bool) -> Option<Usage> {
        let (mut usage, mut container_utilization, mut counted) =
            (PerResource::default(), PerResource::default(), 0);
        for measured in &self.containers {
            let Some(index) =
                containers.iter().position(|container| container.name == measured.name)
            else {
                continue;
            };
            counted += 1;
            let used = PerResource::new(
                quantity::cores(&measured.usage.cpu)?,
                quantity::mib(&measured.usage.memory)?,
            );
            let limit = containers.limit_of(index);
            let share = |used: f64, limit: f64| if limit > 0.0 { used / limit } else { 0.0 };
            usage = PerResource::new(usage.cpu + used.cpu, usage.memory + used.memory);
            container_utilization = PerResource::new(
                share(used.cpu, limit.cpu).max(container_utilization.cpu),
                share(used.memory, limit.memory).max(container_utilization.memory),
            );
        }
        let complete = counted > 0 && (!all || counted == containers.len());
        complete.then_some(Usage { at: self.timestamp.timestamp(), usage, container_utilization })
    }
}

fn path(namespace: &str) -> String {
    format!("/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods")
}

/// The body of an answer, in one piece.
async fn get(
    client: &Client,
    call: Call,
    path: &str,
    deadline: Deadline,
) -> Result<Vec<u8>, ClusterError> {
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
    serde_json::from_slice(body)
        .map_err(|error| ClusterError::Unavailable { call, message: error.to_string() })
}

/// The metrics of a namespace as the API server sends them.
pub async fn of_namespace(
    client: &Client,
    namespace: &str,
    deadline: Deadline,
) -> Result<Vec<u8>, ClusterError> {
    get(client, Call::over("list", RESOURCE, namespace), &path(namespace), deadline).await
}

/// The usage of each of these pods of a namespace, in their order.
pub fn read_list(
    body: &[u8],
    namespace: &str,
    pods: &[OwnedPod],
) -> Result<Vec<Option<Usage>>, ClusterError> {
    let list: PodMetricsList = read(body, Call::over("list", RESOURCE, namespace))?;
    let measured: HashMap<&str, &PodMetrics> =
        list.items.iter().map(|pod| (&*pod.metadata.name, pod)).collect();
    let usage = |owned: &OwnedPod| {
        measured
            .get(owned.pod.key.name.as_str())?
            .usage(&owned.pod.containers, owned.names_containers())
    };
    Ok(pods.iter().map(usage).collect())
}

/// The usage of one pod; None when there is none (yet), or no metrics API at all.
pub async fn of_pod(
    client: &Client,
    owned: &OwnedPod,
    deadline: Deadline,
) -> Result<Option<Usage>, ClusterError> {
    let PodKey { namespace, name, .. } = &owned.pod.key;
    let call = Call::on("get", RESOURCE, namespace, name);
    match get(client, call.clone(), &format!("{}/{name}", path(namespace)), deadline).await {
        Ok(body) => {
            Ok(read::<PodMetrics>(&body, call)?
                .usage(&owned.pod.containers, owned.names_containers()))
        }
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn usage(cpu: &str, containers: &[&str], all: bool) -> Option<Usage> {
        let text = format!(
            r#"{{"metadata":{{"name":"web"}},"timestamp":"2026-11-23T10:00:00Z",
            "window":"15s","containers":[
            {{"name":"a","usage":{{"cpu":"150000000n","memory":"131072Ki"}}}},
            {{"name":"b","usage":{{"cpu":"{cpu}","memory":"128Mi"}}}}]}}"#
        );
        let limits = json!({"a": {"cpu": "1", "memory": "1Gi"}, "b": {"cpu": "100m"}});
        let containers: Vec<_> = containers
            .iter()
            .map(|name| json!({"name": name, "resources": {"limits": limits[*name]}}))
            .collect();
        let pod = json!({"metadata": {"namespace": "n", "name": "web", "uid": "u"},
            "spec": {"containers": containers}});
        let pod = crate::cluster::convert::pod(&serde_json::from_value(pod).unwrap()).unwrap();
        serde_json::from_str::<PodMetrics>(&text).unwrap().usage(&pod.containers, all)
    }

    #[test]
    fn usage_is_summed_and_a_bad_figure_voids_it() {
        let sum =
            |cpu, containers: &[&str], all| usage(cpu, containers, all).map(|usage| usage.usage);
        assert_eq!(sum("50m", &["a", "b"], false), Some(PerResource::new(0.2, 256.0)));
        assert_eq!(sum("fast", &["a", "b"], false), None);
        assert_eq!(
            sum("fast", &["a"], true),
            Some(PerResource::new(0.15, 128.0)),
            "what does not count voids nothing"
        );
        assert_eq!(sum("50m", &["a", "b", "c"], true), None, "a container that is not measured");
        assert_eq!(
            sum("50m", &["a", "b", "c"], false),
            Some(PerResource::new(0.2, 256.0)),
            "it may not run yet"
        );
        assert_eq!(sum("50m", &["c"], false), None);
    }

    #[test]
    fn the_fullest_container_is_known_for_each_resource() {
        assert_eq!(
            usage("50m", &["a", "b"], false).unwrap().container_utilization,
            PerResource::new(0.5, 0.125)
        );
    }
}
