//! What the LimitRanges and ResourceQuotas of a namespace admit. What admission would refuse is not
//! decided in the first place.

use crate::resource::{PerResource, Resource};

/// What one LimitRange or ResourceQuota says, or all of a namespace together: cores and MiB,
/// infinite where nothing is said.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NamespaceLimits {
    /// The least request and the largest limit of a container.
    pub container_min: PerResource<f64>,
    pub container_max: PerResource<f64>,
    /// The limit of a container as a multiple of its request, at most.
    pub max_limit_request_ratio: PerResource<f64>,
    /// The largest sum of the limits of a pod.
    pub pod_max: PerResource<f64>,
    /// What a container may grow by until its pod is at that.
    pub pod_room: PerResource<f64>,
    /// What quotas leave for more limits and for more requests.
    pub limits_room: PerResource<f64>,
    pub requests_room: PerResource<f64>,
}

impl Default for NamespaceLimits {
    /// Nothing is bounded.
    fn default() -> Self {
        let infinite = PerResource::new(f64::INFINITY, f64::INFINITY);
        Self {
            container_min: PerResource::new(0.0, 0.0),
            container_max: infinite,
            max_limit_request_ratio: infinite,
            pod_max: infinite,
            pod_room: infinite,
            limits_room: infinite,
            requests_room: infinite,
        }
    }
}

impl NamespaceLimits {
    /// Both hold.
    pub fn and(&self, other: &Self) -> Self {
        let largest = |one: &PerResource<f64>, other: &PerResource<f64>| {
            PerResource::build(|resource| one[resource].max(other[resource]))
        };
        let least = |one: &PerResource<f64>, other: &PerResource<f64>| {
            PerResource::build(|resource| one[resource].min(other[resource]))
        };
        Self {
            container_min: largest(&self.container_min, &other.container_min),
            container_max: least(&self.container_max, &other.container_max),
            max_limit_request_ratio: least(
                &self.max_limit_request_ratio,
                &other.max_limit_request_ratio,
            ),
            pod_max: least(&self.pod_max, &other.pod_max),
            pod_room: least(&self.pod_room, &other.pod_room),
            limits_room: least(&self.limits_room, &other.limits_room),
            requests_room: least(&self.requests_room, &other.requests_room),
        }
    }

    /// The part of each of the `containers` of a pod with that limit: they share the room alike.
    pub fn shared(&self, containers: usize, pod_limit: PerResource<f64>) -> Self {
        let share = |room: f64| room.max(0.0) / containers.max(1) as f64;
        Self {
            pod_room: PerResource::build(|resource| {
                share(self.pod_max[resource] - pod_limit[resource])
            }),
            limits_room: PerResource::build(|resource| share(self.limits_room[resource])),
            requests_room: PerResource::build(|resource| share(self.requests_room[resource])),
            ..*self
        }
    }

    /// The limits that LimitRanges admit for a container whose request keeps its ratio to its
    /// limit; None where they admit no change.
    pub fn range(&self, resource: Resource, limit: f64, request: f64) -> Option<(f64, f64)> {
        // The API server gives a container without a request its limit as one.
        let ratio = if request > 0.0 { limit / request } else { 1.0 };
        let (min, max) = (
            self.container_min[resource] * ratio,
            self.container_max[resource].min(limit + self.pod_room[resource]),
        );
        let most = self.max_limit_request_ratio[resource];
        (min <= max && ratio <= most * (1.0 + ROUNDING)).then_some((min, max))
    }

    /// The limit that quotas leave room for.
    pub fn most_by_quota(&self, resource: Resource, limit: f64, request: f64) -> f64 {
        let by_requests = match request {
            request if request > 0.0 => limit * (1.0 + self.requests_room[resource] / request),
            _ => f64::INFINITY,
        };
        by_requests.min(limit + self.limits_room[resource])
    }
}

/// What rounding to millicores and KiB does is no matter.
const ROUNDING: f64 = 0.001;

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: f64 = f64::INFINITY;

    #[test]
    fn requests_and_limits_keep_to_the_range_together() {
        for (min, max, ratio, limit, request, expected) in [
            (0.0, NONE, NONE, 1.0, 0.5, Some((0.0, NONE))),
            (0.2, 2.0, NONE, 1.0, 0.0, Some((0.2, 2.0))),
            (0.2, 2.0, NONE, 1.0, 0.5, Some((0.4, 2.0))),
            (0.2, 2.0, NONE, 1.0, 0.05, None),
            (0.0, NONE, 4.0, 1.0, 0.25, Some((0.0, NONE))),
            (0.0, NONE, 4.0, 1.0, 0.2, None),
        ] {
            let of = |amount| PerResource::new(amount, NONE);
            let limits = NamespaceLimits {
                container_min: of(min),
                container_max: of(max),
                max_limit_request_ratio: of(ratio),
                ..NamespaceLimits::default()
            };
            let range = limits.range(Resource::Cpu, limit, request);
            assert_eq!(range, expected, "{min} {max} {ratio} {limit} {request}");
        }
    }

    #[test]
    fn a_quota_leaves_room_for_limits_and_for_requests() {
        for (limits, requests, request, expected) in [
            (NONE, NONE, 0.5, NONE),
            (0.5, NONE, 0.5, 1.5),
            (0.5, 0.1, 0.5, 1.2),
            (0.1, 0.5, 0.5, 1.1),
            (NONE, 0.1, 0.0, NONE),
            (0.0, NONE, 0.0, 1.0),
        ] {
            let of = |amount| PerResource::new(amount, NONE);
            let limits = NamespaceLimits {
                limits_room: of(limits),
                requests_room: of(requests),
                ..NamespaceLimits::default()
            };
            let most = limits.most_by_quota(Resource::Cpu, 1.0, request);
            assert!(most == expected || (most - expected).abs() < 1e-9, "{limits:?}: {most}");
        }
    }

    #[test]
    fn the_containers_of_a_pod_share_the_room() {
        let shared = |room: f64, pod_max: f64| {
            let of = |amount| PerResource::new(amount, NONE);
            let limits = NamespaceLimits {
                limits_room: of(room),
                pod_max: of(pod_max),
                ..NamespaceLimits::default()
            };
            let limits = limits.shared(2, PerResource::new(2.0, 2048.0));
            let (_, most) = limits.range(Resource::Cpu, 1.0, 1.0).unwrap();
            (limits.limits_room, most)
        };
        assert_eq!(shared(3.0, NONE), (PerResource::new(1.5, NONE), NONE));
        assert_eq!(shared(NONE, 3.0), (PerResource::new(NONE, NONE), 1.5));
        assert_eq!(shared(-1.0, 1.0), (PerResource::new(0.0, NONE), 1.0));
    }

    #[test]
    fn of_several_objects_the_narrowest_holds() {
        let of = |cpu| PerResource::new(cpu, NONE);
        let one = NamespaceLimits { container_max: of(2.0), ..NamespaceLimits::default() };
        let other = NamespaceLimits {
            container_min: PerResource::new(0.5, 0.0),
            container_max: of(3.0),
            limits_room: of(1.0),
            ..NamespaceLimits::default()
        };
        assert_eq!(one.and(&other), NamespaceLimits { container_max: of(2.0), ..other });
        assert_eq!(other.and(&NamespaceLimits::default()), other);
    }
}
