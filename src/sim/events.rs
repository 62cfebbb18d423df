//! Events: recorded, counted up when they repeat, forgotten after an hour.

use serde_json::{Value, json};

use super::json;
use super::resources::Resource;
use super::store::Key;
use super::world::World;

/// How many events are kept at most.
const EVENTS: usize = 20_000;

impl World {
    /// Says that something has happened to an object.
    pub(super) fn record_event(
        &mut self,
        about: &Value,
        kind: &str,
        reason: &'static str,
        message: String,
        component: &str,
    ) {
        let now = self.timestamp();
        let uid = json::text(about, "/metadata/uid");
        let what = (uid.to_owned(), reason, message.clone());
        if let Some(mut event) =
            self.repeating.get(&what).and_then(|key| self.store.value(Resource::Events, key))
        {
            event["count"] = (json::number(&event, "/count").unwrap_or(1) + 1).into();
            event["lastTimestamp"] = now.into();
            self.store.put(Resource::Events, event);
            return;
        }
        let namespace = match json::text(about, "/metadata/namespace") {
            "" => "default",
            namespace => namespace,
        };
        let name = json::text(about, "/metadata/name");
        let mut source = json!({ "component": component });
        let host = json::text(about, "/spec/nodeName");
        if component == "kubelet" && !host.is_empty() {
            source["host"] = host.into();
        }
        let event_name = format!("{name}.{}", self.hex(16));
        let event = json!({
            "kind": "Event",
            "apiVersion": "v1",
            "metadata": {
                "name": event_name, "namespace": namespace, "uid": self.uid(),
                "creationTimestamp": now,
            },
            "involvedObject": {
                "kind": about["kind"], "namespace": namespace, "name": name, "uid": uid,
                "apiVersion": about["apiVersion"],
                "resourceVersion": json::text(about, "/metadata/resourceVersion"),
            },
            "reason": reason,
            "message": message,
            "source": source,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "type": kind,
            "eventTime": null,
            "reportingComponent": component,
            "reportingInstance": host,
        });
        self.repeating.insert(what, Key::of(&event));
        self.store.put(Resource::Events, event);
    }

    pub fn expire_events(&mut self) {
        let oldest = self.date(self.now) - chrono::Duration::seconds(self.event_seconds);
        let oldest = oldest.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        let mut dated: Vec<(String, Key)> = self
            .store
            .range(Resource::Events, None, None)
            .map(|object| {
                let event = object.value();
                let last = [
                    "/lastTimestamp",
                    "/series/lastObservedTime",
                    "/eventTime",
                    "/metadata/creationTimestamp",
                ];
                let last = last
                    .into_iter()
                    .map(|pointer| json::text(&event, pointer))
                    .find(|time| !time.is_empty());
                (last.unwrap_or_default().to_owned(), object.key.clone())
            })
            .collect();
        dated.sort();
        let surplus = dated.len().saturating_sub(EVENTS);
        for (index, (last, key)) in dated.into_iter().enumerate() {
            if index < surplus || last < oldest {
                self.store.remove(Resource::Events, &key);
            }
        }
        let store = &self.store;
        self.repeating.retain(|_, key| store.get(Resource::Events, key).is_some());
    }
}
