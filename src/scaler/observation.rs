//! What is known of one pod at one moment: plain numbers.

use serde::{Deserialize, Serialize};

use super::action::{PerResource, Resource};
use super::outcome::SkipReason;
use crate::cluster::metrics::Usage;
use crate::cluster::pod::Pod;
use crate::config::Config;

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
    #[serde(default)]
    pub fullest: PerResource<f64>,
}

impl Observation {
    /// Usage as a share of the limit; 0 where there is nothing to compare with.
    pub fn utilization(&self, resource: Resource) -> f64 {
        let limit = *self.limit.get(resource);
        if limit > 0.0 { *self.usage.get(resource) / limit } else { 0.0 }
    }

    /// The limit of the pod under which its fullest container would be just full, as all containers
    /// share a cut.
    pub fn needed(&self, resource: Resource) -> f64 {
        self.usage.get(resource).max(self.fullest.get(resource) * self.limit.get(resource))
    }
}

/// What can be decided on: what was measured not long ago, or a kill for memory.
pub fn observe(
    pod: &Pod,
    usage: Option<Usage>,
    config: &Config,
    now: i64,
) -> Result<Observation, SkipReason> {
    let is_fresh = |at: i64| now - at <= config.metrics_max_age as i64;
    let (limit, oom_killed_at) = (pod.limit(), pod.oom_killed_at());
    let (at, usage, fullest, measured) =
        match (usage.filter(|usage| is_fresh(usage.at)), oom_killed_at) {
            (Some(usage), _) => (usage.at, usage.usage, usage.fullest, true),
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
        fullest,
    })
}
