use serde_json::{Value, json};

use super::replicas::{REVISION_LABEL, revision, wanted_replicas};
use crate::sim::json::{self, set};
use crate::sim::resources::Resource;
use crate::sim::status::ApiError;
use crate::sim::store::Key;
use crate::sim::world::World;

impl World {
    /// One step towards the declared replicas, in the order of their ordinals; each change of a pod
    /// leads to the next step.
    pub(super) fn reconcile_stateful_set(&mut self, key: &Key, object: Value) {
        let hash = revision(&object["spec"]["template"]);
        let update = format!("{}-{hash}", key.name);
        let wanted = wanted_replicas(&object);
        let replicas = self.replicas(&object);
        let at = |ordinal: usize| {
            let name = format!("{}-{ordinal}", key.name);
            replicas.iter().find(move |replica| replica.key.name == name)
        };
        let template = object["spec"]["template"].clone();
        self.revisions.entry(Key::new(&key.namespace, update.clone())).or_insert(template);
        let partition = json::number(&object, "/spec/updateStrategy/rollingUpdate/partition");
        let partition = partition.and_then(|p| usize::try_from(p).ok()).unwrap_or_default();
        let parallel = object["spec"]["podManagementPolicy"] == "Parallel";
        let mut settled = true;
        for ordinal in 0..wanted {
            let present = at(ordinal);
            if present.is_none() {
                let name = format!("{}-{ordinal}", key.name);
                // The pod of this name may still be going.
                if self.store.get(Resource::Pods, &Key::new(&key.namespace, &name)).is_none() {
                    let made = self.create_ordinal(&object, ordinal, ordinal < partition, &update);
                    if made.is_err() {
                        settled = false;
                        break;
                    }
                }
            }
            let ready = present.is_some_and(|replica| replica.ready);
            settled &= ready;
            if !ready && !parallel && self.settled_age.is_none() {
                break;
            }
        }
        if settled {
            let surplus = replicas
                .iter()
                .filter(|replica| ordinal(&replica.key, key).is_none_or(|o| o >= wanted));
            let rolls = object["spec"]["updateStrategy"]["type"] != "OnDelete";
            let outdated = (partition..wanted)
                .rev()
                .filter_map(at)
                .find(|replica| rolls && replica.revision != update);
            let leaving = surplus.max_by_key(|replica| ordinal(&replica.key, key)).or(outdated);
            if let Some(replica) = leaving {
                self.delete_pod(&replica.key.clone(), None);
                let message = format!(
                    "delete Pod {} in StatefulSet {} successful",
                    replica.key.name, key.name
                );
                self.record_event(
                    &object,
                    "Normal",
                    "SuccessfulDelete",
                    message,
                    "statefulset-controller",
                );
            }
        }
        self.report_stateful_set(object, &update);
    }

    /// Makes a pod of the newest template, or of the one before while it is `held` back.
    fn create_ordinal(
        &mut self,
        object: &Value,
        ordinal: usize,
        held: bool,
        update: &str,
    ) -> Result<(), ApiError> {
        let current = json::text(object, "/status/currentRevision");
        let current = Key::new(json::text(object, "/metadata/namespace"), current);
        let mut owner = object.clone();
        let mut revision = update.to_owned();
        if let Some(template) = self.revisions.get(&current).filter(|_| held) {
            set(&mut owner, &["spec"], "template", template.clone());
            revision = current.name;
        }
        let name = format!("{}-{ordinal}", json::text(object, "/metadata/name"));
        let index = ordinal.to_string();
        let labels = [
            (REVISION_LABEL, revision.as_str()),
            ("apps.kubernetes.io/pod-index", index.as_str()),
            ("statefulset.kubernetes.io/pod-name", name.as_str()),
        ];
        self.create_replica(&owner, Resource::StatefulSets, name.clone(), &labels, "")
    }

    fn report_stateful_set(&mut self, object: Value, update: &str) {
        let replicas = self.replicas(&object);
        let ready = replicas.iter().filter(|replica| replica.ready).count();
        let updated = replicas.iter().filter(|replica| replica.revision == update).count();
        let done = updated == wanted_replicas(&object) && updated == replicas.len();
        let current = match json::text(&object, "/status/currentRevision") {
            present if !done && !present.is_empty() => present.to_owned(),
            _ => update.to_owned(),
        };
        let old = replicas.iter().filter(|replica| replica.revision == current).count();
        let status = json!({
            "replicas": replicas.len(), "readyReplicas": ready, "availableReplicas": ready,
            "updatedReplicas": updated,
            "currentReplicas": old,
            "currentRevision": current, "updateRevision": update, "collisionCount": 0,
        });
        self.put_status(Resource::StatefulSets, object, status);
    }
}

fn ordinal(pod: &Key, owner: &Key) -> Option<usize> {
    pod.name.strip_prefix(&owner.name)?.strip_prefix('-')?.parse().ok()
}
