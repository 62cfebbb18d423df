//! `/config` and the switch of the autoscale loop.

use super::*;

#[tokio::test]
async fn the_documented_fields_come_first_and_with_their_types() {
    let (status, config) = Service::start().await.get("/config").await;
    assert_eq!(status, 200);
    let documented = json!({
        "model_path": "final-models/dqn_model.pth", "state_dim": 8, "action_dim": 3,
        "history_window": 5, "min_cpu": 0.1, "max_cpu": 8.0, "min_memory": 20,
        "max_memory": 16384, "scale_factor": 0.2,
        "dry_run": true, "in_cluster": false, "namespaces": ["default"], "auto_scale_enabled": true,
        "auto_scale_interval": 30, "scaling_cooldown": 30,
        "excluded_deployments": [
            "redis", "dqn-scaler", "metrics-collector", "load-generator", "dqn-scaler-dashboard"
        ],
        "excluded_labels": {"app": "redis", "component": "redis"}
    });
    let documented = documented.as_object().unwrap();
    let names: Vec<_> = config.as_object().unwrap().keys().take(documented.len()).collect();
    assert_eq!(names, documented.keys().collect::<Vec<_>>());
    for (name, value) in documented {
        assert_eq!(&config[name], value, "{name}");
    }
}

#[tokio::test]
async fn an_update_is_answered_with_what_holds_now() {
    let service = Service::start().await;
    let body = json!({
        "dry_run": false, "auto_scale_enabled": true, "auto_scale_interval": 60,
        "scale_factor": 0.3, "scaling_cooldown": 45, "namespaces": ["default", "production"],
        "excluded_deployments": ["redis", "database"], "excluded_labels": {"app": "system"}
    });
    let (status, answer) = service.post("/config", body.clone()).await;
    assert_eq!((status.as_u16(), &answer["success"]), (200, &json!(true)));
    assert_eq!(answer["message"], "Configuration updated");
    assert!(answer.get("ignored").is_none());
    for (name, value) in body.as_object().unwrap() {
        assert_eq!(&answer["config"][name], value, "{name}");
    }
    assert_eq!(service.get("/config").await.1, answer["config"]);
    let (_, answer) = service.post("/config", json!({"max_cpu": 99, "scale_factor": 0.1})).await;
    assert_eq!(
        (&answer["ignored"], &answer["config"]["max_cpu"]),
        (&json!(["max_cpu"]), &json!(8.0))
    );
}

#[tokio::test]
async fn a_wrong_field_changes_nothing_and_is_named() {
    let service = Service::start().await;
    let before = service.get("/config").await.1;
    for (field, value) in [
        ("dry_run", json!("false")),
        ("auto_scale_interval", json!(0)),
        ("scaling_cooldown", json!(1441)),
        ("scale_factor", json!(1)),
        ("namespaces", json!([])),
    ] {
        let (status, answer) =
            service.post("/config", json!({"excluded_deployments": [], field: value})).await;
        assert_eq!((status.as_u16(), &answer["success"]), (400, &json!(false)));
        assert!(answer["error"].as_str().unwrap().contains(field), "{answer}");
        assert_eq!(service.get("/config").await.1, before);
    }
}

#[tokio::test]
async fn a_body_that_is_no_json_object_is_refused() {
    let service = Service::start().await;
    let post = |body: &str, kind: &str| {
        service
            .request(Method::POST, "/config")
            .header("Content-Type", kind)
            .body(body.to_owned())
            .send()
    };
    for (body, kind, status) in [
        ("{\"dry_run\":", "application/json", 400),
        ("", "application/json", 400),
        ("[1]", "application/json", 400),
        ("{}", "text/plain", 400),
        (&format!("{{\"a\":\"{}\"}}", "x".repeat(1024 * 1024)), "application/json", 413),
    ] {
        let (got, answer) = answer(post(body, kind).await.unwrap()).await;
        assert_eq!((got.as_u16(), &answer["success"]), (status, &json!(false)), "{kind}");
        assert!(answer["error"].is_string());
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_also_where_none_is_wanted() {
    let service = Service::start().await;
    let stop = |size: usize| {
        service.request(Method::POST, "/autoscale/stop").body("x".repeat(size)).send()
    };
    assert_eq!(stop(1024 * 1024 + 1).await.unwrap().status(), 413);
    assert_eq!(service.get("/autoscale/status").await.1["enabled"], true);
    assert_eq!(stop(1024 * 1024).await.unwrap().status(), 200);
}

#[tokio::test]
async fn stopping_twice_is_as_stopping_once() {
    let service = Service::start().await;
    for _ in 0..2 {
        let (status, answer) = service.post("/autoscale/stop", json!({})).await;
        assert_eq!(
            (status.as_u16(), answer),
            (200, json!({"success": true, "message": "Auto-scaling stopped"}))
        );
    }
    let status = service.get("/autoscale/status").await.1;
    assert_eq!(
        status,
        json!({"enabled": false, "running": false, "interval_seconds": 30, "thread_alive": false})
    );
}

#[tokio::test]
async fn the_field_that_is_wrong_is_told_with_what_is_allowed() {
    let service = Service::start().await;
    let many: Vec<_> = (0..=1000).map(|number| format!("team-{number}")).collect();
    for (field, value, message) in [
        ("dry_run", json!("false"), "must be true or false"),
        ("dry_run", json!(null), "must be true or false"),
        ("auto_scale_interval", json!(86_401), "must be from 1 to 86400 seconds"),
        ("auto_scale_interval", json!("30"), "must be a whole number, not negative"),
        ("scale_factor", json!("0.2"), "must be a number"),
        ("namespaces", json!([]), "must name at least one namespace"),
        ("namespaces", json!(many), "must name at most 1000 namespaces"),
        ("namespaces", json!("default"), "must be an array of strings"),
        ("excluded_labels", json!({"app": 1}), "must be an object of strings"),
    ] {
        let answer = service.post("/config", json!({ field: value })).await;
        let expected = failure(&format!("{field}: {message}"));
        assert_eq!(answer, (StatusCode::BAD_REQUEST, expected), "{field}");
    }
}
