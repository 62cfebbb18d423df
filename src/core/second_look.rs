//! Which containers are looked at between two cycles, and what looks at them come to.

use crate::burst::{Burst, WINDOW};
use crate::observation::Usage;
use crate::pod::{Pod, PodKey};
use crate::pod_decision::PodDecision;
use crate::policy::Policy;
use crate::resource::{PerResource, Resource};

/// From this share of its limit on a container may be full, which is 90 %, before the next cycle:
/// memory that grows by a tenth gets there from 82 %.
pub const NEAR: f64 = 0.8;
/// A container that waits for its CPU for this share of the time wants more than it gets, however
/// little that is on average.
const WAITING: f64 = 0.25;
/// Seconds for which a pod is young: until its history has as many samples as a trend takes, with
/// the default interval.
const YOUTH: i64 = 150;
/// Memory that varies by no more than this share is steady.
const STEADY: f64 = 0.01;
/// Two looks must be so many milliseconds apart. The kernel gives CPU time in periods of 100 ms: of
/// nine whole ones a container that is held back in all of them has used 90 % of its limit.
pub const SHORTEST_WINDOW: i64 = 900;
/// What CPU varies by is told by the looks of so many milliseconds, and by so many windows of
/// them at least.
pub const VARYING: i64 = 30_000;
const FEWEST_WINDOWS: usize = 5;
/// Usage that is so many deviations above its mean has jumped. There are hundreds of looks an hour:
/// three deviations would come by chance.
const JUMP: f64 = 4.0;
/// CPU that was full for so many milliseconds is short, whatever it varies by.
pub const LASTING: i64 = 12_000;
/// What was counted longer ago, in milliseconds, tells of no burst.
pub const LONGEST_WINDOW: i64 = 60_000;

/// The pods that are to be looked at before the next cycle, the fullest first, at most `most`; each
/// with how full it may be then.
pub fn listed<'a>(
    pods: impl Iterator<Item = (&'a PodKey, &'a PodDecision)>,
    policy: &Policy,
    most: usize,
) -> Vec<(f64, PodKey)> {
    let mut listed: Vec<(f64, &PodKey)> = Vec::new();
    for (pod, decision) in pods {
        let decided = decision.decided();
        let share = |resource: Resource| {
            let of = decided.clone().map(move |(_, decision)| {
                let now = decision.observation.utilization(resource);
                now + rise(decision.trend[resource], policy)
            });
            of.fold(0.0, f64::max)
        };
        let share = share(Resource::Cpu).max(share(Resource::Memory));
        if share >= NEAR {
            listed.push((share, pod));
        }
    }
    listed.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    listed.into_iter().take(most).map(|(share, pod)| (share, pod.clone())).collect()
}

/// By how much of the limit usage rises until the next cycle, where it goes on as over the last
/// samples; the trend is of all of them.
fn rise(trend: f64, policy: &Policy) -> f64 {
    (trend / (policy.history_window.max(2) - 1) as f64).max(0.0)
}

/// A container of it has started a short time ago.
pub fn is_young(pod: &Pod, now: i64) -> bool {
    let started = pod.states.iter().filter_map(|state| state.started_at).max();
    started.is_some_and(|started| now - started < YOUTH)
}

/// What one look found of a container.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Counters {
    /// When, in milliseconds since the epoch, by the clock of the node.
    pub at: i64,
    /// Core-seconds used since the start.
    pub cpu: Option<f64>,
    /// MiB.
    pub memory: Option<f64>,
    /// Seconds since the start in which something of it waited for CPU (PSI, "some").
    pub waiting: Option<f64>,
}

/// What two looks at a container come to.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Seen {
    /// Cores and MiB.
    pub usage: PerResource<Option<f64>>,
    /// The share of the time in which something of it waited for CPU.
    pub waiting: Option<f64>,
    pub burst: Burst,
}

/// What has come of the looks at a container, the oldest first; those from `under` on were made
/// under the limit that holds now.
pub fn seen(looks: &[Counters], under: usize) -> Seen {
    let Some((now, before)) = looks.split_last() else { return Seen::default() };
    let of_limit = before.get(under.min(before.len())..).unwrap_or_default();
    let earlier = begin(of_limit, now.at, WINDOW).or(of_limit.first());
    let lasting = begin(of_limit, now.at, LASTING);
    let burst = Burst {
        length: earlier.map_or(0, |earlier| now.at - earlier.at),
        ordinary: ordinary(before, now.at),
        lasting: lasting.and_then(|earlier| now.since(Some(earlier)).usage.cpu),
    };
    Seen { burst, ..now.since(earlier) }
}

/// The last look that is at least so many milliseconds before.
fn begin(looks: &[Counters], at: i64, length: i64) -> Option<&Counters> {
    looks.iter().rfind(|look| at - look.at >= length)
}

/// What the windows that were over before the last one began vary within.
fn ordinary(before: &[Counters], now: i64) -> Option<f64> {
    let ended = before.iter().filter(|look| now - look.at >= WINDOW);
    let usage = ended.filter_map(|look| {
        let first = begin(before, look.at, WINDOW).filter(|first| now - first.at <= VARYING)?;
        look.since(Some(first)).usage.cpu
    });
    let usage: Vec<f64> = usage.collect();
    let count = usage.len() as f64;
    let mean = usage.iter().sum::<f64>() / count;
    let variance = usage.iter().map(|of| (of - mean).powi(2)).sum::<f64>() / count;
    (usage.len() >= FEWEST_WINDOWS).then(|| mean + JUMP * variance.sqrt())
}

impl Counters {
    /// Whether enough time has passed since the earlier look to tell a rate.
    pub fn are_apart(&self, earlier: &Self) -> bool {
        self.at - earlier.at >= SHORTEST_WINDOW
    }

    /// Memory is told by one look, rates by two: the counters must not have fallen, as they do when
    /// a container starts anew.
    pub fn since(&self, earlier: Option<&Self>) -> Seen {
        let apart = earlier
            .filter(|earlier| (SHORTEST_WINDOW..=LONGEST_WINDOW).contains(&(self.at - earlier.at)));
        let rate = |of: fn(&Self) -> Option<f64>| {
            let earlier = apart?;
            let used = of(self)? - of(earlier)?;
            (used >= 0.0).then(|| used * 1000.0 / (self.at - earlier.at) as f64)
        };
        let cpu = rate(|counters| counters.cpu);
        // A container that starts anew begins all of them anew.
        let waiting = cpu.and(rate(|counters| counters.waiting)).map(|share| share.min(1.0));
        Seen { usage: PerResource::new(cpu, self.memory), waiting, burst: Burst::default() }
    }
}

/// The fullest of the containers that were seen, as a share of its limit, if one is near it or
/// waits for CPU that its limit withholds.
pub fn nearest(pod: &Pod, seen: &[Seen]) -> Option<f64> {
    let share = |(index, seen): (usize, &Seen)| {
        let limit = pod.containers.limit_of(index);
        let shares = Resource::ALL.map(|resource| {
            let used = seen.usage[resource].unwrap_or_default();
            if limit[resource] > 0.0 { used / limit[resource] } else { 0.0 }
        });
        let fullest = shares[0].max(shares[1]);
        let waits = limit.cpu > 0.0 && seen.waiting.is_some_and(|share| share >= WAITING);
        (fullest >= NEAR || waits).then_some(fullest)
    };
    seen.iter().enumerate().filter_map(share).reduce(f64::max)
}

/// Whether the memory of a container is near its limit and more than it was before.
pub fn fills(pod: &Pod, before: &Usage, now: &Usage) -> bool {
    let mut memory = before.containers.iter().zip(&now.containers).enumerate();
    memory.any(|(index, (before, now))| {
        let limit = pod.containers.limit_of(index).memory;
        let (before, now) = (before.memory.unwrap_or(f64::MAX), now.memory.unwrap_or_default());
        limit > 0.0 && now >= NEAR * limit && now > before * (1.0 + STEADY)
    })
}

/// As a measurement of the pod. The second in which a window has ended is the one that it counts
/// for, so that one that began after a change is newer than the change.
pub fn usage(at: i64, seen: &[Seen]) -> Usage {
    Usage {
        at: at.div_euclid(1000) + i64::from(at.rem_euclid(1000) > 0),
        // It is of one limit, whatever it is.
        window: 0,
        containers: seen.iter().map(|seen| seen.usage).collect(),
        bursts: seen.iter().map(|seen| seen.burst).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::Decision;
    use crate::observation::Observation;
    use crate::pod::{ContainerResources, ContainerState, PodContainer, pod_key};

    fn key(name: &str) -> PodKey {
        pod_key("shop", name, name)
    }

    fn pod() -> Pod {
        let limits = [("cpu", "1"), ("memory", "1Gi")];
        let container = |name| PodContainer::new(name, ContainerResources::new(&[], &limits));
        Pod::new(key("web"), vec![container("app"), container("proxy")])
    }

    fn decided(name: &str, cpu: f64, memory: f64, trend: f64) -> (PodKey, PodDecision) {
        let usage = PerResource::new(cpu, memory * 1024.0);
        let observation = Observation::measured(1000, usage, PerResource::new(1.0, 1024.0));
        let trend = PerResource::new(trend, 0.0);
        let decision = Decision { trend, ..Decision::maintain(observation) };
        (key(name), PodDecision::single("app", decision))
    }

    #[test]
    fn what_is_near_its_limit_or_will_be_is_listed_the_fullest_first() {
        let decisions = [
            decided("idle", 0.3, 0.3, 0.0),
            decided("near", 0.8, 0.1, 0.0),
            decided("full-of-memory", 0.1, 0.95, 0.0),
            decided("growing", 0.7, 0.1, 0.44),
            decided("growing-slowly", 0.7, 0.1, 0.36),
            decided("falling", 0.79, 0.1, -0.5),
        ];
        let names = |most| {
            let pods = decisions.iter().map(|(pod, decision)| (pod, decision));
            let listed = listed(pods, &Policy::default(), most);
            listed.into_iter().map(|(_, pod)| pod.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(names(9), ["full-of-memory", "growing", "near"]);
        assert_eq!(names(1), ["full-of-memory"]);
    }

    #[test]
    fn a_pod_is_young_until_a_trend_can_be_told() {
        let started = |at| ContainerState { started_at: Some(at), ..ContainerState::default() };
        let young = Pod { states: Box::new([started(0), started(1000)]), ..pod() };
        assert!(is_young(&young, 1149) && !is_young(&young, 1150));
        assert!(!is_young(&pod(), 1000), "nothing is known of its start");
    }

    fn counters(at: i64, cpu: f64, waiting: f64) -> Counters {
        Counters { at, cpu: Some(cpu), memory: Some(300.0), waiting: Some(waiting) }
    }

    #[test]
    fn usage_is_the_difference_of_two_looks() {
        let first = counters(10_000, 100.0, 5.0);
        let alone = first.since(None);
        assert_eq!((alone.usage, alone.waiting), (PerResource::new(None, Some(300.0)), None));
        let seen = counters(12_000, 101.5, 6.0).since(Some(&first));
        assert_eq!(seen.usage, PerResource::new(Some(0.75), Some(300.0)));
        assert_eq!(seen.waiting, Some(0.5));
        let none = |later: Counters| later.since(Some(&first));
        for (why, later) in [
            ("it has started anew", counters(12_000, 0.5, 9.0)),
            ("the same look", first),
            ("too soon", counters(10_000 + SHORTEST_WINDOW - 1, 101.0, 6.0)),
            ("too late", counters(10_001 + LONGEST_WINDOW, 101.0, 6.0)),
            ("the clock went back", counters(8_000, 101.0, 6.0)),
        ] {
            assert_eq!((none(later).usage.cpu, none(later).waiting), (None, None), "{why}");
        }
        let psi_off = Counters { waiting: None, ..counters(12_000, 101.5, 0.0) };
        assert_eq!(none(psi_off).usage.cpu, Some(0.75));
    }

    /// Looks every two seconds, at CPU that was so much in between.
    fn looks(usage: &[f64]) -> Vec<Counters> {
        let mut used = 0.0;
        let look = |(index, usage): (usize, &f64)| {
            used += 2.0 * usage;
            counters(2000 * index as i64, used, 0.0)
        };
        usage.iter().enumerate().map(look).collect()
    }

    #[test]
    fn the_last_seconds_are_compared_with_what_was_before_and_with_a_longer_time() {
        let close = |told: Option<f64>, wanted: f64| (told.unwrap() - wanted).abs() < 1e-9;
        let steady = looks(&[[0.8; 16].as_slice(), &[1.0, 1.0]].concat());
        let told = seen(&steady, 0);
        assert!(close(told.usage.cpu, 1.0) && told.burst.length == WINDOW);
        assert!(close(told.burst.ordinary, 0.8), "before the last window");
        assert!(close(told.burst.lasting, (4.0 * 0.8 + 2.0 * 1.0) / 6.0));
        let varying = looks(&[[0.6, 0.6, 1.0, 1.0].repeat(4).as_slice(), &[1.0, 1.0]].concat());
        assert!(seen(&varying, 0).burst.ordinary > Some(1.2));
        let few = seen(&steady[steady.len() - 7..], 0);
        assert_eq!(few.burst.ordinary, None, "too little is known");
    }

    #[test]
    fn usage_is_told_under_one_limit_and_what_it_varies_by_is_not() {
        let looks = looks(&[0.8; 16]);
        for (under, length) in [(0, WINDOW), (13, WINDOW), (14, 2000), (15, 0), (16, 0)] {
            let told = seen(&looks, under);
            assert_eq!((told.burst.length, told.usage.cpu.is_some()), (length, length > 0));
            assert_eq!(told.burst.lasting.is_some(), under == 0);
            assert!(told.burst.ordinary.is_some() && told.usage.memory.is_some());
        }
        assert_eq!(seen(&[], 0), Seen::default());
    }

    #[test]
    fn one_container_that_is_near_its_limit_or_waits_is_enough() {
        let seen = |cpu: Option<f64>, memory: f64, waiting: Option<f64>| Seen {
            usage: PerResource::new(cpu, Some(memory)),
            waiting,
            ..Seen::default()
        };
        let idle = seen(Some(0.1), 100.0, Some(0.0));
        assert_eq!(nearest(&pod(), &[idle, idle]), None);
        assert_eq!(nearest(&pod(), &[idle, seen(Some(0.85), 10.0, None)]), Some(0.85));
        let full = seen(None, 1000.0, None);
        assert!(nearest(&pod(), &[full, idle]) > Some(0.97));
        let held_back = seen(Some(0.4), 10.0, Some(0.3));
        assert_eq!(nearest(&pod(), &[idle, held_back]), Some(0.4));
        let unlimited =
            Pod::new(key("free"), vec![PodContainer::new("app", ContainerResources::default())]);
        assert_eq!(nearest(&unlimited, &[seen(Some(9.0), 1e5, Some(1.0))]), None);
    }

    #[test]
    fn memory_fills_that_is_near_its_limit_and_grows() {
        let told = |app: Option<f64>, proxy: f64| {
            let seen = |memory| Seen { usage: PerResource::new(None, memory), ..Seen::default() };
            usage(0, &[seen(app), seen(Some(proxy))])
        };
        let fills = |before, now| fills(&pod(), &told(before, 10.0), &told(now, 10.0));
        assert!(fills(Some(800.0), Some(880.0)));
        assert!(!fills(Some(875.0), Some(880.0)), "steady");
        assert!(!fills(Some(700.0), Some(800.0)), "far from its limit");
        assert!(!fills(None, Some(880.0)) && !fills(Some(880.0), None));
    }

    #[test]
    fn a_measurement_counts_for_the_second_in_which_it_has_ended() {
        let at = |at| usage(at, &[Seen::default()]).at;
        assert_eq!((at(12_000), at(12_001), at(12_999)), (12, 13, 13));
    }
}
