//! In-place resize: what the API server accepts, and what the kubelet then makes of it.

use std::sync::Arc;

use serde_json::Value;

use super::due::PodDue;
use super::json::{self, set};
use super::kubelet::{report_pod_level, spec_resources, status_of};
use super::manager::Manager;
use super::node::{Kubelet, Node};
use super::pods::{MIRROR, remove_condition, set_condition};
use super::requirements::{
    MIB, Requirements, Sum, is_sidecar, pod_requests, qos_class, room, running_containers,
};
use super::resources::Resource;
use super::runtime::Resize;
use super::status::{ApiError, FieldError};
use super::store::{Key, Object};
use super::validation;
use super::world::{ServerVersion, World};

const PENDING: &str = "PodResizePending";
const IN_PROGRESS: &str = "PodResizeInProgress";

/// Reasons of events.
const DEFERRED: &str = "ResizeDeferred";
const INFEASIBLE: &str = "ResizeInfeasible";

/// Seconds until the kubelet looks at a changed spec, needs for the cgroups, and tries again what
/// it could not do.
const ADMISSION: f64 = 0.05;
const ACTUATION: f64 = 0.3;
const RETRY: f64 = 10.0;

/// Seconds that a container is down when its resize policy wants a restart.
const RESTART: f64 = 2.0;

impl World {
    /// Accepts a pod with other resources, as `pods/resize` does.
    pub(super) fn resize_pod(
        &mut self,
        key: &Key,
        patched: Value,
        manager: &Manager,
    ) -> Result<Arc<Object>, ApiError> {
        let mut new = self.resized_pod(key, &patched)?;
        if let Some(old) = self.store.get(Resource::Pods, key) {
            let before = old.value();
            if before == new {
                return Ok(old.clone());
            }
            manager.note(&before, &mut new, &self.timestamp());
        }
        self.respecify(key, &new);
        let stored = self.store.put(Resource::Pods, new);
        self.recount_quotas(&key.namespace);
        if self.pods.get(key).is_some_and(|pod| pod.node.is_some() && pod.is_active()) {
            let kubelet = self.node_of(key).map(|node| node.kubelet).unwrap_or_default();
            let seconds = if let Kubelet::Slow { seconds } = kubelet { seconds } else { ADMISSION };
            self.after_for_pod(seconds, key, PodDue::AdmitResize);
        }
        Ok(stored)
    }

    /// The pod that a resize would make: of `patched`, nothing but the resources counts.
    pub(super) fn resized_pod(&self, key: &Key, patched: &Value) -> Result<Value, ApiError> {
        let not_found = || ApiError::not_found(Resource::Pods, &key.name);
        let old = self.store.value(Resource::Pods, key).ok_or_else(not_found)?;
        let mut new = old.clone();
        let mut errors = validation::metadata_update(&old, patched);
        errors.extend(take_resources(&mut new, patched));
        validation::normalise(&mut new["spec"]).map_err(|error| {
            ApiError::unreadable(&patched["spec"].to_string(), &error.to_string())
        })?;
        errors.extend(self.check_resize(&old, &new));
        if !errors.is_empty() {
            return Err(ApiError::invalid(Resource::Pods, &key.name, &errors));
        }
        if self.version >= ServerVersion::V1_36
            && let Some(why) = self.exceeds_node(key, &new)
        {
            return Err(ApiError::node_capacity(&key.name, &why));
        }
        self.admit_resized_pod(&old, &new)?;
        if new["spec"] != old["spec"] {
            set(
                &mut new,
                &["metadata"],
                "generation",
                json::number(&old, "/metadata/generation").unwrap_or(1) + 1,
            );
        }
        Ok(new)
    }

    fn check_resize(&self, old: &Value, new: &Value) -> Vec<FieldError> {
        let mut errors = validation::resources(&new["spec"], "spec");
        if old
            .pointer("/metadata/annotations")
            .is_some_and(|annotations| annotations.get(MIRROR).is_some())
        {
            errors.push(FieldError::forbidden("", "static pods cannot be resized"));
        }
        if old["spec"]["os"]["name"] == "windows" {
            errors.push(FieldError::forbidden("", "windows pods cannot be resized"));
        }
        if qos_class(&new["spec"]) != qos_class(&old["spec"]) {
            let problem = "Pod QOS Class may not change as a result of resizing";
            errors.push(FieldError::invalid("spec", qos_class(&new["spec"]), problem));
        }
        errors.extend(removed(&old["spec"], &new["spec"], "spec.resources"));
        for kind in ["containers", "initContainers"] {
            let pointer = format!("/spec/{kind}");
            let pairs = json::items(old, &pointer).iter().zip(json::items(new, &pointer));
            for (index, (old, new)) in pairs.enumerate() {
                let path = format!("spec.{kind}[{index}].resources");
                if kind == "initContainers"
                    && !is_sidecar(old)
                    && old["resources"] != new["resources"]
                {
                    errors.push(FieldError::forbidden(
                        path,
                        "resources for non-sidecar init containers are immutable",
                    ));
                    continue;
                }
                errors.extend(removed(old, new, &path));
                if self.version < ServerVersion::V1_36 && self.version >= ServerVersion::V1_33 {
                    errors.extend(memory_limit_lowered(old, new, &path));
                }
            }
        }
        errors
    }

    /// Why the node could never carry the pod.
    fn exceeds_node(&self, key: &Key, new: &Value) -> Option<String> {
        let node = self.node_of(key)?;
        let (resource, requested, allocatable) =
            exceeded(pod_requests(&new["spec"]), node.allocatable)?;
        Some(format!(
            "node didn't have enough allocatable resources: {resource}, requested: {requested}, \
                allocatable: {allocatable}"
        ))
    }

    fn node_of(&self, key: &Key) -> Option<&Node> {
        self.nodes.get(self.pods.get(key)?.node.as_ref()?)
    }

    /// Lets the running side know what its containers are to have; what is in force changes later.
    fn respecify(&mut self, key: &Key, pod: &Value) {
        let Some(runtime) = self.pods.get_mut(key) else { return };
        for (container, spec) in runtime.containers.iter_mut().zip(running_containers(&pod["spec"]))
        {
            container.requirements = Requirements::of(spec);
        }
        if runtime.node.is_none() {
            runtime.allocated = pod_requests(&pod["spec"]);
        }
    }

    /// The kubelet finds that a pod's spec wants other resources than it has admitted.
    pub(super) fn admit_resize(&mut self, key: &Key) {
        let Some(mut pod) = self.store.value(Resource::Pods, key) else { return };
        let Some(runtime) = self.pods.get(key).filter(|pod| pod.is_active()) else { return };
        let (Some(name), allocated) = (runtime.node.clone(), runtime.allocated) else { return };
        let Some(node) = self.nodes.get_mut(&name) else { return };
        let wanted = pod_requests(&pod["spec"]);
        node.deferred.remove(key);
        let refusal = refusal(self.version, node, &pod, wanted, allocated);
        let resize = match refusal {
            Some((resize, why)) => {
                let reason = if resize == Resize::Deferred {
                    node.deferred.insert(key.clone());
                    "Deferred"
                } else {
                    "Infeasible"
                };
                self.report_resize(&mut pod, PENDING, Some((reason, &why)));
                let event = if resize == Resize::Deferred { DEFERRED } else { INFEASIBLE };
                let message = format!("Pod resize {reason}: {why}");
                self.record_event(&pod, "Warning", event, message, "kubelet");
                resize
            }
            None => {
                node.allocated = node.allocated + wanted - allocated;
                self.start_resize(key, &mut pod);
                Resize::InProgress
            }
        };
        self.store.put(Resource::Pods, pod);
        if let Some(runtime) = self.pods.get_mut(key) {
            runtime.resize = resize;
            runtime.allocated = if resize == Resize::InProgress { wanted } else { allocated };
        }
        self.recount_quotas(&key.namespace);
        if resize == Resize::InProgress {
            self.after_for_pod(ACTUATION, key, PodDue::ActuateResize);
            if wanted.cpu < allocated.cpu || wanted.memory < allocated.memory {
                self.retry_deferred(&name);
            }
        }
    }

    fn start_resize(&mut self, key: &Key, pod: &mut Value) {
        let names: Vec<String> = self
            .pods
            .get(key)
            .into_iter()
            .flat_map(|pod| &pod.containers)
            .map(|c| c.name.clone())
            .collect();
        for name in names {
            let resources = spec_resources(pod, &name);
            if let (Some(status), Some(requests)) =
                (status_of(pod, &name), resources.get("requests"))
            {
                status["allocatedResources"] = requests.clone();
            }
        }
        remove_condition(pod, PENDING);
        self.report_resize(pod, IN_PROGRESS, None);
        self.record_event(
            pod,
            "Normal",
            "ResizeStarted",
            "Pod resize started".to_owned(),
            "kubelet",
        );
    }

    /// Conditions since 1.33, `status.resize` before.
    fn report_resize(&self, pod: &mut Value, condition: &str, why: Option<(&str, &str)>) {
        let generation = json::number(pod, "/metadata/generation").unwrap_or(1);
        set(pod, &["status"], "observedGeneration", generation);
        if self.version < ServerVersion::V1_33 {
            set(pod, &["status"], "resize", why.map_or("InProgress", |(reason, _)| reason));
        } else {
            set_condition(pod, condition, "True", why, &self.timestamp());
        }
    }

    /// The kubelet writes the cgroups of an admitted resize, or finds that it cannot.
    pub(super) fn actuate_resize(&mut self, key: &Key) {
        self.catch_up(std::slice::from_ref(key));
        let Some(mut pod) = self.store.value(Resource::Pods, key) else { return };
        let Some(node) = self.node_of(key) else { return };
        let room = room(&pod["spec"], node.allocatable);
        let Some(runtime) = self.pods.get(key).filter(|pod| pod.is_active() && pod.started) else {
            return;
        };
        if !matches!(runtime.resize, Resize::InProgress | Resize::Error) {
            return;
        }
        if let Some(why) = memory_in_use(runtime.containers.iter().map(|container| {
            let keeps_running = container.running && !restarts(&pod, &container.name, "memory");
            (
                container.requirements.enforced(room).memory,
                container.limits.memory,
                container.memory,
                keeps_running,
            )
        })) {
            self.report_resize(&mut pod, IN_PROGRESS, Some(("Error", &why)));
            self.record_event(
                &pod,
                "Warning",
                "ResizeError",
                format!("Pod resize error: {why}"),
                "kubelet",
            );
            self.store.put(Resource::Pods, pod);
            if let Some(runtime) = self.pods.get_mut(key) {
                runtime.resize = Resize::Error;
            }
            self.after_for_pod(RETRY, key, PodDue::ActuateResize);
            return;
        }
        self.enforce(key, &mut pod, room);
        remove_condition(&mut pod, IN_PROGRESS);
        json::object(&mut pod, &["status"]).remove("resize");
        self.record_event(
            &pod,
            "Normal",
            "ResizeCompleted",
            "Pod resize completed".to_owned(),
            "kubelet",
        );
        self.readiness(key, &mut pod);
        self.store.put(Resource::Pods, pod);
        self.recount_quotas(&key.namespace);
    }

    /// Puts the specified limits in force; containers whose policy wants it restart.
    fn enforce(&mut self, key: &Key, pod: &mut Value, room: Sum) {
        let now = self.now;
        let Some(runtime) = self.pods.get_mut(key) else { return };
        runtime.resize = Resize::None;
        let mut restarted = Vec::new();
        for container in &mut runtime.containers {
            let limits = container.requirements.enforced(room);
            let changed = (limits.cpu != container.limits.cpu
                && restarts(pod, &container.name, "cpu"))
                || (limits.memory != container.limits.memory
                    && restarts(pod, &container.name, "memory"));
            container.limits = limits;
            if changed && container.running {
                container.stop(now + RESTART);
                restarted.push(container.name.clone());
            }
            let resources = spec_resources(pod, &container.name);
            if let Some(status) = status_of(pod, &container.name) {
                status["resources"] = resources;
            }
        }
        report_pod_level(pod);
        for name in restarted {
            self.terminated(pod, &name, "Completed", 0);
            let message = format!("Container {name} resize requires restart");
            self.record_event(pod, "Normal", "Killing", message, "kubelet");
        }
    }

    /// Room has come free on a node: pods that wait for it are looked at again.
    pub(super) fn retry_deferred(&mut self, node: &str) {
        let waiting: Vec<Key> =
            self.nodes.get(node).into_iter().flat_map(|node| &node.deferred).cloned().collect();
        for key in waiting {
            self.after_for_pod(ADMISSION, &key, PodDue::AdmitResize);
        }
    }
}

/// Takes the containers' resources over from a patched pod. What else the patch says is ignored, as
/// the API server does, but for containers that come or go and policies that change.
fn take_resources(pod: &mut Value, patched: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if let Some(whole) = patched.pointer("/spec/resources") {
        set(pod, &["spec"], "resources", whole.clone());
    }
    for kind in ["containers", "initContainers"] {
        let wanted = json::items(patched, &format!("/spec/{kind}"));
        let Some(containers) =
            pod.pointer_mut(&format!("/spec/{kind}")).and_then(Value::as_array_mut)
        else {
            continue;
        };
        let named = |name: &Value| wanted.iter().find(|container| &container["name"] == name);
        if wanted.len() != containers.len()
            || containers.iter().any(|container| named(&container["name"]).is_none())
        {
            let problem = format!("{kind} may not be added or removed on resize");
            errors.push(FieldError::forbidden(format!("spec.{kind}"), &problem));
            continue;
        }
        for container in containers {
            let Some(wanted) = named(&container["name"]) else { continue };
            let others = |container: &Value| {
                let lists = ["requests", "limits"].into_iter();
                let list = |name| {
                    container
                        .pointer(&format!("/resources/{name}"))
                        .and_then(Value::as_object)
                        .cloned()
                };
                let mut lists: Vec<_> = lists.map(|name| list(name).unwrap_or_default()).collect();
                lists
                    .iter_mut()
                    .for_each(|list| list.retain(|name, _| name != "cpu" && name != "memory"));
                (lists, container["resizePolicy"].clone())
            };
            if others(container) != others(wanted) {
                errors.push(FieldError::forbidden(
                    "spec",
                    "only cpu and memory resources are mutable",
                ));
            }
            container["resources"] = wanted["resources"].clone();
        }
    }
    errors
}

/// Requests and limits of `old` that `new` has no more.
fn removed(old: &Value, new: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for list in ["requests", "limits"] {
        let names = |container: &Value| {
            let list = container.pointer(&format!("/resources/{list}")).and_then(Value::as_object);
            list.into_iter().flat_map(|list| list.keys().cloned()).collect::<Vec<_>>()
        };
        let remaining = names(new);
        if names(old).iter().any(|name| !remaining.contains(name)) {
            let problem = format!("resource {list} cannot be removed");
            errors.push(FieldError::forbidden(format!("{path}.{list}"), &problem));
        }
    }
    errors
}

/// Before 1.34 a memory limit goes down (or appears) only with a restart.
fn memory_limit_lowered(old: &Value, new: &Value, path: &str) -> Option<FieldError> {
    let limit = |container: &Value| Requirements::of(container).limits.memory;
    let lowered = limit(new).is_some_and(|new| new < limit(old).unwrap_or(i64::MAX));
    let problem = "memory limits cannot be decreased unless resizePolicy is RestartContainer";
    let refused = lowered && policy(new, "memory") != "RestartContainer";
    refused.then(|| FieldError::forbidden(format!("{path}.limits"), problem))
}

/// Why the kubelet of a node does not admit a resize, now or ever.
fn refusal(
    version: ServerVersion,
    node: &Node,
    pod: &Value,
    wanted: Sum,
    allocated: Sum,
) -> Option<(Resize, String)> {
    if let Some(why) = unable(version, node, pod, wanted, allocated) {
        return Some((Resize::Infeasible, why));
    }
    if let Some((resource, requested, capacity)) = exceeded(wanted, node.allocatable) {
        let why = format!(
            "Node didn't have enough capacity: {resource}, requested: {requested}, \
             capacity: {capacity}"
        );
        return Some((Resize::Infeasible, why));
    }
    let room = node.free() + allocated;
    let (resource, requested, free) = exceeded(grown(wanted, allocated), room)?;
    let Sum { cpu, memory } = node.allocatable;
    let capacity = if resource == "cpu" { cpu } else { memory };
    let why = format!(
        "Node didn't have enough resource: {resource}, requested: {requested}, used: {}, \
         capacity: {capacity}",
        capacity - free
    );
    Some((Resize::Deferred, why))
}

/// Why the kubelet of a node resizes no such pod, however much room there is.
fn unable(
    version: ServerVersion,
    node: &Node,
    pod: &Value,
    wanted: Sum,
    allocated: Sum,
) -> Option<String> {
    if node.windows {
        return Some("In-place pod resize is not supported on Windows".to_owned());
    }
    if json::text(pod, "/status/qosClass") != "Guaranteed" {
        return None;
    }
    // Since 1.34 it counts which of both is resized.
    let any = version < ServerVersion::V1_36;
    let (manager, policy) = if node.static_cpu_policy && (any || wanted.cpu != allocated.cpu) {
        ("CPU", "static")
    } else if node.static_memory_policy && (any || wanted.memory != allocated.memory) {
        ("Memory", "Static")
    } else {
        return None;
    };
    let policy = if any { "static policy".to_owned() } else { format!("policy {policy:?}") };
    Some(format!("Resize is infeasible for Guaranteed Pods alongside {manager} Manager {policy}"))
}

/// The first resource of which there is not enough: its name, what is wanted, what there is.
fn exceeded(wanted: Sum, available: Sum) -> Option<(&'static str, i64, i64)> {
    if wanted.cpu > available.cpu {
        return Some(("cpu", wanted.cpu, available.cpu));
    }
    (wanted.memory > available.memory).then_some(("memory", wanted.memory, available.memory))
}

/// What grows of a pod's requests; what shrinks fits always.
fn grown(wanted: Sum, allocated: Sum) -> Sum {
    let grown = |wanted: i64, allocated: i64| if wanted > allocated { wanted } else { 0 };
    Sum { cpu: grown(wanted.cpu, allocated.cpu), memory: grown(wanted.memory, allocated.memory) }
}

fn policy<'a>(container: &'a Value, resource: &str) -> &'a str {
    let mut policies = json::items(container, "/resizePolicy").iter();
    policies
        .find(|policy| policy["resourceName"] == resource)
        .map(|p| json::text(p, "/restartPolicy"))
        .unwrap_or_default()
}

fn restarts(pod: &Value, container: &str, resource: &str) -> bool {
    let mut containers = running_containers(&pod["spec"]);
    containers.any(|spec| spec["name"] == container && policy(spec, resource) == "RestartContainer")
}

/// Why memory limits cannot be lowered now: they are compared for the pod as a whole, whose cgroup
/// is written first. Of each container: the wanted limit, the limit in force, the usage, and
/// whether it runs on.
fn memory_in_use(containers: impl Iterator<Item = (f64, f64, f64, bool)>) -> Option<String> {
    let mut lowered = false;
    let (mut limit, mut usage) = (0.0, 0.0);
    for (wanted, in_force, used, keeps_running) in containers {
        lowered |= keeps_running && wanted < in_force;
        limit += wanted;
        usage += if keeps_running { used } else { 0.0 };
    }
    (lowered && limit < usage).then(|| {
        let bytes = |mib: f64| (mib * MIB) as i64;
        format!(
            "cannot decrease memory limits: attempting to set pod memory limit ({}) below current \
                usage ({})",
            bytes(limit),
            bytes(usage)
        )
    })
}
