//! What an operator asks a running service for from a terminal: `top` and `explain`.

pub mod explain;
pub mod top;

use anyhow::Context;
use http_body_util::BodyExt;
use kube::client::Body;
use kube::{Client, Config};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A running service, near or far.
pub(crate) struct Server {
    client: Client,
    pub url: String,
}

impl Server {
    pub(crate) fn new(address: &str) -> anyhow::Result<Self> {
        let url: http::Uri =
            address.parse().with_context(|| format!("{address:?} is no address"))?;
        anyhow::ensure!(
            matches!(url.scheme_str(), Some("http" | "https")),
            "{address:?} is no address: it begins with http:// or https://"
        );
        let client = Client::try_from(Config::new(url)).context("client")?;
        Ok(Self { client, url: address.trim_end_matches('/').to_owned() })
    }

    /// The answer of one route, or what the service says is wrong.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let request = http::Request::get(path).body(Body::empty())?;
        let silent = || format!("{} does not answer", self.url);
        let response = self.client.send(request).await.with_context(silent)?;
        let status = response.status();
        let body = response.into_body().collect().await.with_context(silent)?.to_bytes();
        if !status.is_success() {
            let envelope: Failure = serde_json::from_slice(&body).unwrap_or_default();
            anyhow::bail!("{}", envelope.error.unwrap_or_else(|| status.to_string()));
        }
        serde_json::from_slice(&body)
            .with_context(|| format!("{} answers, but not as dqn-scaler does", self.url))
    }
}

/// What the API says of an error.
#[derive(Default, Deserialize)]
struct Failure {
    error: Option<String>,
}

/// One value of a query, as it may stand in an address.
pub(crate) fn escaped(value: &str) -> String {
    percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC).to_string()
}
