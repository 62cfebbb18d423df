//! Lists of resources, as quotas and ranges add them up and compare them.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::json;
use super::requirements::is_sidecar;
use crate::core::quantity::Quantity;

/// Quantities by the names of resources: `cpu`, `limits.memory`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ResourceList(BTreeMap<String, Quantity>);

impl ResourceList {
    /// Of an object such as `{"cpu": "200m", "memory": "128Mi"}`, without what cannot be read.
    pub fn of(list: Option<&Value>) -> Self {
        let list = list.and_then(Value::as_object).into_iter().flatten();
        let read = |value: &Value| Quantity::parse(value.as_str()?).ok();
        Self(list.filter_map(|(name, value)| Some((name.clone(), read(value)?))).collect())
    }

    pub fn get(&self, name: &str) -> Option<Quantity> {
        self.0.get(name).copied()
    }

    pub fn set(&mut self, name: impl Into<String>, quantity: Quantity) {
        self.0.insert(name.into(), quantity);
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, Quantity)> {
        self.0.iter().map(|(name, quantity)| (name.as_str(), *quantity))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn retain(&mut self, keep: impl Fn(&str, Quantity) -> bool) {
        self.0.retain(|name, quantity| keep(name, *quantity));
    }

    pub fn plus(mut self, other: &Self) -> Self {
        for (name, quantity) in other.iter() {
            let sum = self
                .get(name)
                .map_or(quantity, |own| from_raw(name, raw(name, own) + raw(name, quantity)));
            self.set(name, sum);
        }
        self
    }

    /// What `self` has more than `other`, of each resource.
    pub fn beyond(&self, other: &Self) -> Self {
        let more = |name: &str, quantity| {
            let before = other.get(name).map_or(0, |before| raw(name, before));
            from_raw(name, (raw(name, quantity) - before).max(0))
        };
        let list = self.iter().map(|(name, quantity)| (name.to_owned(), more(name, quantity)));
        Self(list.filter(|(_, quantity)| *quantity > Quantity::millis(0)).collect())
    }

    /// The larger of both, of each resource.
    pub fn max(mut self, other: &Self) -> Self {
        for (name, quantity) in other.iter() {
            let larger = self.get(name).map_or(quantity, |own| own.max(quantity));
            self.set(name, larger);
        }
        self
    }

    /// Puts the quantities of `other` in the place of its own.
    fn overlaid(mut self, other: &Self) -> Self {
        self.0.extend(other.0.clone());
        self
    }

    pub fn to_value(&self) -> Value {
        let list = self.iter().map(|(name, quantity)| (name.to_owned(), quantity.to_string()));
        Value::Object(list.map(|(name, text)| (name, text.into())).collect::<Map<_, _>>())
    }
}

/// `limits.cpu=1,limits.memory=2Gi`
impl std::fmt::Display for ResourceList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts: Vec<String> =
            self.iter().map(|(name, quantity)| format!("{name}={quantity}")).collect();
        f.write_str(&parts.join(","))
    }
}

/// Bytes of what is counted in bytes, thousandths of all else.
fn raw(name: &str, quantity: Quantity) -> i64 {
    if in_bytes(name) { quantity.to_units() } else { quantity.to_millis() }
}

fn from_raw(name: &str, raw: i64) -> Quantity {
    if in_bytes(name) { Quantity::bytes(raw) } else { Quantity::millis(raw) }
}

fn in_bytes(name: &str) -> bool {
    ["memory", "storage", "hugepages"].iter().any(|part| name.contains(part))
}

/// The requests or the limits of a pod, from what each container has of them: the sum of what runs
/// together, or the largest init container; what the pod itself says goes before.
pub fn of_pod(spec: &Value, list: &str, of: impl Fn(&Value) -> ResourceList) -> ResourceList {
    summed(spec, of).overlaid(&ResourceList::of(spec.pointer(&format!("/resources/{list}"))))
}

/// The same of its containers alone.
pub fn containers_of_pod(spec: &Value, list: &str) -> ResourceList {
    summed(spec, |container| of_container(container, list))
}

fn summed(spec: &Value, of: impl Fn(&Value) -> ResourceList) -> ResourceList {
    let containers = json::items(spec, "/containers").iter();
    let (sidecars, init): (Vec<_>, Vec<_>) =
        json::items(spec, "/initContainers").iter().partition(|container| is_sidecar(container));
    let running = containers.chain(sidecars).map(&of);
    let running = running.fold(ResourceList::default(), |sum, list| sum.plus(&list));
    init.into_iter().map(of).fold(running, |all, list| all.max(&list))
}

/// The requests or the limits in a container's spec or status.
pub fn of_container(container: &Value, list: &str) -> ResourceList {
    ResourceList::of(container.pointer(&format!("/resources/{list}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_are_added_and_compared_by_resource() {
        let list = |value: &Value| ResourceList::of(Some(value));
        let small = list(&json!({ "cpu": "500m", "memory": "1Gi" }));
        let large = list(&json!({ "cpu": "1", "memory": "512Mi", "pods": "2" }));
        assert_eq!(small.clone().plus(&large).to_string(), "cpu=1500m,memory=1536Mi,pods=2");
        assert_eq!(large.beyond(&small).to_string(), "cpu=500m,pods=2");
        assert_eq!(small.max(&large).to_string(), "cpu=1,memory=1Gi,pods=2");
    }
}
