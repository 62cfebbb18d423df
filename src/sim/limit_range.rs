//! What a LimitRange demands of the pods of its namespace, as the admission plugin LimitRanger
//! reads it.

use serde_json::Value;

use super::json::{self, set};
use super::resource_list::{ResourceList, of_container, of_pod};
use crate::core::quantity::Quantity;

const ANNOTATION: &str = "kubernetes.io/limit-ranger";

/// Fills in what the API server defaults in a new LimitRange.
pub fn default_range(range: &mut Value) {
    for item in json::array(range, &["spec"], "limits") {
        if item["type"] != "Container" {
            continue;
        }
        let list = |item: &Value, field: &str| item.get(field).cloned().unwrap_or_default();
        for (field, from) in
            [("default", "max"), ("defaultRequest", "default"), ("defaultRequest", "min")]
        {
            for (name, quantity) in list(item, from).as_object().into_iter().flatten() {
                let target = json::object(item, &[field]);
                target.entry(name).or_insert_with(|| quantity.clone());
            }
        }
    }
}

/// Gives the containers of a new pod the requests and limits that the range defaults.
pub fn default_pod(range: &Value, pod: &mut Value) {
    let mut done = Vec::new();
    for item in json::items(range, "/spec/limits").iter().filter(|item| item["type"] == "Container")
    {
        for (kind, called) in [("containers", "container"), ("initContainers", "init container")] {
            let containers = pod.pointer_mut(&format!("/spec/{kind}"));
            for container in containers.and_then(Value::as_array_mut).into_iter().flatten() {
                for (list, defaults) in [("requests", "defaultRequest"), ("limits", "default")] {
                    let names = complete(container, list, &item[defaults]);
                    if !names.is_empty() {
                        let name = json::text(container, "/name");
                        let list = list.trim_end_matches('s');
                        done.push(format!("{} {list} for {called} {name}", names.join(", ")));
                    }
                }
            }
        }
    }
    if !done.is_empty() {
        let note = format!("LimitRanger plugin set: {}", done.join("; "));
        set(pod, &["metadata", "annotations"], ANNOTATION, note);
    }
}

/// Adds to a list of a container what it lacks of the defaults; their names.
fn complete(container: &mut Value, list: &str, defaults: &Value) -> Vec<String> {
    let lacking: Vec<(&String, &Value)> = defaults
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| container["resources"][list].get(name).is_none())
        .collect();
    for (name, quantity) in &lacking {
        set(container, &["resources", list], name, (*quantity).clone());
    }
    lacking.into_iter().map(|(name, _)| name.clone()).collect()
}

/// Why a range does not admit a pod.
pub fn refusal(range: &Value, pod: &Value) -> Option<String> {
    let spec = &pod["spec"];
    let mut problems = Vec::new();
    for item in json::items(range, "/spec/limits") {
        let kind = json::text(item, "/type");
        if kind == "Container" {
            let containers = ["/containers", "/initContainers"];
            for container in containers.iter().flat_map(|kind| json::items(spec, kind)) {
                let list = |name: &str| of_container(container, name);
                problems.extend(violations(item, kind, &list("requests"), &list("limits")));
            }
        } else if kind == "Pod" {
            let list = |name: &str| of_pod(spec, name, |container| of_container(container, name));
            problems.extend(violations(item, kind, &list("requests"), &list("limits")));
        }
    }
    problems.dedup();
    match problems.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        several => Some(format!("[{}]", several.join(", "))),
    }
}

fn violations(
    item: &Value,
    kind: &str,
    requests: &ResourceList,
    limits: &ResourceList,
) -> Vec<String> {
    let each = |field: &str, check: &dyn Fn(&str, Quantity) -> Option<String>| {
        let enforced = ResourceList::of(item.get(field));
        enforced.iter().filter_map(|(name, bound)| check(name, bound)).collect::<Vec<_>>()
    };
    let mut problems = each("min", &|name, least| {
        let rule = format!("minimum {name} usage per {kind} is {least}");
        let Some(request) = requests.get(name) else {
            return Some(format!("{rule}.  No request is specified"));
        };
        if request < least {
            return Some(format!("{rule}, but request is {request}"));
        }
        let limit = limits.get(name).filter(|limit| *limit < least)?;
        Some(format!("{rule}, but limit is {limit}"))
    });
    problems.extend(each("max", &|name, most| {
        let rule = format!("maximum {name} usage per {kind} is {most}");
        let Some(limit) = limits.get(name) else {
            return Some(format!("{rule}.  No limit is specified"));
        };
        if limit > most {
            return Some(format!("{rule}, but limit is {limit}"));
        }
        let request = requests.get(name).filter(|request| *request > most)?;
        Some(format!("{rule}, but request is {request}"))
    }));
    problems.extend(each("maxLimitRequestRatio", &|name, most| {
        let rule = format!("{name} max limit to request ratio per {kind} is {most}");
        let given = |list: &ResourceList| list.get(name).map_or(0.0, Quantity::to_f64);
        let (request, limit) = (given(requests), given(limits));
        if request == 0.0 {
            return Some(format!("{rule}, but no request is specified or request is 0"));
        }
        if limit == 0.0 {
            return Some(format!("{rule}, but no limit is specified or limit is 0"));
        }
        let ratio = limit / request;
        let exceeded = ratio * 1000.0 > most.to_millis() as f64;
        exceeded.then(|| format!("{rule}, but provided ratio is {ratio:.6}"))
    }));
    problems
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(requests: Value, limits: Value) -> Value {
        let resources = json!({ "requests": requests, "limits": limits });
        json!({ "spec": { "containers": [{ "name": "app", "resources": resources }] } })
    }

    fn range(item: Value) -> Value {
        json!({ "spec": { "limits": [item] } })
    }

    #[test]
    fn bounds_and_ratios_are_refused_in_the_words_of_the_plugin() {
        let container = range(json!({
            "type": "Container", "min": { "memory": "64Mi" }, "max": { "cpu": "1" },
            "maxLimitRequestRatio": { "cpu": "4" },
        }));
        let fine = pod(json!({ "cpu": "500m", "memory": "64Mi" }), json!({ "cpu": "1" }));
        assert_eq!(refusal(&container, &fine), None);
        let odd = pod(json!({ "cpu": "400m", "memory": "32Mi" }), json!({ "cpu": "2" }));
        let message = "[minimum memory usage per Container is 64Mi, but request is 32Mi, \
            maximum cpu usage per Container is 1, but limit is 2, \
            cpu max limit to request ratio per Container is 4, but provided ratio is 5.000000]";
        assert_eq!(refusal(&container, &odd).as_deref(), Some(message));
        let whole = range(json!({ "type": "Pod", "max": { "memory": "1Gi" } }));
        assert_eq!(
            refusal(&whole, &odd).as_deref(),
            Some("maximum memory usage per Pod is 1Gi.  No limit is specified")
        );
    }

    #[test]
    fn defaults_come_from_what_the_range_says_next() {
        let mut range = range(json!({
            "type": "Container", "max": { "memory": "1Gi" }, "defaultRequest": { "cpu": "100m" },
        }));
        default_range(&mut range);
        let item = &range["spec"]["limits"][0];
        assert_eq!(item["default"], json!({ "memory": "1Gi" }));
        assert_eq!(item["defaultRequest"], json!({ "cpu": "100m", "memory": "1Gi" }));
        let mut pod = pod(json!({ "cpu": "1" }), json!({}));
        default_pod(&range, &mut pod);
        let resources = &pod["spec"]["containers"][0]["resources"];
        assert_eq!(resources["requests"], json!({ "cpu": "1", "memory": "1Gi" }));
        assert_eq!(resources["limits"], json!({ "memory": "1Gi" }));
        assert_eq!(
            pod["metadata"]["annotations"][ANNOTATION],
            "LimitRanger plugin set: memory request for container app; \
             memory limit for container app"
        );
    }
}
