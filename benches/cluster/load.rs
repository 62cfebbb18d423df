//! Requests to the service while it works, and how long their answers take.

use std::time::{Duration, Instant};

use serde::Serialize;

#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Latency {
    pub requests: usize,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

impl Latency {
    pub fn of(mut seconds: Vec<f64>) -> Self {
        seconds.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let index = (seconds.len() as f64 * share).ceil() as usize;
            seconds.get(index.max(1) - 1).map_or(0.0, |seconds| seconds * 1e3)
        };
        Self { requests: seconds.len(), p50_ms: at(0.5), p99_ms: at(0.99) }
    }
}

/// Asks one thing again and again, `pause` after each answer, until `end`.
pub async fn ask(
    url: String,
    pause: Duration,
    end: tokio::sync::watch::Receiver<bool>,
) -> anyhow::Result<Vec<f64>> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let mut seconds = Vec::new();
    while !*end.borrow() {
        seconds.push(once(&client, &url).await?);
        tokio::time::sleep(pause).await;
    }
    Ok(seconds)
}

/// Seconds until the whole answer is here.
pub async fn once(client: &reqwest::Client, url: &str) -> anyhow::Result<f64> {
    let asked = Instant::now();
    let mut answer = client.get(url).send().await?.error_for_status()?;
    while answer.chunk().await?.is_some() {}
    Ok(asked.elapsed().as_secs_f64())
}
