//! The documented API over a real socket.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod admission;
mod annotations;
mod attacks;
mod autoscaling;
mod births;
mod bounded;
mod changes;
mod configuration;
mod cors;
mod documented;
mod events;
mod exporting;
mod falling_back;
mod faults;
mod hostile_server;
mod leading;
mod listing;
mod outcome;
mod overview;
mod persistence;
mod prometheus;
mod requests;
mod resizing;
mod reverting;
mod safety;
mod safety_identity;
mod safety_measurements;
mod safety_refusals;
mod safety_resizes;
mod safety_time;
mod scaling;
mod second_look;
mod sizes;
mod without_a_cluster;
mod workloads;

use std::sync::Arc;

use dqn_scaler::api;
use dqn_scaler::clock::Clock;
use dqn_scaler::cluster::events::Queue;
use dqn_scaler::config::Config;
use dqn_scaler::core::event::PodEvent;
use dqn_scaler::core::features::FeatureSet;
use dqn_scaler::core::quantity;
use dqn_scaler::leader::Leadership;
use dqn_scaler::model::{Checkpoint, NamedTensor, Network};
use dqn_scaler::scaler::cycle::Scaler;
use dqn_scaler::service::connection::Patience;
use dqn_scaler::service::listen::{self, Bounds};
use dqn_scaler::service::places::Places;
use dqn_scaler::service::state::AppState;
use dqn_scaler::service::{autoscaler, births, dispatcher, publish};
use dqn_scaler::sim::demo::{add_namespace, add_nodes, declare};
use dqn_scaler::sim::faults::{Effect, Rule};
use dqn_scaler::sim::resources::Resource;
use dqn_scaler::sim::simulation::Simulation;
use dqn_scaler::sim::store::Key;
use dqn_scaler::sim::workload::Workload;
use dqn_scaler::sim::world::{ServerVersion, World};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc::Receiver;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A running service; it stops when this is dropped.
struct Service {
    base: String,
    client: reqwest::Client,
    state: Arc<AppState>,
    _stop: DropGuard,
}

impl Service {
    /// Without a cluster.
    async fn start() -> Self {
        Self::with(Config::default(), Clock::new(1.0)).await
    }

    async fn metric(&self, name: &str) -> f64 {
        let text = self.send(Method::GET, "/metrics").await.text().await.unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map_or(0.0, |value| value.trim().parse().unwrap())
    }

    /// On a cluster; its network always wants more CPU and less memory.
    async fn on(simulation: &Arc<Simulation>, config: Config) -> Self {
        let service = Self::with(config, *simulation.clock()).await;
        service.state.connected(simulation.client());
        service
    }

    async fn with(config: Config, clock: Clock) -> Self {
        Self::led(config, clock, Leadership::alone()).await
    }

    async fn led(config: Config, clock: Clock, leadership: Leadership) -> Self {
        Self::run(state(config, clock, leadership)).await
    }

    /// On a cluster, with a network of choice.
    async fn of_network(
        simulation: &Arc<Simulation>,
        config: Config,
        network: &Checkpoint,
    ) -> Self {
        let (clock, leadership) = (*simulation.clock(), Leadership::alone());
        let service = Self::run(state_of(network, config, clock, leadership)).await;
        service.state.connected(simulation.client());
        service
    }

    async fn run(parts: (Arc<AppState>, Receiver<PodEvent>)) -> Self {
        Self::bounded(parts, 1000, Patience::default()).await
    }

    /// With so many connections at the same time, and so much patience for each.
    async fn bounded(
        (state, events): (Arc<AppState>, Receiver<PodEvent>),
        most: usize,
        patience: Patience,
    ) -> Self {
        let stopping = state.stopping.clone();
        tokio::spawn(autoscaler(&state).run(stopping.clone()));
        tokio::spawn(dispatcher(&state).run(stopping.clone()));
        tokio::spawn(births(&state).run(stopping.clone()));
        tokio::spawn(AppState::clone(&state).follow_config());
        tokio::spawn(publish(&state, events, stopping.clone()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (stopped, router) = (stopping.clone().cancelled_owned(), api::router(state.clone()));
        let bounds = Bounds {
            places: Places::new(most, most),
            patience,
            counted: state.scaler.metrics.connections.clone(),
        };
        tokio::spawn(listen::answer(listener, router, None, bounds, stopped));
        Self { base, client: reqwest::Client::new(), state, _stop: stopping.drop_guard() }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    async fn send(&self, method: Method, path: &str) -> Response {
        self.request(method, path).send().await.unwrap()
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        answer(self.send(Method::GET, path).await).await
    }

    async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        answer(self.request(Method::POST, path).json(&body).send().await.unwrap()).await
    }
}

/// A service without its tasks.
fn state(
    config: Config,
    clock: Clock,
    leadership: Leadership,
) -> (Arc<AppState>, Receiver<PodEvent>) {
    state_of(&network_that_wants([0.0, 1.0, 2.0], [2.0, 1.0, 0.0]), config, clock, leadership)
}

fn state_of(
    network: &Checkpoint,
    config: Config,
    clock: Clock,
    leadership: Leadership,
) -> (Arc<AppState>, Receiver<PodEvent>) {
    let (queue, events) = Queue::new();
    let stopping = CancellationToken::new();
    let network = Network::from_checkpoint(network).unwrap();
    let scaler = Scaler::new(network, FeatureSet::documented(), queue, stopping.clone());
    let state = AppState::new(config, scaler, clock, Arc::new(leadership), stopping);
    (Arc::new(state), events)
}

/// A cluster that lives twenty times as fast as the clock, so that nobody waits for a kubelet.
fn cluster(fill: impl FnOnce(&mut World)) -> Arc<Simulation> {
    cluster_of(ServerVersion::default(), fill)
}

fn cluster_of(version: ServerVersion, fill: impl FnOnce(&mut World)) -> Arc<Simulation> {
    let simulation = Simulation::new(Clock::new(20.0), version, |world| {
        add_nodes(world, 1, 8.0, 16.0);
        add_namespace(world, "default");
        world.settled_age = Some(3600.0);
        fill(world);
    });
    tokio::spawn(simulation.clone().run());
    simulation
}

/// A workload in `default` whose pods use `cpu` cores and `memory` MiB and are limited to half a
/// core and 512 MiB.
fn add(world: &mut World, resource: Resource, name: &str, replicas: usize, cpu: f64, memory: f64) {
    let resources = json!({"requests": {"cpu": "250m", "memory": "256Mi"},
        "limits": {"cpu": "500m", "memory": "512Mi"}});
    add_with(world, resource, name, replicas, resources, Workload::constant(cpu, memory));
}

fn add_with(
    world: &mut World,
    kind: Resource,
    name: &str,
    replicas: usize,
    resources: Value,
    workload: Workload,
) {
    let spec = json!({"containers": [{"name": "app", "image": "example.test/app:1",
        "resources": resources}]});
    declare(world, kind, "default", name, replicas, spec, workload);
}

/// The names of the pods of a workload.
fn pods_of(simulation: &Simulation, app: &str) -> Vec<String> {
    let ours = |pod: &Value| {
        pod["metadata"]["labels"]["app"] == app && pod["metadata"]["deletionTimestamp"].is_null()
    };
    let pods = pods(simulation).into_iter().filter(ours);
    pods.map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

fn pods(simulation: &Simulation) -> Vec<Value> {
    simulation.world().store.range(Resource::Pods, None, None).map(|pod| pod.value()).collect()
}

fn pod(simulation: &Simulation, name: &str) -> Value {
    simulation.world().store.value(Resource::Pods, &Key::new("default", name)).unwrap()
}

/// What the spec wants and what the kubelet has put in force, of the first container.
fn limits(simulation: &Simulation, name: &str) -> (Value, Value) {
    let pod = pod(simulation, name);
    let wanted = pod["spec"]["containers"][0]["resources"]["limits"].clone();
    (wanted, pod["status"]["containerStatuses"][0]["resources"]["limits"].clone())
}

/// Waits until a condition holds that must come to hold.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !holds().await {
        assert!(std::time::Instant::now() < deadline, "it never came: {what}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// A configuration whose loop is off and whose changes are real.
fn live() -> Config {
    Config { dry_run: false, ..quiet() }
}

/// A configuration whose loop is off, as every documented default but that.
fn quiet() -> Config {
    Config { auto_scale_enabled: false, ..Config::default() }
}

fn keys(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

async fn answer(response: Response) -> (StatusCode, Value) {
    assert_eq!(response.headers()["content-type"], "application/json");
    (response.status(), response.json().await.unwrap())
}

fn failure(message: &str) -> Value {
    json!({"success": false, "error": message})
}

/// A network whose Q values are the same for every state.
fn network_that_wants(cpu: [f32; 3], memory: [f32; 3]) -> Checkpoint {
    let tensor = |name: &str, shape: &[usize], bias: Option<&[f32]>| {
        let zeros = vec![0.0; shape.iter().product()];
        NamedTensor {
            name: name.into(),
            shape: shape.into(),
            data: bias.map_or(zeros, <[f32]>::to_vec),
        }
    };
    Checkpoint {
        tensors: vec![
            tensor("shared_layers.0.weight", &[4, 8], None),
            tensor("shared_layers.0.bias", &[4], None),
            tensor("cpu_head.0.weight", &[3, 4], None),
            tensor("cpu_head.0.bias", &[3], Some(&cpu)),
            tensor("memory_head.0.weight", &[3, 4], None),
            tensor("memory_head.0.bias", &[3], Some(&memory)),
            tensor("prediction_head.0.weight", &[2, 4], None),
            tensor("prediction_head.0.bias", &[2], Some(&[0.5, 0.5])),
        ],
        metadata: Map::new(),
    }
}
