//! What Kubernetes Events say of a resize, or of annotations that cannot be followed, in the words
//! that `kubectl describe` shows.

use chrono::{DateTime, Utc};

use crate::action::Action;
use crate::context::OwnedPod;
use crate::eligibility::InvalidAnnotation;
use crate::guard::Override;
use crate::outcome::{Applied, Method};
use crate::plan::{Change, Plan};
use crate::pod::{Owner, Pod, PodContainer, PodKey, TemplateKind};
use crate::pod_decision::PodDecision;
use crate::quantity;
use crate::resource::Resource;

/// Why a person's resize is done.
pub const ASKED_FOR: &str = "a client of the API asked for it";

/// What the API server takes is 1 KiB, and the workload's event names the pod too.
const LONGEST: usize = 700;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodEvent {
    pub pod: PodKey,
    /// The workload behind the pod.
    pub workload: Option<(Owner, TemplateKind)>,
    pub at: DateTime<Utc>,
    /// Worth a look, or just so.
    pub warning: bool,
    pub reason: &'static str,
    /// What was to change. When it happens again it is the same event.
    pub what: String,
    /// What else there is to say, which may differ each time.
    pub why: String,
    /// The pod itself has nothing to do with it.
    pub of_workload: bool,
}

impl PodEvent {
    /// That something was done, where no more can be said of it.
    pub fn without_words(owned: &OwnedPod, done: bool, at: DateTime<Utc>) -> Self {
        Self {
            pod: owned.pod.key.clone(),
            workload: None,
            at,
            warning: !done,
            reason: if done { "Resized" } else { "ResizeFailed" },
            what: "resources".into(),
            why: "no more can be said of it".into(),
            of_workload: false,
        }
    }

    /// `cause` is why the resize was tried.
    pub fn of(
        owned: &OwnedPod,
        plan: &Plan,
        applied: Result<&Applied, String>,
        cause: &str,
        at: DateTime<Utc>,
    ) -> Self {
        let workload = owned.with_template().map(|(workload, kind)| (workload.clone(), kind));
        let (warning, reason, why) = match applied {
            Ok(Applied { method: Method::Vertical, pending: None, .. }) => {
                (false, "Resized", cause.to_owned())
            }
            Ok(Applied { method: Method::Vertical, pending: Some(pending), .. }) => {
                (false, "ResizePending", format!("{pending}; {cause}"))
            }
            Ok(Applied { method: Method::DeploymentUpdate, refusal, .. }) => {
                let name =
                    workload.as_ref().map(|(workload, _)| workload.to_string()).unwrap_or_default();
                let refusal = refusal.as_deref().unwrap_or_default();
                let why = format!(
                    "written into the template of {name}, which replaces its pods: {refusal}; \
                        {cause}"
                );
                (true, "ResizeFellBack", why)
            }
            Err(error) => (true, "ResizeFailed", format!("{error}; {cause}")),
        };
        let why = why.chars().take(LONGEST).collect();
        let what = what(&owned.pod, plan).chars().take(LONGEST / 2).collect();
        Self {
            pod: owned.pod.key.clone(),
            workload,
            at,
            warning,
            reason,
            what,
            why,
            of_workload: false,
        }
    }

    /// That an annotation cannot be followed: sent to the workload, and to the pod where that has
    /// annotations of its own.
    pub fn of_invalid_annotation(
        owned: &OwnedPod,
        invalid: &InvalidAnnotation,
        at: DateTime<Utc>,
    ) -> Self {
        Self {
            pod: owned.pod.key.clone(),
            workload: owned.with_template().map(|(workload, kind)| (workload.clone(), kind)),
            at,
            warning: true,
            reason: "InvalidAnnotation",
            what: "not scaled".into(),
            why: invalid.to_string().chars().take(LONGEST).collect(),
            of_workload: owned.pod.overrides.is_none(),
        }
    }
}

/// Why the loop wants a change, in short.
pub fn cause(decision: &PodDecision) -> String {
    let summary = decision.summary();
    let used = |resource| summary.observation.utilization(resource) * 100.0;
    let cause = match decision.is_overridden_by(Override::OomKilled) {
        true => "a container was killed for memory".to_owned(),
        false => format!(
            "{:.0} % of CPU and {:.0} % of memory were in use",
            used(Resource::Cpu),
            used(Resource::Memory)
        ),
    };
    let restarts = decision.decided().any(|(_, decision)| {
        Resource::ALL.iter().any(|resource| {
            let changes = decision.actions[*resource] != Action::Maintain;
            changes && decision.observation.restarts[*resource]
        })
    });
    if restarts { cause + "; by its resizePolicy the container restarts" } else { cause }
}

/// `cpu 500m -> 600m, memory 512Mi -> 409.6Mi`, for each container that changes.
fn what(pod: &Pod, plan: &Plan) -> String {
    let changes = pod.containers.iter().filter_map(|container| {
        let text = changed(container, plan.get(&*container.name)?);
        let named = if pod.containers.len() > 1 {
            format!("{}: {text}", container.name)
        } else {
            text.clone()
        };
        Some(named).filter(|_| !text.is_empty())
    });
    let changes: Vec<_> = changes.collect();
    if changes.is_empty() { "no change".into() } else { changes.join("; ") }
}

/// The limits, and the requests of what has none or keeps it: they go with their limits else.
fn changed(container: &PodContainer, change: &Change) -> String {
    let now = container.in_force.as_ref().unwrap_or(&container.resources);
    let step = |resource: Resource, wanted: Option<&String>, now: Option<f64>, label: &str| {
        let wanted = quantity::amount(resource, wanted?)?;
        let (old, new) =
            (now.map_or("none".into(), |now| amount(resource, now)), amount(resource, wanted));
        (old != new).then(|| format!("{}{label} {old} -> {new}", resource.name()))
    };
    let steps = Resource::ALL.into_iter().filter_map(|resource| {
        let name = resource.name();
        step(resource, change.limits.get(name), now.limit(resource), "").or_else(|| {
            step(resource, change.requests.get(name), now.request(resource), " request")
        })
    });
    steps.collect::<Vec<_>>().join(", ")
}

/// Cores or MiB, as short as a person can use it.
fn amount(resource: Resource, amount: f64) -> String {
    match resource {
        Resource::Cpu => quantity::format_cpu((amount * 1000.0).round() as u64),
        Resource::Memory if (amount - amount.round()).abs() < 0.05 => {
            quantity::format_memory((amount.round() as u64).saturating_mul(1024))
        }
        Resource::Memory => format!("{amount:.1}Mi"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Unfinished;
    use crate::pod::ContainerResources;
    use crate::pod::pod_key;

    fn app() -> PodContainer {
        let requests = [("cpu", "250m"), ("memory", "256Mi")];
        let limits = [("cpu", "500m"), ("memory", "512Mi")];
        PodContainer::new("app", ContainerResources::new(&requests, &limits))
    }

    fn owned(containers: Vec<PodContainer>, workload: &str) -> OwnedPod {
        let key = pod_key("shop", "web-1", "u1");
        let workload = Owner {
            group: "apps".into(),
            kind: workload.into(),
            name: "web".into(),
            uid: "w".into(),
        };
        OwnedPod { workload: Some(workload.into()), ..OwnedPod::bare(Pod::new(key, containers)) }
    }

    fn plan(name: &str, requests: &[(&str, &str)], limits: &[(&str, &str)]) -> Plan {
        let map = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
        };
        Plan::from([(name.to_owned(), Change { requests: map(requests), limits: map(limits) })])
    }

    fn event_of(applied: Result<Applied, String>) -> PodEvent {
        let plan = plan(
            "app",
            &[("cpu", "300m"), ("memory", "256Mi")],
            &[("cpu", "600m"), ("memory", "419431Ki")],
        );
        let owned = owned(vec![app()], "Deployment");
        PodEvent::of(
            &owned,
            &plan,
            applied.as_ref().map_err(Clone::clone),
            ASKED_FOR,
            DateTime::UNIX_EPOCH,
        )
    }

    fn applied(
        method: Method,
        pending: Option<&str>,
        refusal: Option<&str>,
    ) -> Result<Applied, String> {
        Ok(Applied {
            method,
            pending: pending.map(|told| Unfinished::Told(told.into())),
            refusal: refusal.map(str::to_owned),
        })
    }

    #[test]
    fn each_outcome_has_its_reason_and_says_what_changed_and_why() {
        let what = "cpu 500m -> 600m, memory 512Mi -> 409.6Mi";
        let infeasible = Err("infeasible: the node is too small".to_owned());
        for (applied, warning, reason, why) in [
            (applied(Method::Vertical, None, None), false, "Resized", ASKED_FOR.to_owned()),
            (
                applied(Method::Vertical, Some("deferred by the kubelet: full"), None),
                false,
                "ResizePending",
                format!("deferred by the kubelet: full; {ASKED_FOR}"),
            ),
            (
                applied(Method::DeploymentUpdate, None, Some("infeasible")),
                true,
                "ResizeFellBack",
                format!(
                    "written into the template of Deployment web, which replaces its pods: \
                        infeasible; {ASKED_FOR}"
                ),
            ),
            (
                infeasible,
                true,
                "ResizeFailed",
                format!("infeasible: the node is too small; {ASKED_FOR}"),
            ),
        ] {
            let event = event_of(applied);
            assert_eq!((event.warning, event.reason, event.what.as_str()), (warning, reason, what));
            assert_eq!(event.why, why);
        }
    }

    #[test]
    fn only_what_changes_is_named_with_its_container_where_there_are_several() {
        let proxy = PodContainer::new("proxy", ContainerResources::new(&[("cpu", "1")], &[]));
        let pod = owned(vec![app(), proxy], "Deployment").pod;
        assert_eq!(
            what(&pod, &plan("app", &[], &[("cpu", "2"), ("memory", "0.5Gi")])),
            "app: cpu 500m -> 2"
        );
        assert_eq!(
            what(&pod, &plan("proxy", &[("cpu", "1500m")], &[])),
            "proxy: cpu request 1 -> 1500m"
        );
        assert_eq!(
            what(&pod, &plan("proxy", &[], &[("memory", "1Gi")])),
            "proxy: memory none -> 1Gi"
        );
        assert_eq!(what(&pod, &plan("app", &[("cpu", "0.25")], &[])), "no change");
    }

    #[test]
    fn a_workload_without_a_template_is_not_told_and_no_text_is_too_long() {
        let (owned, refusal) = (owned(vec![app()], "Job"), "é".repeat(5000));
        let event = PodEvent::of(&owned, &Plan::new(), Err(refusal), "", DateTime::UNIX_EPOCH);
        assert_eq!((event.workload, event.why.chars().count()), (None, LONGEST));
    }
}
