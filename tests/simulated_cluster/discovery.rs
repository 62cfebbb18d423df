use kube::discovery::{Discovery, verbs};

use super::*;

#[tokio::test]
async fn clients_find_what_is_served() {
    let cluster = Cluster::with_web().await;
    let discovery = Discovery::new(cluster.client()).run().await.unwrap();
    let found: Vec<(String, String)> = discovery
        .groups()
        .flat_map(|group| group.recommended_resources())
        .filter(|(_, capabilities)| capabilities.supports_operation(verbs::LIST))
        .map(|(resource, _)| (resource.api_version, resource.plural))
        .collect();
    for (version, plural) in [
        ("v1", "pods"),
        ("v1", "nodes"),
        ("v1", "namespaces"),
        ("v1", "events"),
        ("apps/v1", "deployments"),
        ("apps/v1", "statefulsets"),
        ("coordination.k8s.io/v1", "leases"),
        ("metrics.k8s.io/v1beta1", "pods"),
    ] {
        assert!(
            found.contains(&(version.to_owned(), plural.to_owned())),
            "{version} {plural}: {found:?}"
        );
    }
    let version = cluster.client().apiserver_version().await.unwrap();
    assert_eq!((version.major.as_str(), version.minor.as_str()), ("1", "36"));
    for path in ["/healthz", "/livez", "/readyz"] {
        assert_eq!(cluster.get(path).await, (200, "ok".into()));
    }
}

#[tokio::test]
async fn resize_came_with_1_33() {
    for (version, served) in
        [(ServerVersion::V1_27, false), (ServerVersion::V1_33, true), (ServerVersion::V1_36, true)]
    {
        let cluster = Cluster::start(version, |world| add_web(world, 1)).await;
        let (_, resources) = cluster.get("/api/v1").await;
        let listed = resources["resources"]
            .as_array()
            .unwrap()
            .iter()
            .any(|known| known["name"] == "pods/resize");
        assert_eq!(listed, served, "{version:?}");
        let pod = cluster.first_pod("web").await;
        let (code, _) = cluster.get(&format!("{PODS}/{pod}/resize")).await;
        assert_eq!(code, if served { 200 } else { 404 }, "{version:?}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_told_as_the_api_server_tells_it() {
    let cluster = Cluster::with_web().await;
    for path in [
        "/",
        "/api/v2",
        "/apis/batch/v1",
        "/api/v1/secrets",
        "/apis/apps/v2/deployments",
        "/sim",
        "/sim/else",
        "/api/v1/pods/web",
        "/api/v1/namespaces/default/nodes",
        "/api/v1/namespaces/default/pods/web/log",
    ] {
        let (code, status) = cluster.get(path).await;
        assert_eq!(
            (code, &status["kind"], &status["reason"]),
            (404, &json!("Status"), &json!("NotFound")),
            "{path}"
        );
    }
    let (code, status) = cluster.get(&format!("{PODS}/nobody")).await;
    assert_eq!((code, &status["message"]), (404, &json!("pods \"nobody\" not found")));
    assert_eq!(status["details"], json!({ "name": "nobody", "kind": "pods" }));
    for (method, path) in [
        (Method::POST, "/version"),
        (Method::PUT, PODS),
        (Method::POST, "/api/v1/nodes"),
        (Method::POST, "/api/v1/namespaces/default/pods/web"),
        (Method::PATCH, "/apis/metrics.k8s.io/v1beta1/nodes"),
    ] {
        let (code, status) = cluster.send(method, path, "application/json", json!({})).await;
        assert_eq!((code, &status["reason"]), (405, &json!("MethodNotAllowed")), "{path}");
    }
}

#[tokio::test]
async fn services_and_config_maps_are_stored_and_listed() {
    let cluster = Cluster::with_web().await;
    for (plural, kind, fields, cells) in [
        (
            "services",
            "Service",
            json!({"spec": {"ports": [{"port": 80}], "selector": {"app": "web"}}}),
            json!(["mine", "ClusterIP", "<none>", "<none>", "80/TCP", "0s"]),
        ),
        (
            "configmaps",
            "ConfigMap",
            json!({"data": {"a": "1", "b": "2"}}),
            json!(["mine", 2, "0s"]),
        ),
    ] {
        let mut object = fields;
        object["kind"] = kind.into();
        object["metadata"] = json!({ "name": "mine" });
        let path = format!("/api/v1/namespaces/default/{plural}");
        assert_eq!(cluster.post(&path, object.clone()).await.0, 201, "{kind}");
        let (code, stored) = cluster.get(&format!("{path}/mine")).await;
        assert_eq!((code, &stored["kind"]), (200, &json!(kind)));
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        let asked = cluster.http.get(format!("{}{path}", cluster.base)).header("accept", table);
        let shown = asked.send().await.unwrap().json::<Value>().await.unwrap();
        let mut row = shown["rows"][0]["cells"].clone();
        let age = row.as_array_mut().unwrap().pop().unwrap();
        let mut expected = cells;
        expected.as_array_mut().unwrap().pop();
        assert_eq!(row, expected);
        assert!(age.as_str().unwrap().ends_with('s'), "{age}");
        assert_eq!(cluster.delete(&format!("{path}/mine")).await.0, 200);
    }
}

#[tokio::test]
async fn what_the_pods_do_not_have_is_said_plainly() {
    let cluster = Cluster::with_web().await;
    let pod = cluster.first_pod("web").await;
    for (method, subresource, says) in [
        (Method::GET, "log", "run nothing: they have no logs"),
        (Method::POST, "exec", "run nothing: there is nothing to run a command in"),
        (Method::POST, "portforward", "run nothing: nothing listens in them"),
    ] {
        let path = format!("{PODS}/{pod}/{subresource}");
        let (code, status) = cluster.send(method, &path, "application/json", json!({})).await;
        assert_eq!((code, &status["reason"]), (400, &json!("BadRequest")), "{subresource}");
        assert!(status["message"].as_str().unwrap().ends_with(says), "{status}");
    }
    let protobuf = "application/vnd.kubernetes.protobuf";
    let (code, status) = cluster.send(Method::POST, PODS, protobuf, json!({})).await;
    assert_eq!(code, 415);
    assert!(status["message"].as_str().unwrap().contains("kubectl apply -f -"), "{status}");
}

#[tokio::test]
async fn kubectl_is_told_times_that_lie_before_its_own_clock() {
    let cluster = Cluster::with_web().await;
    // Twenty times as fast, so it is ahead by now.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let event = json!({
        "metadata": { "name": "new" },
        "involvedObject": { "kind": "Pod", "namespace": "default", "name": "web" },
        "lastTimestamp": cluster.simulation.clock().now().to_rfc3339_opts(
            chrono::SecondsFormat::Secs, true
        ),
    });
    let path = "/api/v1/namespaces/default/events";
    assert_eq!(cluster.post(path, event).await.0, 201);
    let time = async |agent: &str| {
        let asked = cluster.http.get(format!("{}{path}/new", cluster.base));
        let answer = asked.header("user-agent", agent).send().await.unwrap();
        let event = answer.json::<Value>().await.unwrap();
        let time = event["lastTimestamp"].as_str().unwrap().to_owned();
        chrono::DateTime::parse_from_rfc3339(&time).unwrap().to_utc()
    };
    let now = chrono::Utc::now();
    assert!(time("kubectl/v1.36.0 (linux/amd64)").await <= now + chrono::TimeDelta::seconds(1));
    assert!(time("dqn-scaler").await > now + chrono::TimeDelta::seconds(1), "as it is there");
}
