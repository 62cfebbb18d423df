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
        json!({
            "spec": {
                "template": {
                    "metadata": { "creationTimestamp": null },
                    "spec": { "containers": [container] },
                },
            },
        })
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

fn template(cpu: &str) -> Value {
    let container = json!({ "name": "app", "resources": { "limits": { "cpu": cpu } } });
    json!({ "spec": { "template": { "spec": { "containers": [container] } } } })
}

/// Lets so many seconds of the cluster pass.
async fn pass(cluster: &Cluster, seconds: f64) {
    let end = cluster.simulation.world().now + seconds;
    until("time passes", async || cluster.simulation.world().now > end).await;
}

#[tokio::test]
async fn a_paused_deployment_rolls_nothing_out_until_it_goes_on() {
    let cluster = Cluster::with_web().await;
    let path = format!("{DEPLOYMENTS}/web");
    assert_eq!(cluster.patch(&path, json!({ "spec": { "paused": true } })).await.0, 200);
    assert_eq!(cluster.patch(&path, template("500m")).await.0, 200);
    until("the Deployment says so", async || {
        let (_, deployment) = cluster.get(&path).await;
        let mut conditions = deployment["status"]["conditions"].as_array().unwrap().iter();
        deployment["status"]["observedGeneration"] == 3
            && deployment["status"]["updatedReplicas"] == 0
            && conditions.any(|condition| condition["reason"] == "DeploymentPaused")
    })
    .await;
    assert_eq!(cluster.patch(&path, json!({ "spec": { "replicas": 2 } })).await.0, 200);
    until("it is scaled", async || cluster.pods("web").await.len() == 2).await;
    assert!(cluster.pods("web").await.iter().all(|pod| limits(pod)["cpu"] == "400m"));
    assert_eq!(cluster.patch(&path, json!({ "spec": { "paused": false } })).await.0, 200);
    until("the rollout", async || {
        let pods = cluster.pods("web").await;
        pods.len() == 2 && pods.iter().all(|pod| limits(pod)["cpu"] == "500m")
    })
    .await;
}

#[tokio::test]
async fn a_rollout_that_gets_nowhere_misses_its_deadline() {
    let cluster = Cluster::with_web().await;
    let path = format!("{DEPLOYMENTS}/web");
    let mut patch = template("500m");
    patch["spec"]["progressDeadlineSeconds"] = 60.into();
    patch["spec"]["template"]["spec"]["nodeSelector"] = json!({ "disk": "none" });
    assert_eq!(cluster.patch(&path, patch).await.0, 200);
    until("the deadline passes", async || {
        let (_, deployment) = cluster.get(&path).await;
        let mut conditions = deployment["status"]["conditions"].as_array().unwrap().iter();
        conditions.any(|c| c["type"] == "Progressing" && c["reason"] == "ProgressDeadlineExceeded")
    })
    .await;
}

#[tokio::test]
async fn on_delete_and_partitions_hold_pods_back() {
    let cluster = Cluster::start(ServerVersion::default(), |world| {
        for name in ["waiting", "parted"] {
            let spec = bare_pod(name)["spec"].clone();
            let workload = Workload::constant(0.02, 20.0);
            declare(world, Resource::StatefulSets, "default", name, 2, spec, workload);
        }
    })
    .await;
    let path = |name: &str| format!("/apis/apps/v1/namespaces/default/statefulsets/{name}");
    let strategies = [
        ("waiting", json!({ "type": "OnDelete" })),
        ("parted", json!({ "type": "RollingUpdate", "rollingUpdate": { "partition": 1 } })),
    ];
    for (name, strategy) in strategies {
        let mut patch = template("150m");
        patch["spec"]["updateStrategy"] = strategy;
        assert_eq!(cluster.patch(&path(name), patch).await.0, 200);
    }
    let cpu = async |pod: &str| {
        let (code, pod) = cluster.get(&format!("{PODS}/{pod}")).await;
        let ready = pod["status"]["phase"] == "Running" && code == 200;
        ready.then(|| limits(&pod)["cpu"].as_str().unwrap().to_owned())
    };
    until("the last goes", async || cpu("parted-1").await.as_deref() == Some("150m")).await;
    pass(&cluster, 60.0).await;
    for pod in ["waiting-0", "waiting-1", "parted-0"] {
        assert_eq!(cpu(pod).await.as_deref(), Some("100m"), "{pod}");
    }
    // What goes by itself comes back as new, but not below the partition.
    for (pod, expected) in [("waiting-0", "150m"), ("parted-0", "100m")] {
        let uid = cluster.get(&format!("{PODS}/{pod}")).await.1["metadata"]["uid"].clone();
        assert_eq!(cluster.delete(&format!("{PODS}/{pod}")).await.0, 200);
        until("it is back", async || {
            let (_, new) = cluster.get(&format!("{PODS}/{pod}")).await;
            new["metadata"]["uid"] != uid && cpu(pod).await.is_some()
        })
        .await;
        assert_eq!(cpu(pod).await.as_deref(), Some(expected), "{pod}");
    }
}
