//! Annotations that cannot be followed, reported to who has set them: a line of the log and an
//! Event, once an hour at most.

use chrono::{DateTime, Utc};
use parking_lot::Mutex;

use crate::cluster::recent::Recent;
use crate::core::context::OwnedPod;
use crate::core::eligibility::own_policy;
use crate::core::event::PodEvent;
use crate::core::policy::Policy;

/// Seconds until it is reported again.
const PAUSE: i64 = 3600;

/// Namespace and workload, or pod that has none; what is wrong; whether an Event can be sent.
type Report = (String, String, String, bool);

pub struct InvalidAnnotations(Mutex<Recent<Report, ()>>);

impl Default for InvalidAnnotations {
    fn default() -> Self {
        Self(Mutex::new(Recent::new(PAUSE)))
    }
}

impl InvalidAnnotations {
    /// Logs what is new, and gives its Event where one may be sent.
    pub fn report(
        &self,
        owned: &OwnedPod,
        policy: &Policy,
        live: bool,
        at: DateTime<Utc>,
    ) -> Option<PodEvent> {
        let invalid = own_policy(owned, policy).err()?;
        let key = &owned.pod.key;
        let workload = owned.annotation_source(false);
        let report = (key.namespace.clone(), workload, invalid.problem.clone(), live);
        if !self.0.lock().is_new(report, at.timestamp()) {
            return None;
        }
        tracing::warn!(
            pod = %key.name, namespace = %key.namespace, error = %invalid,
            "pods are left alone for an annotation"
        );
        live.then(|| PodEvent::of_invalid_annotation(owned, &invalid, at))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::core::overrides::PodOverrides;
    use crate::core::pod::{Owner, Pod, pod_key};

    fn owned(name: &str, max_cpu: &str) -> OwnedPod {
        let annotations =
            BTreeMap::from([("dqn-scaler.io/max-cpu".to_owned(), max_cpu.to_owned())]);
        let key = pod_key("shop", name, name);
        let overrides = PodOverrides::parse(Some(&annotations)).map(Arc::new);
        let workload = Owner {
            group: "apps".into(),
            kind: "Deployment".into(),
            name: "web".into(),
            uid: "w".into(),
        };
        let pod = Pod { overrides, ..Pod::new(key, vec![]) };
        OwnedPod { workload: Some(workload.into()), ..OwnedPod::bare(pod) }
    }

    #[test]
    fn one_is_reported_once_for_a_workload_and_again_when_it_is_another_or_an_hour_later() {
        let (invalid, policy) = (InvalidAnnotations::default(), Policy::default());
        let report = |name, value, live, seconds| {
            invalid.report(
                &owned(name, value),
                &policy,
                live,
                DateTime::from_timestamp(seconds, 0).unwrap(),
            )
        };
        assert_eq!(report("web-1", "2", true, 0), None, "nothing is wrong");
        assert_eq!(report("web-1", "lots", false, 0), None, "a dry run sends no Event");
        let event = report("web-1", "lots", true, 1).unwrap();
        assert!(
            event.warning
                && event.reason == "InvalidAnnotation"
                && event.why.starts_with("on Pod web-1, annotation")
        );
        assert_eq!(
            (report("web-1", "lots", true, 31), report("web-2", "lots", true, 31)),
            (None, None)
        );
        assert!(report("web-2", "many", true, 31).is_some());
        assert!(report("web-2", "lots", true, 1 + PAUSE).is_some());
    }
}
