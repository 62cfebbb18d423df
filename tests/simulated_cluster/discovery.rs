use kube::discovery::{Discovery, verbs};

use super::*;

#[tokio::test]
async fn clients_find_what_is_served() {
    let cluster = Cluster::with_web().await;
    let discovery = Discovery::new(cluster.client()).run().await.unwrap();
    let found: Vec<(String, String)> = discovery
        .groups()
        .flat_map(|group| group.recommended_resources())
        .filter(|(_, capabilities)| capabilities.supports_operation(verbs::LIST))
        .map(|(resource, _)| (resource.api_version, resource.plural))
        .collect();
    for (version, plural) in [
        ("v1", "pods"),
        ("v1", "nodes"),
        ("v1", "namespaces"),
        ("v1", "events"),
        ("apps/v1", "deployments"),
        ("apps/v1", "statefulsets"),
        ("coordination.k8s.io/v1", "leases"),
        ("metrics.k8s.io/v1beta1", "pods"),
    ] {
        assert!(
            found.contains(&(version.to_owned(), plural.to_owned())),
            "{version} {plural}: {found:?}"
        );
    }
    let version = cluster.client().apiserver_version().await.unwrap();
    assert_eq!((version.major.as_str(), version.minor.as_str()), ("1", "36"));
    for path in ["/healthz", "/livez", "/readyz"] {
        assert_eq!(cluster.get(path).await, (200, "ok".into()));
    }
}

#[tokio::test]
async fn resize_came_with_1_33() {
    for (version, served) in
        [(ServerVersion::V1_27, false), (ServerVersion::V1_33, true), (ServerVersion::V1_36, true)]
    {
        let cluster = Cluster::start(version, |world| add_web(world, 1)).await;
        let (_, resources) = cluster.get("/api/v1").await;
        let listed = resources["resources"]
            .as_array()
            .unwrap()
            .iter()
            .any(|known| known["name"] == "pods/resize");
        assert_eq!(listed, served, "{version:?}");
        let pod = cluster.first_pod("web").await;
        let (code, _) = cluster.get(&format!("{PODS}/{pod}/resize")).await;
        assert_eq!(code, if served { 200 } else { 404 }, "{version:?}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_told_as_the_api_server_tells_it() {
    let cluster = Cluster::with_web().await;
    for path in [
        "/",
        "/api/v2",
        "/apis/batch/v1",
        "/api/v1/secrets",
        "/apis/apps/v2/deployments",
        "/sim",
        "/sim/else",
        "/api/v1/pods/web",
        "/api/v1/namespaces/default/nodes",
        "/api/v1/namespaces/default/pods/web/log",
    ] {
        let (code, status) = cluster.get(path).await;
        assert_eq!(
            (code, &status["kind"], &status["reason"]),
            (404, &json!("Status"), &json!("NotFound")),
            "{path}"
        );
    }
    let (code, status) = cluster.get(&format!("{PODS}/nobody")).await;
    assert_eq!((code, &status["message"]), (404, &json!("pods \"nobody\" not found")));
    assert_eq!(status["details"], json!({ "name": "nobody", "kind": "pods" }));
    for (method, path) in [
        (Method::POST, "/version"),
        (Method::PUT, PODS),
        (Method::POST, "/api/v1/nodes"),
        (Method::POST, "/api/v1/namespaces/default/pods/web"),
        (Method::PATCH, "/apis/metrics.k8s.io/v1beta1/nodes"),
    ] {
        let (code, status) = cluster.send(method, path, "application/json", json!({})).await;
        assert_eq!((code, &status["reason"]), (405, &json!("MethodNotAllowed")), "{path}");
    }
}
