//! The pods: all of the configured namespaces, or one with its usage.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::answers::UnreadableNamespace;
use super::error::{ApiError, BadRequest, NoCluster, NoSuchPod};
use super::extract::{PodPath, SharedState};
use super::json::Json;
use super::large;
use super::work::cluster;
use crate::blocking::run_blocking;
use crate::client::retry::Deadline;
use crate::clock::rfc3339;
use crate::core::autoscalers::CompetingAutoscaler;
use crate::core::context::OwnedPod;
use crate::core::eligibility::{is_monitored, own_policy};
use crate::core::overrides::Mode;
use crate::core::pod::{Owner, Quantities, as_map};
use crate::core::policy::{Controls, Exclusions, Policy};
use crate::core::resource::Resource;

#[derive(Serialize, ToSchema)]
pub struct PodList {
    #[schema(example = true)]
    success: bool,
    /// How many pods follow.
    count: usize,
    /// Namespaces whose pods are not among them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unreadable: Vec<UnreadableNamespace>,
    pods: Vec<ListedPod>,
}

#[derive(Serialize, ToSchema)]
pub struct ListedPod {
    #[schema(example = "postgres-0")]
    name: String,
    #[schema(example = "data")]
    namespace: String,
    /// The phase.
    #[schema(example = "Running")]
    status: String,
    #[schema(required, format = DateTime, example = "2026-11-25T10:00:00.000Z")]
    creation_timestamp: Option<String>,
    #[schema(example = json!({"app": "postgres"}))]
    labels: BTreeMap<String, String>,
    #[schema(required, example = "node-1")]
    node_name: Option<String>,
    #[schema(required, example = "10.244.1.5")]
    pod_ip: Option<String>,
    /// The containers, then the sidecars.
    containers: Vec<ListedContainer>,
    #[schema(required)]
    owner: Option<ListedOwner>,
    /// False: excluded, finished, or on its way out.
    monitored: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    overrides: Option<ListedOverrides>,
    /// The other autoscalers of its workload.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    managed_by: Vec<ListedAutoscaler>,
}

/// What the annotations of the pod, and where they say nothing those of its workload, ask for.
#[derive(Serialize, ToSchema)]
pub struct ListedOverrides {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    mode: Option<Mode>,
    /// Cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 0.25)]
    min_cpu: Option<f64>,
    /// Cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 2.0)]
    max_cpu: Option<f64>,
    /// MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 128.0)]
    min_memory_mb: Option<f64>,
    /// MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 2048.0)]
    max_memory_mb: Option<f64>,
    /// Nothing is ever cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    up_only: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    controls: Option<Controls>,
    /// Resources whose change restarts the container are changed all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    restarts_allowed: Option<bool>,
    /// What cannot be had in place may go into the template.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    fallback: Option<bool>,
    /// For how long a container starts after its start.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 90)]
    startup_seconds: Option<i64>,
    /// The only ones that are scaled.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = json!(["app"]))]
    containers: Option<BTreeSet<String>>,
    /// The first annotation that cannot be followed; the pod is skipped for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    fault: Option<String>,
}

impl ListedOverrides {
    pub fn of(owned: &OwnedPod, policy: &Policy) -> Option<Self> {
        let overrides = owned.context.overrides.as_deref()?;
        Some(Self {
            mode: overrides.mode,
            min_cpu: overrides.min.cpu,
            max_cpu: overrides.max.cpu,
            min_memory_mb: overrides.min.memory,
            max_memory_mb: overrides.max.memory,
            up_only: overrides.up_only,
            controls: overrides.controls,
            restarts_allowed: overrides.restarts_allowed,
            fallback: overrides.fallback,
            startup_seconds: overrides.startup,
            containers: overrides.containers.clone(),
            fault: own_policy(owned, policy).err().map(|fault| fault.to_string()),
        })
    }
}

#[derive(Serialize, ToSchema)]
pub struct ListedAutoscaler {
    #[schema(example = "HorizontalPodAutoscaler")]
    kind: &'static str,
    #[schema(example = "web")]
    name: String,
    /// What is left to it.
    #[schema(example = json!(["cpu"]))]
    resources: Vec<&'static str>,
}

impl ListedAutoscaler {
    pub fn all(owned: &OwnedPod) -> Vec<Self> {
        owned.context.autoscalers.iter().map(|autoscaler| Self::of(autoscaler)).collect()
    }

    fn of(autoscaler: &CompetingAutoscaler) -> Self {
        let resources =
            Resource::ALL.into_iter().filter(|resource| autoscaler.resources[*resource]);
        Self {
            kind: autoscaler.kind.name(),
            name: autoscaler.name.clone(),
            resources: resources.map(Resource::name).collect(),
        }
    }
}

#[derive(Serialize, ToSchema)]
pub struct ListedContainer {
    #[schema(example = "postgres")]
    name: String,
    #[schema(example = "postgres:17")]
    image: String,
    resources: ListedResources,
    /// By its `resizePolicy` a change of these restarts the container.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(example = json!(["memory"]))]
    restarts_on: Vec<&'static str>,
}

/// As they stand in the pod: Kubernetes quantities by the name of the resource.
#[derive(Serialize, ToSchema)]
pub struct ListedResources {
    #[schema(
        value_type = BTreeMap<String, String>,
        example = json!({"cpu": "100m", "memory": "128Mi"})
    )]
    #[serde(serialize_with = "as_map")]
    requests: Quantities,
    #[schema(
        value_type = BTreeMap<String, String>,
        example = json!({"cpu": "500m", "memory": "512Mi"})
    )]
    #[serde(serialize_with = "as_map")]
    limits: Quantities,
}

/// The object that made the pod.
#[derive(Serialize, ToSchema)]
pub struct ListedOwner {
    #[schema(example = "StatefulSet")]
    kind: String,
    #[schema(example = "postgres")]
    name: String,
}

impl ListedOwner {
    pub fn of(owner: &Owner) -> Self {
        Self { kind: owner.kind.clone(), name: owner.name.clone() }
    }
}

/// Every pod of the configured namespaces
#[utoipa::path(
    get, path = "/pods", tag = "pods", responses((status = 200, body = PodList), NoCluster)
)]
pub async fn list(State(state): SharedState) -> Result<Response, ApiError> {
    let config = state.config();
    let listing = cluster(&state)?.pods(&config.namespaces, Deadline::default()).await?;
    let mut pods = listing.pods;
    run_blocking(|| pods.sort_unstable_by(|a, b| a.pod.key.cmp(&b.pod.key)));
    let unreadable = listing.unreadable.iter().map(Into::into).collect();
    let frame = PodList { success: true, count: pods.len(), unreadable, pods: Vec::new() };
    let (policy, exclusions) = (config.policy(), config.exclusions());
    large::list(&frame, pods, move |pod| shown(pod, &exclusions, &policy))
}

fn shown(owned: &OwnedPod, exclusions: &Exclusions, policy: &Policy) -> ListedPod {
    let pod = &owned.pod;
    let containers = pod.containers.iter().map(|container| ListedContainer {
        name: container.name.to_string(),
        image: container.image.clone(),
        resources: ListedResources {
            requests: container.resources.requests.clone(),
            limits: container.resources.limits.clone(),
        },
        restarts_on: Resource::ALL
            .into_iter()
            .filter(|resource| container.restarts[*resource])
            .map(Resource::name)
            .collect(),
    });
    ListedPod {
        name: pod.key.name.clone(),
        namespace: pod.key.namespace.clone(),
        status: (&*pod.phase).into(),
        creation_timestamp: pod.created.map(rfc3339),
        labels: BTreeMap::clone(&pod.labels),
        node_name: pod.node_name.as_deref().map(Into::into),
        pod_ip: pod.pod_ip.as_deref().map(Into::into),
        containers: containers.collect(),
        owner: pod.owner.as_ref().map(|owner| ListedOwner::of(owner)),
        monitored: is_monitored(owned, exclusions),
        overrides: ListedOverrides::of(owned, policy),
        managed_by: ListedAutoscaler::all(owned),
    }
}

#[derive(Serialize, ToSchema)]
pub struct PodDetails {
    #[schema(example = true)]
    success: bool,
    /// Namespace and name.
    #[schema(example = "data/postgres-0")]
    pod: String,
    /// Null where there are none.
    #[schema(required)]
    metrics: Option<PodUsage>,
    resources: PodRequests,
}

/// Usage summed over the containers.
#[derive(Serialize, ToSchema)]
pub struct PodUsage {
    #[schema(minimum = 0, example = 0.15)]
    cpu_usage_cores: f64,
    /// MiB.
    #[schema(minimum = 0, example = 256.5)]
    memory_usage_mb: f64,
}

/// Requests summed over the containers.
#[derive(Serialize, ToSchema)]
pub struct PodRequests {
    #[schema(minimum = 0, example = 0.1)]
    cpu_requests_cores: f64,
    /// MiB.
    #[schema(minimum = 0, example = 128.0)]
    memory_requests_mb: f64,
}

/// One pod: what it uses and requests
#[utoipa::path(
    get, path = "/pods/{namespace}/{pod_name}", tag = "pods", params(PodPath),
    responses((status = 200, body = PodDetails), BadRequest, NoSuchPod, NoCluster)
)]
pub async fn read(State(state): SharedState, path: PodPath) -> Result<Json<PodDetails>, ApiError> {
    let cluster = cluster(&state)?;
    let deadline = Deadline::default();
    let owned = cluster.look(&path.namespace, &path.name, deadline).await?;
    let usage = cluster.look_at_usage(&owned).await?.map(|usage| usage.total());
    let request = owned.pod.request();
    Ok(Json(PodDetails {
        success: true,
        pod: format!("{}/{}", path.namespace, path.name),
        metrics: usage
            .map(|usage| PodUsage { cpu_usage_cores: usage.cpu, memory_usage_mb: usage.memory }),
        resources: PodRequests {
            cpu_requests_cores: request.cpu,
            memory_requests_mb: request.memory,
        },
    }))
}
