use super::*;

#[tokio::test]
async fn a_created_pod_is_completed_scheduled_and_run() {
    let cluster = Cluster::with_web().await;
    let (code, created) = cluster.post(PODS, bare_pod("one")).await;
    assert_eq!((code, &created["status"]["phase"]), (201, &json!("Pending")));
    assert_eq!(created["status"]["qosClass"], "Guaranteed", "requests default to limits");
    assert_eq!(
        created["spec"]["containers"][0]["resources"]["limits"]["cpu"], "100m",
        "quantities are canonical"
    );
    until("it runs", async || {
        cluster.get(&format!("{PODS}/one")).await.1["status"]["phase"] == "Running"
    })
    .await;
    let (code, status) = cluster.post(PODS, bare_pod("one")).await;
    assert_eq!((code, &status["message"]), (409, &json!("pods \"one\" already exists")));

    let mut generated = bare_pod("");
    generated["metadata"] = json!({ "generateName": "batch-" });
    let (code, created) = cluster.post(PODS, generated).await;
    let name = created["metadata"]["name"].as_str().unwrap();
    assert!(code == 201 && name.starts_with("batch-") && name.len() == 11, "{name}");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let cluster = Cluster::with_web().await;
    let changed = |pointer: &str, value: Value| {
        let mut pod = bare_pod("odd");
        *pod.pointer_mut(pointer).unwrap() = value;
        pod
    };
    for (pod, expected, message) in [
        (changed("/spec/containers", json!([])), 422, "spec.containers: Required value"),
        (changed("/metadata/name", json!("No Name")), 422, "metadata.name: Invalid value"),
        (changed("/metadata/name", json!("")), 422, "metadata.name: Required value"),
        (changed("/spec/containers", json!("none")), 400, "cannot be handled as a Pod"),
        (changed("/kind", json!("Deployment")), 400, "cannot be handled as a Pod"),
        (
            changed("/spec/containers/0/resources/limits/cpu", json!("fast")),
            400,
            "quantities must match",
        ),
        (json!([]), 400, "cannot be handled as a Pod"),
    ] {
        let (code, status) = cluster.post(PODS, pod).await;
        assert_eq!((code, &status["kind"]), (expected, &json!("Status")), "{status}");
        assert!(status["message"].as_str().unwrap().contains(message), "{status}");
    }
    let elsewhere = "/api/v1/namespaces/nowhere/pods";
    assert_eq!(
        cluster.post(elsewhere, bare_pod("odd")).await.1["message"],
        "namespaces \"nowhere\" not found"
    );
    assert_eq!(cluster.send(Method::POST, PODS, "text/plain", bare_pod("odd")).await.0, 415);
    assert_eq!(cluster.send(Method::POST, PODS, "application/json", Value::from("{")).await.0, 400);
    let apply = "application/apply-patch+yaml";
    assert_eq!(
        cluster.send(Method::PATCH, &format!("{DEPLOYMENTS}/web"), apply, json!({})).await.0,
        415
    );
    let (code, status) =
        cluster.patch(&format!("{DEPLOYMENTS}/web"), json!({ "spec": { "replicas": "3" } })).await;
    assert_eq!((code, &status["reason"]), (422, &json!("Invalid")));
    let selector = json!({ "spec": { "selector": { "matchLabels": { "app": "other" } } } });
    assert_eq!(cluster.patch(&format!("{DEPLOYMENTS}/web"), selector).await.0, 422);
    let large = json!({ "metadata": { "annotations": { "a": "x".repeat(4 << 20) } } });
    assert_eq!(cluster.patch(&format!("{DEPLOYMENTS}/web"), large).await.0, 413);
}

#[tokio::test]
async fn writers_that_come_too_late_are_told() {
    let cluster = Cluster::with_web().await;
    let path = format!("{DEPLOYMENTS}/web");
    let (_, old) = cluster.get(&path).await;
    let put = async |object: &Value| {
        cluster.send(Method::PUT, &path, "application/json", object.clone()).await
    };
    let mut new = old.clone();
    new["metadata"]["labels"]["tier"] = "front".into();
    let (code, stored) = put(&new).await;
    assert_eq!((code, &stored["metadata"]["labels"]["tier"]), (200, &json!("front")));
    assert_eq!(
        stored["metadata"]["generation"], old["metadata"]["generation"],
        "labels are no spec"
    );
    let (code, status) = put(&new).await;
    assert_eq!((code, &status["reason"]), (409, &json!("Conflict")));
    let fields = new["metadata"].as_object_mut().unwrap();
    fields.remove("resourceVersion");
    assert_eq!(
        put(&new).await.1["metadata"]["resourceVersion"],
        stored["metadata"]["resourceVersion"],
        "no change"
    );
    new["metadata"]["uid"] = "another".into();
    assert_eq!(put(&new).await.0, 409);
    new["metadata"]["name"] = "other".into();
    assert_eq!(put(&new).await.0, 400);
}

#[tokio::test]
async fn pods_go_gracefully_at_once_or_by_eviction() {
    let cluster = Cluster::start(ServerVersion::default(), |world| {
        for name in ["a", "b", "c"] {
            let spec = bare_pod(name)["spec"].clone();
            declare(
                world,
                Resource::Pods,
                "default",
                name,
                1,
                spec,
                Workload::constant(0.05, 50.0),
            );
        }
    })
    .await;
    let wrong = json!({ "preconditions": { "uid": "another" } });
    assert_eq!(
        cluster.send(Method::DELETE, &format!("{PODS}/a"), "application/json", wrong).await.0,
        409
    );
    let (code, going) = cluster.delete(&format!("{PODS}/a")).await;
    assert_eq!((code, &going["metadata"]["deletionGracePeriodSeconds"]), (200, &json!(30)));
    until("it is gone", async || cluster.get(&format!("{PODS}/a")).await.0 == 404).await;

    let now = json!({ "gracePeriodSeconds": 0 });
    assert_eq!(
        cluster.send(Method::DELETE, &format!("{PODS}/b"), "application/json", now).await.0,
        200
    );
    assert_eq!(cluster.get(&format!("{PODS}/b")).await.0, 404);

    let eviction =
        json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": "c" } });
    let (code, status) =
        cluster.post(&format!("{PODS}/c/eviction?dryRun=All"), eviction.clone()).await;
    assert_eq!((code, &status["status"]), (201, &json!("Success")));
    assert!(cluster.get(&format!("{PODS}/c")).await.1["metadata"]["deletionTimestamp"].is_null());
    assert_eq!(cluster.post(&format!("{PODS}/c/eviction"), eviction).await.0, 201);
    until("it is gone", async || cluster.get(&format!("{PODS}/c")).await.0 == 404).await;
}

#[tokio::test]
async fn leases_and_events_are_kept_and_a_namespace_takes_all_along() {
    let cluster = Cluster::start(ServerVersion::default(), |_| {}).await;
    let namespace = json!({ "metadata": { "name": "team" } });
    assert_eq!(cluster.post("/api/v1/namespaces", namespace).await.0, 201);
    let leases = "/apis/coordination.k8s.io/v1/namespaces/team/leases";
    let lease = json!({
        "metadata": { "name": "leader" },
        "spec": { "holderIdentity": "a", "leaseDurationSeconds": 15 },
    });
    assert_eq!(cluster.post(leases, lease).await.0, 201);
    let renewed = json!({ "spec": { "holderIdentity": "b" } });
    let (_, lease) = cluster.send(Method::PATCH, &format!("{leases}/leader"), MERGE, renewed).await;
    assert_eq!(lease["spec"], json!({ "holderIdentity": "b", "leaseDurationSeconds": 15 }));
    let event = json!({
        "metadata": { "generateName": "scaled-" },
        "reason": "Scaled", "message": "up", "type": "Normal",
        "involvedObject": { "kind": "Pod", "namespace": "team", "name": "one" },
    });
    assert_eq!(cluster.post("/api/v1/namespaces/team/events", event).await.0, 201);
    assert_eq!(cluster.post("/api/v1/namespaces/team/pods", bare_pod("one")).await.0, 201);
    assert_eq!(cluster.delete("/api/v1/namespaces/team").await.0, 200);
    for path in
        ["/api/v1/namespaces/team", &format!("{leases}/leader"), "/api/v1/namespaces/team/pods/one"]
    {
        assert_eq!(cluster.get(path).await.0, 404, "{path}");
    }
}

#[tokio::test]
async fn a_cordoned_node_gets_no_new_pods_and_a_deleted_one_takes_its_pods_along() {
    let cluster = Cluster::with_web().await;
    let node = "/api/v1/nodes/node-1";
    assert_eq!(cluster.patch(node, json!({ "spec": { "unschedulable": true } })).await.0, 200);
    assert_eq!(cluster.post(PODS, bare_pod("late")).await.0, 201);
    until("the scheduler says why", async || {
        let (_, pod) = cluster.get(&format!("{PODS}/late")).await;
        pod["status"]["conditions"][0]["message"]
            .as_str()
            .is_some_and(|message| message.contains("1 node(s) were unschedulable"))
    })
    .await;
    assert_eq!(cluster.patch(node, json!({ "spec": { "unschedulable": null } })).await.0, 200);
    until("it runs", async || {
        cluster.get(&format!("{PODS}/late")).await.1["status"]["phase"] == "Running"
    })
    .await;
    assert_eq!(cluster.delete(node).await.0, 200);
    assert_eq!(cluster.get(&format!("{PODS}/late")).await.0, 404);
    until("the others wait for a node", async || {
        let pods = cluster.pods("web").await;
        pods.len() == 3 && pods.iter().all(|pod| pod["status"]["phase"] == "Pending")
    })
    .await;
}

#[tokio::test]
async fn events_of_clients_are_kept_found_by_source_and_forgotten_after_an_hour() {
    const EVENTS: &str = "/api/v1/namespaces/default/events";
    let cluster = Cluster::with_web().await;
    let dated = |name: &str, hours: i64| {
        let world = cluster.simulation.world();
        let at = world.date(world.now) - chrono::Duration::hours(hours);
        let at = at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        json!({
            "metadata": { "name": name },
            "involvedObject": { "kind": "Pod", "namespace": "default", "name": "web" },
            "reason": "Resized", "type": "Normal", "source": { "component": "test" }, "count": 1,
            "lastTimestamp": at,
        })
    };
    for (name, hours) in [("old", 2), ("new", 0), ("renewed", 2)] {
        assert_eq!(cluster.post(EVENTS, dated(name, hours)).await.0, 201);
    }
    let again = json!({ "count": 2, "lastTimestamp": dated("renewed", 0)["lastTimestamp"] });
    let (code, renewed) = cluster.patch(&format!("{EVENTS}/renewed"), again).await;
    assert_eq!((code, &renewed["count"]), (200, &json!(2)));
    // By the clock on the wall, as it is for who looks.
    cluster.simulation.world().event_seconds = 3600;
    cluster.simulation.world().expire_events();
    let (code, list) = cluster.get(&format!("{EVENTS}?fieldSelector=source%3Dtest")).await;
    assert_eq!((code, names(&list)), (200, vec!["new", "renewed"]));
}
