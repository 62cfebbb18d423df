//! Deletion, and eviction.

use axum::Json;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::form::Form;
use super::read;
use super::request::Call;
use crate::sim::resources::{ALL, Resource};
use crate::sim::simulation::Simulation;
use crate::sim::status::ApiError;
use crate::sim::store::{Key, Object};
use crate::sim::world::World;

/// `DeleteOptions` of `meta/v1`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Options {
    grace_period_seconds: Option<i64>,
    preconditions: Preconditions,
    propagation_policy: Option<String>,
    orphan_dependents: Option<bool>,
    dry_run: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Preconditions {
    uid: Option<String>,
    resource_version: Option<String>,
}

impl Options {
    /// Of the body, and of the query for what the body does not say.
    fn of(call: &Call, body: Value) -> Result<Self, ApiError> {
        let parameters = &call.parameters;
        let mut options: Self = match body {
            Value::Null => Self::default(),
            body => serde_json::from_value(body).map_err(|error| {
                ApiError::bad_request(format!(
                    "DeleteOptions in version \"v1\" cannot be handled: {error}"
                ))
            })?,
        };
        options.grace_period_seconds =
            options.grace_period_seconds.or(parameters.grace_period_seconds);
        let policy =
            Some(parameters.propagation_policy.clone()).filter(|policy| !policy.is_empty());
        options.propagation_policy = options.propagation_policy.or(policy);
        if parameters.is_dry_run()? {
            options.dry_run.push("All".to_owned());
        }
        Ok(options)
    }

    fn of_body(call: &Call) -> Result<Self, ApiError> {
        let body = if call.body.is_empty() { Value::Null } else { call.json()? };
        Self::of(call, body)
    }

    fn check(&self, resource: Resource, object: &Object) -> Result<(), ApiError> {
        let name = &object.key.name;
        let version = object.version.to_string();
        let Preconditions { uid, resource_version } = &self.preconditions;
        for (what, wanted, actual) in
            [("UID", uid, object.uid()), ("ResourceVersion", resource_version, version.as_str())]
        {
            if let Some(wanted) = wanted.as_ref().filter(|wanted| *wanted != actual) {
                let why = format!(
                    "Precondition failed: {what} in precondition: {wanted}, {what} in object meta: \
                        {actual}"
                );
                return Err(ApiError::conflict(resource, name, &why));
            }
        }
        Ok(())
    }

    fn orphans(&self) -> bool {
        self.orphan_dependents == Some(true) || self.propagation_policy.as_deref() == Some("Orphan")
    }
}

pub fn delete(
    simulation: &Simulation,
    call: &Call,
    resource: Resource,
) -> Result<Response, ApiError> {
    let options = Options::of_body(call)?;
    let key = call.target.key();
    let mut world = simulation.world();
    let object =
        world.store.get(resource, &key).cloned().ok_or_else(|| call.not_found(resource))?;
    options.check(resource, &object)?;
    let form = Form::of(call, resource, world.date(world.now));
    let left = remove(&mut world, resource, &key, &options);
    drop(world);
    if resource == Resource::Pods {
        // Its containers are still to stop.
        return Ok(read::one(form, &left.unwrap_or_else(|| object.json.clone()), StatusCode::OK));
    }
    let known = resource.describe();
    Ok(success(
        json!({
            "name": key.name, "group": known.group, "kind": known.plural, "uid": object.uid(),
        }),
        StatusCode::OK,
    ))
}

pub fn delete_all(
    simulation: &Simulation,
    call: &Call,
    resource: Resource,
) -> Result<Response, ApiError> {
    let options = Options::of_body(call)?;
    let selector = call.parameters.selector()?;
    let mut world = simulation.world();
    let objects = world.store.range(resource, call.target.within(), None);
    let objects: Vec<_> = objects.filter(|object| selector.matches(object)).cloned().collect();
    for object in &objects {
        remove(&mut world, resource, &object.key, &options);
    }
    let (form, version) = (Form::of(call, resource, world.date(world.now)), world.store.version());
    drop(world);
    Ok(form.list(objects, version, ""))
}

/// There are no disruption budgets here: every eviction is a deletion.
pub fn evict(simulation: &Simulation, call: &Call) -> Result<Response, ApiError> {
    let mut eviction = call.json()?;
    let options = Options::of(call, eviction["deleteOptions"].take())?;
    let key = call.target.key();
    let mut world = simulation.world();
    let object = world
        .store
        .get(Resource::Pods, &key)
        .cloned()
        .ok_or_else(|| call.not_found(Resource::Pods))?;
    options.check(Resource::Pods, &object)?;
    remove(&mut world, Resource::Pods, &key, &options);
    Ok(success(Value::Null, StatusCode::CREATED))
}

/// Deletes an object in the way of its kind. What is left of it for the time being is returned.
fn remove(world: &mut World, resource: Resource, key: &Key, options: &Options) -> Option<Bytes> {
    if options.dry_run.is_empty() {
        match resource {
            Resource::Pods => world.delete_pod(key, options.grace_period_seconds),
            Resource::Namespaces => remove_namespace(world, key),
            Resource::Nodes => remove_node(world, key),
            _ => world.delete_owner(resource, key, options.orphans()),
        }
    }
    world.store.get(resource, key).map(|object| object.json.clone())
}

/// Workloads go before their pods, or they would make new ones.
fn remove_namespace(world: &mut World, namespace: &Key) {
    let inside = ALL.iter().filter(|known| known.namespaced).map(|known| known.resource);
    let (pods, others): (Vec<_>, Vec<_>) = inside.partition(|resource| *resource == Resource::Pods);
    for resource in others.into_iter().chain(pods) {
        let keys: Vec<Key> = world
            .store
            .range(resource, Some(&namespace.name), None)
            .map(|object| object.key.clone())
            .collect();
        for key in keys {
            match resource {
                Resource::Pods => world.delete_pod(&key, Some(0)),
                _ => world.delete_owner(resource, &key, true),
            }
        }
    }
    world.store.remove(Resource::Namespaces, namespace);
}

/// The pods of a node that is gone are gone with it.
fn remove_node(world: &mut World, node: &Key) {
    let pods: Vec<Key> =
        world.nodes.get(&node.name).into_iter().flat_map(|node| &node.pods).cloned().collect();
    for pod in pods {
        world.delete_pod(&pod, Some(0));
    }
    world.nodes.remove(&node.name);
    world.node_usage.remove(&node.name);
    world.store.remove(Resource::Nodes, node);
}

fn success(details: Value, code: StatusCode) -> Response {
    let mut status =
        json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success" });
    if !details.is_null() {
        status["details"] = details;
    }
    if code == StatusCode::CREATED {
        status["code"] = code.as_u16().into();
    }
    (code, Json(status)).into_response()
}
