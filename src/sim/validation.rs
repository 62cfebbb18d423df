//! What the API server checks of pods before it stores them.

use serde_json::Value;

use super::json;
use super::resource_list::{ResourceList, containers_of_pod, of_container};
use super::status::FieldError;
use crate::core::quantity::{NotAQuantity, Quantity};

const LISTS: [&str; 2] = ["requests", "limits"];

/// Writes every quantity of a pod in canonical form and lets requests default to limits, as
/// decoding does.
pub fn normalise(spec: &mut Value) -> Result<(), NotAQuantity> {
    canonicalise(spec)?;
    for resources in resources_of(spec) {
        let Some(Value::Object(limits)) = resources.get("limits").cloned() else { continue };
        let requests = json::object(resources, &["requests"]);
        for (name, limit) in limits {
            requests.entry(name).or_insert(limit);
        }
    }
    default_pod_requests(spec);
    Ok(())
}

/// What a pod as a whole is limited to and does not request: what its containers do, or the limit.
fn default_pod_requests(spec: &mut Value) {
    let limits = ResourceList::of(spec.pointer("/resources/limits"));
    let mut requests = ResourceList::of(spec.pointer("/resources/requests"));
    let containers = containers_of_pod(spec, "requests");
    for (name, limit) in limits.iter() {
        if requests.get(name).is_none() {
            requests.set(name, containers.get(name).unwrap_or(limit));
        }
    }
    if !requests.is_empty() {
        json::set(spec, &["resources"], "requests", requests.to_value());
    }
}

/// Writes every quantity in canonical form: all that is done to templates, whose requests default
/// in their pods.
pub fn canonicalise(spec: &mut Value) -> Result<(), NotAQuantity> {
    let of_pod = spec.get_mut("resources").filter(|resources| resources.is_object());
    of_pod.map_or(Ok(()), canonical_lists)?;
    resources_of(spec).try_for_each(canonical_lists)
}

fn canonical_lists(resources: &mut Value) -> Result<(), NotAQuantity> {
    LISTS.iter().try_for_each(|list| canonical(resources.get_mut(list)))
}

/// Writes every quantity of a LimitRange in canonical form.
pub fn canonicalise_range(range: &mut Value) -> Result<(), NotAQuantity> {
    let items = range.pointer_mut("/spec/limits").and_then(Value::as_array_mut);
    items.into_iter().flatten().filter_map(Value::as_object_mut).try_for_each(|item| {
        item.values_mut().filter(|list| list.is_object()).try_for_each(|list| canonical(Some(list)))
    })
}

fn resources_of(spec: &mut Value) -> impl Iterator<Item = &mut Value> {
    let kinds = spec.as_object_mut().into_iter().flatten();
    let kinds =
        kinds.filter(|(field, _)| matches!(field.as_str(), "containers" | "initContainers"));
    let containers = kinds.filter_map(|(_, containers)| containers.as_array_mut()).flatten();
    containers.filter_map(|container| {
        container.get_mut("resources").filter(|resources| resources.is_object())
    })
}

/// Writes the quantities of a list in canonical form.
pub fn canonical(list: Option<&mut Value>) -> Result<(), NotAQuantity> {
    let Some(Value::Object(list)) = list else { return Ok(()) };
    for quantity in list.values_mut() {
        let parsed = match &*quantity {
            Value::String(text) => Quantity::parse(text),
            Value::Number(number) => Quantity::parse(&number.to_string()),
            _ => Err(NotAQuantity),
        };
        *quantity = parsed?.to_string().into();
    }
    Ok(())
}

/// Checks the spec of a new pod or of a template at `path`.
pub fn pod_spec(spec: &Value, path: &str) -> Vec<FieldError> {
    let containers = json::items(spec, "/containers");
    let mut errors = resources(spec, path);
    if containers.is_empty() {
        errors.push(FieldError::required(format!("{path}.containers")));
    }
    for (index, container) in containers.iter().enumerate() {
        for field in ["name", "image"] {
            if json::text(container, &format!("/{field}")).is_empty() {
                errors.push(FieldError::required(format!("{path}.containers[{index}].{field}")));
            }
        }
    }
    errors
}

/// Checks the resources of every container: nothing negative, no request above its limit.
pub fn resources(spec: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = resources_in(spec, &format!("{path}.resources"));
    errors.extend(pod_resources(spec, path));
    for kind in ["containers", "initContainers"] {
        for (index, container) in json::items(spec, &format!("/{kind}")).iter().enumerate() {
            errors.extend(resources_in(container, &format!("{path}.{kind}[{index}].resources")));
        }
    }
    errors
}

/// Checks that the resources of a pod as a whole have room for those of its containers.
fn pod_resources(spec: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let own = ResourceList::of(spec.pointer("/resources/requests"));
    for (name, sum) in containers_of_pod(spec, "requests").iter() {
        if let Some(request) = own.get(name).filter(|request| sum > *request) {
            let field = format!("{path}.resources.requests[{name}]");
            let problem =
                format!("must be greater than or equal to aggregate container requests of {sum}");
            errors.push(FieldError::invalid(field, &request.to_string(), &problem));
        }
    }
    let own = ResourceList::of(spec.pointer("/resources/limits"));
    for (index, container) in json::items(spec, "/containers").iter().enumerate() {
        for (name, limit) in of_container(container, "limits").iter() {
            if let Some(most) = own.get(name).filter(|most| limit > *most) {
                let field = format!("{path}.containers[{index}].resources.limits[{name}]");
                let problem = format!("must be less than or equal to pod limits of {most}");
                errors.push(FieldError::invalid(field, &limit.to_string(), &problem));
            }
        }
    }
    errors
}

/// Checks the resources of a container or of a pod as a whole.
fn resources_in(holder: &Value, place: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let list =
        |name: &str| holder.pointer(&format!("/resources/{name}")).and_then(Value::as_object);
    for name in LISTS {
        for (resource, text, quantity) in quantities(list(name)) {
            if quantity.is_negative() {
                let field = format!("{place}.{name}[{resource}]");
                errors.push(FieldError::invalid(field, text, "must be greater than or equal to 0"));
            }
        }
    }
    for (resource, text, request) in quantities(list("requests")) {
        let limit = quantities(list("limits")).find(|(name, ..)| *name == resource);
        if let Some((_, limit_text, limit)) = limit
            && request > limit
        {
            let problem = format!("must be less than or equal to {resource} limit of {limit_text}");
            errors.push(FieldError::invalid(format!("{place}.requests"), text, &problem));
        }
    }
    errors
}

fn quantities(
    list: Option<&serde_json::Map<String, Value>>,
) -> impl Iterator<Item = (&str, &str, Quantity)> {
    list.into_iter().flatten().filter_map(|(name, value)| {
        let text = value.as_str()?;
        Some((name.as_str(), text, Quantity::parse(text).ok()?))
    })
}

/// Checks what no update may change of an object's metadata.
pub fn metadata_update(old: &Value, new: &Value) -> Vec<FieldError> {
    ["name", "namespace", "uid"]
        .into_iter()
        .filter_map(|field| {
            let pointer = format!("/metadata/{field}");
            let (old, new) = (json::text(old, &pointer), json::text(new, &pointer));
            (old != new).then(|| {
                FieldError::invalid(format!("metadata.{field}"), new, "field is immutable")
            })
        })
        .collect()
}

/// Checks an update of a pod itself: only few fields may change there.
pub fn pod_update(old: &Value, new: &Value) -> Vec<FieldError> {
    let mutable = |pod: &Value| {
        let mut spec = pod["spec"].clone();
        for containers in ["containers", "initContainers"] {
            for container in
                spec.get_mut(containers).and_then(Value::as_array_mut).into_iter().flatten()
            {
                json::object(container, &[]).remove("image");
            }
        }
        for field in ["activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds"] {
            json::object(&mut spec, &[]).remove(field);
        }
        spec
    };
    if mutable(old) == mutable(new) {
        return Vec::new();
    }
    let message = "pod updates may not change fields other than `spec.containers[*].image`,\
        `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only \
        additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be \
        set to 1 if it was previously negative)";
    vec![FieldError::forbidden("spec", message)]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn requests_default_to_limits_in_canonical_form() {
        let mut spec = json!({
            "containers": [{ "resources": { "limits": { "cpu": 0.5, "memory": "1024Mi" } } }],
        });
        normalise(&mut spec).unwrap();
        let resources = json!({ "cpu": "500m", "memory": "1Gi" });
        assert_eq!(
            spec["containers"][0]["resources"],
            json!({ "limits": resources, "requests": resources })
        );
        assert!(
            normalise(
                &mut json!({ "containers": [{ "resources": { "limits": { "cpu": "abc" } } }] })
            )
            .is_err()
        );
    }

    #[test]
    fn a_request_above_its_limit_is_invalid() {
        let resources = json!({ "requests": { "cpu": "500m" }, "limits": { "cpu": "400m" } });
        let errors =
            super::resources(&json!({ "containers": [{ "resources": resources }] }), "spec");
        let expected = FieldError::invalid(
            "spec.containers[0].resources.requests",
            "500m",
            "must be less than or equal to cpu limit of 400m",
        );
        assert_eq!(errors, [expected]);
    }
}
