//! `/autoscale/*` and the loop behind it.

use super::*;

#[tokio::test]
async fn it_is_started_and_stopped_any_number_of_times() {
    let simulation = cluster(|_| {});
    let service = Service::on(&simulation, Config { auto_scale_interval: 45, ..quiet() }).await;
    let status = |enabled: bool| {
        json!({"enabled": enabled, "running": enabled,
        "interval_seconds": 45, "thread_alive": enabled})
    };
    assert_eq!(service.get("/autoscale/status").await.1, status(false));
    for _ in 0..2 {
        let (code, body) = service.post("/autoscale/start", json!({})).await;
        assert_eq!(code, 200);
        assert_eq!(
            body,
            json!({"success": true, "message": "Auto-scaling started", "interval": 45})
        );
    }
    until("the loop is there", async || service.get("/autoscale/status").await.1 == status(true))
        .await;
    for _ in 0..2 {
        let (code, body) = service.post("/autoscale/stop", json!({})).await;
        assert_eq!(code, 200);
        assert_eq!(body, json!({"success": true, "message": "Auto-scaling stopped"}));
    }
    assert_eq!(service.get("/autoscale/status").await.1, status(false));
}

#[tokio::test]
async fn a_stop_and_a_start_at_once_leave_it_running() {
    let simulation = cluster(|world| add(world, Resource::Deployments, "web", 2, 0.1, 100.0));
    let service =
        Service::on(&simulation, Config { auto_scale_interval: 1, ..Config::default() }).await;
    let made = async || {
        service.get("/statistics").await.1["statistics"]["overview"]["total_decisions"].as_u64()
    };
    for _ in 0..50 {
        let stop = service.post("/autoscale/stop", json!({}));
        let (stopped, read) = tokio::join!(stop, service.get("/autoscale/status"));
        assert_eq!((stopped.0.as_u16(), read.0.as_u16()), (200, 200));
        assert_eq!(service.post("/autoscale/start", json!({})).await.0, 200);
    }
    let before = made().await;
    until("the loop decides", async || made().await > before).await;
    assert_eq!(service.get("/autoscale/status").await.1["running"], true);

    service.post("/autoscale/stop", json!({})).await;
    // A cycle under way ends; after it there is none.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let before = made().await;
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert_eq!(made().await, before);
}

#[tokio::test]
async fn the_loop_follows_the_load() {
    let simulation = cluster(|world| add(world, Resource::Deployments, "web", 2, 3.0, 100.0));
    let config = Config { dry_run: false, auto_scale_interval: 5, ..Config::default() };
    let service = Service::on(&simulation, config).await;
    for name in pods_of(&simulation, "web") {
        until("growing steps up to the load, in spite of the cooldown", async || {
            let limit = limits(&simulation, &name).1["cpu"].as_str().unwrap().to_owned();
            quantity::cores(&limit) >= Some(3.0)
        })
        .await;
        assert_eq!(pod(&simulation, &name)["status"]["containerStatuses"][0]["restartCount"], 0);
    }
    until("all of them are counted", async || {
        let (_, statistics) = service.get("/statistics").await;
        statistics["statistics"]["overview"]["applied_scalings"].as_u64() >= Some(8)
    })
    .await;
    let sent = "dqn_scaler_dispatch_delay_seconds_count{urgency=\"full\"}";
    assert!(service.metric(sent).await >= 1.0);
    until("none waits", async || service.metric("dqn_scaler_changes_waiting").await == 0.0).await;
}

#[tokio::test]
async fn a_changed_configuration_takes_effect_in_the_running_loop() {
    let simulation = cluster(|world| add(world, Resource::Deployments, "web", 1, 3.0, 100.0));
    let service =
        Service::on(&simulation, Config { auto_scale_interval: 3600, ..Config::default() }).await;
    let name = &pods_of(&simulation, "web")[0];
    let made = async || {
        service.get("/statistics").await.1["statistics"]["overview"]["total_decisions"].as_u64()
    };
    until("the first cycle", async || made().await == Some(1)).await;
    assert_eq!(limits(&simulation, name).0["cpu"], "500m", "dry run");
    let (status, _) = service
        .post("/config", json!({"dry_run": false, "scale_factor": 0.5, "auto_scale_interval": 5}))
        .await;
    assert_eq!(status, 200);
    until("four steps of one half", async || limits(&simulation, name).0["cpu"] == "1500m").await;
}
