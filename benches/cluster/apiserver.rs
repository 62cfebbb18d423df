//! The cluster's side: the simulated Kubernetes API on a socket, in a process of its own, with as
//! many pods as wanted.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;
use dqn_scaler::clock::Clock;
use dqn_scaler::sim::api;
use dqn_scaler::sim::demo::{add_namespace, add_nodes, declare};
use dqn_scaler::sim::resources::Resource;
use dqn_scaler::sim::simulation::Simulation;
use dqn_scaler::sim::workload::{Kind, Workload};
use dqn_scaler::sim::world::{ServerVersion, World};
use http_body_util::BodyExt;
use serde_json::{Value, json};

/// What Kubernetes recommends as the most in one namespace.
const PODS_PER_NAMESPACE: usize = 3000;
const REPLICAS: usize = 10;
const PODS_PER_NODE: usize = 30;

pub fn namespaces(pods: usize) -> Vec<String> {
    (0..pods.div_ceil(PODS_PER_NAMESPACE)).map(|index| format!("team-{index}")).collect()
}

/// Serves until it is killed; says on standard output where.
pub fn run(pods: usize) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?.block_on(
        async {
            let simulation = Simulation::new(Clock::new(1.0), ServerVersion::default(), |world| {
                fill(world, pods)
            });
            let sent = Arc::new(AtomicU64::new(0));
            let told = sent.clone();
            let router = api::router(simulation.clone())
                .layer(middleware::from_fn(move |request, next| count(request, next, sent.clone())))
                .route(
                    "/sent",
                    get(move || async move { told.load(Ordering::Relaxed).to_string() }),
                );
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
            println!("{}", listener.local_addr()?.port());
            std::io::stdout().flush()?;
            tokio::spawn(simulation.run());
            Ok(axum::serve(listener, router).await?)
        },
    )
}

/// Counts the bytes of every answer, watches included.
async fn count(request: Request, next: Next, sent: Arc<AtomicU64>) -> Response {
    next.run(request).await.map(|body| {
        Body::new(body.map_frame(move |frame| {
            let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
            sent.fetch_add(bytes, Ordering::Relaxed);
            frame
        }))
    })
}

fn fill(world: &mut World, pods: usize) {
    add_nodes(world, pods.div_ceil(PODS_PER_NODE), 64.0, 256.0);
    world.settled_age = Some(3600.0);
    let mut left = pods;
    for (number, namespace) in namespaces(pods).iter().enumerate() {
        add_namespace(world, namespace);
        let here = left.min(PODS_PER_NAMESPACE);
        left -= here;
        for index in 0..here.div_ceil(REPLICAS) {
            let kind = Kind::ALL[index % Kind::ALL.len()];
            let workload = Workload::generate_at(
                kind,
                (number * PODS_PER_NAMESPACE + index) as u64,
                0.25,
                300.0,
            );
            let replicas = REPLICAS.min(here - index * REPLICAS);
            declare(
                world,
                Resource::Deployments,
                namespace,
                &format!("app-{index}"),
                replicas,
                spec(index),
                workload,
            );
        }
    }
    add_managed_fields(world);
}

/// About as much as a pod of a real cluster says: two containers, an environment, probes, volumes.
fn spec(index: usize) -> Value {
    let environment: Vec<Value> = (0..8)
        .map(|n| json!({"name": format!("SETTING_{n}"), "value": format!("value-{index}-{n}")}))
        .collect();
    let probe = json!({"httpGet": {"path": "/healthz", "port": 8080, "scheme": "HTTP"},
        "periodSeconds": 10, "timeoutSeconds": 1});
    let mounts = json!([{"name": "kube-api-access", "readOnly": true,
        "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]);
    let container = |name: &str, requests: Value, limits: Value| {
        json!({
            "name": name, "image": format!("example.test/{name}:1.0"), "env": environment,
            "resources": {"requests": requests, "limits": limits},
            "livenessProbe": probe, "readinessProbe": probe, "volumeMounts": mounts,
        })
    };
    // Every fifth has too little and is to grow.
    let cpu = if index.is_multiple_of(5) { "150m" } else { "1" };
    json!({
        "containers": [
            container("app", json!({"cpu": "100m", "memory": "256Mi"}), json!({"cpu": cpu,
                "memory": "1Gi"})),
            container("proxy", json!({"cpu": "50m", "memory": "64Mi"}), json!({"cpu": "200m",
                "memory": "128Mi"})),
        ],
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
