//! Carries a plan out: in place, else through the template of the workload behind the pod.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::client::error::ClusterError;
use crate::cluster::Cluster;
use crate::cluster::template::{TemplateChange, TemplateOutcome};
use crate::core::context::OwnedPod;
use crate::core::outcome::{Applied, Method};
use crate::core::plan::{Change, Plan, part};
use crate::core::pod::Pod;
use crate::core::progress::ResizeProgress;
use crate::core::resource::Resource;

#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// By the kubelet or the node, or for want of a template to change.
    #[error("{0}")]
    Refused(String),
}

/// What may be done when the pod cannot be resized in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    None,
    Template(TemplateChange),
}

/// The resources that were asked for together, and what came of it.
pub struct Attempt {
    pub resources: Vec<Resource>,
    pub plan: Plan,
    pub result: Result<Applied, ApplyError>,
}

/// Resizes the pod, both resources in one request where nothing speaks against it. What is refused
/// to the two together is asked for one by one, so that what is refused to one neither holds back
/// nor rolls out the other.
pub async fn apply_parts(
    cluster: &Cluster,
    owned: &OwnedPod,
    plan: Plan,
    fallback: Fallback,
    timeout: Duration,
) -> Vec<Attempt> {
    let parts = Resource::ALL.map(|resource| (resource, part(&plan, resource)));
    let parts: Vec<_> = parts.into_iter().filter(|(_, part)| !part.is_empty()).collect();
    let resources: Vec<_> = parts.iter().map(|(resource, _)| *resource).collect();
    if parts.len() < 2 {
        let result = apply(cluster, owned, &plan, fallback, timeout).await;
        return vec![Attempt { resources, plan, result }];
    }
    let result = apply(cluster, owned, &plan, Fallback::None, timeout).await;
    let refused = matches!(
        result,
        Err(ApplyError::Refused(_)
            | ApplyError::Cluster(
                ClusterError::Refused { .. } | ClusterError::NodeTooSmall { .. }
            ))
    );
    if !refused {
        return vec![Attempt { resources, plan, result }];
    }
    let mut attempts = Vec::new();
    let mut owned = owned.clone();
    for (resource, plan) in parts {
        // What came before has changed the object.
        match cluster.same_pod(&owned.pod.key).await {
            Ok(now) => owned.pod = now.into(),
            Err(error) => {
                let result = Err(error.into());
                attempts.push(Attempt { resources: vec![resource], plan, result });
                continue;
            }
        }
        let result = apply(cluster, &owned, &plan, fallback, timeout).await;
        attempts.push(Attempt { resources: vec![resource], plan, result });
    }
    attempts
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
    let updated = match cluster.patch_resize(pod, plan).await {
        Ok(updated) => updated,
        Err(error @ ClusterError::NodeTooSmall { .. }) => {
            return fall_back_or_refuse(cluster, owned, plan, fallback, error.to_string()).await;
        }
        // New pods would be refused what admission refuses to this one; only what a person asks
        // for may be meant for the template, where other rules hold.
        Err(ClusterError::Refused { call, code: 422, message })
            if fallback == Fallback::Template(TemplateChange::AsGiven) =>
        {
            let refusal = ClusterError::Refused { call, code: 422, message };
            cluster.same_pod(&pod.key).await?;
            let applied =
                fall_back_or_refuse(cluster, owned, plan, fallback, refusal.to_string()).await;
            return match applied {
                Err(ApplyError::Refused(_)) => Err(refusal.into()),
                applied => applied,
            };
        }
        Err(error) => {
            if matches!(error, ClusterError::Refused { .. }) {
                // Refused, or refused to another pod of the same name: the pod tells which.
                cluster.same_pod(&pod.key).await?;
            }
            return Err(error.into());
        }
    };
    let refusal = match cluster.await_progress(pod, plan, timeout).await {
        Ok(ResizeProgress::Done) => {
            return Ok(Applied { method: Method::Vertical, pending: None, refusal: None });
        }
        Ok(ResizeProgress::InProgress) => return Ok(pending("the kubelet is still at it")),
        Ok(ResizeProgress::Deferred(message)) => {
            return Ok(pending(&format!("deferred by the kubelet: {message}")));
        }
        Ok(ResizeProgress::Infeasible(message)) => (format!("infeasible: {message}"), fallback),
        Ok(ResizeProgress::Error(message)) => {
            // Rolling out a limit that is below what is in use now would only kill the new pods.
            (format!("the kubelet could not resize the pod: {message}"), Fallback::None)
        }
        Err(error @ ClusterError::NotFound { .. }) => return Err(error.into()),
        // The pod's spec is changed, whatever becomes of it.
        Err(error) => return Ok(pending(&format!("the kubelet's answer is not known: {error}"))),
    };
    let (refusal, fallback) = refusal;
    let applied = fall_back_or_refuse(cluster, owned, plan, fallback, refusal).await;
    if applied.is_err() {
        // What cannot be is taken back: the kubelet would go on trying for ever, or never look at
        // the pod again.
        revert(cluster, pod, &updated, plan).await?;
    }
    applied
}

async fn fall_back_or_refuse(
    cluster: &Cluster,
    owned: &OwnedPod,
    plan: &Plan,
    fallback: Fallback,
    refusal: String,
) -> Result<Applied, ApplyError> {
    match fallback {
        Fallback::Template(change) => fall_back(cluster, owned, plan, change, refusal).await,
        Fallback::None => Err(ApplyError::Refused(refusal)),
    }
}

/// The kubelet has published an error after the resize was no longer waited for, or does not
/// answer. What is in force is asked for again, and the next decision starts from there.
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
    let obstacle = match cluster.patch_template(key, workload, plan, change).await? {
        TemplateOutcome::Patched => {
            tracing::info!(
                pod = %key.name, namespace = %key.namespace, reason = %refusal,
                "fell back to the template"
            );
            let (method, refusal) = (Method::DeploymentUpdate, Some(refusal));
            return Ok(Applied { method, pending: None, refusal });
        }
        TemplateOutcome::NothingToChange => "the template needs no change",
        TemplateOutcome::RollingOut => {
            "a rollout is under way, the template is left alone until its end"
        }
        TemplateOutcome::NotRolledOut(why) => why,
    };
    Err(ApplyError::Refused(format!("{refusal}; {}: {obstacle}", workload.0)))
}

fn pending(message: &str) -> Applied {
    Applied { method: Method::Vertical, pending: Some(message.into()), refusal: None }
}

/// Puts the old values of what the plan changed back into the pod.
async fn revert(
    cluster: &Cluster,
    old: &Pod,
    updated: &Pod,
    plan: &Plan,
) -> Result<(), ClusterError> {
    let before = old.containers.iter().filter_map(|container| {
        let change = plan.get(&*container.name)?;
        let of = |wanted: &BTreeMap<String, String>, old: &BTreeMap<String, String>| {
            wanted.keys().filter_map(|key| Some((key.clone(), old.get(key)?.clone()))).collect()
        };
        let change = Change {
            requests: of(&change.requests, &container.resources.requests),
            limits: of(&change.limits, &container.resources.limits),
        };
        Some((container.name.to_string(), change))
    });
    cluster.patch_resize(updated, &before.collect()).await.map(drop)
}
