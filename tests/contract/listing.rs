//! `/pods` and `/pods/{namespace}/{pod}`.

use super::faults::refuse;
use super::*;

#[tokio::test]
async fn every_pod_is_listed_with_the_documented_fields() {
    let simulation = cluster(|world| {
        add(world, Resource::Deployments, "web", 2, 0.1, 100.0);
        add(world, Resource::Deployments, "redis", 1, 0.1, 100.0);
    });
    let service = Service::on(&simulation, quiet()).await;
    let (status, body) = service.get("/pods").await;
    assert_eq!((status.as_u16(), &body["success"], &body["count"]), (200, &json!(true), &json!(3)));
    let pods = body["pods"].as_array().unwrap();
    let documented = [
        "name",
        "namespace",
        "status",
        "creation_timestamp",
        "labels",
        "node_name",
        "pod_ip",
        "containers",
        "owner",
        "monitored",
    ];
    assert_eq!(keys(&pods[0]), documented);
    let web = pods.iter().find(|pod| pod["labels"]["app"] == "web").unwrap();
    assert_eq!(
        (&web["status"], &web["node_name"], &web["monitored"]),
        (&json!("Running"), &json!("node-1"), &json!(true))
    );
    assert_eq!(web["owner"]["kind"], "ReplicaSet");
    assert_eq!(
        web["containers"],
        json!([{
            "name": "app",
            "image": "example.test/app:1",
            "resources": {
                "requests": {"cpu": "250m", "memory": "256Mi"},
                "limits": {"cpu": "500m", "memory": "512Mi"}
            }
        }])
    );
    let created = web["creation_timestamp"].as_str().unwrap();
    assert!(created.len() == 24 && created.ends_with('Z'), "{created}");
    let redis = pods.iter().find(|pod| pod["labels"]["app"] == "redis").unwrap();
    assert_eq!(redis["monitored"], false);
}

#[tokio::test]
async fn a_pod_is_shown_with_its_usage_and_requests() {
    let simulation = cluster(|world| add(world, Resource::Deployments, "web", 1, 0.1, 100.0));
    let service = Service::on(&simulation, quiet()).await;
    let name = &pods_of(&simulation, "web")[0];
    let (status, body) = service.get(&format!("/pods/default/{name}")).await;
    assert_eq!(status, 200);
    assert_eq!(
        body,
        json!({
            "success": true,
            "pod": format!("default/{name}"),
            "metrics": {"cpu_usage_cores": 0.1, "memory_usage_mb": 100.0},
            "resources": {"cpu_requests_cores": 0.25, "memory_requests_mb": 256.0}
        })
    );
    let without = Rule { group: Some("metrics.k8s.io".into()), ..refuse(404) };
    simulation.faults().add(without);
    until("the last answer is forgotten", async || {
        let (_, body) = service.get(&format!("/pods/default/{name}")).await;
        body["metrics"].is_null()
    })
    .await;
    let (status, body) = service.get("/pods/default/nobody").await;
    assert_eq!((status.as_u16(), &body["success"]), (404, &json!(false)));
    assert!(body["error"].as_str().unwrap().contains("nobody"), "{body}");
}

#[tokio::test]
async fn namespaces_are_changed_while_it_runs() {
    let simulation = cluster(|world| {
        add(world, Resource::Deployments, "web", 1, 0.1, 100.0);
        add_namespace(world, "shop");
        let spec = json!({"containers": [{"name": "app", "image": "example.test/app:1"}]});
        declare(
            world,
            Resource::Deployments,
            "shop",
            "cart",
            2,
            spec,
            Workload::constant(0.1, 100.0),
        );
    });
    let service = Service::on(&simulation, quiet()).await;
    assert_eq!(service.get("/pods").await.1["count"], 1);
    let (status, body) = service.post("/config", json!({"namespaces": ["shop", "default"]})).await;
    assert_eq!((status.as_u16(), &body["success"]), (200, &json!(true)));
    assert_eq!(service.get("/pods").await.1["count"], 3);
    service.post("/config", json!({"namespaces": ["shop"]})).await;
    assert_eq!(service.get("/pods").await.1["count"], 2);
}

#[tokio::test]
async fn the_list_follows_the_cluster() {
    let simulation = cluster(|world| add(world, Resource::Pods, "lonely", 1, 0.1, 100.0));
    let service = Service::on(&simulation, quiet()).await;
    assert_eq!(service.get("/pods").await.1["count"], 1);
    simulation.world().delete_pod(&Key::new("default", "lonely"), Some(0));
    until("the deletion is seen", async || service.get("/pods").await.1["count"] == 0).await;
}
