//! `/api/namespaces/{namespace}/pods/{pod}/resize`.

use super::*;

fn path(pod: &str) -> String {
    format!("/api/namespaces/default/pods/{pod}/resize")
}

fn body(limits: Value) -> Value {
    json!({"containers": {"app": {"requests": {"cpu": "200m", "memory": "256Mi"},
        "limits": limits}}})
}

#[tokio::test]
async fn a_pod_is_resized_in_place() {
    let simulation = cluster(|world| add(world, Resource::Deployments, "web", 1, 0.1, 100.0));
    let service = Service::on(&simulation, quiet()).await;
    let name = &pods_of(&simulation, "web")[0];
    let wanted = json!({"cpu": "800m", "memory": "1Gi"});
    let (status, answer) = service.post(&path(name), body(wanted.clone())).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        keys(&answer),
        ["message", "pod", "namespace", "scaling_method", "details", "timestamp"]
    );
    assert_eq!(answer["message"], format!("Successfully resized pod {name} vertically"));
    assert_eq!((&answer["pod"], &answer["namespace"]), (&json!(name), &json!("default")));
    assert_eq!(answer["scaling_method"], "vertical");
    let given = body(wanted.clone())["containers"].clone();
    assert_eq!(
        answer["details"],
        json!({"pod_name": name, "namespace": "default", "container_resources": given})
    );
    assert_eq!(limits(&simulation, name), (wanted.clone(), wanted));
    assert_eq!(pod(&simulation, name)["status"]["containerStatuses"][0]["restartCount"], 0);
}

#[tokio::test]
async fn what_cannot_be_done_in_place_goes_to_the_template_and_is_rolled_out() {
    let simulation = cluster_of(ServerVersion::V1_33, |world| {
        add(world, Resource::Deployments, "web", 2, 0.1, 100.0);
    });
    let service = Service::on(&simulation, quiet()).await;
    let name = &pods_of(&simulation, "web")[0];
    // This release does not lower memory limits in place.
    let wanted = json!({"cpu": "500m", "memory": "300Mi"});
    let (status, answer) = service.post(&path(name), body(wanted.clone())).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["message"], "Successfully updated deployment web resources");
    assert_eq!(answer["scaling_method"], "deployment_update");
    assert_eq!(
        answer["details"],
        json!({
            "pod_name": name,
            "deployment_name": "web",
            "namespace": "default",
            "container_resources": body(wanted.clone())["containers"],
            "reason": "Direct vertical scaling failed, updated via deployment"
        })
    );
    until("the rollout is over", async || {
        let pods = pods_of(&simulation, "web");
        pods.len() == 2
            && pods.iter().all(|name| limits(&simulation, name) == (wanted.clone(), wanted.clone()))
    })
    .await;
}

#[tokio::test]
async fn without_fallback_a_refusal_changes_nothing() {
    let simulation = cluster_of(ServerVersion::V1_33, |world| {
        add(world, Resource::Deployments, "web", 1, 0.1, 100.0);
        add(world, Resource::Pods, "lonely", 1, 0.1, 100.0);
    });
    let service = Service::on(&simulation, quiet()).await;
    let wanted = body(json!({"memory": "300Mi"}));
    let name = pods_of(&simulation, "web").remove(0);
    let before = limits(&simulation, &name);
    for path in [path(&name) + "?enable_horizontal_fallback=false", path("lonely")] {
        let (status, answer) = service.post(&path, wanted.clone()).await;
        assert_eq!((status.as_u16(), &answer["success"]), (400, &json!(false)), "{path}");
        let error = answer["error"].as_str().unwrap();
        assert!(error.contains("memory limits cannot be decreased"), "{error}");
    }
    assert_eq!(limits(&simulation, &name), before);
    assert_eq!(limits(&simulation, "lonely"), before);
}

#[tokio::test]
async fn a_limit_below_the_usage_is_refused_by_the_kubelet_and_taken_back() {
    let simulation = cluster(|world| add(world, Resource::Deployments, "web", 1, 0.1, 400.0));
    let service = Service::on(&simulation, quiet()).await;
    let name = &pods_of(&simulation, "web")[0];
    let before = limits(&simulation, name);
    let (status, answer) = service.post(&path(name), body(json!({"memory": "300Mi"}))).await;
    assert_eq!(status, 400);
    assert!(answer["error"].as_str().unwrap().contains("below current usage"), "{answer}");
    until("the old limit is asked for again", async || limits(&simulation, name) == before).await;
    assert_eq!(pods_of(&simulation, "web"), std::slice::from_ref(name), "no rollout");
}

#[tokio::test]
async fn bad_requests_are_refused_and_nothing_is_sent() {
    let simulation = cluster(|world| add(world, Resource::Deployments, "web", 1, 0.1, 100.0));
    let service = Service::on(&simulation, quiet()).await;
    let name = &pods_of(&simulation, "web")[0];
    let before = pod(&simulation, name)["spec"].clone();
    for bad in [
        json!({}),
        json!({"containers": []}),
        json!({"containers": {}}),
        json!({"containers": {"app": "small"}}),
        json!({"containers": {"app": {"limits": {"cpu": 1}}}}),
        json!({"containers": {"app": {"limits": {"cpu": "lots"}}}}),
        json!({"containers": {"app": {"limits": {"cpu": "-1"}}}}),
        json!({"containers": {"app": {"limits": {"gpu": "1"}}}}),
        json!({"containers": {"app": {"limit": {"cpu": "1"}}}}),
        json!({"containers": {"app": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}}),
        json!({"containers": {"other": {"limits": {"cpu": "1"}}}}),
    ] {
        let (status, answer) = service.post(&path(name), bad.clone()).await;
        assert_eq!((status.as_u16(), &answer["success"]), (400, &json!(false)), "{bad}");
    }
    assert_eq!(pod(&simulation, name)["spec"], before);
    let (status, _) = service.post(&path("nobody"), body(json!({"cpu": "1"}))).await;
    assert_eq!(status, 404);
}
