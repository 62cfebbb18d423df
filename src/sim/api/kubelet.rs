//! What kubelets answer themselves, each at the address of its node: `/metrics/resource`.

use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Router, serve};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use crate::sim::json::set;
use crate::sim::node::Kubelet;
use crate::sim::requirements::MIB;
use crate::sim::resources::Resource;
use crate::sim::runtime::{Container, Pod};
use crate::sim::simulation::Simulation;
use crate::sim::store::Key;
use crate::sim::target::Target;
use crate::sim::world::World;

impl Simulation {
    /// A client that reaches the kubelets at the addresses of their nodes without a socket.
    pub fn kubelets(self: &Arc<Self>) -> kube::Client {
        let simulation = self.clone();
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let simulation = simulation.clone();
            let host = request.uri().host().unwrap_or_default().to_owned();
            async move {
                let node = simulation.world().node_at(&host);
                // Nobody is there.
                let Some(node) = node else { return std::future::pending().await };
                let (asked, _) = request.into_parts();
                Ok::<_, std::convert::Infallible>(answer(&simulation, &node, &asked).await)
            }
        });
        kube::Client::new(service, "default")
    }

    /// Gives up to `most` kubelets a socket each, and their nodes its address, for as long as this
    /// lives.
    pub async fn listen(
        self: &Arc<Self>,
        host: IpAddr,
        most: usize,
    ) -> std::io::Result<Vec<AbortOnDropHandle<()>>> {
        let nodes: Vec<String> = self.world().nodes.keys().take(most).cloned().collect();
        let mut tasks = Vec::new();
        for node in nodes {
            let listener = TcpListener::bind((host, 0)).await?;
            let address = listener.local_addr()?;
            self.world().move_kubelet(&node, &address.ip().to_string(), address.port());
            let simulation = self.clone();
            let router = Router::new().fallback(move |request: Request| {
                let (simulation, node) = (simulation.clone(), node.clone());
                async move { answer(&simulation, &node, &request.into_parts().0).await }
            });
            let task = async move {
                if let Err(error) = serve(listener, router).await {
                    tracing::error!(%error, "a simulated kubelet has stopped");
                }
            };
            tasks.push(AbortOnDropHandle::new(tokio::spawn(task)));
        }
        Ok(tasks)
    }
}

/// A kubelet asks the API server whether the caller has a right: `get` on `nodes/metrics`. A rule
/// on that is a fault of the kubelet.
async fn answer(simulation: &Simulation, node: &str, asked: &Parts) -> Response {
    let target = Target {
        verb: "get",
        version: "v1".to_owned(),
        resource: "nodes".to_owned(),
        subresource: "metrics".to_owned(),
        name: node.to_owned(),
        ..Target::default()
    };
    let faults = simulation.faults();
    let number = faults.log.asked(&asked.method, &asked.uri, &asked.headers);
    let effect = faults.strike(&target);
    let respond = async {
        if asked.uri.path() != "/metrics/resource" {
            return StatusCode::NOT_FOUND.into_response();
        }
        simulation.advance();
        let text = simulation.world().node_resources(node);
        match text {
            Some(text) => {
                let kind = "text/plain; version=0.0.4; charset=utf-8";
                ([(header::CONTENT_TYPE, kind)], text).into_response()
            }
            None => std::future::pending().await,
        }
    };
    let response = match effect {
        Some(effect) => effect.spoil(&target, respond).await,
        None => respond.await,
    };
    faults.log.answered(number, response.status().as_u16());
    response
}

impl World {
    fn node_at(&self, address: &str) -> Option<String> {
        let found = self.nodes.iter().find(|(_, node)| node.address == address);
        found.map(|(name, _)| name.clone())
    }

    fn move_kubelet(&mut self, name: &str, address: &str, port: u16) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        node.address = address.to_owned();
        let Some(mut object) = self.store.value(Resource::Nodes, &Key::new("", name)) else {
            return;
        };
        let addresses = json!([
            { "type": "InternalIP", "address": address }, { "type": "Hostname", "address": name },
        ]);
        set(&mut object, &["status"], "addresses", addresses);
        let endpoint = json!({ "Port": port });
        set(&mut object, &["status", "daemonEndpoints"], "kubeletEndpoint", endpoint);
        self.store.put(Resource::Nodes, object);
    }

    /// What the containers of a node use now, unless its kubelet does nothing: read from the
    /// cgroups when it is asked for.
    fn node_resources(&mut self, name: &str) -> Option<String> {
        let node = self.nodes.get(name).filter(|node| node.kubelet != Kubelet::Stopped)?;
        let pods: Vec<Key> = node.pods.iter().cloned().collect();
        self.catch_up(&pods);
        let now = self.date(self.now).timestamp_millis();
        let mut text = String::new();
        type Read = fn(&Container) -> f64;
        let series: [(&str, &str, &str, Read); 2] = [
            (
                "container_cpu_usage_seconds_total",
                "Cumulative cpu time consumed by the container in core-seconds",
                "counter",
                |container| container.cpu_total,
            ),
            (
                "container_memory_working_set_bytes",
                "Current working set of the container in bytes",
                "gauge",
                |container| (container.memory * MIB).round(),
            ),
        ];
        for (metric, help, kind, read) in series {
            let _ = writeln!(text, "# HELP {metric} [STABLE] {help}\n# TYPE {metric} {kind}");
            for key in &pods {
                let Some(pod) = self.pods.get(key).filter(|pod| Pod::runs(pod)) else { continue };
                for container in pod.containers.iter().filter(|container| container.running) {
                    let Key { namespace, name } = key;
                    let _ = writeln!(
                        text,
                        "{metric}{{container=\"{}\",namespace=\"{namespace}\",pod=\"{name}\"}} \
                            {} {now}",
                        container.name,
                        read(container)
                    );
                }
            }
        }
        Some(
            text + "# HELP resource_scrape_error [STABLE] 1 if there was an error while getting \
            container metrics, 0 otherwise\n# TYPE resource_scrape_error gauge\n\
            resource_scrape_error 0\n",
        )
    }
}
