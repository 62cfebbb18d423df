use std::cmp::Reverse;

use serde_json::{Value, json};

use super::replicas::{count_of, reference, revision, wanted_replicas};
use crate::sim::json::{self, set};
use crate::sim::resources::Resource;
use crate::sim::store::Key;
use crate::sim::world::World;

const REVISION: &str = "deployment.kubernetes.io/revision";
const HASH: &str = "pod-template-hash";

/// Old ReplicaSets that are kept, where the Deployment does not say.
const REVISION_HISTORY: usize = 10;

/// A ReplicaSet of a Deployment, as its controller sees it.
struct Generation {
    key: Key,
    object: Value,
    hash: String,
    revision: u64,
    wanted: usize,
    running: usize,
    ready: usize,
}

impl World {
    pub(super) fn reconcile_deployment(&mut self, key: &Key, object: Value) {
        let hash = revision(&object["spec"]["template"]);
        let generations = self.generations(&object);
        let Some(current) = generations.iter().position(|generation| generation.hash == hash)
        else {
            let newest =
                generations.iter().map(|generation| generation.revision).max().unwrap_or_default();
            let replicas = if generations.is_empty() { wanted_replicas(&object) } else { 0 };
            self.create_replica_set(key, &object, &hash, newest + 1, replicas);
            self.reconcile_soon(Resource::Deployments, key);
            return;
        };
        self.roll(&object, &generations, current);
        self.forget_revisions(&object, &generations, current);
        self.report_deployment(&object, current, &self.generations(&object));
    }

    fn generations(&self, deployment: &Value) -> Vec<Generation> {
        let owned =
            self.store.owned(json::text(deployment, "/metadata/uid"), Resource::ReplicaSets);
        let mut generations: Vec<Generation> = owned
            .iter()
            .map(|stored| {
                let object = stored.value();
                let replicas = self.replicas(&object);
                Generation {
                    key: stored.key.clone(),
                    hash: json::text(&object, &format!("/metadata/labels/{HASH}")).to_owned(),
                    revision: object["metadata"]["annotations"][REVISION]
                        .as_str()
                        .map_or(0, |r| r.parse().unwrap_or(0)),
                    wanted: wanted_replicas(&object),
                    running: replicas.len(),
                    ready: replicas.iter().filter(|replica| replica.ready).count(),
                    object,
                }
            })
            .collect();
        generations.sort_by_key(|generation| generation.revision);
        generations
    }

    fn create_replica_set(
        &mut self,
        key: &Key,
        deployment: &Value,
        hash: &str,
        revision: u64,
        replicas: usize,
    ) {
        let mut template = deployment["spec"]["template"].clone();
        set(&mut template, &["metadata", "labels"], HASH, hash);
        let mut selector = deployment["spec"]["selector"].clone();
        set(&mut selector, &["matchLabels"], HASH, hash);
        let name = format!("{}-{hash}", key.name);
        let mut object = json!({
            "kind": "ReplicaSet",
            "apiVersion": "apps/v1",
            "metadata": {
                "name": name, "namespace": key.namespace, "generation": 1,
                "labels": template["metadata"]["labels"], "annotations": { REVISION: revision.to_string() },
                "ownerReferences": [reference(deployment, Resource::Deployments)],
            },
            "spec": { "replicas": replicas, "selector": selector, "template": template },
            "status": { "replicas": 0 },
        });
        self.identify(&mut object);
        self.store.put(Resource::ReplicaSets, object);
        let replica_set = Key::new(&key.namespace, name);
        if self.settled_age.is_some() {
            self.reconcile(Resource::ReplicaSets, &replica_set);
        } else {
            self.reconcile_soon(Resource::ReplicaSets, &replica_set);
        }
        if replicas > 0 {
            self.tell_scaled(deployment, &replica_set, "up", 0, replicas);
        }
    }

    /// Moves replicas from the old ReplicaSets to the current one, within the surge and the
    /// unavailability allowed.
    fn roll(&mut self, deployment: &Value, generations: &[Generation], current: usize) {
        let wanted = wanted_replicas(deployment);
        let strategy = &deployment["spec"]["strategy"];
        let old = || {
            generations
                .iter()
                .enumerate()
                .filter(|(index, _)| *index != current)
                .map(|(_, generation)| generation)
        };
        let old_wanted: usize = old().map(|generation| generation.wanted).sum();
        let new = &generations[current];
        if strategy["type"] == "Recreate" {
            old()
                .filter(|generation| generation.wanted > 0)
                .for_each(|generation| self.scale_replica_set(deployment, generation, 0));
            if old().all(|generation| generation.running == 0) {
                self.scale_replica_set(deployment, new, wanted);
            }
            return;
        }
        let limits = &strategy["rollingUpdate"];
        let surge = count_of(limits.get("maxSurge"), "25%", wanted, true);
        let unavailable = count_of(limits.get("maxUnavailable"), "25%", wanted, false);
        let surge = if surge + unavailable == 0 { 1 } else { surge };
        let room = (wanted + surge).saturating_sub(old_wanted);
        self.scale_replica_set(deployment, new, wanted.min(room.max(new.wanted.min(wanted))));
        if old_wanted == 0 {
            return;
        }
        let ready: usize = generations.iter().map(|generation| generation.ready).sum();
        // Replicas that are not ready serve nobody: they go without counting.
        let unready: usize =
            old().map(|generation| generation.wanted.saturating_sub(generation.ready)).sum();
        let mut spare =
            (ready + unready).saturating_sub(wanted.saturating_sub(unavailable)).min(old_wanted);
        for generation in old() {
            let down = spare.min(generation.wanted);
            if down > 0 {
                self.scale_replica_set(deployment, generation, generation.wanted - down);
                spare -= down;
            }
        }
    }

    fn scale_replica_set(&mut self, deployment: &Value, generation: &Generation, replicas: usize) {
        if generation.wanted == replicas {
            return;
        }
        let mut object = generation.object.clone();
        object["spec"]["replicas"] = replicas.into();
        object["metadata"]["generation"] =
            (json::number(&object, "/metadata/generation").unwrap_or(1) + 1).into();
        self.store.put(Resource::ReplicaSets, object);
        self.reconcile_soon(Resource::ReplicaSets, &generation.key);
        let direction = if replicas > generation.wanted { "up" } else { "down" };
        self.tell_scaled(deployment, &generation.key, direction, generation.wanted, replicas);
    }

    fn tell_scaled(
        &mut self,
        deployment: &Value,
        replica_set: &Key,
        direction: &str,
        from: usize,
        to: usize,
    ) {
        let message =
            format!("Scaled {direction} replica set {} from {from} to {to}", replica_set.name);
        self.record_event(
            deployment,
            "Normal",
            "ScalingReplicaSet",
            message,
            "deployment-controller",
        );
    }

    fn forget_revisions(&mut self, deployment: &Value, generations: &[Generation], current: usize) {
        let limit = json::number(deployment, "/spec/revisionHistoryLimit");
        let kept = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(REVISION_HISTORY);
        let mut idle: Vec<&Generation> = generations
            .iter()
            .enumerate()
            .filter(|(index, generation)| {
                *index != current && generation.wanted == 0 && generation.running == 0
            })
            .map(|(_, generation)| generation)
            .collect();
        idle.sort_by_key(|generation| Reverse(generation.revision));
        for generation in idle.into_iter().skip(kept) {
            self.delete_owner(Resource::ReplicaSets, &generation.key, false);
        }
    }

    fn report_deployment(
        &mut self,
        deployment: &Value,
        current: usize,
        generations: &[Generation],
    ) {
        let wanted = wanted_replicas(deployment);
        let total: usize = generations.iter().map(|generation| generation.running).sum();
        let ready: usize = generations.iter().map(|generation| generation.ready).sum();
        let Some(new) = generations.get(current) else { return };
        let complete = new.ready >= wanted && total == new.running;
        let now = self.timestamp();
        let condition = |kind: &str, holds: bool, reason: &str, message: String| {
            let present = json::items(deployment, "/status/conditions")
                .iter()
                .find(|condition| condition["type"] == kind);
            let status = if holds { "True" } else { "False" };
            let same = present
                .filter(|present| present["status"] == status && present["reason"] == reason);
            let time = |field: &str| {
                same.map_or_else(|| now.clone().into(), |present| present[field].clone())
            };
            json!({
                "type": kind, "status": status, "reason": reason, "message": message,
                "lastUpdateTime": time("lastUpdateTime"), "lastTransitionTime": time("lastTransitionTime"),
            })
        };
        let available = ready
            + count_of(
                deployment.pointer("/spec/strategy/rollingUpdate/maxUnavailable"),
                "25%",
                wanted,
                false,
            )
            >= wanted;
        let name = &new.key.name;
        let mut conditions = json!([
            if available {
                condition(
                    "Available",
                    true,
                    "MinimumReplicasAvailable",
                    "Deployment has minimum availability.".into(),
                )
            } else {
                let told = "Deployment does not have minimum availability.".into();
                condition("Available", false, "MinimumReplicasUnavailable", told)
            },
            if complete {
                let told = format!("ReplicaSet \"{name}\" has successfully progressed.");
                condition("Progressing", true, "NewReplicaSetAvailable", told)
            } else {
                condition(
                    "Progressing",
                    true,
                    "ReplicaSetUpdated",
                    format!("ReplicaSet \"{name}\" is progressing."),
                )
            },
        ]);
        let failed = json::items(&new.object, "/status/conditions").iter();
        let failed = failed.filter(|condition| condition["type"] == "ReplicaFailure").cloned();
        if let Some(conditions) = conditions.as_array_mut() {
            conditions.extend(failed);
        }
        let mut status = json!({
            "replicas": total, "updatedReplicas": new.running, "readyReplicas": ready, "availableReplicas": ready,
            "conditions": conditions,
        });
        if wanted > ready {
            status["unavailableReplicas"] = (wanted - ready).into();
        }
        let mut object = deployment.clone();
        set(&mut object, &["metadata", "annotations"], REVISION, new.revision.to_string());
        self.put_status(Resource::Deployments, object, status);
    }
}
