//! What comes of it all over time: the balance of each cycle, and the kills and evictions.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::agent::Decided;
use crate::core::balance::{Balance, Sums};
use crate::core::context::OwnedPod;
use crate::core::downsampled::Downsampled;
use crate::core::history::FULL;
use crate::core::pod::{OomKill, PodKey};
use crate::core::resource::{PerResource, Resource};

/// Seconds that the balance reaches back, and moments that are told of them.
const RETENTION: i64 = 7 * 24 * 3600;
const MOMENTS: usize = 288;
/// Kills that are kept by themselves.
const MOST_KILLS: usize = 2000;
/// A longer pause between two cycles is none that was lived through.
const LONGEST_PAUSE: i64 = 600;

/// A container that was killed for memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kill {
    /// Seconds since the epoch.
    pub at: i64,
    pub pod: PodKey,
    pub workload: Option<String>,
    pub container: Arc<str>,
}

/// What an earlier process has kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Past {
    pub balances: Vec<Balance>,
    pub kills: Vec<Kill>,
}

pub struct Outcomes {
    series: Mutex<Downsampled<Balance, MOMENTS>>,
    kills: Mutex<VecDeque<Kill>>,
    seen: Mutex<Seen>,
}

/// What has been seen already, by the pod's uid.
#[derive(Default)]
struct Seen {
    since: Option<i64>,
    kills: HashMap<String, Box<[Option<OomKill>]>>,
    evicted: HashSet<String>,
    last_cycle: Option<i64>,
}

impl Default for Outcomes {
    fn default() -> Self {
        Self {
            series: Mutex::new(Downsampled::new(RETENTION / MOMENTS as i64)),
            kills: Mutex::default(),
            seen: Mutex::default(),
        }
    }
}

impl Outcomes {
    /// Takes in all pods of a cycle before they are decided on: what has happened to them.
    pub fn begin(&self, pods: &[OwnedPod], live: bool, now: i64) -> Balance {
        let mut seen = self.seen.lock();
        let since = *seen.since.get_or_insert(now);
        let seconds = seen.last_cycle.map_or(0, |last| (now - last).clamp(0, LONGEST_PAUSE));
        seen.last_cycle = Some(now);
        let mut balance = Balance { at: now, seconds: seconds as f64, live, ..Balance::default() };
        let (mut kills, mut evicted) = (HashMap::new(), HashSet::new());
        for owned in pods {
            let uid = &owned.pod.key.uid;
            if owned.pod.evicted {
                // One that was gone before this process began is none of its time.
                balance.evictions += u64::from(!seen.evicted.contains(uid) && now > since);
                evicted.insert(uid.clone());
            }
            if owned.pod.states.iter().all(|state| state.oom_kill.is_none()) {
                continue;
            }
            let known = seen.kills.get(uid);
            for (index, (container, state)) in
                owned.pod.containers.iter().zip(&owned.pod.states).enumerate()
            {
                let Some(kill) = state.oom_kill else { continue };
                let known = known.and_then(|of| of.get(index).copied().flatten());
                if known == Some(kill) || now == since {
                    continue;
                }
                balance.kills += 1;
                self.killed(owned, &container.name, kill);
            }
            kills.insert(uid.clone(), owned.pod.states.iter().map(|of| of.oom_kill).collect());
        }
        (seen.kills, seen.evicted) = (kills, evicted);
        balance
    }

    fn killed(&self, owned: &OwnedPod, container: &Arc<str>, kill: OomKill) {
        let key = &owned.pod.key;
        tracing::warn!(
            pod = %key.name, namespace = %key.namespace, %container, restart = kill.restart,
            "killed for memory"
        );
        let mut kills = self.kills.lock();
        if kills.len() >= MOST_KILLS {
            kills.pop_front();
        }
        kills.push_back(Kill {
            at: kill.finished_at,
            pod: key.clone(),
            workload: owned.workload.as_ref().map(|workload| workload.to_string()),
            container: container.clone(),
        });
    }

    pub fn end(&self, balance: Balance) {
        self.series.lock().push(balance);
    }

    /// Oldest first, with the seconds that each stands for.
    pub fn series(&self) -> (i64, Vec<Balance>) {
        let series = self.series.lock();
        (series.step(), series.entries().to_vec())
    }

    pub fn kills(&self, wanted: impl Fn(&Kill) -> bool) -> Vec<Kill> {
        self.kills.lock().iter().filter(|kill| wanted(kill)).cloned().collect()
    }

    pub fn past(&self) -> Past {
        Past { balances: self.series().1, kills: self.kills(|_| true) }
    }

    /// Puts what an earlier process has seen before what is here.
    pub fn restore(&self, past: Past) {
        let mut series = self.series.lock();
        let here = series.entries().to_vec();
        *series = Downsampled::new(RETENTION / MOMENTS as i64);
        past.balances.into_iter().chain(here).for_each(|balance| series.push(balance));
        let mut kills = self.kills.lock();
        past.kills.into_iter().rev().for_each(|kill| kills.push_front(kill));
    }
}

/// Adds a pod to the balance of its cycle.
pub fn add(balance: &mut Balance, decided: &Decided, template: Option<&Sums>) {
    let pod = &decided.owned.pod;
    let now = Sums { request: pod.request(), limit: pod.limit() };
    let containers = decided.decision.as_ref().ok().map(|decision| decision.decided());
    let used = containers.clone().map(|all| {
        let sum =
            |resource| all.clone().map(|(_, decision)| decision.observation.usage[resource]).sum();
        PerResource::build(sum)
    });
    balance.add_pod(&now, template, used);
    let full = containers.into_iter().flatten().filter(|(_, decision)| {
        let seen = &decision.observation;
        let cpu = Resource::Cpu;
        seen.measured[cpu] && !seen.by_request[cpu] && seen.utilization(cpu) >= FULL
    });
    balance.throttled += full.count() as f64 * balance.seconds;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::pod::{ContainerResources, ContainerState, Pod, PodContainer, pod_key};

    fn pod(kill: Option<OomKill>, evicted: bool) -> OwnedPod {
        let key = pod_key("shop", "web", "u");
        let containers = vec![PodContainer::new("app", ContainerResources::default())];
        let states = Box::new([ContainerState { oom_kill: kill, ..ContainerState::default() }]);
        OwnedPod::bare(Pod { states, evicted, ..Pod::new(key, containers) })
    }

    fn kill(restart: i32) -> Option<OomKill> {
        Some(OomKill { restart, finished_at: 100 })
    }

    #[test]
    fn each_kill_and_each_eviction_is_counted_once_and_old_ones_are_not() {
        let outcomes = Outcomes::default();
        let look = |pod: OwnedPod, now: i64| {
            let balance = outcomes.begin(&[pod], true, now);
            (balance.kills, balance.evictions, balance.seconds)
        };
        assert_eq!(look(pod(kill(1), false), 100), (0, 0, 0.0), "before this process");
        assert_eq!(look(pod(kill(1), false), 130), (0, 0, 30.0));
        assert_eq!(look(pod(kill(2), false), 160), (1, 0, 30.0));
        assert_eq!(look(pod(kill(2), true), 190), (0, 1, 30.0));
        assert_eq!(look(pod(kill(2), true), 9000), (0, 0, 600.0));
        assert_eq!(outcomes.kills(|kill| kill.pod.name == "web").len(), 1);
    }

    #[test]
    fn what_an_earlier_process_has_seen_comes_first() {
        let earlier = Outcomes::default();
        earlier.end(Balance { at: 10, kills: 1, ..Balance::default() });
        let outcomes = Outcomes::default();
        outcomes.end(Balance { at: 500, ..Balance::default() });
        outcomes.restore(earlier.past());
        let (_, series) = outcomes.series();
        assert_eq!(
            series.iter().map(|of| (of.at, of.kills)).collect::<Vec<_>>(),
            [(10, 1), (500, 0)]
        );
    }
}
