//! What is known of one pod at one moment: plain numbers.

use serde::{Deserialize, Serialize};

use super::action::{PerResource, Resource};

/// Usage and limits are cores and MiB, summed over the pod's containers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// When the usage was measured (seconds since the epoch).
    pub at: i64,
    pub usage: PerResource<f64>,
    /// The limit, or the request where there is no limit, or 0 where there is neither.
    pub limit: PerResource<f64>,
    pub containers: usize,
    /// When a container of the pod was last killed for memory, if it ever was.
    /// False when there are no fresh metrics and all that is known is an OOM kill.
    pub measured: bool,
    pub oom_killed_at: Option<i64>,
}

impl Observation {
    /// Usage as a share of the limit; 0 where there is nothing to compare with.
    pub fn utilization(&self, resource: Resource) -> f64 {
        let limit = *self.limit.get(resource);
        if limit > 0.0 { *self.usage.get(resource) / limit } else { 0.0 }
    }
}
