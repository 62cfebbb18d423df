//! What metrics-server would have measured: usage of pods and nodes, scraped every 15 s.

use serde_json::{Value, json};

use super::json;
use super::node::Kubelet;
use super::physics::Resources;
use super::requirements::MIB;
use super::resources::Resource;
use super::runtime::{Pod, SCRAPE_SECONDS};
use super::store::Key;
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
        self.describe_usage(key, self.pods.get(key)?)
    }

    /// Nothing of a pod of which a container was not measured: a sum would be wrong. Only
    /// containers whose crash loop says so are left out by themselves.
    fn describe_usage(&self, key: &Key, pod: &Pod) -> Option<Value> {
        if pod.finished || !pod.started {
            return None;
        }
        let mut containers = Vec::new();
        for container in &pod.containers {
            match container.sample {
                Some(sample) => containers.push(json!({
                    "name": container.name, "usage": usage(sample.cpu, sample.memory),
                })),
                None if container.is_missing_alone() => {}
                None => return None,
            }
        }
        if containers.is_empty() {
            return None;
        }
        let object = self.store.get(Resource::Pods, key)?;
        let labels = &object.labels;
        let labels: serde_json::Map<String, Value> =
            labels.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
        let timestamp = self.timestamp_at(self.scraped);
        let mut metrics = json!({
            "kind": "PodMetrics",
            "apiVersion": API_VERSION,
            "metadata": {
                "name": key.name, "namespace": key.namespace, "labels": labels,
                "creationTimestamp": self.timestamp(),
            },
            "timestamp": timestamp,
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

    pub(super) fn node_metrics(&self) -> Vec<Value> {
        let timestamp = self.timestamp_at(self.scraped);
        let describe = |(name, node): (&String, &Resources)| {
            json!({
                "kind": "NodeMetrics",
                "apiVersion": API_VERSION,
                "metadata": { "name": name, "creationTimestamp": self.timestamp() },
                "timestamp": timestamp,
                "window": format!("{SCRAPE_SECONDS}s"),
                "usage": usage(node.cpu, node.memory),
            })
        };
        self.node_usage.iter().map(describe).collect()
    }
}

fn usage(cpu: f64, memory: f64) -> Value {
    json!({
        "cpu": format!("{}n", (cpu * 1e9).round() as u64),
        "memory": format!("{}Ki", (memory * MIB / 1024.0).round() as u64),
    })
}
