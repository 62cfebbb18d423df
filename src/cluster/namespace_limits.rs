//! What LimitRanges and ResourceQuotas say of requests and limits.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{LimitRange, ResourceQuota};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::core::namespace_limits::NamespaceLimits;
use crate::core::quantity::amount;
use crate::core::resource::{PerResource, Resource};

type Quantities = Option<BTreeMap<String, Quantity>>;

fn read(quantities: &Quantities, resource: Resource, name: &str) -> Option<f64> {
    amount(resource, &quantities.as_ref()?.get(name)?.0)
}

/// None for one that bounds neither containers nor pods.
pub fn from_limit_range(range: &LimitRange) -> Option<NamespaceLimits> {
    let none = NamespaceLimits::default();
    let items = range.spec.iter().flat_map(|spec| &spec.limits);
    let limits = items.map(|item| {
        let each = |quantities: &Quantities, otherwise: f64| {
            PerResource::build(|resource| {
                read(quantities, resource, resource.name()).unwrap_or(otherwise)
            })
        };
        let max = each(&item.max, f64::INFINITY);
        // A ratio has no unit, whatever it is of.
        let ratio = |resource: Resource| {
            let ratio = read(&item.max_limit_request_ratio, Resource::Cpu, resource.name());
            ratio.unwrap_or(f64::INFINITY)
        };
        match item.type_.as_str() {
            "Container" => NamespaceLimits {
                container_min: each(&item.min, 0.0),
                container_max: max,
                max_limit_request_ratio: PerResource::build(ratio),
                ..none
            },
            "Pod" => NamespaceLimits { pod_max: max, ..none },
            _ => none,
        }
    });
    let limits = limits.fold(none, |all, item| all.and(&item));
    (limits != none).then_some(limits)
}

/// What the quota has left, by its status. None for one that bounds neither requests nor limits, or
/// not all pods that have some.
pub fn from_quota(quota: &ResourceQuota) -> Option<NamespaceLimits> {
    let none = NamespaceLimits::default();
    let (spec, status) = (quota.spec.as_ref()?, quota.status.as_ref()?);
    let mut scopes = spec.scopes.iter().flatten();
    if spec.scope_selector.is_some() || scopes.any(|scope| scope != "NotBestEffort") {
        return None;
    }
    let room = |resource: Resource, name: &str| {
        let hard = read(&spec.hard, resource, name)?;
        Some(hard - read(&status.used, resource, name)?)
    };
    let least = |resource: Resource, names: &[String]| {
        let rooms = names.iter().filter_map(|name| room(resource, name));
        rooms.fold(f64::INFINITY, f64::min)
    };
    let limits = NamespaceLimits {
        limits_room: PerResource::build(|resource| {
            least(resource, &[format!("limits.{}", resource.name())])
        }),
        requests_room: PerResource::build(|resource| {
            let name = resource.name();
            least(resource, &[name.to_owned(), format!("requests.{name}")])
        }),
        ..none
    };
    (limits != none).then_some(limits)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NONE: f64 = f64::INFINITY;

    #[test]
    fn ranges_of_containers_and_pods_are_read() {
        let read = |items: Value| {
            let range = json!({"metadata": {"name": "r"}, "spec": {"limits": items}});
            from_limit_range(&serde_json::from_value(range).unwrap())
        };
        let limits = read(json!([
            {"type": "Container", "min": {"cpu": "100m"}, "max": {"cpu": "2", "memory": "1Gi"},
                "maxLimitRequestRatio": {"memory": "4"}},
            {"type": "Container", "max": {"cpu": "1500m"}, "default": {"cpu": "1"}},
            {"type": "Pod", "max": {"memory": "2Gi"}},
            {"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}},
        ]));
        let expected = NamespaceLimits {
            container_min: PerResource::new(0.1, 0.0),
            container_max: PerResource::new(1.5, 1024.0),
            max_limit_request_ratio: PerResource::new(NONE, 4.0),
            pod_max: PerResource::new(NONE, 2048.0),
            ..NamespaceLimits::default()
        };
        assert_eq!(limits, Some(expected));
        assert_eq!(read(json!([{"type": "Container", "default": {"cpu": "1"}}])), None);
    }

    #[test]
    fn a_quota_leaves_what_is_not_used() {
        let read = |spec: Value, used: Value| {
            let quota = json!({"metadata": {"name": "q"}, "spec": spec, "status": {"used": used}});
            from_quota(&serde_json::from_value(quota).unwrap())
        };
        let hard = json!({"limits.cpu": "2", "requests.cpu": "1", "cpu": "900m",
            "memory": "1Gi", "pods": "9"});
        let used = json!({"limits.cpu": "1500m", "requests.cpu": "750m", "cpu": "750m",
            "memory": "2Gi", "pods": "3"});
        let limits = read(json!({"hard": hard}), used.clone()).unwrap();
        assert_eq!(limits.limits_room, PerResource::new(0.5, NONE));
        assert!((limits.requests_room.cpu - 0.15).abs() < 1e-9);
        assert_eq!(limits.requests_room.memory, -1024.0);
        assert_eq!(read(json!({"hard": hard}), json!({})), None, "not counted yet");
        assert_eq!(read(json!({"hard": {"pods": "9"}}), used.clone()), None);
        for (scope, bounds) in [("NotBestEffort", true), ("Terminating", false)] {
            let limits = read(json!({"hard": hard, "scopes": [scope]}), used.clone());
            assert_eq!(limits.is_some(), bounds, "{scope}");
        }
    }
}
