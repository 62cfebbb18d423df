//! Usage as `metrics.k8s.io/v1beta1` reports it, container by container.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use hashbrown::HashMap;
use kube::Client;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::client::error::{Call, ClusterError};
use crate::client::retry::{Deadline, with_retries};
use crate::core::context::OwnedPod;
use crate::core::observation::Usage;
use crate::core::pod::{Containers, PodKey};
use crate::core::quantity;
use crate::core::resource::PerResource;

const RESOURCE: &str = "pods.metrics.k8s.io";

/// Of usage, in seconds.
const LONGEST_WINDOW: f64 = 300.0;

// Texts are borrowed from the answer, which is large: nothing of it is copied but the pods' names.

#[derive(Deserialize)]
struct List<T> {
    items: Vec<T>,
}

#[derive(Deserialize)]
struct PodMetrics<'a, C> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
    timestamp: DateTime<Utc>,
    #[serde(borrow)]
    window: Option<Text<'a>>,
    containers: Option<Vec<C>>,
}

type Measured<'a> = PodMetrics<'a, ContainerMetrics<'a>>;

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
    usage: Option<ContainerUsage<'a>>,
}

#[derive(Deserialize)]
struct ContainerUsage<'a> {
    #[serde(borrow)]
    cpu: Option<Text<'a>>,
    #[serde(borrow)]
    memory: Option<Text<'a>>,
}

/// A text that may be missing: of a plain `Cow` within an `Option`, serde would make a copy.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> PodMetrics<'a, &'a RawValue> {
    /// Without the containers that cannot be read.
    fn lenient(self) -> Measured<'a> {
        let Self { metadata, timestamp, window, containers } = self;
        let readable = |containers: Vec<&'a RawValue>| {
            let read = containers.into_iter().map(|of| serde_json::from_str(of.get()));
            read.filter_map(Result::ok).collect()
        };
        PodMetrics { metadata, timestamp, window, containers: containers.map(readable) }
    }
}

impl Measured<'_> {
    /// Of these containers, in their order; what is missing or no quantity is not measured.
    fn usage(&self, containers: &Containers) -> Usage {
        let mut usage = vec![PerResource::default(); containers.len()];
        for measured in self.containers.iter().flatten() {
            let index = containers.iter().position(|of| *of.name == *measured.name);
            if let (Some(index), Some(used)) = (index, &measured.usage) {
                let cpu = used.cpu.as_ref().and_then(|text| quantity::cores(&text.0));
                let memory = used.memory.as_ref().and_then(|text| quantity::mib(&text.0));
                usage[index] = PerResource::new(cpu, memory);
            }
        }
        let window = self.window.as_ref().and_then(|text| seconds(&text.0)).unwrap_or_default();
        Usage {
            at: self.timestamp.timestamp(),
            window,
            containers: usage.into(),
            bursts: Box::default(),
        }
    }
}

/// A duration as Go writes it, such as `1m30.5s`, in whole seconds; none that is no window of
/// usage.
fn seconds(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut sum = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, unit) = rest.split_at(digits);
        let letters = unit.find(|c: char| !c.is_alphabetic()).unwrap_or(unit.len());
        let (unit, left) = unit.split_at(letters);
        sum += number.parse::<f64>().ok()?
            * match unit {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                _ => return None,
            };
        rest = left;
    }
    (0.0..=LONGEST_WINDOW).contains(&sum).then_some(sum.ceil() as i64)
}

fn path(namespace: &str) -> String {
    format!("/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods")
}

async fn get(
    client: &Client,
    call: Call,
    path: &str,
    deadline: Deadline,
) -> Result<String, ClusterError> {
    with_retries(call, deadline, || async {
        let request = http::Request::get(path).body(Vec::new()).map_err(kube::Error::HttpError)?;
        client.request_text(request).await
    })
    .await
}

/// An answer that cannot be read.
fn odd(call: Call) -> impl Fn(&dyn std::fmt::Display) -> ClusterError {
    move |error| ClusterError::Unavailable { call: call.clone(), message: error.to_string() }
}

/// The metrics of a namespace as the API server sends them.
pub async fn of_namespace(
    client: &Client,
    namespace: &str,
    deadline: Deadline,
) -> Result<String, ClusterError> {
    get(client, Call::over("list", RESOURCE, namespace), &path(namespace), deadline).await
}

/// The usage of each of these pods of a namespace, in their order.
pub fn read_list(
    body: &str,
    namespace: &str,
    pods: &[OwnedPod],
) -> Result<Vec<Option<Usage>>, ClusterError> {
    let odd = odd(Call::over("list", RESOURCE, namespace));
    let items = match serde_json::from_str::<List<Measured>>(body) {
        Ok(list) => list.items,
        // One odd item costs itself alone: each is read by itself.
        Err(_) => {
            let list: List<&RawValue> = serde_json::from_str(body).map_err(|error| odd(&error))?;
            list.items.into_iter().filter_map(|item| lenient(item, namespace)).collect()
        }
    };
    let measured: HashMap<&str, &Measured> =
        items.iter().map(|pod| (&*pod.metadata.name, pod)).collect();
    let usage = |owned: &OwnedPod| {
        let metrics = measured.get(owned.pod.key.name.as_str())?;
        Some(metrics.usage(&owned.pod.containers))
    };
    Ok(pods.iter().map(usage).collect())
}

fn lenient<'a>(item: &'a RawValue, namespace: &str) -> Option<Measured<'a>> {
    let metrics = serde_json::from_str::<PodMetrics<&RawValue>>(item.get());
    metrics
        .inspect_err(|error| tracing::debug!(namespace, %error, "an item of the metrics is odd"))
        .ok()
        .map(PodMetrics::lenient)
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
    match get(client, call.clone(), &format!("{}/{name}", path(namespace)), deadline).await {
        Ok(body) => {
            let metrics = serde_json::from_str::<PodMetrics<&RawValue>>(&body);
            let metrics = metrics.map_err(|error| odd(call)(&error))?.lenient();
            Ok(Some(metrics.usage(&owned.pod.containers)))
        }
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::pod::pod_key;

    #[test]
    fn windows_are_read_as_go_writes_durations() {
        for (text, expected) in [
            ("15s", Some(15)),
            ("10.013s", Some(11)),
            ("1m30s", Some(90)),
            ("1m0.5s", Some(61)),
            ("800ms", Some(1)),
            ("0s", Some(0)),
            ("1h0m0s", None),
            ("-5s", None),
            ("15", None),
            ("s", None),
            ("1e9s", None),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
    }
    use crate::core::pod::{ContainerResources, Pod, PodContainer};

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
        read_list(&body, "shop", &[pod("web"), pod("db")]).unwrap()
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
