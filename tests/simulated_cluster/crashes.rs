//! Containers that do not stay up.

use dqn_scaler::sim::runtime::{CrashLoop, End};
use dqn_scaler::sim::store::Key;

use super::*;

const METRICS: &str = "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods";

/// A Deployment of one pod with two containers, of which one does not stay up.
async fn crashing(crash: CrashLoop) -> (Cluster, String) {
    let cluster = Cluster::start(ServerVersion::default(), |world| {
        let container = |name: &str| {
            json!({
                "name": name, "image": "example.test/app:1",
                "resources": { "limits": { "cpu": "200m", "memory": "128Mi" } },
            })
        };
        let spec = json!({ "containers": [container("app"), container("proxy")] });
        let workload = Workload::constant(0.05, 50.0);
        declare(world, Resource::Deployments, "default", "web", 1, spec, workload);
        let key = Key::new("default", "web");
        world.set_crash_loop(Resource::Deployments, &key, "app", Some(crash));
    })
    .await;
    let pod = cluster.first_pod("web").await;
    (cluster, format!("{PODS}/{pod}"))
}

async fn until_waiting(cluster: &Cluster, path: &str, restarts: u64) -> Value {
    let mut status = Value::Null;
    until("it waits to be restarted", async || {
        let (_, pod) = cluster.get(path).await;
        status = pod["status"]["containerStatuses"][0].clone();
        status["state"]["waiting"]["reason"] == "CrashLoopBackOff"
            && status["restartCount"].as_u64() >= Some(restarts)
    })
    .await;
    status
}

#[tokio::test]
async fn a_crash_loop_backs_off_and_takes_the_pod_out_of_the_metrics() {
    let (cluster, path) = crashing(CrashLoop::new(5.0, End::Exit(1))).await;
    let status = until_waiting(&cluster, &path, 2).await;
    let last = &status["lastState"]["terminated"];
    assert_eq!((&last["exitCode"], &last["reason"]), (&json!(1), &json!("Error")));
    assert!(last["finishedAt"].as_str() > last["startedAt"].as_str(), "{last}");
    assert_eq!((&status["started"], &status["ready"]), (&json!(false), &json!(false)));
    let message = status["state"]["waiting"]["message"].as_str().unwrap();
    assert!(message.starts_with("back-off 40s restarting failed container=app"), "{message}");
    until("the pod is missing", async || cluster.get(METRICS).await.1["items"] == json!([])).await;

    let key = Key::new("default", "web");
    cluster.simulation.world().set_crash_loop(Resource::Deployments, &key, "app", None);
    until("it stays up", async || {
        cluster.get(METRICS).await.1["items"][0]["containers"].as_array().map(Vec::len) == Some(2)
    })
    .await;
}

#[tokio::test]
async fn an_oom_loop_can_leave_the_other_containers_in_the_metrics() {
    let crash = CrashLoop { missing_alone: true, ..CrashLoop::new(5.0, End::OutOfMemory) };
    let (cluster, path) = crashing(crash).await;
    let status = until_waiting(&cluster, &path, 1).await;
    let last = &status["lastState"]["terminated"];
    assert_eq!((&last["exitCode"], &last["reason"]), (&json!(137), &json!("OOMKilled")));
    until("only the other is measured", async || {
        let (_, list) = cluster.get(METRICS).await;
        let containers = &list["items"][0]["containers"];
        containers.as_array().map(Vec::len) == Some(1) && containers[0]["name"] == "proxy"
    })
    .await;
}

#[tokio::test]
async fn a_container_that_ends_well_ends_a_pod_that_is_not_to_go_on() {
    let cluster = Cluster::start(ServerVersion::default(), |world| {
        let key = Key::new("default", "job");
        let crash = CrashLoop::new(5.0, End::Exit(0));
        world.set_crash_loop(Resource::Pods, &key, "app", Some(crash));
    })
    .await;
    let mut job = bare_pod("job");
    job["spec"]["restartPolicy"] = "OnFailure".into();
    assert_eq!(cluster.post(PODS, job).await.0, 201);
    until("it is done", async || {
        cluster.get(&format!("{PODS}/job")).await.1["status"]["phase"] == "Succeeded"
    })
    .await;
}
