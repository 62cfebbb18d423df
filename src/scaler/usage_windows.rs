//! Usage between two looks at the same containers.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::core::pod::{Pod, PodKey};
use crate::core::second_look::{Counters, LONGEST_WINDOW, Seen};

/// What the last look at each pod has found.
#[derive(Default)]
pub struct UsageWindows(Mutex<HashMap<PodKey, Look>>);

struct Look {
    /// The last change of the pod then: a window must not be of two limits.
    resized_at: Option<i64>,
    containers: Vec<(String, Counters)>,
}

impl UsageWindows {
    /// What has come of a pod since the look before, by container in the order of the pod's; and
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
        let earlier = |name: &str| {
            let before = before?.containers.iter().find(|(known, _)| known == name);
            before.map(|(_, counters)| counters)
        };
        let seen = pod.containers.iter().map(|container| {
            let counted = now.iter().find(|(name, _)| **name == *container.name);
            counted.map(|(name, counters)| counters.since(earlier(name))).unwrap_or_default()
        });
        let seen = seen.collect();
        // Two looks that are too close tell no rate: the earlier one goes on counting.
        let kept = now.into_iter().map(|(name, counters)| {
            let earlier = earlier(&name)
                .filter(|earlier| earlier.at <= counters.at && !counters.are_apart(earlier));
            let kept = earlier.copied().unwrap_or(counters);
            (name, kept)
        });
        let look = Look { resized_at, containers: kept.collect() };
        looks.insert(pod.key.clone(), look);
        (at, seen)
    }

    /// Forgets what was counted too long ago, in milliseconds since the epoch.
    pub fn retain_recent(&self, now: i64) {
        let is_recent = |(_, counters): &(String, Counters)| now - counters.at <= LONGEST_WINDOW;
        self.0.lock().retain(|_, look| look.containers.iter().any(is_recent));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::pod::{ContainerResources, PodContainer};

    fn pod() -> Pod {
        let key = PodKey { namespace: "shop".into(), name: "web".into(), uid: "u".into() };
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
        assert_eq!(cpu(None, 12_300, 6.3), None, "too soon");
        assert_eq!(cpu(None, 13_000, 7.0), Some(1.0), "since the one that was long enough ago");
        assert_eq!(cpu(Some(13), 14_000, 8.0), None, "it was resized meanwhile");
        assert_eq!(cpu(Some(13), 15_000, 10.0), Some(2.0));
        windows.retain_recent(15_000 + LONGEST_WINDOW + 1);
        assert_eq!(cpu(Some(13), 16_000, 11.0), None, "forgotten");
    }
}
