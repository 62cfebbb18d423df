//! The simulated cluster's Kubernetes API over a real socket: what a real API server was seen to
//! answer.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod admission;
mod crashes;
mod custom;
mod discovery;
mod faults;
mod kubelets;
mod listing;
mod metrics;
mod pod_level;
mod resizing;
mod rollouts;
mod watching;
mod writing;

use std::sync::Arc;
use std::time::{Duration, Instant};

use dqn_scaler::clock::Clock;
use dqn_scaler::sim::api::server;
use dqn_scaler::sim::demo::{add_namespace, declare};
use dqn_scaler::sim::node::Node;
use dqn_scaler::sim::resources::Resource;
use dqn_scaler::sim::simulation::Simulation;
use dqn_scaler::sim::workload::Workload;
use dqn_scaler::sim::world::{ServerVersion, World};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const PODS: &str = "/api/v1/namespaces/default/pods";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

/// A simulated cluster that runs twenty times as fast as the clock, and its API on a socket.
struct Cluster {
    simulation: Arc<Simulation>,
    base: String,
    http: reqwest::Client,
    _tasks: [AbortOnDropHandle<()>; 2],
}

impl Cluster {
    /// With one node of two cores and 4 GiB, and the namespace `default`.
    async fn start(version: ServerVersion, fill: impl FnOnce(&mut World)) -> Self {
        let simulation = Simulation::new(Clock::new(20.0), version, |world| {
            add_node(world, "node-1");
            add_namespace(world, "default");
            world.settled_age = Some(3600.0);
            fill(world);
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let tasks = [
            tokio::spawn(simulation.clone().run()),
            tokio::spawn(server::serve(simulation.clone(), listener)),
        ];
        Self {
            simulation,
            base,
            http: reqwest::Client::new(),
            _tasks: tasks.map(AbortOnDropHandle::new),
        }
    }

    /// The newest release, with a Deployment of three pods.
    async fn with_web() -> Self {
        Self::start(ServerVersion::default(), |world| add_web(world, 3)).await
    }

    fn client(&self) -> kube::Client {
        kube::Client::try_from(kube::Config::new(self.base.parse().unwrap())).unwrap()
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.send(Method::GET, path, "", Value::Null).await
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.send(Method::POST, path, "application/json", body).await
    }

    async fn patch(&self, path: &str, body: Value) -> (u16, Value) {
        self.send(Method::PATCH, path, STRATEGIC, body).await
    }

    async fn delete(&self, path: &str) -> (u16, Value) {
        self.send(Method::DELETE, path, "", Value::Null).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Value,
    ) -> (u16, Value) {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if !body.is_null() {
            request = request.header("content-type", content_type).body(body.to_string());
        }
        let response = request.send().await.unwrap();
        let code = response.status().as_u16();
        let text = response.text().await.unwrap();
        (code, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// The pods of an app that are not on their way out.
    async fn pods(&self, app: &str) -> Vec<Value> {
        let (code, list) = self.get(&format!("{PODS}?labelSelector=app%3D{app}")).await;
        assert_eq!(code, 200);
        let pods = list["items"].as_array().unwrap().iter();
        pods.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).cloned().collect()
    }

    async fn first_pod(&self, app: &str) -> String {
        self.pods(app).await[0]["metadata"]["name"].as_str().unwrap().to_owned()
    }
}

fn add_node(world: &mut World, name: &str) {
    let node = Node::bare(2000, 4 << 30);
    let (version, now, uid) = (world.version.git_version(), world.timestamp(), world.uid());
    world.store.put(Resource::Nodes, node.object(name, 0, version, &now, &now, uid));
    world.nodes.insert(name.to_owned(), node);
}

/// A Deployment whose pods use a twentieth of a core and 50 MiB.
fn add_web(world: &mut World, replicas: usize) {
    add(
        world,
        "web",
        replicas,
        json!({
            "requests": { "cpu": "200m", "memory": "128Mi" },
            "limits": { "cpu": "400m", "memory": "256Mi" },
        }),
    );
}

fn add(world: &mut World, name: &str, replicas: usize, resources: Value) {
    let spec = json!({
        "containers": [{ "name": "app", "image": "example.test/app:1", "resources": resources }],
    });
    declare(
        world,
        Resource::Deployments,
        "default",
        name,
        replicas,
        spec,
        Workload::constant(0.05, 50.0),
    );
}

fn names(list: &Value) -> Vec<&str> {
    list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["metadata"]["name"].as_str().unwrap())
        .collect()
}

fn bare_pod(name: &str) -> Value {
    json!({
        "kind": "Pod", "apiVersion": "v1", "metadata": { "name": name, "labels": { "app": name } },
        "spec": { "containers": [{
            "name": "app", "image": "example.test/app:1",
            "resources": { "limits": { "cpu": 0.1, "memory": "64Mi" } },
        }] },
    })
}

/// Waits until a condition holds that must come to hold.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let timeout = Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(Instant::now() < timeout, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
