//! Changes the resources of a running pod in place and waits for the kubelet's word on it.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod as KubePod;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::connected::Cluster;
use super::convert;
use super::write_limiter::WriteTurn;
use crate::client::FIELD_MANAGER;
use crate::client::connect::ResizeBy;
use crate::client::error::{Call, ClusterError};
use crate::client::retry::Deadline;
use crate::core::plan::Plan;
use crate::core::pod::{Pod, PodKey};
use crate::core::progress::{ResizeProgress, progress};

const MIN_POLL_INTERVAL: Duration = Duration::from_millis(250);
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(2);

impl Cluster {
    /// Sends the patch, against the pod that it was decided on and no other: with its uid and the
    /// resource version at which it was read. Where the object has changed since it is read again,
    /// and the patch is sent if what was decided on is still there. Gives the pod as it is then, in
    /// which admission may have put other sizes in the place of these.
    pub async fn patch_resize(
        &self,
        pod: &Pod,
        plan: &Plan,
        turn: &WriteTurn,
    ) -> Result<Pod, ClusterError> {
        let (namespace, name) = (&pod.key.namespace, &pod.key.name);
        let deadline = Deadline::default();
        let call = Call::on("patch", "pods/resize", namespace, name);
        let mut version = pod.resource_version.clone();
        loop {
            let body = Patch::Strategic(patch_body(pod, version.as_deref(), plan));
            let conflict = match self.send_resize(pod, &body, turn, deadline).await {
                Err(ClusterError::Conflict { message, .. }) => message,
                Ok(now) if !holds(&now, plan) && is_as_decided(pod, &now, plan) => {
                    let message = "admission has left the sizes as they were".into();
                    return Err(ClusterError::Refused { call, code: 403, message });
                }
                sent => return sent,
            };
            let now = self.same_pod(&pod.key).await?;
            if holds(&now, plan) {
                // An earlier attempt, whose answer was lost.
                return Ok(now);
            }
            if !is_as_decided(pod, &now, plan) || deadline.left().is_zero() {
                return Err(ClusterError::Conflict { call, message: conflict });
            }
            version = now.resource_version;
        }
    }

    async fn send_resize(
        &self,
        pod: &Pod,
        body: &Patch<Value>,
        turn: &WriteTurn,
        deadline: Deadline,
    ) -> Result<Pod, ClusterError> {
        let (namespace, name) = (&pod.key.namespace, &pod.key.name);
        let api = Api::<KubePod>::namespaced(self.client().clone(), namespace);
        let params =
            PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
        let call = |resource| Call::on("patch", resource, namespace, name);
        let answer = match self.resize_support().await?.by {
            ResizeBy::Subresource => {
                let send = || api.patch_resize(name, &params, body);
                self.write(call("pods/resize"), turn, deadline, send).await?
            }
            ResizeBy::PodPatch => {
                self.write(call("pods"), turn, deadline, || api.patch(name, &params, body)).await?
            }
            ResizeBy::None => {
                let message = "this server cannot resize pods in place".into();
                let call = call("pods/resize");
                return Err(ClusterError::NotInPlace { call, message });
            }
        };
        let message = "the answer has no name or uid".into();
        convert::pod(&answer)
            .ok_or(ClusterError::Unavailable { call: call("pods/resize"), message })
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

    /// What has become of the plan, as the watch has it; None where the pod is not watched.
    pub fn watched_progress(&self, pod: &Pod, plan: &Plan) -> Option<ResizeProgress> {
        let now = self.watched(&pod.key.namespace, &pod.key.name)?;
        (now.key == pod.key).then(|| match holds(&now, plan) {
            true => progress(&now, plan),
            // The watch is still behind.
            false => ResizeProgress::Unanswered,
        })
    }

    /// What has become of the plan, as the API server has it.
    pub async fn asked_progress(
        &self,
        pod: &Pod,
        plan: &Plan,
    ) -> Result<ResizeProgress, ClusterError> {
        Ok(progress(&self.same_pod(&pod.key).await?, plan))
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
            let progress = match self.watched_progress(pod, plan) {
                Some(progress) => progress,
                None => self.asked_progress(pod, plan).await?,
            };
            if !progress.is_early() || deadline.left().is_zero() {
                return Ok(progress);
            }
            pause = (pause * 2).min(self.clock().real(MAX_POLL_INTERVAL));
        }
    }
}

/// Whether the containers that the plan changes ask for what they asked for.
fn is_as_decided(decided: &Pod, now: &Pod, plan: &Plan) -> bool {
    let resources = |pod: &Pod, name: &str| {
        let container = pod.containers.iter().find(|container| *container.name == *name);
        container.map(|container| container.resources.clone())
    };
    plan.keys().all(|name| resources(decided, name) == resources(now, name))
}

/// Whether the containers ask for what the plan says.
fn holds(pod: &Pod, plan: &Plan) -> bool {
    plan.iter().all(|(name, change)| {
        let container = pod.containers.iter().find(|container| *container.name == **name);
        container.is_some_and(|container| change.resources().is_met_by(&container.resources))
    })
}

fn patch_body(pod: &Pod, version: Option<&str>, plan: &Plan) -> Value {
    let entries = |sidecar: bool| -> Vec<Value> {
        let ours = pod.containers.iter().filter(|container| container.sidecar == sidecar);
        ours.filter_map(|c| {
            plan.get(&*c.name).map(|change| json!({"name": &*c.name, "resources": change}))
        })
        .collect()
    };
    let mut spec = json!({});
    for (field, containers) in [("containers", entries(false)), ("initContainers", entries(true))] {
        if !containers.is_empty() {
            spec[field] = containers.into();
        }
    }
    let mut metadata = json!({"uid": pod.key.uid});
    if let Some(version) = version {
        metadata["resourceVersion"] = version.into();
    }
    json!({"metadata": metadata, "spec": spec})
}
