//! What is in the cluster: Deployments of ten pods of all kinds of demand, whose limits were
//! guessed, on nodes of which some have a kubelet that is slow or says nothing.

use dqn_scaler::sim::demo::{add_namespace, add_nodes, declare};
use dqn_scaler::sim::node::Kubelet;
use dqn_scaler::sim::noise::{mix, unit};
use dqn_scaler::sim::physics::Resources;
use dqn_scaler::sim::resources::Resource;
use dqn_scaler::sim::runtime::seed_of;
use dqn_scaler::sim::store::Key;
use dqn_scaler::sim::workload::{Kind, Workload};
use dqn_scaler::sim::world::World;
use serde_json::{Value, json};

/// What Kubernetes recommends as the most in one namespace.
const PODS_PER_NAMESPACE: usize = 3000;
const REPLICAS: usize = 10;
const PODS_PER_NODE: usize = 30;
/// One node in so many is slow, and another one says nothing.
const NODES_PER_FAULT: usize = 100;
const SLOW: Kubelet = Kubelet::Slow { seconds: 20.0 };
/// What limits are of the largest demand of a day, by workload: some were guessed too low, most too
/// high.
const GUESSED_CPU: [f64; 11] = [0.7, 1.1, 1.2, 1.3, 1.5, 1.5, 2.0, 2.0, 2.5, 3.0, 4.0];
const GUESSED_MEMORY: [f64; 13] =
    [1.02, 1.1, 1.2, 1.3, 1.5, 1.5, 1.5, 2.0, 2.0, 2.0, 2.5, 3.0, 4.0];

pub fn namespaces(pods: usize) -> Vec<String> {
    (0..pods.div_ceil(PODS_PER_NAMESPACE)).map(|index| format!("team-{index}")).collect()
}

/// The Deployments, each by namespace and name with its pods.
pub fn workloads(pods: usize) -> impl Iterator<Item = (Key, usize)> {
    let of = move |(number, namespace): (usize, String)| {
        let here = PODS_PER_NAMESPACE.min(pods - number * PODS_PER_NAMESPACE);
        (0..here.div_ceil(REPLICAS)).map(move |index| {
            let name = format!("app-{index}");
            (Key::new(&*namespace, name), REPLICAS.min(here - index * REPLICAS))
        })
    };
    namespaces(pods).into_iter().enumerate().flat_map(of)
}

pub fn fill(world: &mut World, pods: usize) {
    let nodes = pods.div_ceil(PODS_PER_NODE);
    add_nodes(world, nodes, 64.0, 256.0);
    let names: Vec<String> = world.nodes.keys().cloned().collect();
    for pair in names.chunks(NODES_PER_FAULT) {
        for (node, kubelet) in pair.iter().zip([SLOW, Kubelet::Silent]) {
            world.set_kubelet(node, kubelet);
        }
    }
    world.settled_age = Some(3600.0);
    namespaces(pods).iter().for_each(|namespace| add_namespace(world, namespace));
    for (key, replicas) in workloads(pods) {
        let App { index, kind, cpu, memory } = App::of(&key);
        let workload = Workload::generate_at(kind, seed_of(&key), cpu, memory);
        let peak = largest(&workload);
        let guess = Resources {
            cpu: peak.cpu * GUESSED_CPU[index % GUESSED_CPU.len()],
            memory: peak.memory * GUESSED_MEMORY[index % GUESSED_MEMORY.len()],
        };
        let (Key { namespace, name }, resource) = (&key, Resource::Deployments);
        declare(world, resource, namespace, name, replicas, spec(index, guess), workload);
    }
    add_managed_fields(world);
    for (key, pod) in &mut world.pods {
        pod.workload = own_demand(key);
    }
}

/// A Deployment, as its name or that of one of its pods has it.
struct App {
    index: usize,
    kind: Kind,
    /// Cores and MiB.
    cpu: f64,
    memory: f64,
}

impl App {
    fn of(key: &Key) -> Self {
        let number = |name: &str| name.split('-').nth(1).and_then(|part| part.parse().ok());
        let index = number(&key.name).unwrap_or_default();
        let namespace: usize = number(&key.namespace).unwrap_or_default();
        let seed = mix((namespace * PODS_PER_NAMESPACE + index) as u64);
        let between = |low: f64, high: f64, seed| low * f64::powf(high / low, unit(seed));
        Self {
            index,
            kind: Kind::ALL[index % Kind::ALL.len()],
            cpu: between(0.05, 1.0, seed),
            memory: between(60.0, 1500.0, mix(seed)),
        }
    }
}

/// The largest demand of a day.
fn largest(workload: &Workload) -> Resources {
    let demands = (0..288).map(|step| workload.demand(300.0 * f64::from(step), 3600.0));
    demands.fold(Resources::ZERO, |largest, demand| Resources {
        cpu: largest.cpu.max(demand.cpu),
        memory: largest.memory.max(demand.memory),
    })
}

/// The demand of a pod: as large as that of the others of its Deployment, and at another time.
pub fn own_demand(pod: &Key) -> Workload {
    let App { kind, cpu, memory, .. } = App::of(pod);
    Workload::generate_at(kind, seed_of(pod), cpu, memory)
}

/// About as much as a pod of a real cluster says: two containers, an environment, probes, volumes.
fn spec(index: usize, Resources { cpu, memory }: Resources) -> Value {
    let environment: Vec<Value> = (0..8)
        .map(|n| json!({"name": format!("SETTING_{n}"), "value": format!("value-{index}-{n}")}))
        .collect();
    let probe = json!({"httpGet": {"path": "/healthz", "port": 8080, "scheme": "HTTP"},
        "periodSeconds": 10, "timeoutSeconds": 1});
    let mounts = json!([{"name": "kube-api-access", "readOnly": true,
        "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]);
    // The demand of a pod is its containers' in proportion to what they ask for.
    let container = |name: &str, share: f64| {
        let part = |of: f64| {
            let (cpu, memory) = ((1000.0 * of * cpu).ceil(), (of * memory).ceil());
            json!({"cpu": format!("{cpu}m"), "memory": format!("{memory}Mi")})
        };
        json!({
            "name": name, "image": format!("example.test/{name}:1.0"), "env": environment,
            "resources": {"requests": part(0.5 * share), "limits": part(share)},
            "livenessProbe": probe, "readinessProbe": probe, "volumeMounts": mounts,
        })
    };
    json!({
        "containers": [container("app", 0.8), container("proxy", 0.2)],
        "volumes": [{"name": "kube-api-access", "projected": {"defaultMode": 420, "sources": []}}],
        "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists",
            "effect": "NoExecute", "tolerationSeconds": 300}],
    })
}

/// Who set which field: a third of what a real API server sends of a pod.
fn add_managed_fields(world: &mut World) {
    let fields = |names: &[&str]| -> Value {
        let inner: Value = (0..6)
            .map(|n| (format!("k:{{\"name\":\"SETTING_{n}\"}}"), json!({".": {}, "f:name": {}})))
            .collect();
        names.iter().map(|name| ((*name).to_owned(), json!({".": {}, "f:env": inner}))).collect()
    };
    let managed = json!([
        {"manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1",
            "time": "2026-01-01T00:00:00Z",
         "fieldsType": "FieldsV1", "fieldsV1": fields(&["f:metadata", "f:spec", "f:containers"])},
        {"manager": "kubelet", "operation": "Update", "apiVersion": "v1",
            "time": "2026-01-01T00:00:00Z",
         "fieldsType": "FieldsV1", "subresource": "status", "fieldsV1": fields(&["f:status",
             "f:conditions"])},
    ]);
    let pods: Vec<_> = world.store.range(Resource::Pods, None, None).cloned().collect();
    for pod in pods {
        let mut value = pod.value();
        value["metadata"]["managedFields"] = managed.clone();
        world.store.put(Resource::Pods, value);
    }
}
