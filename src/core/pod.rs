//! A pod as this service needs it: a slim record of what the API server says.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use internment::ArcIntern as Shared;
use litemap::LiteMap;
use serde::{Deserialize, Serialize, Serializer};

use crate::overrides::PodOverrides;
use crate::quantity;
use crate::resource::{PerResource, Resource};

/// What identifies a pod's life; a StatefulSet gives the same name to one pod after another.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PodNames {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

/// There are many copies of each.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "PodNames")]
pub struct PodKey {
    names: Arc<PodNames>,
    /// Of the uid: each cycle looks each pod up again and again.
    hash: u64,
}

pub fn pod_key(
    namespace: impl Into<String>,
    name: impl Into<String>,
    uid: impl Into<String>,
) -> PodKey {
    let (namespace, name, uid) = (namespace.into(), name.into(), uid.into());
    PodNames { namespace, name, uid }.into()
}

impl From<PodNames> for PodKey {
    fn from(names: PodNames) -> Self {
        let mut hasher = DefaultHasher::new();
        names.uid.hash(&mut hasher);
        Self { names: names.into(), hash: hasher.finish() }
    }
}

impl Serialize for PodKey {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.names.serialize(to)
    }
}

impl Deref for PodKey {
    type Target = PodNames;

    fn deref(&self) -> &PodNames {
        &self.names
    }
}

// The uid alone tells pods apart.

impl PartialEq for PodKey {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && (Arc::ptr_eq(&self.names, &other.names) || self.uid == other.uid)
    }
}

impl Eq for PodKey {}

impl PartialOrd for PodKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PodKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.names.cmp(&other.names)
    }
}

impl Hash for PodKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
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
    /// What is different from pod to pod, for each of the containers in their order.
    pub states: Box<[ContainerState]>,
    /// Kubernetes knows by it whether the object has changed; a write on another one is refused.
    pub resource_version: Option<Box<str>>,
    /// Requests and limits of the pod itself, which bound the sum of its containers.
    pub resources: Option<Shared<ContainerResources>>,
    pub mirror: bool,
    /// From its node, by the kubelet.
    pub evicted: bool,
    pub deleting: bool,
    /// By the pod's own annotations.
    pub overrides: Option<Arc<PodOverrides>>,
    pub resize: Option<Box<ResizeCondition>>,
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

/// The workloads that make their pods from a template which a fallback can patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TemplateKind {
    Deployment,
    StatefulSet,
    DaemonSet,
}

impl TemplateKind {
    /// None for any other kind, and for a kind of the same name in another API group.
    pub fn of(owner: &Owner) -> Option<Self> {
        match (owner.group.as_str(), owner.kind.as_str()) {
            ("apps", "Deployment") => Some(Self::Deployment),
            ("apps", "StatefulSet") => Some(Self::StatefulSet),
            ("apps", "DaemonSet") => Some(Self::DaemonSet),
            _ => None,
        }
    }
}

/// What has become of a container so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ContainerState {
    /// False while it waits for a start, as between two crashes, and after its end; true where the
    /// status says nothing.
    pub down: bool,
    /// It runs, and its probes do not say yet that it is ready.
    pub unready: bool,
    /// The last start, in seconds since the epoch, by the kubelet's clock.
    pub started_at: Option<i64>,
    pub oom_kill: Option<OomKill>,
    /// How often it was started again.
    pub restarts: i32,
}

/// A kill for memory, by what tells it from all others of the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OomKill {
    /// The restart that it led to.
    pub restart: i32,
    /// Seconds since the epoch by the kubelet's clock: a name rather than a time.
    pub finished_at: i64,
}

/// Containers that run for a pod's whole life, the main ones, then the sidecars; with their sums,
/// for which no quantity is read twice.
#[derive(Debug, Clone)]
pub struct Containers {
    list: Box<[PodContainer]>,
    figures: Box<[Figures]>,
    limit: PerResource<f64>,
    request: PerResource<f64>,
    settled: bool,
}

/// What the quantities of a container come to: cores and MiB.
#[derive(Debug, Clone, Copy, Default)]
pub struct Figures {
    /// The limit in force, or the request where it has no limit, or 0 where it has neither.
    pub limit: PerResource<f64>,
    /// The request in force; 0 where it has none.
    pub request: PerResource<f64>,
    /// The resources that it has no limit of.
    pub by_request: PerResource<bool>,
    /// Tells what the spec asks for from anything else that it might ask for.
    pub spec: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PodContainer {
    pub name: Arc<str>,
    pub image: String,
    /// A restartable init container.
    pub sidecar: bool,
    pub resources: Shared<ContainerResources>,
    /// What its template says, where the container was made with something else.
    pub template: Option<Shared<ContainerResources>>,
    /// What the kubelet says is in force; None while the container does not run or the kubelet does
    /// not say.
    pub in_force: Option<Shared<ContainerResources>>,
    /// The resources whose change restarts the container, by its `resizePolicy`.
    pub restarts: PerResource<bool>,
}

/// Quantities as Kubernetes writes them, by the resources' names. There are few in each of very
/// many objects.
pub type Quantities = LiteMap<String, String>;

/// An empty one, too, is written as a map.
pub fn as_map<S: Serializer>(quantities: &Quantities, to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(quantities.iter())
}

/// Requests and limits as they stand in the object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ContainerResources {
    #[serde(serialize_with = "as_map")]
    pub requests: Quantities,
    #[serde(serialize_with = "as_map")]
    pub limits: Quantities,
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
    /// A pod that runs with these containers, and of which nothing else is known.
    ///
    /// ```
    /// use dqn_scaler_core::pod::{ContainerResources, Pod, PodContainer, pod_key};
    /// use dqn_scaler_core::resource::PerResource;
    ///
    /// let key = pod_key("shop", "web-1", "u1");
    /// let limits = [("cpu", "1"), ("memory", "1Gi")];
    /// let resources = ContainerResources::new(&[("cpu", "250m")], &limits);
    /// let pod = Pod::new(key, vec![PodContainer::new("app", resources)]);
    /// assert_eq!(pod.limit(), PerResource::new(1.0, 1024.0));
    /// ```
    pub fn new(key: PodKey, containers: Vec<PodContainer>) -> Self {
        Self {
            key,
            phase: "Running".into(),
            created: None,
            labels: Shared::new(BTreeMap::new()),
            node_name: None,
            pod_ip: None,
            owner: None,
            states: vec![ContainerState::default(); containers.len()].into(),
            containers: Shared::new(Containers::new(containers.into())),
            resource_version: None,
            resources: None,
            mirror: false,
            evicted: false,
            deleting: false,
            overrides: None,
            resize: None,
            resized_at: None,
        }
    }

    /// The pod as if it had only these containers.
    pub fn only(&self, names: &BTreeSet<String>) -> Self {
        let pairs = self.containers.iter().zip(&self.states);
        let named = pairs.filter(|(container, _)| names.contains(&*container.name));
        let (containers, states): (Vec<_>, Vec<_>) =
            named.map(|(container, state)| (container.clone(), *state)).unzip();
        let containers = Shared::new(Containers::new(containers.into()));
        Self { containers, states: states.into(), ..self.clone() }
    }

    pub fn state(&self, index: usize) -> ContainerState {
        self.states.get(index).copied().unwrap_or_default()
    }

    /// The limit in force summed over containers, the request where a container has no limit: cores
    /// and MiB, 0 where there is neither.
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
    pub fn is_replica_set(&self) -> bool {
        (self.group.as_str(), self.kind.as_str()) == ("apps", "ReplicaSet")
    }

    pub fn is_job(&self) -> bool {
        (self.group.as_str(), self.kind.as_str()) == ("batch", "Job")
    }
}

/// The API group of `group/version`; empty for the core group.
pub fn group_of(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

impl Containers {
    pub fn new(list: Box<[PodContainer]>) -> Self {
        let figures: Box<[Figures]> = list.iter().map(Figures::of).collect();
        Self {
            limit: PerResource::build(|resource| total(figures.iter().map(|f| f.limit[resource]))),
            request: PerResource::build(|resource| {
                total(figures.iter().map(|f| f.request[resource]))
            }),
            figures,
            settled: list.iter().all(PodContainer::is_settled),
            list,
        }
    }

    /// What the kubelet says is in force is what the specs ask for.
    pub fn are_settled(&self) -> bool {
        self.settled
    }

    /// Of one container.
    pub fn figures(&self, index: usize) -> Figures {
        self.figures.get(index).copied().unwrap_or_default()
    }

    /// Of one container: the request where it has no limit, 0 where it has neither.
    pub fn limit_of(&self, index: usize) -> PerResource<f64> {
        self.figures(index).limit
    }
}

impl Figures {
    fn of(container: &PodContainer) -> Self {
        let limits = PerResource::build(|resource| container.limit_in_force(resource));
        let requests = PerResource::build(|resource| container.request_in_force(resource));
        let mut spec = DefaultHasher::new();
        (*container.resources).hash(&mut spec);
        Self {
            limit: PerResource::build(|of| limits[of].or(requests[of]).unwrap_or_default()),
            request: PerResource::build(|of| requests[of].unwrap_or_default()),
            by_request: PerResource::build(|of| limits[of].is_none()),
            spec: spec.finish(),
        }
    }
}

impl Deref for Containers {
    type Target = [PodContainer];

    fn deref(&self) -> &[PodContainer] {
        &self.list
    }
}

// The figures follow from the list.

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

impl PodContainer {
    /// A main container, not started yet.
    pub fn new(name: &str, resources: ContainerResources) -> Self {
        Self {
            name: name.into(),
            image: String::new(),
            sidecar: false,
            resources: Shared::new(resources),
            template: None,
            in_force: None,
            restarts: PerResource::new(false, false),
        }
    }
}

impl PodContainer {
    /// Cores or MiB: what the kubelet says, and where it says nothing, what the spec asks for.
    pub fn limit_in_force(&self, resource: Resource) -> Option<f64> {
        let in_force = self.in_force.as_ref().and_then(|in_force| in_force.limit(resource));
        in_force.or_else(|| self.resources.limit(resource))
    }

    fn is_settled(&self) -> bool {
        self.in_force.as_ref().is_none_or(|in_force| self.resources.is_met_by(in_force))
    }

    /// The same for the request.
    pub fn request_in_force(&self, resource: Resource) -> Option<f64> {
        let in_force = self.in_force.as_ref().and_then(|in_force| in_force.request(resource));
        in_force.or_else(|| self.resources.request(resource))
    }
}

impl ContainerResources {
    /// Requests and limits by the resources' names.
    pub fn new(requests: &[(&str, &str)], limits: &[(&str, &str)]) -> Self {
        let map = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
        };
        Self { requests: map(requests), limits: map(limits) }
    }

    /// Cores or MiB; None where there is none, or it is no quantity.
    pub fn limit(&self, resource: Resource) -> Option<f64> {
        read(&self.limits, resource)
    }

    /// Cores or MiB; None where there is none, or it is no quantity.
    pub fn request(&self, resource: Resource) -> Option<f64> {
        read(&self.requests, resource)
    }
}

/// Below these the kernel knows no finer CPU limit and no smaller CPU share.
const SMALLEST_CPU_LIMIT: f64 = 0.01;
const SMALLEST_CPU_REQUEST: f64 = 0.002;

impl ContainerResources {
    /// Whether all that is asked for here of CPU and memory is in force there.
    pub fn is_met_by(&self, in_force: &Self) -> bool {
        let met = |wanted: &Quantities, actual: &Quantities, least| {
            Resource::ALL.into_iter().all(|resource| {
                let least = if resource == Resource::Cpu { least } else { 0.0 };
                let value = |of: &Quantities| Some(read(of, resource)?.max(least));
                let Some(wanted) = value(wanted) else { return true };
                value(actual).is_some_and(|actual| (wanted - actual).abs() <= wanted * 1e-6)
            })
        };
        met(&self.limits, &in_force.limits, SMALLEST_CPU_LIMIT)
            && met(&self.requests, &in_force.requests, SMALLEST_CPU_REQUEST)
    }
}

/// The sum of nothing is 0, not -0 as Rust has it.
fn total(amounts: impl Iterator<Item = f64>) -> f64 {
    amounts.fold(0.0, |sum, amount| sum + amount)
}

fn read(quantities: &Quantities, resource: Resource) -> Option<f64> {
    quantity::amount(resource, quantities.get(resource.name())?)
}
