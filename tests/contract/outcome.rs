//! What it brings, what is at risk, what would happen, and the workloads with all of that.

use super::*;

/// `web` is far too large, `tight` near its limit of CPU, and `greedy` wants more memory than it
/// may use.
fn shop() -> Arc<Simulation> {
    cluster(|world| {
        add(world, Resource::Deployments, "web", 2, 0.1, 60.0);
        add(world, Resource::Deployments, "tight", 1, 0.49, 100.0);
        add(world, Resource::Deployments, "redis", 1, 0.1, 100.0);
    })
}

async fn outcome(service: &Service) -> Value {
    let (status, body) = service.get("/statistics/outcome").await;
    assert_eq!(status, 200, "{body}");
    body
}

#[tokio::test]
async fn a_dry_run_says_what_would_happen_from_the_newest_decision_of_each_pod() {
    let simulation = shop();
    let service = Service::on(&simulation, quiet()).await;
    assert_eq!(outcome(&service).await["course"]["timestamps"], json!([]));
    // The same wish counts once, however often it is uttered.
    for _ in 0..3 {
        simulation.clock().sleep(std::time::Duration::from_secs(30)).await;
        service.post("/scale/all", json!({})).await;
    }
    let told = outcome(&service).await;
    assert_eq!(told["live"], false);
    let plan = &told["plan"];
    // The network of these tests wants more CPU for all, and the guard knows no memory well enough.
    assert_eq!((&plan["pods"], &plan["grow"], &plan["shrink"]), (&json!(3), &json!(3), &json!(0)));
    assert!((plan["more"]["cpu_cores"].as_f64().unwrap() - 0.3).abs() < 0.02, "{plan}");
    assert_eq!(plan["less"], json!({"cpu_cores": 0.0, "memory_mb": 0.0}));
    let risks = told["at_risk"]["risks"].as_array().unwrap();
    assert_eq!((&told["at_risk"]["count"], risks.len()), (&json!(1), 1), "{told}");
    let tight = pods_of(&simulation, "tight").remove(0);
    assert_eq!(risks[0]["pod_name"], tight);
    assert_eq!((&risks[0]["container"], &risks[0]["kind"]), (&json!("app"), &json!("near_limit")));
    assert_eq!(risks[0]["why"], "98 % of its CPU limit is in use");
    let course = &told["course"];
    assert_eq!(course["pods"].as_array().unwrap().last(), Some(&json!(3)), "redis is excluded");
    let cpu = &course["cpu"];
    assert_eq!(cpu["request"].as_array().unwrap().last(), Some(&json!(0.75)));
    assert_eq!(cpu["template_limit"].as_array().unwrap().last(), Some(&json!(1.5)));
    assert!(
        (cpu["used"].as_array().unwrap().last().unwrap().as_f64().unwrap() - 0.69).abs() < 0.02
    );
    let before = &told["before_and_after"]["dry_run"];
    assert!(before["hours"].as_f64().unwrap() > 0.0 && before["kills"] == 0);
    assert!(before["throttled_seconds"].as_f64().unwrap() > 0.0, "{before}");
    assert_eq!(told["before_and_after"]["live"]["hours"], 0.0);
}

#[tokio::test]
async fn what_is_saved_is_told_against_the_templates_and_in_money() {
    let simulation = shop();
    let prices = Config { price_core_hour: 0.04, price_gib_hour: 0.005, ..quiet() };
    let service = Service::on(&simulation, prices).await;
    service.post("/scale/all", json!({})).await;
    let pod = pods_of(&simulation, "web").remove(0);
    let smaller = json!({"requests": {"cpu": "150m", "memory": "128Mi"},
        "limits": {"cpu": "300m", "memory": "256Mi"}});
    let (status, _) = service
        .post(
            &format!("/api/namespaces/default/pods/{pod}/resize"),
            json!({"containers": {"app": smaller}}),
        )
        .await;
    assert_eq!(status, 200);
    until("the next cycle sees it", async || {
        service.post("/scale/all", json!({})).await;
        outcome(&service).await["saved"]["cpu_cores"] == 0.1
    })
    .await;
    let saved = outcome(&service).await["saved"].clone();
    assert_eq!((&saved["memory_mb"], &saved["cpu_limit_cores"]), (&json!(128.0), &json!(0.2)));
    // 0.1 cores and an eighth of a GiB for 730 hours.
    assert_eq!(saved["money_a_month"], json!(3.38));
    let unpriced = Service::on(&simulation, quiet()).await;
    assert_eq!(outcome(&unpriced).await["saved"]["money_a_month"], Value::Null);
}

#[tokio::test]
async fn a_kill_is_counted_and_its_container_is_at_risk() {
    let simulation = cluster(|world| add(world, Resource::Deployments, "web", 1, 0.1, 100.0));
    let service = Service::on(&simulation, quiet()).await;
    service.post("/scale/all", json!({})).await;
    let web = pods_of(&simulation, "web").remove(0);
    super::safety::load(&simulation, &web, 0.1, 700.0);
    until("it is killed", async || {
        service.post("/scale/all", json!({})).await;
        outcome(&service).await["before_and_after"]["dry_run"]["kills"].as_u64() >= Some(1)
    })
    .await;
    let told = outcome(&service).await;
    let risk = &told["at_risk"]["risks"][0];
    assert_eq!(risk["kind"], "killed");
    assert!(risk["why"].as_str().unwrap().starts_with("killed for memory "), "{risk}");
    until("it is started again", async || {
        let (_, rows) = service.get("/workloads/overview?sort=kills&order=desc").await;
        let row = &rows["workloads"][0];
        row["kills"].as_u64() >= Some(1) && row["restarts"].as_u64() >= Some(1)
    })
    .await;
    let (_, history) = service.get(&format!("/pods/default/{web}/history")).await;
    let event = &history["events"][0];
    let expected = json!("container app was killed for memory");
    assert_eq!((&event["kind"], &event["what"]), (&json!("kill"), &expected));
}

#[tokio::test]
async fn workloads_are_summed_up_searched_sorted_and_paged() {
    let simulation = shop();
    let service = Service::on(&simulation, live()).await;
    simulation.clock().sleep(std::time::Duration::from_secs(30)).await;
    service.post("/scale/all", json!({})).await;
    let names = async |query: &str| -> Vec<String> {
        let (status, body) = service.get(&format!("/workloads/overview?{query}")).await;
        assert_eq!(status, 200, "{body}");
        let rows = body["workloads"].as_array().unwrap().clone();
        rows.iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("").await, ["redis", "tight", "web"]);
    assert_eq!(names("order=desc").await, ["web", "tight", "redis"]);
    assert_eq!(names("sort=cpu&order=desc&limit=1").await, ["tight"]);
    assert_eq!(names("search=DEPLOYMENT%20w").await, ["web"]);
    assert_eq!(names("show=at_risk").await, ["tight"]);
    assert_eq!(names("show=changed").await, ["tight", "web"]);
    assert_eq!(names("show=held_back").await, ["redis"]);
    assert_eq!(names("namespace=shop").await.len(), 0);
    let (_, page) = service.get("/workloads/overview?limit=1&offset=2").await;
    let counts = ["total", "found", "offset", "count"].map(|field| page[field].clone());
    assert_eq!(counts, [3, 3, 2, 1].map(|count| json!(count)));
    let web = &page["workloads"][0];
    assert_eq!((&web["kind"], &web["replicas"]), (&json!("Deployment"), &json!(2)));
    let template = json!({"cpu_request": 0.5, "cpu_limit": 1.0, "memory_request_mb": 512.0,
        "memory_limit_mb": 1024.0});
    assert_eq!(web["template"], template);
    let change = &web["last_change"];
    assert_eq!(change["what"], "CPU 500m -> 600m: 20 % of the limit was in use");
    assert_eq!(change["course"], "done");
    until("the watch knows", async || {
        let (_, page) = service.get("/workloads/overview?search=web").await;
        page["workloads"][0]["saved"]["cpu_cores"] == -0.1
    })
    .await;
    let (_, redis) = service.get("/workloads/overview?search=redis").await;
    let held = redis["workloads"][0]["held_back"].as_str().unwrap();
    assert!(held.ends_with("is excluded from scaling"), "{held}");
    let unmeasured = json!({"cpu_cores": null, "memory_mb": null});
    assert_eq!(redis["workloads"][0]["used"], unmeasured, "nobody measures what is excluded");
    assert_eq!(web["used"]["cpu_cores"], 0.2);
    let answer = service.get("/workloads/overview?sort=size").await;
    let allowed = "sort: must be name, replicas, cpu, memory, saved_cpu, saved_memory, \
        last_change, kills or at_risk";
    assert_eq!(answer, (StatusCode::BAD_REQUEST, failure(allowed)));
}

#[tokio::test]
async fn a_chart_shows_usage_under_the_limit_that_held_then() {
    let simulation = cluster(|world| add(world, Resource::Deployments, "web", 1, 0.4, 200.0));
    let service = Service::on(&simulation, quiet()).await;
    let web = pods_of(&simulation, "web").remove(0);
    simulation.clock().sleep(std::time::Duration::from_secs(30)).await;
    service.post("/scale/all", json!({})).await;
    let sizes = json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "300m"}});
    let path = format!("/api/namespaces/default/pods/{web}/resize");
    let (status, _) = service.post(&path, json!({"containers": {"app": sizes}})).await;
    assert_eq!(status, 200);
    until("a measurement under the new limit", async || {
        service.post("/scale/all", json!({})).await;
        let (_, told) = service.get(&format!("/pods/default/{web}/history")).await;
        let history = &told["pod"]["history"];
        let column = |name: &str| -> Vec<f64> {
            history[name].as_array().unwrap().iter().map(|of| of.as_f64().unwrap()).collect()
        };
        let (usage, limit, request) =
            (column("cpu_usage"), column("cpu_limit"), column("cpu_request"));
        for (usage, limit) in usage.iter().zip(&limit) {
            assert!(usage <= limit, "{history}");
        }
        assert_eq!((limit[0], request[0]), (0.5, 0.25), "as it was then");
        // Two digits are kept of a sample.
        (limit.last().unwrap() - 0.3).abs() < 0.005 && (request.last().unwrap() - 0.1).abs() < 0.005
    })
    .await;
}

#[tokio::test]
async fn a_pod_is_explained_with_every_figure_and_the_source_of_each_setting() {
    let simulation = cluster(|world| {
        add(world, Resource::Deployments, "web", 1, 0.2, 200.0);
        add(world, Resource::Deployments, "redis", 1, 0.1, 100.0);
    });
    let service = Service::on(&simulation, live()).await;
    super::annotations::annotate::<k8s_openapi::api::apps::v1::Deployment>(
        &simulation,
        "web",
        &[("max-cpu", "2")],
    )
    .await;
    service.post("/config", json!({"scaling_cooldown": 7})).await;
    let web = pods_of(&simulation, "web").remove(0);
    let path = format!("/pods/default/{web}/explanation");
    let annotation = |told: &Value| {
        let settings = told["settings"].as_array().unwrap();
        settings.iter().find(|one| one["name"] == "dqn-scaler.io/max-cpu").cloned()
    };
    let mut told = Value::Null;
    until("the annotation is known", async || {
        told = service.get(&path).await.1;
        annotation(&told).is_some()
    })
    .await;
    assert_eq!(annotation(&told).unwrap()["source"], "annotation on Deployment web");
    assert_eq!(told["outcome"], "it is resized at its turn");
    let cpu = &told["containers"][0]["cpu"];
    assert_eq!((&cpu["usage"], &cpu["limit"]), (&json!(0.2), &json!(0.5)));
    assert_eq!((&cpu["preferred"], &cpu["new_limit"]), (&json!("INCREASE"), &json!(0.6)));
    assert_eq!(cpu["q_values"], json!([0.0, 1.0, 2.0]));
    assert!((cpu["recent_peak"].as_f64().unwrap() - 0.2).abs() < 1e-6, "{cpu}");
    assert_eq!(cpu["step_down"], 0.4);
    let ages = ["recent_peak_age_least_seconds", "recent_peak_age_seconds"];
    let [least, most] = ages.map(|age| cpu[age].as_i64().unwrap());
    assert!(least == 0 && most < 2 * 8 * 3600 / 23, "{cpu}");
    assert_eq!((&cpu["killed_at"], &cpu["known_need"]), (&json!(null), &json!(0.5)));
    assert_eq!(told["containers"][0]["memory"]["guard"], "too_few_samples");
    let source = |name: &str| {
        let settings = told["settings"].as_array().unwrap();
        settings.iter().find(|one| one["name"] == name).unwrap()["source"].clone()
    };
    assert_eq!(
        (source("scaling_cooldown"), source("scale_factor")),
        (json!("POST /config"), json!("default"))
    );
    // Looking changes nothing and writes nothing down.
    assert_eq!(limits(&simulation, &web).0["cpu"], "500m");
    assert_eq!(service.get("/decisions").await.1["count"], 0);
    let redis = pods_of(&simulation, "redis").remove(0);
    let (_, told) = service.get(&format!("/pods/default/{redis}/explanation")).await;
    assert_eq!(told["containers"][0]["left_alone"], "excluded");
    assert_eq!(service.get("/pods/default/nobody/explanation").await.0, 404);
}
