//! What a dashboard asks for: pages of pods, filtered decisions, the timeline, the model card.

use super::*;

#[tokio::test]
async fn pods_are_searched_sorted_and_paged() {
    let simulation = cluster(|world| {
        add(world, Resource::Deployments, "web", 2, 0.1, 100.0);
        add(world, Resource::Deployments, "big", 1, 0.4, 300.0);
        add(world, Resource::Deployments, "redis", 1, 0.1, 100.0);
    });
    let service = Service::on(&simulation, quiet()).await;
    let (_, before) = service.get("/pods/overview").await;
    assert_eq!((&before["total"], &before["count"]), (&json!(4), &json!(4)));
    assert_eq!(before["pods"][0]["last_decision"], Value::Null);

    simulation.clock().sleep(std::time::Duration::from_secs(30)).await;
    service.send(Method::POST, "/scale/all").await;
    let (status, body) = service.get("/pods/overview?sort=cpu&order=desc&limit=2").await;
    assert_eq!((status.as_u16(), &body["found"], &body["count"]), (200, &json!(4), &json!(2)));
    let big = &body["pods"][0];
    assert_eq!(
        (&big["workload"]["name"], &big["workload"]["kind"]),
        (&json!("big"), &json!("Deployment"))
    );
    assert!(
        big["metrics"]["cpu_usage"].as_f64().unwrap()
            > body["pods"][1]["metrics"]["cpu_usage"].as_f64().unwrap()
    );
    assert_eq!(
        big["resources"],
        json!({"cpu_request": 0.25, "memory_request_mb": 256.0, "cpu_limit": 0.5,
            "memory_limit_mb": 512.0})
    );
    assert_eq!(big["history"]["cpu_limit"], json!([0.5]));
    assert_eq!(big["last_decision"]["cpu_action"], "INCREASE");
    assert!(
        big["last_decision"]["why"].as_str().unwrap().ends_with("Dry run: nothing was changed."),
        "{big}"
    );

    let (_, rest) = service.get("/pods/overview?sort=cpu&order=desc&limit=2&offset=2").await;
    let last = &rest["pods"][1];
    assert_eq!(
        (&last["cannot_scale"], &last["metrics"]["cpu_usage"]),
        (&json!("excluded"), &Value::Null)
    );
    let why = last["message"].as_str().unwrap().to_owned() + ".";
    assert!(
        why.ends_with("is excluded from scaling.") && last["last_decision"]["why"] == why,
        "said once: {last}"
    );
    let (_, found) = service.get("/pods/overview?search=WEB").await;
    assert_eq!((&found["total"], &found["found"]), (&json!(4), &json!(2)));
    let (_, found) =
        service.get("/pods/overview?status=skipped&monitored=false&namespace=default").await;
    assert_eq!(found["found"], 1);

    let name = big["name"].as_str().unwrap();
    let (status, one) = service.get(&format!("/pods/default/{name}/history")).await;
    assert_eq!((status.as_u16(), &one["pod"]["history"]), (200, &big["history"]));
    assert_eq!(service.get("/pods/default/nobody/history").await.0, 404);
}

#[tokio::test]
async fn a_request_in_place_of_a_limit_is_named() {
    let simulation = cluster(|world| {
        let resources = json!({"requests": {"cpu": "250m", "memory": "256Mi"},
            "limits": {"memory": "512Mi"}});
        let workload = Workload::constant(0.1, 100.0);
        add_with(world, Resource::Deployments, "free", 1, resources, workload);
        add(world, Resource::Deployments, "web", 1, 0.1, 100.0);
    });
    let service = Service::on(&simulation, quiet()).await;
    let (_, body) = service.get("/pods/overview").await;
    let [free, web] = [0, 1].map(|index| &body["pods"][index]);
    assert_eq!(free["without_limit"], json!(["cpu"]));
    assert_eq!(free["resources"]["cpu_limit"], 0.25);
    assert_eq!(web["without_limit"], json!([]));
}

#[tokio::test]
async fn a_wish_that_cannot_be_met_is_named() {
    let simulation = cluster(|_| {});
    let service = Service::on(&simulation, quiet()).await;
    for (path, named) in [
        ("/pods/overview?sort=size", "sort"),
        ("/pods/overview?order=up", "order"),
        ("/pods/overview?limit=0", "limit"),
        ("/pods/overview?limit=501", "limit"),
        ("/pods/overview?offset=-1", "offset"),
        ("/pods/overview?monitored=yes", "monitored"),
        ("/decisions?action=GROW", "action"),
        ("/decisions?applied=1", "applied"),
        ("/decisions?status=foo", "status"),
        ("/pods/overview?status=Success", "status"),
        ("/decisions?details=1", "details"),
    ] {
        let (status, body) = service.get(path).await;
        let error = body["error"].as_str().unwrap();
        assert!(status == 400 && error.starts_with(named), "{path}: {status} {error}");
    }
}

#[tokio::test]
async fn decisions_are_filtered_and_explained_when_asked() {
    let simulation = cluster(|world| {
        add(world, Resource::Deployments, "web", 2, 0.1, 100.0);
        add(world, Resource::Deployments, "api", 1, 0.1, 100.0);
    });
    let service = Service::on(&simulation, quiet()).await;
    simulation.clock().sleep(std::time::Duration::from_secs(30)).await;
    service.send(Method::POST, "/scale/all").await;
    let count =
        async |query: &str| service.get(&format!("/decisions?{query}")).await.1["count"].clone();
    assert_eq!(count("pod=default/web").await, 2);
    assert_eq!(count("pod=API").await, 1);
    assert_eq!(count("namespace=shop").await, 0);
    assert_eq!(
        (count("action=increase").await, count("action=DECREASE").await),
        (json!(3), json!(0))
    );
    assert_eq!((count("applied=false").await, count("applied=true").await), (json!(3), json!(0)));
    assert_eq!((count("status=dry_run").await, count("status=failed").await), (json!(3), json!(0)));
    let (_, plain) = service.get("/decisions?limit=1").await;
    assert!(plain["decisions"][0].get("q_values").is_none());
    let (_, detailed) = service.get("/decisions?limit=1&details=true").await;
    let decision = &detailed["decisions"][0];
    assert_eq!(decision["q_values"]["cpu_q_values"], json!([0.0, 1.0, 2.0]));
    assert_eq!((&decision["applied"], &decision["status"]), (&json!(false), &json!("dry_run")));
    assert!(decision["explanation"]["reasoning"].as_str().unwrap().contains("INCREASE"));
    assert!(decision["resource_changes"]["cpu"]["new"].as_f64().unwrap() > 0.5);
}

#[tokio::test]
async fn the_timeline_tells_what_the_cycles_did() {
    let simulation = cluster(|world| {
        add(world, Resource::Deployments, "web", 2, 0.1, 100.0);
        add(world, Resource::Deployments, "redis", 1, 0.1, 100.0);
    });
    let service = Service::on(&simulation, quiet()).await;
    simulation.clock().sleep(std::time::Duration::from_secs(30)).await;
    assert_eq!(service.get("/statistics/timeline").await.1["cycles"], json!([]));
    service.send(Method::POST, "/scale/all").await;
    let (_, body) = service.get("/statistics/timeline").await;
    let cycle = &body["cycles"][0];
    assert_eq!(
        (&cycle["dry_run"], &cycle["skipped"], &cycle["applied"]),
        (&json!(2), &json!(1), &json!(0))
    );
    assert!(cycle["timestamp"].as_str().unwrap().ends_with('Z'));
}

#[tokio::test]
async fn the_model_card_says_whether_it_is_about_the_model_in_use() {
    let (status, answer) = Service::start().await.get("/model/card").await;
    assert_eq!((status.as_u16(), &answer["in_use"]), (200, &json!(false)), "a model of the tests");
    assert!(answer["card"].as_str().unwrap().starts_with("# The shipped model"));
}
