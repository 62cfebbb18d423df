//! Counts what is asked of the API server and what it refuses, whoever asks.

use http::{Method, Request, Uri};
use kube::Client;
use kube::client::Body;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Clone, Default)]
pub struct Requests {
    all: Family<[(&'static str, &'static str); 1], Counter>,
    errors: Family<Vec<(&'static str, String)>, Counter>,
}

impl Requests {
    pub fn register(&self, registry: &mut Registry) {
        let help = "Requests to the Kubernetes API, each attempt of its own";
        registry.register("kubernetes_requests", help, self.all.clone());
        let help = "Requests to the Kubernetes API that failed, by the status code of the answer \
            or `unreachable`";
        registry.register("kubernetes_errors", help, self.errors.clone());
    }

    pub fn counted(&self, client: Client) -> Client {
        let (requests, namespace) = (self.clone(), client.default_namespace().to_owned());
        let service = tower::service_fn(move |request: Request<Body>| {
            let (requests, client) = (requests.clone(), client.clone());
            async move {
                let verb = verb(request.method(), request.uri());
                requests.all.get_or_create(&[("verb", verb)]).inc();
                let answer = client.send(request).await;
                let code = match &answer {
                    Ok(answer) if answer.status().as_u16() < 400 => None,
                    Ok(answer) => Some(answer.status().as_u16().to_string()),
                    Err(_) => Some("unreachable".to_owned()),
                };
                if let Some(code) = code {
                    requests
                        .errors
                        .get_or_create(&vec![("verb", verb.to_owned()), ("code", code)])
                        .inc();
                }
                answer
            }
        });
        Client::new(service, namespace)
    }
}

/// As RBAC and the audit log name it.
fn verb(method: &Method, uri: &Uri) -> &'static str {
    match *method {
        Method::GET
            if uri
                .query()
                .is_some_and(|query| query.split('&').any(|pair| pair == "watch=true")) =>
        {
            "watch"
        }
        Method::GET if is_collection(uri.path()) => "list",
        Method::GET => "get",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "other",
    }
}

/// `/api/v1/…` or `/apis/GROUP/VERSION/…`, perhaps `namespaces/NAME/…`, then a resource and no
/// name.
fn is_collection(path: &str) -> bool {
    let mut parts: Vec<_> = path.split('/').filter(|part| !part.is_empty()).collect();
    let prefix = if parts.first() == Some(&"apis") { 3 } else { 2 };
    parts.drain(..prefix.min(parts.len()));
    if parts.len() > 2 && parts[0] == "namespaces" {
        parts.drain(..2);
    }
    parts.len() == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_named_as_rbac_does() {
        for (method, uri, expected) in [
            (Method::GET, "/api/v1/namespaces/default/pods?limit=500", "list"),
            (Method::GET, "/api/v1/namespaces/default/pods?watch=true&timeoutSeconds=290", "watch"),
            (Method::GET, "/api/v1/namespaces/default/pods/web-1", "get"),
            (Method::GET, "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods", "list"),
            (Method::GET, "/apis/apps/v1/namespaces/default/deployments/web", "get"),
            (Method::GET, "/api/v1/pods", "list"),
            (Method::GET, "/api/v1/namespaces/default", "get"),
            (Method::GET, "/version", "get"),
            (Method::GET, "/api/v1", "get"),
            (Method::PATCH, "/api/v1/namespaces/default/pods/web-1/resize?", "patch"),
            (Method::POST, "/api/v1/namespaces/default/events", "create"),
        ] {
            assert_eq!(verb(&method, &uri.parse().unwrap()), expected, "{method} {uri}");
        }
    }
}
