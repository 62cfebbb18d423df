//! What is known of one pod at one moment: plain numbers.

use serde::{Deserialize, Serialize};

use crate::outcome::SkipReason;
use crate::pod::Pod;
use crate::resource::{PerResource, Resource};

/// What was measured of a pod.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// Seconds since the epoch.
    pub at: i64,
    /// Cores and MiB, summed over the containers.
    pub usage: PerResource<f64>,
    /// The largest share of its own limit that a container uses.
    pub container_utilization: PerResource<f64>,
}

/// Usage and limits are cores and MiB, summed over the pod's containers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// When the usage was measured (seconds since the epoch).
    pub at: i64,
    pub usage: PerResource<f64>,
    /// The limit, or the request where there is no limit, or 0 where there is neither.
    pub limit: PerResource<f64>,
    pub containers: usize,
    /// False when there are no fresh metrics and all that is known is an OOM kill.
    pub measured: bool,
    /// When a container of the pod was last killed for memory, if it ever was.
    pub oom_killed_at: Option<i64>,
    /// The largest share of its own limit that a container uses; 0 where it is not known.
    #[serde(default, rename = "fullest")]
    pub container_utilization: PerResource<f64>,
}

impl Observation {
    /// A fresh measurement of a pod of one container.
    ///
    /// ```
    /// use dqn_scaler_core::observation::Observation;
    /// use dqn_scaler_core::resource::{PerResource, Resource};
    ///
    /// let (usage, limit) = (PerResource::new(0.4, 256.0), PerResource::new(0.5, 1024.0));
    /// let seen = Observation::measured(1_764_000_000, usage, limit);
    /// assert_eq!(seen.utilization(Resource::Cpu), 0.8);
    /// ```
    pub fn measured(at: i64, usage: PerResource<f64>, limit: PerResource<f64>) -> Self {
        Self {
            at,
            usage,
            limit,
            containers: 1,
            measured: true,
            oom_killed_at: None,
            container_utilization: PerResource::default(),
        }
    }

    /// Usage as a share of the limit; 0 where there is nothing to compare with.
    pub fn utilization(&self, resource: Resource) -> f64 {
        let limit = self.limit[resource];
        if limit > 0.0 { self.usage[resource] / limit } else { 0.0 }
    }

    /// The limit of the pod under which its container_utilization container would be just full, as
    /// all containers share a cut.
    pub fn needed(&self, resource: Resource) -> f64 {
        self.usage[resource].max(self.container_utilization[resource] * self.limit[resource])
    }
}

/// What can be decided on: what was measured at most `max_age` seconds ago, or a kill for memory.
pub fn observe(
    pod: &Pod,
    usage: Option<Usage>,
    max_age: i64,
    now: i64,
) -> Result<Observation, SkipReason> {
    let is_fresh = |at: i64| now - at <= max_age;
    let (limit, oom_killed_at) = (pod.limit(), pod.oom_killed_at());
    let (at, usage, container_utilization, measured) =
        match (usage.filter(|usage| is_fresh(usage.at)), oom_killed_at) {
            (Some(usage), _) => (usage.at, usage.usage, usage.container_utilization, true),
            // Killed before it could be measured, perhaps again and again: it used all the memory
            // it had.
            (None, Some(killed)) if is_fresh(killed) => {
                (killed, PerResource::new(0.0, limit.memory), PerResource::default(), false)
            }
            _ => return Err(SkipReason::NoMetrics),
        };
    Ok(Observation {
        at,
        usage,
        limit,
        containers: pod.containers.len(),
        measured,
        oom_killed_at,
        container_utilization,
    })
}
