//! Changes the resources of a running pod in place and waits for the kubelet's word on it.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod as KubePod;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::connected::Cluster;
use crate::client::FIELD_MANAGER;
use crate::client::connect::ResizeSupport;
use crate::client::error::{Call, ClusterError};
use crate::client::retry::Deadline;
use crate::core::plan::Plan;
use crate::core::pod::{Pod, PodKey};
use crate::core::progress::{ResizeProgress, progress};

const MIN_POLL_INTERVAL: Duration = Duration::from_millis(250);
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(2);

impl Cluster {
    /// Sends the patch. The uid in it keeps a new pod of the same name from being resized in place
    /// of the one decided on.
    pub async fn patch_resize(&self, pod: &Pod, plan: &Plan) -> Result<(), ClusterError> {
        let (namespace, name) = (&pod.key.namespace, &pod.key.name);
        let api = Api::<KubePod>::namespaced(self.client().clone(), namespace);
        let body = Patch::Strategic(patch_body(pod, plan));
        let params =
            PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
        let deadline = Deadline::default();
        match self.resize_support().await? {
            ResizeSupport::Subresource => {
                let call = Call::on("patch", "pods/resize", namespace, name);
                self.write(call, deadline, || api.patch_resize(name, &params, &body))
                    .await
                    .map(drop)
            }
            ResizeSupport::PodPatch => {
                let call = Call::on("patch", "pods", namespace, name);
                self.write(call, deadline, || api.patch(name, &params, &body)).await.map(drop)
            }
            ResizeSupport::None => {
                let call = Call::on("patch", "pods/resize", namespace, name);
                Err(ClusterError::Refused {
                    call,
                    code: 404,
                    message: "this server cannot resize pods in place".into(),
                })
            }
        }
    }

    /// The pod as it is now; not found when another has taken its name.
    pub async fn same_pod(&self, key: &PodKey) -> Result<Pod, ClusterError> {
        let now = self.inventory.fetch(&key.namespace, &key.name, Deadline::default()).await?;
        if now.key == *key {
            return Ok(now);
        }
        let call = Call::on("get", "pods", &key.namespace, &key.name);
        Err(ClusterError::NotFound { call, message: "the pod has been replaced by another".into() })
    }

    /// Looks at the pod until the kubelet has decided, or `timeout` is over and its last word
    /// stands.
    pub async fn await_progress(
        &self,
        pod: &Pod,
        plan: &Plan,
        timeout: Duration,
    ) -> Result<ResizeProgress, ClusterError> {
        let deadline = Deadline::after(self.clock().real(timeout));
        let mut pause = self.clock().real(MIN_POLL_INTERVAL);
        loop {
            tokio::time::sleep(pause.min(deadline.left())).await;
            let now = self.same_pod(&pod.key).await?;
            let progress = progress(&now, plan);
            if !matches!(progress, ResizeProgress::InProgress) || deadline.left().is_zero() {
                return Ok(progress);
            }
            pause = (pause * 2).min(self.clock().real(MAX_POLL_INTERVAL));
        }
    }
}

fn patch_body(pod: &Pod, plan: &Plan) -> Value {
    let entries = |sidecar: bool| -> Vec<Value> {
        let ours = pod.containers.iter().filter(|container| container.sidecar == sidecar);
        ours.filter_map(|c| {
            plan.get(&c.name).map(|change| json!({"name": c.name, "resources": change}))
        })
        .collect()
    };
    let mut spec = json!({});
    for (field, containers) in [("containers", entries(false)), ("initContainers", entries(true))] {
        if !containers.is_empty() {
            spec[field] = containers.into();
        }
    }
    json!({"metadata": {"uid": pod.key.uid}, "spec": spec})
}
