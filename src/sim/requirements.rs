//! What containers request and are limited to, and the QoS class that follows.

use serde_json::Value;

use super::json;
use super::physics::Resources;
use crate::core::quantity::Quantity;

pub const MIB: f64 = 1024.0 * 1024.0;

/// CPU in thousandths of a core and memory in bytes; what is not given is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amounts {
    pub cpu: Option<i64>,
    pub memory: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Requirements {
    pub requests: Amounts,
    pub limits: Amounts,
}

/// CPU in thousandths of a core and memory in bytes, as the scheduler and the kubelet add them up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sum {
    pub cpu: i64,
    pub memory: i64,
}

impl std::ops::Add for Sum {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { cpu: self.cpu + other.cpu, memory: self.memory + other.memory }
    }
}

impl std::ops::Sub for Sum {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self { cpu: self.cpu - other.cpu, memory: self.memory - other.memory }
    }
}

impl Amounts {
    /// Of a resource list such as `{"cpu": "200m", "memory": "128Mi"}`. Validation has refused what
    /// cannot be read.
    pub fn of(list: Option<&Value>) -> Self {
        let quantity =
            |name: &str| list?.get(name)?.as_str().and_then(|text| Quantity::parse(text).ok());
        Self {
            cpu: quantity("cpu").map(Quantity::to_millis),
            memory: quantity("memory").map(Quantity::to_units),
        }
    }

    fn sum(self) -> Sum {
        Sum { cpu: self.cpu.unwrap_or_default(), memory: self.memory.unwrap_or_default() }
    }
}

impl Requirements {
    /// Of a container, or of the spec of a pod that has some as a whole.
    pub fn of(holder: &Value) -> Self {
        let resources = holder.get("resources");
        let list = |name: &str| Amounts::of(resources.and_then(|resources| resources.get(name)));
        Self { requests: list("requests"), limits: list("limits") }
    }

    /// The limits as the node enforces them: where there is none, the node is the limit.
    pub fn enforced(&self, node: Sum) -> Resources {
        Resources {
            cpu: self.limits.cpu.unwrap_or(node.cpu).min(node.cpu) as f64 / 1000.0,
            memory: self.limits.memory.unwrap_or(node.memory).min(node.memory) as f64 / MIB,
        }
    }

    /// The larger of limit and request: what the container was made for.
    pub fn size(&self) -> Sum {
        Sum {
            cpu: self.limits.cpu.or(self.requests.cpu).unwrap_or_default(),
            memory: self.limits.memory.or(self.requests.memory).unwrap_or_default(),
        }
    }
}

/// A restartable init container: it starts first and runs along.
pub fn is_sidecar(container: &Value) -> bool {
    json::text(container, "/restartPolicy") == "Always"
}

/// The containers that run as long as a pod does, from its spec: sidecars, then containers.
pub fn running_containers(spec: &Value) -> impl Iterator<Item = &Value> {
    let sidecars =
        json::items(spec, "/initContainers").iter().filter(|container| is_sidecar(container));
    sidecars.chain(json::items(spec, "/containers"))
}

/// What a pod occupies of its node: what it requests as a whole, or what its containers do.
pub fn pod_requests(spec: &Value) -> Sum {
    let requests = |container: &Value| Requirements::of(container).requests.sum();
    let running = running_containers(spec).map(requests).fold(Sum::default(), |a, b| a + b);
    let init = json::items(spec, "/initContainers")
        .iter()
        .filter(|container| !is_sidecar(container))
        .map(requests);
    let most = |a: Sum, b: Sum| Sum { cpu: a.cpu.max(b.cpu), memory: a.memory.max(b.memory) };
    let containers = init.fold(running, most);
    let own = Requirements::of(spec).requests;
    Sum { cpu: own.cpu.unwrap_or(containers.cpu), memory: own.memory.unwrap_or(containers.memory) }
}

/// The most that a container of a pod can have: what the node has, or the pod as a whole.
pub fn room(spec: &Value, node: Sum) -> Sum {
    let own = Requirements::of(spec).limits;
    Sum {
        cpu: own.cpu.map_or(node.cpu, |limit| limit.min(node.cpu)),
        memory: own.memory.map_or(node.memory, |limit| limit.min(node.memory)),
    }
}

pub fn qos_class(spec: &Value) -> &'static str {
    let containers = || {
        let all =
            json::items(spec, "/containers").iter().chain(json::items(spec, "/initContainers"));
        all.map(Requirements::of)
    };
    let own = Requirements::of(spec);
    let whole = (own != Requirements::default()).then_some(own);
    let all = || whole.into_iter().chain(containers().filter(|_| whole.is_none()));
    if all().all(|requirements| requirements == Requirements::default()) {
        return "BestEffort";
    }
    let pinned = |limit: Option<i64>, request: Option<i64>| {
        limit.is_some_and(|limit| limit > 0 && request == Some(limit))
    };
    let guaranteed = all().all(|Requirements { requests, limits }| {
        pinned(limits.cpu, requests.cpu) && pinned(limits.memory, requests.memory)
    });
    if guaranteed { "Guaranteed" } else { "Burstable" }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(resources: &[Value]) -> Value {
        let containers = resources.iter().map(|resources| json!({ "resources": resources }));
        json!({ "containers": containers.collect::<Vec<_>>() })
    }

    #[test]
    fn the_qos_class_follows_from_all_containers() {
        let pinned = json!({
            "requests": { "cpu": "1", "memory": "1Gi" },
            "limits": { "cpu": "1000m", "memory": "1024Mi" },
        });
        let loose = json!({ "requests": { "cpu": "1" } });
        assert_eq!(qos_class(&spec(std::slice::from_ref(&pinned))), "Guaranteed");
        assert_eq!(qos_class(&spec(&[pinned, loose])), "Burstable");
        assert_eq!(qos_class(&spec(&[json!({})])), "BestEffort");
    }

    #[test]
    fn a_pod_occupies_its_containers_and_sidecars_or_its_largest_init_container() {
        let request = |cpu: &str| json!({ "resources": { "requests": { "cpu": cpu } } });
        let mut sidecar = request("100m");
        sidecar["restartPolicy"] = "Always".into();
        let spec = json!({
            "containers": [request("1"), request("2")],
            "initContainers": [sidecar, request("500m")],
        });
        assert_eq!(pod_requests(&spec), Sum { cpu: 3100, memory: 0 });
    }
}
