//! Resizing a pod to given values.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::error::{ApiError, BadRequest, Busy, ForbiddenByCluster, NoCluster, NoSuchPod};
use super::extract::{JsonBody, PodPath, Query, SharedState};
use super::json::Json;
use super::work::{cluster, finish};
use crate::client::retry::Deadline;
use crate::clock::rfc3339;
use crate::cluster::template::TemplateChange;
use crate::core::outcome::Method;
use crate::core::plan::{Change, Plan};
use crate::core::pod::Pod;
use crate::core::quantity;
use crate::core::resource::Resource;
use crate::scaler::Fallback;

/// What the pod's containers are to have; what is not named stays as it is.
#[derive(Deserialize, ToSchema)]
pub struct Wanted {
    /// By the name of the container.
    #[serde(default)]
    #[schema(
        required,
        example = json!({"postgres": {"limits": {"cpu": "2", "memory": "4Gi"}}})
    )]
    containers: BTreeMap<String, WantedResources>,
}

/// One of the two at least; requests must not be above limits.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object with requests or limits")]
pub struct WantedResources {
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    requests: Option<Quantities>,
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    limits: Option<Quantities>,
}

/// Kubernetes quantities above 0.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object with cpu or memory")]
pub struct Quantities {
    /// Cores: `0.5`, `500m`.
    #[serde(default, deserialize_with = "given")]
    #[schema(
        value_type = String,
        pattern = "^[1-9][0-9]{0,5}(\\.[0-9]{1,3})?(m|k)?$",
        example = "500m"
    )]
    cpu: Option<Quantity>,
    /// Bytes: `512Mi`, `1Gi`.
    #[serde(default, deserialize_with = "given")]
    #[schema(
        value_type = String,
        pattern = "^[1-9][0-9]{0,5}(\\.[0-9]{1,3})?(k|M|G|T|Ki|Mi|Gi|Ti)?$",
        example = "512Mi"
    )]
    memory: Option<Quantity>,
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Quantity(String);

impl TryFrom<String> for Quantity {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match quantity::cores(&text) {
            Some(amount) if amount > 0.0 => Ok(Self(text)),
            _ => Err(format!("{text:?} is not a quantity above 0")),
        }
    }
}

/// A field that is there: null is none.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ResizeQuery {
    /// Whether the template may be changed: true if absent, false if anything other than `true`
    #[serde(default = "yes", deserialize_with = "is_true")]
    enable_horizontal_fallback: bool,
}

fn yes() -> bool {
    true
}

fn is_true<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(String::deserialize(deserializer)?.eq_ignore_ascii_case("true"))
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
    /// What the change brings about that may not be expected, such as a restart.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(example = json!(["app: by its resizePolicy a change of memory restarts it"]))]
    warnings: Vec<String>,
}

/// Give a pod the resources you name, in place
///
/// It is carried out in dry run too. What cannot be done in place goes into the template of the
/// pod's workload, unless that is switched off. What the API server or the kubelet refuse is told
/// with its reason, and the pod keeps what it had: 400 for what is invalid, 403 for what a quota,
/// a LimitRange or a policy forbids, 409 where the pod has been changed meanwhile.
#[utoipa::path(
    post, path = "/api/namespaces/{namespace}/pods/{pod_name}/resize", tag = "resize",
    params(PodPath, ResizeQuery),
    request_body = Wanted,
    responses(
        (status = 200, body = Resized),
        BadRequest, ForbiddenByCluster, NoSuchPod, Busy, NoCluster
    )
)]
pub async fn resize(
    State(state): SharedState,
    path: PodPath,
    Query(query): Query<ResizeQuery>,
    JsonBody(wanted): JsonBody<Wanted>,
) -> Result<Json<Resized>, ApiError> {
    let cluster = cluster(&state)?;
    let plan = wanted.plan()?;
    let owned = cluster.pod(&path.namespace, &path.name, Deadline::default()).await?;
    for name in plan.keys() {
        if !owned.pod.containers.iter().any(|container| *container.name == **name) {
            return Err(ApiError::bad_request(format!(
                "containers: the pod has no container {name:?}"
            )));
        }
    }
    let fallback = if query.enable_horizontal_fallback {
        Fallback::Template(TemplateChange::AsGiven)
    } else {
        Fallback::None
    };
    let warnings = restarts(&owned.pod, &plan);
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
        pending: applied.pending.map(|pending| pending.to_string()),
        warnings,
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

impl Wanted {
    fn plan(self) -> Result<Plan, ApiError> {
        if self.containers.is_empty() {
            let wanted = "must be an object of containers with requests or limits";
            return Err(ApiError::bad_request(format!("containers: {wanted}")));
        }
        let change = |(name, resources): (String, WantedResources)| {
            let fault = |what| ApiError::bad_request(format!("containers.{name}: {what}"));
            let change = resources.change().map_err(fault)?;
            Ok((name, change))
        };
        self.containers.into_iter().map(change).collect()
    }
}

impl WantedResources {
    fn change(self) -> Result<Change, String> {
        let quantities = |wanted: Option<Quantities>| wanted.unwrap_or_default().by_name();
        let change =
            Change { requests: quantities(self.requests), limits: quantities(self.limits) };
        if change == Change::default() {
            return Err("names neither requests nor limits".into());
        }
        for (part, wanted) in [("requests", &change.requests), ("limits", &change.limits)] {
            for resource in Resource::ALL {
                let Some(text) = wanted.get(resource.name()) else { continue };
                let most = quantity::MOST[resource];
                if quantity::amount(resource, text).is_none_or(|amount| amount > most) {
                    let name = resource.name();
                    return Err(format!("{part}.{name}: {text:?} is more than any node has"));
                }
            }
        }
        for (resource, request) in &change.requests {
            if let Some(limit) = change.limits.get(resource)
                && quantity::cores(request) > quantity::cores(limit)
            {
                return Err(format!("the request of {resource} is above its limit"));
            }
        }
        Ok(change)
    }
}

impl Quantities {
    fn by_name(self) -> BTreeMap<String, String> {
        let named = [("cpu", self.cpu), ("memory", self.memory)].into_iter();
        named.filter_map(|(name, quantity)| Some((name.to_owned(), quantity?.0))).collect()
    }
}

/// The containers that the plan restarts, by their `resizePolicy`.
fn restarts(pod: &Pod, plan: &Plan) -> Vec<String> {
    let mut warnings = Vec::new();
    for container in pod.containers.iter() {
        let Some(change) = plan.get(&*container.name) else { continue };
        for resource in Resource::ALL.into_iter().filter(|of| container.restarts[*of]) {
            let name = resource.name();
            let changed = |wanted: Option<&String>, now: Option<&String>| {
                let amount = |of: Option<&String>| quantity::cores(of?);
                wanted.is_some() && amount(wanted) != amount(now)
            };
            let now = &container.resources;
            if changed(change.limits.get(name), now.limits.get(name))
                || changed(change.requests.get(name), now.requests.get(name))
            {
                warnings.push(format!(
                    "{}: by its resizePolicy a change of {name} restarts it",
                    container.name
                ));
            }
        }
    }
    warnings
}
