//! The workloads as people look at them: one page of a list that may be long, each with its pods
//! summed up, what is saved, what was done last, and what holds it back.

use std::cmp::Ordering;
use std::collections::HashMap;

use axum::extract::State;
use chrono::{DateTime, Utc};
use internment::ArcIntern as Shared;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::error::{ApiError, BadRequest, NoCluster};
use super::extract::{Query, SharedState};
use super::json::Json;
use super::query::{self, Order};
use super::risks;
use super::work::cluster;
use crate::blocking::run_blocking;
use crate::clock::rfc3339;
use crate::core::balance::Sums;
use crate::core::change_record::ChangeRecord;
use crate::core::context::OwnedPod;
use crate::core::eligibility::{current_block, is_monitored, own_policy};
use crate::core::explain::in_short;
use crate::core::pod::Owner;
use crate::core::policy::Settings;
use crate::core::resource::{PerResource, Resource};
use crate::scaler::cycle::Scaler;

const DEFAULT_PAGE: usize = 50;
const LARGEST_PAGE: usize = 500;

#[derive(Serialize, ToSchema)]
pub struct RowsAnswer {
    #[schema(example = true)]
    success: bool,
    /// Workloads of the configured namespaces.
    total: usize,
    /// Workloads that the query takes.
    found: usize,
    /// How many of those come before this page.
    offset: usize,
    /// Workloads of this page.
    count: usize,
    workloads: Vec<WorkloadRow>,
    #[schema(format = DateTime, example = "2026-11-25T10:30:00.000Z")]
    timestamp: String,
}

#[derive(Serialize, ToSchema)]
pub struct WorkloadRow {
    #[schema(example = "data")]
    namespace: String,
    /// Of a pod that nothing has made: Pod.
    #[schema(example = "StatefulSet")]
    kind: String,
    #[schema(example = "postgres")]
    name: String,
    /// Its pods that are there now.
    #[schema(example = 2)]
    replicas: usize,
    /// Those that are watched and not excluded.
    #[schema(example = 2)]
    monitored: usize,
    /// What the template asks for, by as many pods.
    template: RowSums,
    /// What its pods ask for now.
    now: RowSums,
    /// What new pods are resized to, or in a dry run would come to, by as many.
    needed: RowSums,
    used: RowUsed,
    /// The requests that the template asks for, less those of now.
    saved: RowUse,
    #[schema(required)]
    last_change: Option<RowChange>,
    /// How often its containers have been started again.
    #[schema(example = 3)]
    restarts: i64,
    /// Kills for memory that have been seen.
    #[schema(example = 1)]
    kills: usize,
    /// Dangers of its pods.
    #[schema(example = 1)]
    at_risk: usize,
    /// What keeps it from being changed now, in words; of the first pod that has something to say.
    #[schema(required, example = "waits 12 min more after the last change")]
    held_back: Option<String>,
}

/// Summed over the pods: cores and MiB.
#[derive(Serialize, ToSchema)]
pub struct RowSums {
    #[schema(minimum = 0, example = 0.5)]
    cpu_request: f64,
    #[schema(minimum = 0, example = 1.0)]
    cpu_limit: f64,
    #[schema(minimum = 0, example = 512.0)]
    memory_request_mb: f64,
    #[schema(minimum = 0, example = 1024.0)]
    memory_limit_mb: f64,
}

impl RowSums {
    fn of(sums: &Sums) -> Self {
        Self {
            cpu_request: rounded(sums.request.cpu),
            cpu_limit: rounded(sums.limit.cpu),
            memory_request_mb: rounded(sums.request.memory),
            memory_limit_mb: rounded(sums.limit.memory),
        }
    }
}

#[derive(Serialize, ToSchema)]
pub struct RowUse {
    #[schema(example = 0.3)]
    cpu_cores: f64,
    #[schema(example = 300.0)]
    memory_mb: f64,
}

impl RowUse {
    fn of(amounts: &PerResource<f64>) -> Self {
        Self { cpu_cores: rounded(amounts.cpu), memory_mb: rounded(amounts.memory) }
    }
}

/// Summed over the pods that are measured; null where none is.
#[derive(Serialize, ToSchema)]
pub struct RowUsed {
    #[schema(required, minimum = 0, example = 0.3)]
    cpu_cores: Option<f64>,
    #[schema(required, minimum = 0, example = 300.0)]
    memory_mb: Option<f64>,
}

#[derive(Serialize, ToSchema)]
pub struct RowChange {
    #[schema(format = DateTime, example = "2026-11-25T10:30:00.000Z")]
    timestamp: String,
    #[schema(example = "postgres-0")]
    pod_name: String,
    /// What changed, and why.
    #[schema(example = "CPU 500m -> 600m: 92 % of the limit was in use")]
    what: String,
    /// How it went.
    #[schema(example = "done")]
    course: &'static str,
}

impl RowChange {
    fn of(record: &ChangeRecord) -> Self {
        Self {
            timestamp: rfc3339(record.at),
            pod_name: record.pod.name.clone(),
            what: record.words(),
            course: record.course_name(),
        }
    }
}

fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

/// Which workloads are asked for, and in which order.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct RowQuery {
    /// A part of namespace/name, or of kind and name, in any case
    #[serde(default, deserialize_with = "query::search")]
    #[param(nullable = false, example = "postgres")]
    search: Option<String>,
    /// Only workloads of this namespace
    #[serde(default, deserialize_with = "query::text")]
    #[param(nullable = false)]
    namespace: Option<String>,
    /// Only those that are at risk, that were changed, or that are held back
    #[serde(default, deserialize_with = "query::choice")]
    #[param(inline, nullable = false, example = "at_risk")]
    show: Option<Show>,
    /// Only those that were changed since this moment
    #[serde(default, deserialize_with = "query::moment")]
    #[param(value_type = String, format = DateTime, nullable = false,
        example = "2026-11-25T10:30:00Z")]
    since: Option<DateTime<Utc>>,
    /// What they are sorted by
    #[serde(default, deserialize_with = "query::choice")]
    #[param(inline, nullable = false, example = "saved_cpu")]
    sort: Option<Sort>,
    /// In which direction
    #[serde(default, deserialize_with = "query::choice")]
    #[param(inline, nullable = false, example = "desc")]
    order: Option<Order>,
    /// Workloads to leave out before the page
    #[serde(default, deserialize_with = "query::whole")]
    #[param(nullable = false, minimum = 0, example = 0)]
    offset: Option<usize>,
    /// Workloads of a page: 50 if it is absent
    #[serde(default, deserialize_with = "query::page_size::<_, LARGEST_PAGE>")]
    #[param(nullable = false, minimum = 1, maximum = 500, example = 50)]
    limit: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Show {
    AtRisk,
    Changed,
    HeldBack,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Sort {
    #[default]
    Name,
    Replicas,
    Cpu,
    Memory,
    SavedCpu,
    SavedMemory,
    LastChange,
    Kills,
    AtRisk,
}

/// A workload with its pods.
struct Group<'a> {
    namespace: &'a str,
    owner: Option<&'a Shared<Owner>>,
    pods: Vec<&'a OwnedPod>,
    now: Sums,
    template: Sums,
    needed: Sums,
    used: PerResource<f64>,
    measured: bool,
    restarts: i64,
    at_risk: usize,
    held: bool,
    kills: usize,
    last_change: i64,
}

impl Group<'_> {
    fn kind(&self) -> &str {
        self.owner.map_or("Pod", |owner| owner.kind.as_str())
    }

    fn name(&self) -> &str {
        let pod = self.pods.first().map(|owned| owned.pod.key.name.as_str());
        self.owner.map_or(pod.unwrap_or_default(), |owner| owner.name.as_str())
    }

    fn saved(&self, resource: Resource) -> f64 {
        self.template.request[resource] - self.now.request[resource]
    }

    /// As the changes and the kills name it.
    fn key(&self) -> (String, Option<String>, String) {
        let pod = if self.owner.is_none() { self.name() } else { "" };
        let owner = self.owner.map(|owner| owner.to_string());
        (self.namespace.to_owned(), owner, pod.to_owned())
    }
}

impl RowQuery {
    fn takes(&self, owned: &OwnedPod) -> bool {
        let key = &owned.pod.key;
        self.namespace.as_ref().is_none_or(|namespace| &key.namespace == namespace)
            && self.search.as_ref().is_none_or(|part| {
                let (kind, name) = match owned.workload.as_deref() {
                    Some(owner) => (owner.kind.as_str(), owner.name.as_str()),
                    None => ("Pod", key.name.as_str()),
                };
                format!("{}/{name}", key.namespace).contains(part)
                    || format!("{kind} {name}").to_lowercase().contains(part)
            })
    }

    fn shows(&self, group: &Group) -> bool {
        let since = self.since.map_or(0, |since| since.timestamp());
        if self.since.is_some() && group.last_change < since {
            return false;
        }
        match self.show {
            None => true,
            Some(Show::AtRisk) => group.at_risk > 0,
            Some(Show::Changed) => group.last_change > 0,
            Some(Show::HeldBack) => group.held,
        }
    }

    /// Whether all need to be summed up before the page is known.
    fn goes_by_sums(&self) -> bool {
        let by_sums = |sort| !matches!(sort, Sort::Name | Sort::Replicas | Sort::LastChange);
        self.sort.is_some_and(by_sums) || matches!(self.show, Some(Show::AtRisk | Show::HeldBack))
    }

    fn order(&self, a: &Group, b: &Group) -> Ordering {
        let value = |group: &Group| match self.sort.unwrap_or_default() {
            Sort::Name => 0.0,
            Sort::Replicas => group.pods.len() as f64,
            Sort::Cpu => group.used.cpu,
            Sort::Memory => group.used.memory,
            Sort::SavedCpu => group.saved(Resource::Cpu),
            Sort::SavedMemory => group.saved(Resource::Memory),
            Sort::LastChange => group.last_change as f64,
            Sort::Kills => (group.kills as i64 + group.restarts) as f64,
            Sort::AtRisk => group.at_risk as f64,
        };
        let by_name = (a.namespace, a.name(), a.kind()).cmp(&(b.namespace, b.name(), b.kind()));
        let ordering = value(a).total_cmp(&value(b));
        match (self.sort.unwrap_or_default(), self.order) {
            (Sort::Name, Some(Order::Desc)) => by_name.reverse(),
            (_, Some(Order::Desc)) => ordering.reverse().then(by_name),
            _ => ordering.then(by_name),
        }
    }
}

/// A page of the workloads, each with its pods summed up and what was done last
#[utoipa::path(
    get, path = "/workloads/overview", tag = "pods", params(RowQuery),
    responses((status = 200, body = RowsAnswer), BadRequest, NoCluster)
)]
pub async fn list(
    State(state): SharedState,
    Query(query): Query<RowQuery>,
) -> Result<Json<RowsAnswer>, ApiError> {
    let (settings, pods) = (state.config().settings(), cluster(&state)?.known_pods(None));
    let now = state.clock.now();
    let (offset, limit) = (query.offset.unwrap_or(0), query.limit.unwrap_or(DEFAULT_PAGE));
    let (total, found, workloads) = run_blocking(|| {
        let scaler = &state.scaler;
        let sum_up = |groups: &mut [Group]| sum_up(groups, scaler, &settings, now.timestamp());
        let mut groups = grouped(&pods);
        let total = groups.len();
        groups.retain(|group| query.takes(group.pods[0]));
        note_events(&mut groups, scaler);
        if query.goes_by_sums() {
            sum_up(&mut groups);
        }
        groups.retain(|group| query.shows(group));
        groups.sort_by(|a, b| query.order(a, b));
        let found = groups.len();
        let mut page: Vec<_> = groups.into_iter().skip(offset).take(limit).collect();
        if !query.goes_by_sums() {
            sum_up(&mut page);
        }
        (total, found, page.iter().map(|group| shown(group, scaler, &settings)).collect::<Vec<_>>())
    });
    let (count, timestamp) = (workloads.len(), rfc3339(now));
    Ok(Json(RowsAnswer { success: true, total, found, offset, count, workloads, timestamp }))
}

type Key<'a> = (&'a str, Option<&'a Shared<Owner>>, &'a str);

fn key(owned: &OwnedPod) -> Key<'_> {
    let key = &owned.pod.key;
    let pod = if owned.workload.is_none() { key.name.as_str() } else { "" };
    (&key.namespace, owned.workload.as_ref(), pod)
}

/// One for each workload, in the time of one way through the pods.
fn grouped(pods: &[OwnedPod]) -> Vec<Group<'_>> {
    let mut groups: HashMap<Key, Group> = HashMap::new();
    for owned in pods {
        let group = groups.entry(key(owned)).or_insert_with(|| Group {
            namespace: &owned.pod.key.namespace,
            owner: owned.workload.as_ref(),
            pods: Vec::new(),
            now: Sums::default(),
            template: Sums::default(),
            needed: Sums::default(),
            used: PerResource::default(),
            measured: false,
            restarts: 0,
            at_risk: 0,
            held: false,
            kills: 0,
            last_change: 0,
        });
        group.pods.push(owned);
    }
    groups.into_values().collect()
}

/// What the pods of each come to, which takes a while for all pods of a large cluster.
fn sum_up(groups: &mut [Group], scaler: &Scaler, settings: &Settings, now: i64) {
    for group in &mut *groups {
        for owned in &group.pods {
            let latest = scaler.pod_status.latest(&owned.pod.key);
            if let Some((_, used)) = latest.as_ref().and_then(|latest| latest.measured) {
                group.measured = true;
                for resource in Resource::ALL {
                    group.used[resource] += used[resource];
                }
            }
            let restarts = owned.pod.states.iter().map(|state| i64::from(state.restarts));
            group.restarts += restarts.sum::<i64>();
            if is_monitored(owned, &settings.exclusions) {
                group.at_risk += risks::of(owned, latest.as_ref(), now).len();
            }
            group.held |= current_block(owned, settings).is_some();
        }
    }
    scaler.agent().with_templates(settings.dry_run, |known| {
        for group in groups {
            for owned in &group.pods {
                let own = Sums { request: owned.pod.request(), limit: owned.pod.limit() };
                let policy = own_policy(owned, &settings.policy).ok().flatten();
                let policy = policy.as_deref().unwrap_or(&settings.policy);
                let (template, needed) = known(owned, policy).unwrap_or((own, own));
                group.now.add(&own);
                group.template.add(&template);
                group.needed.add(&needed);
            }
        }
    });
}

/// When each was changed last, and how often its containers were killed.
fn note_events(groups: &mut [Group], scaler: &Scaler) {
    let mut last: HashMap<_, i64> = HashMap::new();
    for record in scaler.changes.lock().iter() {
        let pod = if record.workload.is_none() { record.pod.name.clone() } else { String::new() };
        let key = (record.pod.namespace.clone(), record.workload.clone(), pod);
        last.insert(key, record.at.timestamp());
    }
    let mut kills: HashMap<_, usize> = HashMap::new();
    for kill in scaler.outcomes.kills(|_| true) {
        let pod = if kill.workload.is_none() { kill.pod.name.clone() } else { String::new() };
        *kills.entry((kill.pod.namespace.clone(), kill.workload, pod)).or_default() += 1;
    }
    if !last.is_empty() || !kills.is_empty() {
        for group in groups {
            let key = group.key();
            group.last_change = last.get(&key).copied().unwrap_or_default();
            group.kills = kills.get(&key).copied().unwrap_or_default();
        }
    }
}

fn shown(group: &Group, scaler: &Scaler, settings: &Settings) -> WorkloadRow {
    let (namespace, owner, pod) = group.key();
    let last = scaler.changes.lock().newest(|record| {
        record.pod.namespace == namespace
            && record.workload == owner
            && (owner.is_some() || record.pod.name == pod)
    });
    let monitored =
        group.pods.iter().filter(|owned| is_monitored(owned, &settings.exclusions)).count();
    WorkloadRow {
        kind: group.kind().to_owned(),
        name: group.name().to_owned(),
        replicas: group.pods.len(),
        monitored,
        template: RowSums::of(&group.template),
        now: RowSums::of(&group.now),
        needed: RowSums::of(&group.needed),
        used: RowUsed {
            cpu_cores: group.measured.then(|| rounded(group.used.cpu)),
            memory_mb: group.measured.then(|| rounded(group.used.memory)),
        },
        saved: RowUse::of(&PerResource::build(|resource| group.saved(resource))),
        last_change: last.as_deref().map(RowChange::of),
        restarts: group.restarts,
        kills: group.kills,
        at_risk: group.at_risk,
        held_back: group.pods.iter().find_map(|owned| held_back(owned, scaler, settings)),
        namespace,
    }
}

fn held_back(owned: &OwnedPod, scaler: &Scaler, settings: &Settings) -> Option<String> {
    if let Some(block) = current_block(owned, settings) {
        return Some(block);
    }
    let latest = scaler.pod_status.latest(&owned.pod.key)?;
    let decided = latest.last.decided?;
    let held = Resource::ALL
        .iter()
        .any(|resource| decided.predicted[*resource] != decided.actions[*resource]);
    held.then(|| in_short(&latest.last, None))
}
