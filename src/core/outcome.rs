//! What came of a pod in a cycle.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::action::Action;
use crate::decision::{Bound, Decision};
use crate::guard::Override;
use crate::pod::PodKey;
use crate::pod_decision::PodDecision;
use crate::resource::PerResource;

/// What the service's own dry run makes of a decision.
pub const DRY_RUN: &str = "Dry run: nothing was changed";

/// Why a pod is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    CooldownPeriod,
    Excluded,
    NoMetrics,
    NoResourceSpec,
    NotRunning,
    /// Another replica acts.
    NotLeading,
    /// As many pods as one cycle may change were changed.
    RateLimited,
    /// By an annotation.
    SwitchedOff,
    /// An annotation cannot be followed.
    InvalidAnnotation,
    /// What would be changed is what a HorizontalPodAutoscaler measures the workload by.
    ManagedByHpa,
    /// A VerticalPodAutoscaler changes the workload.
    ManagedByVpa,
    /// The annotations of the workload could not be read.
    AnnotationsUnknown,
    /// It could not be read whether another autoscaler is at work.
    AutoscalersUnknown,
    /// Requests and limits stand at the pod itself alone.
    PodLevelResources,
    /// The container waits for its start, as between two crashes.
    ContainerDown,
    /// Somebody has changed the pod since it was decided on.
    Changed,
}

impl SkipReason {
    pub fn name(self) -> &'static str {
        match self {
            Self::CooldownPeriod => "cooldown_period",
            Self::Excluded => "excluded",
            Self::NoMetrics => "no_metrics",
            Self::NoResourceSpec => "no_resource_spec",
            Self::NotRunning => "not_running",
            Self::NotLeading => "not_leading",
            Self::RateLimited => "rate_limited",
            Self::SwitchedOff => "switched_off",
            Self::InvalidAnnotation => "invalid_annotation",
            Self::ManagedByHpa => "managed_by_hpa",
            Self::ManagedByVpa => "managed_by_vpa",
            Self::AnnotationsUnknown => "annotations_unknown",
            Self::AutoscalersUnknown => "autoscalers_unknown",
            Self::PodLevelResources => "pod_level_resources",
            Self::ContainerDown => "container_down",
            Self::Changed => "changed",
        }
    }

    pub fn message(self, pod: &str) -> String {
        match self {
            Self::CooldownPeriod => format!("Pod {pod} is in cooldown period"),
            Self::Excluded => format!("Pod {pod} is excluded from scaling"),
            Self::NoMetrics => format!("Pod {pod} has no fresh metrics"),
            Self::NoResourceSpec => format!("Pod {pod} has neither limits nor requests"),
            Self::NotRunning => format!("Pod {pod} is not running"),
            Self::NotLeading => format!("Pod {pod} is left to the replica that leads"),
            Self::RateLimited => {
                format!("Pod {pod} has to wait for the next cycle: this one has changed enough")
            }
            Self::SwitchedOff => format!("Pod {pod} is switched off by an annotation"),
            Self::InvalidAnnotation => {
                format!("Pod {pod} is left alone for an annotation that cannot be followed")
            }
            Self::ManagedByHpa => format!("Pod {pod} is measured by a HorizontalPodAutoscaler:"),
            Self::ManagedByVpa => format!("Pod {pod} is managed by a VerticalPodAutoscaler:"),
            Self::AnnotationsUnknown => {
                format!(
                    "Pod {pod} is not changed, as the annotations of its workload are not known"
                )
            }
            Self::AutoscalersUnknown => {
                format!(
                    "Pod {pod} is not changed, as it is not known whether another autoscaler is \
                        at work"
                )
            }
            Self::PodLevelResources => format!(
                "Pod {pod} has requests and limits of its own and none of its containers has: \
                 they are not resized"
            ),
            Self::ContainerDown => format!("Pod {pod} has no container that runs"),
            Self::Changed => {
                format!("Pod {pod} has been changed since it was decided on: it is decided on anew")
            }
        }
    }
}

/// How a change reached the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    Vertical,
    DeploymentUpdate,
}

impl Method {
    pub fn name(self) -> &'static str {
        match self {
            Self::Vertical => "vertical",
            Self::DeploymentUpdate => "deployment_update",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    Success(Method),
    DryRun,
    NoActionNeeded,
    Skipped(SkipReason),
    Failed,
}

impl Status {
    pub const NAMES: [&str; 5] = ["success", "dry_run", "no_action_needed", "skipped", "failed"];

    pub fn name(&self) -> &'static str {
        match self {
            Self::Success(_) => "success",
            Self::DryRun => "dry_run",
            Self::NoActionNeeded => "no_action_needed",
            Self::Skipped(_) => "skipped",
            Self::Failed => "failed",
        }
    }
}

pub struct Outcome {
    pub pod: PodKey,
    pub status: Status,
    pub message: String,
    /// None where nothing could be decided.
    pub decided: Option<PodDecision>,
}

/// A change that reached the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    pub method: Method,
    /// What the kubelet had last said, if it was not done yet.
    pub pending: Option<String>,
    /// Why it could not be done in place, if it was not.
    pub refusal: Option<String>,
}

impl Applied {
    /// Of two changes that were asked for one by one: what is more than a resize in place counts.
    pub fn with(self, other: Self) -> Self {
        let method = if self.method == Method::Vertical { other.method } else { self.method };
        let (pending, refusal) = (self.pending.or(other.pending), self.refusal.or(other.refusal));
        Self { method, pending, refusal }
    }
}

/// What became of a pod the last time that it was looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct LastOutcome {
    /// Seconds since the epoch.
    pub at: i64,
    pub status: Status,
    /// None where nothing could be decided.
    pub decided: Option<DecisionSummary>,
}

/// What is kept of a decision for every pod.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DecisionSummary {
    /// What the network preferred.
    pub predicted: PerResource<Action>,
    /// What was left of it.
    pub actions: PerResource<Action>,
    /// What the guard had against it.
    pub overridden: PerResource<Option<Override>>,
    pub out_of_bounds: PerResource<Option<Bound>>,
}

impl From<&Decision> for DecisionSummary {
    fn from(decision: &Decision) -> Self {
        Self {
            predicted: decision.predicted,
            actions: decision.actions,
            overridden: PerResource::build(|resource| decision.overridden(resource)),
            out_of_bounds: decision.out_of_bounds,
        }
    }
}
