//! What controllers share: owners and their replicas.

use serde_json::{Value, json};

use crate::sim::json::{self, set};
use crate::sim::noise::mix;
use crate::sim::resources::Resource;
use crate::sim::status::ApiError;
use crate::sim::store::{Key, Object};
use crate::sim::world::{NAME_ALPHABET, World};

/// What a controller needs to know of one of its pods.
#[derive(Debug, Clone)]
pub(super) struct Replica {
    pub(super) key: Key,
    pub(super) ready: bool,
    /// The hash of the template that it was made from.
    pub(super) revision: String,
}

pub(super) const REVISION_LABEL: &str = "controller-revision-hash";

impl World {
    /// Deletes a workload and, unless they are to be orphaned, what it owns.
    pub(in crate::sim) fn delete_owner(&mut self, resource: Resource, key: &Key, orphan: bool) {
        let Some(object) = self.store.remove(resource, key) else { return };
        self.workloads.remove(&(resource, key.clone()));
        self.release_owned(object.uid(), orphan);
    }

    /// Deletes or orphans what an object owned that is gone.
    pub(in crate::sim) fn release_owned(&mut self, uid: &str, orphan: bool) {
        for (kind, owned) in self.store.owned_keys(uid) {
            match kind {
                _ if orphan => self.orphan(kind, &owned),
                Resource::Pods => self.delete_pod(&owned, None),
                _ => self.delete_owner(kind, &owned, false),
            }
        }
    }

    fn orphan(&mut self, resource: Resource, key: &Key) {
        let Some(mut object) = self.store.value(resource, key) else { return };
        json::object(&mut object, &["metadata"]).remove("ownerReferences");
        self.store.put(resource, object);
    }

    /// The pods of a controller that count as replicas, by name.
    pub(super) fn replicas(&self, owner: &Value) -> Vec<Replica> {
        let owned = self.store.owned(json::text(owner, "/metadata/uid"), Resource::Pods);
        let replica = |object: &Object| {
            let runtime = self.pods.get(&object.key).filter(|pod| pod.is_active())?;
            let revision = object.labels.iter().find(|(name, _)| name == REVISION_LABEL);
            Some(Replica {
                key: object.key.clone(),
                ready: runtime.is_ready(),
                revision: revision.map(|(_, hash)| hash.clone()).unwrap_or_default(),
            })
        };
        owned.iter().filter_map(|object| replica(object)).collect()
    }

    /// Makes a pod from the template of its controller; why it was refused, if it was.
    pub(super) fn create_replica(
        &mut self,
        owner: &Value,
        resource: Resource,
        name: String,
        labels: &[(&str, &str)],
        node: &str,
    ) -> Result<(), ApiError> {
        let template = owner.pointer("/spec/template").cloned().unwrap_or_default();
        let mut pod = json!({ "metadata": template["metadata"], "spec": template["spec"] });
        set(&mut pod, &["metadata"], "name", name.clone());
        set(&mut pod, &["metadata"], "namespace", json::text(owner, "/metadata/namespace"));
        set(&mut pod, &["metadata"], "ownerReferences", json!([reference(owner, resource)]));
        for (label, value) in labels {
            set(&mut pod, &["metadata", "labels"], label, *value);
        }
        if !node.is_empty() {
            set(&mut pod, &["spec"], "nodeName", node);
        }
        let (kind, controller) = match resource {
            Resource::ReplicaSets => ("ReplicaSet", "replicaset-controller"),
            Resource::StatefulSets => ("StatefulSet", "statefulset-controller"),
            _ => ("DaemonSet", "daemonset-controller"),
        };
        let ordered = resource == Resource::StatefulSets;
        let set_name = json::text(owner, "/metadata/name");
        if let Err(error) = self.admit_pod(&mut pod) {
            let why = &error.message;
            let message = if ordered {
                format!("create Pod {name} in {kind} {set_name} failed error: {why}")
            } else {
                format!("Error creating: {why}")
            };
            self.record_event(owner, "Warning", "FailedCreate", message, controller);
            self.retry_later(resource, &Key::of(owner));
            return Err(error);
        }
        self.add_pod(pod);
        let message = if ordered {
            format!("create Pod {name} in {kind} {set_name} successful")
        } else {
            format!("Created pod: {name}")
        };
        self.record_event(owner, "Normal", "SuccessfulCreate", message, controller);
        Ok(())
    }

    /// Stores the status of a workload if it has changed.
    pub(super) fn put_status(&mut self, resource: Resource, mut object: Value, mut status: Value) {
        status["observedGeneration"] =
            json::number(&object, "/metadata/generation").unwrap_or(1).into();
        if object["status"] != status {
            object["status"] = status;
            self.store.put(resource, object);
        }
    }
}

/// The reference by which `owner` controls what it made.
pub(super) fn reference(owner: &Value, resource: Resource) -> Value {
    json!({
        "apiVersion": resource.api_version(), "kind": resource.describe().kind,
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true,
    })
}

/// A short hash of a template, as in the names of ReplicaSets and revisions: whatever the order of
/// its fields.
pub(super) fn revision(template: &Value) -> String {
    let mut template = template.clone();
    template.sort_all_objects();
    let mut hash = template.to_string().bytes().fold(0, |hash, byte| mix(hash ^ u64::from(byte)));
    (0..10)
        .map(|_| {
            let letter = NAME_ALPHABET[(hash % NAME_ALPHABET.len() as u64) as usize];
            hash /= NAME_ALPHABET.len() as u64;
            char::from(letter)
        })
        .collect()
}

pub(super) fn wanted_replicas(object: &Value) -> usize {
    usize::try_from(json::number(object, "/spec/replicas").unwrap_or(1)).unwrap_or_default()
}

/// A number of pods given as such or as a share of `total`: `2`, `"25%"`.
pub(super) fn count_of(
    value: Option<&Value>,
    default: &str,
    total: usize,
    round_up: bool,
) -> usize {
    let percent =
        |text: &str| text.strip_suffix('%').and_then(|percent| percent.parse::<f64>().ok());
    let share = |percent: f64| {
        let exact = percent / 100.0 * total as f64;
        (if round_up { exact.ceil() } else { exact.floor() }) as usize
    };
    match value {
        Some(Value::Number(number)) => number.as_u64().unwrap_or_default() as usize,
        Some(Value::String(text)) => {
            percent(text).map_or_else(|| text.parse().unwrap_or_default(), share)
        }
        _ => percent(default).map_or(0, share),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_numbers_or_shares() {
        assert_eq!(count_of(None, "25%", 3, true), 1);
        assert_eq!(count_of(None, "25%", 3, false), 0);
        assert_eq!(count_of(Some(&json!("50%")), "25%", 3, true), 2);
        assert_eq!(count_of(Some(&json!(2)), "25%", 3, false), 2);
    }
}
