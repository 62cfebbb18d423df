//! `/scale/pod`, `/scale/all`, `/decisions` and `/statistics`.

use super::*;

#[tokio::test]
async fn a_decision_is_explained_and_a_dry_run_changes_nothing() {
    let simulation = cluster(|world| add(world, Resource::Deployments, "web", 1, 0.45, 200.0));
    let service = Service::on(&simulation, quiet()).await;
    let name = &pods_of(&simulation, "web")[0];
    let before = pod(&simulation, name);
    let (status, body) = service.post(&format!("/scale/pod/default/{name}"), json!({})).await;
    assert_eq!((status.as_u16(), &body["success"]), (200, &json!(true)));
    let result = &body["result"];
    let documented = [
        "pod_name",
        "namespace",
        "timestamp",
        "current_metrics",
        "predictions",
        "confidence",
        "future_predictions",
        "q_values",
        "resource_changes",
        "explanation",
        "can_scale",
        "status",
        "applied",
        "containers",
        "cpu_action",
        "memory_action",
        "current_resources",
        "proposed_resources",
    ];
    assert_eq!(keys(result), documented);
    assert_eq!(
        (&result["cpu_action"], &result["memory_action"]),
        (&json!("INCREASE"), &json!("MAINTAIN"))
    );
    let amounts = |cpu: f64| json!({"cpu_cores": cpu, "memory_mb": 512.0});
    assert_eq!(result["current_resources"], amounts(0.5));
    assert_eq!(result["proposed_resources"], amounts(0.6));
    assert_eq!((&result["pod_name"], &result["namespace"]), (&json!(name), &json!("default")));
    let metrics = json!({"cpu_usage": 0.45, "memory_usage_mb": 200.0, "cpu_limit": 0.5,
        "memory_limit_mb": 512.0});
    assert_eq!(result["current_metrics"], metrics);
    let predictions = json!({
        "cpu_action": "INCREASE", "memory_action": "DECREASE", "cpu_action_index": 2,
            "memory_action_index": 0
    });
    assert_eq!(result["predictions"], predictions);
    assert_eq!(
        result["q_values"],
        json!({"cpu_q_values": [0.0, 1.0, 2.0], "memory_q_values": [2.0, 1.0, 0.0]})
    );
    let softmax = 1.0 / (1.0 + (-1.0_f64).exp() + (-2.0_f64).exp());
    assert!((result["confidence"]["cpu"].as_f64().unwrap() - softmax).abs() < 1e-6);
    assert_eq!(
        result["future_predictions"],
        json!({"next_step_cpu": 0.25, "next_step_memory": 256.0})
    );
    let cpu = json!({"current": 0.5, "new": 0.6, "change_percent": 20.0, "action": "INCREASE"});
    assert_eq!(result["resource_changes"]["cpu"], cpu);
    // The guard knows the pod's memory too little yet to let it be cut, and says so.
    assert_eq!(result["resource_changes"]["memory"]["action"], "MAINTAIN");
    assert!(!result["explanation"]["factors"].as_array().unwrap().is_empty());
    assert!(!result["explanation"]["reasoning"].as_str().unwrap().is_empty());
    assert_eq!(
        (&result["can_scale"], &result["status"], &result["applied"]),
        (&json!(true), &json!("dry_run"), &json!(false))
    );
    assert_eq!(pod(&simulation, name)["spec"], before["spec"]);
}

#[tokio::test]
async fn a_live_change_is_in_force_without_a_restart_and_then_cools_down() {
    let simulation = cluster(|world| add(world, Resource::Deployments, "web", 1, 0.2, 200.0));
    let service = Service::on(&simulation, live()).await;
    let name = &pods_of(&simulation, "web")[0];
    let path = format!("/scale/pod/default/{name}");
    let (_, body) = service.post(&path, json!({})).await;
    let result = &body["result"];
    assert_eq!(
        (&result["status"], &result["applied"]),
        (&json!("success"), &json!(true)),
        "{body}"
    );
    assert_eq!(result["scaling_method"], "vertical");
    let wanted = json!({"cpu": "600m", "memory": "512Mi"});
    until("the kubelet is done", async || {
        limits(&simulation, name) == (wanted.clone(), wanted.clone())
    })
    .await;
    let after = pod(&simulation, name);
    assert_eq!(
        after["spec"]["containers"][0]["resources"]["requests"],
        json!({"cpu": "300m", "memory": "256Mi"})
    );
    assert_eq!(after["status"]["containerStatuses"][0]["restartCount"], 0);
    assert_eq!(after["status"]["qosClass"], "Burstable");

    let (status, body) = service.post(&path, json!({})).await;
    let result = &body["result"];
    assert_eq!(
        (status.as_u16(), &result["status"], &result["reason"]),
        (200, &json!("skipped"), &json!("cooldown_period"))
    );
    assert_eq!((&result["can_scale"], &result["applied"]), (&json!(false), &json!(false)));
    assert_eq!(limits(&simulation, name).0, wanted);
}

#[tokio::test]
async fn an_emergency_does_not_wait_for_the_cooldown() {
    let simulation = cluster(|world| add(world, Resource::Deployments, "web", 1, 2.0, 200.0));
    let service = Service::on(&simulation, live()).await;
    let name = &pods_of(&simulation, "web")[0];
    let path = format!("/scale/pod/default/{name}");
    for limit in ["900m", "1260m"] {
        until("a measurement under the present limit", async || {
            let (_, body) = service.get(&format!("/pods/default/{name}")).await;
            let limit = limits(&simulation, name).0["cpu"]
                .as_str()
                .unwrap()
                .trim_end_matches('m')
                .parse::<f64>()
                .unwrap();
            body["metrics"]["cpu_usage_cores"]
                .as_f64()
                .is_some_and(|usage| usage >= 0.95 * limit / 1000.0)
        })
        .await;
        until("a sample of the present limit", async || {
            service.post(&path, json!({})).await.1["result"]["status"] == "success"
        })
        .await;
        assert_eq!(limits(&simulation, name).0["cpu"], limit);
    }
}

#[tokio::test]
async fn all_pods_are_processed_and_each_says_what_came_of_it() {
    let simulation = cluster(|world| {
        add(world, Resource::Deployments, "web", 2, 0.1, 100.0);
        add(world, Resource::Deployments, "redis", 1, 0.1, 100.0);
        add_with(world, Resource::Pods, "modest", 1, json!({}), Workload::constant(0.1, 50.0));
        let huge = json!({"requests": {"cpu": "100"}, "limits": {"cpu": "100"}});
        add_with(world, Resource::Pods, "waiting", 1, huge, Workload::constant(0.1, 50.0));
    });
    let service = Service::on(&simulation, quiet()).await;
    let (status, body) = service.post("/scale/all", json!({})).await;
    assert_eq!(
        (status.as_u16(), &body["success"], &body["processed"]),
        (200, &json!(true), &json!(5))
    );
    assert_eq!(keys(&body), ["success", "processed", "results", "statistics", "timestamp"]);
    assert_eq!(keys(&body["statistics"]), ["overview", "action_distribution"]);
    let of = |app: &str| {
        let name = &pods_of(&simulation, app)[0];
        body["results"]
            .as_array()
            .unwrap()
            .iter()
            .find(|result| result["pod_name"] == **name)
            .unwrap()
            .clone()
    };
    let web = of("web");
    assert_eq!(
        (&web["status"], &web["actions"]),
        (&json!("dry_run"), &json!({"cpu": "INCREASE", "memory": "MAINTAIN"}))
    );
    for (app, reason) in
        [("redis", "excluded"), ("modest", "no_resource_spec"), ("waiting", "not_running")]
    {
        let result = of(app);
        assert_eq!(
            (&result["status"], &result["reason"]),
            (&json!("skipped"), &json!(reason)),
            "{app}"
        );
        assert!(
            result["message"].as_str().unwrap().contains(&pods_of(&simulation, app)[0]),
            "{result}"
        );
    }
}

/// What is answered of a pod that nothing is decided on has every documented key, too.
#[tokio::test]
async fn a_pod_that_is_left_alone_is_told_with_every_key_and_why() {
    let simulation = cluster(|world| {
        add(world, Resource::Deployments, "web", 1, 0.1, 100.0);
        add(world, Resource::Deployments, "redis", 1, 0.1, 100.0);
        add_with(world, Resource::Pods, "modest", 1, json!({}), Workload::constant(0.1, 50.0));
        let huge = json!({"requests": {"cpu": "100"}, "limits": {"cpu": "100", "memory": "1Gi"}});
        add_with(world, Resource::Pods, "waiting", 1, huge, Workload::constant(0.1, 50.0));
    });
    let service = Service::on(&simulation, quiet()).await;
    let scale = async |app: &str| {
        let name = pods_of(&simulation, app).remove(0);
        let (status, body) = service.post(&format!("/scale/pod/default/{name}"), json!({})).await;
        assert_eq!(status, 200, "{body}");
        body["result"].clone()
    };
    let decided = scale("web").await;
    for (app, reason, cpu, limits) in [
        ("redis", "excluded", json!(0.1), [0.5, 512.0]),
        ("modest", "no_resource_spec", json!(0.1), [0.0, 0.0]),
        ("waiting", "not_running", json!(0.0), [100.0, 1024.0]),
    ] {
        let left = scale(app).await;
        let missing: Vec<_> =
            keys(&decided).into_iter().filter(|key| left.get(key).is_none()).collect();
        assert!(missing.is_empty(), "{app}: {missing:?}");
        assert_eq!((&left["reason"], &left["can_scale"]), (&json!(reason), &json!(false)));
        let (metrics, changes) = (&left["current_metrics"], &left["resource_changes"]);
        assert_eq!(metrics["cpu_usage"], cpu, "{app}");
        assert_eq!(
            (&metrics["cpu_limit"], &metrics["memory_limit_mb"]),
            (&json!(limits[0]), &json!(limits[1]))
        );
        assert_eq!(changes["cpu"]["new"], changes["cpu"]["current"], "{app}");
        assert_eq!(left["predictions"]["memory_action"], "MAINTAIN");
        assert_eq!(left["confidence"], json!({"cpu": 0.0, "memory": 0.0}));
        assert_eq!(left["q_values"]["cpu_q_values"], json!([0.0, 0.0, 0.0]));
        assert_eq!((&left["cpu_action"], &left["applied"]), (&json!("MAINTAIN"), &json!(false)));
        assert_eq!(left["proposed_resources"], left["current_resources"]);
        assert_eq!(left["explanation"]["factors"], json!([reason]));
        let said = left["message"].as_str().unwrap();
        assert_eq!(left["explanation"]["reasoning"], format!("{said}."));
        let container = &left["containers"][0];
        assert_eq!((&container["name"], &container["reason"]), (&json!("app"), &json!(reason)));
        assert_eq!(container["current_metrics"], left["current_metrics"]);
    }
}

#[tokio::test]
async fn stale_metrics_are_not_acted_on() {
    let simulation = cluster(|world| add(world, Resource::Deployments, "web", 1, 2.0, 100.0));
    simulation.world().metrics_frozen = true;
    let service = Service::on(&simulation, Config { metrics_max_age: 1, ..live() }).await;
    let name = &pods_of(&simulation, "web")[0];
    until("the metrics are old", async || {
        let (_, body) = service.post("/scale/all", json!({})).await;
        body["results"][0]["reason"] == "no_metrics"
    })
    .await;
    let before = limits(&simulation, name);
    let (_, body) = service.post(&format!("/scale/pod/default/{name}"), json!({})).await;
    assert_eq!(
        (&body["result"]["status"], &body["result"]["reason"]),
        (&json!("skipped"), &json!("no_metrics"))
    );
    assert_eq!(limits(&simulation, name), before);
}

#[tokio::test]
async fn decisions_are_kept_oldest_first_and_counted() {
    let simulation = cluster(|world| add(world, Resource::Deployments, "web", 2, 0.45, 200.0));
    let service = Service::on(&simulation, quiet()).await;
    let names = pods_of(&simulation, "web");
    for name in [&names[0], &names[1], &names[0]] {
        service.post(&format!("/scale/pod/default/{name}"), json!({})).await;
    }
    let (_, body) = service.get("/decisions?limit=2").await;
    assert_eq!(body["count"], 2);
    let decisions = body["decisions"].as_array().unwrap();
    assert_eq!(
        (&decisions[0]["pod_name"], &decisions[1]["pod_name"]),
        (&json!(names[1]), &json!(names[0]))
    );
    assert!(decisions[0]["timestamp"].as_str() <= decisions[1]["timestamp"].as_str());
    let documented = [
        "pod_name",
        "namespace",
        "timestamp",
        "cpu_action",
        "memory_action",
        "confidence",
        "can_scale",
        "current_metrics",
        "utilization",
        "future_predictions",
        "applied",
        "reason",
        "resource_changes",
        "current_resources",
        "proposed_resources",
    ];
    assert_eq!(keys(&decisions[0]), documented);
    assert_eq!(
        decisions[0]["future_predictions"],
        json!({"next_step_cpu": 0.25, "next_step_memory": 256.0, "cpu": 0.25, "memory": 256.0})
    );
    assert_eq!(decisions[0]["applied"], false);
    assert_eq!(decisions[0]["reason"], "Dry run: nothing was changed");
    assert_eq!(decisions[0]["current_resources"], json!({"cpu_cores": 0.5, "memory_mb": 512.0}));
    assert_eq!(decisions[0]["proposed_resources"], json!({"cpu_cores": 0.6, "memory_mb": 512.0}));
    assert_eq!(decisions[0]["resource_changes"]["cpu"]["action"], "INCREASE");
    assert_eq!(
        decisions[0]["utilization"],
        json!({"cpu_percentage": 90.0, "memory_percentage": 39.1})
    );
    assert_eq!(service.get("/decisions?limit=0").await.0, 400);
    assert_eq!(service.get("/decisions?limit=x").await.1["count"], 3);

    let (_, body) = service.get("/statistics").await;
    let statistics = &body["statistics"];
    let overview = json!({
        "total_decisions": 3, "total_pods_monitored": 2, "applied_scalings": 0, "scaling_rate": 0.0
    });
    assert_eq!(statistics["overview"], overview);
    let increases = json!({"DECREASE": 0, "MAINTAIN": 0, "INCREASE": 3});
    assert_eq!(statistics["action_distribution"]["cpu_actions"], increases);
    assert!(
        (statistics["resource_utilization"]["average_cpu_usage"].as_f64().unwrap() - 0.45).abs()
            < 1e-9
    );
    assert_eq!(statistics["system_status"]["kubernetes_available"], true);
}

#[tokio::test]
async fn an_unknown_pod_is_not_found() {
    let simulation = cluster(|_| {});
    let service = Service::on(&simulation, quiet()).await;
    let (status, body) = service.post("/scale/pod/default/nobody", json!({})).await;
    assert_eq!((status.as_u16(), &body["success"]), (404, &json!(false)));
    assert_eq!(service.post("/scale/pod/default/Not_A_Name", json!({})).await.0, 400);
}

#[tokio::test]
async fn a_pod_that_is_killed_before_it_is_measured_gets_memory_until_it_lives() {
    let simulation = cluster(|world| add(world, Resource::Deployments, "web", 1, 0.2, 700.0));
    let service = Service::on(&simulation, live()).await;
    let name = &pods_of(&simulation, "web")[0];
    let limit = || pod(&simulation, name)["spec"]["containers"][0]["resources"]["limits"].clone();
    let mut without_metrics = false;
    for _ in 0..200 {
        let (_, body) = service.post("/scale/all", json!({})).await;
        let result = &body["results"][0];
        if result["status"] == "success" {
            let (_, usage) = service.get(&format!("/pods/default/{name}")).await;
            without_metrics |= usage["metrics"]["memory_usage_mb"].is_null();
        }
        // 512 MiB and two steps up, the second twice as large.
        if limit()["memory"] == "880803Ki" {
            assert!(without_metrics && limit()["cpu"] == "500m", "{}", limit());
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("it still has {}", limit());
}

#[tokio::test]
async fn a_container_that_is_fuller_than_its_pod_is_not_cut_below_what_it_uses() {
    let simulation = cluster(|world| {
        let container = |name: &str| {
            let resources = json!({"requests": {"memory": "256Mi"}, "limits": {"cpu": "500m",
                "memory": "512Mi"}});
            json!({"name": name, "image": "example.test/app:1", "resources": resources})
        };
        let spec = json!({"containers": [container("side"), container("app")]});
        declare(
            world,
            Resource::Deployments,
            "default",
            "web",
            1,
            spec,
            Workload::constant(0.2, 400.0),
        );
    });
    let name = pods_of(&simulation, "web").remove(0);
    let service =
        Service::on(&simulation, Config { scaling_cooldown: 0, max_cpu: 1.0, ..live() }).await;
    let more = json!({"containers": {"app": {"limits": {"memory": "2Gi"}}}});
    let (status, body) =
        service.post(&format!("/api/namespaces/default/pods/{name}/resize"), more).await;
    assert_eq!(status, 200, "{body}");
    // Of the pod's 2.5 GiB a sixth is used, of this one's half a GiB two fifths.
    let mebibytes =
        || quantity::mib(limits(&simulation, &name).0["memory"].as_str().unwrap()).unwrap();
    until("its memory is cut, and no further than it may be", async || {
        let (_, body) = service.post(&format!("/scale/pod/default/{name}"), json!({})).await;
        tokio::time::sleep(std::time::Duration::from_millis(700)).await;
        let factors = body["result"]["explanation"]["factors"].as_array().unwrap();
        mebibytes() < 300.0 && factors.contains(&json!("memory_guard_recent_peak"))
    })
    .await;
    assert!(mebibytes() > 200.0);
    assert_eq!(pod(&simulation, &name)["status"]["containerStatuses"][0]["restartCount"], 0);
}
