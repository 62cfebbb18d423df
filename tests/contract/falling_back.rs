//! Resizes that a node or a release cannot do in place.

use super::*;

/// A node that `web` fills up with another pod, so that nothing can grow there.
fn full_node() -> Arc<Simulation> {
    cluster(|world| {
        add(world, Resource::Deployments, "web", 1, 2.0, 200.0);
        let resources = json!({"requests": {"cpu": "7400m"}});
        add_with(world, Resource::Pods, "filler", 1, resources, Workload::constant(7.0, 50.0));
    })
}

fn template_limit(simulation: &Simulation) -> Value {
    let web =
        simulation.world().store.value(Resource::Deployments, &Key::new("default", "web")).unwrap();
    web["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"].clone()
}

#[tokio::test]
async fn a_deferred_resize_is_waited_for_then_given_up_for_the_template() {
    let simulation = full_node();
    let config = Config {
        deferred_timeout: 60,
        resize_timeout: 5,
        auto_scale_interval: 5,
        dry_run: false,
        ..Config::default()
    };
    let service = Service::on(&simulation, config).await;
    let name = pods_of(&simulation, "web").remove(0);
    until("the resize is deferred", async || {
        pod(&simulation, &name)["status"]["conditions"]
            .as_array()
            .unwrap()
            .iter()
            .any(|c| c["reason"] == "Deferred")
    })
    .await;
    assert_eq!(template_limit(&simulation), "500m", "not yet");
    until("the template grows", async || template_limit(&simulation) != "500m").await;
    assert_eq!(template_limit(&simulation), "900m");
    // The new pod finds no room either: the old one goes on serving, under its old limit.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    let old = pod(&simulation, &name);
    assert_eq!(limits(&simulation, &name).1["cpu"], "500m");
    assert!(old["metadata"]["deletionTimestamp"].is_null() && old["status"]["phase"] == "Running");
    assert_eq!(template_limit(&simulation), "900m", "one rollout at a time");

    simulation.world().delete_pod(&Key::new("default", "filler"), Some(0));
    until("the rollout is over", async || {
        let pods = pods_of(&simulation, "web");
        pods.len() == 1
            && pods[0] != name
            && pod(&simulation, &pods[0])["status"]["phase"] == "Running"
    })
    .await;
    let (_, told) = service.get("/changes").await;
    let first = told["changes"].as_array().unwrap().last().unwrap();
    assert_eq!((&first["course"], &first["by"]), (&json!("fell_back"), &json!("loop")), "{first}");
    assert!(first["message"].as_str().unwrap().contains("the kubelet did not resize the pod"));
    let (_, statistics) = service.get("/statistics").await;
    assert!(statistics["statistics"]["overview"]["applied_scalings"].as_u64() >= Some(1));
}

#[tokio::test]
async fn a_deferred_resize_goes_through_when_room_comes_free() {
    let simulation = full_node();
    let service = Service::on(&simulation, Config { resize_timeout: 5, ..live() }).await;
    let name = pods_of(&simulation, "web").remove(0);
    let (_, body) = service.post(&format!("/scale/pod/default/{name}"), json!({})).await;
    assert_eq!(body["result"]["status"], "success", "accepted, if not yet done: {body}");
    assert_eq!(limits(&simulation, &name).1["cpu"], "500m");
    simulation.world().delete_pod(&Key::new("default", "filler"), Some(0));
    until("the kubelet does it", async || limits(&simulation, &name).1["cpu"] == "900m").await;
    assert_eq!(template_limit(&simulation), "500m");
    let change = async || service.get("/changes").await.1["changes"][0].clone();
    let pending = change().await;
    assert_eq!(pending["course"], "pending");
    assert!(pending["message"].as_str().unwrap().starts_with("deferred by the kubelet: "));
    until("it is told as done", async || {
        service.post("/scale/all", json!({})).await;
        change().await["course"] == "done"
    })
    .await;
    let done = change().await;
    assert_eq!(
        (&done["timestamp"], &done["message"]),
        (&pending["timestamp"], &pending["message"])
    );
    assert!(done["seconds"].as_f64().unwrap() > 0.0, "{done}");
}

#[tokio::test]
async fn stateful_and_daemon_sets_are_rolled_out_too() {
    for (kind, app, replicas) in
        [(Resource::StatefulSets, "db", 2), (Resource::DaemonSets, "agent", 1)]
    {
        // This release does not lower memory limits in place.
        let simulation =
            cluster_of(ServerVersion::V1_33, |world| add(world, kind, app, replicas, 0.1, 100.0));
        let service = Service::on(&simulation, quiet()).await;
        let path = format!("/api/namespaces/default/pods/{}/resize", pods_of(&simulation, app)[0]);
        let wanted = json!({"cpu": "500m", "memory": "300Mi"});
        let (status, body) =
            service.post(&path, json!({"containers": {"app": {"limits": wanted}}})).await;
        assert_eq!(
            (status.as_u16(), &body["scaling_method"]),
            (200, &json!("deployment_update")),
            "{body}"
        );
        until("the rollout is over", async || {
            let pods = pods_of(&simulation, app);
            pods.len() == replicas
                && pods
                    .iter()
                    .all(|name| limits(&simulation, name) == (wanted.clone(), wanted.clone()))
        })
        .await;
    }
}

#[tokio::test]
async fn before_1_32_the_pod_itself_is_patched() {
    let simulation = cluster_of(ServerVersion::V1_27, |world| {
        add(world, Resource::Deployments, "web", 1, 0.45, 100.0)
    });
    let service = Service::on(&simulation, live()).await;
    let name = pods_of(&simulation, "web").remove(0);
    let (_, body) = service.post(&format!("/scale/pod/default/{name}"), json!({})).await;
    assert_eq!(
        (&body["result"]["status"], &body["result"]["scaling_method"]),
        (&json!("success"), &json!("vertical")),
        "{body}"
    );
    until("the kubelet is done", async || limits(&simulation, &name).1["cpu"] == "600m").await;
}
