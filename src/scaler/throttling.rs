//! Which containers the kernel throttles, as far as a Prometheus tells.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::core::pod::PodKey;

/// What is older says nothing, in seconds.
const MAX_AGE: i64 = 300;

/// Shares of the periods by pod, namespace and name, and container.
pub type Shares = HashMap<(String, String), Vec<(String, f64)>>;

/// What was last told, and when: seconds since the epoch.
#[derive(Default)]
pub struct Throttling(ArcSwap<(i64, Shares)>);

impl Throttling {
    pub fn replace(&self, shares: Shares, at: i64) {
        self.0.store(Arc::new((at, shares)));
    }

    /// What is known now.
    pub fn known(&self, now: i64) -> Known {
        let known = self.0.load_full();
        Known((now - known.0 <= MAX_AGE && !known.1.is_empty()).then_some(known))
    }
}

pub struct Known(Option<Arc<(i64, Shares)>>);

impl Known {
    /// The share of the periods in which a container was throttled; 0 where that is not known.
    pub fn share(&self, pod: &PodKey, container: &str) -> f64 {
        let Some(known) = &self.0 else { return 0.0 };
        let of_pod = known.1.get(&(pod.namespace.clone(), pod.name.clone()));
        let of = of_pod.into_iter().flatten().find(|(name, _)| name == container);
        of.map_or(0.0, |(_, share)| share.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::pod::pod_key;

    #[test]
    fn what_was_told_counts_for_minutes_and_for_its_container() {
        let throttling = Throttling::default();
        let pod = pod_key("shop", "web", "u");
        assert_eq!(throttling.known(0).share(&pod, "app"), 0.0);
        let of =
            |share| HashMap::from([(("shop".into(), "web".into()), vec![("app".into(), share)])]);
        throttling.replace(of(0.4), 1000);
        assert_eq!(throttling.known(1300).share(&pod, "app"), 0.4);
        assert_eq!(throttling.known(1300).share(&pod, "proxy"), 0.0);
        assert_eq!(throttling.known(1301).share(&pod, "app"), 0.0);
        throttling.replace(of(7.0), 1000);
        assert_eq!(throttling.known(1000).share(&pod, "app"), 1.0);
    }
}
