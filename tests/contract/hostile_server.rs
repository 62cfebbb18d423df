//! What many clients ask for is asked of the API server once; what the API server does to one kind
//! of request costs only that; and many namespaces take few watches.

use std::time::{Duration, Instant};

use futures::future::join_all;

use super::*;

/// What was asked for since the log was forgotten, but for watches.
fn asked(simulation: &Simulation) -> Vec<String> {
    let requests = simulation.faults().log.requests().into_iter().map(|request| request.path);
    requests.filter(|path| !path.contains("watch=true")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_that_looks_at_one_pod_asks_the_api_server_once() {
    let simulation = cluster(|world| add(world, Resource::Pods, "lonely", 1, 0.1, 100.0));
    let service = Service::on(&simulation, quiet()).await;
    until("the pod is known", async || service.get("/pods").await.1["count"] == 1).await;
    simulation.faults().log.forget();
    let began = Instant::now();
    join_all((0..50).map(async |_| {
        for _ in 0..10 {
            assert_eq!(service.get("/pods/default/lonely").await.0, StatusCode::OK);
            assert_eq!(service.get("/pods/default/lonely/history").await.0, StatusCode::OK);
            assert_eq!(service.get("/pods/default/nobody").await.0, StatusCode::NOT_FOUND);
        }
    }))
    .await;
    let asked = asked(&simulation);
    let most = 2 + began.elapsed().as_secs() as usize;
    assert!(asked.len() <= most, "1500 requests in {:?}: {asked:?}", began.elapsed());
    assert!(asked.iter().all(|path| path.contains("metrics.k8s.io")), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_that_looks_elsewhere_waits_for_its_turn() {
    let simulation = cluster(|world| add(world, Resource::Pods, "lonely", 1, 0.1, 100.0));
    let config = Config { namespaces: vec!["kube-system".into()], ..quiet() };
    let service = Service::on(&simulation, config).await;
    let one = join_all((0..100).map(|_| service.get("/pods/default/lonely"))).await;
    assert!(one.iter().all(|(status, _)| *status == StatusCode::OK));
    let of_pod = |path: &String| path.ends_with("/namespaces/default/pods/lonely");
    let gets = asked(&simulation).iter().filter(|path| of_pod(path)).count();
    assert!(gets <= 4, "{gets}: of the pod and of its metrics, once or twice");
    simulation.faults().log.forget();
    let began = Instant::now();
    let names = (0..60).map(|number| format!("/pods/default/nobody-{number}"));
    join_all(names.map(async |path| {
        assert_eq!(service.get(&path).await.0, StatusCode::NOT_FOUND);
    }))
    .await;
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}: 20 a second", began.elapsed());
    assert_eq!(asked(&simulation).len(), 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_pause_is_that_of_one_resource() {
    let simulation = cluster(|world| add(world, Resource::Pods, "lonely", 1, 0.1, 100.0));
    let service = Service::on(&simulation, live()).await;
    until("the pod is known", async || service.get("/pods").await.1["count"] == 1).await;
    let refused =
        Effect::Status { code: 429, message: None, retry_after: Some(u64::from(u32::MAX)) };
    let metrics = Rule { group: Some("metrics.k8s.io".into()), ..Rule::new(refused) };
    simulation.faults().add(metrics.times(1));
    assert_eq!(service.get("/pods/default/lonely").await.0, StatusCode::INTERNAL_SERVER_ERROR);
    let began = Instant::now();
    let resize = json!({"containers": {"app": {"limits": {"cpu": "1"}}}});
    let path = "/api/namespaces/default/pods/lonely/resize";
    assert_eq!(service.post(path, resize).await.0, StatusCode::OK);
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    until("even the metrics are asked for again", async || {
        service.get("/pods/default/lonely").await.0 == StatusCode::OK
    })
    .await;
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
}

/// Twelve namespaces with a pod each, and one more that nobody asks for.
fn many() -> (Arc<Simulation>, Vec<String>) {
    let names: Vec<_> = (0..12).map(|number| format!("team-{number}")).collect();
    let simulation = cluster(|world| {
        let resources = json!({"limits": {"cpu": "500m", "memory": "512Mi"}});
        let spec = json!({"containers": [{"name": "app", "image": "example.test/app:1",
            "resources": resources}]});
        for name in names.iter().map(String::as_str).chain(["other"]) {
            add_namespace(world, name);
            let load = Workload::constant(0.1, 100.0);
            declare(world, Resource::Pods, name, "web", 1, spec.clone(), load);
        }
    });
    (simulation, names)
}

fn watched(simulation: &Simulation) -> Vec<String> {
    let requests = simulation.faults().log.requests().into_iter().map(|request| request.path);
    requests.filter(|path| path.contains("watch=true")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_namespaces_take_one_watch_a_kind() {
    let (simulation, names) = many();
    let service =
        Service::on(&simulation, Config { namespaces: names[..3].to_vec(), ..quiet() }).await;
    until("three are known", async || service.get("/pods").await.1["count"] == 3).await;
    simulation.faults().log.forget();
    let body = json!({"namespaces": names});
    assert_eq!(service.post("/config", body).await.0, StatusCode::OK);
    until("all are known", async || service.get("/pods").await.1["count"] == 12).await;
    let watches = watched(&simulation);
    assert!(watches.len() <= 9, "{watches:#?}");
    assert!(watches.iter().all(|path| !path.contains("/namespaces/")), "{watches:#?}");
    let key = Key::new("team-7", "web");
    simulation.world().delete_pod(&key, Some(0));
    until("a deletion is seen", async || service.get("/pods").await.1["count"] == 11).await;
    assert_eq!(service.get("/pods/other/web").await.0, StatusCode::OK, "it is asked for");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_look_at_all_each_namespace_is_watched() {
    let (simulation, names) = many();
    let forbidden = Effect::Status { code: 403, message: None, retry_after: None };
    let whole = Rule { namespace: Some(String::new()), ..Rule::new(forbidden).on("watch", "pods") };
    simulation.faults().add(whole);
    let service = Service::on(&simulation, Config { namespaces: names.clone(), ..quiet() }).await;
    until("all are known", async || service.get("/pods").await.1["count"] == 12).await;
    let of_pods = |path: &&String| path.contains("/namespaces/team-") && path.contains("/pods?");
    assert_eq!(watched(&simulation).iter().filter(of_pods).count(), 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_bounded_to_namespaces_never_watches_the_whole_cluster() {
    let (simulation, names) = many();
    let allowed_namespaces = names.clone();
    let config = Config { namespaces: names, allowed_namespaces, ..quiet() };
    let service = Service::on(&simulation, config).await;
    until("all are known", async || service.get("/pods").await.1["count"] == 12).await;
    assert!(watched(&simulation).iter().all(|path| path.contains("/namespaces/team-")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absurd_resize_is_refused_and_the_next_sane_one_is_done() {
    let simulation = cluster(|world| add(world, Resource::Pods, "lonely", 1, 0.1, 100.0));
    let service = Service::on(&simulation, live()).await;
    let path = "/api/namespaces/default/pods/lonely/resize";
    for (resource, absurd) in
        [("memory", "90000E"), ("memory", "101000000Mi"), ("cpu", "10001"), ("cpu", "1e30")]
    {
        let wanted = json!({"containers": {"app": {"limits": {resource: absurd}}}});
        let (status, body) = service.post(path, wanted).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
        assert!(body["error"].as_str().unwrap().contains("more than any node has"), "{body}");
    }
    let wanted = json!({"containers": {"app": {"limits": {"memory": "1Gi"}}}});
    assert_eq!(service.post(path, wanted).await.0, StatusCode::OK);
}
