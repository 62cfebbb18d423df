use super::*;

#[tokio::test]
async fn usage_is_measured_again_and_again() {
    let cluster = Cluster::with_web().await;
    let pods = "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods";
    let (code, list) = cluster.get(pods).await;
    assert_eq!(
        (code, &list["kind"], list["items"].as_array().unwrap().len()),
        (200, &json!("PodMetricsList"), 3)
    );
    let pod = &list["items"][0];
    assert_eq!(pod["containers"][0]["name"], "app");
    let nanos: u64 = pod["containers"][0]["usage"]["cpu"]
        .as_str()
        .unwrap()
        .trim_end_matches('n')
        .parse()
        .unwrap();
    assert!((10_000_000..200_000_000).contains(&nanos), "{pod}");

    let one = format!("{pods}/{}", pod["metadata"]["name"].as_str().unwrap());
    let first = cluster.get(&one).await.1["timestamp"].clone();
    until("another scrape", async || {
        cluster.get(&one).await.1["timestamp"].as_str() > first.as_str()
    })
    .await;
    let (code, status) = cluster.get(&format!("{pods}/nobody")).await;
    assert_eq!(
        (code, &status["message"]),
        (404, &json!("podmetrics.metrics.k8s.io \"default/nobody\" not found"))
    );

    let everywhere = "/apis/metrics.k8s.io/v1beta1/pods";
    assert_eq!(cluster.get(everywhere).await.1["items"].as_array().unwrap().len(), 3);
    assert_eq!(
        cluster.get(&format!("{everywhere}?labelSelector=app%3Dapi")).await.1["items"],
        json!([])
    );
    let (_, nodes) = cluster.get("/apis/metrics.k8s.io/v1beta1/nodes").await;
    assert_eq!(names(&nodes), ["node-1"]);
    assert!(nodes["items"][0]["usage"]["memory"].as_str().unwrap().ends_with("Ki"));
}

#[tokio::test]
async fn a_young_pod_has_no_metrics_yet() {
    let cluster = Cluster::with_web().await;
    let (code, _) = cluster.post(PODS, bare_pod("young")).await;
    assert_eq!(code, 201);
    let path = "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods/young";
    assert_eq!(cluster.get(path).await.0, 404);
    until("its first scrape", async || cluster.get(path).await.0 == 200).await;
}
