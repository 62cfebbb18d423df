//! Service information, health, and the model.

use std::collections::BTreeMap;
use std::path::PathBuf;

use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::answers::UnreadableNamespace;
use super::extract::SharedState;
use super::json::Json;
use crate::clock::{self, rfc3339};
use crate::core::action::Action;
use crate::leader::Role;
use crate::model::shipped::CARD;
use crate::scaler::recorded_history;
use crate::scaler::wanted::OpenBreaker;
use crate::service::certificate::Validity;
use crate::store;

/// Circuit breakers that `/readyz` names.
const BREAKERS_TOLD: usize = 20;

#[derive(Serialize, ToSchema)]
pub struct Index {
    #[schema(example = "DQN Kubernetes Resource Scaler")]
    service: &'static str,
    #[schema(example = "1.0.0")]
    version: &'static str,
    #[schema(example = "Deep Q-Network (DQN)")]
    model: &'static str,
    /// What can be asked, and what for.
    #[schema(
        value_type = BTreeMap<String, String>, example = json!({"GET /health": "Health check"})
    )]
    endpoints: Value,
}

/// Name, version and endpoints of the service
#[utoipa::path(get, path = "/", tag = "service", responses((status = 200, body = Index)))]
pub async fn index() -> Json<Index> {
    Json(Index {
        service: "DQN Kubernetes Resource Scaler",
        version: env!("CARGO_PKG_VERSION"),
        model: "Deep Q-Network (DQN)",
        endpoints: json!({
            "GET /health": "Health check",
            "GET /config": "Get current configuration",
            "POST /config": "Update configuration",
            "GET /pods": "List all monitored pods",
            "GET /pods/<namespace>/<pod_name>": "Get specific pod info",
            "POST /scale/pod/<namespace>/<pod_name>": "Scale specific pod",
            "POST /scale/all": "Process and scale all pods",
            "GET /decisions": "Get recent scaling decisions",
            "GET /statistics": "Get scaling statistics",
            "POST /autoscale/start": "Start automatic scaling",
            "POST /autoscale/stop": "Stop automatic scaling",
            "GET /autoscale/status": "Get auto-scaler status",
            "POST /api/namespaces/<namespace>/pods/<pod_name>/resize": "Resize pod resources"
        }),
    })
}

#[derive(Serialize, ToSchema)]
pub struct Health {
    #[schema(example = "healthy")]
    status: &'static str,
    #[schema(example = "dqn-scaler")]
    service: &'static str,
    #[schema(format = DateTime, example = "2026-11-25T10:30:00.000Z")]
    timestamp: String,
}

/// Whether the service answers
#[utoipa::path(get, path = "/health", tag = "service", responses((status = 200, body = Health)))]
pub async fn health(State(state): SharedState) -> Json<Health> {
    Json(Health { status: "healthy", service: "dqn-scaler", timestamp: rfc3339(state.clock.now()) })
}

/// Liveness probe: the process answers, which is all that a restart could mend
#[utoipa::path(
    get, path = "/livez", tag = "service", responses((status = 200, body = String, example = "ok"))
)]
pub async fn livez() -> &'static str {
    "ok"
}

#[derive(Serialize, ToSchema)]
pub struct Readiness {
    /// `ready` or `not ready`.
    #[schema(example = "ready")]
    status: &'static str,
    /// `alone`, `leader` or `follower`.
    #[schema(example = "leader")]
    role: &'static str,
    /// The replica that acts, if one does and there are several.
    #[schema(required, example = "dqn-scaler-7c9d8f6b54-x2x9k")]
    leader: Option<String>,
    /// This replica.
    #[schema(example = "dqn-scaler-7c9d8f6b54-x2x9k")]
    identity: String,
    model: ModelState,
    cluster: ClusterState,
    watch: WatchState,
    metrics: MetricsState,
    /// The Prometheus that knows what workloads have used before; null: none is asked.
    #[schema(required)]
    prometheus: Option<recorded_history::Health>,
    /// Nodes whose kubelet does not answer, and namespaces where writes fail; the first ones of
    /// many. What takes away from their pods waits, what grows is sent.
    circuit_breakers: Vec<CircuitBreaker>,
    state: store::Health,
    /// With which the service answers; null: it speaks plain HTTP.
    #[schema(required)]
    certificate: Option<CertificateState>,
    #[schema(format = DateTime, example = "2026-11-25T10:30:00.000Z")]
    timestamp: String,
}

#[derive(Serialize, ToSchema)]
pub struct ModelState {
    loaded: bool,
    #[schema(value_type = String, example = "final-models/dqn_model.pth")]
    path: PathBuf,
    /// How many features it takes in.
    #[schema(example = 8)]
    features: usize,
}

#[derive(Serialize, ToSchema)]
pub struct ClusterState {
    connected: bool,
    /// How many times faster than the wall clock it lives, if it is simulated in this process.
    #[schema(required, minimum = 0, example = 60.0)]
    simulated_speed: Option<f64>,
}

#[derive(Serialize, ToSchema)]
pub struct WatchState {
    /// What is known of the pods is what the API server has.
    fresh: bool,
    /// Why it was never known what annotations and other autoscalers ask for, so that those pods
    /// are not changed.
    #[schema(example = json!([]))]
    never_read: Vec<String>,
    /// Namespaces whose pods are not known now: they are left alone, the others are scaled.
    unreadable: Vec<UnreadableNamespace>,
}

#[derive(Serialize, ToSchema)]
pub struct CircuitBreaker {
    /// `node` or `namespace`.
    #[schema(example = "node")]
    kind: &'static str,
    #[schema(example = "node-7")]
    name: String,
    #[schema(required, format = DateTime, example = "2026-11-25T10:30:00.000Z")]
    open_since: Option<String>,
}

impl From<OpenBreaker> for CircuitBreaker {
    fn from(OpenBreaker { kind, name, since }: OpenBreaker) -> Self {
        Self { kind, name, open_since: clock::at(since) }
    }
}

#[derive(Serialize, ToSchema)]
pub struct CertificateState {
    /// It has begun and not expired: clients take it, for what its time is.
    holds: bool,
    #[schema(required, format = DateTime, example = "2026-11-25T10:30:00.000Z")]
    from: Option<String>,
    #[schema(required, format = DateTime, example = "2027-02-23T10:30:00.000Z")]
    until: Option<String>,
}

impl CertificateState {
    fn of(validity: Validity) -> Self {
        Self {
            holds: validity.holds(chrono::Utc::now().timestamp()),
            from: clock::at(validity.from),
            until: clock::at(validity.until),
        }
    }
}

#[derive(Serialize, ToSchema)]
pub struct MetricsState {
    /// Young enough to act on.
    fresh: bool,
    /// When the newest usage that is known had been measured.
    #[schema(required, format = DateTime, example = "2026-11-25T10:30:00.000Z")]
    newest: Option<String>,
    #[schema(required, example = 15)]
    age_seconds: Option<i64>,
}

/// Readiness probe: questions can be answered, by a leader or a follower, with the cluster in view
///
/// Metrics that have stopped are told of and change nothing: without them nothing is decided.
#[utoipa::path(get, path = "/readyz", tag = "service", responses(
    (status = 200, body = Readiness),
    (status = 503, body = Readiness, description = "The pods of the cluster are not in view.")
))]
pub async fn readyz(State(state): SharedState) -> (StatusCode, Json<Readiness>) {
    let cluster = state.cluster();
    let fresh = cluster.as_ref().is_some_and(|cluster| cluster.is_fresh());
    let never_read = cluster.as_ref().map(|cluster| cluster.never_read()).unwrap_or_default();
    let unreadable = cluster.as_ref().map(|cluster| cluster.unreadable()).unwrap_or_default();
    let (role, leader) = match state.leadership.role() {
        Role::Alone => ("alone", None),
        Role::Leader => ("leader", Some(state.leadership.identity().to_owned())),
        Role::Follower(leader) => ("follower", leader),
    };
    let config = state.config();
    let now = state.clock.now().timestamp();
    let measured_at = cluster.as_ref().and_then(|cluster| cluster.measured_at());
    let age = measured_at.map(|at| now - at);
    let open_breakers = state.scaler.wanted.open_breakers().into_iter();
    let code = if fresh { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let details = Readiness {
        status: if fresh { "ready" } else { "not ready" },
        role,
        leader,
        identity: state.leadership.identity().to_owned(),
        model: ModelState {
            loaded: true,
            path: config.model_path.clone(),
            features: state.scaler.features().len(),
        },
        cluster: ClusterState {
            connected: cluster.is_some(),
            simulated_speed: state.simulated.then(|| state.clock.speed()),
        },
        watch: WatchState {
            fresh,
            never_read: never_read.iter().map(ToString::to_string).collect(),
            unreadable: unreadable.iter().map(Into::into).collect(),
        },
        metrics: MetricsState {
            fresh: age.is_some_and(|age| age <= config.metrics_max_age as i64),
            newest: measured_at.and_then(crate::clock::at),
            age_seconds: age,
        },
        prometheus: state.prometheus.lock().clone(),
        circuit_breakers: open_breakers.take(BREAKERS_TOLD).map(Into::into).collect(),
        state: state.store_health.lock().clone(),
        certificate: state.certificate.lock().map(CertificateState::of),
        timestamp: rfc3339(state.clock.now()),
    };
    (code, Json(details))
}

#[derive(Serialize, ToSchema)]
pub struct ModelInfo {
    #[schema(example = "Deep Q-Network (DQN)")]
    model_type: &'static str,
    #[schema(value_type = String, example = "final-models/dqn_model.pth")]
    model_path: PathBuf,
    /// Width of the model's input.
    #[schema(example = 8)]
    state_dim: usize,
    /// Actions of each head.
    #[schema(example = 3)]
    action_dim: usize,
    /// The actions by their index.
    #[schema(example = json!({"0": "DECREASE", "1": "MAINTAIN", "2": "INCREASE"}))]
    actions: BTreeMap<String, Action>,
    /// The features of a pod's state, in the order of the input.
    #[schema(example = json!(["CPU usage (normalized)", "Memory usage (normalized)"]))]
    state_features: Vec<String>,
}

/// The network and what it takes in
#[utoipa::path(
    get, path = "/model/info", tag = "service", responses((status = 200, body = ModelInfo))
)]
pub async fn model_info(State(state): SharedState) -> Json<ModelInfo> {
    let config = state.config();
    Json(ModelInfo {
        model_type: "Deep Q-Network (DQN)",
        model_path: config.model_path.clone(),
        state_dim: state.scaler.features().len(),
        action_dim: config.action_dim,
        actions: Action::ALL.map(|action| (action.index().to_string(), action)).into(),
        state_features: state
            .scaler
            .features()
            .iter()
            .map(|feature| feature.label().into_owned())
            .collect(),
    })
}

#[derive(Serialize, ToSchema)]
pub struct ModelCard {
    #[schema(example = true)]
    success: bool,
    /// Whether the model in use is the one that the card is about.
    in_use: bool,
    /// Markdown.
    #[schema(example = "# The shipped model …")]
    card: &'static str,
}

/// What is known of the model that this version ships: data, recipe, figures, limits
#[utoipa::path(
    get, path = "/model/card", tag = "service", responses((status = 200, body = ModelCard))
)]
pub async fn model_card(State(state): SharedState) -> Json<ModelCard> {
    Json(ModelCard { success: true, in_use: state.shipped_model, card: CARD })
}
