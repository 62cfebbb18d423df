//! Several replicas on one cluster: one acts, the others watch.

use std::time::Duration;

use dqn_scaler::leader::{LeaderArgs, Leadership};
use dqn_scaler::service::elect;

use dqn_scaler::scaler::cycle::Changes;

use super::*;

/// A service that takes part in the election, until `ended`.
async fn replica(
    simulation: &Arc<Simulation>,
    name: &str,
    config: Config,
) -> (Service, CancellationToken) {
    let args = LeaderArgs {
        leader_elect: true,
        lease_name: "dqn-scaler".into(),
        lease_namespace: Some("default".into()),
        pod_name: Some(name.into()),
        lease_duration: 2,
        renew_deadline: Duration::from_millis(1200),
        retry_period: Duration::from_millis(200),
    };
    let leadership = Leadership::new(&args).unwrap();
    let service = Service::led(config, *simulation.clock(), leadership).await;
    service.state.connected(simulation.client());
    let ended = CancellationToken::new();
    tokio::spawn(elect(&service.state, ended.clone()));
    (service, ended)
}

async fn role(service: &Service) -> String {
    service.get("/readyz").await.1["role"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn followers_read_refuse_writes_and_take_over_with_the_configuration() {
    let simulation = cluster(|world| add(world, Resource::Deployments, "web", 1, 0.4, 200.0));
    let (first, first_ended) = replica(&simulation, "first", live()).await;
    until("the first leads", async || role(&first).await == "leader").await;
    let (second, _second_ended) = replica(&simulation, "second", live()).await;
    until("the second follows", async || second.get("/readyz").await.1["leader"].is_string()).await;
    until("the second is ready", async || second.get("/readyz").await.0 == 200).await;
    let (status, ready) = second.get("/readyz").await;
    assert_eq!(
        (status, &ready["role"], &ready["watch"]["fresh"]),
        (StatusCode::OK, &json!("follower"), &json!(true))
    );
    assert!(ready["leader"].as_str().unwrap().starts_with("first_"), "{ready}");
    assert_eq!(second.get("/pods").await.1["count"], 1);

    let pod = pods_of(&simulation, "web").remove(0);
    let resize = format!("/api/namespaces/default/pods/{pod}/resize");
    let up = json!({"containers": {"app": {"limits": {"cpu": "900m"}}}});
    for (path, body) in
        [("/config", json!({"dry_run": true})), (&resize, up.clone()), ("/scale/all", json!({}))]
    {
        let (status, refused) = second.post(path, body).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert!(refused["error"].as_str().unwrap().contains("first_"), "{refused}");
    }
    assert_eq!(limits(&simulation, &pod).0["cpu"], "500m");
    // Even where the loop reaches a follower, nothing is sent.
    let cluster = second.state.cluster().unwrap();
    let outcomes = second
        .state
        .scaler
        .scale_all(&cluster, &second.state.config(), Changes::Awaited)
        .await
        .unwrap()
        .outcomes;
    assert!(outcomes.iter().all(|outcome| outcome.status.name() == "skipped"));
    assert_eq!(first.post(&resize, up).await.0, StatusCode::OK);

    let changed = json!({"scale_factor": 0.3, "excluded_labels": {"tier": "cache"}});
    assert_eq!(first.post("/config", changed).await.0, StatusCode::OK);
    until("the follower knows of the change", async || {
        second.get("/config").await.1["scale_factor"] == 0.3
    })
    .await;
    first_ended.cancel();
    until("the second leads", async || role(&second).await == "leader").await;
    assert_eq!(role(&first).await, "follower");
    let config = second.get("/config").await.1;
    assert_eq!(
        (&config["scale_factor"], &config["excluded_labels"]),
        (&json!(0.3), &json!({"tier": "cache"}))
    );
    assert_eq!(second.post("/config", json!({"scale_factor": 0.2})).await.0, StatusCode::OK);
    assert_eq!(first.post("/autoscale/stop", json!({})).await.0, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_answer_of_the_api_server_the_leader_stops_by_itself() {
    let simulation = cluster(|world| add(world, Resource::Deployments, "web", 1, 0.4, 200.0));
    let (service, _ended) = replica(&simulation, "only", live()).await;
    until("it leads", async || role(&service).await == "leader").await;
    let unanswered = json!([{"resource": "leases", "effect": {"status": {"code": 503}}}]);
    let rules = serde_json::from_value(unanswered).unwrap();
    simulation.faults().replace(rules);
    until("it has stopped", async || role(&service).await == "follower").await;
    simulation.faults().replace(vec![]);
    until("it leads again", async || role(&service).await == "leader").await;
}
