//! Kubelets that do not act, act late or are gone, and nodes that cannot resize.

use dqn_scaler::sim::node::Kubelet;

use super::*;

async fn resize(cluster: &Cluster, pod: &str, limits: Value) -> u16 {
    let container = json!({ "name": "app", "resources": limits });
    let patch = json!({ "spec": { "containers": [container] } });
    cluster.patch(&format!("{PODS}/{pod}/resize"), patch).await.0
}

fn cpu(cpu: &str) -> Value {
    json!({ "limits": { "cpu": cpu } })
}

async fn pod(cluster: &Cluster, name: &str) -> Value {
    cluster.get(&format!("{PODS}/{name}")).await.1
}

fn in_force(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]["resources"]["limits"]["cpu"]
}

fn has_resize_conditions(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().unwrap();
    conditions.iter().any(|c| c["type"].as_str().unwrap().starts_with("PodResize"))
}

fn now(cluster: &Cluster) -> f64 {
    cluster.simulation.world().now
}

#[tokio::test]
async fn a_silent_kubelet_leaves_a_resize_as_it_is_until_it_speaks_again() {
    let cluster = Cluster::with_web().await;
    cluster.simulation.world().set_kubelet("node-1", Kubelet::Silent);
    let name = cluster.first_pod("web").await;
    assert_eq!(resize(&cluster, &name, cpu("500m")).await, 200);
    let began = now(&cluster);
    until("a minute", async || now(&cluster) > began + 60.0).await;
    let unchanged = pod(&cluster, &name).await;
    assert_eq!(in_force(&unchanged), "400m");
    assert!(!has_resize_conditions(&unchanged), "{unchanged}");
    let (code, _) = cluster.post(PODS, bare_pod("other")).await;
    assert_eq!(code, 201);
    until("it still starts pods", async || {
        pod(&cluster, "other").await["status"]["phase"] == "Running"
    })
    .await;
    cluster.simulation.world().set_kubelet("node-1", Kubelet::Prompt);
    until("it catches up", async || in_force(&pod(&cluster, &name).await) == "500m").await;
}

#[tokio::test]
async fn a_slow_kubelet_takes_its_time() {
    let cluster = Cluster::with_web().await;
    cluster.simulation.world().set_kubelet("node-1", Kubelet::Slow { seconds: 30.0 });
    let name = cluster.first_pod("web").await;
    let began = now(&cluster);
    assert_eq!(resize(&cluster, &name, cpu("500m")).await, 200);
    until("it is in force", async || in_force(&pod(&cluster, &name).await) == "500m").await;
    assert!(now(&cluster) >= began + 30.0);
}

#[tokio::test]
async fn a_stopped_kubelet_does_and_reports_nothing() {
    let cluster = Cluster::with_web().await;
    cluster.simulation.world().set_kubelet("node-1", Kubelet::Stopped);
    let name = cluster.first_pod("web").await;
    assert_eq!(resize(&cluster, &name, cpu("500m")).await, 200);
    assert_eq!(cluster.delete(&format!("{PODS}/{name}")).await.0, 200);
    let ready = async || {
        let (_, node) = cluster.get("/api/v1/nodes/node-1").await;
        let conditions = node["status"]["conditions"].as_array().unwrap().iter();
        conditions.filter(|c| c["type"] == "Ready").map(|c| c["status"].clone()).next().unwrap()
    };
    until("the node is lost", async || ready().await == "Unknown").await;
    let lost = pod(&cluster, &name).await;
    assert_eq!(in_force(&lost), "400m");
    assert!(!lost["metadata"]["deletionTimestamp"].is_null(), "nobody confirms its end");
    let metrics = "/apis/metrics.k8s.io/v1beta1/pods";
    until("nothing is measured", async || cluster.get(metrics).await.1["items"] == json!([])).await;
    cluster.simulation.world().set_kubelet("node-1", Kubelet::Prompt);
    assert_eq!(ready().await, "True");
    until("the pod goes", async || cluster.get(&format!("{PODS}/{name}")).await.0 == 404).await;
}

#[tokio::test]
async fn nodes_with_static_policies_or_windows_resize_nothing() {
    for (version, cpu_policy, memory_policy) in [
        (ServerVersion::V1_33, "CPU Manager static policy", "Memory Manager static policy"),
        (ServerVersion::V1_36, "CPU Manager policy \"static\"", "Memory Manager policy \"Static\""),
    ] {
        let cluster = Cluster::start(version, |world| {
            let resources = json!({ "limits": { "cpu": "100m", "memory": "64Mi" } });
            add(world, "pinned", 1, resources);
        })
        .await;
        let name = cluster.first_pod("pinned").await;
        let cpu = |cpu: &str| json!({ "limits": { "cpu": cpu }, "requests": { "cpu": cpu } });
        let both = json!({
            "limits": { "cpu": "200m", "memory": "96Mi" },
            "requests": { "cpu": "200m", "memory": "96Mi" },
        });
        let guaranteed = "Resize is infeasible for Guaranteed Pods alongside";
        let windows = "In-place pod resize is not supported on Windows".to_owned();
        for (features, resources, message) in [
            ([true, false, false], cpu("200m"), format!("{guaranteed} {cpu_policy}")),
            ([false, true, false], both, format!("{guaranteed} {memory_policy}")),
            ([false, false, true], cpu("300m"), windows),
        ] {
            if let Some(node) = cluster.simulation.world().nodes.get_mut("node-1") {
                [node.static_cpu_policy, node.static_memory_policy, node.windows] = features;
            }
            assert_eq!(resize(&cluster, &name, resources).await, 200);
            until("it is infeasible", async || {
                let pod = pod(&cluster, &name).await;
                let mut conditions = pod["status"]["conditions"].as_array().unwrap().iter();
                conditions.any(|c| c["reason"] == "Infeasible" && c["message"] == message)
            })
            .await;
        }
    }
}
