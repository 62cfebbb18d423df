//! Counts, averages, and what the cycles did over time.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::extract::SharedState;
use super::json::Json;
use crate::clock::{at, rfc3339};
use crate::core::eligibility::is_monitored;
use crate::core::resource::PerResource;
use crate::scaler::journal::Totals;
use crate::scaler::pod_status::OutcomeCounts;
use crate::service::state::AppState;

#[derive(Serialize, ToSchema)]
pub struct StatisticsAnswer {
    #[schema(example = true)]
    success: bool,
    statistics: Statistics,
}

#[derive(Serialize, ToSchema)]
pub struct Statistics {
    overview: Overview,
    action_distribution: ActionDistribution,
    resource_utilization: ResourceUtilization,
    model_performance: ModelPerformance,
    system_status: SystemStatus,
    #[schema(format = DateTime, example = "2026-11-25T10:30:00.000Z")]
    timestamp: String,
}

/// Since the start.
#[derive(Serialize, ToSchema)]
pub struct Overview {
    #[schema(example = 500)]
    total_decisions: u64,
    /// Pods that are watched and not excluded, now.
    #[schema(example = 12)]
    total_pods_monitored: usize,
    #[schema(example = 120)]
    applied_scalings: u64,
    /// Applied changes in a hundred decisions.
    #[schema(minimum = 0, maximum = 100, example = 24.0)]
    scaling_rate: f64,
}

impl Overview {
    pub fn of(state: &AppState, totals: &Totals) -> Self {
        let exclusions = state.config().exclusions();
        let pods = state.cluster().map(|cluster| cluster.known_pods(None)).unwrap_or_default();
        Self {
            total_decisions: totals.decisions,
            total_pods_monitored: pods.iter().filter(|pod| is_monitored(pod, &exclusions)).count(),
            applied_scalings: totals.applied,
            scaling_rate: totals.scaling_rate(),
        }
    }
}

#[derive(Serialize, ToSchema)]
pub struct ActionDistribution {
    cpu_actions: ActionCounts,
    memory_actions: ActionCounts,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub struct ActionCounts {
    #[schema(example = 50)]
    decrease: u64,
    #[schema(example = 350)]
    maintain: u64,
    #[schema(example = 100)]
    increase: u64,
}

impl ActionDistribution {
    pub fn of(totals: &Totals) -> Self {
        let counts = |[decrease, maintain, increase]: [u64; 3]| ActionCounts {
            decrease,
            maintain,
            increase,
        };
        Self {
            cpu_actions: counts(totals.actions.cpu),
            memory_actions: counts(totals.actions.memory),
        }
    }
}

/// Over all decisions since the start.
#[derive(Serialize, ToSchema)]
pub struct ResourceUtilization {
    /// Cores.
    #[schema(minimum = 0, example = 0.45)]
    average_cpu_usage: f64,
    /// MiB.
    #[schema(minimum = 0, example = 512.75)]
    average_memory_usage_mb: f64,
}

#[derive(Serialize, ToSchema)]
pub struct ModelPerformance {
    #[schema(minimum = 0, maximum = 1, example = 0.87)]
    average_cpu_confidence: f64,
    #[schema(minimum = 0, maximum = 1, example = 0.91)]
    average_memory_confidence: f64,
    #[schema(example = "Multi-Head DQN")]
    model_type: &'static str,
}

#[derive(Serialize, ToSchema)]
pub struct SystemStatus {
    dry_run_mode: bool,
    #[schema(example = 30)]
    cooldown_period_minutes: u64,
    #[schema(example = 0.2)]
    scale_factor: f64,
    kubernetes_available: bool,
}

/// Counts and averages since the start, and what holds now
#[utoipa::path(
    get, path = "/statistics", tag = "monitoring",
    responses((status = 200, body = StatisticsAnswer))
)]
pub async fn statistics(State(state): SharedState) -> Json<StatisticsAnswer> {
    let config = state.config();
    let totals = state.scaler.journal.lock().totals();
    let PerResource { cpu: average_cpu_usage, memory: average_memory_usage_mb } =
        totals.average_usage();
    let confidence = totals.average_confidence();
    let statistics = Statistics {
        overview: Overview::of(&state, &totals),
        action_distribution: ActionDistribution::of(&totals),
        resource_utilization: ResourceUtilization { average_cpu_usage, average_memory_usage_mb },
        model_performance: ModelPerformance {
            average_cpu_confidence: confidence.cpu,
            average_memory_confidence: confidence.memory,
            model_type: "Multi-Head DQN",
        },
        system_status: SystemStatus {
            dry_run_mode: config.dry_run,
            cooldown_period_minutes: config.scaling_cooldown,
            scale_factor: config.scale_factor,
            kubernetes_available: state.cluster().is_some(),
        },
        timestamp: rfc3339(state.clock.now()),
    };
    Json(StatisticsAnswer { success: true, statistics })
}

#[derive(Serialize, ToSchema)]
pub struct Timeline {
    #[schema(example = true)]
    success: bool,
    /// What each entry stands for, in seconds.
    #[schema(example = 60)]
    step_seconds: i64,
    /// Oldest first.
    cycles: Vec<CycleTally>,
    #[schema(format = DateTime, example = "2026-11-25T10:30:00.000Z")]
    timestamp: String,
}

/// How many pods met which end in the cycles of one step.
#[derive(Serialize, ToSchema)]
pub struct CycleTally {
    #[schema(required, format = DateTime, example = "2026-11-25T10:30:00.000Z")]
    timestamp: Option<String>,
    #[schema(example = 2)]
    applied: u64,
    #[schema(example = 0)]
    dry_run: u64,
    #[schema(example = 20)]
    no_action_needed: u64,
    #[schema(example = 6)]
    skipped: u64,
    #[schema(example = 0)]
    failed: u64,
}

/// What the cycles did over time, since the service has run or for the last day
#[utoipa::path(
    get, path = "/statistics/timeline", tag = "monitoring",
    responses((status = 200, body = Timeline))
)]
pub async fn timeline(State(state): SharedState) -> Json<Timeline> {
    let (step_seconds, tallies) = state.scaler.pod_status.timeline();
    let shown = |tally: &OutcomeCounts| CycleTally {
        timestamp: at(tally.at),
        applied: tally.applied,
        dry_run: tally.dry_run,
        no_action_needed: tally.unchanged,
        skipped: tally.skipped,
        failed: tally.failed,
    };
    let cycles = tallies.iter().map(shown).collect();
    Json(Timeline { success: true, step_seconds, cycles, timestamp: rfc3339(state.clock.now()) })
}
