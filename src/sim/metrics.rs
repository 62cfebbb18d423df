//! What metrics-server would have measured: usage of pods and nodes, scraped every 15 s.

use serde_json::{Value, json};

use super::json;
use super::node::Kubelet;
use super::physics::Resources;
use super::protobuf;
use super::requirements::MIB;
use super::resources::Resource;
use super::runtime::SCRAPE_SECONDS;
use super::store::{Key, Object};
use super::world::World;

const API_VERSION: &str = "metrics.k8s.io/v1beta1";

/// What a node's own processes use beside its pods: cores, MiB.
const SYSTEM_CPU: f64 = 0.08;
const SYSTEM_MEMORY: f64 = 420.0;

impl World {
    /// Measures every container, unless the metrics stand still.
    pub(super) fn scrape(&mut self) {
        if self.metrics_frozen {
            return;
        }
        self.scraped = self.now;
        let system = Resources { cpu: SYSTEM_CPU, memory: SYSTEM_MEMORY };
        let answering = self.nodes.iter().filter(|(_, node)| node.kubelet != Kubelet::Stopped);
        self.node_usage = answering.map(|(name, _)| (name.clone(), system)).collect();
        for pod in self.pods.values_mut() {
            let Some(usage) = pod.node.as_ref().and_then(|node| self.node_usage.get_mut(node))
            else {
                pod.forget_sample();
                continue;
            };
            pod.sample();
            for sample in pod.containers.iter().filter_map(|container| container.sample) {
                usage.cpu += sample.cpu;
                usage.memory += sample.memory;
            }
        }
    }

    /// The metrics of a pod, if it was measured.
    pub(super) fn pod_metric(&self, key: &Key) -> Option<Value> {
        let (object, containers) = self.measured(key)?;
        let labels = &object.labels;
        let labels: serde_json::Map<String, Value> =
            labels.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
        let containers = containers
            .into_iter()
            .map(|(name, sample)| json!({ "name": name, "usage": usage(sample) }));
        let containers: Vec<_> = containers.collect();
        let mut metrics = json!({
            "kind": "PodMetrics",
            "apiVersion": API_VERSION,
            "metadata": {
                "name": key.name, "namespace": key.namespace, "labels": labels,
                "creationTimestamp": self.timestamp(),
            },
            "timestamp": self.timestamp_at(self.scraped),
            "window": format!("{SCRAPE_SECONDS}s"),
            "containers": containers,
        });
        if !self.odd_metrics.is_empty() {
            let pod = object.value();
            let created = json::text(&pod, "/metadata/creationTimestamp");
            for odd in &self.odd_metrics {
                odd.apply(&key.name, created, &mut metrics);
            }
        }
        Some(metrics)
    }

    /// The same as protobuf, which can be odd in few ways: here it is in none.
    pub(super) fn pod_metric_message(&self, key: &Key) -> Option<protobuf::PodMetrics> {
        let (object, containers) = self.measured(key)?;
        let time = |at| protobuf::Time { seconds: self.date(at).timestamp(), nanos: 0 };
        let containers = containers.into_iter().map(|(name, sample)| {
            let amounts = quantities(sample)
                .map(|(resource, text)| (resource.to_owned(), protobuf::Quantity { text }));
            protobuf::ContainerMetrics { name: name.to_owned(), usage: amounts.into() }
        });
        Some(protobuf::PodMetrics {
            metadata: protobuf::ObjectMeta {
                name: key.name.clone(),
                namespace: key.namespace.clone(),
                creation_timestamp: time(self.now),
                labels: object.labels.iter().cloned().collect(),
            },
            timestamp: time(self.scraped),
            window: protobuf::Duration { duration: SCRAPE_SECONDS as i64 * 1_000_000_000 },
            containers: containers.collect(),
        })
    }

    /// Nothing of a pod of which a container was not measured: a sum would be wrong. Only
    /// containers whose crash loop says so are left out by themselves.
    fn measured(&self, key: &Key) -> Option<(&Object, Vec<(&str, Resources)>)> {
        let pod = self.pods.get(key).filter(|pod| !pod.finished && pod.started)?;
        let mut containers = Vec::new();
        for container in &pod.containers {
            match container.sample {
                Some(sample) => containers.push((&*container.name, sample)),
                None if container.is_missing_alone() => {}
                None => return None,
            }
        }
        let object = self.store.get(Resource::Pods, key)?;
        (!containers.is_empty()).then_some((object, containers))
    }

    pub(super) fn node_metrics(&self) -> Vec<Value> {
        let timestamp = self.timestamp_at(self.scraped);
        let describe = |(name, node): (&String, &Resources)| {
            json!({
                "kind": "NodeMetrics",
                "apiVersion": API_VERSION,
                "metadata": { "name": name, "creationTimestamp": self.timestamp() },
                "timestamp": timestamp,
                "window": format!("{SCRAPE_SECONDS}s"),
                "usage": usage(*node),
            })
        };
        self.node_usage.iter().map(describe).collect()
    }
}

fn usage(used: Resources) -> Value {
    let [cpu, memory] = quantities(used).map(|(_, text)| text);
    json!({ "cpu": cpu, "memory": memory })
}

fn quantities(Resources { cpu, memory }: Resources) -> [(&'static str, String); 2] {
    let (cpu, memory) = ((cpu * 1e9).round() as u64, (memory * MIB / 1024.0).round() as u64);
    [("cpu", format!("{cpu}n")), ("memory", format!("{memory}Ki"))]
}
