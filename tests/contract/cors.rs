//! Cross-origin rules, on every kind of answer.

use super::faults::refuse;
use super::*;

const ORIGIN: &str = "http://dashboard.example:3000";

#[tokio::test]
async fn any_origin_is_allowed_and_an_origin_is_echoed_on_every_answer() {
    let service = Service::start().await;
    for (method, path, status) in [
        (Method::GET, "/health", 200),
        (Method::HEAD, "/health", 200),
        (Method::GET, "/decisions?limit=0", 400),
        (Method::GET, "/nowhere", 404),
        (Method::DELETE, "/health", 405),
        (Method::GET, "/pods", 503),
    ] {
        let plain = service.send(method.clone(), path).await;
        assert_eq!(plain.status(), status, "{path}");
        assert_eq!(plain.headers()["access-control-allow-origin"], "*", "{path}");
        assert!(!plain.headers().contains_key("vary"), "{path}");
        let foreign = service.request(method, path).header("Origin", ORIGIN).send().await.unwrap();
        assert_eq!(foreign.status(), status, "{path}");
        assert_eq!(foreign.headers()["access-control-allow-origin"], ORIGIN, "{path}");
        assert_eq!(foreign.headers()["vary"], "Origin", "{path}");
    }
}

#[tokio::test]
async fn also_on_an_answer_of_500() {
    let simulation = cluster(|world| add(world, Resource::Deployments, "web", 1, 0.1, 100.0));
    let elsewhere = Config { namespaces: vec!["kube-system".into()], ..quiet() };
    let service = Service::on(&simulation, elsewhere).await;
    simulation.faults().add(refuse(500).on("get", "pods"));
    let request = service.request(Method::GET, "/pods/default/web").header("Origin", ORIGIN);
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 500);
    assert_eq!(response.headers()["access-control-allow-origin"], ORIGIN);
    assert_eq!(response.headers()["vary"], "Origin");
}

#[tokio::test]
async fn a_preflight_of_a_known_route_is_answered() {
    let service = Service::start().await;
    for path in ["/config", "/scale/all", "/pods/default/web", "/autoscale/start"] {
        let preflight = service.request(Method::OPTIONS, path).header("Origin", ORIGIN);
        let preflight = preflight.header("Access-Control-Request-Method", "POST");
        let response = preflight
            .header("Access-Control-Request-Headers", "content-type, x-me")
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 200, "{path}");
        let headers = response.headers();
        assert_eq!(
            headers["access-control-allow-methods"],
            "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"
        );
        assert_eq!(headers["access-control-allow-headers"], "content-type, x-me");
        assert_eq!(headers["access-control-allow-origin"], ORIGIN);
        assert_eq!(headers["vary"], "Origin");
    }
    assert_eq!(service.send(Method::OPTIONS, "/nowhere").await.status(), 404);
}
