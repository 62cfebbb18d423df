//! Creating objects.

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::form::Form;
use super::request::Call;
use super::{edit, read, schema};
use crate::sim::denial::Operation;
use crate::sim::json::{self, set};
use crate::sim::limit_range;
use crate::sim::resources::Resource;
use crate::sim::simulation::Simulation;
use crate::sim::status::ApiError;
use crate::sim::store::Key;
use crate::sim::world::World;

pub fn create(
    simulation: &Simulation,
    call: &Call,
    resource: Resource,
) -> Result<Response, ApiError> {
    let dry_run = call.parameters.is_dry_run()?;
    let mut object = call.json()?;
    schema::decode(resource, &mut object)
        .map_err(|problem| edit::not_handled(resource, &problem))?;
    place(&mut object, &call.target.namespace, resource)?;
    let mut world = simulation.world();
    name(&mut world, &mut object);
    let key = Key::of(&object);
    let errors = schema::validate(resource, &object, None);
    if !errors.is_empty() {
        return Err(ApiError::invalid(resource, &key.name, &errors));
    }
    if resource.describe().namespaced
        && world.store.get(Resource::Namespaces, &Key::new("", &key.namespace)).is_none()
    {
        return Err(ApiError::not_found(Resource::Namespaces, &key.namespace));
    }
    if world.store.get(resource, &key).is_some() {
        return Err(ApiError::already_exists(resource, &key.name));
    }
    match resource {
        Resource::Pods => world.admit_pod(&mut object)?,
        _ => world.review(Operation::Create, resource, &object)?,
    }
    let form = Form::of(call, resource, world.date(world.now));
    let stored = if dry_run {
        world.identify(&mut object);
        edit::unstored(&object)
    } else {
        store(&mut world, resource, &key, object);
        world
            .store
            .get(resource, &key)
            .map(|stored| stored.json.clone())
            .ok_or_else(|| call.not_found(resource))?
    };
    drop(world);
    Ok(read::one(form, &stored, StatusCode::CREATED))
}

fn store(world: &mut World, resource: Resource, key: &Key, mut object: Value) {
    if resource == Resource::Pods {
        world.add_pod(object);
        return;
    }
    world.identify(&mut object);
    match resource {
        Resource::Namespaces => {
            set(
                &mut object,
                &["metadata", "labels"],
                "kubernetes.io/metadata.name",
                key.name.as_str(),
            );
            object["spec"] = json!({ "finalizers": ["kubernetes"] });
            object["status"] = json!({ "phase": "Active" });
        }
        Resource::LimitRanges => limit_range::default_range(&mut object),
        resource if schema::is_workload(resource) => {
            if resource != Resource::DaemonSets {
                json::object(&mut object, &["spec"]).entry("replicas").or_insert(1.into());
            }
            set(&mut object, &["metadata"], "generation", 1);
            object["status"] = json!({});
        }
        _ => {}
    }
    world.store.put(resource, object);
    world.reconcile_soon(resource, key);
}

/// An object is created in the namespace that the request names.
fn place(object: &mut Value, namespace: &str, resource: Resource) -> Result<(), ApiError> {
    if !json::text(object, "/metadata/resourceVersion").is_empty() {
        return Err(ApiError::bad_request(
            "resourceVersion should not be set on objects to be created",
        ));
    }
    if resource.describe().namespaced {
        if !["", namespace].contains(&json::text(object, "/metadata/namespace")) {
            let message = "the namespace of the provided object does not match the namespace sent \
                on the request";
            return Err(ApiError::bad_request(message));
        }
        set(object, &["metadata"], "namespace", namespace);
    }
    Ok(())
}

fn name(world: &mut World, object: &mut Value) {
    let prefix = json::text(object, "/metadata/generateName").to_owned();
    if json::text(object, "/metadata/name").is_empty() && !prefix.is_empty() {
        let name = prefix + &world.name_suffix(5);
        set(object, &["metadata"], "name", name);
    }
}
