//! One call to a kubelet, at the address of its node.

use std::error::Error;
use std::time::Duration;

use http::header::ACCEPT;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ConfigExt};
use kube::{Client, Config};
use tower::{BoxError, ServiceBuilder};

use super::error::describe;

/// How long one answer may take in all, and how long it may be: 50 KB are usual for a full node.
const TIMEOUT: Duration = Duration::from_secs(1);
const LONGEST: usize = 2 << 20;
/// A connection that is asked every few seconds is kept.
const IDLE: Duration = Duration::from_secs(15);

/// Asks kubelets with the credentials of this service.
#[derive(Clone)]
pub struct KubeletClient {
    client: Client,
    scheme: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KubeletError {
    /// It takes the verb `get` on `nodes/metrics`.
    #[error("refused ({0})")]
    Refused(u16),
    #[error("{0}")]
    Unavailable(String),
}

impl KubeletClient {
    /// Trusts the CA of the cluster, as for the API server. The token is read anew as it rotates.
    pub fn new(config: &Config, insecure_tls: bool) -> Result<Self, kube::Error> {
        let mut config = config.clone();
        config.accept_invalid_certs = insecure_tls;
        config.tls_server_name = None;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(TIMEOUT));
        let https = config.rustls_https_connector_with_connector(tcp)?;
        let http: HttpClient<_, Body> = HttpClient::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(1)
            .build(https);
        let service = ServiceBuilder::new()
            .option_layer(config.auth_layer()?)
            .layer(config.extra_headers_layer()?)
            .map_err(BoxError::from)
            .service(http);
        // Kubelets speak TLS; those of a simulated cluster do not, nor does its API server.
        let is_plain = config.cluster_url.scheme_str() == Some("http");
        let scheme = if is_plain { "http" } else { "https" };
        Ok(Self { client: Client::new(service, config.default_namespace), scheme })
    }

    /// Over a client that finds kubelets by itself.
    pub fn over(client: Client) -> Self {
        Self { client, scheme: "http" }
    }

    /// `/metrics/resource` of the kubelet at `authority`, which is an address and a port.
    pub async fn resource_metrics(&self, authority: &str) -> Result<String, KubeletError> {
        let answer = tokio::time::timeout(TIMEOUT, self.ask(authority));
        answer.await.unwrap_or_else(|_| Err(KubeletError::Unavailable("no answer".into())))
    }

    async fn ask(&self, authority: &str) -> Result<String, KubeletError> {
        let unavailable = |error: &dyn Error| KubeletError::Unavailable(describe(error));
        let url = format!("{}://{authority}/metrics/resource", self.scheme);
        let request = Request::get(url).header(ACCEPT, "text/plain").body(Body::empty());
        let request = request.map_err(|error| unavailable(&error))?;
        let answer = self.client.send(request).await.map_err(|error| unavailable(&error))?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(KubeletError::Refused(answer.status().as_u16()));
            }
            code => return Err(KubeletError::Unavailable(format!("the kubelet answered {code}"))),
        }
        let body = Limited::new(answer.into_body(), LONGEST).collect().await;
        let body = body.map_err(|error| unavailable(error.as_ref()))?.to_bytes();
        String::from_utf8(body.into()).map_err(|error| unavailable(&error))
    }
}
