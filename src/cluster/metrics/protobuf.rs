//! Metrics as protobuf, of which no more is read than is wanted. Texts are borrowed from the
//! answer, which is large.

use kube::core::Status;
use kube::core::response::StatusDetails;
use prost::Message;

use super::measured::{Measured, Odd, Take, usage, window};
use super::wire::{Value, field, fields};
use crate::core::observation::Usage;
use crate::core::pod::Containers;
use crate::core::resource::PerResource;

pub const TYPE: &str = "application/vnd.kubernetes.protobuf";
/// What is read, the best first.
pub const ACCEPT: &str = "application/vnd.kubernetes.protobuf, application/json;q=0.9";
/// What stands before the envelope.
const MAGIC: &[u8] = b"k8s\0";
/// Of the object, in the envelope.
const RAW: u32 = 2;
/// In a list.
const ITEMS: u32 = 2;

/// The metrics of a pod, and of each of its containers.
#[derive(Default)]
struct PodMetrics<'a> {
    name: &'a [u8],
    at: i64,
    window: Option<i64>,
    containers: Vec<Measured<'a>>,
}

#[derive(Message)]
struct Failure {
    #[prost(string, tag = "3")]
    message: String,
    #[prost(string, tag = "4")]
    reason: String,
    #[prost(message, optional, tag = "5")]
    details: Option<Details>,
}

#[derive(Message)]
struct Details {
    #[prost(int32, tag = "5")]
    retry_after_seconds: i32,
}

impl<'a> PodMetrics<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, Odd> {
        let mut read = Self::default();
        for found in fields(bytes) {
            match found? {
                (1, Value::Bytes(metadata)) => read.name = field(metadata, 1)?.bytes(),
                (2, Value::Bytes(time)) => read.at = field(time, 1)?.number(),
                (3, Value::Bytes(duration)) => {
                    let nanoseconds = field(duration, 1)?.number();
                    read.window = window(nanoseconds as f64 * 1e-9);
                }
                (4, Value::Bytes(container)) => read.containers.extend(measured(container)?),
                _ => {}
            }
        }
        Ok(read)
    }

    fn usage(&self, containers: &Containers) -> Usage {
        usage(self.at, self.window, self.containers.iter().copied(), containers)
    }
}

/// What was measured of a container, unless its name is none.
fn measured(bytes: &[u8]) -> Result<Option<Measured<'_>>, Odd> {
    let (mut name, mut measured) = (None, PerResource::default());
    for found in fields(bytes) {
        match found? {
            (1, Value::Bytes(text)) => name = str::from_utf8(text).ok(),
            (2, Value::Bytes(entry)) => {
                let quantity = field(field(entry, 2)?.bytes(), 1)?.bytes();
                let amount = str::from_utf8(quantity).ok();
                match field(entry, 1)?.bytes() {
                    b"cpu" => measured.cpu = amount,
                    b"memory" => measured.memory = amount,
                    _ => {}
                }
            }
            _ => {}
        }
    }
    Ok(name.map(|name| (name, measured)))
}

/// The object in the envelope.
fn opened(body: &[u8]) -> Result<&[u8], Odd> {
    let envelope = body.strip_prefix(MAGIC).ok_or(Odd::Magic)?;
    Ok(field(envelope, RAW)?.bytes())
}

pub fn read_list(body: &[u8], namespace: &str, take: &mut Take) -> Result<(), Odd> {
    for found in fields(opened(body)?) {
        let (ITEMS, Value::Bytes(item)) = found? else { continue };
        match PodMetrics::read(item) {
            Ok(item) => {
                take(str::from_utf8(item.name).unwrap_or_default(), &|of| item.usage(of));
            }
            Err(error) => tracing::debug!(namespace, %error, "an item of the metrics is odd"),
        }
    }
    Ok(())
}

pub fn read_pod(body: &[u8], containers: &Containers) -> Result<Usage, Odd> {
    Ok(PodMetrics::read(opened(body)?)?.usage(containers))
}

/// What went wrong.
pub fn status(body: &[u8]) -> Option<Status> {
    let Failure { message, reason, details } = Failure::decode(opened(body).ok()?).ok()?;
    let details = details.map(|Details { retry_after_seconds }| StatusDetails {
        retry_after_seconds: u32::try_from(retry_after_seconds).unwrap_or_default(),
        name: String::new(),
        group: String::new(),
        kind: String::new(),
        uid: String::new(),
        causes: Vec::new(),
    });
    Some(Status { details, ..Status::failure(&message, &reason) })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::Answer;
    use super::*;
    use crate::core::context::OwnedPod;
    use crate::core::pod::{ContainerResources, Pod, PodContainer, pod_key};
    use crate::sim::protobuf as server;

    #[derive(Message)]
    struct List {
        #[prost(bytes = "vec", repeated, tag = "2")]
        items: Vec<Vec<u8>>,
    }

    fn sent(message: &impl Message) -> Vec<u8> {
        server::envelope("", "", message.encode_to_vec())
    }

    fn container(name: &str, usage: &[(&str, &str)]) -> server::ContainerMetrics {
        let used = |(resource, amount): &(&str, &str)| {
            ((*resource).into(), server::Quantity { text: (*amount).into() })
        };
        server::ContainerMetrics { name: name.into(), usage: usage.iter().map(used).collect() }
    }

    fn metrics(name: &str, containers: Vec<server::ContainerMetrics>) -> server::PodMetrics {
        let timestamp = || server::Time { seconds: 1_795_428_000, nanos: 5 };
        server::PodMetrics {
            metadata: server::ObjectMeta {
                name: name.into(),
                namespace: "shop".into(),
                creation_timestamp: timestamp(),
                labels: BTreeMap::from([("app".into(), "web".into())]),
            },
            timestamp: timestamp(),
            window: server::Duration { duration: 10_013_000_000 },
            containers,
        }
    }

    fn pod(name: &str) -> OwnedPod {
        let container = |name| PodContainer::new(name, ContainerResources::default());
        let key = pod_key("shop", name, name);
        OwnedPod::bare(Pod::new(key, vec![container("a"), container("b")]))
    }

    #[test]
    fn usage_is_told_by_container_and_what_is_odd_costs_only_itself() {
        let whole = metrics(
            "web",
            vec![
                container("b", &[("memory", "128Mi"), ("cpu", "1")]),
                container("a", &[("cpu", "150000000n"), ("memory", "much"), ("gpu", "1")]),
                container("debugger", &[("cpu", "9"), ("memory", "9Gi")]),
            ],
        );
        let items = vec![whole.encode_to_vec(), b"no metrics".into(), Vec::new()];
        let list = Answer::Protobuf(sent(&List { items }).into());
        let usages = super::super::read_list(&list, "shop", &[pod("db"), pod("web")]).unwrap();
        let usage = usages[1].as_ref().unwrap();
        assert_eq!((usages[0].as_ref(), usage.at, usage.window), (None, 1_795_428_000, 11));
        let expected = [(Some(0.15), None), (Some(1.0), Some(128.0))];
        assert_eq!(*usage.containers, expected.map(|(cpu, memory)| PerResource::new(cpu, memory)));
        let one = read_pod(&sent(&whole), &pod("web").pod.containers).unwrap();
        assert_eq!(one, *usage);
    }

    #[test]
    fn what_is_no_protobuf_of_kubernetes_is_refused() {
        for body in [&b""[..], b"k8s", b"{}", b"k8s\0\x12\xff"] {
            let answer = Answer::Protobuf(body.into());
            assert!(super::super::read_list(&answer, "shop", &[pod("web")]).is_err(), "{body:?}");
        }
    }

    #[test]
    fn a_refusal_says_why_and_when_to_ask_again() {
        let details = Some(Details { retry_after_seconds: 3 });
        let failure = Failure { message: "too much".into(), reason: "Busy".into(), details };
        let status = status(&sent(&failure)).unwrap();
        assert_eq!((&*status.message, &*status.reason), ("too much", "Busy"));
        assert_eq!(status.details.unwrap().retry_after_seconds, 3);
    }
}
