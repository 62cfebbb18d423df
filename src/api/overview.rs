//! The pods as people look at them: one page of a list that may be long, each with its last
//! decision and its recent past.

use std::cmp::Ordering;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::answers::{StatusName, UnreadableNamespace};
use super::error::{ApiError, BadRequest, NoCluster, NoSuchPod};
use super::extract::{PodPath, Query, SharedState};
use super::json::Json;
use super::pods::{ListedAutoscaler, ListedOverrides, ListedOwner};
use super::query::{self, Order};
use super::work::cluster;
use crate::blocking::run_blocking;
use crate::client::retry::Deadline;
use crate::clock::{at, rfc3339};
use crate::core::action::Action;
use crate::core::context::OwnedPod;
use crate::core::eligibility::{current_block, eligibility, is_monitored, last_message};
use crate::core::explain::in_short;
use crate::core::outcome::{LastOutcome, Status};
use crate::core::pod::Pod;
use crate::core::policy::Settings;
use crate::core::resource::{PerResource, Resource};
use crate::core::skip_reason::SkipReason;
use crate::scaler::cycle::Scaler;
use crate::scaler::pod_status::{Latest, PodStatuses, Sample};

const DEFAULT_PAGE: usize = 50;
const LARGEST_PAGE: usize = 500;
/// Changes of one pod that its chart marks.
const MOST_EVENTS: usize = 100;

#[derive(Serialize, ToSchema)]
pub struct Page {
    #[schema(example = true)]
    success: bool,
    /// Pods of the configured namespaces.
    total: usize,
    /// Pods that the query takes.
    found: usize,
    /// How many of those come before this page.
    offset: usize,
    /// Pods of this page.
    count: usize,
    /// Namespaces whose pods are not among them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unreadable: Vec<UnreadableNamespace>,
    pods: Vec<PodOverview>,
    #[schema(format = DateTime, example = "2026-11-25T10:30:00.000Z")]
    timestamp: String,
}

#[derive(Serialize, ToSchema)]
pub struct PodOverview {
    #[schema(example = "postgres-0")]
    name: String,
    #[schema(example = "data")]
    namespace: String,
    /// The phase.
    #[schema(example = "Running")]
    status: String,
    /// The Deployment rather than the ReplicaSet between it and the pod.
    #[schema(required)]
    workload: Option<ListedOwner>,
    /// False: excluded, finished, or on its way out.
    monitored: bool,
    /// What speaks against scaling it, whatever it uses.
    #[schema(required)]
    cannot_scale: Option<SkipReason>,
    /// What keeps it from being scaled or changed now, in words that name it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(
        nullable = false,
        example = "Pod postgres-0 is managed by a VerticalPodAutoscaler: postgres"
    )]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    overrides: Option<ListedOverrides>,
    /// The other autoscalers of its workload.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    managed_by: Vec<ListedAutoscaler>,
    #[schema(required, format = DateTime, example = "2026-11-25T10:30:00.000Z")]
    measured_at: Option<String>,
    metrics: OverviewMetrics,
    resources: OverviewResources,
    #[schema(required)]
    last_decision: Option<LastDecision>,
    /// The resources that none of its containers has a limit of: what stands as the limit is the
    /// request.
    without_limit: Vec<Resource>,
    history: Trail,
}

/// Summed over the containers that are scaled; null where nothing was measured.
#[derive(Serialize, ToSchema)]
pub struct OverviewMetrics {
    /// Cores.
    #[schema(required, minimum = 0, example = 0.15)]
    cpu_usage: Option<f64>,
    /// MiB.
    #[schema(required, minimum = 0, example = 256.5)]
    memory_usage_mb: Option<f64>,
}

/// Summed over the containers that are scaled, which are all unless an annotation names some.
#[derive(Serialize, ToSchema)]
pub struct OverviewResources {
    /// Cores.
    #[schema(minimum = 0, example = 0.1)]
    cpu_request: f64,
    /// MiB.
    #[schema(minimum = 0, example = 128.0)]
    memory_request_mb: f64,
    /// Cores.
    #[schema(minimum = 0, example = 0.5)]
    cpu_limit: f64,
    /// MiB.
    #[schema(minimum = 0, example = 512.0)]
    memory_limit_mb: f64,
}

#[derive(Serialize, ToSchema)]
pub struct LastDecision {
    #[schema(required, format = DateTime, example = "2026-11-25T10:30:00.000Z")]
    timestamp: Option<String>,
    status: StatusName,
    #[schema(required)]
    cpu_action: Option<Action>,
    #[schema(required)]
    memory_action: Option<Action>,
    /// In a few words.
    #[schema(example = "CPU: INCREASE")]
    why: String,
}

/// The recent past: a column for each value.
#[derive(Serialize, ToSchema)]
pub struct Trail {
    timestamps: Vec<Option<String>>,
    /// Cores.
    #[schema(example = json!([0.15, 0.17]))]
    cpu_usage: Vec<f64>,
    /// Cores.
    #[schema(example = json!([0.5, 0.5]))]
    cpu_limit: Vec<f64>,
    /// Cores.
    #[schema(example = json!([0.25, 0.25]))]
    cpu_request: Vec<f64>,
    /// MiB.
    #[schema(example = json!([256.5, 250.1]))]
    memory_usage_mb: Vec<f64>,
    /// MiB.
    #[schema(example = json!([512.0, 512.0]))]
    memory_limit_mb: Vec<f64>,
    /// MiB.
    #[schema(example = json!([256.0, 256.0]))]
    memory_request_mb: Vec<f64>,
}

/// A page of the pods, each with its last decision and its recent past
#[utoipa::path(
    get, path = "/pods/overview", tag = "pods", params(PodQuery),
    responses((status = 200, body = Page), BadRequest, NoCluster)
)]
pub async fn overview(
    State(state): SharedState,
    Query(query): Query<PodQuery>,
) -> Result<Json<Page>, ApiError> {
    let (config, statuses) = (state.config(), &state.scaler.pod_status);
    let settings = config.settings();
    let listing = cluster(&state)?.pods(&config.namespaces, Deadline::default()).await?;
    let unreadable = listing.unreadable.iter().map(Into::into).collect();
    let pods = listing.pods;
    let total = pods.len();
    let offset = query.offset.unwrap_or(0);
    let (found, pods) = run_blocking(|| {
        let mut found = query.found(pods, statuses, &settings);
        let end = offset.saturating_add(query.limit.unwrap_or(DEFAULT_PAGE)).min(found.len());
        // What comes after the page need not be in order.
        if end < found.len() {
            found.select_nth_unstable_by(end, |a, b| query.order(a, b));
        }
        found[..end].sort_unstable_by(|a, b| query.order(a, b));
        let page = found[..end].iter().skip(offset).map(|ranked| {
            let owned = ranked.owned.clone();
            let seen = Seen { latest: statuses.latest(&owned.pod.key), owned };
            shown(&seen, statuses, &settings)
        });
        (found.len(), page.collect::<Vec<_>>())
    });
    let count = pods.len();
    let timestamp = rfc3339(state.clock.now());
    Ok(Json(Page { success: true, total, found, offset, count, unreadable, pods, timestamp }))
}

#[derive(Serialize, ToSchema)]
pub struct OnePod {
    #[schema(example = true)]
    success: bool,
    pod: PodOverview,
    /// What happened to it, oldest first.
    events: Vec<PodEvent>,
    #[schema(format = DateTime, example = "2026-11-25T10:30:00.000Z")]
    timestamp: String,
}

#[derive(Serialize, ToSchema)]
pub struct PodEvent {
    #[schema(required, format = DateTime, example = "2026-11-25T10:30:00.000Z")]
    timestamp: Option<String>,
    kind: PodEventKind,
    #[schema(example = "CPU 500m -> 600m: 92 % of the limit was in use")]
    what: String,
}

#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PodEventKind {
    /// It was resized, or that was tried.
    Change,
    /// A container was killed for memory.
    Kill,
}

fn events(scaler: &Scaler, uid: &str) -> Vec<PodEvent> {
    let mut events: Vec<_> = scaler
        .outcomes
        .kills(|kill| kill.pod.uid == uid)
        .into_iter()
        .map(|kill| {
            let what = format!("container {} was killed for memory", kill.container);
            (kill.at, PodEventKind::Kill, what)
        })
        .collect();
    let (_, changes) = scaler.changes.lock().page(|record| record.pod.uid == uid, 0, MOST_EVENTS);
    events.extend(changes.iter().map(|record| {
        let course = record.course_name().replace('_', " ");
        (record.at.timestamp(), PodEventKind::Change, format!("{} ({course})", record.words()))
    }));
    events.sort_by_key(|(when, ..)| *when);
    let told = |(when, kind, what)| PodEvent { timestamp: at(when), kind, what };
    events.into_iter().map(told).collect()
}

/// One pod with its last decision and its recent past
#[utoipa::path(
    get, path = "/pods/{namespace}/{pod_name}/history", tag = "pods", params(PodPath),
    responses((status = 200, body = OnePod), BadRequest, NoSuchPod, NoCluster)
)]
pub async fn history(State(state): SharedState, path: PodPath) -> Result<Json<OnePod>, ApiError> {
    let pod = cluster(&state)?.look(&path.namespace, &path.name, Deadline::default()).await?;
    let owned = pod.select_containers();
    let statuses = &state.scaler.pod_status;
    let seen = Seen { latest: statuses.latest(&owned.pod.key), owned };
    let pod = shown(&seen, statuses, &state.config().settings());
    let events = run_blocking(|| events(&state.scaler, &seen.owned.pod.key.uid));
    Ok(Json(OnePod { success: true, pod, events, timestamp: rfc3339(state.clock.now()) }))
}

struct Seen {
    owned: OwnedPod,
    latest: Option<Latest>,
}

impl Seen {
    fn last(&self) -> Option<&LastOutcome> {
        self.latest.as_ref().map(|latest| &latest.last)
    }
}

/// A pod that the query takes, and what it is sorted by.
struct Ranked {
    owned: OwnedPod,
    value: Option<f64>,
}

/// Which pods are asked for, and in which order.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PodQuery {
    /// A part of namespace/name or of the workload's name
    #[serde(default, deserialize_with = "query::search")]
    #[param(nullable = false, example = "postgres")]
    search: Option<String>,
    /// The pod's namespace
    #[serde(default, deserialize_with = "query::text")]
    #[param(nullable = false)]
    namespace: Option<String>,
    /// Whether the pod is acted upon
    #[serde(default, deserialize_with = "query::boolean")]
    #[param(nullable = false)]
    monitored: Option<bool>,
    /// The status of the last decision
    #[serde(default, deserialize_with = "query::choice")]
    #[param(nullable = false, example = "success")]
    status: Option<StatusName>,
    /// What the pods are sorted by
    #[serde(default, deserialize_with = "query::choice")]
    #[param(inline, nullable = false, example = "cpu")]
    sort: Option<Sort>,
    /// In which direction
    #[serde(default, deserialize_with = "query::choice")]
    #[param(inline, nullable = false, example = "desc")]
    order: Option<Order>,
    /// Pods to leave out before the page
    #[serde(default, deserialize_with = "query::whole")]
    #[param(nullable = false, example = 0)]
    offset: Option<usize>,
    /// Pods of a page: 50 if it is absent
    #[serde(default, deserialize_with = "query::page_size::<_, LARGEST_PAGE>")]
    #[param(nullable = false, minimum = 1, maximum = 500, example = 50)]
    limit: Option<usize>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Sort {
    #[default]
    Name,
    Cpu,
    Memory,
    CpuUtilization,
    MemoryUtilization,
    Decision,
}

impl PodQuery {
    /// The pods that are asked for, in any order.
    fn found(
        &self,
        pods: Vec<OwnedPod>,
        statuses: &PodStatuses,
        settings: &Settings,
    ) -> Vec<Ranked> {
        let sort = self.sort.unwrap_or_default();
        let pods = pods.into_iter().map(OwnedPod::select_containers);
        let pods: Vec<_> = pods.filter(|owned| self.takes(owned, settings)).collect();
        if self.status.is_none() && sort == Sort::Name {
            return pods.into_iter().map(|owned| Ranked { owned, value: None }).collect();
        }
        let looked_at = statuses.look(pods, |owned, status, usage| {
            let name = status.map(StatusName::from);
            let takes = self.status.as_ref().is_none_or(|wanted| name.as_ref() == Some(wanted));
            takes.then(|| sort.value(owned, status, usage))
        });
        looked_at.into_iter().map(|(owned, value)| Ranked { owned, value }).collect()
    }

    fn takes(&self, owned: &OwnedPod, settings: &Settings) -> bool {
        let key = &owned.pod.key;
        let workload = || owned.workload.as_ref().map(|of| of.name.as_str()).unwrap_or_default();
        self.namespace.as_ref().is_none_or(|namespace| &key.namespace == namespace)
            && self
                .monitored
                .is_none_or(|monitored| is_monitored(owned, &settings.exclusions) == monitored)
            && self.search.as_ref().is_none_or(|part| {
                format!("{}/{} {}", key.namespace, key.name, workload()).contains(part)
            })
    }

    /// What has no value to be sorted by comes last, whichever the direction.
    fn order(&self, a: &Ranked, b: &Ranked) -> Ordering {
        let (sort, descending) = (self.sort.unwrap_or_default(), self.order == Some(Order::Desc));
        let by_value = match (a.value, b.value) {
            (Some(left), Some(right)) if descending => right.total_cmp(&left),
            (Some(left), Some(right)) => left.total_cmp(&right),
            (left, right) => right.is_some().cmp(&left.is_some()),
        };
        let by_name = a.owned.pod.key.cmp(&b.owned.pod.key);
        match sort {
            Sort::Name if descending => by_name.reverse(),
            Sort::Name => by_name,
            _ => by_value.then(by_name),
        }
    }
}

impl Sort {
    fn value(
        self,
        owned: &OwnedPod,
        status: Option<&Status>,
        usage: Option<PerResource<f64>>,
    ) -> Option<f64> {
        let share = |usage: f64, limit: f64| (limit > 0.0).then(|| usage / limit);
        match self {
            Sort::Name => None,
            Sort::Cpu => Some(usage?.cpu),
            Sort::Memory => Some(usage?.memory),
            Sort::CpuUtilization => share(usage?.cpu, owned.pod.limit().cpu),
            Sort::MemoryUtilization => share(usage?.memory, owned.pod.limit().memory),
            // Those that were changed, or would have been, or could not be; then those that were
            // left as they are.
            Sort::Decision => Some(match status?.name() {
                "failed" => 0.0,
                "success" => 1.0,
                "dry_run" => 2.0,
                "skipped" => 3.0,
                _ => 4.0,
            }),
        }
    }
}

fn shown(seen: &Seen, statuses: &PodStatuses, settings: &Settings) -> PodOverview {
    let pod = &seen.owned.pod;
    let (request, limit) = (pod.request(), pod.limit());
    let measured = seen.latest.as_ref().and_then(|latest| latest.measured);
    let usage = measured.map(|(_, usage)| usage);
    PodOverview {
        name: pod.key.name.clone(),
        namespace: pod.key.namespace.clone(),
        status: (&*pod.phase).into(),
        workload: seen.owned.workload.as_ref().map(|owner| ListedOwner::of(owner)),
        monitored: is_monitored(&seen.owned, &settings.exclusions),
        cannot_scale: eligibility(&seen.owned, settings).err(),
        message: current_block(&seen.owned, settings),
        overrides: ListedOverrides::of(&seen.owned, &settings.policy),
        managed_by: ListedAutoscaler::all(&seen.owned),
        measured_at: measured.and_then(|(when, _)| at(when)),
        metrics: OverviewMetrics {
            cpu_usage: usage.map(|u| u.cpu),
            memory_usage_mb: usage.map(|u| u.memory),
        },
        resources: OverviewResources {
            cpu_request: request.cpu,
            memory_request_mb: request.memory,
            cpu_limit: limit.cpu,
            memory_limit_mb: limit.memory,
        },
        last_decision: seen.last().map(|last| decision(last, &seen.owned, settings)),
        without_limit: without_limit(pod),
        history: trail(&statuses.trail(&pod.key)),
    }
}

fn without_limit(pod: &Pod) -> Vec<Resource> {
    let none_has = |resource: &Resource| {
        let mut all = 0..pod.containers.len();
        all.all(|index| pod.containers.figures(index).by_request[*resource])
    };
    Resource::ALL.into_iter().filter(none_has).collect()
}

fn decision(last: &LastOutcome, owned: &OwnedPod, settings: &Settings) -> LastDecision {
    let decided = last.decided.as_ref();
    LastDecision {
        timestamp: at(last.at),
        status: (&last.status).into(),
        cpu_action: decided.map(|decided| decided.actions.cpu),
        memory_action: decided.map(|decided| decided.actions.memory),
        why: in_short(last, last_message(&last.status, owned, settings)),
    }
}

/// Short, and as a chart wants it.
fn trail(samples: &[Sample]) -> Trail {
    let column =
        |of: &dyn Fn(&Sample) -> f64| samples.iter().map(|sample| short(of(sample))).collect();
    Trail {
        timestamps: samples.iter().map(|sample| at(sample.taken_at())).collect(),
        cpu_usage: column(&|sample| sample.usage().cpu),
        cpu_limit: column(&|sample| sample.limit().cpu),
        cpu_request: column(&|sample| sample.request().cpu),
        memory_usage_mb: column(&|sample| sample.usage().memory),
        memory_limit_mb: column(&|sample| sample.limit().memory),
        memory_request_mb: column(&|sample| sample.request().memory),
    }
}

/// Four significant digits: a sample holds no more.
fn short(value: f64) -> f64 {
    let scale = 10f64.powi(3 - value.abs().max(1e-6).log10().floor() as i32);
    (value * scale).round() / scale
}
