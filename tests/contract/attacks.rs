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

    async fn metric(&self, name: &str) -> f64 {
        let text = self.send(Method::GET, "/metrics").await.text().await.unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map_or(0.0, |value| value.trim().parse().unwrap())
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
