//! Objects of custom kinds: kept as they are given, without watches.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::form;
use super::request::Call;
use crate::sim::custom::CustomKind;
use crate::sim::json::{self, set};
use crate::sim::patch::PatchType;
use crate::sim::simulation::Simulation;
use crate::sim::status::ApiError;
use crate::sim::store::Key;
use crate::sim::world::World;

/// Server-side apply.
const APPLY: &str = "application/apply-patch+yaml";

pub fn answer(
    simulation: &Simulation,
    call: &Call,
    kind: &CustomKind,
) -> Result<Response, ApiError> {
    let target = &call.target;
    if !target.subresource.is_empty() {
        return Err(ApiError::no_resource());
    }
    let mut world = simulation.world();
    match target.verb {
        "get" => found(&world, call, kind).map(|object| shown(call, &object, StatusCode::OK)),
        "list" => Ok(list(&world, call, kind)),
        "create" => create(&mut world, call, kind),
        "patch" if call.header(header::CONTENT_TYPE).starts_with(APPLY) => {
            apply(&mut world, call, kind)
        }
        "update" | "patch" if !target.name.is_empty() => update(&mut world, call, kind),
        "delete" => {
            let object = found(&world, call, kind)?;
            world.custom.remove(kind, &target.key());
            world.release_owned(json::text(&object, "/metadata/uid"), false);
            Ok(shown(call, &object, StatusCode::OK))
        }
        _ => Err(ApiError::method_not_allowed()),
    }
}

fn found(world: &World, call: &Call, kind: &CustomKind) -> Result<Value, ApiError> {
    world.custom.get(kind, &call.target.key()).cloned().ok_or_else(|| {
        let (plural, group, name) = (&kind.plural, &kind.group, &call.target.name);
        let message = format!("{plural}.{group} {name:?} not found");
        let details = json!({ "name": name, "group": group, "kind": plural });
        ApiError { details: Some(Box::new(details)), ..ApiError::new(404, "NotFound", message) }
    })
}

/// An object, or its metadata if the client wants no more.
fn shown(call: &Call, object: &Value, code: StatusCode) -> Response {
    let object = if wants_metadata(call) { form::metadata(object) } else { object.clone() };
    (code, Json(object)).into_response()
}

fn wants_metadata(call: &Call) -> bool {
    call.header(header::ACCEPT).contains("as=PartialObjectMetadata")
}

fn list(world: &World, call: &Call, kind: &CustomKind) -> Response {
    let objects = world.custom.range(kind, call.target.within());
    let version = json!({ "resourceVersion": world.store.version().to_string() });
    let list = if wants_metadata(call) {
        let items: Vec<Value> = objects.map(form::metadata).collect();
        json!({
            "kind": "PartialObjectMetadataList", "apiVersion": form::META, "metadata": version,
            "items": items,
        })
    } else {
        let items: Vec<&Value> = objects.collect();
        json!({
            "kind": format!("{}List", kind.kind), "apiVersion": kind.api_version(),
            "metadata": version, "items": items,
        })
    };
    Json(list).into_response()
}

fn create(world: &mut World, call: &Call, kind: &CustomKind) -> Result<Response, ApiError> {
    let mut object = call.json()?;
    set(&mut object, &[], "kind", kind.kind.as_str());
    set(&mut object, &[], "apiVersion", kind.api_version());
    set(&mut object, &["metadata"], "namespace", call.target.namespace.as_str());
    let key = Key::of(&object);
    if world.custom.get(kind, &key).is_some() {
        let message = format!("{}.{} {:?} already exists", kind.plural, kind.group, key.name);
        return Err(ApiError::new(409, "AlreadyExists", message));
    }
    world.identify(&mut object);
    set(&mut object, &["metadata"], "resourceVersion", world.store.next_version().to_string());
    world.custom.put(kind, object.clone());
    Ok(shown(call, &object, StatusCode::CREATED))
}

/// All that is applied is taken for all that there is, as where one manager writes alone.
fn apply(world: &mut World, call: &Call, kind: &CustomKind) -> Result<Response, ApiError> {
    let mut object = call.parsed()?;
    set(&mut object, &["metadata"], "name", call.target.name.as_str());
    set(&mut object, &["metadata"], "namespace", call.target.namespace.as_str());
    match found(world, call, kind) {
        Ok(old) => {
            for field in ["uid", "creationTimestamp"] {
                set(&mut object, &["metadata"], field, old["metadata"][field].clone());
            }
        }
        Err(_) => world.identify(&mut object),
    }
    set(&mut object, &["metadata"], "resourceVersion", world.store.next_version().to_string());
    world.custom.put(kind, object.clone());
    Ok(shown(call, &object, StatusCode::OK))
}

fn update(world: &mut World, call: &Call, kind: &CustomKind) -> Result<Response, ApiError> {
    let old = found(world, call, kind)?;
    let mut object = if call.target.verb == "patch" {
        let patch_type = PatchType::of(call.header(header::CONTENT_TYPE))?;
        let mut object = old.clone();
        patch_type.apply(&mut object, &call.parsed()?)?;
        object
    } else {
        call.json()?
    };
    for field in ["name", "namespace", "uid", "creationTimestamp"] {
        set(&mut object, &["metadata"], field, old["metadata"][field].clone());
    }
    set(&mut object, &["metadata"], "resourceVersion", world.store.next_version().to_string());
    world.custom.put(kind, object.clone());
    Ok(shown(call, &object, StatusCode::OK))
}
