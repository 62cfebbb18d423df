//! The way in from outside: plain HTTP, for kubectl and for tests. It asks nobody for a name, so
//! what a browser sends for a page of somebody else is refused.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::extract::Request;
use axum::http::header::{HOST, HeaderName, ORIGIN};
use axum::http::uri::Authority;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;

use crate::sim::simulation::Simulation;
use crate::sim::status::ApiError;

/// So many kubelets have a socket.
const MOST_KUBELETS: usize = 250;

/// Serves the simulated cluster's API on a socket, to anybody, until the task ends; its kubelets
/// have sockets at the same address.
pub async fn serve(simulation: Arc<Simulation>, listener: TcpListener) {
    let host = match listener.local_addr().map(|address| address.ip()) {
        Ok(host) if !host.is_unspecified() => host,
        _ => Ipv4Addr::LOCALHOST.into(),
    };
    let kubelets = simulation.listen(host, MOST_KUBELETS).await;
    if let Err(error) = &kubelets {
        tracing::error!(%error, "the simulated kubelets cannot be reached");
    }
    let router = super::router(simulation).layer(middleware::from_fn(of_no_other_page));
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "the simulated cluster's API has stopped");
    }
}

async fn of_no_other_page(request: Request, next: Next) -> Response {
    match refusal(&request) {
        Some(reason) => ApiError::new(403, "Forbidden", reason).into_response(),
        None => next.run(request).await,
    }
}

/// Why a request is none of kubectl, of a test, or of a page of this very address.
fn refusal(request: &Request) -> Option<&'static str> {
    let header = |name| request.headers().get::<HeaderName>(name);
    let host = match header(HOST) {
        Some(host) => Authority::try_from(host.as_bytes()).ok(),
        // HTTP/2 has no Host.
        None => request.uri().authority().cloned(),
    };
    // Any name may be made to point here; an address cannot.
    let Some(host) = host.filter(|host| is_here(host.host())) else {
        return Some("name the simulated cluster by its IP address, or as localhost");
    };
    let site = header(HeaderName::from_static("sec-fetch-site"));
    let foreign = site.is_some_and(|site| site != "same-origin" && site != "none");
    let own = |origin: &[u8]| origin.strip_prefix(b"http://") == Some(host.as_str().as_bytes());
    if foreign || header(ORIGIN).is_some_and(|origin| !own(origin.as_bytes())) {
        return Some("pages of other origins are not answered");
    }
    None
}

fn is_here(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn refused(headers: &[(&str, &str)]) -> bool {
        let mut request = Request::get("/api/v1/pods");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        refusal(&request.body(Body::empty()).unwrap()).is_some()
    }

    #[test]
    fn programs_and_own_pages_are_answered_and_other_pages_and_names_are_not() {
        for headers in [
            &[("host", "127.0.0.1:8001")][..],
            &[("host", "localhost:8001")],
            &[("host", "[::1]:8001")],
            &[("host", "10.1.2.3")],
            &[("host", "127.0.0.1:8001"), ("origin", "http://127.0.0.1:8001")],
            &[("host", "127.0.0.1:8001"), ("sec-fetch-site", "none")],
        ] {
            assert!(!refused(headers), "{headers:?}");
        }
        for headers in [
            &[][..],
            &[("host", "rebound.example:8001")],
            &[("host", "127.0.0.1.example")],
            &[("host", "127.0.0.1:8001"), ("origin", "https://page.example")],
            &[("host", "127.0.0.1:8001"), ("origin", "http://127.0.0.1:3000")],
            &[("host", "127.0.0.1:8001"), ("origin", "null")],
            &[("host", "127.0.0.1:8001"), ("sec-fetch-site", "cross-site")],
            &[("host", "localhost:8001"), ("sec-fetch-site", "same-site")],
        ] {
            assert!(refused(headers), "{headers:?}");
        }
    }
}
