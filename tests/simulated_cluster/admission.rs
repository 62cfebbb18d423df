//! Quotas, ranges and rules of the cluster's owners, on resizes and on new pods.

use dqn_scaler::sim::denial::{Denial, Operation};

use super::*;

const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";
const RANGES: &str = "/api/v1/namespaces/default/limitranges";

fn limits(cpu: &str) -> Value {
    json!({
        "spec": { "containers": [{ "name": "app", "resources": { "limits": { "cpu": cpu } } }] },
    })
}

async fn resize(cluster: &Cluster, pod: &str, cpu: &str) -> (u16, Value) {
    cluster.patch(&format!("{PODS}/{pod}/resize"), limits(cpu)).await
}

async fn bound(cluster: &Cluster, hard: Value) {
    let quota = json!({ "metadata": { "name": "q" }, "spec": { "hard": hard } });
    assert_eq!(cluster.post(QUOTAS, quota).await.0, 201);
}

async fn until_used(cluster: &Cluster, used: Value) {
    until("the quota is counted", async || {
        cluster.get(&format!("{QUOTAS}/q")).await.1["status"]["used"] == used
    })
    .await;
}

/// The messages of the events with a reason.
async fn messages(cluster: &Cluster, reason: &str) -> Vec<String> {
    let (_, list) = cluster.get(&format!("/api/v1/events?fieldSelector=reason%3D{reason}")).await;
    let events = list["items"].as_array().unwrap().iter();
    events.map(|event| event["message"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_quota_refuses_a_resize_that_exceeds_it() {
    let cluster = Cluster::with_web().await;
    bound(&cluster, json!({ "limits.cpu": "2000m", "requests.memory": "1Gi", "pods": "9" })).await;
    let used = json!({ "limits.cpu": "1200m", "pods": "3", "requests.memory": "384Mi" });
    until_used(&cluster, used).await;
    let pod = cluster.first_pod("web").await;
    let (code, status) = resize(&cluster, &pod, "1500m").await;
    let message = format!(
        "pods \"{pod}\" is forbidden: exceeded quota: q, requested: limits.cpu=1100m, \
         used: limits.cpu=1200m, limited: limits.cpu=2"
    );
    assert_eq!(
        (code, &status["reason"], &status["message"]),
        (403, &json!("Forbidden"), &json!(message))
    );
    assert_eq!(resize(&cluster, &pod, "1200m").await.0, 200);
    let used = json!({ "limits.cpu": "2", "pods": "3", "requests.memory": "384Mi" });
    until_used(&cluster, used).await;
    assert_eq!(resize(&cluster, &pod, "300m").await.0, 200, "a cut is always within");
    let used = json!({ "limits.cpu": "1100m", "pods": "3", "requests.memory": "384Mi" });
    until_used(&cluster, used).await;
    let (_, quotas) = cluster.get("/api/v1/resourcequotas").await;
    assert_eq!((&quotas["kind"], names(&quotas)), (&json!("ResourceQuotaList"), vec!["q"]));
}

#[tokio::test]
async fn pods_of_a_workload_come_only_while_the_quota_has_room() {
    let cluster = Cluster::with_web().await;
    bound(&cluster, json!({ "limits.cpu": "1600m" })).await;
    let scale = json!({ "spec": { "replicas": 5 } });
    let path = format!("{DEPLOYMENTS}/web");
    assert_eq!(cluster.patch(&path, scale).await.0, 200);
    until("the fifth is refused", async || {
        let message = "is forbidden: exceeded quota: q, requested: limits.cpu=400m, \
            used: limits.cpu=1600m, limited: limits.cpu=1600m";
        messages(&cluster, "FailedCreate").await.iter().any(|event| {
            event.starts_with("Error creating: pods \"web-") && event.ends_with(message)
        })
    })
    .await;
    assert_eq!(cluster.pods("web").await.len(), 4);
    until("the Deployment says so", async || {
        let (_, deployment) = cluster.get(&path).await;
        let conditions = deployment["status"]["conditions"].as_array().unwrap();
        let mut failures = conditions.iter().filter(|c| c["type"] == "ReplicaFailure");
        failures.any(|failure| failure["reason"] == "FailedCreate")
    })
    .await;
    let more = json!({ "spec": { "hard": { "limits.cpu": "2" } } });
    assert_eq!(cluster.patch(&format!("{QUOTAS}/q"), more).await.0, 200);
    until("it is tried again", async || cluster.pods("web").await.len() == 5).await;
    let (_, deployment) = cluster.get(&path).await;
    let conditions = deployment["status"]["conditions"].as_array().unwrap();
    assert!(conditions.iter().all(|condition| condition["type"] != "ReplicaFailure"));
}

#[tokio::test]
async fn a_quota_wants_every_container_to_say_what_it_takes() {
    let cluster = Cluster::with_web().await;
    bound(&cluster, json!({ "limits.cpu": "9", "limits.memory": "9Gi" })).await;
    let mut pod = bare_pod("vague");
    pod["spec"]["containers"][0]["resources"] = json!({ "limits": { "cpu": "1" } });
    let (code, status) = cluster.post(PODS, pod).await;
    let message =
        "pods \"vague\" is forbidden: failed quota: q: must specify limits.memory for: app";
    assert_eq!((code, &status["message"]), (403, &json!(message)));
}

#[tokio::test]
async fn a_range_bounds_containers_and_pods_and_completes_them() {
    let cluster = Cluster::with_web().await;
    let range = json!({ "metadata": { "name": "r" }, "spec": { "limits": [
        { "type": "Container", "max": { "cpu": "1" }, "default": { "cpu": "500m" },
          "defaultRequest": { "cpu": 0.25 }, "maxLimitRequestRatio": { "cpu": "4" } },
        { "type": "Pod", "max": { "memory": "512Mi" } },
    ] } });
    assert_eq!(cluster.post(RANGES, range).await.0, 201);
    let pod = cluster.first_pod("web").await;
    let (code, status) = resize(&cluster, &pod, "2").await;
    let message = format!(
        "pods \"{pod}\" is forbidden: [maximum cpu usage per Container is 1, but limit is 2, \
         cpu max limit to request ratio per Container is 4, but provided ratio is 10.000000]"
    );
    assert_eq!((code, &status["message"]), (403, &json!(message)));
    assert_eq!(resize(&cluster, &pod, "800m").await.0, 200);

    let mut large = bare_pod("large");
    large["spec"]["containers"][0]["resources"] = json!({ "limits": { "memory": "1Gi" } });
    let (code, status) = cluster.post(PODS, large.clone()).await;
    let message = "pods \"large\" is forbidden: maximum memory usage per Pod is 512Mi, \
        but limit is 1Gi";
    assert_eq!((code, &status["message"]), (403, &json!(message)));
    large["spec"]["containers"][0]["resources"]["limits"]["memory"] = "256Mi".into();
    let (code, created) = cluster.post(PODS, large).await;
    let complete = json!({
        "limits": { "memory": "256Mi", "cpu": "500m" },
        "requests": { "memory": "256Mi", "cpu": "250m" },
    });
    assert_eq!((code, &created["spec"]["containers"][0]["resources"]), (201, &complete));
    assert_eq!(
        created["metadata"]["annotations"]["kubernetes.io/limit-ranger"],
        "LimitRanger plugin set: cpu request for container large; \
         cpu limit for container large"
            .replace("container large", "container app")
    );
}

#[tokio::test]
async fn owners_of_the_cluster_deny_what_they_want() {
    let cluster = Cluster::with_web().await;
    let pod = cluster.first_pod("web").await;
    cluster.simulation.world().denials.push(Denial::by_webhook("sizes.example.test", |review| {
        let cpu = &review.object["spec"]["containers"][0]["resources"]["limits"]["cpu"];
        (review.operation == Operation::Resize && cpu == "1").then(|| "too much CPU".to_owned())
    }));
    let (code, status) = resize(&cluster, &pod, "1").await;
    let message = "admission webhook \"sizes.example.test\" denied the request: too much CPU";
    assert_eq!((code, &status["message"]), (403, &json!(message)));
    assert_eq!(resize(&cluster, &pod, "900m").await.0, 200);

    cluster.simulation.world().denials = vec![Denial::by_policy("frozen", |review| {
        (review.operation == Operation::Create).then(|| "nothing new".to_owned())
    })];
    let scale = json!({ "spec": { "replicas": 4 } });
    assert_eq!(cluster.patch(&format!("{DEPLOYMENTS}/web"), scale).await.0, 200);
    until("the new pod is denied", async || {
        let message = "is forbidden: ValidatingAdmissionPolicy 'frozen' with binding \
            'frozen-binding' denied request: nothing new";
        messages(&cluster, "FailedCreate").await.iter().any(|event| event.ends_with(message))
    })
    .await;
    assert_eq!(cluster.pods("web").await.len(), 3);
}
