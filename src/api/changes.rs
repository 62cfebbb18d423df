//! What was done to pods: a page of the changes, or all that fit as a file.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::error::{ApiError, BadRequest};
use super::extract::{Query, SharedState};
use super::json::Json;
use super::{large, query};
use crate::blocking::run_blocking;
use crate::clock::{at, rfc3339};
use crate::core::change_record::{By, ChangeRecord, ContainerChange, Course, Size};
use crate::core::resource::Resource;

const DEFAULT_PAGE: usize = 50;
const LARGEST_PAGE: usize = 1000;

#[derive(Serialize, ToSchema)]
pub struct ChangesAnswer {
    #[schema(example = true)]
    success: bool,
    /// Changes that the query takes.
    found: usize,
    /// How many of those come before this page.
    offset: usize,
    /// Changes of this page.
    count: usize,
    /// Newest first.
    changes: Vec<ListedChange>,
    #[schema(format = DateTime, example = "2026-11-25T10:30:00.000Z")]
    timestamp: String,
}

/// All that fit, newest first.
#[derive(Serialize, ToSchema)]
pub struct ExportedChanges {
    #[schema(example = true)]
    success: bool,
    /// How many changes follow.
    count: usize,
    changes: Vec<ListedChange>,
}

#[derive(Serialize, ToSchema)]
pub struct ListedChange {
    #[schema(format = DateTime, example = "2026-11-25T10:30:00.000Z")]
    timestamp: String,
    /// When the cycle began that it is of, the same for all of one cycle.
    #[schema(required, format = DateTime, example = "2026-11-25T10:30:00.000Z")]
    cycle: Option<String>,
    #[schema(example = "data")]
    namespace: String,
    #[schema(example = "postgres-0")]
    pod_name: String,
    /// What stands behind the pod.
    #[schema(required, example = "StatefulSet postgres")]
    workload: Option<String>,
    by: By,
    /// The replica that made it.
    #[schema(example = "dqn-scaler-0_1a2b3c4d")]
    replica: String,
    /// How it went: undone is what a later change has given back.
    #[schema(example = "done")]
    course: CourseName,
    /// Until it was in force, where it is.
    #[schema(required, minimum = 0, example = 1.2)]
    seconds: Option<f64>,
    /// What else there is to say of how it went.
    #[schema(required, example = "deferred by the kubelet: the node has no room")]
    message: Option<String>,
    #[schema(required, format = DateTime, example = "2026-11-25T10:40:00.000Z")]
    undone_at: Option<String>,
    /// What changed, and why, in words.
    #[schema(example = "CPU 500m -> 600m: 92 % of the limit was in use")]
    what: String,
    containers: Vec<ListedContainerChange>,
}

/// How a change went.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CourseName {
    Done,
    /// The kubelet has accepted it and not done it yet.
    Pending,
    /// It went into the template of the workload.
    FellBack,
    Failed,
    Undone,
}

impl CourseName {
    fn of(record: &ChangeRecord) -> Self {
        match record.course {
            _ if record.undone_at.is_some() => Self::Undone,
            Course::Done(_) => Self::Done,
            Course::Pending => Self::Pending,
            Course::FellBack => Self::FellBack,
            Course::Failed => Self::Failed,
        }
    }
}

#[derive(Serialize, ToSchema)]
pub struct ListedContainerChange {
    #[schema(example = "postgres")]
    name: String,
    /// Null where it stays.
    #[schema(required)]
    cpu: Option<ListedResourceChange>,
    /// Null where it stays.
    #[schema(required)]
    memory: Option<ListedResourceChange>,
}

/// Cores or MiB; null where there is none.
#[derive(Serialize, ToSchema)]
pub struct ListedResourceChange {
    #[schema(required, minimum = 0, example = 0.25)]
    request_before: Option<f64>,
    #[schema(required, minimum = 0, example = 0.3)]
    request_after: Option<f64>,
    #[schema(required, minimum = 0, example = 0.5)]
    limit_before: Option<f64>,
    #[schema(required, minimum = 0, example = 0.6)]
    limit_after: Option<f64>,
    #[schema(example = "92 % of the limit was in use")]
    why: String,
}

impl ListedContainerChange {
    fn of(change: &ContainerChange) -> Self {
        let resource = |resource: Resource| {
            let why = change.why[resource].clone()?;
            let (before, after): (&Size, &Size) =
                (&change.before[resource], &change.after[resource]);
            Some(ListedResourceChange {
                request_before: before.request,
                request_after: after.request,
                limit_before: before.limit,
                limit_after: after.limit,
                why,
            })
        };
        let (cpu, memory) = (resource(Resource::Cpu), resource(Resource::Memory));
        Self { name: change.name.clone(), cpu, memory }
    }
}

/// Which changes are asked for: all that is named must hold.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ChangeFilter {
    /// A part of namespace/name of the pod, or of kind and name of its workload, in any case
    #[serde(default, deserialize_with = "query::search")]
    #[param(nullable = false, example = "postgres")]
    search: Option<String>,
    /// The pod's namespace
    #[serde(default, deserialize_with = "query::text")]
    #[param(nullable = false)]
    namespace: Option<String>,
    /// Who asked for it
    #[serde(default, deserialize_with = "query::choice")]
    #[param(nullable = false, example = "loop")]
    by: Option<By>,
    /// How it went
    #[serde(default, deserialize_with = "query::choice")]
    #[param(inline, nullable = false, example = "done")]
    course: Option<CourseName>,
    /// Not before this moment
    #[serde(default, deserialize_with = "query::moment")]
    #[param(value_type = String, format = DateTime, nullable = false,
        example = "2026-11-25T10:30:00Z")]
    from: Option<DateTime<Utc>>,
    /// Before this moment
    #[serde(default, deserialize_with = "query::moment")]
    #[param(value_type = String, format = DateTime, nullable = false,
        example = "2026-11-26T10:30:00Z")]
    to: Option<DateTime<Utc>>,
}

/// Which page of them.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ChangePage {
    /// Changes to leave out before the page
    #[serde(default, deserialize_with = "query::whole")]
    #[param(nullable = false, minimum = 0, example = 0)]
    offset: Option<usize>,
    /// Changes of a page: 50 if it is absent
    #[serde(default, deserialize_with = "query::page_size::<_, LARGEST_PAGE>")]
    #[param(nullable = false, minimum = 1, maximum = 1000, example = 50)]
    limit: Option<usize>,
}

/// As which file.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ChangeFile {
    /// The kind of the file: csv if it is absent
    #[serde(default, deserialize_with = "query::choice")]
    #[param(inline, nullable = false, example = "csv")]
    format: Option<Format>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Format {
    #[default]
    Csv,
    Json,
}

impl ChangeFilter {
    fn takes(&self, record: &ChangeRecord) -> bool {
        let key = &record.pod;
        self.namespace.as_ref().is_none_or(|namespace| &key.namespace == namespace)
            && self.by.is_none_or(|by| record.by == by)
            && self.course.is_none_or(|course| CourseName::of(record) == course)
            && self.from.is_none_or(|from| record.at >= from)
            && self.to.is_none_or(|to| record.at < to)
            && self.search.as_ref().is_none_or(|part| {
                let workload = record.workload.as_deref().unwrap_or_default();
                let pod = format!("{}/{}", key.namespace, key.name);
                pod.contains(part) || workload.to_lowercase().contains(part)
            })
    }
}

/// What was done to pods, newest first
#[utoipa::path(
    get, path = "/changes", tag = "monitoring", params(ChangeFilter, ChangePage),
    responses((status = 200, body = ChangesAnswer), BadRequest)
)]
pub async fn list(
    State(state): SharedState,
    Query(filter): Query<ChangeFilter>,
    Query(page): Query<ChangePage>,
) -> Result<Json<ChangesAnswer>, ApiError> {
    let (offset, limit) = (page.offset.unwrap_or(0), page.limit.unwrap_or(DEFAULT_PAGE));
    let (found, page) = run_blocking(|| {
        state.scaler.changes.lock().page(|record| filter.takes(record), offset, limit)
    });
    let changes: Vec<_> = page.iter().map(|record| shown(record)).collect();
    let (count, timestamp) = (changes.len(), rfc3339(state.clock.now()));
    Ok(Json(ChangesAnswer { success: true, found, offset, count, changes, timestamp }))
}

/// All changes that the query takes, as a file
#[utoipa::path(
    get, path = "/changes/export", tag = "monitoring", params(ChangeFilter, ChangeFile),
    responses(
        (status = 200, content(
            (String = "text/csv", example = "timestamp,cycle,namespace,pod,…"),
            (ExportedChanges = "application/json")
        )),
        BadRequest
    )
)]
pub async fn export(
    State(state): SharedState,
    Query(filter): Query<ChangeFilter>,
    Query(file): Query<ChangeFile>,
) -> Result<Response, ApiError> {
    let (_, records) = run_blocking(|| {
        let changes = state.scaler.changes.lock();
        changes.page(|record| filter.takes(record), 0, usize::MAX)
    });
    let (mut response, name) = match file.format.unwrap_or_default() {
        Format::Csv => {
            let text = run_blocking(|| csv(&records))?;
            (([(CONTENT_TYPE, "text/csv; charset=utf-8")], text).into_response(), "changes.csv")
        }
        Format::Json => {
            let count = records.len();
            let frame = ExportedChanges { success: true, count, changes: Vec::new() };
            (large::list(&frame, records, |record| shown(record))?, "changes.json")
        }
    };
    let disposition = format!("attachment; filename=\"{name}\"");
    let disposition = disposition.parse().map_err(|error| ApiError::internal(&error))?;
    response.headers_mut().insert(CONTENT_DISPOSITION, disposition);
    Ok(response)
}

fn shown(record: &ChangeRecord) -> ListedChange {
    ListedChange {
        timestamp: rfc3339(record.at),
        cycle: at(record.cycle),
        namespace: record.pod.namespace.clone(),
        pod_name: record.pod.name.clone(),
        workload: record.workload.clone(),
        by: record.by,
        replica: record.replica.clone(),
        course: CourseName::of(record),
        seconds: seconds(record),
        message: record.message.clone(),
        undone_at: record.undone_at.map(rfc3339),
        what: record.words(),
        containers: record.containers.iter().map(ListedContainerChange::of).collect(),
    }
}

fn seconds(record: &ChangeRecord) -> Option<f64> {
    if let Course::Done(seconds) = record.course {
        return Some((seconds * 10.0).round() / 10.0);
    }
    None
}

/// One line of a CSV file: one resource of one container. Cores and MiB.
#[derive(Serialize)]
struct Line<'a> {
    timestamp: String,
    cycle: Option<String>,
    namespace: &'a str,
    pod: &'a str,
    workload: Option<&'a str>,
    container: &'a str,
    resource: &'static str,
    request_before: Option<f64>,
    request_after: Option<f64>,
    limit_before: Option<f64>,
    limit_after: Option<f64>,
    why: &'a str,
    by: &'static str,
    replica: &'a str,
    course: &'static str,
    seconds: Option<f64>,
    message: Option<&'a str>,
    undone_at: Option<String>,
}

fn csv(records: &[Arc<ChangeRecord>]) -> Result<Vec<u8>, ApiError> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for record in records {
        for container in &record.containers {
            for resource in Resource::ALL {
                let Some(why) = &container.why[resource] else { continue };
                let (before, after) = (&container.before[resource], &container.after[resource]);
                let line = Line {
                    timestamp: rfc3339(record.at),
                    cycle: at(record.cycle),
                    namespace: &record.pod.namespace,
                    pod: &record.pod.name,
                    workload: record.workload.as_deref(),
                    container: &container.name,
                    resource: resource.name(),
                    request_before: before.request,
                    request_after: after.request,
                    limit_before: before.limit,
                    limit_after: after.limit,
                    why,
                    by: record.by.name(),
                    replica: &record.replica,
                    course: record.course_name(),
                    seconds: seconds(record),
                    message: record.message.as_deref(),
                    undone_at: record.undone_at.map(rfc3339),
                };
                writer.serialize(line).map_err(|error| ApiError::internal(&error))?;
            }
        }
    }
    writer.into_inner().map_err(|error| ApiError::internal(&error))
}
