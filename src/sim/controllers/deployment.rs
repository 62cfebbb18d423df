use std::cmp::Reverse;

use serde_json::{Value, json};

use super::replicas::{count_of, reference, revision, wanted_replicas};
use crate::sim::json::{self, set};
use crate::sim::resources::Resource;
use crate::sim::store::Key;
use crate::sim::world::World;

const REVISION: &str = "deployment.kubernetes.io/revision";
const HASH: &str = "pod-template-hash";

/// Seconds without progress after which a rollout has failed, where the Deployment does not say.
const DEADLINE: i64 = 600;
const UPDATING: &str = "ReplicaSetUpdated";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";

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
        let current = generations.iter().position(|generation| generation.hash == hash);
        if object["spec"]["paused"] == true {
            self.scale_paused(&object, &generations);
            self.report_deployment(&object, &hash);
            return;
        }
        let Some(current) = current else {
            let newest =
                generations.iter().map(|generation| generation.revision).max().unwrap_or_default();
            let replicas = if generations.is_empty() { wanted_replicas(&object) } else { 0 };
            self.create_replica_set(key, &object, &hash, newest + 1, replicas);
            self.reconcile_soon(Resource::Deployments, key);
            return;
        };
        self.roll(&object, &generations, current);
        self.forget_revisions(&object, &generations, current);
        self.report_deployment(&object, &hash);
    }

    /// A paused Deployment rolls nothing out, but it is scaled: if one ReplicaSet is in use, that.
    fn scale_paused(&mut self, deployment: &Value, generations: &[Generation]) {
        let mut used: Vec<&Generation> = generations.iter().filter(|g| g.wanted > 0).collect();
        if used.is_empty() {
            used.extend(generations.last());
        }
        if let [one] = used.as_slice() {
            self.scale_replica_set(deployment, one, wanted_replicas(deployment));
        }
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
                "labels": template["metadata"]["labels"],
                "annotations": { REVISION: revision.to_string() },
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
            self.report_scaled(deployment, &replica_set, "up", 0, replicas);
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
        self.report_scaled(deployment, &generation.key, direction, generation.wanted, replicas);
    }

    fn report_scaled(
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

    fn report_deployment(&mut self, deployment: &Value, hash: &str) {
        let generations = self.generations(deployment);
        let current = generations.iter().find(|generation| generation.hash == hash);
        let wanted = wanted_replicas(deployment);
        let total: usize = generations.iter().map(|generation| generation.running).sum();
        let ready: usize = generations.iter().map(|generation| generation.ready).sum();
        let updated = current.map_or(0, |generation| generation.running);
        let mut status = json!({
            "replicas": total, "updatedReplicas": updated, "readyReplicas": ready,
            "availableReplicas": ready,
        });
        if wanted > ready {
            status["unavailableReplicas"] = (wanted - ready).into();
        }
        let mut conditions = vec![self.available(deployment, ready, wanted)];
        let progressing = self.progressing(deployment, current, &status);
        if progressing["reason"] == UPDATING {
            // Its deadline may pass without anything else happening.
            self.retry_later(Resource::Deployments, &Key::of(deployment));
        }
        conditions.push(progressing);
        if let Some(new) = current {
            let failed = json::items(&new.object, "/status/conditions").iter();
            conditions.extend(failed.filter(|c| c["type"] == "ReplicaFailure").cloned());
        }
        status["conditions"] = conditions.into();
        let mut object = deployment.clone();
        if let Some(new) = current {
            set(&mut object, &["metadata", "annotations"], REVISION, new.revision.to_string());
        }
        self.put_status(Resource::Deployments, object, status);
    }

    fn available(&self, deployment: &Value, ready: usize, wanted: usize) -> Value {
        let unavailable = deployment.pointer("/spec/strategy/rollingUpdate/maxUnavailable");
        if ready + count_of(unavailable, "25%", wanted, false) >= wanted {
            let message = "Deployment has minimum availability.";
            let reason = "MinimumReplicasAvailable";
            self.condition(deployment, "Available", "True", reason, message)
        } else {
            let message = "Deployment does not have minimum availability.";
            let reason = "MinimumReplicasUnavailable";
            self.condition(deployment, "Available", "False", reason, message)
        }
    }

    fn progressing(&self, deployment: &Value, new: Option<&Generation>, status: &Value) -> Value {
        let condition = |status: &str, reason: &str, message: &str| {
            self.condition(deployment, "Progressing", status, reason, message)
        };
        if deployment["spec"]["paused"] == true {
            return condition("Unknown", "DeploymentPaused", "Deployment is paused");
        }
        let name = new.map(|new| new.key.name.as_str()).unwrap_or_default();
        let wanted = wanted_replicas(deployment);
        if new.is_some_and(|new| new.ready >= wanted && status["replicas"] == new.running) {
            let message = format!("ReplicaSet \"{name}\" has successfully progressed.");
            return condition("True", "NewReplicaSetAvailable", &message);
        }
        let message = format!("ReplicaSet \"{name}\" is progressing.");
        let mut progressing = condition("True", UPDATING, &message);
        let counts = ["replicas", "updatedReplicas", "readyReplicas"];
        let stands_still =
            counts.iter().all(|count| deployment["status"].get(count) == status.get(count));
        if !stands_still {
            progressing["lastUpdateTime"] = self.timestamp().into();
        }
        let seconds = json::number(deployment, "/spec/progressDeadlineSeconds").unwrap_or(DEADLINE);
        let deadline = self.timestamp_at(self.now - seconds as f64);
        let timed_out = stands_still
            && (json::text(&progressing, "/lastUpdateTime") < deadline.as_str()
                || has_timed_out(deployment));
        if timed_out {
            let message = format!("ReplicaSet \"{name}\" has timed out progressing.");
            return condition("False", TIMED_OUT, &message);
        }
        progressing
    }

    /// A condition of a Deployment; its times stay as they are while it says the same.
    fn condition(
        &self,
        deployment: &Value,
        kind: &str,
        status: &str,
        reason: &str,
        message: &str,
    ) -> Value {
        let mut present = json::items(deployment, "/status/conditions").iter();
        let present = present.find(|condition| condition["type"] == kind);
        let now = Value::from(self.timestamp());
        let time = |field: &str, holds: bool| match present {
            Some(present) if holds => present[field].clone(),
            _ => now.clone(),
        };
        let same_status = present.is_some_and(|present| present["status"] == status);
        let same = same_status && present.is_some_and(|present| present["reason"] == reason);
        json!({
            "type": kind, "status": status, "reason": reason, "message": message,
            "lastUpdateTime": time("lastUpdateTime", same),
            "lastTransitionTime": time("lastTransitionTime", same_status),
        })
    }
}

fn has_timed_out(deployment: &Value) -> bool {
    let mut conditions = json::items(deployment, "/status/conditions").iter();
    conditions.any(|condition| condition["reason"] == TIMED_OUT)
}
