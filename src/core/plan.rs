//! From the decisions on a pod's containers to their resources. Requests keep their ratio to
//! limits, but for what is typically used; the QoS class never changes, and rounding never leaves
//! the bounds nor turns a step around.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::action::Action;
use crate::guard::Override;
use crate::pod::{ContainerResources, Pod, PodContainer, Quantities};
use crate::pod_decision::PodDecision;
use crate::policy::Controls;
use crate::quantity;
use crate::resource::Resource;

/// Requests and limits to be set: what is not named stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Change {
    /// Kubernetes quantities of `cpu` and `memory`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(example = json!({"cpu": "200m", "memory": "256Mi"}))]
    pub requests: BTreeMap<String, String>,
    /// The same.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(example = json!({"cpu": "800m", "memory": "1Gi"}))]
    pub limits: BTreeMap<String, String>,
}

impl Change {
    /// What it sets.
    pub fn resources(&self) -> ContainerResources {
        let all = |of: &BTreeMap<String, String>| {
            of.iter().map(|(name, text)| (name.clone(), text.clone())).collect()
        };
        ContainerResources { requests: all(&self.requests), limits: all(&self.limits) }
    }
}

/// The change of each container, by its name.
pub type Plan = BTreeMap<String, Change>;

/// An empty plan means that rounding leaves nothing of the decision.
pub fn plan(pod: &Pod, decision: &PodDecision) -> Plan {
    let mut plan = Plan::new();
    for (name, decision) in decision.decided().filter(|(_, of)| of.changes_something()) {
        let Some(container) = pod.containers.iter().find(|of| of.name == *name) else { continue };
        let mut change = Change::default();
        for resource in Resource::ALL {
            let (action, old) = (decision.actions[resource], decision.observation.limit[resource]);
            if action == Action::Maintain || old <= 0.0 {
                continue;
            }
            let ratio = decision.new_limit[resource] / old;
            let (basis, usage) = (&decision.basis[resource], decision.observation.usage[resource]);
            let is_known = basis.is_known && basis.cause != Some(Override::KnownNeed);
            let used = match (action, resource) {
                (Action::Increase, _) if !is_known => f64::INFINITY,
                // A burst is no reason to ask for more for ever.
                (Action::Increase, Resource::Cpu) => basis.typical,
                // What is used beyond the request is evicted first.
                _ => basis.typical.max(usage),
            };
            let scale = Scale { ratio, action, used, controls: decision.controls };
            let (request, limit) = scaled(container, resource, &scale);
            let name = resource.name();
            let set = |units: Option<u64>| Some((name.to_owned(), format(resource, units?)));
            change.requests.extend(set(request));
            change.limits.extend(set(limit));
        }
        if change != Change::default() {
            plan.insert(name.to_string(), change);
        }
    }
    plan
}

/// The plan with the sizes that the pod asks for: admission may have put them in the place of those
/// that were sent.
pub fn as_stored(plan: &Plan, pod: &Pod) -> Plan {
    let stored = |(name, change): (&String, &Change)| {
        let container = pod.containers.iter().find(|container| *container.name == **name)?;
        let of = |sent: &BTreeMap<String, String>, stored: &Quantities| {
            let size = |(resource, text): (&String, &String)| {
                (resource.clone(), stored.get(resource).unwrap_or(text).clone())
            };
            sent.iter().map(size).collect()
        };
        let ContainerResources { requests, limits } = &*container.resources;
        let change =
            Change { requests: of(&change.requests, requests), limits: of(&change.limits, limits) };
        Some((name.clone(), change))
    };
    plan.iter().filter_map(stored).collect()
}

/// The part of a plan that concerns one resource.
pub fn part(plan: &Plan, resource: Resource) -> Plan {
    let only = |quantities: &BTreeMap<String, String>| -> BTreeMap<String, String> {
        let ours = quantities.get_key_value(resource.name());
        ours.map(|(name, text)| (name.clone(), text.clone())).into_iter().collect()
    };
    let changes = plan.iter().map(|(name, change)| {
        let change = Change { requests: only(&change.requests), limits: only(&change.limits) };
        (name.clone(), change)
    });
    changes.filter(|(_, change)| *change != Change::default()).collect()
}

/// How a resource of a container is to change.
struct Scale {
    ratio: f64,
    action: Action,
    /// In cores or MiB: a cut leaves the request as much, and a raise takes it no further. Else
    /// what cuts leave it would be multiplied by each raise, until it is the limit.
    used: f64,
    controls: Controls,
}

/// The new request and limit of one container in whole units; None where there is none or it stays.
fn scaled(
    container: &PodContainer,
    resource: Resource,
    scale: &Scale,
) -> (Option<u64>, Option<u64>) {
    let Scale { ratio, action, used, controls } = *scale;
    let units = |amount: f64| amount * units_per_base(resource);
    let request = container.request_in_force(resource).map(units);
    let limit = container.limit_in_force(resource).map(units);
    let scaled = |old: f64| round(old * ratio, old, action);
    let new_limit = match controls {
        Controls::Requests => limit.map(|limit| limit.floor() as u64),
        _ => limit.map(scaled),
    };
    let new_request = match (request, limit.zip(new_limit), controls) {
        (Some(request), _, Controls::Limits) => Some(request.ceil() as u64),
        // Together with the limit, so that their ratio never grows, but for what is used.
        (Some(request), Some((limit, new_limit)), Controls::Both) if limit > 0.0 => {
            let in_ratio = (new_limit as f64 * request / limit).ceil();
            let used = units(used);
            Some(match action {
                Action::Decrease => in_ratio.max(request.min(used).ceil()),
                _ => in_ratio.min(request.max(used).ceil()),
            } as u64)
        }
        (Some(request), ..) => Some(scaled(request)),
        (None, ..) => None,
    };
    let (new_request, new_limit) = match (request.zip(new_request), limit.zip(new_limit)) {
        // No API server takes that, so nothing is made of it.
        (Some((request, _)), Some((limit, _))) if request > limit => return (None, None),
        (Some((request, _)), Some((limit, new_limit))) if request == limit => match controls {
            // Equal they were and equal they stay, which is what the Guaranteed class asks for.
            Controls::Both => (Some(new_limit), Some(new_limit)),
            _ => return (None, None),
        },
        // A unit is kept between them, which is what the Burstable class asks for.
        (Some((request, new_request)), Some((_, new_limit))) if new_request >= new_limit => {
            match (action, controls) {
                (Action::Increase, Controls::Both) | (_, Controls::Requests) => {
                    (Some(new_limit.saturating_sub(1)), Some(new_limit))
                }
                (_, Controls::Limits) => (None, Some((request.ceil() as u64).saturating_add(1))),
                _ => (Some(new_request), Some(new_request.saturating_add(1))),
            }
        }
        (request, limit) => (request.map(|r| r.1), limit.map(|l| l.1)),
    };
    let changed = |new: Option<u64>, old: Option<f64>| {
        new.filter(|new| old.is_none_or(|old| *new as f64 != old))
    };
    (changed(new_request, request), changed(new_limit, limit))
}

/// What floating-point numbers make of a whole number is off by less than this share of it.
const NOISE: f64 = 1e-9;

/// Towards the old value, and never past it.
fn round(exact: f64, old: f64, action: Action) -> u64 {
    let rounded = match action {
        Action::Increase => (exact * (1.0 + NOISE)).floor().max(old.ceil()),
        _ => (exact * (1.0 - NOISE)).ceil().min(old.floor()),
    };
    // A limit of nothing would mean no limit at all.
    if old > 0.0 { rounded.max(1.0) as u64 } else { 0 }
}

/// Whole millicores and whole KiB.
fn units_per_base(resource: Resource) -> f64 {
    match resource {
        Resource::Cpu => 1000.0,
        Resource::Memory => 1024.0,
    }
}

fn format(resource: Resource, units: u64) -> String {
    match resource {
        Resource::Cpu => quantity::format_cpu(units),
        Resource::Memory => quantity::format_memory(units),
    }
}

#[cfg(test)]
mod tests {
    use internment::ArcIntern as Shared;
    use proptest::prelude::*;

    use super::*;
    use crate::decision::Decision;
    use crate::observation::Observation;
    use crate::pod::{ContainerResources, Containers, pod_key};
    use crate::pod_decision::ContainerDecision;
    use crate::resource::PerResource;

    fn resources(request: [Option<&str>; 2], limit: [Option<&str>; 2]) -> ContainerResources {
        fn pairs(texts: [Option<&str>; 2]) -> Vec<(&'static str, &str)> {
            let names = ["cpu", "memory"].into_iter().zip(texts);
            names.filter_map(|(name, text)| Some((name, text?))).collect()
        }
        ContainerResources::new(&pairs(request), &pairs(limit))
    }

    fn pod(containers: Vec<ContainerResources>) -> Pod {
        let key = pod_key("default", "web", "u");
        let named = containers.into_iter().enumerate();
        let containers = named.map(|(index, of)| PodContainer::new(&format!("c{index}"), of));
        Pod::new(key, containers.collect())
    }

    fn decided(limit: PerResource<f64>, cpu: (Action, f64), memory: (Action, f64)) -> Decision {
        let new = |(action, ratio): (Action, f64), limit: f64| match action {
            Action::Maintain => limit,
            _ => limit * ratio,
        };
        Decision {
            actions: PerResource::new(cpu.0, memory.0),
            new_limit: PerResource::new(new(cpu, limit.cpu), new(memory, limit.memory)),
            ..Decision::maintain(Observation::measured(0, PerResource::default(), limit))
        }
    }

    /// The same for every container.
    fn decision(pod: &Pod, cpu: (Action, f64), memory: (Action, f64)) -> PodDecision {
        let of = |(index, container): (usize, &PodContainer)| ContainerDecision {
            name: container.name.clone(),
            decision: Ok(decided(pod.containers.limit_of(index), cpu, memory)),
        };
        PodDecision::new(pod.containers.iter().enumerate().map(of).collect()).unwrap()
    }

    #[test]
    fn containers_share_the_change_and_requests_keep_their_ratio() {
        let pod = pod(vec![
            resources([Some("100m"), Some("128Mi")], [Some("500m"), Some("512Mi")]),
            resources([Some("50m"), None], [None, None]),
            resources([None, None], [None, None]),
        ]);
        let plan = plan(&pod, &decision(&pod, (Action::Increase, 1.2), (Action::Decrease, 0.8)));
        assert_eq!(
            plan["c0"].limits,
            BTreeMap::from([("cpu".into(), "600m".into()), ("memory".into(), "419431Ki".into())])
        );
        assert_eq!(
            plan["c0"].requests,
            BTreeMap::from([("cpu".into(), "120m".into()), ("memory".into(), "104858Ki".into())])
        );
        assert_eq!(plan["c1"].requests, BTreeMap::from([("cpu".into(), "60m".into())]));
        assert!(plan["c1"].limits.is_empty() && !plan.contains_key("c2"));
    }

    /// What a step makes of a request and a limit of CPU, where so much is typically used.
    fn of_cpu(
        request: &str,
        limit: Option<&str>,
        (action, ratio): (Action, f64),
        typical: f64,
        controls: Controls,
    ) -> (Option<String>, Option<String>) {
        let pod = pod(vec![resources([Some(request), None], [limit, None])]);
        let of_pod = decision(&pod, (action, ratio), (Action::Maintain, 1.0));
        let mut decision = of_pod.containers[0].decision.clone().unwrap();
        (decision.basis.cpu.typical, decision.controls) = (typical, controls);
        decision.basis.cpu.is_known = typical > 0.0;
        let decided = PodDecision::single("c0", decision);
        let change = plan(&pod, &decided).remove("c0").unwrap_or_default();
        (change.requests.get("cpu").cloned(), change.limits.get("cpu").cloned())
    }

    #[test]
    fn a_cut_leaves_the_request_what_is_typically_used() {
        let down = (Action::Decrease, 0.5);
        let cut = |request, limit, typical| of_cpu(request, limit, down, typical, Controls::Both);
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(cut("1", Some("4"), 0.2), (text("500m"), text("2")));
        assert_eq!(cut("1", Some("4"), 0.7), (text("700m"), text("2")));
        assert_eq!(cut("1", Some("4"), 1.7), (None, text("2")), "never raised by a cut");
        assert_eq!(cut("1", Some("1"), 0.7), (text("500m"), text("500m")), "they are one");
        assert_eq!(cut("1", Some("1001m"), 0.9), (text("900m"), text("901m")));
        let up = (Action::Increase, 1.5);
        let raised = of_cpu("1", Some("4"), up, 3.0, Controls::Both);
        assert_eq!(raised, (text("1500m"), text("6")));
    }

    #[test]
    fn raises_and_cuts_do_not_drive_the_request_to_the_limit() {
        let up = |typical| of_cpu("1", Some("4"), (Action::Increase, 1.5), typical, Controls::Both);
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(up(0.0), (text("1500m"), text("6")), "nothing is known");
        assert_eq!(up(1.2), (text("1200m"), text("6")));
        assert_eq!(up(0.4), (None, text("6")), "never lowered by a raise");
    }

    #[test]
    fn requests_or_limits_alone_leave_the_others_and_the_class() {
        use Controls::{Limits, Requests};
        let text = |text: &str| Some(text.to_owned());
        let (down, up) = ((Action::Decrease, 0.5), (Action::Increase, 1.5));
        let of = |request, limit, step, controls| of_cpu(request, limit, step, 0.1, controls);
        assert_eq!(of("1", Some("4"), down, Limits), (None, text("2")));
        assert_eq!(of("3", Some("4"), down, Limits), (None, text("3001m")), "Burstable stays");
        assert_eq!(of("1", Some("4"), up, Limits), (None, text("6")));
        assert_eq!(of("1", Some("1"), up, Limits), (None, None), "Guaranteed stays");
        assert_eq!(of("1", None, up, Limits), (None, None));
        assert_eq!(of("1", Some("4"), down, Requests), (text("500m"), None));
        assert_eq!(of("3", Some("4"), up, Requests), (text("3999m"), None));
        assert_eq!(of("1", Some("1"), down, Requests), (None, None));
        assert_eq!(of("1", None, up, Requests), (text("1500m"), None));
    }

    #[test]
    fn a_bound_that_is_met_is_met_exactly() {
        for cpu in ["1e9", "12", "9700m", "8001m"] {
            let pod = pod(vec![resources([None, None], [Some(cpu), Some("20Gi")])]);
            let (limit, max) = (pod.limit(), PerResource::new(8.0, 16384.0));
            let ratios = PerResource::build(|resource| max[resource] / limit[resource]);
            let cut =
                decision(&pod, (Action::Decrease, ratios.cpu), (Action::Decrease, ratios.memory));
            let limits = plan(&pod, &cut)["c0"].limits.clone();
            assert_eq!((&*limits["cpu"], &*limits["memory"]), ("8", "16Gi"), "{cpu}");
        }
    }

    fn amount() -> impl Strategy<Value = (u64, Option<u64>)> {
        // A limit, and a request that is absent, equal, or a part of it.
        (2u64..3000).prop_flat_map(|limit| {
            (Just(limit), prop_oneof![Just(None), Just(Some(limit)), (1..limit).prop_map(Some)])
        })
    }

    proptest! {
        #[test]
        fn a_plan_keeps_order_class_bounds_and_direction(
            amounts in prop::collection::vec((amount(), amount()), 1..5), ratio in 0.05..0.95f64,
                up in any::<bool>(),
        ) {
            let containers = amounts.iter().map(|((cpu, cpu_request), (memory, memory_request))| {
                let (cpu, memory) = (format!("{cpu}m"), format!("{memory}Ki"));
                let (cpu_request, memory_request) = (cpu_request.map(|r| format!("{r}m")),
                    memory_request.map(|r| format!("{r}Ki")));
                resources([cpu_request.as_deref(), memory_request.as_deref()], [Some(&cpu),
                    Some(&memory)])
            }).collect();
            let mut pod = pod(containers);
            let (action, ratio) = if up { (Action::Increase,
                1.0 + ratio) } else { (Action::Decrease, 1.0 - ratio) };
            let decision = decision(&pod, (action, ratio), (action, ratio));
            let before = pod.clone();
            let mut containers = pod.containers.to_vec();
            for (name, change) in plan(&pod, &decision) {
                let container = containers.iter_mut().find(|c| *c.name == *name).unwrap();
                let mut resources = (*container.resources).clone();
                resources.requests.extend(change.requests);
                resources.limits.extend(change.limits);
                container.resources = resources.into();
            }
            pod.containers = Shared::new(Containers::new(containers.into()));
            for resource in Resource::ALL {
                for (old, new) in before.containers.iter().zip(pod.containers.iter()) {
                    let (old_limit, new_limit) = (old.resources.limit(resource).unwrap(),
                        new.resources.limit(resource).unwrap());
                    prop_assert!(new_limit > 0.0);
                    let growth = if up { new_limit - old_limit } else { old_limit - new_limit };
                    prop_assert!(growth >= -1e-9);
                    match (old.resources.request(resource), new.resources.request(resource)) {
                        (Some(old_request), Some(new_request)) => {
                            prop_assert_eq!(old_request == old_limit, new_request == new_limit);
                            prop_assert!(new_request <= new_limit && new_request > 0.0);
                        }
                        (old_request, new_request) => prop_assert_eq!(old_request, new_request),
                    }
                }
                let (total, exact) =
                    (pod.limit()[resource], decision.summary().new_limit[resource]);
                let overshoot = if up { total - exact } else { exact - total };
                prop_assert!(overshoot <= 1e-9);
            }
        }
    }
}
