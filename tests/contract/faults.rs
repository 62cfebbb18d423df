//! An API server that fails: the service says so, goes on, and no pod is lost, restarted or shrunk.

use dqn_scaler::core::quantity;

use super::*;

pub fn refuse(code: u16) -> Rule {
    Rule::new(Effect::Status { code, message: None, retry_after: None })
}

fn web() -> Arc<Simulation> {
    cluster(|world| add(world, Resource::Deployments, "web", 2, 0.45, 200.0))
}

/// Both pods are there, have never restarted, and have at least the limits that they began with.
fn assert_unharmed(simulation: &Simulation, names: &[String]) {
    assert_eq!(pods_of(simulation, "web"), names);
    for name in names {
        let status = pod(simulation, name)["status"].clone();
        assert_eq!(
            (&status["phase"], &status["containerStatuses"][0]["restartCount"]),
            (&json!("Running"), &json!(0))
        );
        for limits in <[Value; 2]>::from(limits(simulation, name)) {
            // What is far from being used may be cut, never below the 200 MiB that are used.
            let memory = quantity::mib(limits["memory"].as_str().unwrap()).unwrap();
            assert!((210.0..=512.0).contains(&memory), "{limits}");
            let cpu = limits["cpu"].as_str().unwrap();
            assert!(
                !cpu.ends_with('m') || cpu.trim_end_matches('m').parse::<u32>().unwrap() >= 500,
                "{cpu}"
            );
        }
    }
}

#[tokio::test]
async fn what_passes_is_retried_within_the_request() {
    for code in [500, 503, 429, 409] {
        let simulation = web();
        let names = pods_of(&simulation, "web");
        let service = Service::on(&simulation, live()).await;
        let path = format!("/scale/pod/default/{}", names[0]);
        simulation.faults().add(refuse(code).on("get", "pods").times(1));
        simulation.faults().add(refuse(code).on("patch", "pods/resize").times(2));
        let (status, body) = service.post(&path, json!({})).await;
        assert_eq!(
            (status.as_u16(), &body["result"]["status"]),
            (200, &json!("success")),
            "{code}: {body}"
        );
        assert_eq!(body["result"]["scaling_method"], "vertical");
        until("the kubelet is done", async || limits(&simulation, &names[0]).1["cpu"] == "600m")
            .await;
        assert_unharmed(&simulation, &names);
    }
}

#[tokio::test]
async fn what_does_not_pass_is_told_with_the_call_that_failed() {
    let simulation = web();
    let names = pods_of(&simulation, "web");
    // Elsewhere, so that the pod has to be asked for.
    let elsewhere = Config { namespaces: vec!["kube-system".into()], ..live() };
    let service = Service::on(&simulation, elsewhere).await;
    for (rule, told) in [
        (refuse(500).on("get", "pods"), vec!["get pods", "in namespace default"]),
        (refuse(403).on("get", "pods"), vec!["get", "pods", "forbidden"]),
        (Rule::new(Effect::Hang).on("get", "pods"), vec!["get pods", "timed out"]),
    ] {
        simulation.faults().replace(vec![rule]);
        let began = std::time::Instant::now();
        let (status, body) = service.get(&format!("/pods/default/{}", names[0])).await;
        assert_eq!((status.as_u16(), &body["success"]), (500, &json!(false)));
        let error = body["error"].as_str().unwrap();
        assert!(told.iter().all(|part| error.contains(part)), "{error}");
        assert!(began.elapsed().as_secs() < 20, "inside its budget");
        // An answer holds for a second, also one that is none.
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    }
    assert_unharmed(&simulation, &names);
}

#[tokio::test]
async fn a_namespace_that_cannot_be_listed_fails_the_list() {
    for (code, told) in [(500, "list pods"), (403, "lacks the verb")] {
        let simulation = web();
        simulation.faults().add(refuse(code).on("list", "pods"));
        simulation.faults().add(refuse(code).on("watch", "pods"));
        let service = Service::on(&simulation, quiet()).await;
        let (status, body) = service.get("/pods").await;
        assert_eq!((status.as_u16(), &body["success"]), (500, &json!(false)), "{body}");
        assert!(body["error"].as_str().unwrap().contains(told), "{body}");
        simulation.faults().replace(Vec::new());
        until("it recovers by itself", async || service.get("/pods").await.1["count"] == 2).await;
    }
}

#[tokio::test]
async fn a_watch_that_is_cut_off_or_too_old_is_taken_up_again() {
    let effects = [Effect::Gone { milliseconds: 100 }, Effect::Cut { milliseconds: Some(100) }];
    for effect in effects {
        let simulation = web();
        simulation.faults().add(Rule::new(effect).on("watch", "pods").times(2));
        let service = Service::on(&simulation, quiet()).await;
        assert_eq!(service.get("/pods").await.1["count"], 2);
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        add(&mut simulation.world(), Resource::Pods, "late", 1, 0.1, 100.0);
        until("a new pod is seen", async || service.get("/pods").await.1["count"] == 3).await;
        simulation.world().store.compact();
        simulation.world().delete_pod(&Key::new("default", "late"), Some(0));
        until("a deletion is seen", async || service.get("/pods").await.1["count"] == 2).await;
    }
}

#[tokio::test]
async fn a_patch_whose_answer_is_lost_is_done_once() {
    let simulation = web();
    let names = pods_of(&simulation, "web");
    let service = Service::on(&simulation, live()).await;
    simulation
        .faults()
        .add(Rule::new(Effect::Cut { milliseconds: None }).on("patch", "pods/resize").times(1));
    let (_, body) = service.post(&format!("/scale/pod/default/{}", names[0]), json!({})).await;
    assert!(["success", "failed"].contains(&body["result"]["status"].as_str().unwrap()), "{body}");
    until("one step is in force", async || limits(&simulation, &names[0]).1["cpu"] == "600m").await;
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert_eq!(limits(&simulation, &names[0]).1["cpu"], "600m");
    assert_unharmed(&simulation, &names);
}

#[tokio::test]
async fn a_pod_that_cannot_be_patched_fails_alone_and_its_template_is_left_alone() {
    let simulation = web();
    let names = pods_of(&simulation, "web");
    let service = Service::on(&simulation, live()).await;
    let mut rule = refuse(500).on("patch", "pods/resize");
    rule.name = Some(names[0].clone());
    simulation.faults().add(rule);
    let (status, body) = service.post("/scale/all", json!({})).await;
    assert_eq!((status.as_u16(), &body["processed"]), (200, &json!(2)));
    let results = body["results"].as_array().unwrap();
    let of = |name: &String| results.iter().find(|result| result["pod_name"] == **name).unwrap();
    assert_eq!(
        (&of(&names[0])["status"], &of(&names[1])["status"]),
        (&json!("failed"), &json!("success"))
    );
    assert!(of(&names[0])["message"].as_str().unwrap().contains("patch pods/resize"), "{body}");
    assert_eq!(limits(&simulation, &names[0]).0["cpu"], "500m");
    let log = simulation.faults().log.requests();
    assert!(
        log.iter()
            .all(|request| !(request.method == "PATCH" && request.path.contains("deployments")))
    );
    // After a failure it is not tried again at once.
    let (_, body) = service.post(&format!("/scale/pod/default/{}", names[0]), json!({})).await;
    assert_eq!(body["result"]["reason"], "cooldown_period", "{body}");
    assert_unharmed(&simulation, &names);
}

#[tokio::test]
async fn without_the_metrics_api_nothing_is_decided_and_then_all_goes_on() {
    let simulation = web();
    let names = pods_of(&simulation, "web");
    let missing = Rule { group: Some("metrics.k8s.io".into()), ..refuse(404) };
    simulation.faults().add(missing);
    let service = Service::on(&simulation, live()).await;
    let (_, body) = service.post("/scale/all", json!({})).await;
    for result in body["results"].as_array().unwrap() {
        assert_eq!(
            (&result["status"], &result["reason"]),
            (&json!("skipped"), &json!("no_metrics"))
        );
    }
    let (status, body) = service.post(&format!("/scale/pod/default/{}", names[0]), json!({})).await;
    assert_eq!((status.as_u16(), &body["result"]["reason"]), (200, &json!("no_metrics")));
    assert_unharmed(&simulation, &names);
    simulation.faults().replace(Vec::new());
    let (_, body) = service.post("/scale/all", json!({})).await;
    assert!(
        body["results"].as_array().unwrap().iter().all(|result| result["status"] == "success"),
        "{body}"
    );
}

#[tokio::test]
async fn many_slow_answers_may_take_longer_than_one() {
    let namespaces: Vec<_> = ('a'..='e').map(String::from).collect();
    let simulation = cluster(|world| {
        let resources = json!({"limits": {"cpu": "500m", "memory": "512Mi"}});
        let spec = json!({"containers": [{"name": "app", "image": "example.test/app:1",
            "resources": resources}]});
        for namespace in &namespaces {
            add_namespace(world, namespace);
            declare(
                world,
                Resource::Deployments,
                namespace,
                "web",
                1,
                spec.clone(),
                Workload::constant(0.2, 100.0),
            );
        }
    });
    let late = Rule {
        group: Some("metrics.k8s.io".into()),
        ..Rule::new(Effect::Delay { milliseconds: 4500 })
    };
    simulation.faults().add(late);
    let config = Config { namespaces, metrics_max_age: 3600, ..quiet() };
    let service = Service::on(&simulation, config).await;
    let (_, body) = service.post("/scale/all", json!({})).await;
    let results = body["results"].as_array().unwrap();
    assert_eq!(results.len(), 5);
    assert!(results.iter().all(|result| result["reason"] != "no_metrics"), "{body}");
}

#[tokio::test]
async fn the_loop_outlives_an_api_server_that_goes_away_and_comes_back() {
    let simulation = web();
    let names = pods_of(&simulation, "web");
    let config = Config {
        dry_run: false,
        auto_scale_interval: 2,
        scaling_cooldown: 0,
        max_cpu: 0.9,
        ..Config::default()
    };
    let service = Service::on(&simulation, config).await;
    until("a first step", async || limits(&simulation, &names[0]).1["cpu"] != "500m").await;
    simulation.faults().add(Rule::new(Effect::Cut { milliseconds: None }));
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let (health, _) = service.get("/health").await;
    assert_eq!(health, 200);
    assert_unharmed(&simulation, &names);
    simulation.faults().replace(Vec::new());
    until("it goes on to the bound", async || {
        names.iter().all(|name| limits(&simulation, name).1["cpu"] == "900m")
    })
    .await;
    assert_unharmed(&simulation, &names);
}

#[tokio::test]
async fn a_pod_replaced_between_decision_and_resize_is_left_alone() {
    let simulation = cluster(|world| add(world, Resource::StatefulSets, "db", 1, 0.45, 200.0));
    let service = Service::on(&simulation, live()).await;
    simulation
        .faults()
        .add(Rule::new(Effect::Delay { milliseconds: 1500 }).on("patch", "pods/resize").times(1));
    let scaling = service.post("/scale/pod/default/db-0", json!({}));
    let replacing = async {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        let old = pod(&simulation, "db-0")["metadata"]["uid"].clone();
        simulation.world().delete_pod(&Key::new("default", "db-0"), Some(0));
        until("another of its name runs", async || {
            let now = simulation
                .world()
                .store
                .value(Resource::Pods, &Key::new("default", "db-0"))
                .unwrap_or_default();
            now["metadata"]["uid"] != old && now["status"]["phase"] == "Running"
        })
        .await;
    };
    let ((status, body), ()) = tokio::join!(scaling, replacing);
    assert_eq!((status.as_u16(), &body["result"]["status"]), (200, &json!("failed")), "{body}");
    assert_eq!(limits(&simulation, "db-0").0["cpu"], "500m");
    let set =
        simulation.world().store.value(Resource::StatefulSets, &Key::new("default", "db")).unwrap();
    assert_eq!(
        set["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"],
        "500m"
    );
}
