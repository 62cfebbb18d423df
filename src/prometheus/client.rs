//! One question to a Prometheus: how it is reached, and what can go wrong.

use std::error::Error;
use std::time::Duration;

use http::header::ACCEPT;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::Client;
use kube::client::{Body, ConfigExt};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tower::{BoxError, ServiceBuilder};

use super::answer::{self, Series};
use crate::blocking::run_blocking;
use crate::client::error::describe;
use crate::config::Endpoint;
use crate::files;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A week of one pod takes less than 2 MiB.
const LONGEST: usize = 64 << 20;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrometheusError {
    /// It would say the same of any question.
    #[error("{0}")]
    Unavailable(String),
    /// It answers, but not this question.
    #[error("{0}")]
    Refused(String),
}

/// Asks one Prometheus.
#[derive(Clone)]
pub struct Prometheus {
    client: Client,
    url: String,
    timeout: Duration,
}

impl Prometheus {
    /// Token and CA are read anew as they rotate; an answer takes no longer than `timeout`.
    pub fn new(endpoint: &Endpoint, timeout: Duration) -> Result<Self, PrometheusError> {
        let wrong = PrometheusError::Unavailable;
        let mut config = kube::Config::new(endpoint.uri().map_err(wrong)?);
        for file in [&endpoint.token_file, &endpoint.ca_file].into_iter().flatten() {
            let unreadable = |error| wrong(format!("{}: {error}", file.display()));
            files::read(file, files::SMALL).map_err(unreadable)?;
        }
        config.root_cert_file = endpoint.ca_file.clone();
        config.auth_info.token_file =
            endpoint.token_file.as_ref().map(|file| file.display().to_string());
        config.headers = endpoint.headers().map_err(wrong)?;
        let failed = |error: kube::Error| wrong(describe(&error));
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let https = config.rustls_https_connector_with_connector(tcp).map_err(failed)?;
        let http: HttpClient<_, Body> = HttpClient::builder(TokioExecutor::new()).build(https);
        let service = ServiceBuilder::new()
            .option_layer(config.auth_layer().map_err(failed)?)
            .layer(config.extra_headers_layer().map_err(failed)?)
            .map_err(BoxError::from)
            .service(http);
        let client = Client::new(service, config.default_namespace);
        let url = endpoint.url.trim_end_matches('/').to_owned();
        Ok(Self { client, url, timeout })
    }

    /// The series from `start` to `end`, a sample each `step` seconds.
    pub async fn range(
        &self,
        query: &str,
        (start, end): (i64, i64),
        step: i64,
    ) -> Result<Vec<Series>, PrometheusError> {
        let (start, end, step) = (start.to_string(), end.to_string(), step.to_string());
        let timeout = format!("{}s", self.timeout.as_secs());
        let parameters = [
            ("query", query),
            ("start", start.as_str()),
            ("end", end.as_str()),
            ("step", step.as_str()),
            ("timeout", timeout.as_str()),
        ];
        self.ask("query_range", &parameters, answer::series).await
    }

    /// What the expression is at one time.
    pub async fn instant(&self, query: &str, at: i64) -> Result<Vec<Series>, PrometheusError> {
        let (at, timeout) = (at.to_string(), format!("{}s", self.timeout.as_secs()));
        let parameters = [("query", query), ("time", at.as_str()), ("timeout", timeout.as_str())];
        self.ask("query", &parameters, answer::series).await
    }

    /// The values of a label among the series that a selector names.
    pub async fn values_of(
        &self,
        label: &str,
        selector: &str,
        (start, end): (i64, i64),
    ) -> Result<Vec<String>, PrometheusError> {
        let (start, end) = (start.to_string(), end.to_string());
        let parameters = [("match[]", selector), ("start", start.as_str()), ("end", end.as_str())];
        self.ask(&format!("label/{label}/values"), &parameters, answer::names).await
    }

    async fn ask<T>(
        &self,
        path: &str,
        parameters: &[(&str, &str)],
        read: fn(&[u8]) -> Result<T, String>,
    ) -> Result<T, PrometheusError> {
        let encoded = parameters
            .iter()
            .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)))
            .collect::<Vec<_>>();
        let url = format!("{}/api/v1/{path}?{}", self.url, encoded.join("&"));
        let answered = tokio::time::timeout(self.timeout, self.get(url)).await;
        let (status, body) = answered.unwrap_or_else(|_| {
            let seconds = self.timeout.as_secs_f64();
            Err(PrometheusError::Unavailable(format!("no answer within {seconds} s")))
        })?;
        run_blocking(|| {
            let told = || answer::error(&body).unwrap_or_else(|| format!("it answered {status}"));
            match status {
                StatusCode::OK => read(&body).map_err(PrometheusError::Refused),
                // What is too much for it, or no question: another may be answered.
                StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => {
                    Err(PrometheusError::Refused(told()))
                }
                _ => Err(PrometheusError::Unavailable(told())),
            }
        })
    }

    async fn get(&self, url: String) -> Result<(StatusCode, Vec<u8>), PrometheusError> {
        let unavailable = |error: &dyn Error| PrometheusError::Unavailable(describe(error));
        let request = Request::get(url).header(ACCEPT, "application/json").body(Body::empty());
        let request = request.map_err(|error| unavailable(&error))?;
        let answer = self.client.send(request).await.map_err(|error| unavailable(&error))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LONGEST).collect().await;
        let body = body.map_err(|error| unavailable(error.as_ref()))?;
        Ok((status, body.to_bytes().into()))
    }
}
