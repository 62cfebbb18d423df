//! What came of a pod in a cycle.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::decision::Decision;
use crate::cluster::pod::PodKey;

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
            Self::RateLimited => format!("Pod {pod} has to wait for the next cycle: this one has changed enough"),
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
