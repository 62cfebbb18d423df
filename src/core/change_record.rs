//! What was done to a pod: from what to what, why, for whom, and how it went.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::action::Action;
use crate::context::OwnedPod;
use crate::guard::Override;
use crate::outcome::{Applied, Method};
use crate::plan::{Change, Plan};
use crate::pod::{Pod, PodContainer, PodKey};
use crate::pod_decision::PodDecision;
use crate::quantity;
use crate::resource::{PerResource, Resource};
use crate::words;

/// Who asks for a change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// A cycle of the loop.
    #[default]
    Loop,
    /// The loop, between two cycles.
    SecondLook,
    /// A client of the API.
    Person,
}

impl By {
    pub fn name(self) -> &'static str {
        match self {
            Self::Loop => "loop",
            Self::SecondLook => "second_look",
            Self::Person => "person",
        }
    }
}

/// Who asks, and when the pods were looked at, which is the same for all of one cycle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Origin {
    pub by: By,
    /// Seconds since the epoch.
    pub at: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChangeRecord {
    /// When it was sent.
    pub at: DateTime<Utc>,
    /// When the cycle began that it is of (seconds since the epoch).
    pub cycle: i64,
    pub pod: PodKey,
    /// Kind and name of what stands behind the pod.
    pub workload: Option<String>,
    pub by: By,
    /// The replica that made it.
    pub replica: String,
    /// Those that change, in the order of the spec.
    pub containers: Vec<ContainerChange>,
    pub course: Course,
    /// What else there is to say of how it went.
    pub message: Option<String>,
    /// When a later change took it back.
    pub undone_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerChange {
    pub name: String,
    pub before: PerResource<Size>,
    pub after: PerResource<Size>,
    /// Why each resource is changed; None where it stays.
    pub why: PerResource<Option<String>>,
}

/// Cores or MiB; None where there is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Size {
    pub request: Option<f64>,
    pub limit: Option<f64>,
}

/// How a change went.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Course {
    /// In force after so many seconds.
    Done(f64),
    /// Accepted, and the kubelet has not done it yet.
    Pending,
    /// It went into the template of the workload.
    FellBack,
    Failed,
}

/// What a client asks for needs no other reason.
const ASKED_FOR: &str = "a client of the API asked for it";

impl ChangeRecord {
    /// What is being made of a plan; `decision` is None where a client names the sizes.
    pub fn new(
        owned: &OwnedPod,
        plan: &Plan,
        decision: Option<&PodDecision>,
        origin: Origin,
        at: DateTime<Utc>,
    ) -> Self {
        let changed = |container: &PodContainer| {
            let change = plan.get(&*container.name)?;
            ContainerChange::new(container, change, decision)
        };
        Self {
            at,
            cycle: origin.at,
            pod: owned.pod.key.clone(),
            workload: owned.workload.as_ref().map(|workload| workload.to_string()),
            by: origin.by,
            replica: String::new(),
            containers: owned.pod.containers.iter().filter_map(changed).collect(),
            course: Course::Pending,
            message: None,
            undone_at: None,
        }
    }

    pub fn take_in(&mut self, applied: Result<&Applied, String>, seconds: f64) {
        (self.course, self.message) = match applied {
            Ok(Applied { method: Method::DeploymentUpdate, refusal, .. }) => {
                (Course::FellBack, refusal.clone())
            }
            Ok(Applied { pending: Some(pending), .. }) => {
                (Course::Pending, Some(pending.to_string()))
            }
            Ok(_) => (Course::Done(seconds), None),
            Err(error) => (Course::Failed, Some(error)),
        };
    }

    /// The name of how it went.
    pub fn course_name(&self) -> &'static str {
        match self.course {
            _ if self.undone_at.is_some() => "undone",
            Course::Done(_) => "done",
            Course::Pending => "pending",
            Course::FellBack => "fell_back",
            Course::Failed => "failed",
        }
    }

    /// What it asks for is in force.
    pub fn is_in_force(&self, pod: &Pod) -> bool {
        self.containers.iter().all(|change| {
            let container = pod.containers.iter().find(|of| *of.name == *change.name);
            container.is_some_and(|of| change.is_in_force(of))
        })
    }

    /// Whether it cut what a later change gives back.
    pub fn is_undone_by(&self, later: &PodDecision) -> bool {
        later.decided().any(|(name, decision)| {
            let cut = self.containers.iter().find(|change| *change.name == **name);
            Resource::ALL.into_iter().any(|resource| {
                let undoes = decision.actions[resource] == Action::Increase
                    && decision.basis[resource].cause == Some(Override::CutHurt);
                undoes && cut.is_some_and(|change| change.cuts(resource))
            })
        })
    }

    /// `cpu 500m -> 600m, 92 % of the limit was in use; memory …`, for each container.
    pub fn words(&self) -> String {
        let one = |change: &ContainerChange| {
            let text = change.words();
            if self.containers.len() > 1 { format!("{}: {text}", change.name) } else { text }
        };
        self.containers.iter().map(one).collect::<Vec<_>>().join("; ")
    }
}

impl ContainerChange {
    fn new(
        container: &PodContainer,
        change: &Change,
        decision: Option<&PodDecision>,
    ) -> Option<Self> {
        let before = PerResource::build(|resource| Size {
            request: container.request_in_force(resource),
            limit: container.limit_in_force(resource),
        });
        let after = PerResource::build(|resource| {
            let wanted = |of: &std::collections::BTreeMap<String, String>| {
                quantity::amount(resource, of.get(resource.name())?)
            };
            Size {
                request: wanted(&change.requests).or(before[resource].request),
                limit: wanted(&change.limits).or(before[resource].limit),
            }
        });
        let decided = decision
            .and_then(|of| of.decided().find(|(name, _)| ***name == *container.name))
            .map(|(_, decision)| decision);
        let why = PerResource::build(|resource| {
            let told =
                || decided.map_or_else(|| ASKED_FOR.into(), |of| words::reason(resource, of));
            before[resource].differs(&after[resource]).then(told)
        });
        let name = container.name.to_string();
        let changes = why.cpu.is_some() || why.memory.is_some();
        changes.then_some(Self { name, before, after, why })
    }

    fn is_in_force(&self, container: &PodContainer) -> bool {
        Resource::ALL.into_iter().all(|resource| {
            let now = Size {
                request: container.request_in_force(resource),
                limit: container.limit_in_force(resource),
            };
            !now.differs(&self.after[resource])
        })
    }

    fn cuts(&self, resource: Resource) -> bool {
        let (before, after) = (&self.before[resource], &self.after[resource]);
        before.largest().zip(after.largest()).is_some_and(|(before, after)| after < before)
    }

    fn words(&self) -> String {
        let one = |resource: Resource| {
            let why = self.why[resource].as_deref()?;
            let (before, after) = (&self.before[resource], &self.after[resource]);
            let (what, old, new) = match (before.limit, after.limit) {
                (old, Some(new)) if old != Some(new) => ("", old, Some(new)),
                _ => (" request", before.request, after.request),
            };
            let said = |size: Option<f64>| {
                size.map_or_else(|| "none".into(), |size| words::amount(resource, size))
            };
            let label = words::label(resource);
            Some(format!("{label}{what} {} -> {}: {why}", said(old), said(new)))
        };
        Resource::ALL.into_iter().filter_map(one).collect::<Vec<_>>().join(", ")
    }
}

impl Size {
    /// The limit, or the request where there is none.
    pub fn largest(&self) -> Option<f64> {
        self.limit.or(self.request)
    }

    /// By more than rounding.
    fn differs(&self, other: &Self) -> bool {
        let differ = |a: Option<f64>, b: Option<f64>| match (a, b) {
            (Some(a), Some(b)) => (a - b).abs() > 1e-6 * a.abs().max(b.abs()),
            (a, b) => a.is_some() != b.is_some(),
        };
        differ(self.limit, other.limit) || differ(self.request, other.request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::{Decision, SizedBy};
    use crate::observation::Observation;
    use crate::outcome::Unfinished;
    use crate::pod::ContainerResources;
    use crate::pod::pod_key;

    fn owned(limits: &[(&str, &str)]) -> OwnedPod {
        let key = pod_key("shop", "web-1", "u");
        let resources = ContainerResources::new(&[("cpu", "250m")], limits);
        OwnedPod::bare(Pod::new(key, vec![PodContainer::new("app", resources)]))
    }

    fn plan(limits: &[(&str, &str)]) -> Plan {
        let limits = limits.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Plan::from([("app".to_owned(), Change { limits, ..Change::default() })])
    }

    fn raised(cause: Option<Override>) -> PodDecision {
        let (usage, limit) = (PerResource::new(0.46, 100.0), PerResource::new(0.5, 512.0));
        let mut decision = Decision::maintain(Observation::measured(0, usage, limit));
        decision.actions.cpu = Action::Increase;
        decision.basis.cpu.sized_by = Some(SizedBy::Steps(1));
        decision.basis.cpu.cause = cause;
        PodDecision::single("app", decision)
    }

    #[test]
    fn it_tells_what_changes_and_why_and_nothing_else() {
        let pod = owned(&[("cpu", "500m"), ("memory", "512Mi")]);
        let record = |plan: &Plan, decision: Option<&PodDecision>| {
            ChangeRecord::new(&pod, plan, decision, Origin::default(), DateTime::UNIX_EPOCH)
        };
        let both = plan(&[("cpu", "600m"), ("memory", "512Mi")]);
        let told = record(&both, Some(&raised(None)));
        assert_eq!(told.words(), "CPU 500m -> 600m: 92 % of the limit was in use");
        assert_eq!(told.containers[0].why.memory, None);
        assert_eq!(told.containers[0].after.cpu, Size { request: Some(0.25), limit: Some(0.6) });
        let asked = record(&plan(&[("memory", "1Gi")]), None);
        let expected = "memory 512 MiB -> 1 GiB: a client of the API asked for it";
        assert_eq!(asked.words(), expected);
        assert!(record(&plan(&[("cpu", "0.5")]), None).containers.is_empty());
    }

    #[test]
    fn it_is_in_force_once_the_pod_has_what_it_asks_for() {
        let before = owned(&[("cpu", "500m"), ("memory", "512Mi")]);
        let wanted = plan(&[("cpu", "0.6")]);
        let record =
            ChangeRecord::new(&before, &wanted, None, Origin::default(), DateTime::UNIX_EPOCH);
        assert!(!record.is_in_force(&before.pod));
        assert!(record.is_in_force(&owned(&[("cpu", "600m"), ("memory", "512Mi")]).pod));
    }

    #[test]
    fn how_it_went_has_a_name() {
        let pod = owned(&[("cpu", "500m")]);
        let wanted = plan(&[("cpu", "400m")]);
        let mut record =
            ChangeRecord::new(&pod, &wanted, None, Origin::default(), DateTime::UNIX_EPOCH);
        let applied = |method, pending: Option<&str>, refusal: Option<&str>| Applied {
            method,
            pending: pending.map(|told| Unfinished::Told(told.into())),
            refusal: refusal.map(str::to_owned),
        };
        for (result, name, message) in [
            (Ok(applied(Method::Vertical, None, None)), "done", None),
            (Ok(applied(Method::Vertical, Some("no room"), None)), "pending", Some("no room")),
            (
                Ok(applied(Method::DeploymentUpdate, None, Some("infeasible"))),
                "fell_back",
                Some("infeasible"),
            ),
            (Err("forbidden".to_owned()), "failed", Some("forbidden")),
        ] {
            record.take_in(result.as_ref().map_err(Clone::clone), 1.5);
            assert_eq!((record.course_name(), record.message.as_deref()), (name, message));
        }
        assert!(record.is_undone_by(&raised(Some(Override::CutHurt))));
        assert!(!record.is_undone_by(&raised(None)), "another raise undoes nothing");
        record.undone_at = Some(DateTime::UNIX_EPOCH);
        assert_eq!(record.course_name(), "undone");
    }
}
