//! The table of what a real API server and kubelet made of a resize, row by row.

use super::*;

const BOTH: [ServerVersion; 2] = [ServerVersion::V1_33, ServerVersion::V1_36];

fn list(cpu: &str, memory: &str) -> Value {
    json!({ "cpu": cpu, "memory": memory })
}

/// Pods of every kind, on a node of two cores and 4 GiB.
fn fill(world: &mut World) {
    let burstable = json!({ "requests": list("200m", "128Mi"), "limits": list("400m", "256Mi") });
    let container = |resources: &Value| {
        json!({
            "name": "app", "image": "example.test/app:1", "resources": resources,
        })
    };
    let mut restarting = container(&burstable);
    restarting["resizePolicy"] = json!([
        { "resourceName": "cpu", "restartPolicy": "NotRequired" },
        { "resourceName": "memory", "restartPolicy": "RestartContainer" },
    ]);
    let mut sidecar =
        container(&json!({ "requests": list("50m", "32Mi"), "limits": list("100m", "64Mi") }));
    sidecar["name"] = "proxy".into();
    sidecar["restartPolicy"] = "Always".into();
    for (name, spec) in [
        ("burstable", json!({ "containers": [container(&burstable)] })),
        ("restarting", json!({ "containers": [restarting] })),
        (
            "unlimited",
            json!({ "containers": [container(&json!({ "requests": list("100m", "64Mi") }))] }),
        ),
        ("effortless", json!({ "containers": [container(&json!({}))] })),
        (
            "guaranteed",
            json!({ "containers": [container(&json!({ "limits": list("200m", "128Mi") }))] }),
        ),
        (
            "accompanied",
            json!({ "containers": [container(&burstable)], "initContainers": [sidecar] }),
        ),
    ] {
        declare(world, Resource::Pods, "default", name, 1, spec, Workload::constant(0.05, 50.0));
    }
    let spec = json!({
        "containers": [container(&burstable)],
        "nodeSelector": { "kubernetes.io/hostname": "nowhere" },
    });
    declare(world, Resource::Pods, "default", "pending", 1, spec, Workload::constant(0.05, 50.0));
}

fn of_container(name: &str, resources: Value) -> Value {
    json!({ "spec": { "containers": [{ "name": name, "resources": resources }] } })
}

async fn resize(cluster: &Cluster, pod: &str, resources: Value) -> (u16, Value) {
    cluster.patch(&format!("{PODS}/{pod}/resize"), of_container("app", resources)).await
}

async fn pod(cluster: &Cluster, name: &str) -> Value {
    cluster.get(&format!("{PODS}/{name}")).await.1
}

fn condition<'a>(pod: &'a Value, kind: &str) -> &'a Value {
    let mut conditions = pod["status"]["conditions"].as_array().unwrap().iter();
    conditions.find(|condition| condition["type"] == kind).unwrap_or(&Value::Null)
}

fn in_force(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]["resources"]
}

async fn until_in_force(cluster: &Cluster, name: &str) {
    until("the resize is in force", async || {
        let pod = pod(cluster, name).await;
        in_force(&pod) == &pod["spec"]["containers"][0]["resources"]
            && condition(&pod, "PodResizeInProgress").is_null()
    })
    .await;
}

#[tokio::test]
async fn the_api_server_accepts_and_refuses_what_it_was_seen_to() {
    let qos = "Pod QOS Class may not change as a result of resizing";
    let memory = "memory limits cannot be decreased unless resizePolicy is RestartContainer";
    let format = "quantities must match the regular expression";
    let up = json!({ "requests": list("300m", "160Mi"), "limits": list("600m", "320Mi") });
    // The pod, what is patched, and the answers of 1.33 and of 1.36; with 422 a part of the
    // message.
    let rows = [
        ("burstable", up.clone(), [(200, ""), (200, "")]),
        (
            "burstable",
            json!({ "requests": { "cpu": "100m" }, "limits": { "cpu": "300m" } }),
            [(200, ""), (200, "")],
        ),
        (
            "guaranteed",
            json!({ "requests": list("300m", "128Mi"), "limits": list("300m", "128Mi") }),
            [(200, ""), (200, "")],
        ),
        (
            "burstable",
            json!({ "requests": { "cpu": "500m" } }),
            [(422, "must be less than or equal to cpu limit of 400m"); 2],
        ),
        (
            "burstable",
            json!({ "limits": { "cpu": "100m" } }),
            [(422, "must be less than or equal to cpu limit of 100m"); 2],
        ),
        ("burstable", json!({ "limits": { "memory": "200Mi" } }), [(422, memory), (200, "")]),
        ("restarting", json!({ "limits": { "memory": "200Mi" } }), [(200, ""), (200, "")]),
        ("unlimited", json!({ "limits": { "cpu": "500m" } }), [(200, ""), (200, "")]),
        ("unlimited", json!({ "limits": { "memory": "500Mi" } }), [(422, memory), (200, "")]),
        ("burstable", json!({ "requests": list("400m", "256Mi") }), [(422, qos); 2]),
        ("guaranteed", json!({ "requests": { "cpu": "100m" } }), [(422, qos); 2]),
        ("effortless", json!({ "requests": { "cpu": "100m" } }), [(422, qos); 2]),
        (
            "burstable",
            json!({ "limits": { "cpu": null } }),
            [(422, "resource limits cannot be removed"); 2],
        ),
        (
            "unlimited",
            json!({ "requests": { "cpu": null } }),
            [(422, "resource requests cannot be removed"); 2],
        ),
        ("pending", up, [(200, ""), (200, "")]),
        (
            "burstable",
            json!({ "limits": { "ephemeral-storage": "1Gi" } }),
            [(422, "only cpu and memory resources are mutable"); 2],
        ),
        (
            "burstable",
            json!({ "requests": { "example.test/gpu": "1" } }),
            [(422, "only cpu and memory resources are mutable"); 2],
        ),
        ("burstable", json!({ "limits": { "cpu": "fast" } }), [(422, format); 2]),
        (
            "burstable",
            json!({ "requests": { "cpu": "-100m" } }),
            [(422, "must be greater than or equal to 0"); 2],
        ),
        ("nobody", json!({}), [(404, "pods \"nobody\" not found"); 2]),
        (
            "burstable",
            json!({ "requests": { "cpu": "100" }, "limits": { "cpu": "100" } }),
            [
                (200, ""),
                (
                    403,
                    "node didn't have enough allocatable resources: cpu, requested: 100000, \
                        allocatable: 2000",
                ),
            ],
        ),
    ];
    for (index, version) in BOTH.into_iter().enumerate() {
        for (name, resources, answers) in &rows {
            let cluster = Cluster::start(version, fill).await;
            let (code, answer) = resize(&cluster, name, resources.clone()).await;
            let (expected, message) = answers[index];
            assert_eq!(code, expected, "{version:?} {name} {resources}: {answer}");
            if code == 200 {
                assert_eq!(answer["kind"], "Pod");
            } else {
                assert!(
                    answer["message"].as_str().unwrap().contains(message),
                    "{version:?} {name} {resources}: {answer}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_patch_beside_the_resources_is_refused_or_ignored() {
    for version in BOTH {
        let cluster = Cluster::start(version, fill).await;
        let path = format!("{PODS}/burstable/resize");
        let (code, answer) = cluster
            .patch(&path, of_container("stranger", json!({ "limits": { "cpu": "1" } })))
            .await;
        assert_eq!(code, 422);
        assert!(
            answer["message"]
                .as_str()
                .unwrap()
                .contains("containers may not be added or removed on resize"),
            "{answer}"
        );

        let policy = json!([{ "resourceName": "cpu", "restartPolicy": "RestartContainer" }]);
        let patch =
            json!({ "spec": { "containers": [{ "name": "app", "resizePolicy": policy }] } });
        let (code, answer) = cluster.patch(&path, patch).await;
        assert_eq!(code, 422);
        assert!(
            answer["message"]
                .as_str()
                .unwrap()
                .contains("only cpu and memory resources are mutable"),
            "{answer}"
        );

        let mut patch = of_container("app", json!({ "limits": { "cpu": "500m" } }));
        patch["spec"]["containers"][0]["image"] = "example.test/app:2".into();
        patch["metadata"] = json!({ "labels": { "new": "yes" }, "annotations": { "new": "yes" } });
        let (code, answer) = cluster.patch(&path, patch).await;
        assert_eq!(
            (code, &answer["spec"]["containers"][0]["image"]),
            (200, &json!("example.test/app:1"))
        );
        assert_eq!(answer["metadata"]["labels"], json!({ "app": "burstable" }));
        assert_eq!(answer["metadata"].get("annotations"), None);
        assert_eq!(answer["spec"]["containers"][0]["resources"]["limits"]["cpu"], "500m");

        for (metadata, expected) in
            [(json!({ "resourceVersion": "1" }), 409), (json!({ "uid": "another" }), 422)]
        {
            let mut patch = of_container("app", json!({ "limits": { "cpu": "600m" } }));
            patch["metadata"] = metadata;
            assert_eq!(cluster.patch(&path, patch).await.0, expected);
        }
        let (code, answer) = cluster
            .patch(
                &format!("{PODS}/burstable"),
                of_container("app", json!({ "limits": { "cpu": "600m" } })),
            )
            .await;
        assert_eq!(code, 422);
        assert!(
            answer["message"]
                .as_str()
                .unwrap()
                .contains("pod updates may not change fields other than"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn sidecars_are_resized_and_the_subresource_can_be_put() {
    let cluster = Cluster::start(ServerVersion::V1_36, fill).await;
    let path = format!("{PODS}/accompanied/resize");
    let patch = json!({
        "spec": {
            "initContainers": [{ "name": "proxy", "resources": { "limits": { "cpu": "150m" } } }],
        },
    });
    let (code, mut pod) = cluster.patch(&path, patch).await;
    assert_eq!(
        (code, &pod["spec"]["initContainers"][0]["resources"]["limits"]["cpu"]),
        (200, &json!("150m"))
    );
    pod["spec"]["containers"][0]["resources"]["limits"]["cpu"] = "450m".into();
    pod["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    let (code, pod) = cluster.send(Method::PUT, &path, "application/json", pod).await;
    assert_eq!(
        (code, &pod["spec"]["containers"][0]["resources"]["limits"]["cpu"]),
        (200, &json!("450m"))
    );
    until_in_force(&cluster, "accompanied").await;
}

#[tokio::test]
async fn nothing_is_stored_in_a_dry_run() {
    let cluster = Cluster::start(ServerVersion::V1_36, fill).await;
    let before = pod(&cluster, "burstable").await;
    let path = format!("{PODS}/burstable/resize?dryRun=All");
    let (code, answer) =
        cluster.patch(&path, of_container("app", json!({ "limits": { "cpu": "500m" } }))).await;
    assert_eq!(
        (code, &answer["spec"]["containers"][0]["resources"]["limits"]["cpu"]),
        (200, &json!("500m"))
    );
    assert_eq!(
        cluster.patch(&path, of_container("app", json!({ "limits": { "cpu": "1m" } }))).await.0,
        422
    );
    assert_eq!(pod(&cluster, "burstable").await, before);
}

#[tokio::test]
async fn the_kubelet_puts_it_in_force_without_a_restart() {
    for version in BOTH {
        let cluster = Cluster::start(version, fill).await;
        let up = json!({ "requests": list("300m", "160Mi"), "limits": list("600m", "320Mi") });
        let (_, patched) = resize(&cluster, "burstable", up.clone()).await;
        assert_eq!(patched["metadata"]["generation"], 2);
        until_in_force(&cluster, "burstable").await;
        let pod = pod(&cluster, "burstable").await;
        assert_eq!(in_force(&pod), &up);
        assert_eq!(
            pod["status"]["containerStatuses"][0]["allocatedResources"],
            list("300m", "160Mi")
        );
        assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0);
        let (_, events) =
            cluster.get("/api/v1/events?fieldSelector=involvedObject.name%3Dburstable").await;
        let reasons: Vec<&Value> =
            events["items"].as_array().unwrap().iter().map(|event| &event["reason"]).collect();
        assert!(
            reasons.contains(&&json!("ResizeStarted"))
                && reasons.contains(&&json!("ResizeCompleted")),
            "{reasons:?}"
        );
    }
}

#[tokio::test]
async fn a_policy_can_want_a_restart() {
    let cluster = Cluster::start(ServerVersion::V1_33, fill).await;
    let before = pod(&cluster, "restarting").await;
    assert_eq!(resize(&cluster, "restarting", json!({ "limits": { "cpu": "500m" } })).await.0, 200);
    until_in_force(&cluster, "restarting").await;
    let same = pod(&cluster, "restarting").await;
    assert_eq!(same["status"]["containerStatuses"][0]["restartCount"], 0, "only memory restarts");
    assert_eq!(
        resize(&cluster, "restarting", json!({ "limits": { "memory": "200Mi" } })).await.0,
        200
    );
    until_in_force(&cluster, "restarting").await;
    until("the restart", async || {
        let pod = pod(&cluster, "restarting").await;
        pod["status"]["containerStatuses"][0]["restartCount"] == 1
            && condition(&pod, "Ready")["status"] == "True"
    })
    .await;
    let after = pod(&cluster, "restarting").await;
    let started = |pod: &Value| {
        pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"].clone()
    };
    assert!(started(&after).as_str() > started(&before).as_str());
    let last = &after["status"]["containerStatuses"][0]["lastState"]["terminated"];
    assert_eq!(last["reason"], "Completed");
}

#[tokio::test]
async fn what_does_not_fit_now_waits_until_it_does() {
    let cluster = Cluster::start(ServerVersion::V1_36, fill).await;
    let wanted = json!({ "requests": { "cpu": "1600m" }, "limits": { "cpu": "1600m" } });
    assert_eq!(resize(&cluster, "burstable", wanted).await.0, 200);
    until("it is deferred", async || {
        let pod = pod(&cluster, "burstable").await;
        let pending = condition(&pod, "PodResizePending");
        let message =
            "Node didn't have enough resource: cpu, requested: 1600, used: 750, capacity: 2000";
        pending["reason"] == "Deferred" && pending["message"] == message
    })
    .await;
    for pod in ["restarting", "guaranteed", "accompanied"] {
        assert_eq!(cluster.delete(&format!("{PODS}/{pod}")).await.0, 200);
    }
    until_in_force(&cluster, "burstable").await;
    assert!(condition(&pod(&cluster, "burstable").await, "PodResizePending").is_null());
}

#[tokio::test]
async fn what_never_fits_is_infeasible() {
    let cluster = Cluster::start(ServerVersion::V1_33, fill).await;
    let wanted = json!({ "requests": { "cpu": "100" }, "limits": { "cpu": "100" } });
    assert_eq!(resize(&cluster, "burstable", wanted).await.0, 200);
    until("it is infeasible", async || {
        condition(&pod(&cluster, "burstable").await, "PodResizePending")["reason"] == "Infeasible"
    })
    .await;
}

#[tokio::test]
async fn memory_in_use_cannot_be_taken_away() {
    let cluster = Cluster::start(ServerVersion::V1_36, fill).await;
    assert_eq!(
        resize(
            &cluster,
            "burstable",
            json!({ "requests": { "memory": "16Mi" }, "limits": { "memory": "20Mi" } })
        )
        .await
        .0,
        200
    );
    until("the kubelet gives up for now", async || {
        let pod = pod(&cluster, "burstable").await;
        let progress = condition(&pod, "PodResizeInProgress");
        let message = "cannot decrease memory limits: attempting to set pod memory limit \
            (20971520) below current usage";
        progress["reason"] == "Error" && progress["message"].as_str().unwrap().starts_with(message)
    })
    .await;
    assert_eq!(in_force(&pod(&cluster, "burstable").await)["limits"]["memory"], "256Mi");
    assert_eq!(
        resize(&cluster, "burstable", json!({ "limits": { "memory": "256Mi" } })).await.0,
        200
    );
    until_in_force(&cluster, "burstable").await;
}

#[tokio::test]
async fn in_the_days_of_alpha_the_pod_itself_was_patched() {
    let cluster = Cluster::start(ServerVersion::V1_27, fill).await;
    let patch = of_container("app", json!({ "limits": { "cpu": "500m" } }));
    assert_eq!(cluster.patch(&format!("{PODS}/burstable/resize"), patch.clone()).await.0, 404);
    assert_eq!(cluster.patch(&format!("{PODS}/burstable"), patch).await.0, 200);
    until("it is in force", async || {
        in_force(&pod(&cluster, "burstable").await)["limits"]["cpu"] == "500m"
    })
    .await;
    let (code, _) =
        cluster.patch(&format!("{PODS}/burstable"), of_container("stranger", json!({}))).await;
    assert_eq!(code, 422);
}

#[tokio::test]
async fn a_json_patch_can_test_what_it_was_decided_on() {
    let cluster = Cluster::start(ServerVersion::V1_36, fill).await;
    let path = format!("{PODS}/burstable/resize");
    let limit = "/spec/containers/0/resources/limits/cpu";
    let patch = |before: &str| {
        json!([
            { "op": "replace", "path": limit, "value": "450m" },
            { "op": "test", "path": "/spec/containers/0/resources/requests/cpu", "value": before },
        ])
    };
    let kind = "application/json-patch+json";
    let (code, status) = cluster.send(Method::PATCH, &path, kind, patch("0.2")).await;
    let message = "the server rejected our request due to an error in our request";
    assert_eq!(
        (code, &status["reason"], &status["message"]),
        (422, &json!("Invalid"), &json!(message))
    );
    let container = &pod(&cluster, "burstable").await["spec"]["containers"][0];
    assert_eq!(container["resources"]["limits"]["cpu"], "400m", "all or nothing");
    let (code, pod) = cluster.send(Method::PATCH, &path, kind, patch("200m")).await;
    assert_eq!((code, pod.pointer(limit)), (200, Some(&json!("450m"))));
}
