//! Pods from creation to removal: defaults, scheduling, deletion.

use serde_json::{Value, json};

use super::due::PodDue;
use super::json::{self, set};
use super::requirements::{MIB, Requirements, Sum, pod_requests, qos_class, running_containers};
use super::resources::Resource;
use super::runtime::{Container, Pod, Resize, seed_of, shares};
use super::store::Key;
use super::validation;
use super::workload::{Kind, Workload};
use super::world::World;

pub const MIRROR: &str = "kubernetes.io/config.mirror";

/// Fills in what the API server defaults in a pod.
pub fn default_spec(spec: &mut Value) {
    for (field, default) in [
        ("restartPolicy", json!("Always")),
        ("terminationGracePeriodSeconds", json!(30)),
        ("dnsPolicy", json!("ClusterFirst")),
        ("serviceAccountName", json!("default")),
        ("schedulerName", json!("default-scheduler")),
        ("securityContext", json!({})),
    ] {
        json::object(spec, &[]).entry(field).or_insert(default);
    }
    for containers in ["containers", "initContainers"] {
        for container in
            spec.get_mut(containers).and_then(Value::as_array_mut).into_iter().flatten()
        {
            let resources = container.get("resources").cloned().unwrap_or_default();
            let container = json::object(container, &[]);
            container.entry("resources").or_insert_with(|| json!({}));
            container.entry("imagePullPolicy").or_insert("IfNotPresent".into());
            container.entry("terminationMessagePath").or_insert("/dev/termination-log".into());
            let named = |name: &str| {
                ["requests", "limits"].iter().any(|list| resources[list].get(name).is_some())
            };
            let policies: Vec<Value> = ["cpu", "memory"]
                .into_iter()
                .filter(|name| named(name))
                .map(|name| json!({ "resourceName": name, "restartPolicy": "NotRequired" }))
                .collect();
            if !policies.is_empty() {
                container.entry("resizePolicy").or_insert(policies.into());
            }
        }
    }
}

impl World {
    /// Gives a new object its identity.
    pub(super) fn identify(&mut self, object: &mut Value) {
        let created = self.timestamp_at(self.now - self.settled_age.unwrap_or_default());
        let uid = self.uid();
        set(object, &["metadata"], "uid", uid);
        set(object, &["metadata"], "creationTimestamp", created);
    }

    /// Stores a new pod, to be scheduled and started.
    pub(super) fn add_pod(&mut self, mut pod: Value) -> Key {
        set(&mut pod, &[], "kind", "Pod");
        set(&mut pod, &[], "apiVersion", "v1");
        self.identify(&mut pod);
        set(&mut pod, &["metadata"], "generation", 1);
        self.drop_unknown(&mut pod);
        // What cannot be read has been refused.
        let _ = validation::normalise(&mut pod["spec"]);
        default_spec(&mut pod["spec"]);
        pod["status"] = json!({ "phase": "Pending", "qosClass": qos_class(&pod["spec"]) });

        let key = Key::of(&pod);
        let workload = self.workload_key(&pod, &key);
        let requirements: Vec<Requirements> =
            running_containers(&pod["spec"]).map(Requirements::of).collect();
        let names = running_containers(&pod["spec"])
            .map(|container| json::text(container, "/name").to_owned());
        let containers = names
            .zip(&requirements)
            .zip(shares(&requirements))
            .map(|((name, requirements), share)| {
                let mut container = Container::new(name, *requirements, share);
                container.stop(f64::INFINITY);
                let (resource, owner) = workload.clone();
                let entry = (resource, owner, container.name.clone());
                container.crash_loop = self.crash_loops.get(&entry).copied();
                container
            })
            .collect();
        self.next_incarnation += 1;
        let runtime = Pod {
            incarnation: self.next_incarnation,
            node: None,
            workload: self.workload_of(&pod, &key, &workload),
            containers,
            allocated: pod_requests(&pod["spec"]),
            resize: Resize::None,
            started: false,
            finished: false,
            terminating: false,
        };
        self.pods.insert(key.clone(), runtime);
        self.recount_quotas(&key.namespace);
        if self.settled_age.is_some() {
            self.settle_pod(&key, pod);
        } else {
            self.store.put(Resource::Pods, pod);
            self.after_for_pod(0.05, &key, PodDue::Schedule);
        }
        key
    }

    /// The workload that a pod belongs to; its own name if it stands alone.
    pub(super) fn workload_key(&self, pod: &Value, key: &Key) -> (Resource, Key) {
        let owner = json::controller(pod).and_then(|owner| {
            let name = Key::new(&key.namespace, json::text(owner, "/name"));
            Some((Resource::of_reference(owner)?, name))
        });
        match owner {
            // A Deployment owns its pods through a ReplicaSet.
            Some((Resource::ReplicaSets, set)) => {
                self.deployment_of(&set).unwrap_or((Resource::ReplicaSets, set))
            }
            Some(owner) => owner,
            None => (Resource::Pods, key.clone()),
        }
    }

    /// What a pod wants: what was said of its workload, or something that its requests suit.
    fn workload_of(&self, pod: &Value, key: &Key, workload: &(Resource, Key)) -> Workload {
        match self.workloads.get(workload) {
            Some(workload) => workload.replica(seed_of(key)),
            None => {
                let size = running_containers(&pod["spec"])
                    .map(|container| Requirements::of(container).size())
                    .fold(Sum::default(), |a, b| a + b);
                let (cpu, memory) = (size.cpu as f64 / 1000.0, size.memory as f64 / MIB);
                Workload::generate_at(
                    Kind::Steady,
                    seed_of(key),
                    0.4 * cpu.max(0.05),
                    0.5 * memory.max(60.0),
                )
            }
        }
    }

    fn deployment_of(&self, replica_set: &Key) -> Option<(Resource, Key)> {
        let replica_set = self.store.value(Resource::ReplicaSets, replica_set)?;
        let owner = json::controller(&replica_set)?;
        let key =
            Key::new(json::text(&replica_set, "/metadata/namespace"), json::text(owner, "/name"));
        Some((Resource::of_reference(owner)?, key))
    }

    /// Places a pod that is already running when the simulation begins.
    fn settle_pod(&mut self, key: &Key, mut pod: Value) {
        let age = self.settled_age.unwrap_or_default();
        let at = self.timestamp_at(self.now - age);
        let requests = pod_requests(&pod["spec"]);
        let node = match json::text(&pod, "/spec/nodeName") {
            "" => self.next_fit(&pod, requests),
            node => Some(node.to_owned()),
        };
        let Some(node) = node else {
            self.store.put(Resource::Pods, pod);
            self.after_for_pod(0.05, key, PodDue::Schedule);
            return;
        };
        self.bind(key, &mut pod, &node, &at);
        if self.start_containers(key, &mut pod, self.now - age) {
            self.store.put(Resource::Pods, pod);
        }
    }

    /// The next node in turn with room.
    fn next_fit(&mut self, pod: &Value, requests: Sum) -> Option<String> {
        let from = self.next_node.take().unwrap_or_default();
        let behind = self.nodes.range(from.clone()..).chain(self.nodes.range(..from));
        let mut turn = behind
            .filter(|(_, node)| node.fits(requests) && selects(pod, &node.labels))
            .map(|(name, _)| name);
        let found = turn.next().cloned();
        self.next_node = found.as_ref().map(|name| format!("{name}\0"));
        found
    }

    /// The scheduler: the node with the most room, or an explanation why there is none.
    pub(super) fn schedule(&mut self, key: &Key) {
        let Some(mut pod) = self.store.value(Resource::Pods, key) else { return };
        let requests = pod_requests(&pod["spec"]);
        let preset =
            Some(json::text(&pod, "/spec/nodeName").to_owned()).filter(|node| !node.is_empty());
        let node = preset.or_else(|| {
            let fitting = self
                .nodes
                .iter()
                .filter(|(_, node)| node.fits(requests) && selects(&pod, &node.labels));
            fitting.max_by_key(|(_, node)| node.free().cpu).map(|(name, _)| name.clone())
        });
        let now = self.timestamp();
        if let Some(node) = node {
            self.bind(key, &mut pod, &node, &now);
            self.store.put(Resource::Pods, pod.clone());
            let assigned =
                format!("Successfully assigned {}/{} to {node}", key.namespace, key.name);
            self.record_event(&pod, "Normal", "Scheduled", assigned, "default-scheduler");
            let seconds = self.draw_between(0.8, 2.0);
            self.after_for_pod(seconds, key, PodDue::Start);
            return;
        }
        let total = self.nodes.len();
        let unselected = self.nodes.values().filter(|node| !selects(&pod, &node.labels)).count();
        let cordoned = self.nodes.values().filter(|node| node.unschedulable).count();
        let lacking = |name: &str, lacks: &dyn Fn(Sum) -> bool| {
            let count = self
                .nodes
                .values()
                .filter(|node| selects(&pod, &node.labels) && lacks(node.free()))
                .count();
            (count > 0).then(|| format!("{count} Insufficient {name}"))
        };
        let reasons: Vec<String> = [
            lacking("cpu", &|free| free.cpu < requests.cpu),
            lacking("memory", &|free| free.memory < requests.memory),
            (cordoned > 0).then(|| format!("{cordoned} node(s) were unschedulable")),
            (unselected > 0)
                .then(|| format!("{unselected} node(s) didn't match Pod's node affinity/selector")),
        ]
        .into_iter()
        .flatten()
        .collect();
        let message = format!(
            "0/{total} nodes are available: {}. preemption: 0/{total} nodes are available: {total} \
                No preemption victims found for incoming pod.",
            reasons.join(", ")
        );
        if set_condition(&mut pod, "PodScheduled", "False", Some(("Unschedulable", &message)), &now)
        {
            self.store.put(Resource::Pods, pod.clone());
        }
        self.record_event(&pod, "Warning", "FailedScheduling", message, "default-scheduler");
        self.after_for_pod(5.0, key, PodDue::Schedule);
    }

    fn bind(&mut self, key: &Key, pod: &mut Value, node: &str, at: &str) {
        set(pod, &["spec"], "nodeName", node);
        set_condition(pod, "PodScheduled", "True", None, at);
        let Some(runtime) = self.pods.get_mut(key) else { return };
        runtime.node = Some(node.to_owned());
        if let Some(node) = self.nodes.get_mut(node) {
            node.allocated = node.allocated + runtime.allocated;
            node.pods.insert(key.clone());
        }
    }

    /// Deletes a pod as a client or a controller asks for it: its containers stop, then it is gone.
    pub fn delete_pod(&mut self, key: &Key, grace: Option<i64>) {
        let Some(mut pod) = self.store.value(Resource::Pods, key) else { return };
        let grace = grace
            .or_else(|| json::number(&pod, "/spec/terminationGracePeriodSeconds"))
            .unwrap_or(30)
            .max(0);
        let Some(runtime) = self.pods.get_mut(key) else { return };
        let was_terminating = std::mem::replace(&mut runtime.terminating, true);
        if grace == 0 || runtime.node.is_none() || runtime.finished {
            self.remove_pod(key);
            return;
        }
        if was_terminating {
            return;
        }
        set(
            &mut pod,
            &["metadata"],
            "deletionTimestamp",
            self.timestamp_at(self.now + grace as f64),
        );
        set(&mut pod, &["metadata"], "deletionGracePeriodSeconds", grace);
        self.store.put(Resource::Pods, pod.clone());
        self.notify_owner(&pod);
        for container in running_containers(&pod["spec"]) {
            let message = format!("Stopping container {}", json::text(container, "/name"));
            self.record_event(&pod, "Normal", "Killing", message, "kubelet");
        }
        // Well-behaved processes leave soon after SIGTERM.
        let seconds = self.draw_between(0.5, 2.0).min(grace as f64);
        self.after_for_pod(seconds, key, PodDue::Remove);
    }

    pub(super) fn remove_pod(&mut self, key: &Key) {
        let Some(runtime) = self.pods.remove(key) else { return };
        self.workloads.remove(&(Resource::Pods, key.clone()));
        if let Some(name) = &runtime.node
            && let Some(node) = self.nodes.get_mut(name)
        {
            if node.pods.remove(key) && !runtime.finished {
                node.allocated = node.allocated - runtime.allocated;
            }
            node.deferred.remove(key);
            self.retry_deferred(name);
        }
        self.recount_quotas(&key.namespace);
        if let Some(object) = self.store.remove(Resource::Pods, key) {
            self.notify_owner(&object.value());
        }
    }

    /// Lets the controller of an object look at it.
    pub(super) fn notify_owner(&mut self, object: &Value) {
        if let Some(owner) = json::controller(object)
            && let Some(resource) = Resource::of_reference(owner)
        {
            let key =
                Key::new(json::text(object, "/metadata/namespace"), json::text(owner, "/name"));
            self.reconcile_soon(resource, &key);
        }
    }
}

/// Whether a pod's node selector accepts a node.
pub fn selects(pod: &Value, labels: &std::collections::BTreeMap<String, String>) -> bool {
    let selector = pod.pointer("/spec/nodeSelector").and_then(Value::as_object);
    selector
        .into_iter()
        .flatten()
        .all(|(name, value)| labels.get(name).map(String::as_str) == value.as_str())
}

/// Sets a condition of a pod; true if that changed anything.
pub fn set_condition(
    pod: &mut Value,
    kind: &str,
    status: &str,
    why: Option<(&str, &str)>,
    now: &str,
) -> bool {
    let generation = json::number(pod, "/metadata/generation").unwrap_or(1);
    let conditions = json::array(pod, &["status"], "conditions");
    let mut condition = json!({
        "type": kind, "observedGeneration": generation, "status": status, "lastProbeTime": null,
        "lastTransitionTime": now,
    });
    if let Some((reason, message)) = why {
        set(&mut condition, &[], "reason", reason);
        if !message.is_empty() {
            set(&mut condition, &[], "message", message);
        }
    }
    match conditions.iter_mut().find(|present| present["type"] == kind) {
        Some(present) => {
            if present["status"] == status {
                condition["lastTransitionTime"] = present["lastTransitionTime"].clone();
            }
            let changed = *present != condition;
            *present = condition;
            changed
        }
        None => {
            conditions.push(condition);
            true
        }
    }
}

pub fn remove_condition(pod: &mut Value, kind: &str) {
    json::array(pod, &["status"], "conditions").retain(|condition| condition["type"] != kind);
}
