use super::*;

fn limits(pod: &Value) -> &Value {
    &pod["spec"]["containers"][0]["resources"]["limits"]
}

#[tokio::test]
async fn a_patched_template_rolls_out_new_pods() {
    let cluster = Cluster::with_web().await;
    let before = cluster.pods("web").await;
    let container = json!({ "name": "app", "resources": { "limits": { "cpu": "500m" } } });
    let patch = json!({ "spec": { "template": { "spec": { "containers": [container] } } } });
    let (code, patched) = cluster.patch(&format!("{DEPLOYMENTS}/web"), patch.clone()).await;
    assert_eq!((code, &patched["metadata"]["generation"]), (200, &json!(2)));
    until("the rollout", async || {
        let (_, deployment) = cluster.get(&format!("{DEPLOYMENTS}/web")).await;
        let status = &deployment["status"];
        status["observedGeneration"] == 2
            && status["updatedReplicas"] == 3
            && status["replicas"] == 3
            && status["readyReplicas"] == 3
    })
    .await;
    let after = cluster.pods("web").await;
    assert_eq!(after.len(), 3);
    for pod in &after {
        assert_eq!(limits(pod), &json!({ "cpu": "500m", "memory": "256Mi" }));
        assert!(before.iter().all(|old| old["metadata"]["uid"] != pod["metadata"]["uid"]));
    }
    for old in &before {
        let path = format!("{PODS}/{}", old["metadata"]["name"].as_str().unwrap());
        until("the old pods go", async || cluster.get(&path).await.0 == 404).await;
    }
    // The same again changes nothing, and nothing is rolled out.
    let (_, again) = cluster.patch(&format!("{DEPLOYMENTS}/web"), patch).await;
    assert_eq!(again["metadata"]["generation"], 2);
}

#[tokio::test]
async fn going_back_to_an_old_template_goes_back_to_its_replica_set() {
    let cluster = Cluster::with_web().await;
    let sets = async || {
        let (_, list) = cluster.get("/apis/apps/v1/namespaces/default/replicasets").await;
        list["items"].as_array().unwrap().clone()
    };
    let first = sets().await[0]["metadata"]["name"].clone();
    let template = |image: &str| {
        let container = json!({ "name": "app", "image": image });
        json!({ "spec": { "template": { "metadata": { "creationTimestamp": null }, "spec": { "containers": [container] } } } })
    };
    for image in ["example.test/app:2", "example.test/app:1"] {
        assert_eq!(cluster.patch(&format!("{DEPLOYMENTS}/web"), template(image)).await.0, 200);
        let ready = |set: &Value| {
            set["status"]["readyReplicas"] == 3
                && set["spec"]["template"]["spec"]["containers"][0]["image"] == image
        };
        until("the rollout", async || sets().await.iter().any(ready)).await;
    }
    let sets = sets().await;
    assert_eq!(sets.len(), 2);
    assert!(
        sets.iter().any(|set| set["metadata"]["name"] == first && set["spec"]["replicas"] == 3)
    );
}

#[tokio::test]
async fn scale_changes_replicas_and_what_owns_takes_its_pods_along() {
    let cluster = Cluster::with_web().await;
    let scale = format!("{DEPLOYMENTS}/web/scale");
    let (_, shown) = cluster.get(&scale).await;
    assert_eq!(
        (&shown["kind"], &shown["spec"]["replicas"], &shown["status"]["selector"]),
        (&json!("Scale"), &json!(3), &json!("app=web"))
    );
    let (code, _) =
        cluster.send(Method::PATCH, &scale, MERGE, json!({ "spec": { "replicas": 1 } })).await;
    assert_eq!(code, 200);
    until("two to go", async || cluster.pods("web").await.len() == 1).await;
    let (code, _) =
        cluster.send(Method::PATCH, &scale, MERGE, json!({ "spec": { "replicas": -1 } })).await;
    assert_eq!(code, 422);
    let (code, status) = cluster.delete(&format!("{DEPLOYMENTS}/web")).await;
    assert_eq!((code, &status["status"]), (200, &json!("Success")));
    until("all to go", async || cluster.get("/api/v1/pods").await.1["items"] == json!([])).await;
}
