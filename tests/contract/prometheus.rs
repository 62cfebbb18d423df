//! The past that a Prometheus knows, and one that is slow, wrong or gone.

use std::collections::HashMap;

use axum::Router;
use axum::extract::{Path, Query};
use axum::http::HeaderMap;
use dqn_scaler::service::recorded_history;
use parking_lot::Mutex;
use tokio_util::task::AbortOnDropHandle;

use super::safety::*;
use super::*;

/// What was asked: the path, the question and the headers.
type Asked = Arc<Mutex<Vec<(String, HashMap<String, String>, HeaderMap)>>>;

/// Answers like a Prometheus; it ends when this is dropped.
struct Prometheus {
    url: String,
    asked: Asked,
    _serving: AbortOnDropHandle<()>,
}

impl Prometheus {
    async fn start(
        answer: impl Fn(&str, &HashMap<String, String>) -> (StatusCode, String)
        + Clone
        + Send
        + Sync
        + 'static,
    ) -> Self {
        let asked = Asked::default();
        let seen = asked.clone();
        let handler = async move |Path(path): Path<String>,
                                  Query(question): Query<HashMap<String, String>>,
                                  headers: HeaderMap| {
            let answer = answer(&path, &question);
            seen.lock().push((path, question, headers));
            let status = axum::http::StatusCode::from_u16(answer.0.as_u16()).unwrap();
            (status, answer.1)
        };
        let router = Router::new().route("/prometheus/api/v1/{path}", axum::routing::get(handler));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/prometheus/", listener.local_addr().unwrap());
        let serving = async move { drop(axum::serve(listener, router).await) };
        Self { url, asked, _serving: AbortOnDropHandle::new(tokio::spawn(serving)) }
    }
}

/// Three days in which a container has used 400m and 300 MiB once an hour, and 50m and 100 MiB in
/// between.
fn past(question: &HashMap<String, String>) -> String {
    let [start, end, step] = ["start", "end", "step"].map(|name| question[name].parse().unwrap());
    let series = |figure: &str, usual: f64, hourly: f64| {
        let of = |at: i64| if at % 3600 < step { hourly } else { usual };
        let values: Vec<Value> = (start.max(end - 3 * 86_400)..=end)
            .step_by(step as usize)
            .map(|at| json!([at, of(at).to_string()]))
            .collect();
        json!({"metric": {"container": "app", "figure": figure}, "values": values})
    };
    let mib = 1_048_576.0;
    let result = json!([
        series("cpu_peak", 0.05, 0.4),
        series("cpu", 0.05, 0.05),
        series("memory_peak", 100.0 * mib, 300.0 * mib),
        series("memory", 100.0 * mib, 100.0 * mib),
    ]);
    json!({"status": "success", "data": {"resultType": "matrix", "result": result}}).to_string()
}

fn throttled(pod: &str, share: f64) -> String {
    let metric = json!({"namespace": "default", "pod": pod, "container": "app"});
    let result = json!([{"metric": metric, "value": [1.5, share.to_string()]}]);
    json!({"status": "success", "data": {"resultType": "vector", "result": result}}).to_string()
}

/// A pod that uses little, below a network that wants less of everything, with a Prometheus.
async fn asking(simulation: &Arc<Simulation>, url: &str) -> Service {
    let config = Config { prometheus_url: Some(url.to_owned()), ..looping() };
    asking_as(simulation, config).await
}

async fn asking_as(simulation: &Arc<Simulation>, config: Config) -> Service {
    let service = preferring(simulation, config, [DECREASE, DECREASE]).await;
    tokio::spawn(recorded_history(&service.state).run(service.state.stopping.clone()));
    until("it is ready", async || service.get("/readyz").await.0 == 200).await;
    service
}

fn idle() -> (Arc<Simulation>, String) {
    let simulation = cluster(|world| add(world, Resource::Deployments, "web", 1, 0.05, 100.0));
    let name = pods_of(&simulation, "web").remove(0);
    (simulation, name)
}

async fn health(service: &Service) -> Value {
    let (status, body) = service.get("/readyz").await;
    assert_eq!(status, 200, "{body}");
    body["prometheus"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_past_of_a_workload_protects_it_on_the_first_day() {
    let (simulation, name) = idle();
    let pod = name.clone();
    let prometheus = Prometheus::start(move |path, question| {
        let answer = if path == "query" { throttled(&pod, 0.05) } else { past(question) };
        (StatusCode::OK, answer)
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "a-token-of-a-test").unwrap();
    let pairs = |name: &str, value: &str| [(name.to_owned(), value.to_owned())].into();
    let config = Config {
        prometheus_url: Some(prometheus.url.clone()),
        prometheus_token_file: Some(token),
        prometheus_headers: pairs("X-Scope-OrgID", "team-a"),
        prometheus_labels: pairs("cluster", "production"),
        ..looping()
    };
    let service = asking_as(&simulation, config).await;
    until("its past is known", async || health(&service).await["workloads_read"] == 1).await;
    let told = health(&service).await;
    assert_eq!((&told["answers"], &told["error"]), (&json!(true), &Value::Null), "{told}");
    // Half a core and 512 MiB: they are cut to the peaks of the past, and no further.
    until("it has been cut", async || limit_of(&simulation, &name).memory < 400.0).await;
    until("what it is told is told on", async || {
        let result = scale(&service, &name).await;
        let reasoning = result["explanation"]["reasoning"].as_str().unwrap().to_owned();
        reasoning.contains("recent peak 400m")
            && reasoning.contains("recent peak 300 MiB")
            && reasoning.contains("throttled in 5 % of its periods")
            && factors(&result).contains(&"cpu_guard_recent_peak")
    })
    .await;
    let has = limit_of(&simulation, &name);
    assert!(has.cpu >= 0.4 && has.memory >= 300.0, "{has:?}");
    let asked = prometheus.asked.lock();
    for (_, question, headers) in asked.iter() {
        assert!(question["query"].contains(r#"cluster="production""#), "{question:?}");
        assert_eq!(headers["x-scope-orgid"], "team-a");
        assert_eq!(headers["authorization"], "Bearer a-token-of-a-test");
    }
    let ranges: Vec<_> = asked.iter().filter(|(path, ..)| path == "query_range").collect();
    assert_eq!(ranges.len(), 1, "once for each workload");
    let pods = "pod=~\"web-[b-df-hj-np-tv-xz0-9]+-[b-df-hj-np-tv-xz0-9]{5}\"";
    assert!(ranges[0].1["query"].contains(pods), "{:?}", ranges[0].1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_throttled_is_not_cut() {
    let (simulation, name) = idle();
    let pod = name.clone();
    let prometheus = Prometheus::start(move |path, _| match path {
        "query" => (StatusCode::OK, throttled(&pod, 0.3)),
        _ => (StatusCode::OK, json!({"status": "success", "data": {"result": []}}).to_string()),
    })
    .await;
    let service = asking(&simulation, &prometheus.url).await;
    until("memory is cut, and CPU would be", async || {
        let result = scale(&service, &name).await;
        limit_of(&simulation, &name).memory < 400.0
            && factors(&result).contains(&"cpu_guard_throttled")
    })
    .await;
    assert_eq!(limit_of(&simulation, &name).cpu, 0.5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prometheus_that_is_wrong_or_gone_changes_nothing_and_is_told_of() {
    let gone = "http://127.0.0.1:1".to_owned();
    let page = |code| {
        move |_: &str, _: &HashMap<String, String>| {
            let code = StatusCode::from_u16(code).unwrap();
            (code, "<html>no Prometheus</html>".to_owned())
        }
    };
    let (html, down) = (Prometheus::start(page(200)).await, Prometheus::start(page(503)).await);
    let too_much = Prometheus::start(|_, _| {
        let error =
            json!({"status": "error", "errorType": "execution", "error": "too many samples"});
        (StatusCode::UNPROCESSABLE_ENTITY, error.to_string())
    })
    .await;
    for (url, answers, expected) in [
        (&gone, false, "onnection refused"),
        (&html.url, true, "none of Prometheus"),
        (&down.url, false, "503"),
        (&too_much.url, true, "too many samples"),
    ] {
        let (simulation, name) = idle();
        let service = asking(&simulation, url).await;
        until("it is told on /readyz", async || {
            let told = health(&service).await;
            told["error"].as_str().is_some_and(|error| error.contains(expected))
                && (told["answers"] == true) == answers
        })
        .await;
        until("it is cut as without it", async || limit_of(&simulation, &name).cpu < 0.45).await;
        assert_eq!(health(&service).await["workloads_read"], 0, "{url}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prometheus_that_does_not_answer_delays_no_cycle() {
    let (simulation, name) = idle();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let service = asking(&simulation, &url).await;
    until("it is cut as without it", async || limit_of(&simulation, &name).cpu < 0.45).await;
    assert_eq!(health(&service).await["answers"], Value::Null, "it is still waited for");
    drop(service);
}

#[tokio::test]
async fn without_one_none_is_told_of() {
    let service = Service::start().await;
    let (_, body) = service.get("/readyz").await;
    assert_eq!(body["prometheus"], Value::Null);
}
