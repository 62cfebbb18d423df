//! The Kubernetes API over the simulated world: a tower service, under a client in this process or
//! on a socket.

mod ages;
mod control;
mod create;
mod custom;
mod delete;
mod discovery;
mod edit;
mod form;
mod kubelet;
mod metrics;
mod read;
mod request;
mod schema;
pub mod server;
mod table;
mod update;
mod watch;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use self::request::{Call, LARGEST_BODY};
use super::resources::Resource;
use super::simulation::Simulation;
use super::status::ApiError;
use super::target::Target;

impl Simulation {
    /// A client that speaks HTTP to this cluster without a socket.
    pub fn client(self: &Arc<Self>) -> kube::Client {
        kube::Client::new(router(self.clone()), "default")
    }
}

pub fn router(simulation: Arc<Simulation>) -> Router {
    Router::new()
        .route(
            "/sim/faults",
            get(control::rules).put(control::replace_rules).delete(control::remove_rules),
        )
        .route("/sim/requests", get(control::requests).delete(control::forget_requests))
        .fallback(answer)
        .method_not_allowed_fallback(|| async { ApiError::method_not_allowed() })
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .with_state(simulation)
}

async fn answer(State(simulation): State<Arc<Simulation>>, request: Request) -> Response {
    let target = Target::of(request.method(), request.uri());
    let faults = simulation.faults();
    let date = simulation.world().http_date();
    let number = faults.log.asked(request.method(), request.uri(), request.headers());
    let effect = faults.strike(&target);
    let shift = ages::shift(&simulation, &target, request.headers());
    let respond = respond(&simulation, target.clone(), request);
    let mut response = match effect {
        Some(effect) => effect.spoil(&target, respond).await,
        None => respond.await,
    };
    if let Some(shift) = shift {
        response = ages::shifted(response, shift);
    }
    // By the clock of the API server, which may be wrong.
    if let Ok(date) = date.parse() {
        response.headers_mut().insert(header::DATE, date);
    }
    faults.log.answered(number, response.status().as_u16());
    response
}

async fn respond(simulation: &Arc<Simulation>, target: Target, request: Request) -> Response {
    let answer = match Call::read(target, request).await {
        Ok(call) => dispatch(simulation, &call),
        Err(error) => Err(error),
    };
    answer.unwrap_or_else(ApiError::into_response)
}

fn dispatch(simulation: &Arc<Simulation>, call: &Call) -> Result<Response, ApiError> {
    let target = &call.target;
    let version = simulation.world().version;
    if target.is_path() {
        let kinds = simulation.world().custom.kinds().to_vec();
        return discovery::answer(version, &kinds, target.verb, &target.resource);
    }
    let custom = {
        let world = simulation.world();
        world.custom.find(&target.group, &target.version, &target.resource).cloned()
    };
    if let Some(kind) = custom {
        return custom::answer(simulation, call, &kind);
    }
    if target.group == metrics::GROUP {
        return metrics::answer(simulation, call);
    }
    let resource = Resource::find(&target.group, &target.resource);
    let resource = resource.filter(|resource| target.version == resource.describe().version);
    let resource = resource.ok_or_else(ApiError::no_resource)?;
    let known = resource.describe();
    let (subresource, named) = (target.subresource.as_str(), !target.name.is_empty());
    let whole_cluster = target.namespace.is_empty();
    // All namespaces can be read at once, but a name belongs to one.
    if resource == Resource::Pods
        && let Some(missing) = of_what_runs(subresource)
    {
        let pod = simulation.world().store.get(Resource::Pods, &target.key()).is_some();
        let message = format!("the pods of the simulated cluster run nothing: {missing}");
        return Err(if pod { ApiError::bad_request(message) } else { call.not_found(resource) });
    }
    let misplaced = if known.namespaced { whole_cluster && named } else { !whole_cluster };
    if misplaced || !subresource.is_empty() && !discovery::serves(version, resource, subresource) {
        return Err(ApiError::no_resource());
    }
    match (subresource, target.verb, named) {
        ("", "list", false) => read::list(simulation, call, resource),
        ("", "watch", _) => watch::watch(simulation, call, resource),
        ("" | "status" | "resize", "get", true) => read::get(simulation, call, resource),
        ("", "create", false) if discovery::verbs(known).contains(&"create") => {
            create::create(simulation, call, resource)
        }
        ("", "delete", true) => delete::delete(simulation, call, resource),
        ("", "deletecollection", false) => delete::delete_all(simulation, call, resource),
        ("eviction", "create", true) => delete::evict(simulation, call),
        ("scale", "get", true) => update::scale(simulation, call, resource),
        ("scale", "update" | "patch", true) => update::rescale(simulation, call, resource),
        ("" | "status" | "resize", "update" | "patch", true) => {
            update::update(simulation, call, resource)
        }
        _ => Err(ApiError::method_not_allowed()),
    }
}

/// What a pod that runs nothing does not have.
fn of_what_runs(subresource: &str) -> Option<&'static str> {
    match subresource {
        "log" => Some("they have no logs"),
        "exec" | "attach" => Some("there is nothing to run a command in"),
        "portforward" | "proxy" => Some("nothing listens in them"),
        _ => None,
    }
}
