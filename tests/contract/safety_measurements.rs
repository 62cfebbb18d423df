//! What is measured wrongly, late or not at all harms nobody.

use dqn_scaler::sim::oddity::{OddMetrics, Oddity};
use dqn_scaler::sim::physics::Resources;
use dqn_scaler::sim::runtime::{CrashLoop, End};

use super::safety::*;
use super::*;

fn app(name: &str) -> Value {
    json!({"containers": [container(name, half())]})
}

fn set_odd(simulation: &Simulation, odd: impl IntoIterator<Item = OddMetrics>) {
    simulation.world().odd_metrics = odd.into_iter().collect();
}

#[tokio::test]
async fn what_is_not_measured_is_kept_and_what_is_measured_is_cut() {
    let without_memory = [
        ("zero", Oddity::ZeroMemory),
        ("missing", Oddity::WithoutMemory),
        ("unreadable", Oddity::UnreadableMemory),
    ];
    let simulation = cluster(|world| {
        for name in ["zero", "missing", "unreadable", "without-cpu"] {
            add_pod(world, name, app("app"), 0.1, 100.0);
        }
    });
    set_odd(
        &simulation,
        without_memory
            .into_iter()
            .chain([("without-cpu", Oddity::WithoutCpu)])
            .map(|(pod, oddity)| OddMetrics::of(pod, oddity)),
    );
    let service = preferring(&simulation, looping(), [DECREASE, DECREASE]).await;
    until("what is measured is cut twice", async || {
        without_memory.iter().all(|(pod, _)| limit_of(&simulation, pod).cpu < 0.35)
            && limit_of(&simulation, "without-cpu").memory < 350.0
    })
    .await;
    for (pod, _) in without_memory {
        assert_eq!(limit_of(&simulation, pod).memory, 512.0, "{pod}");
        let result = scale(&service, pod).await;
        assert!(factors(&result).contains(&"memory_guard_no_metrics"), "{result}");
    }
    assert_eq!(limit_of(&simulation, "without-cpu").cpu, 0.5);
    let result = scale(&service, "without-cpu").await;
    assert!(factors(&result).contains(&"cpu_guard_no_metrics"), "{result}");
}

#[tokio::test]
async fn an_odd_item_costs_its_pod_alone_and_no_later_sample() {
    let odd = [
        ("null", Oddity::NullContainers),
        ("nameless", Oddity::Nameless),
        ("mistyped", Oddity::WrongTypes),
        ("future", Oddity::Shifted { seconds: 3600 }),
        ("old", Oddity::Shifted { seconds: -10_800 }),
        ("earlier", Oddity::OfEarlierPod),
    ];
    let simulation = cluster(|world| {
        for name in odd.iter().map(|(name, _)| *name).chain(["fine"]) {
            add_pod(world, name, app("app"), 0.45, 200.0);
        }
    });
    set_odd(&simulation, odd.map(|(pod, oddity)| OddMetrics::of(pod, oddity)));
    let config = Config { max_cpu: 0.72, metrics_max_age: 7200, ..looping() };
    let service = preferring(&simulation, config, [INCREASE, MAINTAIN]).await;
    until("the others go on", async || limit_of(&simulation, "fine").cpu == 0.72).await;
    let (_, body) = service.post("/scale/all", json!({})).await;
    for (pod, _) in odd {
        let result = result_of(&body, pod);
        assert_eq!(
            (&result["status"], &result["reason"]),
            (&json!("skipped"), &json!("no_metrics")),
            "{pod}"
        );
        assert_eq!(scale(&service, pod).await["reason"], "no_metrics", "{pod}");
        assert_eq!(limit_of(&simulation, pod).cpu, 0.5, "{pod}");
    }
    set_odd(&simulation, []);
    until("what is right again counts", async || {
        odd.iter().all(|(pod, _)| limit_of(&simulation, pod).cpu == 0.72)
    })
    .await;
}

#[tokio::test]
async fn a_container_missing_in_the_metrics_is_kept_and_its_neighbour_is_cut() {
    let simulation = cluster(|world| {
        let pair = json!({"containers": [container("app", half()), container("proxy", half())]});
        add_pod(world, "pair", pair, 0.2, 200.0);
    });
    set_odd(&simulation, [OddMetrics::of("pair", Oddity::WithoutContainer).in_container("app")]);
    let _service = preferring(&simulation, looping(), [DECREASE, DECREASE]).await;
    until("the neighbour is cut", async || {
        let proxy = limit(&simulation, "pair", "proxy");
        proxy.cpu < 0.35 && proxy.memory < 350.0
    })
    .await;
    assert_eq!(limit(&simulation, "pair", "app"), PerResource::new(0.5, 512.0));
}

#[tokio::test]
async fn a_sample_from_before_the_last_start_is_none_of_the_container() {
    let simulation = cluster(|world| add_pod(world, "web", app("app"), 0.45, 200.0));
    let key = Key::new("default", "web");
    simulation.world().metrics_frozen = true;
    let crash = CrashLoop::new(1.0, End::Exit(1));
    simulation.world().set_crash_loop(Resource::Pods, &key, "app", Some(crash));
    until("it crashes", async || status_of(&simulation, "web")["state"]["running"].is_null()).await;
    simulation.world().set_crash_loop(Resource::Pods, &key, "app", None);
    until("it runs again", async || {
        let status = status_of(&simulation, "web");
        status["restartCount"] == 1 && status["state"]["running"].is_object()
    })
    .await;
    let path = "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods/web";
    assert!(send(&simulation, "GET", path, Value::Null).await.is_ok(), "the old sample is served");
    let config = Config { metrics_max_age: 7200, ..unhurried() };
    let service = preferring(&simulation, config, [INCREASE, MAINTAIN]).await;
    let result = scale(&service, "web").await;
    assert_eq!(result["reason"], "no_metrics", "{result}");
    assert_eq!(limit_of(&simulation, "web").cpu, 0.5);
    simulation.world().metrics_frozen = false;
    until("a sample of its own", async || scale(&service, "web").await["status"] == "success")
        .await;
}

#[tokio::test]
async fn absurd_usage_leads_to_no_absurd_limit() {
    let simulation = cluster(|world| {
        for name in ["beyond", "huge"] {
            add_pod(world, name, app("app"), 0.1, 100.0);
        }
    });
    {
        let mut world = simulation.world();
        world.metrics_frozen = true;
        for (name, cpu, memory) in [("beyond", 1e9, 1e10), ("huge", 9e4, 9e8)] {
            let pod = world.pods.get_mut(&Key::new("default", name)).unwrap();
            pod.containers[0].sample = Some(Resources { cpu, memory });
        }
    }
    let config = Config { metrics_max_age: 7200, max_cpu: 0.7, max_memory: 700, ..unhurried() };
    let service = preferring(&simulation, config, [INCREASE, INCREASE]).await;
    assert_eq!(scale(&service, "beyond").await["reason"], "no_metrics");
    assert_eq!(scale(&service, "huge").await["status"], "success");
    assert_eq!(limit_of(&simulation, "beyond"), PerResource::new(0.5, 512.0));
    let huge = limit_of(&simulation, "huge");
    assert!(huge.cpu <= 0.7 && huge.memory <= 700.0, "{huge:?}");
}

#[tokio::test]
async fn metrics_that_do_not_come_delay_no_answer_to_a_kill_for_memory() {
    let unavailable = Effect::Status { code: 503, message: None, retry_after: None };
    for effect in [Effect::Hang, unavailable] {
        let simulation = cluster(|world| {
            add_pod(world, "web", app("app"), 0.1, 100.0);
        });
        let metrics = Rule { group: Some("metrics.k8s.io".into()), ..Rule::new(effect.clone()) };
        simulation.faults().add(metrics);
        kill(&simulation, "web").await;
        until("it runs again", async || {
            !status_of(&simulation, "web")["state"]["running"].is_null()
        })
        .await;
        let began = std::time::Instant::now();
        let _service = preferring(&simulation, looping(), [MAINTAIN, MAINTAIN]).await;
        until("it gets more", async || limit_of(&simulation, "web").memory > 512.0).await;
        assert!(began.elapsed().as_secs_f64() < 2.0, "{effect:?}: {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn a_crashing_container_is_not_cut_by_what_its_sidecar_uses() {
    let simulation = cluster(|world| {
        let mut proxy = container("proxy", half());
        proxy["restartPolicy"] = "Always".into();
        let spec = json!({"containers": [container("app", half())], "initContainers": [proxy]});
        add_pod(world, "web", spec, 0.2, 200.0);
        let crash = CrashLoop { missing_alone: true, ..CrashLoop::new(5.0, End::Exit(1)) };
        world.set_crash_loop(Resource::Pods, &Key::new("default", "web"), "app", Some(crash));
    });
    until("it crashes", async || status_of(&simulation, "web")["state"]["running"].is_null()).await;
    let _service = preferring(&simulation, looping(), [DECREASE, DECREASE]).await;
    until("the sidecar is cut", async || {
        let proxy = limit(&simulation, "web", "proxy");
        proxy.cpu < 0.35 && proxy.memory < 350.0
    })
    .await;
    pass(&simulation, 60.0).await;
    assert_eq!(limit(&simulation, "web", "app"), PerResource::new(0.5, 512.0));
}

#[tokio::test]
async fn a_full_sidecar_is_raised_and_its_idle_neighbour_is_not() {
    let simulation = cluster(|world| {
        let mut proxy = container("proxy", half());
        proxy["restartPolicy"] = "Always".into();
        let spec = json!({"containers": [container("app", half())], "initContainers": [proxy]});
        add_pod(world, "web", spec, 1.0, 200.0);
    });
    // Each wants half a core, which of two is little.
    resize_by_hand(&simulation, "web", "app", json!({"cpu": "2"})).await;
    let running = || status_of(&simulation, "web")["resources"]["limits"]["cpu"].clone();
    until("it is in force", async || running() == "2").await;
    let service = Service::of_network(&simulation, looping(), &network_of_utilization()).await;
    until("the sidecar is raised", async || limit(&simulation, "web", "proxy").cpu >= 0.6).await;
    pass(&simulation, 60.0).await;
    assert_eq!(limit(&simulation, "web", "app"), PerResource::new(2.0, 512.0));
    assert_eq!(scale(&service, "web").await["status"], "no_action_needed");
}
