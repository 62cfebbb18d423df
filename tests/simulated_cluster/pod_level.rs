//! Pods with requests and limits as a whole.

use super::*;

fn whole(name: &str, container: Value) -> Value {
    json!({
        "kind": "Pod", "apiVersion": "v1", "metadata": { "name": name, "labels": { "app": name } },
        "spec": {
            "resources": {
                "requests": { "cpu": "500m", "memory": "256Mi" },
                "limits": { "cpu": 1, "memory": "512Mi" },
            },
            "containers": [
                { "name": "app", "image": "example.test/app:1", "resources": container },
            ],
        },
    })
}

async fn resize(cluster: &Cluster, resources: Value) -> (u16, String) {
    let patch = json!({ "spec": { "containers": [{ "name": "app", "resources": resources }] } });
    let (code, answer) = cluster.patch(&format!("{PODS}/ide/resize"), patch).await;
    (code, answer["message"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_pod_bounds_its_containers() {
    let cluster = Cluster::start(ServerVersion::V1_36, |_| {}).await;
    let own = json!({ "requests": { "cpu": "100m" }, "limits": { "cpu": "400m" } });
    let (code, created) = cluster.post(PODS, whole("ide", own)).await;
    assert_eq!((code, &created["status"]["qosClass"]), (201, &json!("Burstable")));
    assert_eq!(created["spec"]["resources"]["limits"], json!({ "cpu": "1", "memory": "512Mi" }));
    until("it runs", async || {
        let (_, pod) = cluster.get(&format!("{PODS}/ide")).await;
        pod["status"]["resources"] == pod["spec"]["resources"]
    })
    .await;
    assert_eq!(cluster.simulation.world().nodes["node-1"].allocated.cpu, 500);

    let (code, message) = resize(&cluster, json!({ "limits": { "cpu": "2" } })).await;
    let expected = "spec.containers[0].resources.limits[cpu]: Invalid value: \"2\": \
        must be less than or equal to pod limits of 1";
    assert!(code == 422 && message.ends_with(expected), "{message}");
    let more = json!({ "requests": { "cpu": "600m" }, "limits": { "cpu": "800m" } });
    let (code, message) = resize(&cluster, more).await;
    let expected = "spec.resources.requests[cpu]: Invalid value: \"500m\": \
        must be greater than or equal to aggregate container requests of 600m";
    assert!(code == 422 && message.ends_with(expected), "{message}");
    assert_eq!(resize(&cluster, json!({ "limits": { "cpu": "1" } })).await.0, 200);
}

#[tokio::test]
async fn the_pod_itself_is_resized_and_old_servers_know_nothing_of_it() {
    let cluster = Cluster::start(ServerVersion::V1_36, |_| {}).await;
    assert_eq!(cluster.post(PODS, whole("ide", json!({}))).await.0, 201);
    let path = format!("{PODS}/ide");
    until("it runs", async || cluster.get(&path).await.1["status"]["phase"] == "Running").await;
    let patch = json!({ "spec": { "resources": { "limits": { "cpu": "1500m" } } } });
    assert_eq!(cluster.patch(&format!("{path}/resize"), patch).await.0, 200);
    until("it is in force", async || {
        cluster.get(&path).await.1["status"]["resources"]["limits"]["cpu"] == "1500m"
    })
    .await;

    let cluster = Cluster::start(ServerVersion::V1_33, |_| {}).await;
    let (code, created) = cluster.post(PODS, whole("ide", json!({}))).await;
    assert_eq!((code, created["spec"].get("resources")), (201, None));
    assert_eq!(created["status"]["qosClass"], "BestEffort");
}
