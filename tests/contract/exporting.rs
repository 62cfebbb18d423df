//! What workloads have settled on, for templates that are kept elsewhere.

use super::annotations::annotate;
use super::safety::*;
use super::*;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};

async fn text(service: &Service, query: &str) -> String {
    let response = service.send(Method::GET, &format!("/workloads?{query}")).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/yaml");
    response.text().await.unwrap()
}

#[tokio::test]
async fn what_workloads_have_settled_on_is_given_as_patches_and_as_values() {
    let simulation = cluster(|world| {
        add(world, Resource::Deployments, "web", 1, 0.1, 100.0);
        add(world, Resource::StatefulSets, "db", 2, 0.1, 100.0);
        add(world, Resource::Deployments, "off", 1, 0.1, 100.0);
        add(world, Resource::Deployments, "same", 1, 0.1, 100.0);
    });
    annotate::<Deployment>(&simulation, "off", &[("mode", "off")]).await;
    annotate::<StatefulSet>(&simulation, "db", &[("mode", "recommend")]).await;
    let service = preferring(&simulation, looping(), [MAINTAIN, MAINTAIN]).await;
    until("all are known", async || service.get("/workloads").await.1["found"] == 4).await;
    let (web, off) = (pods_of(&simulation, "web").remove(0), pods_of(&simulation, "off").remove(0));
    for (pod, memory) in [(&*web, "1Gi"), ("db-0", "600Mi"), ("db-1", "700Mi"), (&off, "1Gi")] {
        resize_by_hand(&simulation, pod, "app", json!({"cpu": "1", "memory": memory})).await;
    }
    until("that is known", async || {
        let patches = text(&service, "format=patch").await;
        patches.contains("memory: 1Gi") && patches.contains("memory: 700Mi")
    })
    .await;
    let patches = text(&service, "format=patch&namespace=default").await;
    let expected = "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: default
spec:
  template:
    spec:
      containers:
      - name: app
        resources:
          requests:
            cpu: 500m
            memory: 512Mi
          limits:
            cpu: '1'
            memory: 1Gi
";
    assert_eq!(patches.split("---\n").next(), Some(expected));
    assert_eq!(patches.matches("kind: ").count(), 2, "{patches}");
    let values = text(&service, "format=helm&search=db").await;
    let expected = "\
dqnScaler:
  default:
    statefulset:
      db:
        app:
          requests:
            cpu: 500m
            memory: 350Mi
          limits:
            cpu: '1'
            memory: 700Mi
";
    assert_eq!(values, expected, "the largest of all");
    assert_eq!(text(&service, "format=patch&search=nothing").await, "");
    assert_eq!(service.get("/workloads?format=xml").await.0, 400);
    assert_eq!(service.get("/workloads?format=json").await.1["found"], 4);
}
