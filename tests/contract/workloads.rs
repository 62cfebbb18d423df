//! What outlives pods: new ones get what others of their workload have settled on.

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
    let accepted = resizes(&simulation, Some(&new));
    assert_eq!(accepted, [200], "in one step");
    let known = workload(&service).await;
    assert_eq!((&known["kind"], &known["name"]), (&json!("Deployment"), &json!("web")));
    assert_eq!(known["containers"][0]["template"]["memory_limit_mb"], 512.0);
    assert_eq!(known["instance"], Value::Null);
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
