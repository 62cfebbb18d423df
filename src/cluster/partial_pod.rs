//! A pod with no more of what the API server sends than this service reads: the rest, which is nine
//! tenths, is skipped while it is parsed and never takes memory.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Container, ContainerResizePolicy, Pod, PodSpec, PodStatus, ResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    ManagedFieldsEntry, ObjectMeta, OwnerReference, Time,
};
use kube::Resource;
use serde::{Deserialize, Deserializer};

use crate::client::FIELD_MANAGER;

#[derive(Debug, Clone)]
pub struct PartialPod(pub Pod);

impl Resource for PartialPod {
    type DynamicType = ();
    type Scope = k8s_openapi::NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        Pod::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        Pod::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        Pod::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        Pod::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.0.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.0.metadata
    }
}

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    metadata: WireMeta,
    spec: Option<WireSpec>,
    status: Option<PodStatus>,
}

/// Everything but what nobody asks for.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireMeta {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    owner_references: Option<Vec<OwnerReference>>,
    #[serde(default)]
    managed_fields: Vec<WireManager>,
}

/// Who has last written what, without the what.
#[derive(Deserialize)]
struct WireManager {
    manager: Option<String>,
    subresource: Option<String>,
    time: Option<Time>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireSpec {
    #[serde(default)]
    containers: Vec<WireContainer>,
    init_containers: Option<Vec<WireContainer>>,
    node_name: Option<String>,
    resources: Option<ResourceRequirements>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireContainer {
    name: String,
    image: Option<String>,
    resources: Option<ResourceRequirements>,
    restart_policy: Option<String>,
    resize_policy: Option<Vec<ContainerResizePolicy>>,
}

impl<'de> Deserialize<'de> for PartialPod {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Wire { metadata, spec, status } = Wire::deserialize(deserializer)?;
        Ok(Self(Pod { metadata: metadata.into(), spec: spec.map(PodSpec::from), status }))
    }
}

impl From<WireMeta> for ObjectMeta {
    fn from(wire: WireMeta) -> Self {
        Self {
            name: wire.name,
            namespace: wire.namespace,
            uid: wire.uid,
            resource_version: wire.resource_version,
            generation: wire.generation,
            creation_timestamp: wire.creation_timestamp,
            deletion_timestamp: wire.deletion_timestamp,
            labels: wire.labels,
            annotations: wire.annotations,
            owner_references: wire.owner_references,
            managed_fields: ours(wire.managed_fields),
            ..Self::default()
        }
    }
}

/// Of all managers only this service matters: when it has resized the pod.
fn ours(managers: Vec<WireManager>) -> Option<Vec<ManagedFieldsEntry>> {
    let ours = managers.into_iter().filter(|entry| entry.manager.as_deref() == Some(FIELD_MANAGER));
    let ours = ours.map(|WireManager { manager, subresource, time }| ManagedFieldsEntry {
        manager,
        subresource,
        time,
        ..ManagedFieldsEntry::default()
    });
    Some(ours.collect::<Vec<_>>()).filter(|ours| !ours.is_empty())
}

impl From<WireSpec> for PodSpec {
    fn from(wire: WireSpec) -> Self {
        let partial =
            |containers: Vec<WireContainer>| containers.into_iter().map(Container::from).collect();
        Self {
            containers: partial(wire.containers),
            init_containers: wire.init_containers.map(partial),
            node_name: wire.node_name,
            resources: wire.resources,
            ..Self::default()
        }
    }
}

impl From<WireContainer> for Container {
    fn from(wire: WireContainer) -> Self {
        Self {
            name: wire.name,
            image: wire.image,
            resources: wire.resources,
            restart_policy: wire.restart_policy,
            resize_policy: wire.resize_policy,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::convert;

    #[test]
    fn what_is_made_of_a_slim_pod_is_what_is_made_of_a_whole_one() {
        let object = json!({
            "kind": "Pod", "apiVersion": "v1",
            "metadata": {
                "namespace": "shop", "name": "web-1", "uid": "u1", "resourceVersion": "7",
                    "generation": 2,
                "creationTimestamp": "2026-11-23T10:00:00Z",
                    "deletionTimestamp": "2026-11-23T11:00:00Z",
                "labels": {"app": "web"}, "annotations": {"kubernetes.io/config.mirror": "x"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web",
                    "uid": "r", "controller": true}],
                "managedFields": [
                    {"manager": "kubelet", "operation": "Update", "fieldsV1": {"f:status": {}}},
                    {"manager": "dqn-scaler", "operation": "Update", "subresource": "resize",
                        "fieldsV1": {"f:spec": {}},
                     "time": "2026-11-23T10:30:00Z"}
                ]
            },
            "spec": {
                "nodeName": "node-1", "volumes": [{"name": "data"}],
                "containers": [{"name": "app", "image": "app:1", "env": [{"name": "A",
                    "value": "b"}],
                    "resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": "500m",
                        "memory": "64Mi"}}}],
                "initContainers": [{"name": "proxy", "restartPolicy": "Always",
                    "resources": {"limits": {"cpu": "250m"}}}]
            },
            "status": {
                "phase": "Running", "podIP": "10.1.1.1",
                "conditions": [{"type": "PodResizePending", "status": "True", "reason": "Deferred",
                    "message": "full"}],
                "containerStatuses": [{"name": "app", "image": "", "imageID": "", "ready": true,
                    "restartCount": 1,
                    "resources": {"limits": {"cpu": "400m"}},
                    "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled",
                        "finishedAt": "2026-11-23T10:00:05Z"}}}]
            }
        });
        let whole: Pod = serde_json::from_value(object.clone()).unwrap();
        let partial: PartialPod = serde_json::from_value(object).unwrap();
        assert!(
            partial.0.metadata.managed_fields.as_ref().unwrap()[0].fields_v1.is_none()
                && partial.0.spec.as_ref().unwrap().volumes.is_none()
        );
        let whole = convert::pod(&whole).unwrap();
        assert_eq!(whole.resized_at, Some(whole.created.unwrap().timestamp() + 1800));
        assert!(whole.mirror && whole.deleting && whole.containers.len() == 2);
        assert_eq!(convert::pod(&partial.0).unwrap(), whole);
        assert!(serde_json::from_value::<PartialPod>(json!({"metadata": {}})).is_ok());
    }
}
