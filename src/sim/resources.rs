//! The kinds of object that the simulated API server keeps.

use serde_json::Value;

use super::json;

/// A resource with storage of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    Namespaces,
    Nodes,
    Pods,
    Events,
    Deployments,
    ReplicaSets,
    StatefulSets,
    DaemonSets,
    Leases,
    HorizontalPodAutoscalers,
    VerticalPodAutoscalers,
    ResourceQuotas,
    LimitRanges,
    Services,
    ConfigMaps,
}

/// What discovery says of a resource.
pub struct Description {
    pub resource: Resource,
    pub group: &'static str,
    pub version: &'static str,
    pub plural: &'static str,
    pub singular: &'static str,
    pub kind: &'static str,
    pub namespaced: bool,
    pub short_names: &'static [&'static str],
    pub categories: &'static [&'static str],
    /// Name and verbs of each subresource.
    pub subresources: &'static [(&'static str, &'static [&'static str])],
}

const STATUS: (&str, &[&str]) = ("status", &["get", "patch", "update"]);
const SCALE: (&str, &[&str]) = ("scale", &["get", "patch", "update"]);

pub const ALL: [Description; 15] = [
    Description {
        resource: Resource::Namespaces,
        group: "",
        version: "v1",
        plural: "namespaces",
        singular: "namespace",
        kind: "Namespace",
        namespaced: false,
        short_names: &["ns"],
        categories: &[],
        subresources: &[STATUS],
    },
    Description {
        resource: Resource::Nodes,
        group: "",
        version: "v1",
        plural: "nodes",
        singular: "node",
        kind: "Node",
        namespaced: false,
        short_names: &["no"],
        categories: &[],
        subresources: &[STATUS],
    },
    Description {
        resource: Resource::Pods,
        group: "",
        version: "v1",
        plural: "pods",
        singular: "pod",
        kind: "Pod",
        namespaced: true,
        short_names: &["po"],
        categories: &["all"],
        subresources: &[("eviction", &["create"]), ("resize", &["get", "patch", "update"]), STATUS],
    },
    Description {
        resource: Resource::Events,
        group: "",
        version: "v1",
        plural: "events",
        singular: "event",
        kind: "Event",
        namespaced: true,
        short_names: &["ev"],
        categories: &[],
        subresources: &[],
    },
    Description {
        resource: Resource::Deployments,
        group: "apps",
        version: "v1",
        plural: "deployments",
        singular: "deployment",
        kind: "Deployment",
        namespaced: true,
        short_names: &["deploy"],
        categories: &["all"],
        subresources: &[SCALE, STATUS],
    },
    Description {
        resource: Resource::ReplicaSets,
        group: "apps",
        version: "v1",
        plural: "replicasets",
        singular: "replicaset",
        kind: "ReplicaSet",
        namespaced: true,
        short_names: &["rs"],
        categories: &["all"],
        subresources: &[SCALE, STATUS],
    },
    Description {
        resource: Resource::StatefulSets,
        group: "apps",
        version: "v1",
        plural: "statefulsets",
        singular: "statefulset",
        kind: "StatefulSet",
        namespaced: true,
        short_names: &["sts"],
        categories: &["all"],
        subresources: &[SCALE, STATUS],
    },
    Description {
        resource: Resource::DaemonSets,
        group: "apps",
        version: "v1",
        plural: "daemonsets",
        singular: "daemonset",
        kind: "DaemonSet",
        namespaced: true,
        short_names: &["ds"],
        categories: &["all"],
        subresources: &[STATUS],
    },
    Description {
        resource: Resource::Leases,
        group: "coordination.k8s.io",
        version: "v1",
        plural: "leases",
        singular: "lease",
        kind: "Lease",
        namespaced: true,
        short_names: &[],
        categories: &[],
        subresources: &[],
    },
    // No controller acts on these two: they are what other autoscalers would go by.
    Description {
        resource: Resource::HorizontalPodAutoscalers,
        group: "autoscaling",
        version: "v2",
        plural: "horizontalpodautoscalers",
        singular: "horizontalpodautoscaler",
        kind: "HorizontalPodAutoscaler",
        namespaced: true,
        short_names: &["hpa"],
        categories: &["all"],
        subresources: &[STATUS],
    },
    Description {
        resource: Resource::VerticalPodAutoscalers,
        group: "autoscaling.k8s.io",
        version: "v1",
        plural: "verticalpodautoscalers",
        singular: "verticalpodautoscaler",
        kind: "VerticalPodAutoscaler",
        namespaced: true,
        short_names: &["vpa"],
        categories: &[],
        subresources: &[],
    },
    Description {
        resource: Resource::ResourceQuotas,
        group: "",
        version: "v1",
        plural: "resourcequotas",
        singular: "resourcequota",
        kind: "ResourceQuota",
        namespaced: true,
        short_names: &["quota"],
        categories: &[],
        subresources: &[STATUS],
    },
    Description {
        resource: Resource::LimitRanges,
        group: "",
        version: "v1",
        plural: "limitranges",
        singular: "limitrange",
        kind: "LimitRange",
        namespaced: true,
        short_names: &["limits"],
        categories: &[],
        subresources: &[],
    },
    // Stored, and nothing else: no traffic goes to a Service, and no container reads a ConfigMap.
    Description {
        resource: Resource::Services,
        group: "",
        version: "v1",
        plural: "services",
        singular: "service",
        kind: "Service",
        namespaced: true,
        short_names: &["svc"],
        categories: &["all"],
        subresources: &[STATUS],
    },
    Description {
        resource: Resource::ConfigMaps,
        group: "",
        version: "v1",
        plural: "configmaps",
        singular: "configmap",
        kind: "ConfigMap",
        namespaced: true,
        short_names: &["cm"],
        categories: &[],
        subresources: &[],
    },
];

impl Resource {
    pub fn describe(self) -> &'static Description {
        // `ALL` is in the order of the variants.
        &ALL[self as usize]
    }

    /// The resource served as `plural` in an API group.
    pub fn find(group: &str, plural: &str) -> Option<Self> {
        ALL.iter()
            .find(|known| known.group == group && known.plural == plural)
            .map(|known| known.resource)
    }

    /// What a reference to an owner points at, if that is built in.
    pub fn of_reference(owner: &Value) -> Option<Self> {
        let group =
            json::text(owner, "/apiVersion").rsplit_once('/').map_or("", |(group, _)| group);
        let kind = json::text(owner, "/kind");
        let mut known = ALL.iter().filter(|known| known.group == group && known.kind == kind);
        known.next().map(|known| known.resource)
    }

    /// `pods`, or `deployments.apps`: how error messages call it.
    pub fn qualified(self) -> String {
        let Description { group, plural, .. } = self.describe();
        if group.is_empty() { (*plural).to_owned() } else { format!("{plural}.{group}") }
    }

    /// `Pod`, or `Deployment.apps`.
    pub fn qualified_kind(self) -> String {
        let Description { group, kind, .. } = self.describe();
        if group.is_empty() { (*kind).to_owned() } else { format!("{kind}.{group}") }
    }

    pub fn api_version(self) -> String {
        match self.describe() {
            Description { group: "", version, .. } => (*version).to_owned(),
            Description { group, version, .. } => format!("{group}/{version}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_are_in_the_order_of_the_variants() {
        for (index, description) in ALL.iter().enumerate() {
            assert_eq!(description.resource as usize, index);
        }
    }
}
