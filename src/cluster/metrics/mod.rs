//! Usage as `metrics.k8s.io/v1beta1` reports it, container by container.

mod json;
mod measured;
mod protobuf;
mod wire;

use bytes::Bytes;
use hashbrown::HashMap;
use http::header::{ACCEPT, CONTENT_TYPE};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use kube::core::Status;

use self::measured::Odd;
use crate::client::error::{Call, ClusterError};
use crate::client::retry::{Deadline, with_retries};
use crate::core::context::OwnedPod;
use crate::core::observation::Usage;
use crate::core::pod::{Containers, PodKey};

const RESOURCE: &str = "pods.metrics.k8s.io";

/// What the metrics API answers, in the form that it has chosen.
#[derive(Debug)]
pub enum Answer {
    Json(Bytes),
    Protobuf(Bytes),
}

fn path(namespace: &str) -> String {
    format!("/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods")
}

async fn get(
    client: &Client,
    call: Call,
    path: &str,
    deadline: Deadline,
) -> Result<Answer, ClusterError> {
    with_retries(call, deadline, || async {
        let request = http::Request::get(path).header(ACCEPT, protobuf::ACCEPT).body(Body::empty());
        let (answer, body) =
            client.send(request.map_err(kube::Error::HttpError)?).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        let is_protobuf = answer.headers.get(CONTENT_TYPE).is_some_and(|of| of == protobuf::TYPE);
        if !answer.status.is_success() {
            let status = match is_protobuf {
                true => protobuf::status(&body),
                false => serde_json::from_slice(&body).ok(),
            };
            // What stands between may answer in words of its own.
            let text = || Status::failure(String::from_utf8_lossy(&body).trim(), "");
            let status = status.unwrap_or_else(text);
            return Err(kube::Error::Api(status.with_code(answer.status.as_u16()).boxed()));
        }
        Ok(if is_protobuf { Answer::Protobuf(body) } else { Answer::Json(body) })
    })
    .await
}

fn odd(call: Call, error: Odd) -> ClusterError {
    ClusterError::Unavailable { call, message: error.to_string() }
}

/// The metrics of a namespace as the API server sends them.
pub async fn of_namespace(
    client: &Client,
    namespace: &str,
    deadline: Deadline,
) -> Result<Answer, ClusterError> {
    let call = Call::over("list", RESOURCE, namespace);
    get(client, call, &path(namespace), deadline).await
}

/// The usage of each of these pods of a namespace, in their order. An odd item costs itself alone.
pub fn read_list(
    answer: &Answer,
    namespace: &str,
    pods: &[OwnedPod],
) -> Result<Vec<Option<Usage>>, ClusterError> {
    let places = pods.iter().enumerate();
    let places: HashMap<_, _> =
        places.map(|(index, owned)| (owned.pod.key.name.as_str(), index)).collect();
    let mut usages = vec![None; pods.len()];
    let mut take = |name: &str, usage: &dyn Fn(&Containers) -> Usage| {
        if let Some(&index) = places.get(name) {
            usages[index] = Some(usage(&pods[index].pod.containers));
        }
    };
    let read = match answer {
        Answer::Json(body) => json::read_list(body, namespace, &mut take),
        Answer::Protobuf(body) => protobuf::read_list(body, namespace, &mut take),
    };
    read.map_err(|error| odd(Call::over("list", RESOURCE, namespace), error))?;
    Ok(usages)
}

pub fn call_of(pod: &PodKey) -> Call {
    Call::on("get", RESOURCE, &pod.namespace, &pod.name)
}

/// The usage of one pod; None when there is none (yet), or no metrics API at all.
pub async fn of_pod(
    client: &Client,
    owned: &OwnedPod,
    deadline: Deadline,
) -> Result<Option<Usage>, ClusterError> {
    let (namespace, name) = (&owned.pod.key.namespace, &owned.pod.key.name);
    let call = call_of(&owned.pod.key);
    let usage =
        match get(client, call.clone(), &format!("{}/{name}", path(namespace)), deadline).await {
            Ok(Answer::Json(body)) => json::read_pod(&body, &owned.pod.containers),
            Ok(Answer::Protobuf(body)) => protobuf::read_pod(&body, &owned.pod.containers),
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
    usage.map(Some).map_err(|error| odd(call, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::pod::{ContainerResources, Pod, PodContainer, pod_key};
    use crate::core::resource::PerResource;

    fn pod(name: &str) -> OwnedPod {
        let container = |name| PodContainer::new(name, ContainerResources::default());
        let key = pod_key("shop", name, name);
        OwnedPod::bare(Pod::new(key, vec![container("a"), container("b")]))
    }

    fn item(name: &str, containers: &str) -> String {
        format!(
            r#"{{"metadata":{{"name":"{name}"}},"timestamp":"2026-11-23T10:00:00Z",
            "window":"15s","containers":{containers}}}"#
        )
    }

    fn usages(items: &[String]) -> Vec<Option<Usage>> {
        let body = format!(r#"{{"kind":"PodMetricsList","items":[{}]}}"#, items.join(","));
        read_list(&Answer::Json(body.into()), "shop", &[pod("web"), pod("db")]).unwrap()
    }

    const WHOLE: &str = r#"[{"name":"b","usage":{"cpu":"1","memory":"128Mi"}},
        {"name":"a","usage":{"cpu":"150000000n","memory":"131072Ki"}},
        {"name":"debugger","usage":{"cpu":"9","memory":"9Gi"}}]"#;

    #[test]
    fn usage_is_told_by_container_in_the_order_of_the_spec() {
        let usage = usages(&[item("web", WHOLE)]).remove(0).unwrap();
        assert_eq!(usage.at, 1_795_428_000);
        let measured = |cpu, memory| PerResource::new(Some(cpu), Some(memory));
        assert_eq!(*usage.containers, [measured(0.15, 128.0), measured(1.0, 128.0)]);
        assert_eq!(usage.total(), PerResource::new(1.15, 256.0), "not the debugger");
    }

    #[test]
    fn what_is_odd_costs_only_itself() {
        for odd in [
            item("db", "null"),
            item("db", r#"[{"name":"a"}, {"usage":{}}, 7]"#),
            item("db", r#"[{"name":"a","usage":{"cpu":"much","memory":7}}]"#),
            "7".to_owned(),
            r#"{"metadata":null}"#.to_owned(),
            r#"{"metadata":{"name":"db"},"timestamp":"yesterday","containers":[]}"#.to_owned(),
        ] {
            let usages = usages(&[odd.clone(), item("web", WHOLE)]);
            assert!(usages[0].is_some(), "{odd}");
            let nothing = |usage: &Usage| {
                usage.containers.iter().all(|of| of.cpu.is_none() && of.memory.is_none())
            };
            assert!(usages[1].as_ref().is_none_or(nothing), "{odd}");
        }
        let half = item("db", r#"[{"name":"a","usage":{"memory":"64Mi"}}]"#);
        let usage = usages(&[half]).remove(1).unwrap();
        assert_eq!(*usage.containers, [PerResource::new(None, Some(64.0)), Default::default()]);
    }
}
