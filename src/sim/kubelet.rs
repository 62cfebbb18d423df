//! Kubelets: containers start, die of too much memory, come back.

use std::collections::BTreeMap;
use std::ops::Bound;

use serde_json::{Value, json};

use super::json::{self, set};
use super::node::{Kubelet, Node};
use super::noise::mix;
use super::pods::set_condition;
use super::requirements::{Sum, is_sidecar, room};
use super::resources::Resource;
use super::runtime::{End, Pod};
use super::store::Key;
use super::world::World;

/// The status of a container within a pod's status.
pub fn status_of<'a>(pod: &'a mut Value, name: &str) -> Option<&'a mut Value> {
    let status = pod.get_mut("status")?.as_object_mut()?;
    let lists = status
        .iter_mut()
        .filter(|(key, _)| matches!(key.as_str(), "containerStatuses" | "initContainerStatuses"));
    lists
        .filter_map(|(_, list)| list.as_array_mut())
        .flatten()
        .find(|status| status["name"] == name)
}

/// The resources of a container as its spec has them.
pub fn spec_resources(pod: &Value, name: &str) -> Value {
    let containers =
        json::items(pod, "/spec/containers").iter().chain(json::items(pod, "/spec/initContainers"));
    containers
        .filter(|container| container["name"] == name)
        .map(|container| container["resources"].clone())
        .next()
        .unwrap_or_default()
}

/// Writes into the status what a pod as a whole has in force, if it has any of its own.
pub fn report_pod_level(pod: &mut Value) {
    let Some(resources) = pod.pointer("/spec/resources").cloned() else { return };
    let requests = resources.get("requests").cloned().unwrap_or_default();
    set(pod, &["status"], "allocatedResources", requests);
    set(pod, &["status"], "resources", resources);
}

/// Pods that take a step together, before others may look at the world.
const PODS_OF_STEP: usize = 1000;

/// Containers of pods, by their index.
#[derive(Default)]
struct Happened {
    ended: Vec<(Key, usize, End)>,
    back: Vec<(Key, usize)>,
}

/// Lets time pass until now, and tells what kubelets see of it.
fn pass<'a>(
    pods: &mut dyn Iterator<Item = (&'a Key, &'a mut Pod)>,
    nodes: &BTreeMap<String, Node>,
    now: f64,
) -> Happened {
    let mut happened = Happened::default();
    let is_stopped =
        |node: &String| nodes.get(node).is_some_and(|node| node.kubelet == Kubelet::Stopped);
    for (key, pod) in pods {
        if pod.finished || !pod.started {
            continue;
        }
        for (index, container) in pod.containers.iter_mut().enumerate() {
            if container.running {
                let began = container.passed;
                let demand = pod.workload.demand(began, began - container.started);
                container.unseen_end = container.pass(now, demand);
            }
            if container.running || pod.node.as_ref().is_some_and(is_stopped) {
                continue;
            }
            if let Some(end) = container.unseen_end.take() {
                happened.ended.push((key.clone(), index, end));
            } else if !container.running && !pod.terminating && container.process.is_up(now) {
                happened.back.push((key.clone(), index));
            }
        }
    }
    happened
}

impl World {
    /// Lets the last step pass for the containers of some pods, then reports those that died or
    /// came back; says which pod is the next.
    pub(super) fn step_containers(&mut self, from: Option<Key>) -> Option<Key> {
        let from = from.map_or(Bound::Unbounded, Bound::Included);
        let mut pods = self.pods.range_mut((from, Bound::Unbounded));
        let happened = pass(&mut pods.by_ref().take(PODS_OF_STEP), &self.nodes, self.now);
        let next = pods.next().map(|(key, _)| key.clone());
        self.report(happened);
        next
    }

    /// Lets the time until now pass for these pods.
    pub(super) fn catch_up(&mut self, pods: &[Key]) {
        for key in pods {
            let Some(pod) = self.pods.get_mut(key) else { continue };
            let happened = pass(&mut std::iter::once((key, pod)), &self.nodes, self.now);
            self.report(happened);
        }
    }

    fn report(&mut self, Happened { ended, back }: Happened) {
        for (key, index, end) in ended {
            self.container_ended(&key, index, end);
        }
        for (key, index) in back {
            self.container_back(&key, index);
        }
    }

    /// The containers of a scheduled pod begin to run.
    pub(super) fn start_pod(&mut self, key: &Key) {
        let Some(mut pod) = self.store.value(Resource::Pods, key) else { return };
        if self.pods.get(key).is_none_or(|runtime| !runtime.is_active()) {
            return;
        }
        if self.start_containers(key, &mut pod, self.now) {
            self.store.put(Resource::Pods, pod.clone());
            let names: Vec<String> = self
                .pods
                .get(key)
                .into_iter()
                .flat_map(|pod| &pod.containers)
                .map(|c| c.name.clone())
                .collect();
            for name in names {
                for (reason, message) in [
                    (
                        "Pulled",
                        format!("Container image for \"{name}\" already present on machine"),
                    ),
                    ("Created", format!("Created container: {name}")),
                    ("Started", format!("Started container {name}")),
                ] {
                    self.record_event(&pod, "Normal", reason, message, "kubelet");
                }
            }
            self.notify_owner(&pod);
        }
    }

    /// Writes into `pod` that its containers run since `at`.
    pub(super) fn start_containers(&mut self, key: &Key, pod: &mut Value, at: f64) -> bool {
        let random = self.draw();
        let (since, now) = (self.timestamp_at(at), self.now);
        let Some(runtime) = self.pods.get_mut(key) else { return false };
        let index = runtime.incarnation;
        let room = runtime
            .node
            .as_ref()
            .and_then(|node| self.nodes.get(node))
            .map_or(Sum::default(), |node| room(&pod["spec"], node.allocatable));
        runtime.started = true;
        for container in &mut runtime.containers {
            container.limits = container.requirements.enforced(room);
            container.start(at);
            container.passed = now;
        }
        let host_ip = json::text(pod, "/spec/nodeName")
            .bytes()
            .fold(7, |seed, byte| mix(seed ^ u64::from(byte)));
        let host_ip = format!("192.168.{}.{}", host_ip % 250, host_ip / 250 % 250 + 1);
        let pod_ip =
            format!("10.{}.{}.{}", 128 + index / 64_000 % 100, index / 250 % 256, index % 250 + 1);

        let (mut main, mut init) = (Vec::new(), Vec::new());
        for (kind, statuses) in [("containers", &mut main), ("initContainers", &mut init)] {
            let containers = json::items(pod, &format!("/spec/{kind}")).iter();
            statuses.extend(containers.enumerate().map(|(place, container)| {
                let id = container_id(random ^ mix(place as u64 + 1000 * kind.len() as u64));
                let ends = kind == "initContainers" && !is_sidecar(container);
                started(container, &since, &id, ends)
            }));
        }
        set(pod, &["status"], "phase", "Running");
        set(
            pod,
            &["status"],
            "observedGeneration",
            json::number(pod, "/metadata/generation").unwrap_or(1),
        );
        for condition in ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady"] {
            set_condition(pod, condition, "True", None, &since);
        }
        set(pod, &["status"], "hostIP", host_ip);
        set(pod, &["status"], "podIP", pod_ip.clone());
        set(pod, &["status"], "podIPs", json!([{ "ip": pod_ip }]));
        set(pod, &["status"], "startTime", since);
        if !init.is_empty() {
            set(pod, &["status"], "initContainerStatuses", init);
        }
        set(pod, &["status"], "containerStatuses", main);
        report_pod_level(pod);
        true
    }

    /// A container has died.
    fn container_ended(&mut self, key: &Key, index: usize, end: End) {
        let Some(mut pod) = self.store.value(Resource::Pods, key) else { return };
        let Some(container) = self.pods.get(key).and_then(|pod| pod.containers.get(index)) else {
            return;
        };
        let (name, back_off) = (container.name.clone(), container.back_off);
        let uid = json::text(&pod, "/metadata/uid").to_owned();
        let back_off = format!(
            "back-off {back_off}s restarting failed container={name} pod={}_{}({uid})",
            key.name, key.namespace
        );
        let (reason, code) = match end {
            End::OutOfMemory => ("OOMKilled", 137),
            End::Exit(0) => ("Completed", 0),
            End::Exit(code) => ("Error", code),
        };
        self.terminated(&mut pod, &name, reason, code);
        let policy = json::text(&pod, "/spec/restartPolicy");
        let never = policy == "Never" || policy == "OnFailure" && code == 0;
        if never {
            let phase = if code == 0 { "Succeeded" } else { "Failed" };
            self.finish(key, &mut pod, phase);
        } else if let Some(status) = status_of(&mut pod, &name) {
            status["state"] =
                json!({ "waiting": { "reason": "CrashLoopBackOff", "message": back_off } });
        }
        self.readiness(key, &mut pod);
        self.store.put(Resource::Pods, pod.clone());
        if !never {
            let message = format!(
                "Back-off restarting failed container {name} in pod {}_{}({uid})",
                key.name, key.namespace
            );
            self.record_event(&pod, "Warning", "BackOff", message, "kubelet");
        }
        self.notify_owner(&pod);
    }

    /// A container runs again after it was down.
    pub(super) fn container_back(&mut self, key: &Key, index: usize) {
        let Some(mut pod) = self.store.value(Resource::Pods, key) else { return };
        let (now, timestamp, random) = (self.now, self.timestamp(), self.draw());
        let Some(container) = self.pods.get_mut(key).and_then(|pod| pod.containers.get_mut(index))
        else {
            return;
        };
        container.start(now);
        container.restarts += 1;
        let (name, restarts) = (container.name.clone(), container.restarts);
        if let Some(status) = status_of(&mut pod, &name) {
            status["state"] = json!({ "running": { "startedAt": timestamp } });
            status["restartCount"] = restarts.into();
            status["containerID"] = container_id(random).into();
            status["ready"] = true.into();
            status["started"] = true.into();
        }
        self.readiness(key, &mut pod);
        self.store.put(Resource::Pods, pod.clone());
        for (reason, message) in [
            ("Created", format!("Created container: {name}")),
            ("Started", format!("Started container {name}")),
        ] {
            self.record_event(&pod, "Normal", reason, message, "kubelet");
        }
        self.notify_owner(&pod);
    }

    /// Writes into the status that a container has ended.
    pub(super) fn terminated(&mut self, pod: &mut Value, name: &str, reason: &str, exit_code: i32) {
        let now = self.timestamp();
        let Some(status) = status_of(pod, name) else { return };
        let terminated = json!({
            "exitCode": exit_code, "reason": reason,
            "startedAt": status["state"]["running"]["startedAt"],
            "finishedAt": now, "containerID": status["containerID"],
        });
        status["lastState"] = json!({ "terminated": terminated });
        status["state"] = json!({ "terminated": terminated });
        status["ready"] = false.into();
        status["started"] = false.into();
    }

    /// Ends a pod for good.
    pub(super) fn finish(&mut self, key: &Key, pod: &mut Value, phase: &str) {
        set(pod, &["status"], "phase", phase);
        let Some(runtime) = self.pods.get_mut(key) else { return };
        runtime.finished = true;
        runtime.containers.iter_mut().for_each(|container| container.stop(f64::INFINITY));
        if let Some(node) = runtime.node.as_ref().and_then(|name| self.nodes.get_mut(name)) {
            node.allocated = node.allocated - runtime.allocated;
        }
        self.recount_quotas(&key.namespace);
    }

    /// Writes the readiness conditions from what is running.
    pub(super) fn readiness(&mut self, key: &Key, pod: &mut Value) {
        let now = self.timestamp();
        let unready: Vec<&str> = self
            .pods
            .get(key)
            .into_iter()
            .flat_map(|pod: &Pod| &pod.containers)
            .filter(|container| !container.running)
            .map(|container| container.name.as_str())
            .collect();
        let message = format!("containers with unready status: [{}]", unready.join(" "));
        for condition in ["Ready", "ContainersReady"] {
            if unready.is_empty() {
                set_condition(pod, condition, "True", None, &now);
            } else {
                set_condition(
                    pod,
                    condition,
                    "False",
                    Some(("ContainersNotReady", &message)),
                    &now,
                );
            }
        }
    }
}

/// The status of a container that has just been started, or has come to its end already.
fn started(container: &Value, since: &str, id: &str, ended: bool) -> Value {
    let state = if ended {
        json!({ "terminated": {
            "exitCode": 0, "reason": "Completed", "startedAt": since, "finishedAt": since,
            "containerID": id,
        } })
    } else {
        json!({ "running": { "startedAt": since } })
    };
    let mut status = json!({
        "name": container["name"], "state": state, "lastState": {}, "ready": true,
        "restartCount": 0, "image": container["image"],
        "imageID": format!("sha256:{:064x}", mix(1)), "containerID": id, "started": true,
    });
    let resources = &container["resources"];
    if let Some(requests) = resources.get("requests") {
        set(&mut status, &[], "allocatedResources", requests.clone());
    }
    set(&mut status, &[], "resources", resources.clone());
    status
}

fn container_id(seed: u64) -> String {
    let part = |salt: u64| mix(seed ^ salt);
    format!("containerd://{:016x}{:016x}{:016x}{:016x}", part(1), part(2), part(3), part(4))
}
