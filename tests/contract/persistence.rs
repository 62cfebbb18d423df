//! What a new process knows of what an earlier one did: the cluster tells it.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_new_process_learns_from_the_cluster_that_a_pod_was_resized() {
    let simulation = cluster(|world| add(world, Resource::Deployments, "web", 1, 0.4, 200.0));
    let pod = pods_of(&simulation, "web").remove(0);
    let scale = format!("/scale/pod/default/{pod}");
    let first = Service::on(&simulation, live()).await;
    until("it is resized", async || {
        first.post(&scale, json!({})).await.1["result"]["applied"] == true
    })
    .await;
    drop(first);
    let managers = super::pod(&simulation, &pod)["metadata"]["managedFields"].clone();
    assert_eq!(
        (&managers[0]["manager"], &managers[0]["subresource"]),
        (&json!("dqn-scaler"), &json!("resize"))
    );
    assert!(
        managers[0]["fieldsV1"]["f:spec"]["f:containers"]["k:{\"name\":\"app\"}"]["f:resources"]
            .is_object()
    );

    let second = Service::on(&simulation, live()).await;
    until("it is measured", async || {
        second.post(&scale, json!({})).await.1["result"]["reason"] != "no_metrics"
    })
    .await;
    let (_, answer) = second.post(&scale, json!({})).await;
    assert_eq!(answer["result"]["reason"], "cooldown_period", "{answer}");
    // By the watch, too, and without a cooldown the same pod is resized again.
    let (_, all) = second.post("/scale/all", json!({})).await;
    assert_eq!(all["results"][0]["reason"], "cooldown_period", "{all}");
    assert_eq!(second.post("/config", json!({"scaling_cooldown": 0})).await.0, StatusCode::OK);
    until("it is resized again", async || {
        second.post(&scale, json!({})).await.1["result"]["applied"] == true
    })
    .await;
}
