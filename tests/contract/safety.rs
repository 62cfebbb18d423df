//! No pod is harmed, whatever a cluster sends: what the tests of that have in common.

pub use dqn_scaler::core::resource::PerResource;
use dqn_scaler::sim::runtime::{CrashLoop, End};

use super::*;

pub const INCREASE: [f32; 3] = [0.0, 1.0, 2.0];
pub const MAINTAIN: [f32; 3] = [0.0, 1.0, 0.0];
pub const DECREASE: [f32; 3] = [2.0, 1.0, 0.0];

/// A loop that decides every five seconds of the cluster, waits for nothing and knows a peak after
/// two measurements.
pub fn looping() -> Config {
    Config { auto_scale_enabled: true, auto_scale_interval: 5, ..unhurried() }
}

/// The same without the loop; what failed rests for ten minutes.
pub fn unhurried() -> Config {
    Config { auto_scale_interval: 600, scaling_cooldown: 0, history_window: 2, ..live() }
}

/// A service whose network always prefers the same.
pub async fn preferring(
    simulation: &Arc<Simulation>,
    config: Config,
    [cpu, memory]: [[f32; 3]; 2],
) -> Service {
    Service::of_network(simulation, config, &network_that_wants(cpu, memory)).await
}

/// A network that wants more of what is used to four fifths.
pub fn network_of_utilization() -> Checkpoint {
    let mut network = network_that_wants([0.0, 0.8, 0.0], [0.0, 0.8, 0.0]);
    for tensor in &mut network.tensors {
        match tensor.name.as_str() {
            // The first two features are the utilization of CPU and of memory.
            "shared_layers.0.weight" => (tensor.data[0], tensor.data[8 + 1]) = (1.0, 1.0),
            "cpu_head.0.weight" => tensor.data[2 * 4] = 1.0,
            "memory_head.0.weight" => tensor.data[2 * 4 + 1] = 1.0,
            _ => {}
        }
    }
    network
}

pub fn container(name: &str, resources: Value) -> Value {
    json!({"name": name, "image": "example.test/app:1", "resources": resources})
}

/// Half a core and 512 MiB, of which half is requested.
pub fn half() -> Value {
    json!({"requests": {"cpu": "250m", "memory": "256Mi"},
        "limits": {"cpu": "500m", "memory": "512Mi"}})
}

/// A bare pod in `default`.
pub fn add_pod(world: &mut World, name: &str, spec: Value, cpu: f64, memory: f64) {
    let workload = Workload::constant(cpu, memory);
    declare(world, Resource::Pods, "default", name, 1, spec, workload);
}

/// From now on the pod wants so much.
pub fn load(simulation: &Simulation, pod: &str, cpu: f64, memory: f64) {
    let mut world = simulation.world();
    let pod = world.pods.get_mut(&Key::new("default", pod)).unwrap();
    pod.workload = Workload::constant(cpu, memory);
}

/// Kills the container of the pod once, as if for memory.
pub async fn kill(simulation: &Simulation, pod: &str) {
    let (key, crash) = (Key::new("default", pod), CrashLoop::new(1.0, End::OutOfMemory));
    simulation.world().set_crash_loop(Resource::Pods, &key, "app", Some(crash));
    until("it is killed", async || {
        status_of(simulation, pod)["lastState"]["terminated"]["reason"] == "OOMKilled"
    })
    .await;
    simulation.world().set_crash_loop(Resource::Pods, &key, "app", None);
}

/// The limits that the spec of a container asks for.
pub fn limit(simulation: &Simulation, pod_name: &str, container: &str) -> PerResource<f64> {
    let limits = container_of(simulation, pod_name, container)["resources"]["limits"].clone();
    let text = |name: &str| limits[name].as_str().unwrap().to_owned();
    let cpu = quantity::cores(&text("cpu")).unwrap();
    PerResource::new(cpu, quantity::mib(&text("memory")).unwrap())
}

/// The limits of the only container of a pod.
pub fn limit_of(simulation: &Simulation, pod: &str) -> PerResource<f64> {
    limit(simulation, pod, "app")
}

pub fn container_of(simulation: &Simulation, pod_name: &str, name: &str) -> Value {
    let spec = pod(simulation, pod_name)["spec"].clone();
    let lists = ["containers", "initContainers"].map(|list| spec[list].clone());
    let all = lists.iter().filter_map(Value::as_array).flatten();
    all.filter(|container| container["name"] == name).map(Value::clone).next().unwrap()
}

pub fn status_of(simulation: &Simulation, pod_name: &str) -> Value {
    pod(simulation, pod_name)["status"]["containerStatuses"][0].clone()
}

/// Somebody else than the service speaks to the API server.
pub async fn send(
    simulation: &Arc<Simulation>,
    method: &str,
    path: &str,
    body: Value,
) -> Result<Value, kube::Error> {
    let kind = match method {
        "PATCH" => "application/strategic-merge-patch+json",
        _ => "application/json",
    };
    let request = http::Request::builder().method(method).uri(path).header("content-type", kind);
    let body = if body.is_null() { Vec::new() } else { serde_json::to_vec(&body).unwrap() };
    simulation.client().request(request.body(body).unwrap()).await
}

/// Somebody else than the service gives a container limits.
pub async fn resize_by_hand(simulation: &Arc<Simulation>, pod: &str, name: &str, limits: Value) {
    let container = json!({"name": name, "resources": {"limits": limits}});
    let path = format!("/api/v1/namespaces/default/pods/{pod}/resize");
    let body = json!({"spec": {"containers": [container]}});
    send(simulation, "PATCH", &path, body).await.unwrap();
}

/// A decision on one pod: its result.
pub async fn scale(service: &Service, pod: &str) -> Value {
    let (status, body) = service.post(&format!("/scale/pod/default/{pod}"), json!({})).await;
    assert_eq!(status, 200, "{body}");
    body["result"].clone()
}

/// A decision on all pods: the result of one.
pub async fn scale_all(service: &Service, pod: &str) -> Value {
    let (status, body) = service.post("/scale/all", json!({})).await;
    assert_eq!(status, 200, "{body}");
    result_of(&body, pod)
}

pub fn result_of(body: &Value, pod: &str) -> Value {
    let results = body["results"].as_array().unwrap();
    results.iter().find(|result| result["pod_name"] == *pod).unwrap().clone()
}

pub fn factors(result: &Value) -> Vec<&str> {
    let factors = result["explanation"]["factors"].as_array().unwrap();
    factors.iter().map(|factor| factor.as_str().unwrap()).collect()
}

/// What the service has published on objects of this kind: name, reason, message.
pub fn published(simulation: &Simulation, kind: &str) -> Vec<[String; 3]> {
    let world = simulation.world();
    let events = world.store.range(Resource::Events, None, None).map(|event| event.value());
    let ours = events.filter(|event| {
        event["source"]["component"] == "dqn-scaler" && event["involvedObject"]["kind"] == kind
    });
    let text = |text: &Value| text.as_str().unwrap().to_owned();
    ours.map(|event| {
        [text(&event["involvedObject"]["name"]), text(&event["reason"]), text(&event["message"])]
    })
    .collect()
}

/// How the API server has answered the resizes that it was asked for, of one pod or of all.
pub fn resizes(simulation: &Simulation, pod: Option<&str>) -> Vec<u16> {
    let of = |path: &str| match pod {
        Some(pod) => path.contains(&format!("/pods/{pod}/resize")),
        None => path.contains("/resize"),
    };
    let requests = simulation.faults().log.requests().into_iter();
    let resizes = requests.filter(|request| request.method == "PATCH" && of(&request.path));
    resizes.filter_map(|request| request.status).collect()
}

/// Lets so many seconds of the cluster pass.
pub async fn pass(simulation: &Simulation, seconds: f64) {
    let end = simulation.world().now + seconds;
    until("time passes", async || simulation.world().now > end).await;
}

pub fn object(simulation: &Simulation, kind: Resource, name: &str) -> Value {
    simulation.world().store.value(kind, &Key::new("default", name)).unwrap()
}

/// The template and the generation of a workload.
pub fn template(simulation: &Simulation, kind: Resource, name: &str) -> (Value, Value) {
    let object = object(simulation, kind, name);
    (object["spec"]["template"].clone(), object["metadata"]["generation"].clone())
}
