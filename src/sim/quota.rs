//! What a ResourceQuota counts and refuses, as the admission plugin and the controller of the same
//! name do.

use serde_json::Value;

use super::json;
use super::requirements::qos_class;
use super::resource_list::{ResourceList, of_container, of_pod};
use crate::core::quantity::Quantity;

/// Resources of which every container must say what it wants once a quota counts them.
const COMPUTE: [&str; 6] =
    ["cpu", "limits.cpu", "limits.memory", "memory", "requests.cpu", "requests.memory"];

/// What a pod counts for: of spec and status the larger, so that a resize counts before it is in
/// force and a cut only once it is.
pub fn usage(pod: &Value) -> ResourceList {
    let mut usage = ResourceList::default();
    usage.set("count/pods", Quantity::millis(1000));
    if ["Succeeded", "Failed"].contains(&json::text(pod, "/status/phase")) {
        return usage;
    }
    usage.set("pods", Quantity::millis(1000));
    for kind in ["requests", "limits"] {
        let list = of_pod(&pod["spec"], kind, |container| in_force_or_wanted(pod, container, kind));
        for (name, quantity) in list.iter() {
            usage.set(format!("{kind}.{name}"), quantity);
            if kind == "requests" {
                usage.set(name, quantity);
            }
        }
    }
    usage
}

fn in_force_or_wanted(pod: &Value, container: &Value, list: &str) -> ResourceList {
    let statuses = ["/status/containerStatuses", "/status/initContainerStatuses"];
    let mut statuses = statuses.iter().flat_map(|pointer| json::items(pod, pointer));
    let status = statuses.find(|status| status["name"] == container["name"]);
    let wanted = of_container(container, list);
    let Some(in_force) = status.map(|status| of_container(status, list)) else { return wanted };
    let mut conditions = json::items(pod, "/status/conditions").iter();
    let infeasible = conditions.any(|condition| {
        condition["type"] == "PodResizePending" && condition["reason"] == "Infeasible"
    });
    if infeasible { in_force } else { wanted.max(&in_force) }
}

/// Whether a quota's scopes take a pod in.
pub fn covers(quota: &Value, pod: &Value) -> bool {
    let best_effort = || qos_class(&pod["spec"]) == "BestEffort";
    let terminating = || pod["spec"].get("activeDeadlineSeconds").is_some();
    json::items(quota, "/spec/scopes").iter().all(|scope| match scope.as_str() {
        Some("BestEffort") => best_effort(),
        Some("NotBestEffort") => !best_effort(),
        Some("Terminating") => terminating(),
        Some("NotTerminating") => !terminating(),
        _ => false,
    })
}

/// What pods use of what a quota counts: all that it counts, even where that is nothing.
pub fn used<'a>(quota: &Value, pods: impl Iterator<Item = &'a Value>) -> ResourceList {
    let hard = hard(quota);
    let mut none = hard.clone();
    hard.iter().for_each(|(name, _)| none.set(name, Quantity::millis(0)));
    let usages = pods.filter(|pod| covers(quota, pod)).map(usage);
    let mut used = usages.fold(none, |sum, usage| sum.plus(&usage));
    used.retain(|name, _| hard.get(name).is_some());
    used
}

pub fn hard(quota: &Value) -> ResourceList {
    ResourceList::of(quota.pointer("/spec/hard"))
}

/// Why a quota does not admit a new pod (`old` is none) or a resized one, when `used` is in use.
pub fn refusal(
    quota: &Value,
    used: &ResourceList,
    old: Option<&Value>,
    new: &Value,
) -> Option<String> {
    if !covers(quota, new) {
        return None;
    }
    let (name, hard) = (json::text(quota, "/metadata/name"), hard(quota));
    if let Some(missing) = missing(&hard, &new["spec"]).filter(|_| old.is_none()) {
        return Some(format!("failed quota: {name}: must specify {missing}"));
    }
    let mut requested = usage(new).beyond(&old.map(usage).unwrap_or_default());
    requested.retain(|name, _| hard.get(name).is_some());
    let after = used.clone().plus(&requested);
    let exceeded = |name: &str| after.get(name) > hard.get(name);
    requested.retain(|name, _| exceeded(name));
    if requested.is_empty() {
        return None;
    }
    let failed = |list: &ResourceList| {
        let mut list = list.clone();
        list.retain(|name, _| requested.get(name).is_some());
        list
    };
    Some(format!(
        "exceeded quota: {name}, requested: {requested}, used: {}, limited: {}",
        failed(used),
        failed(&hard)
    ))
}

/// What containers do not say of what the quota counts: `limits.cpu for: app,proxy; ...`.
fn missing(hard: &ResourceList, spec: &Value) -> Option<String> {
    let lacks = |container: &Value, counted: &str| {
        let (list, name) = counted.split_once('.').unwrap_or(("requests", counted));
        let pointer = format!("/resources/{list}/{name}");
        container.pointer(&pointer).is_none() && spec.pointer(&pointer).is_none()
    };
    let missing: Vec<String> = COMPUTE
        .iter()
        .filter(|counted| hard.get(counted).is_some())
        .filter_map(|counted| {
            let containers = ["/containers", "/initContainers"].iter();
            let lacking: Vec<&str> = containers
                .flat_map(|kind| json::items(spec, kind))
                .filter(|container| lacks(container, counted))
                .map(|container| json::text(container, "/name"))
                .collect();
            (!lacking.is_empty()).then(|| format!("{counted} for: {}", lacking.join(",")))
        })
        .collect();
    (!missing.is_empty()).then(|| missing.join("; "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(limit: &str, in_force: &str) -> Value {
        json!({
            "spec": { "containers": [{
                "name": "app",
                "resources": { "limits": { "cpu": limit }, "requests": { "cpu": "1" } },
            }] },
            "status": { "containerStatuses": [
                { "name": "app", "resources": { "limits": { "cpu": in_force } } },
            ] },
        })
    }

    fn quota() -> Value {
        json!({
            "metadata": { "name": "q" }, "spec": { "hard": { "limits.cpu": "2", "pods": "9" } },
        })
    }

    #[test]
    fn a_resize_counts_with_what_it_adds() {
        let old = pod("1", "1");
        let used = used(&quota(), [&old, &pod("500m", "1")].into_iter());
        assert_eq!(used.to_string(), "limits.cpu=2,pods=2", "a cut that is not in force yet");
        assert_eq!(refusal(&quota(), &used, Some(&old), &pod("500m", "1")), None);
        let message = "exceeded quota: q, requested: limits.cpu=1, used: limits.cpu=2, \
            limited: limits.cpu=2";
        let refused = refusal(&quota(), &used, Some(&old), &pod("2", "1"));
        assert_eq!(refused.as_deref(), Some(message));
    }

    #[test]
    fn a_new_pod_must_say_what_is_counted() {
        let silent = json!({ "spec": { "containers": [{ "name": "a" }, { "name": "b" }] } });
        let refused = refusal(&quota(), &ResourceList::default(), None, &silent);
        let message = "failed quota: q: must specify limits.cpu for: a,b";
        assert_eq!(refused.as_deref(), Some(message));
    }
}
