//! The settings that the core decides by.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::namespace_limits::NamespaceLimits;
use crate::resource::{PerResource, Resource};

/// What the configuration says of which pods are scaled, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub policy: Policy,
    pub exclusions: Exclusions,
    /// Decide and explain, change nothing.
    pub dry_run: bool,
    /// Seconds after which a measurement is too old to act on.
    pub metrics_max_age: i64,
    /// Seconds after which a resize that the kubelet defers is given up for the template.
    pub deferred_timeout: i64,
}

/// Pods that are never touched.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Exclusions {
    /// By the name of their Deployment.
    pub deployments: Vec<String>,
    /// By a label and its value.
    pub labels: BTreeMap<String, String>,
}

/// Which of a container's figures are changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Controls {
    #[default]
    Both,
    /// Requests follow the typical use; limits stay.
    Requests,
    /// Requests stay.
    Limits,
}

impl Controls {
    pub const ALL: [Self; 3] = [Self::Both, Self::Requests, Self::Limits];

    pub fn name(self) -> &'static str {
        match self {
            Self::Both => "both",
            Self::Requests => "requests",
            Self::Limits => "limits",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|controls| controls.name() == name)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// The share of the limit that one step adds or takes.
    pub scale_factor: f64,
    /// Smallest and largest limit of a container: cores, MiB.
    pub min: PerResource<f64>,
    pub max: PerResource<f64>,
    /// Samples of usage that a trend is computed over.
    pub history_window: usize,
    /// Seconds between two such samples: what is measured in between makes peaks and no trend.
    pub sample_interval: i64,
    /// Seconds between two applied changes of a container.
    pub cooldown: i64,
    /// An urgent INCREASE does not wait for the cooldown.
    pub emergency_scale_up: bool,
    /// Seconds after its start in which a container starts: what it uses of CPU then is no peak.
    pub startup: i64,
    pub guard: GuardSettings,
    /// Limits grow and are never cut.
    pub up_only: bool,
    pub controls: Controls,
    /// Resources whose change restarts the container are changed all the same.
    pub restarts_allowed: bool,
    /// The API server lowers memory limits in place, as it does since 1.34.
    pub memory_cuts: bool,
    /// Whether kubelets carry out what is asked for a container that does not run.
    pub resizes_down: bool,
    /// Its pods are runs of a job, each of which does all of the work from its beginning.
    pub is_job: bool,
    /// Resources that a HorizontalPodAutoscaler measures the workload by: a limit that moves would
    /// lead it astray.
    pub managed_by_hpa: PerResource<bool>,
    /// What LimitRanges and ResourceQuotas admit.
    pub limits: NamespaceLimits,
}

/// How far below the recent peak a limit may be cut: not at all, and not near it.
#[derive(Debug, Clone, PartialEq)]
pub struct GuardSettings {
    /// Seconds of usage whose peak counts.
    pub window: PerResource<i64>,
    /// The share of its weight that a peak has lost by the end of the window: the older, the less
    /// it counts.
    pub fade: PerResource<f64>,
    /// A cut must leave the limit at least this share above the peak.
    pub headroom: PerResource<f64>,
    /// How many times rarer than by default usage is to get beyond the room that the network gives.
    pub caution: f64,
    /// Extra head room, as a share of the peak, for a pod that has just been met; it shrinks as its
    /// past becomes known.
    pub warm_up: f64,
}

/// Seconds until a container's past counts as known.
const WARM_UP: f64 = 4.0 * 3600.0;

impl GuardSettings {
    /// How well the past of a container is known that has been measured for so many seconds: 0 to
    /// 1.
    pub fn known_share(known_for: i64) -> f64 {
        (known_for as f64 / WARM_UP).min(1.0)
    }

    /// A peak of a container that has been measured for so many seconds, with head room.
    pub fn with_headroom(&self, resource: Resource, peak: f64, known_for: i64) -> f64 {
        let unknown = self.warm_up * (1.0 - Self::known_share(known_for));
        peak * (1.0 + self.headroom[resource]) * (1.0 + unknown)
    }
}

impl Default for Settings {
    /// The documented defaults, without exclusions.
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            exclusions: Exclusions::default(),
            dry_run: true,
            metrics_max_age: 120,
            deferred_timeout: 300,
        }
    }
}

impl Default for GuardSettings {
    fn default() -> Self {
        Self {
            window: PerResource::new(8 * 3600, 72 * 3600),
            fade: PerResource::new(0.7, 0.85),
            headroom: PerResource::new(0.1, 0.05),
            caution: 1.0,
            warm_up: 0.1,
        }
    }
}

impl Default for Policy {
    /// The documented defaults.
    fn default() -> Self {
        Self {
            scale_factor: 0.2,
            min: PerResource::new(0.1, 20.0),
            max: PerResource::new(8.0, 16384.0),
            history_window: 5,
            sample_interval: 30,
            cooldown: 30 * 60,
            emergency_scale_up: true,
            startup: 120,
            guard: GuardSettings::default(),
            up_only: false,
            controls: Controls::default(),
            restarts_allowed: false,
            memory_cuts: true,
            resizes_down: true,
            is_job: false,
            managed_by_hpa: PerResource::new(false, false),
            limits: NamespaceLimits::default(),
        }
    }
}
