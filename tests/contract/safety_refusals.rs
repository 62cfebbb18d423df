//! What the cluster refuses stays as it is, is reported with the reason and left alone for a while;
//! the rest goes on.

use dqn_scaler::sim::denial::{Denial, Operation, Review};

use super::safety::*;
use super::*;

/// Something in the cluster that forbids resizes.
type Obstacle = (&'static str, &'static str, Value);

const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";
const RANGES: &str = "/api/v1/namespaces/default/limitranges";

/// A path to create something at, or the name of a rule, with the words of the refusal.
fn range(words: &'static str, bounds: Value) -> Obstacle {
    let mut limits = bounds;
    limits["type"] = "Container".into();
    (RANGES, words, json!({"metadata": {"name": "r"}, "spec": {"limits": [limits]}}))
}

fn quota(words: &'static str, hard: Value) -> Obstacle {
    (QUOTAS, words, json!({"metadata": {"name": "q"}, "spec": {"hard": hard}}))
}

/// Resizes must leave the memory limit at 512 MiB.
fn keeps_memory(review: &Review) -> Option<String> {
    let memory = &review.object["spec"]["containers"][0]["resources"]["limits"]["memory"];
    (review.operation == Operation::Resize && memory != "512Mi").then(|| "keep memory".to_owned())
}

fn keeps_all(review: &Review) -> Option<String> {
    (review.operation == Operation::Resize).then(|| "nothing moves".to_owned())
}

/// What is known beforehand is not tried: the service may not read what bounds the namespace.
fn hide(simulation: &Simulation) {
    for resource in ["limitranges", "resourcequotas"] {
        for verb in ["list", "watch"] {
            let forbidden = Effect::Status { code: 403, message: None, retry_after: None };
            simulation.faults().add(Rule::new(forbidden).on(verb, resource));
        }
    }
}

async fn with(obstacle: &Obstacle) -> Arc<Simulation> {
    let simulation = cluster(|world| add(world, Resource::Deployments, "web", 1, 0.1, 100.0));
    let (place, _, object) = obstacle;
    let denial = match *place {
        "webhook" => Denial::by_webhook("sizes.example.test", keeps_memory),
        "policy" => Denial::by_policy("sizes", keeps_memory),
        "frozen" => Denial::by_policy("frozen", keeps_all),
        path => {
            send(&simulation, "POST", path, object.clone()).await.unwrap();
            hide(&simulation);
            return simulation;
        }
    };
    simulation.world().denials.push(denial);
    simulation
}

/// What people see of the last decision on the only pod.
async fn last_decision(service: &Service) -> (Value, String) {
    let (_, body) = service.get("/pods/overview").await;
    let pod = &body["pods"][0];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let last = &pod["last_decision"];
    (last["status"].clone(), text(&last["why"]) + &text(&pod["message"]))
}

#[tokio::test]
async fn what_is_refused_of_memory_is_reported_and_rests_while_cpu_goes_on() {
    let more = [INCREASE, INCREASE];
    for (preferred, obstacle) in [
        (more, quota("exceeded quota: q", json!({"limits.memory": "512Mi"}))),
        (more, range("maximum memory usage per Container", json!({"max": {"memory": "512Mi"}}))),
        (
            [DECREASE, DECREASE],
            range("minimum memory usage per Container", json!({"min": {"memory": "256Mi"}})),
        ),
        (more, ("webhook", "denied the request: keep memory", Value::Null)),
        (more, ("policy", "denied request: keep memory", Value::Null)),
    ] {
        let (simulation, words) = (with(&obstacle).await, obstacle.1);
        let name = pods_of(&simulation, "web").remove(0);
        let before = template(&simulation, Resource::Deployments, "web");
        let service = preferring(&simulation, unhurried(), preferred).await;
        let mut result = Value::Null;
        until("both are to change", async || {
            result = scale_all(&service, &name).await;
            ["success", "failed"].contains(&result["status"].as_str().unwrap())
        })
        .await;
        assert_eq!(result["status"], "success", "of CPU: {result}");
        assert!(result["message"].as_str().unwrap().contains(words), "{words}: {result}");
        let after = limit_of(&simulation, &name);
        assert!(after.cpu != 0.5 && after.memory == 512.0, "{words}: {after:?}");
        let (status, why) = last_decision(&service).await;
        assert!(status == "success" && why.contains(words), "{words}: {why}");
        until("the refusal is published", async || {
            published(&simulation, "Pod").iter().any(|[pod, reason, message]| {
                *pod == name && reason == "ResizeFailed" && message.contains(words)
            })
        })
        .await;

        simulation.faults().log.forget();
        until("CPU goes on", async || {
            scale_all(&service, &name).await;
            limit_of(&simulation, &name).cpu != after.cpu
        })
        .await;
        assert_eq!(limit_of(&simulation, &name).memory, 512.0);
        assert!(resizes(&simulation, None).iter().all(|status| *status == 200), "{words}");
        assert_eq!(template(&simulation, Resource::Deployments, "web"), before, "{words}");
        assert_eq!(pods_of(&simulation, "web"), [name]);
    }
}

#[tokio::test]
async fn what_is_refused_as_a_whole_fails_with_the_reason_and_rests() {
    for obstacle in [
        range("max limit to request ratio", json!({"maxLimitRequestRatio": {"memory": "1.5"}})),
        ("frozen", "denied request: nothing moves", Value::Null),
    ] {
        let (simulation, words) = (with(&obstacle).await, obstacle.1);
        let name = pods_of(&simulation, "web").remove(0);
        let before = template(&simulation, Resource::Deployments, "web");
        let service = preferring(&simulation, unhurried(), [INCREASE, INCREASE]).await;
        let result = scale(&service, &name).await;
        assert_eq!(
            (&result["status"], &result["applied"]),
            (&json!("failed"), &json!(false)),
            "{result}"
        );
        assert!(result["reason"].as_str().unwrap().contains(words), "{words}: {result}");
        let (status, why) = last_decision(&service).await;
        assert!(status == "failed" && why.contains(words), "{words}: {why}");
        until("the refusal is published", async || {
            published(&simulation, "Deployment")
                .iter()
                .any(|[_, reason, message]| reason == "ResizeFailed" && message.contains(words))
        })
        .await;
        simulation.faults().log.forget();
        pass(&simulation, 40.0).await;
        for _ in 0..3 {
            assert_eq!(scale(&service, &name).await["reason"], "cooldown_period");
        }
        assert_eq!(resizes(&simulation, None), [0; 0]);
        assert_eq!(limit_of(&simulation, &name), PerResource::new(0.5, 512.0));
        assert_eq!(template(&simulation, Resource::Deployments, "web"), before, "{words}");
    }
}

#[tokio::test]
async fn a_refusal_to_a_person_carries_its_reason_and_changes_nothing() {
    let large = json!({"limits": {"cpu": "600m", "memory": "600Mi"}});
    let below_its_request = json!({"limits": {"memory": "100Mi"}});
    let none = || ("", "", json!({}));
    for (code, wanted, obstacle) in [
        (403, &large, quota("exceeded quota: q", json!({"limits.memory": "512Mi"}))),
        (403, &large, range("maximum memory usage per", json!({"max": {"memory": "512Mi"}}))),
        (403, &large, range("ratio per", json!({"maxLimitRequestRatio": {"memory": "1.5"}}))),
        (403, &large, ("webhook", "denied the request: keep memory", Value::Null)),
        (403, &large, ("policy", "denied request: keep memory", Value::Null)),
        (400, &below_its_request, ("", "must be less than or equal to memory limit", none().2)),
    ] {
        let simulation = match obstacle.0 {
            "" => cluster(|world| add(world, Resource::Deployments, "web", 1, 0.1, 100.0)),
            _ => with(&obstacle).await,
        };
        let name = pods_of(&simulation, "web").remove(0);
        let before = template(&simulation, Resource::Deployments, "web");
        let service = Service::on(&simulation, quiet()).await;
        let path = format!("/api/namespaces/default/pods/{name}/resize");
        let (status, answer) = service.post(&path, json!({"containers": {"app": wanted}})).await;
        let error = answer["error"].as_str().unwrap_or_default();
        assert_eq!(status, code, "{answer}");
        assert!(error.contains(obstacle.1), "{answer}");
        pass(&simulation, 5.0).await;
        assert_eq!(limit_of(&simulation, &name), PerResource::new(0.5, 512.0), "{error}");
        assert_eq!(template(&simulation, Resource::Deployments, "web"), before, "{error}");
    }
}

#[tokio::test]
async fn a_person_whose_resize_meets_another_one_is_answered_with_a_conflict() {
    let simulation = cluster(|world| add(world, Resource::Deployments, "web", 1, 0.1, 100.0));
    let name = pods_of(&simulation, "web").remove(0);
    let service = Service::on(&simulation, quiet()).await;
    let late = Rule::new(Effect::Delay { milliseconds: 800 });
    simulation.faults().add(late.on("patch", "pods/resize").times(1));
    let path = format!("/api/namespaces/default/pods/{name}/resize");
    let asked = service.post(&path, json!({"containers": {"app": {"limits": {"cpu": "700m"}}}}));
    let other = async {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        resize_by_hand(&simulation, &name, "app", json!({"cpu": "900m"})).await;
    };
    let ((status, answer), ()) = tokio::join!(asked, other);
    assert_eq!(status, 409, "{answer}");
    assert_eq!(limit_of(&simulation, &name), PerResource::new(0.9, 512.0));
}

#[tokio::test]
async fn on_old_servers_a_memory_cut_is_not_even_asked_for() {
    let simulation = cluster_of(ServerVersion::V1_33, |world| {
        add(world, Resource::Deployments, "web", 1, 0.1, 100.0);
    });
    let name = pods_of(&simulation, "web").remove(0);
    let service = preferring(&simulation, looping(), [DECREASE, DECREASE]).await;
    until("CPU is cut", async || limit_of(&simulation, &name).cpu < 0.35).await;
    assert_eq!(limit_of(&simulation, &name).memory, 512.0);
    let result = scale(&service, &name).await;
    assert!(factors(&result).contains(&"memory_guard_no_memory_cuts"), "{result}");
    assert!(resizes(&simulation, None).iter().all(|status| *status == 200));
    assert!(published(&simulation, "Pod").iter().all(|[_, reason, _]| reason == "Resized"));
}
