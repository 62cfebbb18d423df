//! The controllers: what workloads declare becomes pods, and stays so.

mod daemonset;
mod deployment;
mod replicas;
mod replicaset;
mod statefulset;

use super::resources::Resource;
use super::store::Key;
use super::world::World;

impl World {
    /// Lets the controller of an object bring the cluster closer to what the object says.
    pub(in crate::sim) fn reconcile(&mut self, resource: Resource, key: &Key) {
        let Some(object) = self.store.value(resource, key) else { return };
        match resource {
            Resource::Deployments => self.reconcile_deployment(key, object),
            Resource::ReplicaSets => self.reconcile_replica_set(key, object),
            Resource::StatefulSets => self.reconcile_stateful_set(key, object),
            Resource::DaemonSets => self.reconcile_daemon_set(key, object),
            Resource::ResourceQuotas => self.count_quota(object),
            _ => {}
        }
    }
}
