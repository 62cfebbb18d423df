//! What an operator asks a running service for from a terminal: `top` and `explain`.

pub mod explain;
pub mod top;

use anyhow::Context;
use http_body_util::BodyExt;
use kube::client::Body;
use kube::{Client, Config};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Which service is asked.
#[derive(Debug, Clone, clap::Args)]
pub struct ServerArgs {
    /// The service that is asked, if not one of this machine
    #[arg(long, alias = "url", env = "DQN_SCALER_URL")]
    server: Option<String>,
    /// The port of this machine that is asked
    #[arg(long, env = "PORT", default_value_t = 5000)]
    port: u16,
}

impl ServerArgs {
    pub(crate) fn address(&self) -> String {
        self.server.clone().unwrap_or_else(|| format!("http://localhost:{}", self.port))
    }
}

/// A running service, near or far.
pub(crate) struct Server {
    client: Client,
    pub url: String,
}

impl Server {
    pub(crate) fn new(args: &ServerArgs) -> anyhow::Result<Self> {
        let address = args.address();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_is_asked_where_it_listens_unless_another_is_named() {
        let args = |server: Option<&str>| ServerArgs { server: server.map(str::to_owned), port: 7 };
        assert_eq!(args(None).address(), "http://localhost:7");
        assert_eq!(args(Some("http://far")).address(), "http://far");
    }
}
