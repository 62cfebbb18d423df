use serde_json::{Value, json};

use super::replicas::{REVISION_LABEL, count_of, revision};
use crate::sim::json;
use crate::sim::pods::selects;
use crate::sim::resources::Resource;
use crate::sim::store::Key;
use crate::sim::world::World;

impl World {
    /// A pod on every node that the template selects; outdated ones are replaced a few at a time.
    pub(super) fn reconcile_daemon_set(&mut self, key: &Key, object: Value) {
        let hash = revision(&object["spec"]["template"]);
        let template = &object["spec"]["template"];
        let nodes: Vec<String> = self
            .nodes
            .iter()
            .filter(|(_, node)| selects(template, &node.labels))
            .map(|(name, _)| name.clone())
            .collect();
        let owned = self.store.owned(json::text(&object, "/metadata/uid"), Resource::Pods);
        let on =
            |node: &str| owned.iter().any(|pod| json::text(&pod.value(), "/spec/nodeName") == node);
        let bare: Vec<&String> = nodes.iter().filter(|node| !on(node)).collect();
        for node in bare {
            let name = format!("{}-{}", key.name, self.name_suffix(5));
            let labels = [(REVISION_LABEL, hash.as_str()), ("pod-template-generation", "1")];
            // What is refused has its event and is tried again.
            let _ = self.create_replica(&object, Resource::DaemonSets, name, &labels, node);
        }
        let replicas = self.replicas(&object);
        let unready =
            nodes.len().saturating_sub(replicas.iter().filter(|replica| replica.ready).count());
        let allowed = object.pointer("/spec/updateStrategy/rollingUpdate/maxUnavailable");
        let allowed =
            allowed.map_or(1, |value| count_of(Some(value), "1", nodes.len(), true).max(1));
        if object["spec"]["updateStrategy"]["type"] != "OnDelete" {
            let outdated = replicas.iter().filter(|replica| replica.revision != hash);
            for replica in outdated.take(allowed.saturating_sub(unready)) {
                self.delete_pod(&replica.key, None);
                let message = format!("Deleted pod: {}", replica.key.name);
                self.record_event(
                    &object,
                    "Normal",
                    "SuccessfulDelete",
                    message,
                    "daemonset-controller",
                );
            }
        }
        let replicas = self.replicas(&object);
        let ready = replicas.iter().filter(|replica| replica.ready).count();
        let updated = replicas.iter().filter(|replica| replica.revision == hash).count();
        let mut status = json!({
            "currentNumberScheduled": replicas.len(), "desiredNumberScheduled": nodes.len(),
            "numberReady": ready,
            "numberAvailable": ready, "numberMisscheduled": 0,
            "updatedNumberScheduled": updated,
        });
        if nodes.len() > ready {
            status["numberUnavailable"] = (nodes.len() - ready).into();
        }
        self.put_status(Resource::DaemonSets, object, status);
    }
}
