//! Why a pod has what it has: every figure of the decision that would be made now, and where each
//! setting that it goes by comes from.

use axum::extract::State;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::error::{ApiError, BadRequest, NoCluster, NoSuchPod};
use super::extract::{PodPath, SharedState};
use super::json::Json;
use super::work::cluster;
use crate::clock::rfc3339;
use crate::core::action::Action;
use crate::core::context::OwnedPod;
use crate::core::decision::Decision;
use crate::core::explain::explain;
use crate::core::overrides::PREFIX;
use crate::core::reasons::Reasons;
use crate::core::resource::{PerResource, Resource};
use crate::core::skip_reason::SkipReason;
use crate::core::words;
use crate::scaler::Considered;
use crate::service::state::AppState;

#[derive(Serialize, ToSchema)]
pub struct ExplainedPod {
    #[schema(example = true)]
    success: bool,
    #[schema(example = "data")]
    namespace: String,
    #[schema(example = "postgres-0")]
    pod_name: String,
    #[schema(required, example = "StatefulSet postgres")]
    workload: Option<String>,
    dry_run: bool,
    /// What comes of the decision, in words.
    #[schema(example = "Dry run: nothing was changed")]
    outcome: String,
    containers: Vec<ExplainedContainer>,
    /// What the decision goes by, and where it is set.
    settings: Vec<Setting>,
    #[schema(format = DateTime, example = "2026-11-25T10:30:00.000Z")]
    timestamp: String,
}

#[derive(Serialize, ToSchema)]
pub struct ExplainedContainer {
    #[schema(example = "postgres")]
    name: String,
    /// Why nothing is decided on it.
    #[schema(required)]
    left_alone: Option<SkipReason>,
    /// In words.
    #[schema(example = "CPU: 92 % of the limit is in use; the network prefers INCREASE.")]
    reasoning: String,
    #[schema(required)]
    cpu: Option<Figures>,
    #[schema(required)]
    memory: Option<Figures>,
}

/// Cores or MiB.
#[derive(Serialize, ToSchema)]
pub struct Figures {
    /// Null: not measured.
    #[schema(required, minimum = 0, example = 0.46)]
    usage: Option<f64>,
    #[schema(minimum = 0, example = 0.25)]
    request: f64,
    /// The request, where it is decided on by that.
    #[schema(minimum = 0, example = 0.5)]
    limit: f64,
    /// Of the limit.
    #[schema(minimum = 0, example = 0.92)]
    utilization: f64,
    /// How it moves over the last samples: -1 to 1.
    #[schema(example = 0.02)]
    trend: f64,
    /// Of DECREASE, MAINTAIN and INCREASE.
    #[schema(example = json!([0.1, 0.3, 0.9]))]
    q_values: [f32; 3],
    #[schema(minimum = 0, maximum = 1, example = 0.85)]
    confidence: f64,
    preferred: Action,
    action: Action,
    #[schema(minimum = 0, example = 0.6)]
    new_limit: f64,
    /// The usage that the network expects next.
    #[schema(minimum = 0, example = 0.48)]
    expected_usage: f64,
    /// That cuts keep clear of.
    #[schema(minimum = 0, example = 0.47)]
    recent_peak: f64,
    /// How long ago that was, at most.
    #[schema(minimum = 0, example = 2400)]
    recent_peak_age_seconds: i64,
    /// The same, at least.
    #[schema(minimum = 0, example = 1200)]
    recent_peak_age_least_seconds: i64,
    /// The limit of the kill for memory that the recent peak stands for; null where it was
    /// measured.
    #[schema(required, minimum = 0, example = 512.0)]
    killed_at: Option<f64>,
    #[schema(minimum = 0, example = 0.52)]
    lowest_safe_limit: f64,
    #[schema(minimum = 0, example = 0.4)]
    typical_use: f64,
    /// What a new pod of its workload is given; in a dry run what that would come to.
    #[schema(required, minimum = 0, example = 0.6)]
    known_need: Option<f64>,
    /// Where one step down would lead.
    #[schema(minimum = 0, example = 0.4)]
    step_down: f64,
    /// Why the guard has replaced what the network prefers.
    #[schema(required, example = "recent_peak")]
    guard: Option<&'static str>,
    /// What it waits for.
    #[schema(required, example = "waits 12 min more after the last change")]
    waits: Option<String>,
    /// What makes the network prefer its action most of all; null where the model does not say what
    /// is typical.
    #[schema(required, example = "recent peaks (with what is typical, MAINTAIN)")]
    action_reason: Option<String>,
    /// What makes the room that the network gives most of all; null where no cut goes by that.
    #[schema(required, example = "variation (with what is typical, 18 % more)")]
    room_reason: Option<String>,
}

impl Figures {
    fn of(
        resource: Resource,
        decision: &Decision,
        need: Option<f64>,
        reasons: Option<&PerResource<Reasons>>,
    ) -> Self {
        let Reasons { action, room } =
            reasons.map(|reasons| reasons[resource].clone()).unwrap_or_default();
        let (seen, basis) = (&decision.observation, &decision.basis[resource]);
        Self {
            usage: seen.measured[resource].then(|| seen.usage[resource]),
            request: seen.request[resource],
            limit: seen.limit[resource],
            utilization: seen.utilization(resource),
            trend: decision.trend[resource],
            q_values: decision.q_values.of(resource),
            confidence: decision.confidence[resource],
            preferred: decision.predicted[resource],
            action: decision.actions[resource],
            new_limit: decision.new_limit[resource],
            expected_usage: decision.future[resource],
            recent_peak: basis.peak,
            recent_peak_age_seconds: basis.peak_age,
            recent_peak_age_least_seconds: basis.peak_age_least,
            killed_at: basis.killed_at,
            lowest_safe_limit: decision.floor[resource],
            typical_use: basis.typical,
            known_need: basis.known_need.or(need),
            step_down: basis.step_down,
            guard: decision.overridden[resource].map(|why| why.name()),
            waits: basis.wait.map(words::waits),
            action_reason: action,
            room_reason: room,
        }
    }
}

#[derive(Serialize, ToSchema)]
pub struct Setting {
    #[schema(example = "scaling_cooldown")]
    name: String,
    #[schema(example = json!(30))]
    value: Value,
    /// An annotation on an object, or what the option of that name was set by.
    #[schema(example = "default")]
    source: String,
}

/// The options that decisions go by.
const OPTIONS: [&str; 23] = [
    "dry_run",
    "scale_factor",
    "scaling_cooldown",
    "emergency_scale_up",
    "controls",
    "min_cpu",
    "max_cpu",
    "min_memory",
    "max_memory",
    "history_window",
    "metrics_max_age",
    "guard_cpu_window",
    "guard_memory_window",
    "guard_cpu_fade",
    "guard_memory_fade",
    "guard_cpu_headroom",
    "guard_memory_headroom",
    "auto_scale_interval",
    "resizes_per_cycle",
    "resizes_per_namespace",
    "deferred_timeout",
    "resize_timeout",
    "model_path",
];

fn settings(state: &AppState, owned: &OwnedPod) -> Vec<Setting> {
    let config = json!(*state.config());
    let options = OPTIONS.iter().map(|name| Setting {
        name: (*name).to_owned(),
        value: config[name].clone(),
        source: state.origin(name).words().to_owned(),
    });
    annotations(owned).into_iter().chain(options).collect()
}

/// What annotations ask for, which wins over the options.
fn annotations(owned: &OwnedPod) -> Vec<Setting> {
    let Some(overrides) = owned.context.overrides.as_deref() else { return Vec::new() };
    let own = owned.pod.overrides.as_deref();
    let mut settings = Vec::new();
    let mut put = |name: &str, value: Value, is_own: bool| {
        let source = format!("annotation on {}", owned.annotation_source(is_own));
        settings.push(Setting { name: format!("{PREFIX}{name}"), value, source });
    };
    if let Some(mode) = overrides.mode {
        put("mode", json!(mode), own.is_some_and(|own| own.mode.is_some()));
    }
    for resource in Resource::ALL {
        let name = resource.name();
        if let Some(min) = overrides.min[resource] {
            let is_own = own.is_some_and(|own| own.min[resource].is_some());
            put(&format!("min-{name}"), json!(words::amount(resource, min)), is_own);
        }
        if let Some(max) = overrides.max[resource] {
            let is_own = own.is_some_and(|own| own.max[resource].is_some());
            put(&format!("max-{name}"), json!(words::amount(resource, max)), is_own);
        }
    }
    if let Some(up_only) = overrides.up_only {
        let value = if up_only { "up-only" } else { "both" };
        put("scale", json!(value), own.is_some_and(|own| own.up_only.is_some()));
    }
    if let Some(controls) = overrides.controls {
        put("controls", json!(controls), own.is_some_and(|own| own.controls.is_some()));
    }
    if let Some(allowed) = overrides.restarts_allowed {
        let value = if allowed { "allowed" } else { "never" };
        put("restarts", json!(value), own.is_some_and(|own| own.restarts_allowed.is_some()));
    }
    if let Some(startup) = overrides.startup {
        put("startup", json!(startup), own.is_some_and(|own| own.startup.is_some()));
    }
    if let Some(containers) = &overrides.containers {
        put("containers", json!(containers), own.is_some_and(|own| own.containers.is_some()));
    }
    settings
}

/// Why a pod has what it has: every figure of a decision made now, and where each setting comes
/// from
///
/// Nothing is changed and nothing is written down.
#[utoipa::path(
    get, path = "/pods/{namespace}/{pod_name}/explanation", tag = "pods", params(PodPath),
    responses((status = 200, body = ExplainedPod), BadRequest, NoSuchPod, NoCluster)
)]
pub async fn explanation(
    State(state): SharedState,
    path: PodPath,
) -> Result<Json<ExplainedPod>, ApiError> {
    let (cluster, config) = (cluster(&state)?, state.config());
    let considered = state.scaler.consider(&cluster, &config, &path.namespace, &path.name).await;
    let Considered { decided, reasons, needs, outcome } = considered?;
    let owned = &decided.owned;
    let containers = owned.pod.containers.iter().map(|container| {
        let name = container.name.to_string();
        let reasons = reasons.get(&container.name);
        let of_container = decided.decision.as_ref().map_err(|reason| *reason).and_then(|all| {
            let ours = all.containers.iter().find(|one| one.name == container.name);
            ours.map_or(Err(SkipReason::NoMetrics), |one| one.decision.as_ref().map_err(|of| *of))
        });
        match of_container {
            Ok(decision) => {
                let figures = |resource| {
                    let need = needs.get(&container.name).and_then(|needs| needs[resource]);
                    Some(Figures::of(resource, decision, need, reasons))
                };
                ExplainedContainer {
                    name,
                    left_alone: None,
                    reasoning: explain(decision).reasoning,
                    cpu: figures(Resource::Cpu),
                    memory: figures(Resource::Memory),
                }
            }
            Err(reason) => ExplainedContainer {
                name,
                left_alone: Some(reason),
                reasoning: reason.message(&owned.pod.key.name),
                cpu: None,
                memory: None,
            },
        }
    });
    Ok(Json(ExplainedPod {
        success: true,
        containers: containers.collect(),
        settings: settings(&state, owned),
        workload: owned.workload.as_ref().map(|workload| workload.to_string()),
        dry_run: config.dry_run,
        outcome,
        timestamp: rfc3339(state.clock.now()),
        namespace: path.namespace,
        pod_name: path.name,
    }))
}
