//! Usage between looks at the same containers.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::core::pod::{Pod, PodKey};
use crate::core::second_look::{Counters, LONGEST_WINDOW, Seen, VARYING, seen};

/// What the last looks at each pod have found.
#[derive(Default)]
pub struct UsageWindows(Mutex<HashMap<PodKey, Looks>>);

#[derive(Default)]
struct Looks {
    /// The last change of the pod then: usage is told by looks under one and the same limit.
    resized_at: Option<i64>,
    containers: Vec<(String, Counted)>,
}

/// The last looks at a container, the oldest first.
#[derive(Default)]
struct Counted {
    looks: Vec<Counters>,
    /// The first of those under the limit that holds now.
    under: usize,
}

impl Counted {
    fn take_in(&mut self, now: Counters) -> Seen {
        // Where the clock goes back, or the container starts anew, all begins anew.
        if self.looks.last().is_some_and(|last| last.at > now.at || last.cpu > now.cpu) {
            *self = Self::default();
        }
        let before = self.looks.get(self.under..).and_then(<[_]>::last).copied();
        self.looks.push(now);
        let seen = seen(&self.looks, self.under);
        // Two looks that are too close tell no rate.
        if before.is_some_and(|before| !now.are_apart(&before)) {
            self.looks.pop();
        }
        let old = self.looks.iter().take_while(|look| now.at - look.at > VARYING).count();
        let old = old.min(self.looks.len().saturating_sub(1));
        self.looks.drain(..old);
        self.under = self.under.saturating_sub(old);
        seen
    }
}

impl UsageWindows {
    /// What has come of a pod since some look before, by container in the order of the pod's; and
    /// when the newest of it was counted, in milliseconds since the epoch.
    pub fn take(
        &self,
        pod: &Pod,
        resized_at: Option<i64>,
        now: Vec<(String, Counters)>,
    ) -> (i64, Vec<Seen>) {
        let at = now.iter().map(|(_, counters)| counters.at).max().unwrap_or_default();
        let mut pods = self.0.lock();
        let before = pods.remove(&pod.key).unwrap_or_default();
        let is_changed = before.resized_at != resized_at;
        let (mut known, mut found) = (before.containers, Vec::with_capacity(now.len()));
        let containers = now.into_iter().map(|(name, counters)| {
            let place = known.iter().position(|(known, _)| *known == name);
            let mut counted = place.map(|place| known.swap_remove(place).1).unwrap_or_default();
            if is_changed {
                counted.under = counted.looks.len();
            }
            found.push((name.clone(), counted.take_in(counters)));
            (name, counted)
        });
        let containers = containers.collect();
        pods.insert(pod.key.clone(), Looks { resized_at, containers });
        let seen_of = |name: &str| found.iter().find(|(found, _)| found == name);
        let seen = pod
            .containers
            .iter()
            .map(|container| seen_of(&container.name).map(|(_, seen)| *seen).unwrap_or_default());
        (at, seen.collect())
    }

    /// Forgets what was counted too long ago, in milliseconds since the epoch.
    pub fn retain_recent(&self, now: i64) {
        let is_recent = |(_, counted): &(String, Counted)| {
            counted.looks.last().is_some_and(|last| now - last.at <= LONGEST_WINDOW)
        };
        self.0.lock().retain(|_, looks| looks.containers.iter().any(is_recent));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::pod::{ContainerResources, PodContainer, pod_key};

    fn pod() -> Pod {
        let key = pod_key("shop", "web", "u");
        let container = |name| PodContainer::new(name, ContainerResources::default());
        Pod::new(key, vec![container("app"), container("proxy")])
    }

    fn app(at: i64, cpu: f64) -> Vec<(String, Counters)> {
        let counters = Counters { at, cpu: Some(cpu), memory: Some(1.0), waiting: None };
        vec![("app".to_owned(), counters)]
    }

    #[test]
    fn a_window_is_of_one_limit_and_long_enough() {
        let (windows, pod) = (UsageWindows::default(), pod());
        let cpu = |resized_at, at, cpu| {
            let (counted, seen) = windows.take(&pod, resized_at, app(at, cpu));
            assert_eq!((counted, seen.len(), seen[1]), (at, 2, Seen::default()));
            seen[0].usage.cpu
        };
        assert_eq!(cpu(None, 10_000, 5.0), None);
        assert_eq!(cpu(None, 12_000, 6.0), Some(0.5));
        assert_eq!(cpu(None, 12_500, 6.25), Some(0.5), "since the first");
        assert_eq!(cpu(None, 14_000, 8.0), Some(0.75), "of the last four seconds");
        assert_eq!(cpu(None, 16_000, 10.0), Some(1.0), "of the last four seconds");
        assert_eq!(cpu(Some(13), 17_000, 8.0), None, "it was resized meanwhile");
        assert_eq!(cpu(Some(13), 17_500, 9.0), None, "too soon");
        assert_eq!(cpu(Some(13), 19_000, 12.0), Some(2.0));
        windows.retain_recent(19_000 + LONGEST_WINDOW + 1);
        assert_eq!(cpu(Some(13), 20_000, 13.0), None, "forgotten");
    }

    #[test]
    fn what_usage_varies_by_is_known_for_half_a_minute_and_over_a_resize() {
        let (windows, pod) = (UsageWindows::default(), pod());
        let look = |resized_at, at: i64, cpu| {
            windows.take(&pod, resized_at, app(at, cpu)).1[0].burst.ordinary.is_some()
        };
        let known = (0..40).map(|number| look(None, 2000 * number, number as f64));
        assert_eq!(known.filter(|known| !known).count(), 8, "until there are five windows");
        assert!(look(Some(79), 80_000, 40.0));
        assert!(!look(Some(79), 82_000, 0.5), "it has started anew");
        let kept = windows.0.lock()[&pod.key].containers[0].1.looks.len();
        assert_eq!(kept, 1);
    }
}
