//! Nodes: what they have and what is taken of it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::due::PodDue;
use super::requirements::Sum;
use super::store::Key;
use crate::core::quantity::Quantity;

/// Where a kubelet listens for metrics.
pub const KUBELET_PORT: u16 = 10250;

/// How the kubelet of a node behaves.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Kubelet {
    #[default]
    Prompt,
    /// Looks at a resize only after so many seconds.
    Slow { seconds: f64 },
    /// Never looks at a resize; does all else.
    Silent,
    /// Does nothing and reports nothing: its containers run on by themselves.
    Stopped,
}

/// A node as its kubelet sees it.
#[derive(Debug, Clone, Default)]
pub struct Node {
    pub capacity: Sum,
    pub allocatable: Sum,
    /// Requests of the pods on it, as admitted.
    pub allocated: Sum,
    pub pods: BTreeSet<Key>,
    /// Pods whose resize waits for room.
    pub deferred: BTreeSet<Key>,
    pub labels: BTreeMap<String, String>,
    /// Cordoned: new pods go elsewhere.
    pub unschedulable: bool,
    /// With the static CPU manager policy, Guaranteed pods cannot be resized.
    pub static_cpu_policy: bool,
    /// The same of the static memory manager policy.
    pub static_memory_policy: bool,
    /// Its pods cannot be resized at all.
    pub windows: bool,
    pub kubelet: Kubelet,
    /// Where the kubelet is asked for metrics.
    pub address: String,
    /// What the kubelet does once it acts again.
    pub postponed: Vec<(Key, u64, PodDue)>,
}

impl Node {
    /// A node of some cores and GiB, of which the system keeps its share.
    pub fn new(cores: f64, gib: f64) -> Self {
        let capacity =
            Sum { cpu: (cores * 1000.0) as i64, memory: (gib * 1024.0) as i64 * 1024 * 1024 };
        let reserved = Sum { cpu: capacity.cpu / 25, memory: capacity.memory / 20 };
        Self { capacity, allocatable: capacity - reserved, ..Self::default() }
    }

    /// A node with nothing reserved for the system.
    pub fn bare(cpu_millis: i64, memory_bytes: i64) -> Self {
        let capacity = Sum { cpu: cpu_millis, memory: memory_bytes };
        Self { capacity, allocatable: capacity, ..Self::default() }
    }

    pub fn free(&self) -> Sum {
        self.allocatable - self.allocated
    }

    /// Whether a new pod with these requests fits into what is free.
    pub fn fits(&self, requests: Sum) -> bool {
        let free = self.free();
        !self.unschedulable && requests.cpu <= free.cpu && requests.memory <= free.memory
    }

    /// The node as the API shows it.
    pub fn object(
        &self,
        name: &str,
        index: usize,
        version: &str,
        since: &str,
        now: &str,
        uid: String,
    ) -> Value {
        let list = |sum: Sum| {
            json!({
                "cpu": Quantity::millis(sum.cpu).to_string(), "ephemeral-storage": "100Gi",
                "memory": Quantity::bytes(sum.memory).to_string(), "pods": "250",
            })
        };
        let condition = |kind: &str, status: &str, reason: &str, message: &str| {
            json!({
                "type": kind, "status": status, "lastHeartbeatTime": now,
                "lastTransitionTime": since,
                "reason": reason, "message": message,
            })
        };
        let fine = |kind: &str, reason: &str, message: &str| {
            let (reason, message) =
                (format!("KubeletHas{reason}"), format!("kubelet has {message}"));
            condition(kind, "False", &reason, &message)
        };
        json!({
            "kind": "Node",
            "apiVersion": "v1",
            "metadata": {
                "name": name, "uid": uid, "creationTimestamp": since,
                "labels": self.labels,
            },
            "spec": { "podCIDR": format!("10.{}.{}.0/24", 200 + index / 256, index % 256) },
            "status": {
                "capacity": list(self.capacity),
                "allocatable": list(self.allocatable),
                "conditions": [
                    fine("MemoryPressure", "SufficientMemory", "sufficient memory available"),
                    fine("DiskPressure", "NoDiskPressure", "no disk pressure"),
                    fine("PIDPressure", "SufficientPID", "sufficient PID available"),
                    condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
                ],
                "addresses": [
                    { "type": "InternalIP", "address": address(index) },
                    { "type": "Hostname", "address": name },
                ],
                "daemonEndpoints": { "kubeletEndpoint": { "Port": KUBELET_PORT } },
                "nodeInfo": {
                    "machineID": "", "systemUUID": "", "bootID": "", "kernelVersion": "6.12.0",
                    "osImage": "Simulated Linux", "containerRuntimeVersion": "containerd://2.1.4",
                    "kubeletVersion": version, "kubeProxyVersion": "", "architecture": "amd64",
                    "operatingSystem": if self.windows { "windows" } else { "linux" },
                },
            },
        })
    }
}

pub fn address(index: usize) -> String {
    format!("192.168.{}.{}", index / 250, index % 250 + 1)
}
