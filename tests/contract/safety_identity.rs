//! What only looks like a known workload is none, and a known one is known whatever its version.

use super::safety::*;
use super::*;

#[tokio::test]
async fn a_workload_of_another_group_is_never_taken_for_the_one_of_its_name() {
    use Resource::{DaemonSets, Deployments, StatefulSets};
    let kinds =
        [(Deployments, "Deployment"), (DaemonSets, "DaemonSet"), (StatefulSets, "StatefulSet")];
    let simulation = cluster(|world| {
        for (kind, name) in kinds {
            add(world, kind, &name.to_lowercase(), 1, 0.1, 100.0);
        }
        // No kubelet resizes anything, so that the template is all that is left.
        world.nodes.get_mut("node-1").unwrap().windows = true;
    });
    for (_, kind) in kinds {
        let owner = json!([{"apiVersion": "apps.example.test/v1", "kind": kind,
            "name": kind.to_lowercase(), "uid": "other", "controller": true}]);
        let stranger = json!({"kind": "Pod", "apiVersion": "v1",
            "metadata": {"name": format!("a-{}-0", kind.to_lowercase()), "ownerReferences": owner},
            "spec": {"containers": [container("app", half())]}});
        send(&simulation, "POST", "/api/v1/namespaces/default/pods", stranger).await.unwrap();
    }
    let before = kinds.map(|(kind, name)| template(&simulation, kind, &name.to_lowercase()));
    let service = preferring(&simulation, unhurried(), [INCREASE, INCREASE]).await;
    for (_, kind) in kinds {
        let name = format!("a-{}-0", kind.to_lowercase());
        until("it is decided on", async || scale(&service, &name).await["status"] == "failed")
            .await;
        let body = json!({"containers": {"app": {"limits": {"cpu": "900m"}}}});
        let path = format!("/api/namespaces/default/pods/{name}/resize");
        let (status, answer) = service.post(&path, body).await;
        assert_eq!(status, 400, "{answer}");
        until("what is in force is asked for", async || {
            limit_of(&simulation, &name) == PerResource::new(0.5, 512.0)
        })
        .await;
    }
    let after = kinds.map(|(kind, name)| template(&simulation, kind, &name.to_lowercase()));
    assert_eq!(after, before);
    assert!(published(&simulation, "Deployment").is_empty());
    let requests = simulation.faults().log.requests();
    let patches = requests.iter().filter(|request| request.method == "PATCH");
    assert!(patches.into_iter().all(|request| !request.path.starts_with("/apis/apps/")));
}

#[tokio::test]
async fn a_vpa_that_names_an_old_version_of_its_target_is_respected() {
    for version in ["extensions/v1beta1", "apps/v1beta2"] {
        let simulation = cluster(|world| add(world, Resource::Deployments, "web", 1, 0.45, 200.0));
        let target = json!({"apiVersion": version, "kind": "Deployment", "name": "web"});
        let vpa = json!({"kind": "VerticalPodAutoscaler", "apiVersion": "autoscaling.k8s.io/v1",
            "metadata": {"name": "old"},
            "spec": {"targetRef": target, "updatePolicy": {"updateMode": "Auto"}}});
        let path = "/apis/autoscaling.k8s.io/v1/namespaces/default/verticalpodautoscalers";
        send(&simulation, "POST", path, vpa).await.unwrap();
        let service = preferring(&simulation, looping(), [INCREASE, INCREASE]).await;
        let name = pods_of(&simulation, "web").remove(0);
        let result = scale(&service, &name).await;
        assert_eq!(result["reason"], "managed_by_vpa", "{version}: {result}");
        pass(&simulation, 30.0).await;
        assert_eq!(limit_of(&simulation, &name), PerResource::new(0.5, 512.0));
        assert_eq!(resizes(&simulation, None), [0; 0]);
    }
}
