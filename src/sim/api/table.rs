//! Objects as rows of a table, with the columns that kubectl shows.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::sim::json;
use crate::sim::requirements::is_sidecar;
use crate::sim::resources::Resource;

/// The names of the columns: those that begin with `*` are for `-o wide`, those that end with `#`
/// hold integers.
fn described(resource: Resource) -> &'static str {
    match resource {
        Resource::Pods => {
            "Name,Ready,Status,Restarts,Age,*IP,*Node,*Nominated Node,*Readiness Gates"
        }
        Resource::Deployments => {
            "Name,Ready,Up-to-date#,Available#,Age,*Containers,*Images,*Selector"
        }
        Resource::ReplicaSets => "Name,Desired#,Current#,Ready#,Age,*Containers,*Images,*Selector",
        Resource::StatefulSets => "Name,Ready,Age,*Containers,*Images",
        Resource::DaemonSets => {
            "Name,Desired#,Current#,Ready#,Up-to-date#,Available#,Node Selector,Age,\
             *Containers,*Images,*Selector"
        }
        Resource::Nodes => {
            "Name,Status,Roles,Age,Version,*Internal-IP,*External-IP,*OS-Image,*Kernel-Version,\
             *Container-Runtime"
        }
        Resource::Events => {
            "Last Seen,Type,Reason,Object,*Subobject,*Source,Message,*First Seen,*Count#,*Name"
        }
        Resource::Namespaces => "Name,Status,Age",
        Resource::Leases => "Name,Holder,Age",
        Resource::HorizontalPodAutoscalers | Resource::VerticalPodAutoscalers => "Name,Target,Age",
        Resource::ResourceQuotas => "Name,Request,Limit,Age",
        Resource::LimitRanges => "Name,Created At",
        Resource::Services => "Name,Type,Cluster-IP,External-IP,Port(s),Age",
        Resource::ConfigMaps => "Name,Data#,Age",
    }
}

pub fn columns(resource: Resource) -> Value {
    let columns = described(resource).split(',').map(|column| {
        let name = column.trim_start_matches('*').trim_end_matches('#');
        json!({
            "name": name,
            "type": if column.ends_with('#') { "integer" } else { "string" },
            "format": if name == "Name" { "name" } else { "" },
            "description": "",
            "priority": u8::from(column.starts_with('*')),
        })
    });
    columns.collect()
}

/// What stands in the columns for an object.
pub fn cells(resource: Resource, object: &Value, now: DateTime<Utc>) -> Value {
    let row = Row { object, now };
    let (name, age) = (row.text("/metadata/name"), row.since("/metadata/creationTimestamp"));
    match resource {
        Resource::Pods => row.pod(),
        Resource::Deployments => row.deployment(),
        Resource::ReplicaSets => row.replica_set(),
        Resource::StatefulSets => {
            let (containers, images) = (row.containers("/name"), row.containers("/image"));
            json!([name, row.ready_of_wanted(), age, containers, images])
        }
        Resource::DaemonSets => row.daemon_set(),
        Resource::Nodes => row.node(),
        Resource::Events => row.event(),
        Resource::Namespaces => json!([name, row.text("/status/phase"), age]),
        Resource::Leases => json!([name, row.text("/spec/holderIdentity"), age]),
        Resource::HorizontalPodAutoscalers => json!([name, row.target("scaleTargetRef"), age]),
        Resource::VerticalPodAutoscalers => json!([name, row.target("targetRef"), age]),
        Resource::ResourceQuotas => {
            json!([name, row.used_of_hard(false), row.used_of_hard(true), age])
        }
        Resource::LimitRanges => json!([name, row.text("/metadata/creationTimestamp")]),
        Resource::Services => {
            let kind = match json::text(object, "/spec/type") {
                "" => "ClusterIP",
                kind => kind,
            };
            let port = |of: &Value| {
                let protocol = match json::text(of, "/protocol") {
                    "" => "TCP",
                    protocol => protocol,
                };
                format!("{}/{protocol}", json::number(of, "/port").unwrap_or_default())
            };
            let ports: Vec<_> = json::items(object, "/spec/ports").iter().map(port).collect();
            let address = row.or_none("/spec/clusterIP");
            json!([name, kind, address, "<none>", ports.join(","), age])
        }
        Resource::ConfigMaps => {
            let count = |pointer: &str| {
                object.pointer(pointer).and_then(Value::as_object).map_or(0, serde_json::Map::len)
            };
            json!([name, count("/data") + count("/binaryData"), age])
        }
    }
}

/// An object whose row is made.
struct Row<'a> {
    object: &'a Value,
    now: DateTime<Utc>,
}

impl Row<'_> {
    fn text(&self, pointer: &str) -> String {
        json::text(self.object, pointer).to_owned()
    }

    fn or_none(&self, pointer: &str) -> String {
        match json::text(self.object, pointer) {
            "" => "<none>".to_owned(),
            text => text.to_owned(),
        }
    }

    fn count(&self, pointer: &str) -> i64 {
        json::number(self.object, pointer).unwrap_or_default()
    }

    fn since(&self, pointer: &str) -> String {
        age(json::text(self.object, pointer), self.now)
    }

    /// A field of every container of a template.
    fn containers(&self, field: &str) -> String {
        let containers = json::items(self.object, "/spec/template/spec/containers").iter();
        containers.map(|container| json::text(container, field)).collect::<Vec<_>>().join(",")
    }

    fn selector(&self) -> String {
        pairs(self.object.pointer("/spec/selector/matchLabels"))
    }

    fn ready_of_wanted(&self) -> String {
        format!("{}/{}", self.count("/status/readyReplicas"), self.count("/spec/replicas"))
    }

    fn target(&self, reference: &str) -> String {
        let part = |field: &str| self.text(&format!("/spec/{reference}/{field}"));
        format!("{}/{}", part("kind"), part("name"))
    }

    /// `requests.cpu: 1/4, pods: 2/9`
    fn used_of_hard(&self, limits: bool) -> String {
        let hard = self.object.pointer("/status/hard").and_then(Value::as_object);
        let hard = hard.into_iter().flatten();
        let parts: Vec<String> = hard
            .filter(|(name, _)| name.starts_with("limits.") == limits)
            .map(|(name, hard)| {
                let used = self.text(&format!("/status/used/{}", name.replace('/', "~1")));
                format!("{name}: {used}/{}", hard.as_str().unwrap_or_default())
            })
            .collect();
        parts.join(", ")
    }

    fn pod(&self) -> Value {
        let pod = self.object;
        let containers = json::items(pod, "/status/containerStatuses");
        let sidecars = sidecar_statuses(pod);
        let running = || containers.iter().chain(sidecars.iter().copied());
        let ready = running().filter(|status| status["ready"] == true).count();
        let init = json::items(pod, "/spec/initContainers").iter();
        let total =
            json::items(pod, "/spec/containers").len() + init.filter(|c| is_sidecar(c)).count();
        json!([
            self.text("/metadata/name"),
            format!("{ready}/{total}"),
            pod_status(pod),
            restarts(running(), self.now),
            self.since("/metadata/creationTimestamp"),
            self.or_none("/status/podIP"),
            self.or_none("/spec/nodeName"),
            "<none>",
            "<none>",
        ])
    }

    fn deployment(&self) -> Value {
        json!([
            self.text("/metadata/name"),
            self.ready_of_wanted(),
            self.count("/status/updatedReplicas"),
            self.count("/status/availableReplicas"),
            self.since("/metadata/creationTimestamp"),
            self.containers("/name"),
            self.containers("/image"),
            self.selector(),
        ])
    }

    fn replica_set(&self) -> Value {
        json!([
            self.text("/metadata/name"),
            self.count("/spec/replicas"),
            self.count("/status/replicas"),
            self.count("/status/readyReplicas"),
            self.since("/metadata/creationTimestamp"),
            self.containers("/name"),
            self.containers("/image"),
            self.selector(),
        ])
    }

    fn daemon_set(&self) -> Value {
        json!([
            self.text("/metadata/name"),
            self.count("/status/desiredNumberScheduled"),
            self.count("/status/currentNumberScheduled"),
            self.count("/status/numberReady"),
            self.count("/status/updatedNumberScheduled"),
            self.count("/status/numberAvailable"),
            pairs(self.object.pointer("/spec/template/spec/nodeSelector")),
            self.since("/metadata/creationTimestamp"),
            self.containers("/name"),
            self.containers("/image"),
            self.selector(),
        ])
    }

    fn node(&self) -> Value {
        let mut addresses = json::items(self.object, "/status/addresses").iter();
        let address = addresses.find(|address| address["type"] == "InternalIP");
        json!([
            self.text("/metadata/name"),
            node_status(self.object),
            "<none>",
            self.since("/metadata/creationTimestamp"),
            self.text("/status/nodeInfo/kubeletVersion"),
            address.map_or("<none>", |address| json::text(address, "/address")),
            "<none>",
            self.text("/status/nodeInfo/osImage"),
            self.text("/status/nodeInfo/kernelVersion"),
            self.text("/status/nodeInfo/containerRuntimeVersion"),
        ])
    }

    fn event(&self) -> Value {
        let kind = self.text("/involvedObject/kind").to_lowercase();
        let mut source = vec![self.text("/source/component"), self.text("/source/host")];
        source.retain(|part| !part.is_empty());
        json!([
            self.since("/lastTimestamp"),
            self.text("/type"),
            self.text("/reason"),
            format!("{kind}/{}", self.text("/involvedObject/name")),
            self.text("/involvedObject/fieldPath"),
            source.join(", "),
            self.text("/message"),
            self.since("/firstTimestamp"),
            self.count("/count"),
            self.text("/metadata/name"),
        ])
    }
}

fn sidecar_statuses(pod: &Value) -> Vec<&Value> {
    let sidecars =
        json::items(pod, "/spec/initContainers").iter().filter(|container| is_sidecar(container));
    let named = |name: &Value| {
        json::items(pod, "/status/initContainerStatuses").iter().find(|s| &s["name"] == name)
    };
    sidecars.filter_map(|container| named(&container["name"])).collect()
}

/// One word for how a pod is: its phase, unless a container has something worse to say.
fn pod_status(pod: &Value) -> String {
    if pod.pointer("/metadata/deletionTimestamp").is_some() {
        return "Terminating".to_owned();
    }
    let reason = json::items(pod, "/status/containerStatuses").iter().find_map(|status| {
        let state =
            |pointer: &str| Some(json::text(status, pointer)).filter(|reason| !reason.is_empty());
        state("/state/waiting/reason").or_else(|| state("/state/terminated/reason"))
    });
    let pending = json::text(pod, "/status/phase") == "Pending"
        && !json::text(pod, "/spec/nodeName").is_empty();
    match (reason, pending) {
        (Some(reason), _) => reason.to_owned(),
        (None, true) => "ContainerCreating".to_owned(),
        (None, false) => json::text(pod, "/status/phase").to_owned(),
    }
}

/// `3 (5m ago)`
fn restarts<'a>(statuses: impl Iterator<Item = &'a Value> + Clone, now: DateTime<Utc>) -> String {
    let count: i64 =
        statuses.clone().filter_map(|status| json::number(status, "/restartCount")).sum();
    let last = statuses
        .map(|status| json::text(status, "/lastState/terminated/finishedAt"))
        .max()
        .unwrap_or_default();
    if count == 0 || last.is_empty() {
        count.to_string()
    } else {
        format!("{count} ({} ago)", age(last, now))
    }
}

fn node_status(node: &Value) -> String {
    let ready = json::items(node, "/status/conditions")
        .iter()
        .find(|condition| condition["type"] == "Ready");
    let ready = if ready.is_some_and(|condition| condition["status"] == "True") {
        "Ready"
    } else {
        "NotReady"
    };
    let cordoned = if node.pointer("/spec/unschedulable").is_some_and(|value| value == true) {
        ",SchedulingDisabled"
    } else {
        ""
    };
    format!("{ready}{cordoned}")
}

/// `a=1,b=2`
fn pairs(labels: Option<&Value>) -> String {
    let labels = labels.and_then(Value::as_object).into_iter().flatten();
    let pairs: Vec<String> = labels
        .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()))
        .collect();
    if pairs.is_empty() { "<none>".to_owned() } else { pairs.join(",") }
}

fn age(timestamp: &str, now: DateTime<Utc>) -> String {
    match DateTime::parse_from_rfc3339(timestamp) {
        Ok(then) => duration((now - then.to_utc()).num_seconds().max(0)),
        Err(_) => "<unknown>".to_owned(),
    }
}

/// A duration in at most two units and about two digits, as kubectl writes it.
fn duration(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let with = |whole: String, rest: i64, unit: &str| {
        if rest == 0 { whole } else { format!("{whole}{rest}{unit}") }
    };
    if seconds < 120 {
        format!("{seconds}s")
    } else if minutes < 10 {
        with(format!("{minutes}m"), seconds % 60, "s")
    } else if minutes < 180 {
        format!("{minutes}m")
    } else if hours < 8 {
        with(format!("{hours}h"), minutes % 60, "m")
    } else if hours < 48 {
        format!("{hours}h")
    } else if days < 8 {
        with(format!("{days}d"), hours % 24, "h")
    } else if days < 730 {
        format!("{days}d")
    } else if days < 2920 {
        with(format!("{}y", days / 365), days % 365, "d")
    } else {
        format!("{}y", days / 365)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_kubectl_writes_them() {
        for (seconds, text) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (305, "5m5s"),
            (3600, "60m"),
            (3 * 3600 + 1800, "3h30m"),
            (30 * 3600, "30h"),
            (3 * 86_400, "3d"),
            (3 * 86_400 + 7200, "3d2h"),
            (30 * 86_400, "30d"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn a_pod_shows_the_worst_of_its_containers() {
        let mut pod = json!({
            "metadata": { "name": "web", "creationTimestamp": "2026-11-23T10:00:00Z" },
            "spec": { "containers": [{}, {}], "nodeName": "node-1" },
            "status": { "phase": "Running", "containerStatuses": [
                { "ready": true, "restartCount": 0, "state": { "running": {} } },
                {
                    "ready": false, "restartCount": 2,
                    "state": { "waiting": { "reason": "CrashLoopBackOff" } },
                    "lastState": { "terminated": { "finishedAt": "2026-11-23T10:04:30Z" } },
                },
            ] },
        });
        let now = "2026-11-23T10:05:00Z".parse().unwrap();
        let cells = super::cells(Resource::Pods, &pod, now);
        assert_eq!(
            cells.as_array().unwrap()[..5],
            ["web", "1/2", "CrashLoopBackOff", "2 (30s ago)", "5m"]
        );
        pod["metadata"]["deletionTimestamp"] = "2026-11-23T10:05:30Z".into();
        assert_eq!(super::cells(Resource::Pods, &pod, now)[2], "Terminating");
    }

    #[test]
    fn every_column_has_a_cell() {
        for known in &crate::sim::resources::ALL {
            let cells = cells(known.resource, &json!({}), DateTime::default());
            assert_eq!(
                cells.as_array().unwrap().len(),
                described(known.resource).split(',').count(),
                "{}",
                known.plural
            );
        }
    }
}
