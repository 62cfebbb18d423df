//! Kinds that only the owners of a cluster know, as owners of what is known.

use dqn_scaler::sim::custom::CustomKind;

use super::*;

const APPS: &str = "/apis/example.test/v1/namespaces/default/apps";

#[tokio::test]
async fn objects_of_a_custom_kind_are_kept_found_and_followed() {
    let cluster = Cluster::with_web().await;
    assert_eq!(cluster.get(&format!("{APPS}/shop")).await.0, 404, "the kind is not defined");
    let kind = CustomKind::new("example.test", "v1", "apps", "App");
    cluster.simulation.world().custom.define(kind);
    let (_, resources) = cluster.get("/apis/example.test/v1").await;
    assert_eq!(resources["resources"][0]["kind"], "App");
    let (_, groups) = cluster.get("/apis").await;
    let mut groups = groups["groups"].as_array().unwrap().iter();
    assert!(groups.any(|group| group["name"] == "example.test"));

    let app = json!({ "metadata": { "name": "shop" }, "spec": { "size": 1 } });
    let (code, app) = cluster.post(APPS, app).await;
    assert_eq!(
        (code, &app["kind"], &app["apiVersion"]),
        (201, &json!("App"), &json!("example.test/v1"))
    );
    let path = format!("{APPS}/shop");
    let larger = json!({ "spec": { "size": 2 } });
    let (code, patched) = cluster.send(Method::PATCH, &path, MERGE, larger).await;
    assert_eq!((code, &patched["spec"]["size"]), (200, &json!(2)));
    assert_ne!(patched["metadata"]["resourceVersion"], app["metadata"]["resourceVersion"]);
    assert_eq!(names(&cluster.get(APPS).await.1), ["shop"]);
    let url = format!("{}{path}", cluster.base);
    let accept = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    let request = cluster.http.get(url).header("accept", accept);
    let partial: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(
        (&partial["kind"], &partial["metadata"]["name"], partial.get("spec")),
        (&json!("PartialObjectMetadata"), &json!("shop"), None)
    );

    let owner = json!([{
        "apiVersion": "example.test/v1", "kind": "App", "name": "shop",
        "uid": app["metadata"]["uid"], "controller": true,
    }]);
    let owned = json!({ "metadata": { "ownerReferences": owner } });
    assert_eq!(cluster.patch(&format!("{DEPLOYMENTS}/web"), owned).await.0, 200);
    let mut pod = bare_pod("alone");
    pod["metadata"]["ownerReferences"] = owner;
    assert_eq!(cluster.post(PODS, pod).await.0, 201);
    assert_eq!(cluster.delete(&path).await.0, 200);
    until("what it owned goes with it", async || {
        cluster.get("/api/v1/pods").await.1["items"] == json!([])
            && cluster.get(&format!("{DEPLOYMENTS}/web")).await.0 == 404
    })
    .await;
}

#[tokio::test]
async fn a_daemon_set_of_another_group_is_not_the_one_of_apps() {
    let cluster = Cluster::with_web().await;
    let daemons = "/apis/apps/v1/namespaces/default/daemonsets";
    let labels = json!({ "app": "agent" });
    let pod = bare_pod("agent");
    let daemon_set = json!({ "metadata": { "name": "agent" }, "spec": {
        "selector": { "matchLabels": labels },
        "template": { "metadata": { "labels": labels }, "spec": pod["spec"] },
    } });
    assert_eq!(cluster.post(daemons, daemon_set).await.0, 201);
    until("its pod", async || cluster.pods("agent").await.len() == 1).await;
    let before = cluster.get(&format!("{daemons}/agent")).await.1["status"].clone();
    let mut stranger = bare_pod("stranger");
    stranger["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "apps.example.test/v1", "kind": "DaemonSet", "name": "agent", "uid": "other",
        "controller": true,
    }]);
    assert_eq!(cluster.post(PODS, stranger).await.0, 201);
    assert_eq!(cluster.delete(&format!("{PODS}/stranger")).await.0, 200);
    until("it goes", async || cluster.get(&format!("{PODS}/stranger")).await.0 == 404).await;
    let after = cluster.get(&format!("{daemons}/agent")).await.1["status"].clone();
    assert_eq!(after["desiredNumberScheduled"], before["desiredNumberScheduled"]);
    assert_eq!(cluster.pods("agent").await.len(), 1);
}
