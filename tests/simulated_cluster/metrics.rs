use dqn_scaler::sim::faults::{Effect, Rule};
use dqn_scaler::sim::oddity::{OddMetrics, Oddity};

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

const METRICS: &str = "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods";

/// A Deployment of one pod with two containers.
async fn with_pair() -> (Cluster, String) {
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
    })
    .await;
    let pod = cluster.first_pod("web").await;
    (cluster, pod)
}

fn timestamp(object: &Value, pointer: &str) -> chrono::DateTime<chrono::Utc> {
    object.pointer(pointer).and_then(Value::as_str).unwrap().parse().unwrap()
}

#[tokio::test]
async fn metrics_are_as_odd_as_they_are_told_to_be() {
    let (cluster, pod) = with_pair().await;
    let metrics = async |odd: OddMetrics| {
        cluster.simulation.world().odd_metrics = vec![odd];
        let (_, list) = cluster.get(METRICS).await;
        list["items"][0].clone()
    };
    let usage = |item: &Value, index: usize| item["containers"][index]["usage"].clone();
    let of_app = |oddity| OddMetrics::of(&pod, oddity).in_container("app");

    let item = metrics(of_app(Oddity::WithoutCpu)).await;
    assert!(usage(&item, 0)["cpu"].is_null() && usage(&item, 1)["cpu"].is_string(), "{item}");
    let item = metrics(of_app(Oddity::WithoutMemory)).await;
    assert!(usage(&item, 0)["memory"].is_null() && usage(&item, 0)["cpu"].is_string(), "{item}");
    let item = metrics(OddMetrics::new(Oddity::ZeroMemory)).await;
    assert_eq!([&usage(&item, 0)["memory"], &usage(&item, 1)["memory"]], ["0", "0"]);
    let item = metrics(of_app(Oddity::UnreadableMemory)).await;
    assert_eq!(usage(&item, 0)["memory"], "much");
    let item = metrics(of_app(Oddity::WithoutContainer)).await;
    assert_eq!(
        (item["containers"].as_array().unwrap().len(), &item["containers"][0]["name"]),
        (1, &json!("proxy"))
    );
    let item = metrics(OddMetrics::new(Oddity::NullContainers)).await;
    assert_eq!(item.get("containers"), Some(&Value::Null));
    let item = metrics(OddMetrics::new(Oddity::Nameless)).await;
    assert_eq!(item["metadata"], json!({}));
    let item = metrics(OddMetrics::new(Oddity::WrongTypes)).await;
    assert_eq!((&item["metadata"], &item["containers"]), (&json!("none"), &json!("none")));
    let item = metrics(OddMetrics::of("another", Oddity::NullContainers)).await;
    assert_eq!(item["containers"].as_array().unwrap().len(), 2);

    let now = async || {
        timestamp(&metrics(OddMetrics::of("another", Oddity::ZeroMemory)).await, "/timestamp")
    };
    let item = metrics(OddMetrics::new(Oddity::Shifted { seconds: 3600 })).await;
    assert!(timestamp(&item, "/timestamp") > now().await + chrono::Duration::minutes(50));
    let item = metrics(OddMetrics::new(Oddity::OfEarlierPod)).await;
    let (_, object) = cluster.get(&format!("{PODS}/{pod}")).await;
    assert!(timestamp(&item, "/timestamp") < timestamp(&object, "/metadata/creationTimestamp"));
}

#[tokio::test]
async fn the_clocks_of_the_cluster_can_be_wrong() {
    let cluster = Cluster::with_web().await;
    let began = {
        let mut world = cluster.simulation.world();
        world.skew = -600.0;
        world.date(world.now) + chrono::Duration::minutes(10)
    };
    let early = |moment| moment < began - chrono::Duration::minutes(5);
    let (_, created) = cluster.post(PODS, bare_pod("late")).await;
    assert!(early(timestamp(&created, "/metadata/creationTimestamp")));
    let pod = cluster.first_pod("web").await;
    let patch = json!({ "spec": { "containers": [
        { "name": "app", "resources": { "limits": { "cpu": "500m" } } },
    ] } });
    let (_, patched) = cluster.patch(&format!("{PODS}/{pod}/resize"), patch).await;
    assert!(early(timestamp(&patched, "/metadata/managedFields/0/time")));
    until("it starts", async || {
        let (_, late) = cluster.get(&format!("{PODS}/late")).await;
        late["status"]["phase"] == "Running"
            && early(timestamp(&late, "/status/containerStatuses/0/state/running/startedAt"))
    })
    .await;
    until("it is measured", async || {
        let (_, list) = cluster.get(METRICS).await;
        early(timestamp(&list["items"][0], "/timestamp"))
    })
    .await;
    let response = cluster.http.get(format!("{}/version", cluster.base)).send().await.unwrap();
    let date = response.headers()["date"].to_str().unwrap();
    let date = chrono::DateTime::parse_from_rfc2822(date).unwrap();
    assert!(early(date.to_utc()), "{date}");
}

#[tokio::test]
async fn the_whole_metrics_api_can_be_away_or_slow() {
    let cluster = Cluster::with_web().await;
    let faults = cluster.simulation.faults();
    let away = Effect::Status { code: 503, message: None, retry_after: None };
    faults.replace(vec![Rule::new(away).of_group("metrics.k8s.io")]);
    let (code, status) = cluster.get(METRICS).await;
    assert_eq!((code, &status["reason"]), (503, &json!("ServiceUnavailable")));
    assert_eq!(cluster.get(PODS).await.0, 200);
    faults.replace(vec![Rule::new(Effect::Delay { milliseconds: 300 }).of_group("metrics.k8s.io")]);
    let began = Instant::now();
    assert_eq!(cluster.get(METRICS).await.0, 200);
    assert!(began.elapsed() >= Duration::from_millis(300));
    faults.replace(vec![Rule::new(Effect::Hang).of_group("metrics.k8s.io")]);
    let request = cluster.http.get(format!("{}{METRICS}", cluster.base));
    assert!(request.timeout(Duration::from_millis(500)).send().await.unwrap_err().is_timeout());
}

/// The answer of a kubelet at the address that its node has, or None where there is none.
async fn resource_metrics(cluster: &Cluster) -> Option<String> {
    let (_, node) = cluster.get("/api/v1/nodes/node-1").await;
    let address = node["status"]["addresses"][0]["address"].as_str().unwrap();
    let port = &node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"];
    let url = format!("http://{address}:{port}/metrics/resource");
    let request = cluster.http.get(url).timeout(Duration::from_millis(500));
    request.send().await.ok()?.text().await.ok()
}

/// Value and time of a metric of the first container.
fn counted(text: &str, metric: &str) -> (f64, i64) {
    let line = text.lines().find(|line| line.starts_with(&format!("{metric}{{"))).unwrap();
    let mut fields = line.rsplit_once("} ").unwrap().1.split(' ');
    (fields.next().unwrap().parse().unwrap(), fields.next().unwrap().parse().unwrap())
}

#[tokio::test]
async fn a_kubelet_tells_usage_of_the_moment_unless_it_is_stopped() {
    let cluster = Cluster::with_web().await;
    let cpu = "container_cpu_usage_seconds_total";
    until("its socket", async || resource_metrics(&cluster).await.is_some()).await;
    let first = counted(&resource_metrics(&cluster).await.unwrap(), cpu);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let text = resource_metrics(&cluster).await.unwrap();
    let second = counted(&text, cpu);
    assert!(second.1 - first.1 >= 1000, "two seconds of the cluster are not told: {text}");
    let cores = (second.0 - first.0) * 1000.0 / (second.1 - first.1) as f64;
    let limit = counted(&text, "container_memory_working_set_bytes").0;
    assert!((0.01..0.2).contains(&cores) && limit > 1e6, "{cores} {text}");
    assert_eq!(text.matches("container_cpu_usage_seconds_total{").count(), 3);
    let stopped = dqn_scaler::sim::node::Kubelet::Stopped;
    cluster.simulation.world().set_kubelet("node-1", stopped);
    assert_eq!(resource_metrics(&cluster).await, None);
}
