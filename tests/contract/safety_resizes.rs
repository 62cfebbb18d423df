//! Resizes that restart, that no kubelet carries out, that come too late or reach no template.

use dqn_scaler::sim::node::Kubelet;

use super::safety::*;
use super::*;

fn app(resources: Value) -> Value {
    json!({"containers": [container("app", resources)]})
}

/// A change of memory restarts the container.
fn restarting() -> Value {
    let mut spec = app(half());
    spec["containers"][0]["resizePolicy"] =
        json!([{"resourceName": "memory", "restartPolicy": "RestartContainer"}]);
    spec
}

#[tokio::test]
async fn what_would_restart_a_container_is_left_alone_and_the_rest_is_cut() {
    let simulation = cluster(|world| add_pod(world, "db", restarting(), 0.1, 100.0));
    let service = preferring(&simulation, looping(), [DECREASE, DECREASE]).await;
    until("CPU is cut", async || limit_of(&simulation, "db").cpu < 0.35).await;
    assert_eq!(limit_of(&simulation, "db").memory, 512.0);
    assert_eq!(status_of(&simulation, "db")["restartCount"], 0);
    let result = scale(&service, "db").await;
    assert!(factors(&result).contains(&"memory_guard_restart_required"), "{result}");
    let (_, body) = service.get("/pods/overview").await;
    let why = body["pods"][0]["last_decision"]["why"].as_str().unwrap();
    assert!(why.contains("by its resizePolicy"), "{why}");
}

#[tokio::test]
async fn after_a_kill_for_memory_a_restart_is_no_obstacle() {
    let simulation = cluster(|world| add_pod(world, "db", restarting(), 0.1, 600.0));
    let _service = preferring(&simulation, looping(), [MAINTAIN, MAINTAIN]).await;
    until("it gets more and lives", async || {
        limit_of(&simulation, "db").memory > 600.0
            && status_of(&simulation, "db")["state"]["running"].is_object()
    })
    .await;
    assert_eq!(limit_of(&simulation, "db").cpu, 0.5);
}

#[tokio::test]
async fn a_person_is_warned_of_the_restart_that_a_resize_brings_about() {
    let simulation = cluster(|world| add_pod(world, "db", restarting(), 0.1, 100.0));
    let service = Service::on(&simulation, quiet()).await;
    let path = "/api/namespaces/default/pods/db/resize";
    let body = |limits: Value| json!({"containers": {"app": {"limits": limits}}});
    let (status, answer) = service.post(path, body(json!({"cpu": "600m"}))).await;
    assert_eq!((status.as_u16(), answer["details"].get("warnings")), (200, None), "{answer}");
    let (status, answer) = service.post(path, body(json!({"memory": "1Gi"}))).await;
    let warning = "app: by its resizePolicy a change of memory restarts it";
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["details"]["warnings"], json!([warning]));
    until("it is in force", async || {
        let status = status_of(&simulation, "db");
        status["resources"]["limits"]["memory"] == "1Gi" && status["restartCount"] == 1
    })
    .await;
}

#[tokio::test]
async fn a_silent_kubelet_is_waited_for_and_given_up_and_delays_nobody() {
    let simulation = cluster(|world| {
        add_nodes(world, 2, 8.0, 16.0);
        add_pod(world, "one", app(half()), 0.2, 200.0);
        add_pod(world, "other", app(half()), 0.2, 200.0);
    });
    let node = |name: &str| pod(&simulation, name)["spec"]["nodeName"].clone();
    assert_ne!(node("one"), node("other"));
    let silent = node("one").as_str().unwrap().to_owned();
    simulation.world().set_kubelet(&silent, Kubelet::Silent);
    let config = Config { deferred_timeout: 60, max_cpu: 0.72, ..looping() };
    let service = preferring(&simulation, config, [INCREASE, MAINTAIN]).await;
    until("it is asked", async || limit_of(&simulation, "one").cpu == 0.6).await;
    let asked = simulation.world().now;
    until("the other has gone two steps", async || limit_of(&simulation, "other").cpu == 0.72)
        .await;
    assert!(simulation.world().now < asked + 55.0, "nobody waits for another's kubelet");
    while simulation.world().now < asked + 45.0 {
        assert_eq!(limit_of(&simulation, "one").cpu, 0.6);
        assert_eq!(resizes(&simulation, Some("one")).len(), 1);
        let result = scale(&service, "one").await;
        let message = result["message"].as_str().unwrap_or_default();
        assert!(message.contains("kubelet") || message.contains("another request"), "{result}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    until("what is in force is asked for again", async || limit_of(&simulation, "one").cpu == 0.5)
        .await;
    assert!(simulation.world().now >= asked + 55.0);
    until("it is published", async || {
        published(&simulation, "Pod").iter().any(|[pod, reason, message]| {
            pod == "one" && reason == "ResizeFailed" && message.contains("has not answered for")
        })
    })
    .await;
    assert_eq!(status_of(&simulation, "one")["restartCount"], 0);
}

/// Thirty pods that are all to be cut, half of them on a node whose kubelet carries out nothing.
#[tokio::test]
async fn cuts_wait_where_a_kubelet_is_silent_until_it_answers() {
    let simulation = cluster(|world| {
        add_nodes(world, 2, 16.0, 32.0);
        (0..30).for_each(|n| add_pod(world, &format!("web-{n}"), app(half()), 0.1, 200.0));
    });
    let node = |name: &str| pod(&simulation, name)["spec"]["nodeName"].clone();
    let silent = node("web-0").as_str().unwrap().to_owned();
    let names: Vec<_> = (0..30).map(|n| format!("web-{n}")).collect();
    let (there, others): (Vec<_>, Vec<_>) =
        names.into_iter().partition(|name| node(name) == silent.as_str());
    assert!(there.len() >= 13, "more than are sent at first");
    simulation.world().set_kubelet(&silent, Kubelet::Silent);
    let config = Config { deferred_timeout: 600, ..looping() };
    let service = preferring(&simulation, config, [DECREASE, MAINTAIN]).await;
    let breakers = async || service.get("/readyz").await.1["circuit_breakers"].clone();
    until("it opens", async || breakers().await != json!([])).await;
    let open = breakers().await;
    assert_eq!((&open[0]["kind"], &open[0]["name"]), (&json!("node"), &json!(silent)), "{open}");
    assert!(open[0]["open_since"].is_string() && open[1].is_null(), "{open}");
    let open_nodes = r#"dqn_scaler_circuit_breakers_open{kind="node"} 1"#;
    let metrics = service.send(Method::GET, "/metrics").await.text().await.unwrap();
    assert!(metrics.contains(open_nodes));
    let sent = || there.iter().filter(|name| !resizes(&simulation, Some(name)).is_empty()).count();
    let first = sent();
    pass(&simulation, 40.0).await;
    let later = sent();
    assert!((3..=10).contains(&first) && later - first <= 2, "{first}, and one at a time {later}");
    let cut = |names: &[String]| names.iter().all(|name| limit_of(&simulation, name).cpu < 0.4);
    until("all others are cut", async || cut(&others)).await;
    simulation.world().set_kubelet(&silent, Kubelet::Prompt);
    until("those, too", async || cut(&there)).await;
    until("it closes", async || breakers().await == json!([])).await;
}

#[tokio::test]
async fn what_somebody_else_sets_after_the_decision_stays_and_starts_the_cooldown() {
    let refused = Effect::Status { code: 429, message: None, retry_after: Some(1) };
    for effect in [Effect::Delay { milliseconds: 800 }, refused] {
        let simulation = cluster(|world| add_pod(world, "web", app(half()), 0.2, 200.0));
        let config = Config { scaling_cooldown: 10, ..unhurried() };
        let service = preferring(&simulation, config, [INCREASE, MAINTAIN]).await;
        simulation.faults().add(Rule::new(effect.clone()).on("patch", "pods/resize").times(1));
        let other = async {
            let is_struck = || simulation.faults().rules()[0].count == Some(0);
            until("it is asked for", async || is_struck()).await;
            resize_by_hand(&simulation, "web", "app", json!({"cpu": "900m"})).await;
        };
        let (result, ()) = tokio::join!(scale(&service, "web"), other);
        assert_eq!(
            (&result["status"], &result["reason"], &result["applied"]),
            (&json!("skipped"), &json!("changed"), &json!(false)),
            "{effect:?}: {result}"
        );
        assert_eq!(limit_of(&simulation, "web").cpu, 0.9);
        pass(&simulation, 40.0).await;
        assert_eq!(scale(&service, "web").await["reason"], "cooldown_period");
        assert_eq!(limit_of(&simulation, "web").cpu, 0.9);
        assert!(published(&simulation, "Pod").is_empty(), "nothing was resized");
    }
}

/// A DaemonSet or StatefulSet with such an update strategy.
fn updated_by(world: &mut World, kind: Resource, name: &str, strategy: Value) {
    let mut workload = world.store.value(kind, &Key::new("default", name)).unwrap();
    workload["spec"]["updateStrategy"] = strategy;
    world.store.put(kind, workload);
}

#[tokio::test]
async fn a_template_that_would_not_reach_the_pod_is_left_alone_and_the_answer_says_so() {
    use Resource::{DaemonSets, Deployments, StatefulSets};
    let simulation = cluster(|world| {
        for (kind, name) in [
            (Deployments, "paused"),
            (DaemonSets, "waiting"),
            (StatefulSets, "held"),
            (StatefulSets, "parted"),
        ] {
            add(world, kind, name, 1, 0.2, 200.0);
        }
        let mut paused = world.store.value(Deployments, &Key::new("default", "paused")).unwrap();
        paused["spec"]["paused"] = true.into();
        world.store.put(Deployments, paused);
        updated_by(world, DaemonSets, "waiting", json!({"type": "OnDelete"}));
        updated_by(world, StatefulSets, "held", json!({"type": "OnDelete"}));
        let partition = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 1}});
        updated_by(world, StatefulSets, "parted", partition);
        // Its kubelet can resize nothing, so that the template is all that is left.
        world.nodes.get_mut("node-1").unwrap().windows = true;
    });
    let service = preferring(&simulation, unhurried(), [INCREASE, MAINTAIN]).await;
    for (kind, name, words) in [
        (Deployments, "paused", "Deployment paused: it is paused"),
        (DaemonSets, "waiting", "DaemonSet waiting: "),
        (StatefulSets, "held", "StatefulSet held: "),
        (StatefulSets, "parted", "StatefulSet parted: its partition is above the pod"),
    ] {
        let pod_name = pods_of(&simulation, name).remove(0);
        let before = template(&simulation, kind, name);
        let result = scale(&service, &pod_name).await;
        assert_eq!(
            (&result["status"], &result["applied"]),
            (&json!("failed"), &json!(false)),
            "{result}"
        );
        assert!(result["reason"].as_str().unwrap().contains(words), "{result}");
        assert_eq!(template(&simulation, kind, name), before, "{name}");
        until("what is in force is asked for", async || {
            limit_of(&simulation, &pod_name).cpu == 0.5
        })
        .await;
    }
}

#[tokio::test]
async fn resources_of_the_pod_alone_are_reported_as_such() {
    let simulation = cluster(|_| {});
    let mut spec = app(json!({}));
    spec["resources"] = half();
    let body = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "whole"},
        "spec": spec});
    send(&simulation, "POST", "/api/v1/namespaces/default/pods", body).await.unwrap();
    until("it runs", async || pod(&simulation, "whole")["status"]["phase"] == "Running").await;
    let service = preferring(&simulation, unhurried(), [INCREASE, INCREASE]).await;
    let result = scale(&service, "whole").await;
    assert_eq!(result["reason"], "pod_level_resources", "{result}");
    let message = result["message"].as_str().unwrap();
    assert!(!message.contains("neither limits nor requests"), "{message}");
    assert_eq!(pod(&simulation, "whole")["spec"]["resources"]["limits"]["cpu"], "500m");
}

#[tokio::test]
async fn absurd_resources_lead_to_no_invalid_nor_boundless_patch() {
    let both = |cpu: &str, memory: &str| json!({"cpu": cpu, "memory": memory});
    let resources =
        |requests: Value, limits: Value| json!({"requests": requests, "limits": limits});
    let absurd = [
        ("crossed", resources(both("2", "1Gi"), both("500m", "512Mi"))),
        ("endless", resources(both("1", "1Gi"), both("1e9", "1e18"))),
        ("overflowing", resources(both("1", "1Gi"), both("1e30", "9223372036854775807"))),
        ("negative", resources(both("-2", "-1Gi"), both("-1", "-512Mi"))),
        ("unreadable", resources(both("", "few"), both("lots", ""))),
        ("nothing", resources(both("0", "0"), both("0", "0"))),
        ("tiny", resources(both("1n", "1"), both("2n", "2"))),
    ];
    for preferred in [[INCREASE, INCREASE], [DECREASE, DECREASE]] {
        let simulation = cluster(|world| {
            for (name, _) in &absurd {
                add_pod(world, name, app(half()), 0.2, 200.0);
            }
            add_pod(world, "fine", app(half()), 0.2, 200.0);
        });
        for (name, resources) in &absurd {
            let mut pod = pod(&simulation, name);
            pod["spec"]["containers"][0]["resources"] = resources.clone();
            pod["status"]["containerStatuses"][0]["resources"] = resources.clone();
            simulation.world().store.put(Resource::Pods, pod);
        }
        let service = preferring(&simulation, looping(), preferred).await;
        until("the others go on", async || {
            let fine = limit_of(&simulation, "fine");
            (fine.cpu - 0.5).abs() > 0.15 && (fine.memory - 512.0).abs() > 150.0
        })
        .await;
        for (name, before) in &absurd {
            let answers = resizes(&simulation, Some(name));
            assert!(
                answers.iter().all(|status| matches!(status, 200 | 409)),
                "{name}: {answers:?}"
            );
            let now = container_of(&simulation, name, "app")["resources"].clone();
            let config = Config::default();
            for (resource, least, most) in [
                ("cpu", config.min_cpu, config.max_cpu),
                ("memory", config.min_memory as f64, config.max_memory as f64),
            ] {
                let wanted = &now["limits"][resource];
                if wanted == &before["limits"][resource] {
                    continue;
                }
                let text = wanted.as_str().unwrap();
                let amount = if resource == "cpu" {
                    quantity::cores(text).unwrap()
                } else {
                    quantity::mib(text).unwrap()
                };
                assert!((least..=most).contains(&amount), "{name}: {text}");
            }
        }
        assert_eq!(service.get("/health").await.0, 200);
    }
}
