//! `metrics.k8s.io/v1beta1`, as metrics-server serves it.

use std::convert::Infallible;
use std::ops::Bound;
use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::stream;
use prost::Message;
use serde_json::{Value, json};

use super::form;
use super::request::Call;
use crate::sim::protobuf::{self, PodMetricsList};
use crate::sim::resources::Resource;
use crate::sim::selector::Selector;
use crate::sim::simulation::Simulation;
use crate::sim::status::ApiError;
use crate::sim::store::Key;
use crate::sim::world::World;

pub const GROUP: &str = "metrics.k8s.io";
pub const VERSION: &str = "v1beta1";
const API_VERSION: &str = "metrics.k8s.io/v1beta1";

/// Pods that are described under one lock of the world.
const BATCH: usize = 256;

pub fn resources() -> Vec<Value> {
    let resource = |name: &str, kind: &str, namespaced: bool| {
        json!({
            "name": name, "singularName": "", "namespaced": namespaced, "kind": kind,
            "verbs": ["get", "list"],
        })
    };
    vec![resource("nodes", "NodeMetrics", false), resource("pods", "PodMetrics", true)]
}

pub fn answer(simulation: &Arc<Simulation>, call: &Call) -> Result<Response, ApiError> {
    let target = &call.target;
    if target.version != VERSION || !target.subresource.is_empty() {
        return Err(ApiError::no_resource());
    }
    match (target.resource.as_str(), target.verb) {
        ("pods", "list") => pods(simulation, call),
        ("pods", "get") => {
            let metric = simulation.world().pod_metric(&target.key());
            metric.map(|metric| Json(metric).into_response()).ok_or_else(|| {
                not_found("podmetrics", &format!("{}/{}", target.namespace, target.name))
            })
        }
        ("nodes", "list") => {
            let selector = call.parameters.selector()?;
            let world = simulation.world();
            let mut nodes = world.node_metrics();
            nodes.retain(|metric| {
                selects(&selector, world.store.get(Resource::Nodes, &Key::of(metric)))
            });
            let nodes = nodes.into_iter().map(|metric| Bytes::from(metric.to_string()));
            Ok(form::list(form::list_start("NodeMetricsList", API_VERSION, "", ""), nodes))
        }
        ("nodes", "get") => {
            let nodes = simulation.world().node_metrics();
            let metric = nodes.into_iter().find(|metric| metric["metadata"]["name"] == target.name);
            metric
                .map(|m| Json(m).into_response())
                .ok_or_else(|| not_found("nodemetrics", &target.name))
        }
        ("pods" | "nodes", _) => Err(ApiError::method_not_allowed()),
        _ => Err(ApiError::no_resource()),
    }
}

/// Described batch by batch while the list is sent: the world is never locked for long.
fn pods(simulation: &Arc<Simulation>, call: &Call) -> Result<Response, ApiError> {
    let selector = call.parameters.selector()?;
    let accepted = call.header(header::ACCEPT).split(',').next().unwrap_or_default();
    let as_protobuf =
        accepted.trim() == protobuf::TYPE && simulation.world().odd_metrics.is_empty();
    let (simulation, namespace) = (simulation.clone(), call.target.namespace.clone());
    if as_protobuf {
        let batches = batches(simulation, namespace, selector, World::pod_metric_message);
        let list = stream::once(async move {
            let mut raw = Vec::new();
            for items in batches {
                // Lists are put together by writing one after the other.
                raw.extend(PodMetricsList { items }.encode_to_vec());
                tokio::task::yield_now().await;
            }
            Ok::<_, Infallible>(protobuf::envelope(API_VERSION, "PodMetricsList", raw))
        });
        return Ok(
            ([(header::CONTENT_TYPE, protobuf::TYPE)], Body::from_stream(list)).into_response()
        );
    }
    let batches = batches(simulation, namespace, selector, World::pod_metric);
    let items = batches.flatten().map(|metric| Bytes::from(metric.to_string()));
    Ok(form::list(form::list_start("PodMetricsList", API_VERSION, "", ""), items))
}

fn batches<T>(
    simulation: Arc<Simulation>,
    namespace: String,
    selector: Selector,
    describe: impl Fn(&World, &Key) -> Option<T>,
) -> impl Iterator<Item = Vec<T>> {
    let mut from = Bound::Included(Key::new(namespace.clone(), ""));
    std::iter::from_fn(move || {
        let world = simulation.world();
        let mut last = None;
        let mut metrics = Vec::new();
        for key in
            world.pods.range((from.clone(), Bound::Unbounded)).map(|(key, _)| key).take(BATCH)
        {
            if !namespace.is_empty() && key.namespace != namespace {
                break;
            }
            last = Some(key.clone());
            if selects(&selector, world.store.get(Resource::Pods, key)) {
                metrics.extend(describe(&world, key));
            }
        }
        from = Bound::Excluded(last?);
        Some(metrics)
    })
}

fn selects(selector: &Selector, object: Option<&Arc<crate::sim::store::Object>>) -> bool {
    object.is_some_and(|object| selector.matches(object))
}

fn not_found(kind: &str, name: &str) -> ApiError {
    let mut error = ApiError::new(404, "NotFound", format!("{kind}.{GROUP} \"{name}\" not found"));
    error.details = Some(Box::new(json!({ "name": name, "group": GROUP, "kind": kind })));
    error
}
