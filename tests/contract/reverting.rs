//! The way out: pods go back to what their templates give.

use dqn_scaler::scaler::revert::revert;

use super::safety::*;
use super::*;

async fn said(simulation: &Arc<Simulation>, apply: bool) -> (bool, String) {
    said_of(simulation, "default", apply).await
}

async fn said_of(simulation: &Arc<Simulation>, namespace: &str, apply: bool) -> (bool, String) {
    let (mut out, namespaces) = (Vec::new(), [namespace.to_owned()]);
    let clock = *simulation.clock();
    let done = revert(simulation.client(), clock, &namespaces, apply, &mut out).await;
    (done.is_ok(), String::from_utf8(out).unwrap())
}

#[tokio::test]
async fn what_this_service_has_changed_goes_back_and_what_others_have_changed_stays() {
    let simulation = cluster(|world| {
        add(world, Resource::Deployments, "web", 2, 0.1, 100.0);
        add(world, Resource::StatefulSets, "db", 1, 0.1, 100.0);
        add_pod(world, "alone", json!({"containers": [container("app", half())]}), 0.1, 100.0);
    });
    let service = Service::on(&simulation, live()).await;
    let web = pods_of(&simulation, "web");
    for name in [&web[0], "db-0", "alone"] {
        let path = format!("/api/namespaces/default/pods/{name}/resize");
        let resources = json!({"app": {"requests": {"cpu": "300m"},
            "limits": {"cpu": "1", "memory": "1Gi"}}});
        let body = json!({"containers": resources});
        assert_eq!(service.post(&path, body).await.0, 200);
    }
    drop(service);
    resize_by_hand(&simulation, &web[1], "app", json!({"cpu": "2"})).await;
    let changed = PerResource::new(1.0, 1024.0);

    let (_, text) = said_of(&simulation, "defualt", false).await;
    assert!(text.starts_with("defualt: it has no pods, or there is no such namespace\n"), "{text}");
    let (done, text) = said(&simulation, false).await;
    assert!(!text.contains("no pods"), "{text}");
    let step = "app: cpu request 300m -> 250m, cpu limit 1 -> 500m, memory limit 1Gi -> 512Mi";
    for name in [&web[0], "db-0"] {
        assert!(text.contains(&format!("default/{name}: {step}\n")), "{text}");
        assert_eq!(limit_of(&simulation, name), changed, "nothing is changed yet");
    }
    assert!(text.contains("default/alone: it has no template\n"), "{text}");
    assert!(done && text.ends_with("2 pods differ. Nothing was changed: --apply does it.\n"));

    let (done, text) = said(&simulation, true).await;
    assert!(done && text.ends_with("2 pods are as their templates have them, 0 are not.\n"));
    for name in [&web[0], "db-0"] {
        assert_eq!(limit_of(&simulation, name), PerResource::new(0.5, 512.0));
        let container = container_of(&simulation, name, "app");
        assert_eq!(container["resources"]["requests"]["cpu"], "250m");
        assert_eq!(status_of(&simulation, name)["restartCount"], 0);
    }
    assert_eq!(limit_of(&simulation, &web[1]).cpu, 2.0, "that is somebody else's");
    assert_eq!(limit_of(&simulation, "alone"), changed);
    assert!(
        said(&simulation, true)
            .await
            .1
            .ends_with("0 pods are as their templates have them, 0 are not.\n")
    );
}

#[tokio::test]
async fn what_cannot_be_put_back_is_told_and_costs_only_itself() {
    let simulation = cluster_of(ServerVersion::V1_33, |world| {
        add(world, Resource::Deployments, "web", 1, 0.1, 100.0);
        add(world, Resource::StatefulSets, "db", 1, 0.1, 100.0);
    });
    let service = Service::on(&simulation, live()).await;
    let web = pods_of(&simulation, "web").remove(0);
    for (name, limits) in
        [(&*web, json!({"cpu": "1", "memory": "1Gi"})), ("db-0", json!({"cpu": "1"}))]
    {
        let path = format!("/api/namespaces/default/pods/{name}/resize");
        let body = json!({"containers": {"app": {"limits": limits}}});
        assert_eq!(service.post(&path, body).await.0, 200);
    }
    drop(service);
    // Before 1.34 memory is not lowered in place.
    let (done, text) = said(&simulation, true).await;
    assert!(
        !done && text.contains("1 pods are as their templates have them, 1 are not."),
        "{text}"
    );
    assert_eq!(limit_of(&simulation, &web), PerResource::new(0.5, 1024.0));
    assert_eq!(limit_of(&simulation, "db-0").cpu, 0.5);
}
