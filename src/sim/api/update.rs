//! Updates and patches of objects and of their subresources.

use axum::Json;
use axum::body::Bytes;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::edit::{self, Edit};
use super::form::Form;
use super::request::Call;
use super::{read, schema};
use crate::sim::denial::Operation;
use crate::sim::json::{self, set};
use crate::sim::manager::Manager;
use crate::sim::resources::Resource;
use crate::sim::simulation::Simulation;
use crate::sim::status::{ApiError, FieldError};
use crate::sim::store::Key;
use crate::sim::validation;
use crate::sim::world::{ServerVersion, World};

pub fn update(
    simulation: &Simulation,
    call: &Call,
    resource: Resource,
) -> Result<Response, ApiError> {
    let dry_run = call.parameters.is_dry_run()?;
    let edit = Edit::of(call)?;
    let key = call.target.key();
    let mut world = simulation.world();
    let old = world.store.value(resource, &key).ok_or_else(|| call.not_found(resource))?;
    let new = edit.decoded(resource, &old)?;
    let form = Form::of(call, resource, world.date(world.now));
    let agent = call.header(header::USER_AGENT);
    let manager = Manager::new(&call.parameters.field_manager, agent, &call.target.subresource);
    let stored = match call.target.subresource.as_str() {
        "resize" => resize(&mut world, &key, new, &manager, dry_run)?,
        "" if resource == Resource::Pods && resizes_in_alpha(world.version, &old, &new) => {
            resize(&mut world, &key, new, &manager, dry_run)?
        }
        "" => {
            let new = checked(resource, &old, new)?;
            world.review(Operation::Update, resource, &new)?;
            store(&mut world, resource, &key, &old, new, dry_run)
        }
        _ => store(&mut world, resource, &key, &old, with_status_of(&new, &old), dry_run),
    };
    drop(world);
    Ok(read::one(form, &stored, StatusCode::OK))
}

/// Before there was `/resize`, a patch of the pod itself could change its resources.
fn resizes_in_alpha(version: ServerVersion, old: &Value, new: &Value) -> bool {
    let with_old_resources = || {
        let mut new = new.clone();
        for kind in ["containers", "initContainers"] {
            let resources =
                json::items(old, &format!("/spec/{kind}")).iter().map(|c| c["resources"].clone());
            let containers =
                new["spec"].get_mut(kind).and_then(Value::as_array_mut).into_iter().flatten();
            containers
                .zip(resources)
                .for_each(|(container, resources)| container["resources"] = resources);
        }
        new
    };
    version == ServerVersion::V1_27
        && !validation::pod_update(old, new).is_empty()
        && validation::pod_update(old, &with_old_resources()).is_empty()
}

fn resize(
    world: &mut World,
    key: &Key,
    new: Value,
    manager: &Manager,
    dry_run: bool,
) -> Result<Bytes, ApiError> {
    if dry_run {
        return world.resized_pod(key, &new).map(|pod| edit::unstored(&pod));
    }
    world.resize_pod(key, new, manager).map(|stored| stored.json.clone())
}

/// An update of an object as a whole leaves its status as it is.
fn checked(resource: Resource, old: &Value, new: Value) -> Result<Value, ApiError> {
    let mut new = with_status_of(old, &new);
    let mut errors = validation::metadata_update(old, &new);
    errors.extend(schema::validate(resource, &new, Some(old)));
    if !errors.is_empty() {
        return Err(ApiError::invalid(resource, json::text(old, "/metadata/name"), &errors));
    }
    if let Some(generation) =
        json::number(old, "/metadata/generation").filter(|_| new["spec"] != old["spec"])
    {
        set(&mut new, &["metadata"], "generation", generation + 1);
    }
    Ok(new)
}

/// `object` with another's status.
fn with_status_of(other: &Value, object: &Value) -> Value {
    let mut object = object.clone();
    match other.get("status") {
        Some(status) => set(&mut object, &[], "status", status.clone()),
        None => drop(json::object(&mut object, &[]).shift_remove("status")),
    }
    object
}

/// What changes nothing is not stored: no watch hears of it.
fn store(
    world: &mut World,
    resource: Resource,
    key: &Key,
    old: &Value,
    new: Value,
    dry_run: bool,
) -> Bytes {
    if dry_run || new == *old {
        return edit::unstored(&new);
    }
    if let Some(node) = world.nodes.get_mut(&key.name).filter(|_| resource == Resource::Nodes) {
        node.unschedulable = new["spec"]["unschedulable"] == true;
        node.labels =
            json::labels(&new).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    }
    let stored = world.store.put(resource, new);
    world.reconcile_soon(resource, key);
    stored.json.clone()
}

/// `autoscaling/v1 Scale`
pub fn scale(
    simulation: &Simulation,
    call: &Call,
    resource: Resource,
) -> Result<Response, ApiError> {
    let object = simulation.world().store.value(resource, &call.target.key());
    Ok(Json(scale_of(&object.ok_or_else(|| call.not_found(resource))?)).into_response())
}

pub fn rescale(
    simulation: &Simulation,
    call: &Call,
    resource: Resource,
) -> Result<Response, ApiError> {
    let dry_run = call.parameters.is_dry_run()?;
    let edit = Edit::of(call)?;
    let key = call.target.key();
    let mut world = simulation.world();
    let old = world.store.value(resource, &key).ok_or_else(|| call.not_found(resource))?;
    let scale = edit.applied(resource, &scale_of(&old))?;
    let replicas = json::number(&scale, "/spec/replicas").ok_or_else(|| {
        let invalid = FieldError::invalid(
            "spec.replicas",
            &scale["spec"]["replicas"].to_string(),
            "must be an integer",
        );
        ApiError::invalid(resource, &key.name, &[invalid])
    })?;
    let mut new = old.clone();
    set(&mut new, &["spec"], "replicas", replicas);
    let stored = store(&mut world, resource, &key, &old, checked(resource, &old, new)?, dry_run);
    let stored: Value = serde_json::from_slice(&stored).unwrap_or_default();
    Ok(Json(scale_of(&stored)).into_response())
}

fn scale_of(object: &Value) -> Value {
    let mut metadata = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        metadata[field] = object["metadata"][field].clone();
    }
    let labels = object.pointer("/spec/selector/matchLabels").and_then(Value::as_object);
    let labels = labels
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()));
    let replicas =
        |pointer: &str, otherwise: i64| json::number(object, pointer).unwrap_or(otherwise);
    json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": { "replicas": replicas("/spec/replicas", 1) },
        "status": {
            "replicas": replicas("/status/replicas", 0),
            "selector": labels.collect::<Vec<_>>().join(","),
        },
    })
}
