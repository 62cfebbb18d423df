//! What came of a pod in a cycle.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::decision::Decision;
use crate::cluster::pod::PodKey;

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
    WishesUnknown,
    /// It could not be read whether another autoscaler is at work.
    ConflictsUnknown,
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
            Self::WishesUnknown => "wishes_unknown",
            Self::ConflictsUnknown => "conflicts_unknown",
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
            Self::WishesUnknown => {
                format!(
                    "Pod {pod} is not changed, as the annotations of its workload are not known"
                )
            }
            Self::ConflictsUnknown => {
                format!(
                    "Pod {pod} is not changed, as it is not known whether another autoscaler is at work"
                )
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
    pub decided: Option<Decision>,
}
