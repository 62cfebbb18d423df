//! What all monitored pods together ask for, may use and use, against what their templates ask for,
//! and what happened to them meanwhile.

use serde::{Deserialize, Serialize};

use crate::downsampled::Mergeable;
use crate::resource::{PerResource, Resource};

/// Cores and MiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Sums {
    pub request: PerResource<f64>,
    pub limit: PerResource<f64>,
}

impl Sums {
    /// Of one container, by its limit and its request of each resource; a request stands in for a
    /// limit that it does not have.
    pub fn of(size: impl Fn(Resource) -> (Option<f64>, Option<f64>)) -> Self {
        let (cpu, memory) = (size(Resource::Cpu), size(Resource::Memory));
        let sizes = PerResource { cpu, memory };
        Self {
            request: PerResource::build(|resource| sizes[resource].1.unwrap_or_default()),
            limit: PerResource::build(|resource| {
                sizes[resource].0.or(sizes[resource].1).unwrap_or_default()
            }),
        }
    }

    pub fn add(&mut self, other: &Self) {
        for resource in Resource::ALL {
            self.request[resource] += other.request[resource];
            self.limit[resource] += other.limit[resource];
        }
    }
}

/// Of one cycle, or of several that came one after the other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Balance {
    /// Seconds since the epoch.
    pub at: i64,
    /// The seconds since the cycle before.
    pub seconds: f64,
    /// It was not a dry run.
    pub live: bool,
    pub pods: u64,
    /// Those of which something was measured.
    pub measured: u64,
    pub now: Sums,
    pub template: Sums,
    pub used: PerResource<f64>,
    /// Containers that were killed for memory.
    pub kills: u64,
    /// Pods that were evicted from their node.
    pub evictions: u64,
    /// The seconds that containers have spent with their CPU limit used up.
    pub throttled: f64,
}

impl Balance {
    pub fn add_pod(&mut self, now: &Sums, template: Option<&Sums>, used: Option<PerResource<f64>>) {
        self.pods += 1;
        self.now.add(now);
        self.template.add(template.unwrap_or(now));
        if let Some(used) = used {
            self.measured += 1;
            for resource in Resource::ALL {
                self.used[resource] += used[resource];
            }
        }
    }
}

impl Mergeable for Balance {
    fn at(&self) -> i64 {
        self.at
    }

    /// What was counted is added up; what stood at one moment is that of the later one.
    fn merge(&mut self, later: Self) {
        *self = Self {
            seconds: self.seconds + later.seconds,
            kills: self.kills + later.kills,
            evictions: self.evictions + later.evictions,
            throttled: self.throttled + later.throttled,
            at: self.at.max(later.at),
            ..later
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_whose_template_is_not_known_saves_nothing() {
        let sums = |cpu: f64| {
            let amounts = PerResource::new(cpu, cpu * 1000.0);
            Sums { request: amounts, limit: amounts }
        };
        let mut balance = Balance::default();
        balance.add_pod(&sums(1.0), Some(&sums(2.0)), Some(PerResource::new(0.5, 300.0)));
        balance.add_pod(&sums(3.0), None, None);
        assert_eq!((balance.pods, balance.measured), (2, 1));
        assert_eq!((balance.now.limit.cpu, balance.template.request.cpu), (4.0, 5.0));
        assert_eq!(balance.used, PerResource::new(0.5, 300.0));
    }

    #[test]
    fn counts_are_added_up_and_sizes_are_the_newest() {
        let of = |at: i64, pods: u64, kills: u64| Balance {
            at,
            pods,
            kills,
            seconds: 30.0,
            ..Balance::default()
        };
        let mut merged = of(30, 5, 1);
        merged.merge(Balance { live: true, ..of(60, 7, 2) });
        assert_eq!((merged.at, merged.pods, merged.kills, merged.live), (60, 7, 3, true));
        assert_eq!(merged.seconds, 60.0);
    }
}
