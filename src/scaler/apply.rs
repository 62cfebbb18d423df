//! Carries a plan out: in place, else through the template of the workload behind the pod.

use std::time::Duration;

use crate::client::error::ClusterError;
use crate::cluster::Cluster;
use crate::cluster::template::{TemplateChange, TemplateOutcome};
use crate::core::context::OwnedPod;
use crate::core::outcome::{Applied, Method};
use crate::core::plan::{Change, Plan};
use crate::core::pod::Pod;
use crate::core::progress::ResizeProgress;

#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// By the API server, the kubelet, or for want of a template to change.
    #[error("{0}")]
    Refused(String),
}

/// What may be done when the pod cannot be resized in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    None,
    Template(TemplateChange),
}

/// Resizes the pod and waits `timeout` for the kubelet.
pub async fn apply(
    cluster: &Cluster,
    owned: &OwnedPod,
    plan: &Plan,
    fallback: Fallback,
    timeout: Duration,
) -> Result<Applied, ApplyError> {
    let pod = &owned.pod;
    let (mut accepted, mut fallback, mut forbidden) = (false, fallback, None);
    let refusal = match cluster.patch_resize(pod, plan).await {
        Ok(()) => match cluster.await_progress(pod, plan, timeout).await {
            Ok(ResizeProgress::Done) => {
                return Ok(Applied { method: Method::Vertical, pending: None, refusal: None });
            }
            Ok(ResizeProgress::InProgress) => return Ok(pending("the kubelet is still at it")),
            Ok(ResizeProgress::Deferred(message)) => {
                return Ok(pending(&format!("deferred by the kubelet: {message}")));
            }
            Ok(ResizeProgress::Infeasible(message)) => {
                accepted = true;
                format!("infeasible: {message}")
            }
            Ok(ResizeProgress::Error(message)) => {
                // Rolling out a limit that is below what is in use now would only kill the new
                // pods.
                (accepted, fallback) = (true, Fallback::None);
                format!("the kubelet could not resize the pod: {message}")
            }
            Err(error @ ClusterError::NotFound { .. }) => return Err(error.into()),
            // The pod's spec is changed, whatever becomes of it.
            Err(error) => return Ok(pending(&format!("the kubelet's word is not known: {error}"))),
        },
        Err(error @ ClusterError::Unavailable { .. }) => return Err(error.into()),
        // Refused, or refused to another pod of the same name, or the pod is gone: the pod tells
        // which.
        Err(error) => {
            cluster.same_pod(&pod.key).await?;
            let refusal = error.to_string();
            forbidden = matches!(error, ClusterError::Forbidden { .. }).then_some(error);
            refusal
        }
    };
    let applied = match fallback {
        Fallback::Template(change) => fall_back(cluster, owned, plan, change, refusal).await,
        Fallback::None => Err(ApplyError::Refused(refusal)),
    };
    let applied = match (applied, forbidden) {
        // Nothing is wrong with what is asked for: the service lacks a right.
        (Err(ApplyError::Refused(_)), Some(forbidden)) => Err(forbidden.into()),
        (applied, _) => applied,
    };
    if accepted && applied.is_err() {
        // What cannot be is taken back: the kubelet would go on trying for ever, or never look at
        // the pod again.
        revert(cluster, pod, plan).await?;
    }
    applied
}

/// The kubelet published an error after the resize was no longer waited for. What is in force is
/// asked for again, and the next decision starts from there.
pub async fn take_back(
    cluster: &Cluster,
    owned: &OwnedPod,
    in_force: &Plan,
    message: &str,
) -> Result<Applied, ApplyError> {
    if !in_force.is_empty() {
        cluster.patch_resize(&owned.pod, in_force).await?;
    }
    Err(ApplyError::Refused(format!(
        "the kubelet could not resize the pod, which keeps what it had: {message}"
    )))
}

/// Patches the template of the workload behind the pod; a bare pod has none and is left as it is.
pub async fn fall_back(
    cluster: &Cluster,
    owned: &OwnedPod,
    plan: &Plan,
    change: TemplateChange,
    refusal: String,
) -> Result<Applied, ApplyError> {
    let key = &owned.pod.key;
    let Some(workload) = owned.with_template() else {
        return Err(ApplyError::Refused(refusal));
    };
    tracing::info!(pod = %key.name, namespace = %key.namespace, reason = %refusal,
        "falling back to the template");
    let patched = cluster.patch_template(&key.namespace, workload, plan, change).await?;
    let obstacle = match patched {
        TemplateOutcome::Patched => {
            return Ok(Applied {
                method: Method::DeploymentUpdate,
                pending: None,
                refusal: Some(refusal),
            });
        }
        TemplateOutcome::NothingToChange => "the template needs no change",
        TemplateOutcome::RollingOut => {
            "a rollout is under way, the template is left alone until its end"
        }
    };
    Err(ApplyError::Refused(format!("{refusal}; {}: {obstacle}", workload.0)))
}

fn pending(message: &str) -> Applied {
    Applied { method: Method::Vertical, pending: Some(message.into()), refusal: None }
}

/// Puts the old values of what the plan changed back into the pod.
async fn revert(cluster: &Cluster, pod: &Pod, plan: &Plan) -> Result<(), ClusterError> {
    let old = pod.containers.iter().filter_map(|container| {
        let change = plan.get(&container.name)?;
        let of = |wanted: &std::collections::BTreeMap<String, String>,
                  old: &std::collections::BTreeMap<String, String>| {
            wanted.keys().filter_map(|key| Some((key.clone(), old.get(key)?.clone()))).collect()
        };
        let change = Change {
            requests: of(&change.requests, &container.resources.requests),
            limits: of(&change.limits, &container.resources.limits),
        };
        Some((container.name.clone(), change))
    });
    cluster.patch_resize(pod, &old.collect()).await
}
