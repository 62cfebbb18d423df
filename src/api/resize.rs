//! Resizing a pod to given values.

use std::collections::{BTreeMap, HashMap};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::error::{BadRequest, Busy, NoCluster, NoSuchPod};
use super::{ApiError, JsonObject, PodPath, Query, SharedState, cluster, finish};
use crate::client::retry::Deadline;
use crate::clock::rfc3339;
use crate::cluster::template::TemplateChange;
use crate::core::outcome::Method;
use crate::core::plan::{Change, Plan};
use crate::core::quantity;
use crate::scaler::Fallback;

/// What the pod's containers are to have; what is not named stays as it is.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "says what the body is, which is read field by field to name what is wrong"
)]
pub struct Wanted {
    /// By the name of the container.
    #[schema(example = json!({"postgres": {"limits": {"cpu": "2", "memory": "4Gi"}}}))]
    containers: BTreeMap<String, WantedResources>,
}

/// One of the two at least; requests must not be above limits.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "says what the body is")]
pub struct WantedResources {
    #[schema(nullable = false)]
    requests: Option<Quantities>,
    #[schema(nullable = false)]
    limits: Option<Quantities>,
}

/// Kubernetes quantities above 0.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "says what the body is")]
pub struct Quantities {
    /// Cores: `0.5`, `500m`.
    #[schema(
        nullable = false,
        pattern = "^[1-9][0-9]{0,5}(\\.[0-9]{1,3})?(m|k)?$",
        example = "500m"
    )]
    cpu: Option<String>,
    /// Bytes: `512Mi`, `1Gi`.
    #[schema(
        nullable = false,
        pattern = "^[1-9][0-9]{0,5}(\\.[0-9]{1,3})?(k|M|G|T|Ki|Mi|Gi|Ti)?$",
        example = "512Mi"
    )]
    memory: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct Resized {
    #[schema(example = "Successfully resized pod postgres-0 vertically")]
    message: String,
    #[schema(example = "postgres-0")]
    pod: String,
    #[schema(example = "data")]
    namespace: String,
    scaling_method: Method,
    details: ResizeDetails,
    #[schema(format = DateTime, example = "2026-11-25T10:30:00.000Z")]
    timestamp: String,
}

#[derive(Serialize, ToSchema)]
pub struct ResizeDetails {
    #[schema(example = "postgres-0")]
    pod_name: String,
    /// The workload whose template was changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    deployment_name: Option<String>,
    #[schema(example = "data")]
    namespace: String,
    /// As asked for.
    container_resources: Plan,
    /// Why the template was changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<&'static str>,
    /// What the kubelet had last said, if it was not done yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pending: Option<String>,
}

/// Give a pod the resources you name, in place
///
/// It is carried out in dry run too. What cannot be done in place goes into the template of the
/// pod's workload, unless that is switched off. What the API server or the kubelet refuse is a 400
/// that says why, and the pod keeps what it had.
#[utoipa::path(
    post, path = "/api/namespaces/{namespace}/pods/{pod_name}/resize", tag = "resize",
    params(
        PodPath,
        ("enable_horizontal_fallback" = Option<bool>, Query,
            description = "Whether the template may be changed: true if absent, false if anything other than `true`"),
    ),
    request_body = Wanted,
    responses((status = 200, body = Resized), BadRequest, NoSuchPod, Busy, NoCluster)
)]
pub async fn resize(
    State(state): SharedState,
    path: PodPath,
    Query(query): Query<HashMap<String, String>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Resized>, ApiError> {
    let cluster = cluster(&state)?;
    let plan = plan(&body)?;
    let may_fall_back = query
        .get("enable_horizontal_fallback")
        .is_none_or(|text| text.eq_ignore_ascii_case("true"));
    let owned = cluster.pod(&path.namespace, &path.name, Deadline::default()).await?;
    for name in plan.keys() {
        if !owned.pod.containers.iter().any(|container| *container.name == **name) {
            return Err(ApiError::bad_request(format!(
                "containers: the pod has no container {name:?}"
            )));
        }
    }
    let fallback =
        if may_fall_back { Fallback::Template(TemplateChange::AsGiven) } else { Fallback::None };
    let (plan, owned, applied) = finish(&state, |state| async move {
        let applied = state.scaler.resize(&cluster, &state.config(), &owned, &plan, fallback).await;
        (plan, owned, applied)
    })
    .await?;
    let busy =
        || ApiError::new(StatusCode::CONFLICT, "the pod is being resized by another request");
    let applied = applied.ok_or_else(busy)??;
    let workload = owned.workload.map(|workload| workload.name.clone()).unwrap_or_default();
    let updated = applied.method == Method::DeploymentUpdate;
    let message = match applied.method {
        Method::Vertical => format!("Successfully resized pod {} vertically", path.name),
        Method::DeploymentUpdate => format!("Successfully updated deployment {workload} resources"),
    };
    let details = ResizeDetails {
        pod_name: path.name.clone(),
        deployment_name: updated.then_some(workload),
        namespace: path.namespace.clone(),
        container_resources: plan,
        reason: updated.then_some("Direct vertical scaling failed, updated via deployment"),
        pending: applied.pending,
    };
    Ok(Json(Resized {
        message,
        pod: path.name,
        namespace: path.namespace,
        scaling_method: applied.method,
        details,
        timestamp: rfc3339(state.clock.now()),
    }))
}

fn plan(body: &Map<String, Value>) -> Result<Plan, ApiError> {
    let fault = || {
        ApiError::bad_request("containers: must be an object of containers with requests or limits")
    };
    let containers = body
        .get("containers")
        .and_then(Value::as_object)
        .filter(|c| !c.is_empty())
        .ok_or_else(fault)?;
    containers
        .iter()
        .map(|(name, resources)| Ok((name.clone(), change(name, resources)?)))
        .collect()
}

fn change(container: &str, resources: &Value) -> Result<Change, ApiError> {
    let at = |what: &str| ApiError::bad_request(format!("containers.{container}: {what}"));
    let fields = resources.as_object().ok_or_else(|| at("must be an object"))?;
    if let Some(unknown) = fields.keys().find(|key| *key != "requests" && *key != "limits") {
        return Err(at(&format!("{unknown:?} is neither requests nor limits")));
    }
    let quantities = |field: &str| -> Result<BTreeMap<String, String>, ApiError> {
        let Some(value) = fields.get(field) else { return Ok(BTreeMap::new()) };
        let pairs = value.as_object().ok_or_else(|| at(&format!("{field} must be an object")))?;
        let pair = |(resource, value): (&String, &Value)| {
            if resource != "cpu" && resource != "memory" {
                return Err(at(&format!("{field}: {resource:?} is neither cpu nor memory")));
            }
            let text = value
                .as_str()
                .ok_or_else(|| at(&format!("{field}.{resource} must be a string")))?;
            match quantity::cores(text) {
                Some(amount) if amount > 0.0 => Ok((resource.clone(), text.to_owned())),
                _ => Err(at(&format!("{field}.{resource}: {text:?} is not a quantity above 0"))),
            }
        };
        pairs.iter().map(pair).collect()
    };
    let change = Change { requests: quantities("requests")?, limits: quantities("limits")? };
    if change == Change::default() {
        return Err(at("names neither requests nor limits"));
    }
    for (resource, request) in &change.requests {
        if let Some(limit) = change.limits.get(resource)
            && quantity::cores(request) > quantity::cores(limit)
        {
            return Err(at(&format!("the request of {resource} is above its limit")));
        }
    }
    Ok(change)
}
