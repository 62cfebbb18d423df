//! What works without a cluster, and how the rest says that there is none.

use super::*;

#[tokio::test]
async fn what_needs_a_cluster_says_that_there_is_none() {
    let service = Service::start().await;
    let resize = json!({"containers": {"app": {"limits": {"cpu": "1"}}}});
    for (method, path, body) in [
        (Method::GET, "/pods", None),
        (Method::GET, "/pods/default/web", None),
        (Method::POST, "/scale/pod/default/web", None),
        (Method::POST, "/scale/all", None),
        (Method::POST, "/autoscale/start", None),
        (Method::POST, "/api/namespaces/default/pods/web/resize", Some(resize)),
    ] {
        let mut request = service.request(method, path);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let (status, answer) = answer(request.send().await.unwrap()).await;
        assert_eq!(status, 503, "{path}");
        assert_eq!(answer, failure("Kubernetes client not initialized"), "{path}");
    }
}

#[tokio::test]
async fn the_rest_works() {
    let service = Service::start().await;
    let (status, health) = service.get("/health").await;
    assert_eq!(
        (status.as_u16(), &health["status"], &health["service"]),
        (200, &json!("healthy"), &json!("dqn-scaler"))
    );
    let timestamp = health["timestamp"].as_str().unwrap();
    assert!(
        timestamp.ends_with('Z') && timestamp.len() == "2024-12-18T10:30:00.000Z".len(),
        "{timestamp}"
    );
    assert_eq!(service.send(Method::GET, "/livez").await.status(), 200);
    let (status, ready) = service.get("/readyz").await;
    let nothing = json!({"connected": false, "simulated_speed": null});
    assert_eq!((status, &ready["cluster"]), (StatusCode::SERVICE_UNAVAILABLE, &nothing));
    assert_eq!((&ready["role"], &ready["model"]["loaded"]), (&json!("alone"), &json!(true)));
    let (_, index) = service.get("/").await;
    assert_eq!(
        (&index["version"], index["endpoints"].as_object().unwrap().len()),
        (&json!("1.0.0"), 13)
    );
    let (_, model) = service.get("/model/info").await;
    assert_eq!(model["actions"], json!({"0": "DECREASE", "1": "MAINTAIN", "2": "INCREASE"}));
    assert_eq!(model["state_features"][2], "Network latency (placeholder)");
    let (_, decisions) = service.get("/decisions?limit=many").await;
    assert_eq!(decisions, json!({"success": true, "count": 0, "decisions": []}));
    let (_, statistics) = service.get("/statistics").await;
    assert_eq!(statistics["statistics"]["system_status"]["kubernetes_available"], false);
    assert_eq!(statistics["statistics"]["overview"]["scaling_rate"], 0.0);
}

#[tokio::test]
async fn unknown_paths_and_methods_are_told_in_the_envelope() {
    let service = Service::start().await;
    assert_eq!(
        service.get("/nowhere").await,
        (StatusCode::NOT_FOUND, failure("Endpoint not found"))
    );
    let response = service.send(Method::DELETE, "/config").await;
    let allow = response.headers()["allow"].to_str().unwrap().to_owned();
    assert!(["GET", "HEAD", "POST"].iter().all(|method| allow.contains(method)), "{allow}");
    let (status, body) = answer(response).await;
    assert_eq!((status.as_u16(), &body["success"]), (405, &json!(false)));
    for path in ["/pods/default/Not_A_Pod", "/pods/not%20one/web", "/pods/default/a%2Fb"] {
        let (status, body) = service.get(path).await;
        assert_eq!((status.as_u16(), &body["success"]), (400, &json!(false)), "{path}");
    }
    let head = service.send(Method::HEAD, "/config").await;
    assert_eq!((head.status().as_u16(), head.text().await.unwrap().as_str()), (200, ""));
}
