//! What an object must look like to be stored at all.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, Event, LimitRange, Namespace, Node, Pod, ResourceQuota, Service,
};
use kube::core::DynamicObject;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::core::names::is_dns_subdomain;
use crate::sim::json;
use crate::sim::resources::Resource;
use crate::sim::status::FieldError;
use crate::sim::validation;

/// Why an object cannot be decoded.
pub struct Undecodable(pub String);

/// Decodes an object: gives it its kind, writes quantities in canonical form, and checks the type
/// of every field.
pub fn decode(resource: Resource, object: &mut Value) -> Result<(), Undecodable> {
    let known = resource.describe();
    let expected = [("kind", known.kind.to_owned()), ("apiVersion", resource.api_version())];
    if !object.is_object() {
        return Err(Undecodable(format!(
            "json: cannot unmarshal into Go value of type {}",
            known.kind
        )));
    }
    for (field, expected) in expected {
        let given = object.get(field).and_then(Value::as_str).unwrap_or(&expected);
        if given != expected {
            return Err(Undecodable(format!("{field} {given:?} is not {expected:?}")));
        }
        object[field] = expected.into();
    }
    drop_nulls(object);
    match resource {
        Resource::Pods => validation::normalise(&mut object["spec"]),
        Resource::ResourceQuotas => validation::canonical(object.pointer_mut("/spec/hard")),
        Resource::LimitRanges => validation::canonicalise_range(object),
        _ => object.pointer_mut("/spec/template/spec").map_or(Ok(()), validation::canonicalise),
    }
    .map_err(|error| Undecodable(error.to_string()))?;
    match resource {
        Resource::Namespaces => check::<Namespace>(object),
        Resource::Nodes => check::<Node>(object),
        Resource::Pods => check::<Pod>(object),
        Resource::Events => check::<Event>(object),
        Resource::Deployments => check::<Deployment>(object),
        Resource::ReplicaSets => check::<ReplicaSet>(object),
        Resource::StatefulSets => check::<StatefulSet>(object),
        Resource::DaemonSets => check::<DaemonSet>(object),
        Resource::Leases => check::<Lease>(object),
        Resource::ResourceQuotas => check::<ResourceQuota>(object),
        Resource::LimitRanges => check::<LimitRange>(object),
        Resource::Services => check::<Service>(object),
        Resource::ConfigMaps => check::<ConfigMap>(object),
        Resource::HorizontalPodAutoscalers => check::<HorizontalPodAutoscaler>(object),
        // A custom resource, of which no more than the common fields are checked.
        Resource::VerticalPodAutoscalers => check::<DynamicObject>(object),
    }
    .map_err(|error| Undecodable(error.to_string()))
}

/// Null is the same as nothing.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(elements) => elements.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

fn check<T: DeserializeOwned>(object: &Value) -> Result<(), serde_json::Error> {
    T::deserialize(object).map(drop)
}

/// Whether a controller makes pods of the object's template.
pub fn is_workload(resource: Resource) -> bool {
    use Resource::{DaemonSets, Deployments, ReplicaSets, StatefulSets};
    matches!(resource, Deployments | ReplicaSets | StatefulSets | DaemonSets)
}

/// Checks what a new object says, or one that replaces `old`.
pub fn validate(resource: Resource, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let name = json::text(object, "/metadata/name");
    if name.is_empty() {
        errors.push(FieldError::required("metadata.name"));
    } else if !is_dns_subdomain(name) {
        let problem = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric \
            characters, '-' or '.', and must start and end with an alphanumeric character";
        errors.push(FieldError::invalid("metadata.name", name, problem));
    }
    match (resource, old) {
        (Resource::Pods, None) => errors.extend(validation::pod_spec(&object["spec"], "spec")),
        (Resource::Pods, Some(old)) => errors.extend(validation::pod_update(old, object)),
        (resource, old) if is_workload(resource) => errors.extend(workload(object, old)),
        _ => {}
    }
    errors
}

fn workload(object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let spec = &object["spec"];
    let mut errors = validation::pod_spec(&spec["template"]["spec"], "spec.template.spec");
    if let Some(replicas) = json::number(spec, "/replicas").filter(|replicas| *replicas < 0) {
        let problem = "must be greater than or equal to 0";
        errors.push(FieldError::invalid("spec.replicas", &replicas.to_string(), problem));
    }
    let labels = spec.pointer("/selector/matchLabels").and_then(Value::as_object);
    match labels.filter(|labels| !labels.is_empty()) {
        None => errors.push(FieldError::required("spec.selector")),
        Some(labels) => {
            let present = &spec["template"]["metadata"]["labels"];
            if labels.iter().any(|(name, value)| present.get(name) != Some(value)) {
                let problem = "`selector` does not match template `labels`";
                let shown = present.to_string();
                errors.push(FieldError::invalid("spec.template.metadata.labels", &shown, problem));
            }
        }
    }
    if old.is_some_and(|old| old["spec"]["selector"] != spec["selector"]) {
        let shown = spec["selector"].to_string();
        errors.push(FieldError::invalid("spec.selector", &shown, "field is immutable"));
    }
    errors
}
