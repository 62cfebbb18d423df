//! What several answers tell of a decision.

use serde::Serialize;
use serde::de::{Deserialize, Deserializer, Error};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::cluster::Unreadable;
use crate::core::action::Action;
use crate::core::decision::Decision;
use crate::core::explain::explain;
use crate::core::observation::Observation;
use crate::core::outcome::Status;
use crate::core::pod_decision::{ContainerDecision, PodDecision};
use crate::core::resource::{PerResource, Resource};
use crate::core::skip_reason::SkipReason;

/// What came of a decision.
#[derive(Serialize, PartialEq, Eq)]
pub struct StatusName(&'static str);

impl From<&Status> for StatusName {
    fn from(status: &Status) -> Self {
        Self(status.name())
    }
}

impl<'de> Deserialize<'de> for StatusName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let known = Status::NAMES.into_iter().find(|name| *name == text).map(Self);
        known
            .ok_or_else(|| D::Error::custom(format!("must be one of {}", Status::NAMES.join(", "))))
    }
}

impl PartialSchema for StatusName {
    fn schema() -> RefOr<Schema> {
        let names = ObjectBuilder::new().schema_type(Type::String);
        names.enum_values(Some(Status::NAMES)).into()
    }
}

impl ToSchema for StatusName {}

/// How a decision came about.
#[derive(Serialize, ToSchema, Default)]
pub struct Described {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub current_metrics: Option<CurrentMetrics>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub predictions: Option<Predictions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    confidence: Option<Confidence>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    future_predictions: Option<FuturePredictions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub q_values: Option<QValues>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub resource_changes: Option<ResourceChanges>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub explanation: Option<Explanation>,
}

/// What the network prefers, before guard, cooldown and bounds.
#[derive(Serialize, ToSchema)]
pub struct Predictions {
    cpu_action: Action,
    memory_action: Action,
    #[schema(maximum = 2, example = 2)]
    cpu_action_index: usize,
    #[schema(maximum = 2, example = 1)]
    memory_action_index: usize,
}

/// Of DECREASE, MAINTAIN and INCREASE, in this order.
#[derive(Serialize, ToSchema)]
pub struct QValues {
    #[schema(example = json!([0.1, 0.3, 0.9]))]
    cpu_q_values: [f32; 3],
    #[schema(example = json!([0.2, 0.95, 0.4]))]
    memory_q_values: [f32; 3],
}

#[derive(Serialize, ToSchema)]
pub struct ResourceChanges {
    /// Cores.
    cpu: ResourceChange,
    /// MiB.
    memory: ResourceChange,
}

/// The limit of the whole pod, after guard, cooldown and bounds.
#[derive(Serialize, ToSchema)]
pub struct ResourceChange {
    #[schema(minimum = 0, example = 0.5)]
    current: f64,
    #[schema(minimum = 0, example = 0.6)]
    new: f64,
    #[schema(example = 20.0)]
    change_percent: f64,
    action: Action,
}

/// Derived from the state, the Q values and the guard's changes.
#[derive(Serialize, ToSchema)]
pub struct Explanation {
    #[schema(example = "CPU: 92 % of the limit is in use; the network prefers INCREASE.")]
    reasoning: String,
    #[schema(example = json!(["cpu_trend_increasing", "memory_stable"]))]
    factors: Vec<String>,
}

/// The largest softmax of each head's Q values.
#[derive(Serialize, ToSchema)]
pub struct Confidence {
    #[schema(minimum = 0, maximum = 1, example = 0.85)]
    cpu: f64,
    #[schema(minimum = 0, maximum = 1, example = 0.92)]
    memory: f64,
}

impl Confidence {
    pub fn of(decision: &Decision) -> Self {
        Self { cpu: decision.confidence.cpu, memory: decision.confidence.memory }
    }
}

/// Summed over the pod's containers.
#[derive(Serialize, ToSchema)]
pub struct CurrentMetrics {
    /// Cores.
    #[schema(minimum = 0, example = 0.15)]
    cpu_usage: f64,
    /// MiB.
    #[schema(minimum = 0, example = 256.5)]
    memory_usage_mb: f64,
    /// Cores; the request of a container that has no limit.
    #[schema(minimum = 0, example = 0.5)]
    cpu_limit: f64,
    /// MiB; the request of a container that has no limit.
    #[schema(minimum = 0, example = 512.0)]
    memory_limit_mb: f64,
}

/// Cores and MiB.
#[derive(Serialize, ToSchema)]
pub struct Resources {
    #[schema(minimum = 0, example = 0.5)]
    cpu_cores: f64,
    #[schema(minimum = 0, example = 512.0)]
    memory_mb: f64,
}

impl Resources {
    pub fn of(amounts: &PerResource<f64>) -> Self {
        Self { cpu_cores: rounded(amounts.cpu), memory_mb: rounded(amounts.memory) }
    }
}

impl CurrentMetrics {
    pub fn of(decision: &Decision) -> Self {
        let (usage, limit) = (&decision.observation.usage, &decision.observation.limit);
        Self {
            cpu_usage: usage.cpu,
            memory_usage_mb: usage.memory,
            cpu_limit: limit.cpu,
            memory_limit_mb: limit.memory,
        }
    }
}

/// The usage that the network expects at the next step.
#[derive(Serialize, ToSchema)]
pub struct FuturePredictions {
    /// Cores.
    #[schema(minimum = 0, example = 0.18)]
    next_step_cpu: f64,
    /// MiB.
    #[schema(minimum = 0, example = 250.0)]
    next_step_memory: f64,
}

impl FuturePredictions {
    pub fn of(decision: &Decision) -> Self {
        Self { next_step_cpu: decision.future.cpu, next_step_memory: decision.future.memory }
    }
}

/// One container of the pod, in the order of the spec.
#[derive(Serialize, ToSchema)]
pub struct ContainerResult {
    #[schema(example = "postgres")]
    name: String,
    /// Why nothing was decided on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<SkipReason>,
    /// Its requests: cores and MiB; 0 where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    requests: Option<Resources>,
    #[serde(flatten)]
    #[schema(inline)]
    decided: Described,
}

impl ContainerResult {
    /// One that nothing was decided on, with what is known of it.
    pub fn left(name: &str, reason: Option<SkipReason>, seen: &Observation, why: &str) -> Self {
        Self {
            name: name.to_owned(),
            reason,
            requests: Some(Resources::of(&seen.request)),
            decided: left(seen, reason, why),
        }
    }

    pub fn decided(name: &str, decision: &Decision) -> Self {
        Self {
            name: name.to_owned(),
            reason: None,
            requests: Some(Resources::of(&decision.observation.request)),
            decided: describe(decision),
        }
    }
}

pub fn containers(decision: &PodDecision) -> Vec<ContainerResult> {
    let one = |of: &ContainerDecision| match &of.decision {
        Ok(decision) => ContainerResult::decided(&of.name, decision),
        Err(reason) => ContainerResult {
            name: of.name.to_string(),
            reason: Some(*reason),
            requests: None,
            decided: Described::default(),
        },
    };
    decision.containers.iter().map(one).collect()
}

/// What is told of a pod or a container that is left as it is, and why.
pub fn left(seen: &Observation, reason: Option<SkipReason>, why: &str) -> Described {
    let mut decision = Decision::maintain(*seen);
    decision.future = seen.usage;
    let factors = reason.map(|reason| reason.name().to_owned()).into_iter().collect();
    let explanation = Some(Explanation { reasoning: format!("{why}."), factors });
    Described { explanation, ..describe(&decision) }
}

impl ResourceChanges {
    pub fn of(decision: &Decision) -> Self {
        let change = |resource| {
            let (current, new) =
                (decision.observation.limit[resource], decision.new_limit[resource]);
            let percent = if current > 0.0 { (new / current - 1.0) * 100.0 } else { 0.0 };
            ResourceChange {
                current: rounded(current),
                new: rounded(new),
                change_percent: rounded(percent),
                action: decision.actions[resource],
            }
        };
        Self { cpu: change(Resource::Cpu), memory: change(Resource::Memory) }
    }
}

pub fn describe(decision: &Decision) -> Described {
    let (predicted, q_values, explanation) =
        (&decision.predicted, &decision.q_values, explain(decision));
    Described {
        current_metrics: Some(CurrentMetrics::of(decision)),
        predictions: Some(Predictions {
            cpu_action: predicted.cpu,
            memory_action: predicted.memory,
            cpu_action_index: predicted.cpu.index(),
            memory_action_index: predicted.memory.index(),
        }),
        confidence: Some(Confidence::of(decision)),
        future_predictions: Some(FuturePredictions::of(decision)),
        q_values: Some(QValues { cpu_q_values: q_values.cpu, memory_q_values: q_values.memory }),
        resource_changes: Some(ResourceChanges::of(decision)),
        explanation: Some(Explanation {
            reasoning: explanation.reasoning,
            factors: explanation.factors,
        }),
    }
}

/// Without the tail that binary fractions leave behind.
fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

/// A namespace whose pods are not known now, and why.
#[derive(Serialize, ToSchema)]
pub struct UnreadableNamespace {
    #[schema(example = "shop")]
    namespace: String,
    #[schema(example = "list pods in namespace shop: forbidden: …")]
    reason: String,
}

impl From<&Unreadable> for UnreadableNamespace {
    fn from(Unreadable { namespace, error }: &Unreadable) -> Self {
        Self { namespace: namespace.clone(), reason: error.to_string() }
    }
}
