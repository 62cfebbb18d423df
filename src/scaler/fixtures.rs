//! A pod to act on, for unit tests.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::cycle::Scaler;
use crate::client::retry::Deadline;
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::cluster::events::Queue;
use crate::config::Config;
use crate::core::context::OwnedPod;
use crate::core::features::FeatureSet;
use crate::leader::Leadership;
use crate::model::shipped;
use crate::sim::demo::{add_namespace, add_nodes, declare};
use crate::sim::resources::Resource as Kind;
use crate::sim::simulation::Simulation;
use crate::sim::workload::Workload;
use crate::sim::world::ServerVersion;

pub fn scaler() -> Scaler {
    let found = shipped::find(std::path::Path::new(shipped::DOCUMENTED)).unwrap();
    let features = FeatureSet::documented();
    Scaler::new(found.network, features, Queue::new().0, CancellationToken::new())
}

/// A cluster with one pod of half a core and 512 MiB.
pub async fn one_pod(version: ServerVersion) -> (Arc<Simulation>, Cluster, OwnedPod) {
    let simulation = Simulation::new(Clock::new(20.0), version, |world| {
        add_nodes(world, 1, 8.0, 16.0);
        add_namespace(world, "default");
        let limits = json!({"cpu": "500m", "memory": "512Mi"});
        let requests = json!({"cpu": "250m", "memory": "256Mi"});
        let resources = json!({"requests": requests, "limits": limits});
        let app = json!({"name": "app", "image": "x", "resources": resources});
        let (spec, demand) = (json!({"containers": [app]}), Workload::constant(0.4, 100.0));
        declare(world, Kind::Deployments, "default", "web", 1, spec, demand);
    });
    tokio::spawn(simulation.clone().run());
    let (clock, leadership) = (*simulation.clock(), Arc::new(Leadership::alone()));
    let config = Config::default();
    let cluster = Cluster::new(simulation.client(), clock, leadership, &config);
    let pods = cluster.pods(&config.namespaces, Deadline::default()).await.unwrap().pods;
    (simulation, cluster, pods.into_iter().next().unwrap())
}

/// Its limits of CPU and memory.
pub async fn limits(simulation: &Arc<Simulation>, owned: &OwnedPod) -> (String, String) {
    let api = Api::<Pod>::namespaced(simulation.client(), "default");
    let pod = serde_json::to_value(api.get(&owned.pod.key.name).await.unwrap()).unwrap();
    let limits = &pod["spec"]["containers"][0]["resources"]["limits"];
    let text = |name: &str| limits[name].as_str().unwrap().to_owned();
    (text("cpu"), text("memory"))
}
