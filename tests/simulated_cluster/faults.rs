use dqn_scaler::sim::faults::{Effect, Rule};

use super::*;

fn status(code: u16) -> Effect {
    Effect::Status { code, message: None, retry_after: None }
}

#[tokio::test]
async fn refusals_look_real_and_are_used_up() {
    let cluster = Cluster::with_web().await;
    let faults = cluster.simulation.faults();
    for (code, reason) in [
        (429, "TooManyRequests"),
        (500, "InternalError"),
        (409, "Conflict"),
        (403, "Forbidden"),
        (503, "ServiceUnavailable"),
    ] {
        faults.add(Rule::new(status(code)).on("list", "pods").times(1));
        let response = cluster.http.get(format!("{}{PODS}", cluster.base)).send().await.unwrap();
        assert_eq!(response.status(), code);
        assert_eq!(
            response.headers().get("retry-after").map(|value| value.to_str().unwrap()),
            (code == 429).then_some("1")
        );
        let body: Value = response.json().await.unwrap();
        assert_eq!(
            (&body["kind"], &body["reason"], &body["code"]),
            (&json!("Status"), &json!(reason), &json!(code))
        );
        if code == 403 {
            let seen =
                "cannot list resource \"pods\" in API group \"\" in the namespace \"default\"";
            assert!(body["message"].as_str().unwrap().ends_with(seen), "{body}");
        }
        assert_eq!(cluster.get(PODS).await.0, 200);
    }
}

#[tokio::test]
async fn connections_break_hang_and_answer_late() {
    let cluster = Cluster::with_web().await;
    let faults = cluster.simulation.faults();
    let get = |path: &str| {
        let request =
            cluster.http.get(format!("{}{path}", cluster.base)).timeout(Duration::from_secs(2));
        async move { request.send().await?.text().await }
    };
    faults.replace(vec![Rule::new(Effect::Cut { milliseconds: None })]);
    assert!(get(PODS).await.unwrap_err().is_body() || get(PODS).await.unwrap_err().is_decode());
    faults.replace(vec![Rule::new(Effect::Cut { milliseconds: Some(200) })]);
    assert!(get(&format!("{PODS}?watch=1&resourceVersion=0")).await.is_err());
    faults.replace(vec![Rule::new(Effect::Hang).on("get", "/version")]);
    assert!(get("/version").await.unwrap_err().is_timeout());
    assert!(get(PODS).await.is_ok());
    faults.replace(vec![Rule::new(Effect::Delay { milliseconds: 300 })]);
    let began = Instant::now();
    assert!(get(PODS).await.is_ok());
    assert!(began.elapsed() >= Duration::from_millis(300));
    faults.replace(vec![Rule::new(Effect::Gone { milliseconds: 100 })]);
    assert!(get(PODS).await.is_ok(), "only watches are ended so");
    let text = get(&format!("{PODS}?watch=1")).await.unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(
        (text.lines().count(), &last["type"], &last["object"]["code"]),
        (4, &json!("ERROR"), &json!(410))
    );
}

#[tokio::test]
async fn faults_are_set_from_outside_and_requests_are_on_record() {
    let cluster = Cluster::with_web().await;
    let rules = json!([{
        "verb": "patch", "resource": "pods/resize", "name": "web",
        "effect": { "status": { "code": 403 } },
    }]);
    let (code, set) =
        cluster.send(Method::PUT, "/sim/faults", "application/json", rules.clone()).await;
    assert_eq!((code, &set), (200, &rules));
    assert_eq!(cluster.patch(&format!("{PODS}/web/resize"), json!({})).await.0, 403);
    assert_eq!(cluster.patch(&format!("{PODS}/other/resize"), json!({})).await.0, 404);
    let (code, status) = cluster
        .send(Method::PUT, "/sim/faults", "application/json", json!([{ "effect": "explode" }]))
        .await;
    assert_eq!((code, &status["reason"]), (400, &json!("BadRequest")));
    assert_eq!(cluster.delete("/sim/faults").await.0, 204);
    assert_eq!(cluster.get("/sim/faults").await, (200, json!([])));
    let (_, requests) = cluster.get("/sim/requests").await;
    let seen: Vec<(&str, &str, &Value)> = requests
        .as_array()
        .unwrap()
        .iter()
        .map(|request| {
            (
                request["method"].as_str().unwrap(),
                request["path"].as_str().unwrap(),
                &request["status"],
            )
        })
        .collect();
    let (web, other) = (format!("{PODS}/web/resize"), format!("{PODS}/other/resize"));
    assert_eq!(
        seen,
        [("PATCH", web.as_str(), &json!(403)), ("PATCH", other.as_str(), &json!(404))]
    );
    assert_eq!(cluster.delete("/sim/requests").await.0, 204);
    assert_eq!(cluster.get("/sim/requests").await.1, json!([]));
}
