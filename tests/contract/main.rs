//! The documented API over a real socket.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod configuration;
mod cors;
mod without_a_cluster;

use std::sync::Arc;

use dqn_scaler::api;
use dqn_scaler::clock::Clock;
use dqn_scaler::config::Config;
use dqn_scaler::model::features::FeatureSet;
use dqn_scaler::model::{Checkpoint, NamedTensor, Network};
use dqn_scaler::scaler::autoscale;
use dqn_scaler::scaler::cycle::Scaler;
use dqn_scaler::state::AppState;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A running service; it stops when this is dropped.
struct Service {
    base: String,
    client: reqwest::Client,
    _stop: DropGuard,
}

impl Service {
    async fn start() -> Self {
        let stopping = CancellationToken::new();
        let network = Network::from_checkpoint(&network_that_wants([0.0, 1.0, 2.0], [2.0, 1.0, 0.0])).unwrap();
        let scaler = Scaler::new(network, FeatureSet::documented(), stopping.clone());
        let state = Arc::new(AppState::new(Config::default(), scaler, Clock::new(1.0), stopping.clone()));
        tokio::spawn(autoscale::run(state.clone()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let stopped = stopping.clone().cancelled_owned();
        tokio::spawn(async { axum::serve(listener, api::router(state)).with_graceful_shutdown(stopped).await });
        Self { base, client: reqwest::Client::new(), _stop: stopping.drop_guard() }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    async fn send(&self, method: Method, path: &str) -> Response {
        self.request(method, path).send().await.unwrap()
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        answer(self.send(Method::GET, path).await).await
    }

    async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        answer(self.request(Method::POST, path).json(&body).send().await.unwrap()).await
    }
}

async fn answer(response: Response) -> (StatusCode, Value) {
    assert_eq!(response.headers()["content-type"], "application/json");
    (response.status(), response.json().await.unwrap())
}

fn failure(message: &str) -> Value {
    json!({"success": false, "error": message})
}

/// A network whose Q values are the same for every state.
fn network_that_wants(cpu: [f32; 3], memory: [f32; 3]) -> Checkpoint {
    let tensor = |name: &str, shape: &[usize], bias: Option<&[f32]>| {
        let zeros = vec![0.0; shape.iter().product()];
        NamedTensor { name: name.into(), shape: shape.into(), data: bias.map_or(zeros, <[f32]>::to_vec) }
    };
    Checkpoint {
        tensors: vec![
            tensor("shared_layers.0.weight", &[4, 8], None),
            tensor("shared_layers.0.bias", &[4], None),
            tensor("cpu_head.0.weight", &[3, 4], None),
            tensor("cpu_head.0.bias", &[3], Some(&cpu)),
            tensor("memory_head.0.weight", &[3, 4], None),
            tensor("memory_head.0.bias", &[3], Some(&memory)),
            tensor("prediction_head.0.weight", &[2, 4], None),
            tensor("prediction_head.0.bias", &[2], Some(&[0.5, 0.5])),
        ],
        metadata: Map::new(),
    }
}
