//! What LimitRanges and ResourceQuotas would refuse is known before anything is sent.

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{LimitRange, ResourceQuota};
use kube::api::PostParams;

use super::*;

/// Wants more CPU and less memory.
fn one_pod() -> (Arc<Simulation>, String) {
    let simulation = cluster(|world| add(world, Resource::Deployments, "web", 1, 0.45, 100.0));
    let name = pods_of(&simulation, "web").remove(0);
    (simulation, name)
}

/// Cuts after the first sample.
fn hasty() -> Config {
    Config { history_window: 1, ..live() }
}

async fn create<K>(simulation: &Arc<Simulation>, spec: Value) -> kube::Api<K>
where
    K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    K: Clone + serde::de::DeserializeOwned + serde::Serialize + std::fmt::Debug,
{
    let api = kube::Api::<K>::namespaced(simulation.client(), "default");
    let object = json!({"metadata": {"name": "bounds"}, "spec": spec});
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    api
}

async fn put_range(simulation: &Arc<Simulation>, kind: &str, mut item: Value) {
    item["type"] = kind.into();
    create::<LimitRange>(simulation, json!({"limits": [item]})).await;
}

/// A quota whose usage has been counted.
async fn put_quota(simulation: &Arc<Simulation>, hard: Value) {
    let quotas = create::<ResourceQuota>(simulation, json!({"hard": hard})).await;
    until("the quota is counted", async || {
        quotas.get("bounds").await.unwrap().status.is_some_and(|status| status.used.is_some())
    })
    .await;
}

/// The limits that a pod comes to, with the guard's changes, and how many requests were refused.
async fn scaled(simulation: &Arc<Simulation>, name: &str, config: Config) -> (Value, Value, usize) {
    let service = Service::on(simulation, config).await;
    simulation.faults().log.forget();
    let (_, body) = service.post(&format!("/scale/pod/default/{name}"), json!({})).await;
    let factors = body["result"]["explanation"]["factors"].as_array().unwrap().iter();
    let guard = factors.filter(|factor| factor.as_str().unwrap().contains("_guard_")).cloned();
    let requests = simulation.faults().log.requests().into_iter();
    let refused =
        requests.filter(|request| request.method == "PATCH" && request.status != Some(200));
    (limits(simulation, name).0, guard.collect(), refused.count())
}

#[tokio::test]
async fn a_step_ends_where_a_limit_range_would_refuse_it() {
    for (kind, item, limits, guard) in [
        // The least request of half the limit: the limit is twice as much.
        (
            "Container",
            json!({"max": {"cpu": "550m"}, "min": {"memory": "240Mi"}}),
            json!({"cpu": "550m", "memory": "480Mi"}),
            json!([]),
        ),
        (
            "Container",
            json!({"max": {"cpu": "500m"}, "min": {"memory": "256Mi"}}),
            json!({"cpu": "500m", "memory": "512Mi"}),
            json!(["cpu_guard_limit_range", "memory_guard_limit_range"]),
        ),
        (
            "Pod",
            json!({"max": {"cpu": "550m"}}),
            json!({"cpu": "550m", "memory": "419431Ki"}),
            json!([]),
        ),
        (
            "Container",
            json!({"maxLimitRequestRatio": {"cpu": "2", "memory": "2"}}),
            json!({"cpu": "600m", "memory": "419431Ki"}),
            json!([]),
        ),
    ] {
        // Whether the namespace is watched or asked about.
        let elsewhere = Config { namespaces: vec!["elsewhere".into()], ..hasty() };
        for config in [hasty(), elsewhere] {
            let (simulation, name) = one_pod();
            put_range(&simulation, kind, item.clone()).await;
            let expected = (limits.clone(), guard.clone(), 0);
            assert_eq!(scaled(&simulation, &name, config).await, expected);
        }
    }
}

#[tokio::test]
async fn a_full_quota_holds_back_what_grows_and_nothing_else() {
    for (hard, cpu, guard) in [
        (json!({"limits.cpu": "500m"}), "500m", json!(["cpu_guard_resource_quota"])),
        (json!({"requests.cpu": "250m"}), "500m", json!(["cpu_guard_resource_quota"])),
        (json!({"cpu": "250m"}), "500m", json!(["cpu_guard_resource_quota"])),
        (json!({"limits.cpu": "550m", "limits.memory": "512Mi"}), "550m", json!([])),
        (json!({"requests.cpu": "1", "pods": "1"}), "600m", json!([])),
    ] {
        let (simulation, name) = one_pod();
        put_quota(&simulation, hard).await;
        let limits = json!({"cpu": cpu, "memory": "419431Ki"});
        assert_eq!(scaled(&simulation, &name, hasty()).await, (limits, guard, 0));
    }
}

#[tokio::test]
async fn without_the_right_to_read_them_the_api_server_alone_tells() {
    let (simulation, name) = one_pod();
    put_range(&simulation, "Container", json!({"max": {"cpu": "550m"}})).await;
    for resource in ["limitranges", "resourcequotas"] {
        for verb in ["list", "watch"] {
            let forbidden = Effect::Status { code: 403, message: None, retry_after: None };
            simulation.faults().add(Rule::new(forbidden).on(verb, resource));
        }
    }
    let (limits, guard, refused) = scaled(&simulation, &name, hasty()).await;
    assert_eq!((&limits["cpu"], &limits["memory"]), (&json!("500m"), &json!("419431Ki")));
    assert_eq!((guard, refused > 0), (json!([]), true));
    let service = Service::on(&simulation, hasty()).await;
    until("it is ready", async || service.get("/readyz").await.0 == StatusCode::OK).await;
    assert_eq!(service.get("/readyz").await.1["watch"]["never_read"], json!([]));
}
