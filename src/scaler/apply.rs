//! Carries a plan out: in place, else through the template of the workload behind the pod.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::client::error::ClusterError;
use crate::cluster::template::{TemplateChange, TemplateOutcome};
use crate::cluster::{Cluster, WriteTurn};
use crate::core::context::OwnedPod;
use crate::core::outcome::{Applied, Method, Unfinished};
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

/// How a resize is carried out.
#[derive(Clone, Copy)]
pub struct Manner<'a> {
    pub fallback: Fallback,
    /// How long the kubelet is waited for.
    pub timeout: Duration,
    /// In which it is sent.
    pub turn: &'a WriteTurn,
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
    manner: Manner<'_>,
) -> Vec<Attempt> {
    let parts = Resource::ALL.map(|resource| (resource, part(&plan, resource)));
    let parts: Vec<_> = parts.into_iter().filter(|(_, part)| !part.is_empty()).collect();
    let resources: Vec<_> = parts.iter().map(|(resource, _)| *resource).collect();
    if parts.len() < 2 {
        let result = apply(cluster, owned, &plan, manner).await;
        return vec![Attempt { resources, plan, result }];
    }
    let in_place = Manner { fallback: Fallback::None, ..manner };
    let result = apply(cluster, owned, &plan, in_place).await;
    let refused = matches!(
        result,
        Err(ApplyError::Refused(_)
            | ApplyError::Cluster(ClusterError::Refused { .. } | ClusterError::NotInPlace { .. }))
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
        let result = apply(cluster, &owned, &plan, manner).await;
        attempts.push(Attempt { resources: vec![resource], plan, result });
    }
    attempts
}

/// Resizes the pod and waits `timeout` for the kubelet.
pub async fn apply(
    cluster: &Cluster,
    owned: &OwnedPod,
    plan: &Plan,
    Manner { fallback, timeout, turn }: Manner<'_>,
) -> Result<Applied, ApplyError> {
    let pod = &owned.pod;
    let updated = match cluster.patch_resize(pod, plan, turn).await {
        Ok(updated) => updated,
        Err(error @ ClusterError::NotInPlace { .. }) => {
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
        Ok(ResizeProgress::Unanswered) => return Ok(pending(Unfinished::Unanswered)),
        Ok(ResizeProgress::InProgress) => {
            return Ok(told("the kubelet is still resizing the pod".into()));
        }
        Ok(ResizeProgress::Deferred(message)) => {
            return Ok(told(format!("deferred by the kubelet: {message}")));
        }
        Ok(ResizeProgress::Infeasible(message)) => (format!("infeasible: {message}"), fallback),
        Ok(ResizeProgress::Error(message)) => {
            // Rolling out a limit that is below what is in use now would only kill the new pods.
            (format!("the kubelet could not resize the pod: {message}"), Fallback::None)
        }
        Err(error @ ClusterError::NotFound { .. }) => return Err(error.into()),
        // The pod's spec is changed, whatever becomes of it.
        Err(error) => return Ok(told(format!("the kubelet's answer is not known: {error}"))),
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
        cluster.patch_resize(&owned.pod, in_force, &WriteTurn::default()).await?;
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
    let reason = match cluster.patch_template(key, workload, plan, change).await? {
        TemplateOutcome::Patched => {
            let (method, refusal) = (Method::DeploymentUpdate, Some(refusal));
            return Ok(Applied { method, pending: None, refusal });
        }
        TemplateOutcome::NothingToChange => "the template needs no change",
        TemplateOutcome::RollingOut => {
            "a rollout is under way, the template is left alone until its end"
        }
        TemplateOutcome::NotRolledOut(why) => why,
    };
    Err(ApplyError::Refused(format!("{refusal}; {}: {reason}", workload.0)))
}

fn told(message: String) -> Applied {
    pending(Unfinished::Told(message))
}

fn pending(pending: Unfinished) -> Applied {
    Applied { method: Method::Vertical, pending: Some(pending), refusal: None }
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
    cluster.patch_resize(updated, &before.collect(), &WriteTurn::default()).await.map(drop)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use k8s_openapi::api::apps::v1::Deployment;
    use k8s_openapi::api::core::v1::Pod as KubePod;
    use kube::Api;
    use kube::api::{Patch, PatchParams};
    use serde_json::{Value, json};

    use super::super::fixtures::{limits, one_pod};
    use super::*;
    use crate::sim::simulation::Simulation;
    use crate::sim::world::ServerVersion;

    fn plan(limits: &[(&str, &str)]) -> Plan {
        let limits = limits.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Plan::from([("app".to_owned(), Change { limits, ..Change::default() })])
    }

    async fn by_hand(simulation: &Arc<Simulation>, owned: &OwnedPod, limits: Value) {
        let api = Api::<KubePod>::namespaced(simulation.client(), "default");
        let spec = json!({"containers": [{"name": "app", "resources": {"limits": limits}}]});
        let patch = Patch::Strategic(json!({"spec": spec}));
        let name = &owned.pod.key.name;
        api.patch_resize(name, &PatchParams::default(), &patch).await.unwrap();
    }

    fn up(turn: &WriteTurn) -> Manner<'_> {
        let fallback = Fallback::Template(TemplateChange::OnlyUp);
        Manner { fallback, timeout: Duration::from_secs(10), turn }
    }

    #[tokio::test]
    async fn what_is_refused_to_one_resource_is_done_for_the_other() {
        let (simulation, cluster, owned) = one_pod(ServerVersion::V1_33).await;
        let plan = plan(&[("cpu", "600m"), ("memory", "400Mi")]);
        let attempts = apply_parts(&cluster, &owned, plan, up(&WriteTurn::default())).await;
        let [cpu, memory] = &attempts[..] else { panic!("{} attempts", attempts.len()) };
        assert_eq!(cpu.resources, [Resource::Cpu]);
        assert_eq!(cpu.result.as_ref().unwrap().method, Method::Vertical);
        let refused = memory.result.as_ref().unwrap_err();
        let refused =
            matches!(refused, ApplyError::Cluster(ClusterError::Refused { code: 422, .. }));
        assert!(refused, "not rolled out either");
        let expected = ("600m".to_owned(), "512Mi".to_owned());
        assert_eq!(limits(&simulation, &owned).await, expected);
    }

    #[tokio::test]
    async fn a_change_is_sent_only_to_what_it_was_decided_on() {
        let (simulation, cluster, owned) = one_pod(ServerVersion::default()).await;
        by_hand(&simulation, &owned, json!({"memory": "1Gi"})).await;
        let applied =
            apply(&cluster, &owned, &plan(&[("cpu", "600m")]), up(&WriteTurn::default())).await;
        let conflict = applied.err().unwrap();
        assert!(
            matches!(conflict, ApplyError::Cluster(ClusterError::Conflict { .. })),
            "{conflict}"
        );
        let expected = ("500m".to_owned(), "1Gi".to_owned());
        assert_eq!(limits(&simulation, &owned).await, expected, "what a person set stands");
    }

    #[tokio::test]
    async fn another_version_of_the_same_object_is_no_conflict() {
        let (simulation, cluster, mut owned) = one_pod(ServerVersion::default()).await;
        Arc::make_mut(&mut owned.pod).resource_version = Some("1".into());
        let applied =
            apply(&cluster, &owned, &plan(&[("cpu", "600m")]), up(&WriteTurn::default())).await;
        assert_eq!(applied.unwrap().method, Method::Vertical);
        assert_eq!(limits(&simulation, &owned).await.0, "600m");
    }

    #[tokio::test]
    async fn a_template_that_nothing_rolls_out_is_no_fallback() {
        let (simulation, cluster, owned) = one_pod(ServerVersion::default()).await;
        let api = Api::<Deployment>::namespaced(simulation.client(), "default");
        let paused = Patch::Merge(json!({"spec": {"paused": true}}));
        api.patch("web", &PatchParams::default(), &paused).await.unwrap();
        let mut plan = plan(&[("cpu", "64")]);
        plan.values_mut().for_each(|change| change.requests = change.limits.clone());
        let refused =
            apply(&cluster, &owned, &plan, up(&WriteTurn::default())).await.err().unwrap();
        assert!(refused.to_string().contains("Deployment web: it is paused"), "{refused}");
        let template = api.get("web").await.unwrap().spec.unwrap().template.spec.unwrap();
        let limits = template.containers[0].resources.clone().unwrap().limits.unwrap();
        assert_eq!(limits["cpu"].0, "500m");
        assert_eq!(super::super::fixtures::limits(&simulation, &owned).await.0, "500m");
    }
}
