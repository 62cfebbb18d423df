//! How far a change goes, and which of request and limit it is of.

use k8s_openapi::api::apps::v1::Deployment;

use super::annotations::annotate;
use super::safety::*;
use super::*;

/// What the spec of the first container asks for: `requests` or `limits`.
fn asked(simulation: &Simulation, pod_name: &str, list: &str) -> PerResource<f64> {
    let resources = container_of(simulation, pod_name, "app")["resources"][list].clone();
    let text = |name: &str| resources[name].as_str().unwrap().to_owned();
    let cpu = quantity::cores(&text("cpu")).unwrap();
    PerResource::new(cpu, quantity::mib(&text("memory")).unwrap())
}

fn requests(simulation: &Simulation, pod: &str) -> PerResource<f64> {
    asked(simulation, pod, "requests")
}

/// Half a core and 512 MiB of which half is requested, and an annotation.
async fn controlled(controls: &str) -> (Arc<Simulation>, String) {
    let simulation = cluster(|world| add(world, Resource::Deployments, "web", 1, 0.15, 150.0));
    let name = pods_of(&simulation, "web").remove(0);
    annotate::<Deployment>(&simulation, "web", &[("controls", controls)]).await;
    (simulation, name)
}

#[tokio::test]
async fn of_limits_alone_the_requests_stay() {
    let (simulation, name) = controlled("limits").await;
    let service = preferring(&simulation, unhurried(), [INCREASE, DECREASE]).await;
    until("it has cut memory, too", async || {
        scale(&service, &name).await;
        limit_of(&simulation, &name).memory < 512.0
    })
    .await;
    assert!(limit_of(&simulation, &name).cpu >= 0.6);
    assert_eq!(requests(&simulation, &name), PerResource::new(0.25, 256.0));
    let (_, body) = service.get("/pods").await;
    assert_eq!(body["pods"][0]["overrides"], json!({"controls": "limits"}));
}

#[tokio::test]
async fn of_requests_alone_they_follow_typical_use_and_the_limits_stay() {
    let (simulation, name) = controlled("requests").await;
    // What the network prefers for the limits is no matter.
    let service = preferring(&simulation, looping(), [INCREASE, INCREASE]).await;
    until("both are near what is used", async || {
        let has = requests(&simulation, &name);
        assert!(has.cpu >= 0.15 && has.memory >= 150.0, "{has:?}: below what is used");
        has.cpu < 0.2 && has.memory < 190.0
    })
    .await;
    load(&simulation, &name, 0.3, 300.0);
    until("both have followed", async || {
        let has = requests(&simulation, &name);
        has.cpu >= 0.3 && has.memory >= 300.0
    })
    .await;
    assert_eq!(limit_of(&simulation, &name), PerResource::new(0.5, 512.0));
    until("the answer tells the request that the kubelet has applied", async || {
        let result = scale(&service, &name).await;
        result["current_metrics"]["cpu_limit"] == requests(&simulation, &name).cpu
    })
    .await;
}

#[tokio::test]
async fn without_a_limit_the_request_follows_typical_use_whatever_the_network_prefers() {
    for (requested, preferred) in [("1", INCREASE), ("100m", DECREASE)] {
        let memory = if requested == "1" { "1Gi" } else { "100Mi" };
        let resources = json!({"requests": {"cpu": requested, "memory": memory}});
        let simulation = cluster(|world| {
            let uses = Workload::constant(0.3, 300.0);
            add_with(world, Resource::Deployments, "web", 1, resources, uses);
        });
        let name = pods_of(&simulation, "web").remove(0);
        let service = preferring(&simulation, looping(), [preferred, preferred]).await;
        let is_near = |has: PerResource<f64>| {
            (0.3..0.37).contains(&has.cpu) && (300.0..370.0).contains(&has.memory)
        };
        until("it is near", async || {
            let has = requests(&simulation, &name);
            assert!(requested != "1" || has.cpu >= 0.3 && has.memory >= 300.0, "{has:?}");
            is_near(has)
        })
        .await;
        if requested != "1" {
            assert_eq!(resizes(&simulation, Some(&name)), [200], "in one step");
        }
        pass(&simulation, 60.0).await;
        assert!(is_near(requests(&simulation, &name)));
        assert!(container_of(&simulation, &name, "app")["resources"]["limits"].is_null());
        let result = scale(&service, &name).await;
        assert!(factors(&result).contains(&"cpu_guard_typical_use"), "{result}");
    }
}

#[tokio::test]
async fn a_cut_leaves_the_request_what_is_typically_used() {
    let resources = json!({"requests": {"cpu": "350m", "memory": "350Mi"},
        "limits": {"cpu": "2", "memory": "2Gi"}});
    let simulation = cluster(|world| {
        let uses = Workload::constant(0.3, 300.0);
        add_with(world, Resource::Deployments, "web", 1, resources, uses);
    });
    let name = pods_of(&simulation, "web").remove(0);
    let _service = preferring(&simulation, looping(), [DECREASE, DECREASE]).await;
    until("the limits are cut to the peak", async || {
        let (has, limit) = (requests(&simulation, &name), limit_of(&simulation, &name));
        assert!(has.cpu >= 0.3 && has.memory >= 300.0, "{has:?}: below what is used");
        limit.cpu < 0.45 && limit.memory < 400.0
    })
    .await;
}

#[tokio::test]
async fn a_cut_that_hurts_is_undone_in_one_step_and_the_next_one_waits() {
    let simulation = cluster(|world| add(world, Resource::Deployments, "web", 1, 0.1, 100.0));
    let name = pods_of(&simulation, "web").remove(0);
    // A cooldown, which what hurts does not wait for, and windows that forget peaks.
    let config =
        Config { scaling_cooldown: 5, guard_cpu_window: 60, guard_cpu_fade: 0.9, ..unhurried() };
    let service = preferring(&simulation, config, [DECREASE, MAINTAIN]).await;
    until("it is cut", async || {
        scale(&service, &name).await;
        limit_of(&simulation, &name).cpu < 0.5
    })
    .await;
    assert_eq!(limit_of(&simulation, &name).cpu, 0.4);
    load(&simulation, &name, 1.0, 100.0);
    let mut last = Value::Null;
    until("it is undone", async || {
        last = scale(&service, &name).await;
        last["applied"] == true
    })
    .await;
    assert_eq!(limit_of(&simulation, &name).cpu, 0.5, "{last}");
    assert!(factors(&last).contains(&"cpu_guard_cut_hurt"), "{last}");
    load(&simulation, &name, 0.05, 100.0);
    // The cooldown is over and the peak is forgotten, but what has hurt is not.
    pass(&simulation, 400.0).await;
    until("a cut is preferred and kept", async || {
        last = scale(&service, &name).await;
        factors(&last).contains(&"cpu_guard_cut_hurt")
    })
    .await;
    assert_eq!(
        (&last["status"], limit_of(&simulation, &name).cpu),
        (&json!("no_action_needed"), 0.5)
    );
    assert!(!factors(&last).contains(&"cooldown_active"), "{last}");
}
