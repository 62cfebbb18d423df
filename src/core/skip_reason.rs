//! Why a pod, or one of its containers, is left alone.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Why a pod is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
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
