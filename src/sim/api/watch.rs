//! Watches: a line of JSON for each change, for as long as the client listens.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::sync::watch::Receiver;
use tokio::time::Instant;

use super::form::Form;
use super::request::Call;
use crate::sim::json;
use crate::sim::resources::Resource;
use crate::sim::selector::Selector;
use crate::sim::simulation::Simulation;
use crate::sim::status::ApiError;
use crate::sim::store::{Action, Change, Object};
use crate::sim::world::ServerVersion;

/// How long a watch lasts whose client does not say.
const LONGEST: Duration = Duration::from_secs(45 * 60);

/// How often a client learns which version it has reached, if it asks for that.
const BOOKMARKS: Duration = Duration::from_secs(60);

/// Events that go out at once.
const BATCH: usize = 500;

struct Watch {
    simulation: Arc<Simulation>,
    resource: Resource,
    namespace: Option<String>,
    selector: Selector,
    form: Form,
    /// What there was at the beginning and is still to be sent.
    initial: std::vec::IntoIter<Arc<Object>>,
    /// The client asks to learn that the initial events are over.
    announce: bool,
    /// All changes up to this version have been sent.
    position: u64,
    changed: Receiver<()>,
    next_bookmark: Option<Instant>,
    ends: Instant,
    over: bool,
}

/// Answers 200 to whatever version is asked for, as the API server does: one that is too old is
/// reported in the stream.
pub fn watch(
    simulation: &Arc<Simulation>,
    call: &Call,
    resource: Resource,
) -> Result<Response, ApiError> {
    let parameters = &call.parameters;
    let selector = parameters.selector()?;
    let from = parameters.version()?;
    let world = simulation.world();
    if parameters.send_initial_events.is_some() {
        check_initial_events(world.version, &parameters.resource_version_match)?;
    }
    let mut watch = Watch {
        simulation: simulation.clone(),
        resource,
        namespace: call.target.within().map(str::to_owned),
        selector,
        form: Form::of(call, resource, world.date(world.now)),
        initial: Vec::new().into_iter(),
        announce: false,
        position: from.unwrap_or(world.store.version()),
        changed: world.store.subscribe(resource),
        next_bookmark: parameters.allow_watch_bookmarks.then(|| Instant::now() + BOOKMARKS),
        ends: Instant::now()
            + parameters.timeout_seconds.map_or(LONGEST, Duration::from_secs).min(LONGEST),
        over: false,
    };
    if parameters.send_initial_events.unwrap_or(from.is_none()) {
        let objects = world.store.range(resource, call.target.within(), None);
        let objects: Vec<_> =
            objects.filter(|object| watch.selector.matches(object)).cloned().collect();
        watch.initial = objects.into_iter();
        watch.announce =
            parameters.send_initial_events == Some(true) && parameters.allow_watch_bookmarks;
        watch.position = world.store.version();
    }
    drop(world);
    let lines = futures::stream::unfold(watch, |mut watch| async move {
        let lines = watch.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(lines)), watch))
    });
    Ok(([(header::CONTENT_TYPE, "application/json")], Body::from_stream(lines)).into_response())
}

fn check_initial_events(version: ServerVersion, matching: &str) -> Result<(), ApiError> {
    let refused = |field: &str, why: &str| {
        Err(ApiError::new(
            422,
            "Invalid",
            format!("ListOptions.meta.k8s.io \"\" is invalid: {field}: Forbidden: {why}"),
        ))
    };
    // On by default since 1.34.
    if version < ServerVersion::V1_36 {
        let why =
            "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled";
        return refused("sendInitialEvents", why);
    }
    if matching != "NotOlderThan" {
        let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        return refused("resourceVersionMatch", why);
    }
    Ok(())
}

impl Watch {
    /// The next lines, once there are some; none when the watch is over.
    async fn next(&mut self) -> Option<Vec<u8>> {
        if self.over {
            return None;
        }
        let mut lines = Vec::new();
        for object in self.initial.by_ref().take(BATCH) {
            line(&mut lines, "ADDED", &self.form.object(&object.json));
        }
        if self.initial.len() == 0 && std::mem::take(&mut self.announce) {
            line(&mut lines, "BOOKMARK", &self.bookmark(true));
        }
        while lines.is_empty() {
            self.changed.borrow_and_update();
            match self.changes() {
                Some(changes) => lines = changes,
                None => {
                    self.over = true;
                    let error =
                        ApiError::expired(format!("too old resource version: {}", self.position));
                    line(&mut lines, "ERROR", error.status().to_string().as_bytes());
                }
            }
            if lines.is_empty() {
                let wake = self.next_bookmark.unwrap_or(self.ends).min(self.ends);
                tokio::select! {
                    changed = self.changed.changed() => changed.ok()?,
                    () = tokio::time::sleep_until(wake) => {
                        self.over = wake >= self.ends;
                        *self.next_bookmark.as_mut()? = wake + BOOKMARKS;
                        // Other resources have brought newer versions.
                        lines = self.changes().unwrap_or_default();
                        line(&mut lines, "BOOKMARK", &self.bookmark(false));
                    }
                }
            }
        }
        Some(lines)
    }

    /// What has changed since, or none if that is forgotten.
    fn changes(&mut self) -> Option<Vec<u8>> {
        let world = self.simulation.world();
        self.form = self.form.at(world.date(world.now));
        let within = |object: &Object| {
            self.namespace.as_ref().is_none_or(|namespace| object.key.namespace == *namespace)
                && self.selector.matches(object)
        };
        let changes = world.store.changes(self.resource, self.position)?.cloned();
        let batch: Vec<(u64, (&str, Bytes))> = changes
            .filter_map(|change| Some((change.object.version, event(change, &within)?)))
            .take(BATCH)
            .collect();
        self.position = match batch.last() {
            Some((version, _)) if batch.len() == BATCH => *version,
            _ => self.position.max(world.store.version()),
        };
        drop(world);
        let mut lines = Vec::new();
        for (_, (kind, object)) in batch {
            line(&mut lines, kind, &self.form.object(&object));
        }
        Some(lines)
    }

    fn bookmark(&self, ends_initial_events: bool) -> Bytes {
        let mut metadata: Value =
            json!({ "resourceVersion": self.position.to_string(), "creationTimestamp": null });
        if ends_initial_events {
            metadata["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        }
        let (kind, api_version) = (self.resource.describe().kind, self.resource.api_version());
        json!({ "kind": kind, "apiVersion": api_version, "metadata": metadata }).to_string().into()
    }
}

/// What a watch sends of a change, if anything.
fn event(change: Change, selects: &impl Fn(&Object) -> bool) -> Option<(&'static str, Bytes)> {
    let now = change.action != Action::Deleted && selects(&change.object);
    let before = change.previous.filter(|previous| selects(previous));
    match (before, now) {
        (None, true) => Some(("ADDED", change.object.json.clone())),
        (Some(_), true) => Some(("MODIFIED", change.object.json.clone())),
        (Some(_), false) if change.action == Action::Deleted => {
            Some(("DELETED", change.object.json.clone()))
        }
        // Selected no more: as it was, at the version at which it left.
        (Some(previous), false) => {
            let mut value = previous.value();
            json::set(
                &mut value,
                &["metadata"],
                "resourceVersion",
                change.object.version.to_string(),
            );
            Some(("DELETED", value.to_string().into()))
        }
        (None, false) => None,
    }
}

fn line(lines: &mut Vec<u8>, kind: &str, object: &[u8]) {
    lines.extend_from_slice(format!(r#"{{"type":"{kind}","object":"#).as_bytes());
    lines.extend_from_slice(object);
    lines.extend_from_slice(b"}\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::store::{Key, Store};

    #[test]
    fn what_leaves_the_selection_is_deleted_and_what_enters_it_is_added() {
        let mut store = Store::new(100);
        let pod = |app: &str| {
            json!({
                "metadata": { "namespace": "default", "name": "a", "labels": { "app": app } },
            })
        };
        let start = store.version();
        for app in ["api", "web", "web", "api", "web"] {
            store.put(Resource::Pods, pod(app));
        }
        store.remove(Resource::Pods, &Key::new("default", "a"));
        let selector = Selector::parse("app=web", "").unwrap();
        let changes = store.changes(Resource::Pods, start).unwrap().cloned();
        let sent: Vec<(&str, String)> = changes
            .filter_map(|change| event(change, &|object| selector.matches(object)))
            .map(|(kind, object)| {
                let object: Value = serde_json::from_slice(&object).unwrap();
                (kind, json::text(&object, "/metadata/labels/app").to_owned())
            })
            .collect();
        let web = |kind| (kind, "web".to_owned());
        assert_eq!(sent, ["ADDED", "MODIFIED", "DELETED", "ADDED", "DELETED"].map(web));
    }
}
