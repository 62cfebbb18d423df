//! From what the API server sends to what the core knows of a pod.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use internment::ArcIntern as Shared;
use k8s_openapi::api::core::v1::{
    Container, ContainerStatus, Pod as KubePod, ResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::client::FIELD_MANAGER;
use crate::core::birth::template_of;
use crate::core::overrides::{BORN, PREFIX, PodOverrides};
use crate::core::pod::{
    ContainerResources, ContainerState, Containers, OomKill, Owner, Pod, PodContainer,
    ResizeCondition, ResizeState, group_of, pod_key,
};
use crate::core::resource::{PerResource, Resource};

const MIRROR: &str = "kubernetes.io/config.mirror";

/// None for an object without name, namespace or uid, which no API server sends.
pub fn pod(pod: &KubePod) -> Option<Pod> {
    let meta = &pod.metadata;
    let key = pod_key(meta.namespace.clone()?, meta.name.clone()?, meta.uid.clone()?);
    let spec = pod.spec.as_ref();
    let status = pod.status.as_ref();
    let statuses = || {
        let main = status.and_then(|s| s.container_statuses.as_ref());
        let init = status.and_then(|s| s.init_container_statuses.as_ref());
        main.into_iter().chain(init).flatten()
    };
    let main = spec.iter().flat_map(|s| &s.containers).map(|c| (c, false));
    let sidecars = spec
        .iter()
        .flat_map(|s| s.init_containers.iter().flatten())
        .filter(|c| c.restart_policy.as_deref() == Some("Always"))
        .map(|c| (c, true));
    let born = meta.annotations.as_ref().and_then(|of| of.get(&format!("{PREFIX}{BORN}")));
    let all = main.chain(sidecars).map(|(c, sidecar)| {
        let status = statuses().find(|s| s.name == c.name);
        let made = container(c, sidecar, status);
        let template = born.and_then(|born| template_of(born, &made.name, &made.resources));
        let template = template.map(Shared::new);
        (PodContainer { template, ..made }, status.map(state).unwrap_or_default())
    });
    let (containers, states): (Vec<_>, Vec<_>) = all.unzip();
    let pod_level = spec.and_then(|s| s.resources.as_ref()).map(resources);
    Some(Pod {
        key,
        phase: status.and_then(|s| s.phase.as_deref()).unwrap_or("Unknown").into(),
        created: meta.creation_timestamp.as_ref().and_then(|t| to_chrono(&t.0)),
        labels: Shared::new(meta.labels.clone().unwrap_or_default()),
        node_name: spec.and_then(|s| s.node_name.as_deref()).map(Shared::from),
        pod_ip: status.and_then(|s| s.pod_ip.as_deref()).map(Box::from),
        owner: controller(meta),
        containers: Shared::new(Containers::new(containers.into())),
        states: states.into(),
        resource_version: meta.resource_version.as_deref().map(Box::from),
        resources: pod_level.map(Shared::new),
        evicted: status.is_some_and(|status| status.reason.as_deref() == Some("Evicted")),
        mirror: meta.annotations.as_ref().is_some_and(|a| a.contains_key(MIRROR)),
        deleting: meta.deletion_timestamp.is_some(),
        overrides: PodOverrides::parse(meta.annotations.as_ref()).map(Arc::new),
        resize: resize_condition(pod).map(Box::new),
        resized_at: resized_at(pod),
    })
}

/// The controller of an object.
pub fn controller(meta: &ObjectMeta) -> Option<Shared<Owner>> {
    let owner =
        meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))?;
    Some(Shared::new(Owner {
        group: group_of(&owner.api_version).to_owned(),
        kind: owner.kind.clone(),
        name: owner.name.clone(),
        uid: owner.uid.clone(),
    }))
}

fn container(
    container: &Container,
    sidecar: bool,
    status: Option<&ContainerStatus>,
) -> PodContainer {
    let policies = container.resize_policy.as_deref().unwrap_or_default();
    let restarts = |resource: Resource| {
        policies.iter().any(|policy| {
            policy.resource_name == resource.name() && policy.restart_policy == "RestartContainer"
        })
    };
    PodContainer {
        name: container.name.as_str().into(),
        image: container.image.clone().unwrap_or_default(),
        sidecar,
        resources: Shared::new(container.resources.as_ref().map(resources).unwrap_or_default()),
        template: None,
        in_force: status.and_then(|s| s.resources.as_ref()).map(resources).map(Shared::new),
        restarts: PerResource::build(restarts),
    }
}

/// A status without a state, as of a pod that no kubelet has looked at, says nothing.
fn state(status: &ContainerStatus) -> ContainerState {
    let state = status.state.as_ref();
    let running = state.and_then(|state| state.running.as_ref());
    let ended = state.is_some_and(|state| state.waiting.is_some() || state.terminated.is_some());
    let started = running.and_then(|running| running.started_at.as_ref());
    ContainerState {
        down: ended && running.is_none(),
        unready: running.is_some() && !status.ready,
        started_at: started.map(|time| time.0.as_second()),
        oom_kill: oom_kill(status),
        restarts: status.restart_count,
    }
}

pub fn resources(requirements: &ResourceRequirements) -> ContainerResources {
    let texts = |map: &Option<BTreeMap<String, Quantity>>| {
        map.iter().flatten().map(|(name, quantity)| (name.clone(), quantity.0.clone())).collect()
    };
    ContainerResources {
        requests: texts(&requirements.requests),
        limits: texts(&requirements.limits),
    }
}

/// A container that has ended and is not started again yet has its restart still before it.
fn oom_kill(status: &ContainerStatus) -> Option<OomKill> {
    let waits = status.state.as_ref().is_some_and(|state| state.waiting.is_some());
    let states = [(status.state.as_ref(), 1), (status.last_state.as_ref(), i32::from(waits))];
    let kills = states.into_iter().filter_map(|(state, ahead)| {
        let terminated = state?.terminated.as_ref()?;
        let killed = terminated.reason.as_deref() == Some("OOMKilled");
        let finished_at = terminated.finished_at.as_ref()?.0.as_second();
        let restart = status.restart_count.saturating_add(ahead);
        killed.then_some(OomKill { restart, finished_at })
    });
    kills.max_by_key(|kill| kill.restart)
}

/// The API server dates the last change that each writer made of the fields that it owns. Before
/// there was `pods/resize` the pod itself was patched.
fn resized_at(pod: &KubePod) -> Option<i64> {
    let ours = pod
        .metadata
        .managed_fields
        .iter()
        .flatten()
        .filter(|entry| entry.manager.as_deref() == Some(FIELD_MANAGER));
    let resizes =
        ours.filter(|entry| matches!(entry.subresource.as_deref(), None | Some("" | "resize")));
    resizes.filter_map(|entry| entry.time.as_ref().map(|time| time.0.as_second())).max()
}

/// Conditions since 1.33; before that one word in the status.
fn resize_condition(pod: &KubePod) -> Option<ResizeCondition> {
    let status = pod.status.as_ref()?;
    let conditions =
        status.conditions.iter().flatten().filter(|condition| condition.status == "True");
    for condition in conditions {
        let reason = condition.reason.as_deref().unwrap_or_default();
        let state = match (condition.type_.as_str(), reason) {
            ("PodResizePending", "Infeasible") => ResizeState::Infeasible,
            ("PodResizePending", _) => ResizeState::Deferred,
            ("PodResizeInProgress", "Error") => ResizeState::Error,
            ("PodResizeInProgress", _) => ResizeState::InProgress,
            _ => continue,
        };
        let since = condition.last_transition_time.as_ref().map(|time| time.0.as_second());
        return Some(ResizeCondition {
            state,
            message: condition.message.clone().unwrap_or_default(),
            since,
        });
    }
    let state = match status.resize.as_deref()? {
        "Proposed" | "InProgress" => ResizeState::InProgress,
        "Deferred" => ResizeState::Deferred,
        "Infeasible" => ResizeState::Infeasible,
        _ => return None,
    };
    Some(ResizeCondition { state, message: String::new(), since: None })
}

fn to_chrono(time: &k8s_openapi::jiff::Timestamp) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(time.as_second(), time.subsec_nanosecond().unsigned_abs())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn sample() -> Pod {
        let object = json!({
            "metadata": {
                "namespace": "default", "name": "web-1", "uid": "u1",
                    "creationTimestamp": "2026-11-23T10:00:00Z",
                "annotations": {"dqn-scaler.io/born": "app=1,1Gi,2,"},
                "labels": {"app": "web"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web",
                    "uid": "r", "controller": true}]
            },
            "spec": {
                "containers": [
                    {"name": "app", "image": "app:1", "resources": {"requests": {"cpu": "100m",
                        "memory": "128Mi"}, "limits": {"cpu": "500m"}}},
                    {"name": "bare"}
                ],
                "initContainers": [
                    {"name": "setup", "resources": {"limits": {"cpu": "9"}}},
                    {"name": "proxy", "restartPolicy": "Always",
                        "resources": {"limits": {"cpu": "250m", "memory": "64Mi"}}}
                ]
            },
            "status": {
                "phase": "Running",
                "conditions": [
                    {"type": "Ready", "status": "True"},
                    {"type": "PodResizePending", "status": "True", "reason": "Deferred",
                        "message": "full", "lastTransitionTime": "2026-11-23T10:00:10Z"}
                ],
                "containerStatuses": [{
                    "name": "app", "image": "", "imageID": "", "ready": true, "restartCount": 1,
                    "resources": {"limits": {"cpu": "400m"}},
                    "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled",
                        "finishedAt": "2026-11-23T10:00:05Z"}}
                }]
            }
        });
        pod(&serde_json::from_value(object).unwrap()).unwrap()
    }

    #[test]
    fn limits_are_summed_over_containers_and_sidecars() {
        let pod = sample();
        assert_eq!(pod.limit(), PerResource::new(0.65, 192.0), "what is in force counts");
        assert_eq!(pod.request(), PerResource::new(0.1, 128.0));
        let names: Vec<_> = pod.containers.iter().map(|c| (&*c.name, c.sidecar)).collect();
        assert_eq!(names, [("app", false), ("bare", false), ("proxy", true)]);
    }

    #[test]
    fn what_happened_to_the_pod_is_seen() {
        let pod = sample();
        let created = pod.created.unwrap().timestamp();
        let kill = OomKill { restart: 1, finished_at: created + 5 };
        assert_eq!(pod.state(0).oom_kill, Some(kill));
        let bare = pod.only(&std::collections::BTreeSet::from(["bare".to_owned()]));
        assert_eq!((bare.containers.len(), bare.state(0)), (1, ContainerState::default()));
        let resize = pod.resize.unwrap();
        assert_eq!((resize.state, resize.since), (ResizeState::Deferred, Some(created + 10)));
        let template = pod.containers[0].template.as_deref().unwrap();
        let cpu = [template.request(Resource::Cpu), template.limit(Resource::Cpu)];
        assert_eq!((cpu, pod.containers[1].template.as_ref()), ([Some(1.0), Some(2.0)], None));
        assert!(pod.overrides.is_none(), "that is no override");
        assert_eq!(
            pod.containers[0].in_force.as_ref().unwrap().limits.get("cpu").map(String::as_str),
            Some("400m")
        );
        let owner = pod.owner.unwrap();
        assert_eq!(
            (owner.group.as_str(), owner.kind.as_str(), owner.name.as_str()),
            ("apps", "ReplicaSet", "web")
        );
    }

    #[test]
    fn resources_are_written_as_maps_even_where_there_are_none() {
        let resources = ContainerResources::new(&[], &[("cpu", "1")]);
        let written = serde_json::to_string(&resources).unwrap();
        assert_eq!(written, r#"{"requests":{},"limits":{"cpu":"1"}}"#);
        assert_eq!(serde_json::from_str::<ContainerResources>(&written).unwrap(), resources);
    }

    #[test]
    fn a_kill_is_the_same_before_and_after_the_restart_that_it_leads_to() {
        let terminated = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled",
            "finishedAt": "2026-11-23T10:00:00Z"}});
        let waiting = json!({"waiting": {"reason": "CrashLoopBackOff"}});
        let running = json!({"running": {"startedAt": "2026-11-23T10:00:10Z"}});
        let kill = |state: &Value, last: &Value, restarts: i32| {
            let status = json!({"name": "app", "image": "", "imageID": "", "ready": false,
                "restartCount": restarts, "state": state, "lastState": last});
            oom_kill(&serde_json::from_value(status).unwrap()).unwrap()
        };
        let ended = kill(&terminated, &json!({}), 0);
        assert_eq!(ended.restart, 1);
        assert_eq!(kill(&waiting, &terminated, 0), ended);
        assert_eq!(kill(&running, &terminated, 1), ended);
    }
}
