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
        for _ in replicas.len()..wanted {
            let name = format!("{}-{}", key.name, self.name_suffix(5));
            self.create_replica(&object, Resource::ReplicaSets, name, &[], "");
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
        let status = json!({
            "replicas": replicas.len(), "fullyLabeledReplicas": replicas.len(), "readyReplicas": ready,
            "availableReplicas": ready,
        });
        self.put_status(Resource::ReplicaSets, object.clone(), status);
        if json::controller(&object).is_some() {
            self.notify_owner(&object);
        }
    }
}
