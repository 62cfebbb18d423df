//! What is remembered of the workloads behind the pods.

use std::collections::HashMap;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::error::{ApiError, BadRequest};
use super::export::{Format, written};
use super::extract::{Query, SharedState};
use super::json::Json;
use super::query;
use crate::blocking::run_blocking;
use crate::clock::{at, rfc3339};
use crate::core::context::OwnedPod;
use crate::core::eligibility::own_policy;
use crate::core::export::SettledWorkload;
use crate::core::pod::{ContainerResources, PodContainer};
use crate::core::policy::Settings;
use crate::core::resource::{PerResource, Resource};
use crate::core::workload::{WorkloadContainer, WorkloadHistory, WorkloadKey};
use crate::service::state::AppState;

const DEFAULT_PAGE: usize = 50;
const LARGEST_PAGE: usize = 500;

#[derive(Serialize, ToSchema)]
pub struct WorkloadsAnswer {
    #[schema(example = true)]
    success: bool,
    /// Workloads that the query takes.
    found: usize,
    /// How many of those come before this page.
    offset: usize,
    /// Workloads of this page.
    count: usize,
    workloads: Vec<ListedWorkload>,
    #[schema(format = DateTime, example = "2026-11-25T10:30:00.000Z")]
    timestamp: String,
}

/// What outlives the pods. One that is gone is forgotten after seven days.
#[derive(Serialize, ToSchema)]
pub struct ListedWorkload {
    #[schema(example = "data")]
    namespace: String,
    /// Of a pod that nothing has made: Pod.
    #[schema(example = "StatefulSet")]
    kind: String,
    /// The API group of the kind; empty for the core group.
    #[schema(example = "apps")]
    group: String,
    #[schema(example = "postgres")]
    name: String,
    /// The pod of a StatefulSet, or the node of a DaemonSet's pod, each of which is remembered by
    /// itself; else null.
    #[schema(required, example = "postgres-0")]
    instance: Option<String>,
    /// Its pods that are there now.
    #[schema(example = 1)]
    pods: usize,
    /// When a pod of it was last there.
    #[schema(required, format = DateTime, example = "2026-11-25T10:30:00.000Z")]
    last_seen: Option<String>,
    containers: Vec<RememberedContainer>,
}

#[derive(Serialize, ToSchema)]
pub struct RememberedContainer {
    #[schema(example = "postgres")]
    name: String,
    #[schema(example = "postgres:17")]
    image: String,
    /// What a new pod starts with.
    template: RequestsAndLimits,
    /// The largest that its pods have now; null where there is none.
    #[schema(required)]
    now: Option<RequestsAndLimits>,
    /// What a new pod is resized to; in a dry run what it would come to.
    needed: RequestsAndLimits,
    /// The largest usage of the last hours, as far as a cut keeps clear of it.
    peak: Usage,
    /// What is used at most for 90 % of the time of CPU, and for 98 % of memory; days count, newer
    /// ones more.
    typical: Usage,
    /// Since when this image and this template have been measured.
    #[schema(required, format = DateTime, example = "2026-11-24T10:30:00.000Z")]
    known_since: Option<String>,
    /// The last kill for memory.
    #[schema(required, format = DateTime, example = "2026-11-24T10:30:00.000Z")]
    last_oom_kill: Option<String>,
}

/// Null where there is none.
#[derive(Serialize, ToSchema)]
pub struct RequestsAndLimits {
    /// Cores.
    #[schema(required, minimum = 0, example = 0.25)]
    cpu_request: Option<f64>,
    /// Cores.
    #[schema(required, minimum = 0, example = 0.5)]
    cpu_limit: Option<f64>,
    /// MiB.
    #[schema(required, minimum = 0, example = 256.0)]
    memory_request_mb: Option<f64>,
    /// MiB.
    #[schema(required, minimum = 0, example = 512.0)]
    memory_limit_mb: Option<f64>,
}

impl RequestsAndLimits {
    fn build(of: impl Fn(Resource) -> (Option<f64>, Option<f64>)) -> Self {
        let (cpu, memory) = (of(Resource::Cpu), of(Resource::Memory));
        Self {
            cpu_limit: cpu.0,
            cpu_request: cpu.1,
            memory_limit_mb: memory.0,
            memory_request_mb: memory.1,
        }
    }

    fn of(resources: &ContainerResources) -> Self {
        Self::build(|resource| (resources.limit(resource), resources.request(resource)))
    }
}

/// 0 where nothing is known.
#[derive(Serialize, ToSchema)]
pub struct Usage {
    /// Cores.
    #[schema(minimum = 0, example = 0.15)]
    cpu_cores: f64,
    /// MiB.
    #[schema(minimum = 0, example = 256.5)]
    memory_mb: f64,
}

impl Usage {
    fn build(of: impl Fn(Resource) -> f64) -> Self {
        Self { cpu_cores: of(Resource::Cpu), memory_mb: of(Resource::Memory) }
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
#[derive(Default)]
pub struct WorkloadQuery {
    /// Only workloads of this namespace
    #[serde(deserialize_with = "query::text")]
    #[param(example = "data")]
    namespace: Option<String>,
    /// Only workloads whose kind, name or instance contains this
    #[serde(deserialize_with = "query::text")]
    #[param(example = "postgres")]
    search: Option<String>,
    /// As JSON, or in YAML what templates should be: then of all workloads that have pods, without
    /// pages
    #[serde(deserialize_with = "query::choice")]
    #[param(inline, example = "json")]
    format: Option<Format>,
    /// Workloads before the first one of the page
    #[serde(deserialize_with = "query::whole")]
    #[param(minimum = 0, example = 0)]
    offset: Option<usize>,
    /// Workloads of one page; more than 500 count as 500
    #[serde(deserialize_with = "query::whole")]
    #[param(minimum = 0, example = 50)]
    limit: Option<usize>,
}

impl WorkloadQuery {
    fn takes(&self, key: &WorkloadKey) -> bool {
        let contains = |text: &str| {
            let search = self.search.as_deref().unwrap_or_default();
            text.to_lowercase().contains(&search.to_lowercase())
        };
        self.namespace.as_ref().is_none_or(|namespace| *namespace == key.namespace)
            && (contains(&key.kind)
                || contains(&key.name)
                || key.instance.as_deref().is_some_and(contains))
    }
}

/// What is remembered of the workloads: what new pods start with, and what they need
#[utoipa::path(
    get, path = "/workloads", tag = "pods", params(WorkloadQuery),
    responses(
        (status = 200, content(
            (WorkloadsAnswer = "application/json"), (serde_json::Value = "application/yaml"),
        )),
        BadRequest
    )
)]
pub async fn list(
    State(state): SharedState,
    Query(query): Query<WorkloadQuery>,
) -> Result<Response, ApiError> {
    if let Some(format @ (Format::Patch | Format::Helm)) = query.format {
        return written(&settled(&state, &query), format);
    }
    let (settings, offset) = (state.config().settings(), query.offset.unwrap_or(0));
    let limit = query.limit.unwrap_or(DEFAULT_PAGE).min(LARGEST_PAGE);
    let cluster = state.cluster();
    let (found, workloads) = run_blocking(|| {
        let agent = state.scaler.agent();
        let (found, page) = agent.page_of_workloads(|key| query.takes(key), offset, limit);
        let namespaces = page.iter().map(|(key, _)| key.namespace.as_str()).collect();
        let pods = cluster.map(|cluster| cluster.known_pods(Some(&namespaces)));
        let pods = pods.unwrap_or_default();
        let mut present: HashMap<&WorkloadKey, Vec<&OwnedPod>> =
            page.iter().map(|(key, _)| (&**key, Vec::new())).collect();
        for owned in &pods {
            if let Some(pods) = present.get_mut(&WorkloadKey::of(owned)) {
                pods.push(owned);
            }
        }
        let shown =
            page.iter().map(|(key, history)| shown(key, history, &present[&**key], &settings));
        (found, shown.collect::<Vec<_>>())
    });
    let (count, timestamp) = (workloads.len(), rfc3339(state.clock.now()));
    let answer = WorkloadsAnswer { success: true, found, offset, count, workloads, timestamp };
    Ok(Json(answer).into_response())
}

/// What the templates of the workloads should be that the query takes.
fn settled(state: &AppState, query: &WorkloadQuery) -> Vec<SettledWorkload> {
    let settings = state.config().settings();
    let pods = state.cluster().map(|cluster| cluster.known_pods(None)).unwrap_or_default();
    run_blocking(|| {
        let taken = |owned: &OwnedPod| query.takes(&WorkloadKey::of(owned));
        let pods: Vec<_> = pods.into_iter().filter(taken).collect();
        state.scaler.agent().settled(&pods, &settings)
    })
}

fn shown(
    key: &WorkloadKey,
    history: &WorkloadHistory,
    pods: &[&OwnedPod],
    settings: &Settings,
) -> ListedWorkload {
    // What annotations ask for binds new pods, too.
    let own = pods.first().and_then(|owned| own_policy(owned, &settings.policy).ok().flatten());
    let (policy, dry_run) = (own.as_deref().unwrap_or(&settings.policy), settings.dry_run);
    let container = |(name, known): (&str, &WorkloadContainer)| {
        let of_pods = pods.iter().flat_map(|owned| owned.pod.containers.iter());
        let now: Vec<_> = of_pods.filter(|container| *container.name == *name).collect();
        RememberedContainer {
            name: name.to_owned(),
            image: known.image.clone(),
            template: RequestsAndLimits::of(&known.template),
            now: (!now.is_empty()).then(|| largest(&now)),
            needed: RequestsAndLimits::build(|resource| known.needs(resource, policy, dry_run)),
            peak: Usage::build(|resource| known.peak(resource)),
            typical: Usage::build(|resource| known.typical(resource)),
            known_since: known.known_since().and_then(at),
            last_oom_kill: known.last_kill.and_then(|kill| at(kill.finished_at)),
        }
    };
    ListedWorkload {
        namespace: key.namespace.clone(),
        kind: key.kind.clone(),
        group: key.group.clone(),
        name: key.name.clone(),
        instance: key.instance.clone(),
        pods: pods.len(),
        last_seen: at(history.seen_at),
        containers: history.containers().map(container).collect(),
    }
}

fn largest(containers: &[&PodContainer]) -> RequestsAndLimits {
    let of = |read: fn(&PodContainer, Resource) -> Option<f64>| {
        PerResource::build(|resource| {
            let amounts = containers.iter().filter_map(|container| read(container, resource));
            amounts.max_by(f64::total_cmp)
        })
    };
    let (limit, request) = (of(PodContainer::limit_in_force), of(PodContainer::request_in_force));
    RequestsAndLimits::build(|resource| (limit[resource], request[resource]))
}
