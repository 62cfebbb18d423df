//! What is known of one container at one moment: plain numbers.

use serde::{Deserialize, Serialize};

use crate::burst::Burst;
use crate::pod::{OomKill, Pod};
use crate::resource::{PerResource, Resource};

/// Clocks of a cluster may disagree by so many seconds; what is dated further ahead is no sample.
pub const CLOCK_TOLERANCE: i64 = 10;
/// More than any machine has: cores, MiB.
const MOST: PerResource<f64> = PerResource { cpu: 1e5, memory: 1e9 };

/// What was measured of a pod.
#[derive(Debug, Clone, PartialEq)]
pub struct Usage {
    /// Seconds since the epoch.
    pub at: i64,
    /// CPU is the mean of so many seconds before.
    pub window: i64,
    /// Cores and MiB of each container, in the order of the pod's; None: not measured.
    pub containers: Box<[PerResource<Option<f64>>]>,
    /// Of each container, where CPU was measured for a few seconds only; else empty.
    pub bursts: Box<[Burst]>,
}

impl Usage {
    /// The sum of what was measured.
    pub fn total(&self) -> PerResource<f64> {
        PerResource::build(|resource| self.containers.iter().filter_map(|of| of[resource]).sum())
    }
}

/// Usage and limit in cores and MiB.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// When the usage was measured (seconds since the epoch).
    pub at: i64,
    /// CPU is the mean of so many seconds before.
    #[serde(default)]
    pub window: i64,
    /// Where CPU was measured for a few seconds only: what they may be compared with.
    #[serde(default)]
    pub burst: Option<Burst>,
    /// 0 where it was not measured.
    pub usage: PerResource<f64>,
    pub measured: PerResource<bool>,
    /// The limit in force, or the request where there is no limit, or 0 where there is neither.
    pub limit: PerResource<f64>,
    /// The request in force; 0 where there is none.
    pub request: PerResource<f64>,
    /// The resources that are decided on by the request, which nothing kills or throttles at.
    #[serde(default)]
    pub by_request: PerResource<bool>,
    /// How many containers the pod has.
    pub containers: usize,
    /// The last time that the container was killed for memory, if it ever was.
    pub oom_kill: Option<OomKill>,
    /// The resources whose change restarts the container.
    pub restarts: PerResource<bool>,
    /// The last start, in seconds since the epoch; None where it is not known.
    #[serde(default)]
    pub started_at: Option<i64>,
    /// It runs and is not ready.
    #[serde(default)]
    pub unready: bool,
    /// The share of the kernel's periods of the last minutes in which it was out of CPU time; 0
    /// where that is not told.
    #[serde(default)]
    pub throttled: f64,
}

impl Observation {
    /// A fresh measurement of the only container of a pod.
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
            window: 0,
            burst: None,
            usage,
            measured: PerResource::new(true, true),
            limit,
            request: PerResource::default(),
            by_request: PerResource::new(false, false),
            containers: 1,
            oom_kill: None,
            restarts: PerResource::new(false, false),
            started_at: None,
            unready: false,
            throttled: 0.0,
        }
    }

    /// The same, to be decided on by the requests, though there may be limits.
    pub fn by_requests(self) -> Self {
        let limit = PerResource::build(|resource| match self.request[resource] {
            0.0 if self.by_request[resource] => self.limit[resource],
            request => request,
        });
        Self { limit, by_request: PerResource::new(true, true), ..self }
    }

    /// Usage as a share of the limit; 0 where there is nothing to compare with.
    pub fn utilization(&self, resource: Resource) -> f64 {
        let limit = self.limit[resource];
        if limit > 0.0 { self.usage[resource] / limit } else { 0.0 }
    }

    /// From when the usage tells.
    pub fn begin(&self, resource: Resource) -> i64 {
        match resource {
            Resource::Cpu => self.at - self.window,
            Resource::Memory => self.at,
        }
    }

    /// Whether the container starts at that moment: for so many seconds after its last start.
    pub fn starts_at(&self, at: i64, startup: i64) -> bool {
        self.started_at.is_some_and(|started| at < started + startup)
    }

    /// Whether the usage tells of the start, be it in part.
    pub fn is_of_start(&self, resource: Resource, startup: i64) -> bool {
        self.starts_at(self.begin(resource), startup)
    }

    pub fn is_measured(&self) -> bool {
        self.measured.cpu || self.measured.memory
    }
}

/// What is known of the containers of a pod, summed.
pub fn together(containers: &[Observation]) -> Observation {
    let none = PerResource::default();
    let blank = Observation { containers: 0, ..Observation::measured(0, none, none) };
    let sum = |of: fn(&Observation, Resource) -> f64| {
        PerResource::build(|resource| containers.iter().map(|one| of(one, resource)).sum())
    };
    Observation {
        usage: sum(|one, resource| one.usage[resource]),
        limit: sum(|one, resource| one.limit[resource]),
        request: sum(|one, resource| one.request[resource]),
        measured: PerResource::build(|resource| {
            containers.iter().any(|one| one.measured[resource])
        }),
        ..containers.first().copied().unwrap_or(blank)
    }
}

/// What is known of one container: what was measured at most `max_age` seconds ago, since its last
/// start, and a kill for memory.
pub fn observe(
    pod: &Pod,
    index: usize,
    usage: Option<&Usage>,
    max_age: i64,
    now: i64,
) -> Observation {
    let state = pod.state(index);
    let created = pod.created.map(|created| created.timestamp());
    let started = state.started_at.max(created).unwrap_or(i64::MIN);
    let is_sample = |at: i64| at > started && now - at <= max_age && at - now <= CLOCK_TOLERANCE;
    let sample = usage.filter(|usage| !state.down && is_sample(usage.at));
    let measured = sample.and_then(|usage| usage.containers.get(index));
    let plausible = |resource: Resource| {
        let amount = measured?[resource]?;
        // A running container always has some memory: nought is a metrics pipeline's word for
        // nothing known.
        let least = if resource == Resource::Memory { f64::MIN_POSITIVE } else { 0.0 };
        (least..=MOST[resource]).contains(&amount).then_some(amount)
    };
    let amounts = PerResource::build(plausible);
    let figures = pod.containers.figures(index);
    Observation {
        at: sample.map_or(now, |usage| usage.at),
        window: sample.map_or(0, |usage| usage.window),
        burst: sample.and_then(|usage| usage.bursts.get(index).copied()),
        usage: PerResource::build(|resource| amounts[resource].unwrap_or_default()),
        measured: PerResource::build(|resource| amounts[resource].is_some()),
        limit: figures.limit,
        request: figures.request,
        by_request: figures.by_request,
        containers: pod.containers.len(),
        oom_kill: state.oom_kill,
        restarts: pod.containers.get(index).map(|of| of.restarts).unwrap_or_default(),
        started_at: (started > i64::MIN).then_some(started.min(now)),
        unready: state.unready,
        throttled: 0.0,
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::pod::{ContainerResources, ContainerState, PodContainer, pod_key};

    const NOW: i64 = 10_000;

    fn pod() -> Pod {
        let key = pod_key("shop", "web-1", "u");
        let resources = ContainerResources::new(&[], &[("cpu", "1"), ("memory", "1Gi")]);
        let container = |name| PodContainer::new(name, resources.clone());
        let pod = Pod::new(key, vec![container("app"), container("proxy")]);
        Pod { created: DateTime::from_timestamp(NOW - 1000, 0), ..pod }
    }

    fn usage(at: i64, cpu: Option<f64>, memory: Option<f64>) -> Usage {
        let app = PerResource::new(cpu, memory);
        Usage {
            at,
            window: 0,
            bursts: Box::default(),
            containers: Box::new([app, PerResource::new(Some(0.1), Some(10.0))]),
        }
    }

    fn measured(pod: &Pod, usage: &Usage) -> Option<(bool, bool)> {
        let observation = observe(pod, 0, Some(usage), 120, NOW);
        let PerResource { cpu, memory } = observation.measured;
        observation.is_measured().then_some((cpu, memory))
    }

    #[test]
    fn what_is_no_measurement_is_not_taken_for_one() {
        let now = |cpu, memory| measured(&pod(), &usage(NOW - 5, cpu, memory));
        assert_eq!(now(Some(0.3), Some(500.0)), Some((true, true)));
        assert_eq!(now(Some(0.0), Some(500.0)), Some((true, true)), "an idle container");
        assert_eq!(now(Some(0.3), Some(0.0)), Some((true, false)));
        assert_eq!(now(Some(0.3), None), Some((true, false)));
        assert_eq!(now(Some(-0.3), Some(-5.0)), None);
        assert_eq!(now(Some(1e9), Some(f64::NAN)), None);
        assert_eq!(now(None, None), None);
    }

    #[test]
    fn a_sample_is_of_this_start_and_of_about_now() {
        let at = |pod: &Pod, at| measured(pod, &usage(at, Some(0.3), Some(500.0))).is_some();
        let running = pod();
        assert!(at(&running, NOW - 120) && !at(&running, NOW - 121));
        assert!(at(&running, NOW + CLOCK_TOLERANCE) && !at(&running, NOW + CLOCK_TOLERANCE + 1));
        let state = |state: ContainerState| Pod { states: Box::new([state; 2]), ..pod() };
        let started = ContainerState { started_at: Some(NOW - 30), ..Default::default() };
        assert!(at(&state(started), NOW - 29) && !at(&state(started), NOW - 30));
        assert!(!at(&state(ContainerState { down: true, ..started }), NOW - 1));
        let young = Pod { created: DateTime::from_timestamp(NOW - 10, 0), ..pod() };
        assert!(!at(&young, NOW - 20), "of an earlier pod of the name");
    }

    #[test]
    fn a_kill_is_known_without_metrics() {
        let kill = OomKill { restart: 1, finished_at: NOW - 5 };
        let state = ContainerState { down: true, oom_kill: Some(kill), ..Default::default() };
        let pod = Pod { states: Box::new([state, ContainerState::default()]), ..pod() };
        let killed = observe(&pod, 0, None, 120, NOW);
        assert_eq!((killed.oom_kill, killed.is_measured()), (Some(kill), false));
        let other = observe(&pod, 1, None, 120, NOW);
        assert_eq!((other.oom_kill, other.is_measured()), (None, false));
    }
}
