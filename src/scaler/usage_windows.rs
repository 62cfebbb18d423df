//! Usage between looks at the same containers.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::core::pod::{Pod, PodKey};
use crate::core::second_look::{Counters, LONGEST_WINDOW, Seen, WINDOW};

/// What the last looks at each pod have found.
#[derive(Default)]
pub struct UsageWindows(Mutex<HashMap<PodKey, Look>>);

struct Look {
    /// The last change of the pod then: a window must not be of two limits.
    resized_at: Option<i64>,
    /// The oldest first: one that a window begins with, and those after it.
    containers: Vec<(String, Vec<Counters>)>,
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
        let mut looks = self.0.lock();
        let before = looks.get(&pod.key).filter(|look| look.resized_at == resized_at);
        let earlier = |name: &str, at: i64| {
            let before = before?.containers.iter().find(|(known, _)| known == name);
            let counted = before.map(|(_, counted)| counted.as_slice())?;
            let whole = counted.iter().rposition(|earlier| at - earlier.at >= WINDOW);
            Some(&counted[whole.unwrap_or_default()..])
        };
        let seen = pod.containers.iter().map(|container| {
            let counted = now.iter().find(|(name, _)| **name == *container.name);
            let since = |(name, counters): &(String, Counters)| {
                counters.since(earlier(name, counters.at).and_then(<[_]>::first))
            };
            counted.map(since).unwrap_or_default()
        });
        let seen = seen.collect();
        let kept = now.into_iter().map(|(name, counters)| {
            let earlier = earlier(&name, counters.at).unwrap_or_default();
            // Where the clock goes back, or the container starts anew, the window does. Two looks
            // that are too close tell no rate.
            let earlier = match earlier.last() {
                Some(last) if last.at > counters.at || last.cpu > counters.cpu => &[],
                _ => earlier,
            };
            let is_next = earlier.last().is_none_or(|last| counters.are_apart(last));
            let kept = earlier.iter().copied().chain(is_next.then_some(counters)).collect();
            (name, kept)
        });
        let look = Look { resized_at, containers: kept.collect() };
        looks.insert(pod.key.clone(), look);
        (at, seen)
    }

    /// Forgets what was counted too long ago, in milliseconds since the epoch.
    pub fn retain_recent(&self, now: i64) {
        let is_recent = |(_, counted): &(String, Vec<Counters>)| {
            counted.last().is_some_and(|last| now - last.at <= LONGEST_WINDOW)
        };
        self.0.lock().retain(|_, look| look.containers.iter().any(is_recent));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::pod::pod_key;
    use crate::core::pod::{ContainerResources, PodContainer};

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
}
