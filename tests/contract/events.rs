//! Kubernetes Events: what `kubectl describe` tells of resizes.

use std::time::{Duration, Instant};

use dqn_scaler::core::event::PodEvent;
use dqn_scaler::core::pod::pod_key;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Patch, PatchParams};

use super::*;

/// Of this service, in `default`, on objects of this kind: (object, reason, count, type, message).
fn reported(simulation: &Simulation, kind: &str) -> Vec<(String, String, u64, String, String)> {
    let world = simulation.world();
    let events =
        world.store.range(Resource::Events, Some("default"), None).map(|event| event.value());
    let ours = events
        .filter(|event| {
            event["source"]["component"] == "dqn-scaler" && event["involvedObject"]["kind"] == kind
        })
        .map(|event| {
            let about = &event["involvedObject"];
            let (resource, key) = (
                Resource::of_reference(about).unwrap(),
                Key::new("default", about["name"].as_str().unwrap()),
            );
            // A rollout replaces pods.
            if let Some(object) = world.store.value(resource, &key) {
                assert_eq!(about["uid"], object["metadata"]["uid"], "kubectl describe asks by uid");
            }
            assert!(
                event["firstTimestamp"].as_str().unwrap()
                    <= event["lastTimestamp"].as_str().unwrap()
            );
            let text = |name: &str| event[name].as_str().unwrap().to_owned();
            (
                key.name,
                text("reason"),
                event["count"].as_u64().unwrap(),
                text("type"),
                text("message"),
            )
        });
    ours.collect()
}

fn web() -> Arc<Simulation> {
    cluster(|world| {
        add(world, Resource::Deployments, "web", 1, 0.4, 200.0);
        add(world, Resource::Pods, "lonely", 1, 0.4, 200.0);
    })
}

async fn resize(service: &Service, pod: &str, cpu: &str) -> (StatusCode, Value) {
    let mut wanted = json!({"limits": {"cpu": cpu}});
    // More than any node has.
    if cpu == "64" {
        wanted["requests"] = json!({"cpu": cpu});
    }
    let body = json!({"containers": {"app": wanted}});
    service.post(&format!("/api/namespaces/default/pods/{pod}/resize"), body).await
}

async fn metrics(service: &Service) -> String {
    service.send(Method::GET, "/metrics").await.text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resize_is_told_on_the_pod_and_on_its_deployment_and_what_repeats_is_counted() {
    let simulation = web();
    let service = Service::on(&simulation, quiet()).await;
    let pod = pods_of(&simulation, "web").remove(0);
    for cpu in ["600m", "500m", "600m"] {
        assert_eq!(resize(&service, &pod, cpu).await.0, 200);
    }
    until("all is reported", async || {
        reported(&simulation, "Deployment").iter().any(|(_, _, count, ..)| *count == 3)
    })
    .await;
    let mut on_pod = reported(&simulation, "Pod");
    on_pod.sort_by_key(|(_, _, count, ..)| *count);
    let why = "a client of the API asked for it";
    let expected = |count, message: &str| {
        (pod.clone(), "Resized".to_owned(), count, "Normal".to_owned(), format!("{message}: {why}"))
    };
    assert_eq!(on_pod, [expected(1, "cpu 600m -> 500m"), expected(2, "cpu 500m -> 600m")]);
    let message = format!("Pod {pod}: cpu 500m -> 600m: {why}");
    assert_eq!(
        reported(&simulation, "Deployment"),
        [("web".into(), "Resized".into(), 3, "Normal".into(), message)]
    );
    // A bare pod has no workload to tell.
    assert_eq!(resize(&service, "lonely", "700m").await.0, 200);
    until("the bare pod's is reported", async || reported(&simulation, "Pod").len() == 3).await;
    let counted = metrics(&service).await;
    assert!(counted.contains("dqn_scaler_events_total{result=\"sent\"} 7"), "{counted}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_loop_does_is_told_with_its_cause_and_what_fails_as_a_warning() {
    let simulation = web();
    let pod = pods_of(&simulation, "web").remove(0);
    let service = Service::on(&simulation, live()).await;
    until("both are measured and resized", async || {
        service.post("/scale/all", json!({})).await;
        reported(&simulation, "Pod").len() == 2
    })
    .await;
    for (_, reason, count, kind, message) in reported(&simulation, "Pod") {
        assert_eq!((reason.as_str(), count, kind.as_str()), ("Resized", 1, "Normal"));
        assert!(
            message.starts_with("cpu 500m -> 600m: ")
                && message.contains("% of memory were in use"),
            "{message}"
        );
    }
    let (status, _) = resize(&service, &pod, "64").await;
    assert_eq!(status, 200, "the node cannot, the template can");
    until("the fallback is reported", async || reported(&simulation, "Deployment").len() == 2)
        .await;
    let fell_back = reported(&simulation, "Deployment")
        .into_iter()
        .find(|event| event.1 == "ResizeFellBack")
        .unwrap();
    assert_eq!((fell_back.0.as_str(), fell_back.3.as_str()), ("web", "Warning"));
    assert!(
        fell_back.4.contains("cpu 600m -> 64: written into the template of Deployment web"),
        "{}",
        fell_back.4
    );
    assert_eq!(resize(&service, "lonely", "64").await.0, 400);
    until("the failure is reported", async || {
        reported(&simulation, "Pod").iter().any(|event| event.1 == "ResizeFailed")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_are_refused_change_nothing_about_the_resizes() {
    let simulation = web();
    let pod = pods_of(&simulation, "web").remove(0);
    let service = Service::on(&simulation, quiet()).await;
    for effect in [Effect::Status { code: 403, message: None, retry_after: None }, Effect::Hang] {
        simulation.faults().replace(vec![Rule::new(effect).on("create", "events")]);
        for cpu in ["700m", "600m"] {
            let began = Instant::now();
            assert_eq!(resize(&service, &pod, cpu).await.0, 200);
            assert!(began.elapsed() < Duration::from_secs(2), "it did not wait for its event");
            assert_eq!(limits(&simulation, &pod).1["cpu"], cpu);
        }
    }
    until("the failures are counted", async || {
        metrics(&service).await.contains("events_total{result=\"failed\"} 4")
    })
    .await;
    simulation.faults().replace(vec![]);
    assert_eq!(resize(&service, &pod, "900m").await.0, 200);
    until("the next one is reported", async || {
        reported(&simulation, "Pod").iter().any(|event| event.4.starts_with("cpu 600m -> 900m"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_the_api_server_has_forgotten_is_made_anew() {
    let simulation = web();
    let service = Service::on(&simulation, quiet()).await;
    for (cpu, count) in [("600m", 1), ("500m", 2)] {
        assert_eq!(resize(&service, "lonely", cpu).await.0, 200);
        until("it is reported", async || reported(&simulation, "Pod").len() == count).await;
    }
    let events: Vec<Key> = simulation
        .world()
        .store
        .range(Resource::Events, None, None)
        .map(|event| event.key.clone())
        .collect();
    events.iter().for_each(|key| drop(simulation.world().store.remove(Resource::Events, key)));
    assert_eq!(resize(&service, "lonely", "600m").await.0, 200);
    until("it is reported again", async || reported(&simulation, "Pod").len() == 1).await;
    assert_eq!(reported(&simulation, "Pod")[0].2, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_the_workload_is_need_not_be_asked_for() {
    let simulation = web();
    let forbidden = Effect::Status { code: 403, message: None, retry_after: None };
    simulation.faults().add(Rule::new(forbidden).on("get", "deployments"));
    let service = Service::on(&simulation, quiet()).await;
    let pod = pods_of(&simulation, "web").remove(0);
    for (cpu, count) in [("600m", 1), ("700m", 2)] {
        assert_eq!(resize(&service, &pod, cpu).await.0, 200);
        until("the pod is reported", async || reported(&simulation, "Pod").len() == count).await;
    }
    until("the workload is reported", async || {
        reported(&simulation, "Deployment").iter().any(|event| event.2 == 2)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_tells_nothing() {
    let simulation = web();
    let service = Service::on(&simulation, quiet()).await;
    until("the loop would act", async || {
        let (_, body) = service.post("/scale/all", json!({})).await;
        body["results"].as_array().unwrap().iter().all(|result| result["status"] == "dry_run")
    })
    .await;
    // What is told afterwards shows that nothing was on its way.
    assert_eq!(resize(&service, "lonely", "600m").await.0, 200);
    until("a person's resize is reported", async || !reported(&simulation, "Pod").is_empty()).await;
    assert_eq!(
        (reported(&simulation, "Pod").len(), reported(&simulation, "Deployment").len()),
        (1, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_annotation_that_cannot_be_followed_is_told_once_where_it_sits() {
    let bad = json!({"metadata": {"annotations": {"dqn-scaler.io/max-cpu": "lots"}}});
    for (dry_run, on_deployment) in [(false, 1), (true, 0)] {
        let simulation = web();
        let (params, patch) = (PatchParams::default(), Patch::Merge(&bad));
        let api = kube::Api::<Deployment>::namespaced(simulation.client(), "default");
        api.patch("web", &params, &patch).await.unwrap();
        let service = Service::on(&simulation, Config { dry_run, ..quiet() }).await;
        for _ in 0..3 {
            service.post("/scale/all", json!({})).await;
        }
        // What is told afterwards shows that nothing else was on its way.
        assert_eq!(resize(&service, "lonely", "600m").await.0, 200);
        until("a person's resize is reported", async || {
            reported(&simulation, "Pod")
                .iter()
                .any(|(_, reason, _, _, message)| reason == "Resized" && message.contains("600m"))
        })
        .await;
        let (pods, deployments) =
            (reported(&simulation, "Pod"), reported(&simulation, "Deployment"));
        assert!(pods.iter().all(|(_, reason, ..)| reason != "InvalidAnnotation"), "{pods:?}");
        assert_eq!(deployments.len(), on_deployment, "{deployments:?}");
        for (name, reason, count, kind, message) in deployments {
            assert_eq!(
                (&*name, &*reason, count, &*kind),
                ("web", "InvalidAnnotation", 1, "Warning")
            );
            let fault = "not scaled: on Deployment web, annotation dqn-scaler.io/max-cpu: \"lots\"";
            assert!(message.contains(fault), "{message}");
        }
    }
}

fn event(number: usize) -> PodEvent {
    let pod = pod_key("default", "lonely", "u");
    let (at, what, why) = (chrono::Utc::now(), format!("step {number}"), String::new());
    PodEvent {
        pod,
        workload: None,
        at,
        warning: false,
        reason: "Resized",
        what,
        why,
        of_workload: false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_at_the_end_is_told_and_the_end_does_not_wait_for_long() {
    for (effect, least) in [(None, 20), (Some(Effect::Hang), 0)] {
        let simulation = web();
        simulation.faults().replace(
            effect.map(|effect| Rule::new(effect).on("create", "events")).into_iter().collect(),
        );
        let (state, events) = state(quiet(), *simulation.clock(), Leadership::alone());
        state.connected(simulation.client());
        for number in 0..20 {
            assert!(state.scaler.events.put(event(number)));
        }
        let ended = CancellationToken::new();
        ended.cancel();
        let began = Instant::now();
        publish(&state, events, ended).await;
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
        let events = simulation
            .world()
            .store
            .range(Resource::Events, None, None)
            .map(|event| event.value())
            .collect::<Vec<_>>();
        let told =
            events.iter().filter(|event| event["source"]["component"] == "dqn-scaler").count();
        assert_eq!(told, least);
    }
}

#[tokio::test]
async fn nobody_waits_for_room_in_the_queue() {
    let (state, _events) = state(quiet(), Clock::new(1.0), Leadership::alone());
    let taken = (0..1100).filter(|number| state.scaler.events.put(event(*number))).count();
    assert_eq!(taken, 1000);
}
