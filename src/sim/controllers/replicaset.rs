use serde_json::{Value, json};

use super::replicas::wanted_replicas;
use crate::sim::json;
use crate::sim::resources::Resource;
use crate::sim::store::Key;
use crate::sim::world::World;

impl World {
    pub(super) fn reconcile_replica_set(&mut self, key: &Key, object: Value) {
        let mut replicas = self.replicas(&object);
        let wanted = wanted_replicas(&object);
        let mut failure = None;
        for _ in replicas.len()..wanted {
            let name = format!("{}-{}", key.name, self.name_suffix(5));
            let made = self.create_replica(&object, Resource::ReplicaSets, name, &[], "");
            failure = made.err();
            if failure.is_some() {
                break;
            }
        }
        if replicas.len() > wanted {
            // Those that are not ready go first.
            replicas.sort_by_key(|replica| replica.ready);
            for surplus in replicas.drain(..replicas.len() - wanted) {
                self.delete_pod(&surplus.key, None);
                let message = format!("Deleted pod: {}", surplus.key.name);
                self.record_event(
                    &object,
                    "Normal",
                    "SuccessfulDelete",
                    message,
                    "replicaset-controller",
                );
            }
        }
        let replicas = self.replicas(&object);
        let ready = replicas.iter().filter(|replica| replica.ready).count();
        let mut status = json!({
            "replicas": replicas.len(), "fullyLabeledReplicas": replicas.len(),
            "readyReplicas": ready,
            "availableReplicas": ready,
        });
        if let Some(error) = failure {
            let mut present = json::items(&object, "/status/conditions").iter();
            let since = present
                .find(|condition| condition["type"] == "ReplicaFailure")
                .map_or_else(|| self.timestamp().into(), |c| c["lastTransitionTime"].clone());
            status["conditions"] = json!([{
                "type": "ReplicaFailure", "status": "True", "lastTransitionTime": since,
                "reason": "FailedCreate", "message": error.message,
            }]);
        }
        self.put_status(Resource::ReplicaSets, object.clone(), status);
        if json::controller(&object).is_some() {
            self.notify_owner(&object);
        }
    }
}
