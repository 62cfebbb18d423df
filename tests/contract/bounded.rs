//! The namespaces that the service may look into and act in, whatever its rights.

use super::*;

const OUTSIDE: &str = "The namespace \"other\" is not among allowed_namespaces: nothing was done";

fn bounded() -> Config {
    Config { allowed_namespaces: vec!["default".into(), "shop".into()], ..live() }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_namespace_is_neither_looked_at_nor_changed() {
    let simulation = cluster(|world| add(world, Resource::Pods, "lonely", 1, 0.1, 100.0));
    let service = Service::on(&simulation, bounded()).await;
    until("the watches are begun", async || service.get("/pods").await.1["count"] == 1).await;
    simulation.faults().log.forget();
    let resize = json!({"containers": {"app": {"limits": {"cpu": "1"}}}});
    for path in ["/pods/other/lonely", "/pods/other/lonely/history"] {
        assert_eq!(service.get(path).await, (StatusCode::FORBIDDEN, failure(OUTSIDE)), "{path}");
    }
    for path in ["/scale/pod/other/lonely", "/api/namespaces/other/pods/lonely/resize"] {
        assert_eq!(
            service.post(path, resize.clone()).await,
            (StatusCode::FORBIDDEN, failure(OUTSIDE)),
            "{path}"
        );
    }
    let asked = simulation.faults().log.requests();
    assert!(asked.iter().all(|request| !request.path.contains("/other/")), "{asked:?}");
    // Inside the boundary nothing is different, whether the namespace is watched or not.
    assert_eq!(
        service.post("/api/namespaces/default/pods/lonely/resize", resize).await.0,
        StatusCode::OK
    );
    assert_eq!(service.get("/pods/shop/nobody").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_api_cannot_move_the_boundary_nor_configure_beyond_it() {
    let service = Service::with(bounded(), Clock::new(1.0)).await;
    let before = service.get("/config").await.1;
    assert_eq!(before["allowed_namespaces"], json!(["default", "shop"]));
    let (status, answer) =
        service.post("/config", json!({"namespaces": ["shop", "other"], "dry_run": true})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(answer, failure("namespaces: \"other\" is not among allowed_namespaces"));
    let (_, answer) = service.post("/config", json!({"allowed_namespaces": []})).await;
    assert_eq!(answer["ignored"], json!(["allowed_namespaces"]));
    assert_eq!(service.get("/config").await.1, before);
    assert_eq!(service.post("/config", json!({"namespaces": ["shop"]})).await.0, StatusCode::OK);
}

#[tokio::test]
async fn every_route_of_one_pod_documents_the_boundary_and_keeps_it() {
    let service = Service::with(bounded(), Clock::new(1.0)).await;
    let document = service.get("/openapi.json").await.1;
    let mut checked = 0;
    for (path, item) in document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .filter(|(path, _)| path.contains("{namespace}"))
    {
        for (method, operation) in item.as_object().unwrap() {
            let told = operation["responses"]["403"]["description"].as_str().unwrap();
            assert!(told.contains("allowed_namespaces"), "{method} {path}: {told}");
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let path = path.replace("{namespace}", "other").replace("{pod_name}", "lonely");
            let (status, answer) =
                answer(service.request(method, &path).json(&json!({})).send().await.unwrap()).await;
            assert_eq!((status, answer), (StatusCode::FORBIDDEN, failure(OUTSIDE)), "{path}");
            checked += 1;
        }
    }
    assert!(checked >= 4, "{checked}");
}
