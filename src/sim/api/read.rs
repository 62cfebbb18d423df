//! Getting and listing objects.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::body::Bytes;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::form::Form;
use super::request::Call;
use crate::sim::resources::Resource;
use crate::sim::selector::Selector;
use crate::sim::simulation::Simulation;
use crate::sim::status::ApiError;
use crate::sim::store::{Key, Object, Store};

pub fn get(simulation: &Simulation, call: &Call, resource: Resource) -> Result<Response, ApiError> {
    let world = simulation.world();
    let object = world
        .store
        .get(resource, &call.target.key())
        .cloned()
        .ok_or_else(|| call.not_found(resource))?;
    let form = Form::of(call, resource, world.date(world.now));
    drop(world);
    Ok(one(form, &object.json, StatusCode::OK))
}

/// A response with one object.
pub fn one(form: Form, object: &Bytes, code: StatusCode) -> Response {
    (code, [(header::CONTENT_TYPE, "application/json")], form.object(object)).into_response()
}

pub fn list(
    simulation: &Simulation,
    call: &Call,
    resource: Resource,
) -> Result<Response, ApiError> {
    let selector = call.parameters.selector()?;
    let world = simulation.world();
    let form = Form::of(call, resource, world.date(world.now));
    let start = Start::of(call, world.store.version())?;
    let limit = Some(call.parameters.limit).filter(|limit| *limit > 0);
    let wanted = limit.map_or(usize::MAX, |limit| limit + 1);
    let mut objects =
        snapshot(&world.store, resource, call.target.within(), &selector, &start, wanted)
            .ok_or_else(|| start.too_old())?;
    drop(world);
    let mut continue_from = String::new();
    if let Some(limit) = limit.filter(|limit| objects.len() > *limit) {
        objects.truncate(limit);
        continue_from = objects.last().map(|last| start.token(&last.key)).unwrap_or_default();
    }
    Ok(form.list(objects, start.version, &continue_from))
}

/// Where a list begins: the version that it shows, and the object behind which this page starts.
struct Start {
    version: u64,
    after: Option<Key>,
}

impl Start {
    fn of(call: &Call, newest: u64) -> Result<Self, ApiError> {
        let parameters = &call.parameters;
        if !parameters.continue_from.is_empty() {
            return Self::from_token(&parameters.continue_from).ok_or_else(|| {
                ApiError::bad_request(
                    "continue key is not valid: it was not given out by this server",
                )
            });
        }
        let version = parameters.version()?;
        if let Some(version) = version.filter(|version| *version > newest) {
            let message = format!("Too large resource version: {version}, current: {newest}");
            return Err(ApiError {
                retry_after: Some(1),
                ..ApiError::new(504, "Timeout", message)
            });
        }
        let exact = version.filter(|_| parameters.resource_version_match == "Exact");
        Ok(Self { version: exact.unwrap_or(newest), after: None })
    }

    fn from_token(token: &str) -> Option<Self> {
        let (version, key) = token.split_once('/')?;
        let (namespace, name) = key.split_once('/')?;
        Some(Self { version: version.parse().ok()?, after: Some(Key::new(namespace, name)) })
    }

    fn token(&self, last: &Key) -> String {
        format!("{}/{}/{}", self.version, last.namespace, last.name)
    }

    fn too_old(&self) -> ApiError {
        ApiError::expired(match self.after {
            Some(_) => {
                "The provided continue parameter is too old to display a consistent list result. \
                 You must start a new list without the continue parameter."
                    .to_owned()
            }
            None => {
                format!("The resourceVersion for the provided list is too old: {}", self.version)
            }
        })
    }
}

/// The first `wanted` selected objects as they were at a version, or none if the history does not
/// reach back to it.
fn snapshot(
    store: &Store,
    resource: Resource,
    namespace: Option<&str>,
    selector: &Selector,
    start: &Start,
    wanted: usize,
) -> Option<Vec<Arc<Object>>> {
    // What has changed since then, as it was before.
    let mut before: HashMap<&Key, Option<&Arc<Object>>> = HashMap::new();
    for change in store.changes(resource, start.version)? {
        before.entry(&change.object.key).or_insert(change.previous.as_ref());
    }
    let selected = |object: &&Arc<Object>| selector.matches(object);
    let unchanged = store.range(resource, namespace, start.after.as_ref());
    let unchanged =
        unchanged.filter(|object| !before.contains_key(&object.key)).filter(selected).take(wanted);
    let on_page = |object: &&Arc<Object>| {
        namespace.is_none_or(|namespace| object.key.namespace == namespace)
            && start.after.as_ref().is_none_or(|after| object.key > *after)
    };
    let restored: BTreeMap<&Key, &Arc<Object>> = before
        .values()
        .flatten()
        .copied()
        .filter(on_page)
        .filter(selected)
        .map(|object| (&object.key, object))
        .collect();
    let mut objects: Vec<Arc<Object>> = unchanged.cloned().collect();
    if !restored.is_empty() {
        objects.extend(restored.into_values().cloned());
        objects.sort_by(|a, b| a.key.cmp(&b.key));
        objects.truncate(wanted);
    }
    Some(objects)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_shows_one_version_however_many_pages_it_takes() {
        let mut store = Store::new(100);
        let pod = |name: &str, app: &str| {
            json!({
                "metadata": { "namespace": "default", "name": name, "labels": { "app": app } },
            })
        };
        for name in ["a", "b", "c", "d"] {
            store.put(Resource::Pods, pod(name, "old"));
        }
        let start = Start { version: store.version(), after: Some(Key::new("default", "a")) };
        store.remove(Resource::Pods, &Key::new("default", "b"));
        store.put(Resource::Pods, pod("c", "new"));
        store.put(Resource::Pods, pod("cc", "new"));
        let page = |store: &Store, labels: &str| {
            let selector = Selector::parse(labels, "").unwrap();
            let objects = snapshot(store, Resource::Pods, Some("default"), &selector, &start, 2)?;
            Some(objects.iter().map(|object| object.key.name.clone()).collect::<Vec<_>>())
        };
        assert_eq!(page(&store, "").unwrap(), ["b", "c"]);
        assert_eq!(page(&store, "app=new").unwrap(), [""; 0]);
        store.compact();
        assert_eq!(page(&store, ""), None);
    }

    #[test]
    fn continue_tokens_survive_the_way_there_and_back() {
        let start = Start { version: 7, after: None };
        let again = Start::from_token(&start.token(&Key::new("shop", "web"))).unwrap();
        assert_eq!((again.version, again.after), (7, Some(Key::new("shop", "web"))));
        assert!(Start::from_token("nonsense").is_none());
    }
}
