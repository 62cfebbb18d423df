//! Clients that mean harm: silent, slow, too many, or not taking what they have asked for.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

const HURRIED: Patience = Patience {
    first_request: Duration::from_millis(300),
    idle: Duration::from_millis(300),
    answer: Duration::from_millis(300),
    bytes_per_second: 1024 * 1024,
    probe: Duration::from_secs(5),
    ending: Duration::from_millis(300),
};

async fn with(most: usize, patience: Patience) -> Service {
    let parts = state(quiet(), Clock::new(1.0), Leadership::alone());
    Service::bounded(parts, most, patience).await
}

impl Service {
    async fn raw(&self, text: &str) -> TcpStream {
        let address = self.base.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }
}

/// What comes until the service ends the connection, which it must.
async fn rest(mut stream: TcpStream) -> String {
    let mut text = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut text)).await;
    // A connection that is cut off may be reset.
    let _ = read.expect("the connection stays open");
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test]
async fn a_connection_that_asks_nothing_is_ended() {
    let service = with(100, HURRIED).await;
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for (begun, what) in [
        ("", "silent"),
        ("GET /livez HT", "half a line"),
        ("GET /livez HTTP/1.1\r\nHost: a\r\nX: ", "half a head"),
        (preface, "HTTP/2 without a request"),
    ] {
        let text = rest(service.raw(begun).await).await;
        assert!(!text.contains("200 OK"), "{what}: {text}");
    }
    let cut = "dqn_scaler_connections_cut_total{reason=\"silent\"}";
    assert_eq!(service.metric(cut).await, 4.0);
    // Idle after an answer.
    let text = rest(service.raw("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n").await).await;
    assert!(text.ends_with("ok"), "{text}");
}

#[tokio::test]
async fn probes_are_answered_when_all_places_are_taken() {
    let service = with(20, Patience::default()).await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(service.raw("GET /livez HTTP/1.1\r\n").await);
    }
    let ask = async |path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        rest(service.raw(&request).await).await
    };
    for _ in 0..20 {
        for path in ["/livez", "/health"] {
            let answer = ask(path).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
        }
    }
    assert!(ask("/readyz").await.contains("not ready"));
    let refused = ask("/config").await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    assert!(refused.ends_with("{\"success\":false,\"error\":\"Too many connections\"}\n"));
    drop(silent);
    until("the places are given back", async || ask("/config").await.contains("200 OK")).await;
    let bound = "dqn_scaler_connections_refused_total{reason=\"total\"}";
    assert!(service.metric(bound).await >= 180.0 + 40.0);
}

#[tokio::test]
async fn an_answer_that_is_not_taken_is_cut_off() {
    let service = with(100, HURRIED).await;
    // More than the sockets hold, asked for again and again, and never read.
    let request = "GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n".repeat(100);
    let mut stream = service.raw(&request).await;
    let stalled = "dqn_scaler_connections_cut_total{reason=\"stalled\"}";
    until("the connection is cut off", async || service.metric(stalled).await == 1.0).await;
    let mut taken = vec![0; 16 * 1024 * 1024];
    let mut sum = 0;
    while let Ok(read @ 1..) = stream.read(&mut taken).await {
        sum += read;
    }
    assert!(sum < 5_000_000, "{sum} bytes were sent to a client that reads nothing");
}

#[tokio::test]
async fn who_may_not_write_has_no_body_read() {
    let config = Config { read_only: true, ..quiet() };
    let service = Service::with(config, Clock::new(1.0)).await;
    let head = "POST /config HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n";
    // Told beforehand, and sent before the answer.
    let told = format!("{head}Expect: 100-continue\r\nContent-Length: 1000000\r\n\r\n");
    let answer = rest(service.raw(&told).await).await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(!answer.contains("100 Continue"));
    let sent = format!("{head}Connection: close\r\nContent-Length: 1000000\r\n\r\n");
    let answer = rest(service.raw(&(sent + &"x".repeat(1_000_000))).await).await;
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("read-only"), "{answer}");
    let large = format!("{head}Content-Length: 1048577\r\n\r\n");
    let answer = rest(service.raw(&large).await).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn all_bodies_together_take_so_much_memory_and_time() {
    let service = with(100, Patience::default()).await;
    let head = "POST /config HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\
        Content-Length: 1048576\r\nConnection: close\r\n\r\n";
    let almost = head.to_owned() + &"x".repeat(1024 * 1024 - 1);
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(service.raw(&almost).await);
    }
    until("there is no room for another", async || {
        let (status, answer) = service.post("/config", json!({"ignored": "x".repeat(10)})).await;
        status == 503 && answer == failure("Too many bodies are being read")
    })
    .await;
    assert_eq!(service.send(Method::GET, "/livez").await.status(), 200);
    for stream in held {
        let answer = rest(stream).await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
    assert_eq!(service.post("/config", json!({})).await.0, 200);
}

#[tokio::test]
async fn so_many_large_answers_are_under_way_and_the_next_one_waits() {
    let answer = Duration::from_secs(5);
    let patience = Patience { answer, bytes_per_second: 1024 * 1024, ..Patience::default() };
    let service = with(100, patience).await;
    // More than the sockets hold, and not read.
    let request = "GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut held = Vec::new();
    for _ in 0..8 {
        let mut stream = service.raw(request).await;
        let mut begin = [0; 12];
        stream.read_exact(&mut begin).await.unwrap();
        assert_eq!(&begin, b"HTTP/1.1 200");
        held.push(stream);
    }
    let mut waiting = std::pin::pin!(service.get("/decisions"));
    let early = tokio::time::timeout(Duration::from_millis(300), waiting.as_mut()).await;
    assert!(early.is_err(), "{early:?}");
    assert_eq!(service.send(Method::GET, "/livez").await.status(), 200);
    // Until those are cut off.
    assert_eq!(waiting.await.0, 200);
}

#[tokio::test]
async fn so_many_decisions_are_given_at_once() {
    let simulation = cluster(|world| add(world, Resource::Pods, "lonely", 1, 0.1, 100.0));
    let service = Service::on(&simulation, quiet()).await;
    let newest = || service.state.scaler.journal.lock().newest(1, |_| true).pop();
    until("a decision", async || {
        service.send(Method::POST, "/scale/all").await;
        newest().is_some()
    })
    .await;
    let entry = newest().unwrap();
    let many = vec![(*entry).clone(); 10_100];
    service.state.scaler.journal.lock().restore(many, Default::default());
    let answer = service.get("/decisions?limit=9000000000000000000").await.1;
    assert_eq!(answer["count"], 10_000);
    assert_eq!(answer["decisions"].as_array().unwrap().len(), 10_000);
}
