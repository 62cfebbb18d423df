//! Clocks that disagree and namespaces that cannot be read.

use dqn_scaler::sim::oddity::{OddMetrics, Oddity};

use super::safety::*;
use super::*;

fn app() -> Value {
    json!({"containers": [container("app", half())]})
}

#[tokio::test]
async fn metrics_of_the_future_do_not_switch_the_guard_off() {
    for ahead in [9, 30, 3600] {
        let simulation = cluster(|world| add_pod(world, "web", app(), 0.4, 400.0));
        let service = preferring(&simulation, looping(), [DECREASE, DECREASE]).await;
        let future = OddMetrics::new(Oddity::Shifted { seconds: ahead });
        for odd in [vec![], vec![future.clone()], vec![], vec![future], vec![]] {
            simulation.world().odd_metrics = odd;
            let end = simulation.world().now + 45.0;
            until("time passes", async || {
                let limit = limit_of(&simulation, "web");
                assert!(limit.cpu >= 0.4 && limit.memory >= 400.0, "{ahead}: {limit:?}");
                simulation.world().now > end
            })
            .await;
        }
        until("right samples count again", async || {
            scale(&service, "web").await["current_metrics"]["cpu_usage"].is_number()
        })
        .await;
        assert_eq!(status_of(&simulation, "web")["restartCount"], 0);
    }
}

#[tokio::test]
async fn a_kill_for_memory_of_the_future_is_answered_once() {
    let simulation = cluster(|world| add_pod(world, "web", app(), 0.1, 100.0));
    let _service = preferring(&simulation, looping(), [MAINTAIN, MAINTAIN]).await;
    pass(&simulation, 20.0).await;
    simulation.world().skew = 600.0;
    kill(&simulation, "web").await;
    // Half of 512 MiB and a fifth, in whole KiB.
    let once = 629_145.0 / 1024.0;
    until("it gets more", async || limit_of(&simulation, "web").memory == once).await;
    for skew in [600.0, 0.0, -600.0, 0.0] {
        simulation.world().skew = skew;
        pass(&simulation, 40.0).await;
        assert_eq!(limit_of(&simulation, "web").memory, once, "{skew}");
    }
    assert_eq!(resizes(&simulation, None), [200]);
}

#[tokio::test]
async fn a_clock_that_goes_forth_and_back_leaves_nothing_waiting_for_ever() {
    for skew in [3600.0, -3600.0] {
        let simulation = cluster(|world| add_pod(world, "web", app(), 0.2, 200.0));
        let config = Config { scaling_cooldown: 1, ..looping() };
        let _service = preferring(&simulation, config, [INCREASE, MAINTAIN]).await;
        until("a first step", async || limit_of(&simulation, "web").cpu >= 0.6).await;
        simulation.world().skew = skew;
        // Somebody resizes it while the clock is wrong, which the object is marked with.
        resize_by_hand(&simulation, "web", "app", json!({"cpu": "650m"})).await;
        pass(&simulation, 30.0).await;
        simulation.world().skew = 0.0;
        let began = simulation.world().now;
        until("the next step", async || limit_of(&simulation, "web").cpu > 0.7).await;
        assert!(simulation.world().now < began + 180.0, "{skew}");
    }
}

#[tokio::test]
async fn a_clock_that_was_ahead_at_a_resize_holds_back_no_later_one() {
    let simulation = cluster(|world| add_pod(world, "web", app(), 0.2, 200.0));
    let config = Config { scaling_cooldown: 1, ..unhurried() };
    let service = preferring(&simulation, config, [INCREASE, MAINTAIN]).await;
    // The API server's clock is ahead while the resize is written down.
    let late = Rule::new(Effect::Delay { milliseconds: 600 });
    simulation.faults().add(late.on("patch", "pods/resize").times(1));
    let ahead = async {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        simulation.world().skew = 3600.0;
    };
    let (result, ()) = tokio::join!(scale(&service, "web"), ahead);
    assert_eq!(result["status"], "success", "{result}");
    simulation.world().skew = 0.0;
    let began = simulation.world().now;
    until("the next step", async || {
        scale(&service, "web").await;
        limit_of(&simulation, "web").cpu > 0.7
    })
    .await;
    let waited = simulation.world().now - began;
    assert!((50.0..180.0).contains(&waited), "{waited}");
}

#[tokio::test]
async fn a_namespace_that_cannot_be_read_costs_only_itself() {
    let simulation = cluster(|world| {
        add_namespace(world, "closed");
        let workload = Workload::constant(0.45, 200.0);
        declare(world, Resource::Pods, "closed", "hidden", 1, app(), workload);
        add_pod(world, "web", app(), 0.45, 200.0);
    });
    for verb in ["list", "watch"] {
        let forbidden = Effect::Status { code: 403, message: None, retry_after: None };
        let mut rule = Rule::new(forbidden).on(verb, "pods");
        rule.namespace = Some("closed".into());
        rule.group = Some(String::new());
        simulation.faults().add(rule);
    }
    let namespaces = vec!["closed".to_owned(), "default".to_owned()];
    let config = Config { namespaces, max_cpu: 0.72, ..looping() };
    let service = preferring(&simulation, config, [INCREASE, MAINTAIN]).await;
    until("the others are scaled", async || limit_of(&simulation, "web").cpu == 0.72).await;
    let (status, pods) = service.get("/pods").await;
    assert_eq!((status.as_u16(), &pods["count"]), (200, &json!(1)), "{pods}");
    assert_eq!(pods["unreadable"][0]["namespace"], "closed", "{pods}");
    let (status, ready) = service.get("/readyz").await;
    assert_eq!(status, 200, "{ready}");
    assert_eq!(ready["watch"]["unreadable"][0]["namespace"], "closed", "{ready}");
    let key = Key::new("closed", "hidden");
    let hidden = simulation.world().store.value(Resource::Pods, &key).unwrap();
    assert_eq!(hidden["spec"]["containers"][0]["resources"], half());
}
