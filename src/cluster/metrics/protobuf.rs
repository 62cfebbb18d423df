//! Metrics as protobuf, of which no more is read than is wanted; no text is copied.

use bytes::Bytes;
use kube::core::Status;
use kube::core::response::StatusDetails;
use prost::Message;

use super::measured::{Measured, Odd, Take, usage, window};
use crate::core::observation::Usage;
use crate::core::pod::Containers;
use crate::core::resource::PerResource;

pub const TYPE: &str = "application/vnd.kubernetes.protobuf";
/// What is read, the best first.
pub const ACCEPT: &str = "application/vnd.kubernetes.protobuf, application/json;q=0.9";
/// What stands before the envelope.
const MAGIC: &[u8] = b"k8s\0";

/// The envelope.
#[derive(Message)]
struct Unknown {
    #[prost(bytes = "bytes", tag = "2")]
    raw: Bytes,
}

#[derive(Message)]
struct PodMetricsList {
    #[prost(bytes = "bytes", repeated, tag = "2")]
    items: Vec<Bytes>,
}

#[derive(Message)]
struct PodMetrics {
    #[prost(message, required, tag = "1")]
    metadata: Metadata,
    #[prost(message, required, tag = "2")]
    timestamp: Time,
    #[prost(message, optional, tag = "3")]
    window: Option<Duration>,
    #[prost(message, repeated, tag = "4")]
    containers: Vec<ContainerMetrics>,
}

#[derive(Message)]
struct Metadata {
    #[prost(bytes = "bytes", tag = "1")]
    name: Bytes,
}

#[derive(Message)]
struct Time {
    #[prost(int64, tag = "1")]
    seconds: i64,
}

/// In nanoseconds.
#[derive(Message)]
struct Duration {
    #[prost(int64, tag = "1")]
    duration: i64,
}

#[derive(Message)]
struct ContainerMetrics {
    #[prost(bytes = "bytes", tag = "1")]
    name: Bytes,
    #[prost(message, repeated, tag = "2")]
    usage: Vec<Used>,
}

/// An entry of a map.
#[derive(Message)]
struct Used {
    #[prost(bytes = "bytes", tag = "1")]
    resource: Bytes,
    #[prost(message, optional, tag = "2")]
    amount: Option<Quantity>,
}

#[derive(Message)]
struct Quantity {
    #[prost(bytes = "bytes", tag = "1")]
    text: Bytes,
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

impl ContainerMetrics {
    fn measured(&self) -> Option<Measured<'_>> {
        let mut measured = PerResource::default();
        for Used { resource, amount } in &self.usage {
            let amount = amount.as_ref().and_then(|amount| text(&amount.text));
            match &**resource {
                b"cpu" => measured.cpu = amount,
                b"memory" => measured.memory = amount,
                _ => {}
            }
        }
        Some((text(&self.name)?, measured))
    }
}

impl PodMetrics {
    fn usage(&self, containers: &Containers) -> Usage {
        let measured = self.containers.iter().filter_map(ContainerMetrics::measured);
        let window = self.window.as_ref().and_then(|of| window(of.duration as f64 * 1e-9));
        usage(self.timestamp.seconds, window, measured, containers)
    }
}

fn text(bytes: &[u8]) -> Option<&str> {
    str::from_utf8(bytes).ok()
}

fn opened<T: Message + Default>(body: &Bytes) -> Result<T, Odd> {
    let envelope = body.strip_prefix(MAGIC).ok_or(Odd::Magic)?;
    Ok(T::decode(Unknown::decode(body.slice_ref(envelope))?.raw)?)
}

pub fn read_list(body: &Bytes, namespace: &str, take: &mut Take) -> Result<(), Odd> {
    for item in opened::<PodMetricsList>(body)?.items {
        match PodMetrics::decode(item) {
            Ok(item) => {
                take(text(&item.metadata.name).unwrap_or_default(), &|of| item.usage(of));
            }
            Err(error) => tracing::debug!(namespace, %error, "an item of the metrics is odd"),
        }
    }
    Ok(())
}

pub fn read_pod(body: &Bytes, containers: &Containers) -> Result<Usage, Odd> {
    Ok(opened::<PodMetrics>(body)?.usage(containers))
}

/// What went wrong.
pub fn status(body: &Bytes) -> Option<Status> {
    let Failure { message, reason, details } = opened(body).ok()?;
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
    use super::super::Answer;
    use super::*;
    use crate::core::context::OwnedPod;
    use crate::core::pod::{ContainerResources, Pod, PodContainer, pod_key};

    fn bytes(text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    fn sent(message: &impl Message) -> Bytes {
        let envelope = Unknown { raw: message.encode_to_vec().into() };
        [MAGIC, &envelope.encode_to_vec()].concat().into()
    }

    fn container(name: &str, usage: &[(&str, &str)]) -> ContainerMetrics {
        let used = |(resource, amount): &(&str, &str)| Used {
            resource: bytes(resource),
            amount: Some(Quantity { text: bytes(amount) }),
        };
        ContainerMetrics { name: bytes(name), usage: usage.iter().map(used).collect() }
    }

    fn metrics(name: &str, containers: Vec<ContainerMetrics>) -> PodMetrics {
        PodMetrics {
            metadata: Metadata { name: bytes(name) },
            timestamp: Time { seconds: 1_795_428_000 },
            window: Some(Duration { duration: 10_013_000_000 }),
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
        let items = [whole.encode_to_vec().into(), bytes("no metrics"), Bytes::new()];
        let list = Answer::Protobuf(sent(&PodMetricsList { items: items.into() }));
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
            let answer = Answer::Protobuf(Bytes::copy_from_slice(body));
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
