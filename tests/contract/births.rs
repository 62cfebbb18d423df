//! What new pods are made with: one ConfigMap a namespace, for a policy of the API server.

use dqn_scaler::sim::custom::CustomKind;
use k8s_openapi::api::apps::v1::Deployment;

use super::annotations::annotate;
use super::safety::*;
use super::*;

const SIZES: &str = "/api/v1/namespaces/default/configmaps/dqn-scaler-sizes";
const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies";
const POLICY: &str = "dqn-scaler-born-right-sized";

fn born() -> Config {
    Config { born_right_sized: true, ..looping() }
}

/// A pod that needs more memory than its template gives it, on a cluster that may have the policy.
async fn shop(with_policy: bool) -> Arc<Simulation> {
    let simulation = cluster(|world| {
        let (group, kind) = ("admissionregistration.k8s.io", "MutatingAdmissionPolicy");
        world.custom.define(CustomKind::new("", "v1", "configmaps", "ConfigMap"));
        world.custom.define(CustomKind::new(group, "v1", "mutatingadmissionpolicies", kind));
        add(world, Resource::Deployments, "web", 1, 0.08, 700.0);
    });
    if with_policy {
        let policy = json!({"metadata": {"name": POLICY}});
        send(&simulation, "POST", POLICIES, policy).await.unwrap();
    }
    simulation
}

/// The entries of the ConfigMap, if there is one.
async fn sizes(simulation: &Arc<Simulation>) -> Option<Map<String, Value>> {
    let found = send(simulation, "GET", SIZES, Value::Null).await.ok()?;
    found["data"].as_object().cloned()
}

/// The limit of memory in an entry, in MiB.
fn memory(entries: Option<&Map<String, Value>>) -> f64 {
    let entry = entries.and_then(|entries| entries.get("apps_Deployment_web__app")?.as_str());
    let memory = entry.and_then(|entry| quantity::mib(entry.split('|').nth(5)?));
    memory.unwrap_or_default()
}

/// Runs until the first pod has what it needs and the ConfigMap says so.
async fn learned(simulation: &Arc<Simulation>) {
    until("its size is kept", async || memory(sizes(simulation).await.as_ref()) > 700.0).await;
}

#[tokio::test]
async fn what_a_workload_has_settled_on_is_kept_for_its_new_pods_while_the_service_is_live() {
    let simulation = shop(true).await;
    let service = preferring(&simulation, born(), [MAINTAIN, MAINTAIN]).await;
    learned(&simulation).await;
    let object = send(&simulation, "GET", SIZES, Value::Null).await.unwrap();
    let owner = &object["metadata"]["ownerReferences"][0];
    let policy = send(&simulation, "GET", &format!("{POLICIES}/{POLICY}"), Value::Null).await;
    assert_eq!(owner["uid"], policy.unwrap()["metadata"]["uid"], "it goes with the policy");
    let entries = sizes(&simulation).await.unwrap();
    let entry = entries["apps_Deployment_web__app"].as_str().unwrap();
    assert!(entry.starts_with("example.test/app:1|250m,256Mi,500m,512Mi|"), "{entry}");

    service.post("/config", json!({"dry_run": true})).await;
    until("a dry run has none", async || sizes(&simulation).await.is_none()).await;
    service.post("/config", json!({"dry_run": false})).await;
    learned(&simulation).await;
    annotate::<Deployment>(&simulation, "web", &[("mode", "off")]).await;
    until("it is left alone", async || sizes(&simulation).await.is_none()).await;
}

#[tokio::test]
async fn another_process_goes_on_where_one_has_ended() {
    let simulation = shop(true).await;
    let first = preferring(&simulation, born(), [MAINTAIN, MAINTAIN]).await;
    learned(&simulation).await;
    let before = sizes(&simulation).await;
    drop(first);
    // It knows no template of a pod that was resized, and has no state to learn it from.
    let _second = preferring(&simulation, born(), [MAINTAIN, MAINTAIN]).await;
    pass(&simulation, 60.0).await;
    assert_eq!(sizes(&simulation).await, before);
}

#[tokio::test]
async fn without_the_policy_or_the_option_nothing_is_kept() {
    for (with_policy, config) in [(false, born()), (true, looping())] {
        let simulation = shop(with_policy).await;
        let _service = preferring(&simulation, config, [MAINTAIN, MAINTAIN]).await;
        let first = pods_of(&simulation, "web").remove(0);
        until("it has what it needs", async || limit_of(&simulation, &first).memory > 700.0).await;
        pass(&simulation, 30.0).await;
        let asked = simulation.faults().log.requests();
        assert!(!asked.iter().any(|of| of.path.contains("configmaps")));
        assert_eq!(sizes(&simulation).await, None);
    }
}
