//! Annotations that cannot be followed, told to who has set them: a line of the log and an Event,
//! once an hour at most.

use chrono::{DateTime, Utc};
use parking_lot::Mutex;

use super::event::PodEvent;
use super::policy::Policy;
use super::terms::{own_policy, place};
use crate::cluster::inventory::OwnedPod;
use crate::cluster::recent::Recent;

/// Seconds until it is told again.
const PAUSE: i64 = 3600;

/// Namespace and workload, or pod that has none; what is wrong; whether an Event can tell it.
type Told = (String, String, String, bool);

pub struct Faults(Mutex<Recent<Told, ()>>);

impl Default for Faults {
    fn default() -> Self {
        Self(Mutex::new(Recent::new(PAUSE)))
    }
}

impl Faults {
    /// Logs what is new, and gives the Event that tells it where one may be sent.
    pub fn tell(
        &self,
        owned: &OwnedPod,
        policy: &Policy,
        live: bool,
        at: DateTime<Utc>,
    ) -> Option<PodEvent> {
        let fault = own_policy(owned, policy).err()?;
        let key = &owned.pod.key;
        let told = (key.namespace.clone(), place(owned, false), fault.problem.clone(), live);
        if !self.0.lock().is_new(told, at.timestamp()) {
            return None;
        }
        tracing::warn!(pod = %key.name, namespace = %key.namespace, %fault, "pods are left alone for an annotation");
        live.then(|| PodEvent::of_fault(owned, &fault, at))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::cluster::binding::Binding;
    use crate::cluster::pod::{Owner, Pod};

    fn owned(name: &str, max_cpu: &str) -> OwnedPod {
        let annotations = json!({"dqn-scaler.io/max-cpu": max_cpu});
        let object = json!({"metadata": {"namespace": "shop", "name": name, "uid": name, "annotations": annotations}});
        let pod = Pod::from_kube(&serde_json::from_value(object).unwrap()).unwrap();
        let workload = Owner {
            group: "apps".into(),
            kind: "Deployment".into(),
            name: "web".into(),
            uid: "w".into(),
        };
        let binding = Binding { wishes: pod.wishes.clone(), ..Binding::default() };
        OwnedPod { pod: Arc::new(pod), workload: Some(workload.into()), binding }
    }

    #[test]
    fn a_fault_is_told_once_for_a_workload_and_again_when_it_is_another_or_an_hour_later() {
        let (faults, policy) = (Faults::default(), Policy::default());
        let tell = |name, value, live, seconds| {
            faults.tell(
                &owned(name, value),
                &policy,
                live,
                DateTime::from_timestamp(seconds, 0).unwrap(),
            )
        };
        assert_eq!(tell("web-1", "2", true, 0), None, "nothing is wrong");
        assert_eq!(tell("web-1", "lots", false, 0), None, "a dry run sends no Event");
        let event = tell("web-1", "lots", true, 1).unwrap();
        assert!(
            event.warning
                && event.reason == "InvalidAnnotation"
                && event.why.starts_with("on Pod web-1, annotation")
        );
        assert_eq!(
            (tell("web-1", "lots", true, 31), tell("web-2", "lots", true, 31)),
            (None, None)
        );
        assert!(tell("web-2", "many", true, 31).is_some());
        assert!(tell("web-2", "lots", true, 1 + PAUSE).is_some());
    }
}
