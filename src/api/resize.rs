//! Resizing a pod to given values.

use std::collections::{BTreeMap, HashMap};

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::{ApiError, JsonObject, PodPath, SharedState, cluster, finish};
use crate::clock::rfc3339;
use crate::cluster::quantity;
use crate::cluster::retry::Deadline;
use crate::cluster::template::TemplateChange;
use crate::scaler::apply::Fallback;
use crate::scaler::outcome::Method;
use crate::scaler::plan::{Change, Plan};

pub async fn resize(
    State(state): SharedState,
    path: PodPath,
    Query(query): Query<HashMap<String, String>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, ApiError> {
    let cluster = cluster(&state)?;
    let plan = plan(&body)?;
    let may_fall_back = query.get("enable_horizontal_fallback").is_none_or(|text| text.eq_ignore_ascii_case("true"));
    let owned = cluster.pod(&path.namespace, &path.name, Deadline::default()).await?;
    for name in plan.keys() {
        if !owned.pod.containers.iter().any(|container| &container.name == name) {
            return Err(ApiError::bad_request(format!("containers: the pod has no container {name:?}")));
        }
    }
    let fallback = if may_fall_back { Fallback::Template(TemplateChange::AsGiven) } else { Fallback::None };
    let (plan, owned, applied) = finish(&state, |state| async move {
        let applied = state.scaler.resize(&cluster, &state.config(), &owned, &plan, fallback).await;
        (plan, owned, applied)
    })
    .await?;
    let busy = || ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the pod is being resized by another request");
    let applied = applied.ok_or_else(busy)??;
    let workload = owned.workload.as_ref().map(|workload| workload.name.as_str()).unwrap_or_default();
    let mut details = json!({"pod_name": path.name});
    let message = match applied.method {
        Method::Vertical => format!("Successfully resized pod {} vertically", path.name),
        Method::DeploymentUpdate => {
            details["deployment_name"] = workload.into();
            format!("Successfully updated deployment {workload} resources")
        }
    };
    details["namespace"] = json!(path.namespace);
    details["container_resources"] = json!(plan);
    if applied.method == Method::DeploymentUpdate {
        details["reason"] = "Direct vertical scaling failed, updated via deployment".into();
    }
    if let Some(pending) = applied.pending {
        details["pending"] = pending.into();
    }
    Ok(Json(json!({
        "message": message,
        "pod": path.name,
        "namespace": path.namespace,
        "scaling_method": applied.method.name(),
        "details": details,
        "timestamp": rfc3339(state.clock.now())
    })))
}

fn plan(body: &Map<String, Value>) -> Result<Plan, ApiError> {
    let fault = || ApiError::bad_request("containers: must be an object of containers with requests or limits");
    let containers = body.get("containers").and_then(Value::as_object).filter(|c| !c.is_empty()).ok_or_else(fault)?;
    containers.iter().map(|(name, resources)| Ok((name.clone(), change(name, resources)?))).collect()
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
            let text = value.as_str().ok_or_else(|| at(&format!("{field}.{resource} must be a string")))?;
            match quantity::parse(text) {
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
            && quantity::parse(request) > quantity::parse(limit)
        {
            return Err(at(&format!("the request of {resource} is above its limit")));
        }
    }
    Ok(change)
}
