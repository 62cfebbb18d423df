//! Objects as rows of a table, with the columns that kubectl shows.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::sim::json;
use crate::sim::requirements::is_sidecar;
use crate::sim::resources::Resource;

/// Name, type and priority of a column; those above priority 0 are for `-o wide`.
type Column = (&'static str, &'static str, u8);

fn described(resource: Resource) -> &'static [Column] {
    match resource {
        Resource::Pods => &[
            ("Name", "string", 0),
            ("Ready", "string", 0),
            ("Status", "string", 0),
            ("Restarts", "string", 0),
            ("Age", "string", 0),
            ("IP", "string", 1),
            ("Node", "string", 1),
            ("Nominated Node", "string", 1),
            ("Readiness Gates", "string", 1),
        ],
        Resource::Deployments => &[
            ("Name", "string", 0),
            ("Ready", "string", 0),
            ("Up-to-date", "integer", 0),
            ("Available", "integer", 0),
            ("Age", "string", 0),
            ("Containers", "string", 1),
            ("Images", "string", 1),
            ("Selector", "string", 1),
        ],
        Resource::ReplicaSets => &[
            ("Name", "string", 0),
            ("Desired", "integer", 0),
            ("Current", "integer", 0),
            ("Ready", "integer", 0),
            ("Age", "string", 0),
            ("Containers", "string", 1),
            ("Images", "string", 1),
            ("Selector", "string", 1),
        ],
        Resource::StatefulSets => &[
            ("Name", "string", 0),
            ("Ready", "string", 0),
            ("Age", "string", 0),
            ("Containers", "string", 1),
            ("Images", "string", 1),
        ],
        Resource::DaemonSets => &[
            ("Name", "string", 0),
            ("Desired", "integer", 0),
            ("Current", "integer", 0),
            ("Ready", "integer", 0),
            ("Up-to-date", "integer", 0),
            ("Available", "integer", 0),
            ("Node Selector", "string", 0),
            ("Age", "string", 0),
            ("Containers", "string", 1),
            ("Images", "string", 1),
            ("Selector", "string", 1),
        ],
        Resource::Nodes => &[
            ("Name", "string", 0),
            ("Status", "string", 0),
            ("Roles", "string", 0),
            ("Age", "string", 0),
            ("Version", "string", 0),
            ("Internal-IP", "string", 1),
            ("External-IP", "string", 1),
            ("OS-Image", "string", 1),
            ("Kernel-Version", "string", 1),
            ("Container-Runtime", "string", 1),
        ],
        Resource::Events => &[
            ("Last Seen", "string", 0),
            ("Type", "string", 0),
            ("Reason", "string", 0),
            ("Object", "string", 0),
            ("Subobject", "string", 1),
            ("Source", "string", 1),
            ("Message", "string", 0),
            ("First Seen", "string", 1),
            ("Count", "integer", 1),
            ("Name", "string", 1),
        ],
        Resource::Namespaces => {
            &[("Name", "string", 0), ("Status", "string", 0), ("Age", "string", 0)]
        }
        Resource::Leases => &[("Name", "string", 0), ("Holder", "string", 0), ("Age", "string", 0)],
        Resource::HorizontalPodAutoscalers | Resource::VerticalPodAutoscalers => {
            &[("Name", "string", 0), ("Target", "string", 0), ("Age", "string", 0)]
        }
    }
}

pub fn columns(resource: Resource) -> Value {
    let columns = described(resource).iter().map(|(name, kind, priority)| {
        let format = if *name == "Name" { "name" } else { "" };
        json!({ "name": name, "type": kind, "format": format, "description": "", "priority": priority })
    });
    columns.collect()
}

/// What stands in the columns for an object.
pub fn cells(resource: Resource, object: &Value, now: DateTime<Utc>) -> Value {
    let text = |pointer: &str| json::text(object, pointer).to_owned();
    let or_none = |pointer: &str| match json::text(object, pointer) {
        "" => "<none>".to_owned(),
        text => text.to_owned(),
    };
    let count = |pointer: &str| json::number(object, pointer).unwrap_or_default();
    let since = |pointer: &str| age(json::text(object, pointer), now);
    let (name, age) = (text("/metadata/name"), since("/metadata/creationTimestamp"));
    let containers = |field: &str| {
        let containers = json::items(object, "/spec/template/spec/containers").iter();
        containers.map(|container| json::text(container, field)).collect::<Vec<_>>().join(",")
    };
    let selector = || pairs(object.pointer("/spec/selector/matchLabels"));
    let ready_of_wanted =
        || format!("{}/{}", count("/status/readyReplicas"), count("/spec/replicas"));
    match resource {
        Resource::Pods => {
            let containers = json::items(object, "/status/containerStatuses");
            let sidecars = sidecar_statuses(object);
            let running = || containers.iter().chain(sidecars.iter().copied());
            let ready = running().filter(|status| status["ready"] == true).count();
            let total = json::items(object, "/spec/containers").len()
                + json::items(object, "/spec/initContainers")
                    .iter()
                    .filter(|c| is_sidecar(c))
                    .count();
            json!([
                name,
                format!("{ready}/{total}"),
                pod_status(object),
                restarts(running(), now),
                age,
                or_none("/status/podIP"),
                or_none("/spec/nodeName"),
                "<none>",
                "<none>",
            ])
        }
        Resource::Deployments => json!([
            name,
            ready_of_wanted(),
            count("/status/updatedReplicas"),
            count("/status/availableReplicas"),
            age,
            containers("/name"),
            containers("/image"),
            selector(),
        ]),
        Resource::ReplicaSets => json!([
            name,
            count("/spec/replicas"),
            count("/status/replicas"),
            count("/status/readyReplicas"),
            age,
            containers("/name"),
            containers("/image"),
            selector(),
        ]),
        Resource::StatefulSets => {
            json!([name, ready_of_wanted(), age, containers("/name"), containers("/image")])
        }
        Resource::DaemonSets => json!([
            name,
            count("/status/desiredNumberScheduled"),
            count("/status/currentNumberScheduled"),
            count("/status/numberReady"),
            count("/status/updatedNumberScheduled"),
            count("/status/numberAvailable"),
            pairs(object.pointer("/spec/template/spec/nodeSelector")),
            age,
            containers("/name"),
            containers("/image"),
            selector(),
        ]),
        Resource::Nodes => {
            let address =
                json::items(object, "/status/addresses").iter().find(|a| a["type"] == "InternalIP");
            json!([
                name,
                node_status(object),
                "<none>",
                age,
                text("/status/nodeInfo/kubeletVersion"),
                address.map_or("<none>", |address| json::text(address, "/address")),
                "<none>",
                text("/status/nodeInfo/osImage"),
                text("/status/nodeInfo/kernelVersion"),
                text("/status/nodeInfo/containerRuntimeVersion"),
            ])
        }
        Resource::Events => {
            let kind = text("/involvedObject/kind").to_lowercase();
            let source = [text("/source/component"), text("/source/host")];
            let source = source
                .iter()
                .filter(|part| !part.is_empty())
                .cloned()
                .collect::<Vec<_>>()
                .join(", ");
            json!([
                since("/lastTimestamp"),
                text("/type"),
                text("/reason"),
                format!("{kind}/{}", text("/involvedObject/name")),
                text("/involvedObject/fieldPath"),
                source,
                text("/message"),
                since("/firstTimestamp"),
                count("/count"),
                name,
            ])
        }
        Resource::Namespaces => json!([name, text("/status/phase"), age]),
        Resource::Leases => json!([name, text("/spec/holderIdentity"), age]),
        Resource::HorizontalPodAutoscalers => {
            let target = [text("/spec/scaleTargetRef/kind"), text("/spec/scaleTargetRef/name")];
            json!([name, target.join("/"), age])
        }
        Resource::VerticalPodAutoscalers => {
            let target = [text("/spec/targetRef/kind"), text("/spec/targetRef/name")];
            json!([name, target.join("/"), age])
        }
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
                    "ready": false, "restartCount": 2, "state": { "waiting": { "reason": "CrashLoopBackOff" } },
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
                described(known.resource).len(),
                "{}",
                known.plural
            );
        }
    }
}
