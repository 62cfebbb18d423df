//! What it brings, what is at risk, and what would happen: for the one who runs it.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::error::{ApiError, NoCluster};
use super::extract::SharedState;
use super::json::Json;
use super::risks::{self, Risk};
use super::work::cluster;
use crate::blocking::run_blocking;
use crate::clock::{at, rfc3339};
use crate::config::Config;
use crate::core::balance::{Balance, Sums};
use crate::core::eligibility::is_monitored;
use crate::core::resource::{PerResource, Resource};

/// Risks that are told of by themselves.
const MOST_RISKS: usize = 100;
const HOURS_OF_A_MONTH: f64 = 730.0;

#[derive(Serialize, ToSchema)]
pub struct OutcomeAnswer {
    #[schema(example = true)]
    success: bool,
    /// Not a dry run.
    live: bool,
    saved: Saved,
    plan: Plan,
    at_risk: AtRisk,
    before_and_after: BeforeAndAfter,
    /// Seconds that each moment of the course stands for.
    #[schema(example = 30)]
    step_seconds: i64,
    course: Course,
    #[schema(format = DateTime, example = "2026-11-25T10:30:00.000Z")]
    timestamp: String,
}

/// What the templates of the monitored pods ask for, less what the pods ask for now.
#[derive(Serialize, ToSchema)]
pub struct Saved {
    /// Requested cores.
    #[schema(example = 12.5)]
    cpu_cores: f64,
    /// Requested MiB.
    #[schema(example = 4096.0)]
    memory_mb: f64,
    #[schema(example = 20.0)]
    cpu_limit_cores: f64,
    #[schema(example = 8192.0)]
    memory_limit_mb: f64,
    /// In the currency of the prices; null where the two are not set.
    #[schema(required, example = 310.0)]
    money_a_month: Option<f64>,
}

impl Saved {
    fn of(balance: &Balance, config: &Config) -> Self {
        let less = |of: fn(&Sums) -> &PerResource<f64>| {
            PerResource::build(|resource| {
                let (template, now) = (of(&balance.template), of(&balance.now));
                rounded(template[resource] - now[resource])
            })
        };
        let (request, limit) = (less(|sums| &sums.request), less(|sums| &sums.limit));
        let (core, gib) = (config.price_core_hour, config.price_gib_hour);
        let money = (request.cpu * core + request.memory / 1024.0 * gib) * HOURS_OF_A_MONTH;
        Self {
            cpu_cores: request.cpu,
            memory_mb: request.memory,
            cpu_limit_cores: limit.cpu,
            memory_limit_mb: limit.memory,
            money_a_month: (core > 0.0 && gib > 0.0).then(|| (money * 100.0).round() / 100.0),
        }
    }
}

/// What the newest decision of each pod comes to, whether or not it is carried out.
#[derive(Serialize, ToSchema, Default)]
pub struct Plan {
    /// Monitored pods.
    #[schema(example = 28)]
    pods: usize,
    /// Those of which some limit would sink.
    #[schema(example = 26)]
    shrink: usize,
    /// Those of which some limit would grow.
    #[schema(example = 3)]
    grow: usize,
    less: Amounts,
    more: Amounts,
}

#[derive(Serialize, ToSchema, Default)]
pub struct Amounts {
    #[schema(minimum = 0, example = 12.5)]
    cpu_cores: f64,
    #[schema(minimum = 0, example = 4096.0)]
    memory_mb: f64,
}

impl Amounts {
    fn add(&mut self, resource: Resource, amount: f64) {
        match resource {
            Resource::Cpu => self.cpu_cores += amount,
            Resource::Memory => self.memory_mb += amount,
        }
    }
}

#[derive(Serialize, ToSchema, Default)]
pub struct AtRisk {
    /// How many dangers there are.
    count: usize,
    /// Pods that are in danger.
    pods: usize,
    /// The first hundred.
    risks: Vec<Risk>,
}

/// What happened while it changed nothing, and while it was live.
#[derive(Serialize, ToSchema)]
pub struct BeforeAndAfter {
    dry_run: Happened,
    live: Happened,
}

#[derive(Serialize, ToSchema, Default)]
pub struct Happened {
    #[schema(minimum = 0, example = 24.0)]
    hours: f64,
    /// Containers killed for memory.
    #[schema(example = 2)]
    kills: u64,
    #[schema(example = 0)]
    evictions: u64,
    /// Seconds that containers have spent with their CPU limit used up.
    #[schema(minimum = 0, example = 600.0)]
    throttled_seconds: f64,
}

impl Happened {
    fn of(balances: &[Balance], live: bool) -> Self {
        let mut happened = Self::default();
        for balance in balances.iter().filter(|balance| balance.live == live) {
            happened.hours += balance.seconds / 3600.0;
            happened.kills += balance.kills;
            happened.evictions += balance.evictions;
            happened.throttled_seconds += balance.throttled;
        }
        happened.hours = rounded(happened.hours);
        happened
    }
}

/// Of all monitored pods together, oldest first: a column for each value.
#[derive(Serialize, ToSchema)]
pub struct Course {
    timestamps: Vec<Option<String>>,
    #[schema(example = json!([28, 28]))]
    pods: Vec<u64>,
    live: Vec<bool>,
    cpu: ResourceCourse,
    memory: ResourceCourse,
    #[schema(example = json!([0, 1]))]
    kills: Vec<u64>,
    #[schema(example = json!([0, 0]))]
    evictions: Vec<u64>,
}

/// Cores or MiB.
#[derive(Serialize, ToSchema)]
pub struct ResourceCourse {
    #[schema(example = json!([4.5, 4.4]))]
    used: Vec<f64>,
    #[schema(example = json!([10.0, 9.5]))]
    request: Vec<f64>,
    #[schema(example = json!([20.0, 19.0]))]
    limit: Vec<f64>,
    #[schema(example = json!([12.0, 12.0]))]
    template_request: Vec<f64>,
    #[schema(example = json!([24.0, 24.0]))]
    template_limit: Vec<f64>,
}

impl Course {
    fn of(balances: &[Balance]) -> Self {
        let counts = |of: fn(&Balance) -> u64| balances.iter().map(of).collect();
        let resource = |resource: Resource| {
            let column = |of: &dyn Fn(&Balance) -> f64| {
                balances.iter().map(|balance| rounded(of(balance))).collect()
            };
            ResourceCourse {
                used: column(&|of| of.used[resource]),
                request: column(&|of| of.now.request[resource]),
                limit: column(&|of| of.now.limit[resource]),
                template_request: column(&|of| of.template.request[resource]),
                template_limit: column(&|of| of.template.limit[resource]),
            }
        };
        Self {
            timestamps: balances.iter().map(|balance| at(balance.at)).collect(),
            pods: counts(|of| of.pods),
            live: balances.iter().map(|balance| balance.live).collect(),
            cpu: resource(Resource::Cpu),
            memory: resource(Resource::Memory),
            kills: counts(|of| of.kills),
            evictions: counts(|of| of.evictions),
        }
    }
}

fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// What is saved, what is at risk, what the newest decisions come to, and the course of the last
/// week
#[utoipa::path(
    get, path = "/statistics/outcome", tag = "monitoring",
    responses((status = 200, body = OutcomeAnswer), NoCluster)
)]
pub async fn outcome(State(state): SharedState) -> Result<Json<OutcomeAnswer>, ApiError> {
    let (config, pods) = (state.config(), cluster(&state)?.known_pods(None));
    let (exclusions, now) = (config.exclusions(), state.clock.now());
    let (step_seconds, balances) = state.scaler.outcomes.series();
    let (plan, at_risk) = run_blocking(|| {
        let (mut plan, mut at_risk) = (Plan::default(), AtRisk::default());
        for owned in pods.iter().filter(|owned| is_monitored(owned, &exclusions)) {
            let latest = state.scaler.pod_status.latest(&owned.pod.key);
            let risks = risks::of(owned, latest.as_ref(), now.timestamp());
            at_risk.count += risks.len();
            at_risk.pods += usize::from(!risks.is_empty());
            let room = MOST_RISKS.saturating_sub(at_risk.risks.len());
            at_risk.risks.extend(risks.into_iter().take(room));
            plan.pods += 1;
            let delta = latest.map(|latest| latest.delta).unwrap_or_default();
            plan.shrink += usize::from(Resource::ALL.iter().any(|of| delta[*of] < 0.0));
            plan.grow += usize::from(Resource::ALL.iter().any(|of| delta[*of] > 0.0));
            for resource in Resource::ALL {
                match delta[resource] {
                    amount if amount < 0.0 => plan.less.add(resource, -amount),
                    amount => plan.more.add(resource, amount),
                }
            }
        }
        (plan, at_risk)
    });
    Ok(Json(OutcomeAnswer {
        success: true,
        live: !config.dry_run,
        saved: Saved::of(&balances.last().copied().unwrap_or_default(), &config),
        plan,
        at_risk,
        before_and_after: BeforeAndAfter {
            dry_run: Happened::of(&balances, false),
            live: Happened::of(&balances, true),
        },
        step_seconds,
        course: Course::of(&balances),
        timestamp: rfc3339(now),
    }))
}
