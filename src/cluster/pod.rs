//! A pod as this service needs it: a slim record made from what the API server sends.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use internment::ArcIntern as Shared;
use k8s_openapi::api::core::v1::{
    Container, ContainerStatus, Pod as KubePod, ResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};

use super::quantity;
use crate::scaler::action::{PerResource, Resource};
use crate::scaler::wishes::Wishes;

/// The name that this service writes under.
pub const FIELD_MANAGER: &str = "dqn-scaler";

const MIRROR: &str = "kubernetes.io/config.mirror";

/// What identifies a pod's life; a StatefulSet gives the same name to one pod after another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PodKey {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

/// The uid alone tells pods apart.
impl Hash for PodKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.uid.hash(state);
    }
}

/// What many pods have alike, as those of one workload do, is shared by all of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Pod {
    pub key: PodKey,
    pub phase: Shared<str>,
    pub created: Option<DateTime<Utc>>,
    pub labels: Shared<BTreeMap<String, String>>,
    pub node_name: Option<Shared<str>>,
    pub pod_ip: Option<Box<str>>,
    pub owner: Option<Shared<Owner>>,
    pub containers: Shared<Containers>,
    pub mirror: bool,
    pub deleting: bool,
    /// By the pod's own annotations.
    pub wishes: Option<Arc<Wishes>>,
    pub resize: Option<ResizeCondition>,
    /// When this service, or another replica of it, last resized the pod, as the API server has
    /// noted it.
    pub resized_at: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The API group, without a version.
    pub group: String,
    pub kind: String,
    pub name: String,
    pub uid: String,
}

/// Containers that run for a pod's whole life, the main ones, then the sidecars; with their sums,
/// for which no quantity is read twice.
#[derive(Debug, Clone)]
pub struct Containers {
    list: Box<[PodContainer]>,
    limits: Box<[PerResource<f64>]>,
    limit: PerResource<f64>,
    request: PerResource<f64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PodContainer {
    pub name: String,
    pub image: String,
    /// A restartable init container.
    pub sidecar: bool,
    pub resources: ContainerResources,
    /// What the kubelet says is in force; None while the container does not run or the kubelet does
    /// not say.
    pub in_force: Option<ContainerResources>,
    pub oom_killed_at: Option<i64>,
}

/// Requests and limits as they stand in the object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ContainerResources {
    pub requests: BTreeMap<String, String>,
    pub limits: BTreeMap<String, String>,
}

/// What the kubelet says of a resize that is not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResizeCondition {
    pub state: ResizeState,
    pub message: String,
    pub since: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResizeState {
    InProgress,
    Deferred,
    Infeasible,
    Error,
}

impl Pod {
    /// None for an object without name, namespace or uid, which no API server sends.
    pub fn from_kube(pod: &KubePod) -> Option<Self> {
        let meta = &pod.metadata;
        let key = PodKey {
            namespace: meta.namespace.clone()?,
            name: meta.name.clone()?,
            uid: meta.uid.clone()?,
        };
        let spec = pod.spec.as_ref();
        let status = pod.status.as_ref();
        let statuses = || {
            let main = status.and_then(|s| s.container_statuses.as_ref());
            let init = status.and_then(|s| s.init_container_statuses.as_ref());
            main.into_iter().chain(init).flatten()
        };
        let status_of = |name: &str| statuses().find(|s| s.name == name);
        let main = spec
            .iter()
            .flat_map(|s| &s.containers)
            .map(|c| container(c, false, status_of(&c.name)));
        let sidecars = spec
            .iter()
            .flat_map(|s| s.init_containers.iter().flatten())
            .filter(|c| c.restart_policy.as_deref() == Some("Always"))
            .map(|c| container(c, true, status_of(&c.name)));
        Some(Self {
            key,
            phase: status.and_then(|s| s.phase.as_deref()).unwrap_or("Unknown").into(),
            created: meta.creation_timestamp.as_ref().and_then(|t| to_chrono(&t.0)),
            labels: Shared::new(meta.labels.clone().unwrap_or_default()),
            node_name: spec.and_then(|s| s.node_name.as_deref()).map(Shared::from),
            pod_ip: status.and_then(|s| s.pod_ip.as_deref()).map(Box::from),
            owner: Owner::of(meta),
            containers: Shared::new(Containers::new(main.chain(sidecars).collect())),
            mirror: meta.annotations.as_ref().is_some_and(|a| a.contains_key(MIRROR)),
            deleting: meta.deletion_timestamp.is_some(),
            wishes: Wishes::parse(meta.annotations.as_ref()).map(Arc::new),
            resize: resize_condition(pod),
            resized_at: resized_at(pod),
        })
    }

    /// The pod as if it had only these containers.
    pub fn only(&self, names: &BTreeSet<String>) -> Self {
        let named = self.containers.iter().filter(|container| names.contains(&container.name));
        Self { containers: Shared::new(Containers::new(named.cloned().collect())), ..self.clone() }
    }

    /// When a container of the pod was last killed for memory, if it ever was.
    pub fn oom_killed_at(&self) -> Option<i64> {
        self.containers.iter().filter_map(|container| container.oom_killed_at).max()
    }

    /// The limit summed over containers, the request where a container has no limit: cores and MiB,
    /// 0 where there is neither.
    pub fn limit(&self) -> PerResource<f64> {
        self.containers.limit
    }

    pub fn request(&self) -> PerResource<f64> {
        self.containers.request
    }
}

/// As `kubectl` names it to people: kind and name.
impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

impl Owner {
    /// The controller of an object.
    pub fn of(meta: &ObjectMeta) -> Option<Shared<Self>> {
        let owner =
            meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))?;
        let group = group_of(&owner.api_version).to_owned();
        Some(Shared::new(Self {
            group,
            kind: owner.kind.clone(),
            name: owner.name.clone(),
            uid: owner.uid.clone(),
        }))
    }
}

pub fn group_of(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

impl Containers {
    pub fn new(list: Box<[PodContainer]>) -> Self {
        let request = |c: &PodContainer, resource| c.resources.request(resource);
        let limit = |c: &PodContainer, resource| {
            c.resources.limit(resource).or_else(|| request(c, resource))
        };
        let limits = list
            .iter()
            .map(|c| PerResource::build(|resource| limit(c, resource).unwrap_or_default()));
        let limits: Box<[PerResource<f64>]> = limits.collect();
        Self {
            limit: PerResource::build(|resource| {
                total(limits.iter().map(|limit| *limit.get(resource)))
            }),
            limits,
            request: PerResource::build(|resource| {
                total(list.iter().filter_map(|c| request(c, resource)))
            }),
            list,
        }
    }

    /// Of one container: the request where it has no limit, 0 where it has neither.
    pub fn limit_of(&self, index: usize) -> PerResource<f64> {
        self.limits.get(index).copied().unwrap_or_default()
    }
}

impl Deref for Containers {
    type Target = [PodContainer];

    fn deref(&self) -> &[PodContainer] {
        &self.list
    }
}

// The sums follow from the list.

impl PartialEq for Containers {
    fn eq(&self, other: &Self) -> bool {
        self.list == other.list
    }
}

impl Eq for Containers {}

impl Hash for Containers {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.list.hash(state);
    }
}

impl ContainerResources {
    pub fn limit(&self, resource: Resource) -> Option<f64> {
        read(&self.limits, resource)
    }

    pub fn request(&self, resource: Resource) -> Option<f64> {
        read(&self.requests, resource)
    }
}

/// The sum of nothing is 0, not -0 as Rust has it.
fn total(amounts: impl Iterator<Item = f64>) -> f64 {
    amounts.fold(0.0, |sum, amount| sum + amount)
}

fn read(quantities: &BTreeMap<String, String>, resource: Resource) -> Option<f64> {
    quantity::amount(resource, quantities.get(resource.name())?)
}

fn container(
    container: &Container,
    sidecar: bool,
    status: Option<&ContainerStatus>,
) -> PodContainer {
    PodContainer {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        sidecar,
        resources: container.resources.as_ref().map(resources).unwrap_or_default(),
        in_force: status.and_then(|s| s.resources.as_ref()).map(resources),
        oom_killed_at: status.and_then(oom_killed_at),
    }
}

fn resources(requirements: &ResourceRequirements) -> ContainerResources {
    let texts = |map: &Option<BTreeMap<String, Quantity>>| {
        map.iter().flatten().map(|(name, quantity)| (name.clone(), quantity.0.clone())).collect()
    };
    ContainerResources {
        requests: texts(&requirements.requests),
        limits: texts(&requirements.limits),
    }
}

fn oom_killed_at(status: &ContainerStatus) -> Option<i64> {
    let states = [status.state.as_ref(), status.last_state.as_ref()];
    let killed = states.into_iter().flatten().filter_map(|state| state.terminated.as_ref());
    killed
        .filter(|terminated| terminated.reason.as_deref() == Some("OOMKilled"))
        .filter_map(|terminated| terminated.finished_at.as_ref().map(|time| time.0.as_second()))
        .max()
}

/// The API server dates the last change that each writer made of the fields that it owns. Before
/// there was `pods/resize` the pod itself was patched.
fn resized_at(pod: &KubePod) -> Option<i64> {
    let ours = pod
        .metadata
        .managed_fields
        .iter()
        .flatten()
        .filter(|entry| entry.manager.as_deref() == Some(FIELD_MANAGER));
    let resizes =
        ours.filter(|entry| matches!(entry.subresource.as_deref(), None | Some("" | "resize")));
    resizes.filter_map(|entry| entry.time.as_ref().map(|time| time.0.as_second())).max()
}

/// Conditions since 1.33; before that one word in the status.
fn resize_condition(pod: &KubePod) -> Option<ResizeCondition> {
    let status = pod.status.as_ref()?;
    let conditions =
        status.conditions.iter().flatten().filter(|condition| condition.status == "True");
    for condition in conditions {
        let reason = condition.reason.as_deref().unwrap_or_default();
        let state = match (condition.type_.as_str(), reason) {
            ("PodResizePending", "Infeasible") => ResizeState::Infeasible,
            ("PodResizePending", _) => ResizeState::Deferred,
            ("PodResizeInProgress", "Error") => ResizeState::Error,
            ("PodResizeInProgress", _) => ResizeState::InProgress,
            _ => continue,
        };
        let since = condition.last_transition_time.as_ref().map(|time| time.0.as_second());
        return Some(ResizeCondition {
            state,
            message: condition.message.clone().unwrap_or_default(),
            since,
        });
    }
    let state = match status.resize.as_deref()? {
        "Proposed" | "InProgress" => ResizeState::InProgress,
        "Deferred" => ResizeState::Deferred,
        "Infeasible" => ResizeState::Infeasible,
        _ => return None,
    };
    Some(ResizeCondition { state, message: String::new(), since: None })
}

fn to_chrono(time: &k8s_openapi::jiff::Timestamp) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(time.as_second(), time.subsec_nanosecond().unsigned_abs())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod() -> Pod {
        let object = json!({
            "metadata": {
                "namespace": "default", "name": "web-1", "uid": "u1", "creationTimestamp": "2026-11-23T10:00:00Z",
                "labels": {"app": "web"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "r", "controller": true}]
            },
            "spec": {
                "containers": [
                    {"name": "app", "image": "app:1", "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"cpu": "500m"}}},
                    {"name": "bare"}
                ],
                "initContainers": [
                    {"name": "setup", "resources": {"limits": {"cpu": "9"}}},
                    {"name": "proxy", "restartPolicy": "Always", "resources": {"limits": {"cpu": "250m", "memory": "64Mi"}}}
                ]
            },
            "status": {
                "phase": "Running",
                "conditions": [
                    {"type": "Ready", "status": "True"},
                    {"type": "PodResizePending", "status": "True", "reason": "Deferred", "message": "full", "lastTransitionTime": "2026-11-23T10:00:10Z"}
                ],
                "containerStatuses": [{
                    "name": "app", "image": "", "imageID": "", "ready": true, "restartCount": 1,
                    "resources": {"limits": {"cpu": "400m"}},
                    "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled", "finishedAt": "2026-11-23T10:00:05Z"}}
                }]
            }
        });
        Pod::from_kube(&serde_json::from_value(object).unwrap()).unwrap()
    }

    #[test]
    fn limits_are_summed_over_containers_and_sidecars() {
        let pod = pod();
        assert_eq!(pod.limit(), PerResource::new(0.75, 192.0));
        assert_eq!(pod.request(), PerResource::new(0.1, 128.0));
        let names: Vec<_> = pod.containers.iter().map(|c| (c.name.as_str(), c.sidecar)).collect();
        assert_eq!(names, [("app", false), ("bare", false), ("proxy", true)]);
    }

    #[test]
    fn what_happened_to_the_pod_is_seen() {
        let pod = pod();
        let created = pod.created.unwrap().timestamp();
        assert_eq!(pod.oom_killed_at(), Some(created + 5));
        let bare = pod.only(&BTreeSet::from(["bare".to_owned()]));
        assert_eq!((bare.containers.len(), bare.oom_killed_at()), (1, None));
        let resize = pod.resize.unwrap();
        assert_eq!((resize.state, resize.since), (ResizeState::Deferred, Some(created + 10)));
        assert_eq!(pod.containers[0].in_force.as_ref().unwrap().limits["cpu"], "400m");
        let owner = pod.owner.unwrap();
        assert_eq!(
            (owner.group.as_str(), owner.kind.as_str(), owner.name.as_str()),
            ("apps", "ReplicaSet", "web")
        );
    }
}
