//! What outlives pods: new ones get what others of their workload have settled on.

use dqn_scaler::service::sources;
use dqn_scaler::sim::custom::CustomKind;
use dqn_scaler::store::{self, Store};

use super::annotations::{own_of_group, reads_of};
use super::safety::*;
use super::*;

/// A Deployment of one pod that uses a sixth of its CPU and more memory than its template gives.
fn shop() -> Arc<Simulation> {
    cluster(|world| add(world, Resource::Deployments, "web", 1, 0.08, 700.0))
}

async fn workload(service: &Service) -> Value {
    let (status, body) = service.get("/workloads?search=web").await;
    assert_eq!(status, 200, "{body}");
    body["workloads"][0].clone()
}

/// Runs until the pod has got the memory that it needs and has been measured with it.
async fn learned(simulation: &Arc<Simulation>, service: &Service) -> f64 {
    let first = pods_of(simulation, "web").remove(0);
    until("it has what it needs", async || limit_of(simulation, &first).memory > 700.0).await;
    until("that is remembered", async || {
        let known = workload(service).await;
        let has = limit_of(simulation, &first).memory;
        known["containers"][0]["needed"]["memory_limit_mb"].as_f64() >= Some(has - 1.0)
            && known["containers"][0]["last_oom_kill"].is_string()
    })
    .await;
    limit_of(simulation, &first).memory
}

#[tokio::test]
async fn after_a_rollout_the_new_pod_gets_in_one_step_what_the_old_one_had() {
    let simulation = shop();
    let service = preferring(&simulation, looping(), [MAINTAIN, MAINTAIN]).await;
    let settled = learned(&simulation, &service).await;
    let old = pods_of(&simulation, "web").remove(0);
    simulation.world().delete_pod(&Key::new("default", &old), Some(0));
    until("a new pod is there with what it needs", async || {
        let pods = pods_of(&simulation, "web");
        pods.first()
            .is_some_and(|new| *new != old && limit_of(&simulation, new).memory >= settled - 1.0)
    })
    .await;
    let new = pods_of(&simulation, "web").remove(0);
    let mut accepted = resizes(&simulation, Some(&new));
    // A pod that has changed since it was read is read again.
    accepted.retain(|code| *code != 409);
    assert_eq!(accepted, [200], "in one step");
    let known = workload(&service).await;
    assert_eq!((&known["kind"], &known["name"]), (&json!("Deployment"), &json!("web")));
    assert_eq!(known["containers"][0]["template"]["memory_limit_mb"], 512.0);
    assert_eq!(known["instance"], Value::Null);
}

#[tokio::test]
async fn a_pod_of_a_stateful_set_that_is_made_anew_gets_the_size_of_its_own_past() {
    let simulation = cluster(|world| add(world, Resource::StatefulSets, "db", 2, 0.1, 100.0));
    let service = preferring(&simulation, looping(), [MAINTAIN, MAINTAIN]).await;
    resize_by_hand(&simulation, "db-0", "app", json!({"cpu": "1", "memory": "1Gi"})).await;
    until("that is remembered", async || {
        let (_, body) = service.get("/workloads?search=db-0").await;
        body["workloads"][0]["containers"][0]["needed"]["memory_limit_mb"] == 1024.0
    })
    .await;
    let uid = |name: &str| pod(&simulation, name)["metadata"]["uid"].clone();
    let old = ["db-0", "db-1"].map(uid);
    simulation.faults().log.forget();
    for name in ["db-0", "db-1"] {
        simulation.world().delete_pod(&Key::new("default", name), Some(0));
    }
    until("it has its size again", async || {
        let there = pods_of(&simulation, "db");
        there == ["db-0", "db-1"]
            && ["db-0", "db-1"].map(uid) != old
            && limit_of(&simulation, "db-0") == PerResource::new(1.0, 1024.0)
    })
    .await;
    pass(&simulation, 30.0).await;
    assert_eq!(limit_of(&simulation, "db-1"), PerResource::new(0.5, 512.0), "it has its own past");
    assert_eq!(resizes(&simulation, None), [200], "one step of one pod");
}

/// A service that keeps its state in a folder, and what ends its store.
pub async fn storing(
    simulation: &Arc<Simulation>,
    folder: &std::path::Path,
) -> (Service, impl Future<Output = ()> + use<>) {
    let network = network_that_wants(MAINTAIN, MAINTAIN);
    let begun = state_of(&network, looping(), *simulation.clock(), Leadership::alone());
    let store = Store::open(folder, sources(&begun.0)).unwrap();
    let ended = CancellationToken::new();
    let storing = tokio::spawn(store::run(Some(store), ended.clone()));
    let service = Service::run(begun).await;
    service.state.connected(simulation.client());
    (service, async move {
        ended.cancel();
        storing.await.unwrap();
    })
}

#[tokio::test]
async fn what_a_workload_has_taught_outlives_the_service() {
    let (simulation, folder) = (shop(), tempfile::tempdir().unwrap());
    let (first, end) = storing(&simulation, folder.path()).await;
    let settled = learned(&simulation, &first).await;
    let known = workload(&first).await["containers"].clone();
    drop(first);
    end.await;
    // While nobody looks the pod is made anew.
    let old = pods_of(&simulation, "web").remove(0);
    simulation.world().delete_pod(&Key::new("default", &old), Some(0));
    until("a new pod is there", async || {
        pods_of(&simulation, "web").first().is_some_and(|new| *new != old)
    })
    .await;
    let new = pods_of(&simulation, "web").remove(0);
    assert_eq!(limit_of(&simulation, &new).memory, 512.0);
    let (second, _end) = storing(&simulation, folder.path()).await;
    until("it has what is needed", async || limit_of(&simulation, &new).memory >= settled - 1.0)
        .await;
    assert_eq!(resizes(&simulation, Some(&new)), [200], "in one step");
    let now = workload(&second).await["containers"].clone();
    for field in ["template", "known_since"] {
        assert_eq!(now[0][field], known[0][field], "{field}");
    }
}

#[tokio::test]
async fn the_runs_of_a_cron_job_are_one_workload_for_which_jobs_alone_are_read() {
    let runs = ["nightly-1", "nightly-2"];
    let simulation = cluster(|world| {
        for (plural, kind) in [("jobs", "Job"), ("cronjobs", "CronJob")] {
            world.custom.define(CustomKind::new("batch", "v1", plural, kind));
        }
        for run in runs {
            add_pod(world, run, json!({"containers": [container("app", half())]}), 0.1, 100.0);
        }
    });
    let cron_job = own_of_group(&simulation, "batch", "CronJob", "nightly", None).await;
    for run in runs {
        let job = own_of_group(&simulation, "batch", "Job", run, Some(&cron_job)).await;
        let path = format!("/api/v1/namespaces/default/pods/{run}");
        let body = json!({"metadata": {"ownerReferences": [job]}});
        send(&simulation, "PATCH", &path, body).await.unwrap();
    }
    let service = Service::on(&simulation, quiet()).await;
    let mut body = Value::Null;
    until("both runs are known", async || {
        service.post("/scale/all", json!({})).await;
        body = service.get("/workloads").await.1;
        body["workloads"][0]["pods"] == 2
    })
    .await;
    let known = &body["workloads"][0];
    assert_eq!(
        (&body["found"], &known["group"], &known["kind"], &known["name"], &known["instance"]),
        (&json!(1), &json!("batch"), &json!("CronJob"), &json!("nightly"), &Value::Null)
    );
    assert_eq!((reads_of(&simulation, "jobs"), reads_of(&simulation, "cronjobs")), (2, 0));
}

#[tokio::test]
async fn the_answer_is_paged_and_filtered_and_refuses_what_it_does_not_understand() {
    let simulation = cluster(|world| {
        add(world, Resource::Deployments, "web", 2, 0.1, 100.0);
        add(world, Resource::StatefulSets, "db", 2, 0.1, 100.0);
    });
    let service = Service::on(&simulation, quiet()).await;
    service.post("/scale/all", json!({})).await;
    let names = async |query: &str| {
        let (status, body) = service.get(&format!("/workloads{query}")).await;
        assert_eq!(status, 200, "{body}");
        let all = body["workloads"].as_array().unwrap().iter();
        let names: Vec<_> = all
            .map(|one| one["instance"].as_str().or(one["name"].as_str()).unwrap().to_owned())
            .collect();
        (body["found"].as_u64().unwrap(), names)
    };
    let all = ["web", "db-0", "db-1"].map(String::from).to_vec();
    assert_eq!(names("").await, (3, all.clone()));
    assert_eq!(names("?limit=1&offset=1").await, (3, all[1..2].to_vec()));
    assert_eq!(names("?search=DB-1").await, (1, all[2..].to_vec()));
    assert_eq!(names("?namespace=other").await, (0, Vec::new()));
    assert_eq!(service.get("/workloads?limit=some").await.0, 400);
}
