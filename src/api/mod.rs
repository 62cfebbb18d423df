//! The HTTP API: a file for each section of the documentation, thin handlers on the shared state.

mod access;
mod answers;
mod autoscale;
mod bodies;
mod changes;
mod configuration;
mod cors;
mod dashboard;
mod decisions;
mod document;
mod error;
mod explanation;
pub mod export;
mod extract;
mod json;
mod large;
mod layers;
mod metrics;
mod outcome;
mod overview;
mod pods;
mod query;
mod resize;
mod risks;
mod scaling;
mod service;
mod statistics;
mod work;
mod workload_rows;
mod workloads;

use std::sync::Arc;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Extension, Router, middleware};
use tower::util::{MapRequest, MapResponse};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::document::{Document, Written};
use self::error::ApiError;
use crate::service::state::AppState;

pub fn router(state: Arc<AppState>) -> Router {
    // A route is chosen by the path, which is put right before, and adds `Allow` afterwards.
    let routes = MapRequest::new(routes(state), layers::single_slashes);
    Router::new().fallback_service(MapResponse::new(routes, layers::allow_options))
}

/// The routes, by the path as it is.
pub fn routes(state: Arc<AppState>) -> Router {
    let places = middleware::from_fn_with_state(large::places(), large::bounded);
    let large = OpenApiRouter::new()
        .routes(routes!(pods::list))
        .routes(routes!(overview::overview))
        .routes(routes!(decisions::decisions))
        .routes(routes!(changes::list))
        .routes(routes!(changes::export))
        .routes(routes!(metrics::metrics))
        .routes(routes!(workloads::list))
        .routes(routes!(workload_rows::list))
        .routes(routes!(outcome::outcome))
        .route_layer(places.clone());
    let (router, mut document) = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(service::index))
        .routes(routes!(service::health))
        .routes(routes!(service::livez))
        .routes(routes!(service::readyz))
        .routes(routes!(service::model_info))
        .routes(routes!(service::model_card))
        .routes(routes!(document::read))
        .routes(routes!(configuration::read, configuration::update))
        .routes(routes!(pods::read))
        .routes(routes!(overview::history))
        .routes(routes!(explanation::explanation))
        .routes(routes!(scaling::scale_pod))
        .routes(routes!(scaling::scale_all))
        .routes(routes!(resize::resize))
        .routes(routes!(statistics::statistics))
        .routes(routes!(statistics::timeline))
        .routes(routes!(autoscale::start))
        .routes(routes!(autoscale::stop))
        .routes(routes!(autoscale::status))
        .merge(large)
        .route_layer(middleware::from_fn_with_state(bodies::Room::default(), bodies::read))
        .route_layer(middleware::from_fn_with_state(state.clone(), layers::leading))
        .route_layer(middleware::from_fn_with_state(state.clone(), access::guard))
        .split_for_parts();
    document::complete(&mut document);
    router
        .merge(document::page().route_layer(places))
        .route("/dashboard", get(dashboard::folder))
        .route("/dashboard/", get(dashboard::index))
        .route("/dashboard/{file}", get(dashboard::file))
        .fallback(|request| refused(request, StatusCode::NOT_FOUND, "Endpoint not found"))
        .method_not_allowed_fallback(|request| {
            refused(request, StatusCode::METHOD_NOT_ALLOWED, "Method not allowed")
        })
        .layer(Extension(Written::of(&document)))
        .layer(CatchPanicLayer::custom(layers::panicked))
        .layer(middleware::from_fn_with_state(state.clone(), cors::cors))
        .with_state(state)
}

async fn refused(request: Request, status: StatusCode, message: &'static str) -> ApiError {
    bodies::discard(request).await.err().unwrap_or_else(|| ApiError::new(status, message))
}
