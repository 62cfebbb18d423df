//! Carries a plan out: in place, else through the template of the workload behind the pod.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::client::error::ClusterError;
use crate::cluster::template::{TemplateChange, TemplateOutcome};
use crate::cluster::{Cluster, WriteTurn};
use crate::core::context::OwnedPod;
use crate::core::outcome::{Applied, Method, Unfinished};
use crate::core::plan::{Change, Plan, as_stored, part};
use crate::core::pod::{Pod, Quantities};
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

/// A resize on its way: what is still to be asked for.
pub struct Resize {
    pub owned: OwnedPod,
    fallback: Fallback,
    /// The next one last.
    left: Vec<Part>,
    /// Something was sent before, which has changed the object.
    is_begun: bool,
}

/// What is asked for in one request.
struct Part {
    resources: Vec<Resource>,
    plan: Plan,
    fallback: Fallback,
    /// Where the resources are refused together they are asked for one by one.
    splits: bool,
}

/// What the API server has accepted: the kubelet has the next word.
pub struct Accepted {
    part: Part,
    updated: Box<Pod>,
}

impl Accepted {
    pub fn plan(&self) -> &Plan {
        &self.part.plan
    }
}

/// What has come of a request.
pub enum Sent {
    Accepted(Accepted),
    /// None where what was refused together is asked for one by one.
    Over(Option<Attempt>),
}

impl Sent {
    /// Whether the API server has said something to what was written; None where no more is known
    /// than what became of a read, or nothing was sent.
    pub fn is_answered(&self) -> Option<bool> {
        let Self::Over(Some(Attempt { result: Err(error), .. })) = self else { return Some(true) };
        let ApplyError::Cluster(error) = error else { return Some(true) };
        match error {
            ClusterError::NotSent { .. } => None,
            _ if error.call().verb == "get" => None,
            ClusterError::Unavailable { .. } => Some(false),
            _ => Some(true),
        }
    }
}

impl Resize {
    /// All in one request.
    pub fn whole(owned: OwnedPod, plan: Plan, fallback: Fallback) -> Self {
        let resources = Resource::ALL.into_iter().filter(|of| !part(&plan, *of).is_empty());
        let resources = resources.collect();
        let left = vec![Part { resources, plan, fallback, splits: false }];
        Self { owned, fallback, left, is_begun: false }
    }

    /// Both resources in one request where nothing speaks against it. What is refused to the two
    /// together is asked for one by one, so that what is refused to one neither holds back nor
    /// rolls out the other.
    pub fn by_parts(owned: OwnedPod, plan: Plan, fallback: Fallback) -> Self {
        let mut resize = Self::whole(owned, plan, fallback);
        if let [part] = &mut resize.left[..]
            && part.resources.len() > 1
        {
            (part.splits, part.fallback) = (true, Fallback::None);
        }
        resize
    }

    /// Asks for what is next; None when nothing is left.
    pub async fn send(&mut self, cluster: &Cluster, turn: &WriteTurn) -> Option<Sent> {
        let mut part = self.left.pop()?;
        if std::mem::replace(&mut self.is_begun, true) {
            match cluster.same_pod(&self.owned.pod.key).await {
                Ok(now) => self.owned.pod = now.into(),
                Err(error) => return Some(Sent::Over(self.over(part, Err(error.into())))),
            }
        }
        Some(match send(cluster, &self.owned, &part.plan, part.fallback, turn).await {
            Ok(updated) => {
                part.plan = as_stored(&part.plan, &updated);
                Sent::Accepted(Accepted { part, updated: updated.into() })
            }
            Err(result) => Sent::Over(self.over(part, result)),
        })
    }

    /// Takes in the kubelet's word, or that it was not heard.
    pub async fn heard(
        &mut self,
        cluster: &Cluster,
        Accepted { part, updated }: Accepted,
        word: Result<ResizeProgress, ClusterError>,
    ) -> Option<Attempt> {
        let result = end(cluster, &self.owned, &updated, &part.plan, part.fallback, word).await;
        self.over(part, result)
    }

    fn over(&mut self, over: Part, result: Result<Applied, ApplyError>) -> Option<Attempt> {
        let refused = matches!(
            result,
            Err(ApplyError::Refused(_)
                | ApplyError::Cluster(
                    ClusterError::Refused { .. } | ClusterError::NotInPlace { .. }
                ))
        );
        let Part { resources, plan, splits, .. } = over;
        if !(splits && refused) {
            return Some(Attempt { resources, plan, result });
        }
        let fallback = self.fallback;
        self.left.extend(resources.into_iter().rev().map(|resource| {
            let plan = part(&plan, resource);
            Part { resources: vec![resource], plan, fallback, splits: false }
        }));
        None
    }

    /// Sends all of it, and waits `timeout` for the kubelet's word on each part.
    pub async fn carry_through(
        mut self,
        cluster: &Cluster,
        timeout: Duration,
        turn: &WriteTurn,
    ) -> Vec<Attempt> {
        let mut attempts = Vec::new();
        while let Some(sent) = self.send(cluster, turn).await {
            attempts.extend(match sent {
                Sent::Over(attempt) => attempt,
                Sent::Accepted(accepted) => {
                    let pod = &self.owned.pod;
                    let word = cluster.await_progress(pod, accepted.plan(), timeout).await;
                    self.heard(cluster, accepted, word).await
                }
            });
        }
        attempts
    }
}

/// The pod as the API server has it then; else what came of it.
async fn send(
    cluster: &Cluster,
    owned: &OwnedPod,
    plan: &Plan,
    fallback: Fallback,
    turn: &WriteTurn,
) -> Result<Pod, Result<Applied, ApplyError>> {
    let pod = &owned.pod;
    let error = match cluster.patch_resize(pod, plan, turn).await {
        Ok(updated) => return Ok(updated),
        Err(error) => error,
    };
    Err(match error {
        ClusterError::NotInPlace { .. } => {
            fall_back_or_refuse(cluster, owned, plan, fallback, error.to_string()).await
        }
        ClusterError::Refused { code, .. } => match cluster.same_pod(&pod.key).await {
            // Refused to another pod of the same name.
            Err(gone) => Err(gone.into()),
            // New pods would be refused what admission refuses to this one; only what a person
            // asks for may be meant for the template, where other rules hold.
            Ok(_) if code == 422 && fallback == Fallback::Template(TemplateChange::AsGiven) => {
                let refusal = error.to_string();
                match fall_back_or_refuse(cluster, owned, plan, fallback, refusal).await {
                    Err(ApplyError::Refused(_)) => Err(error.into()),
                    applied => applied,
                }
            }
            Ok(_) => Err(error.into()),
        },
        error => Err(error.into()),
    })
}

/// What the kubelet's word makes of a resize that the API server has accepted.
async fn end(
    cluster: &Cluster,
    owned: &OwnedPod,
    updated: &Pod,
    plan: &Plan,
    fallback: Fallback,
    word: Result<ResizeProgress, ClusterError>,
) -> Result<Applied, ApplyError> {
    let (refusal, fallback) = match word {
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
    let applied = fall_back_or_refuse(cluster, owned, plan, fallback, refusal).await;
    if applied.is_err() {
        // What cannot be is taken back: the kubelet would go on trying for ever, or never look at
        // the pod again.
        revert(cluster, &owned.pod, updated, plan).await?;
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
        let of = |wanted: &BTreeMap<String, String>, old: &Quantities| {
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

    use tower::ServiceExt;

    use super::super::fixtures::{limits, one_pod};
    use super::*;
    use crate::client::error::Call;
    use crate::config::Config;
    use crate::leader::Leadership;
    use crate::sim::simulation::Simulation;
    use crate::sim::world::ServerVersion;

    fn plan(limits: &[(&str, &str)]) -> Plan {
        let limits = limits.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Plan::from([("app".to_owned(), Change { limits, ..Change::default() })])
    }

    #[test]
    fn only_what_becomes_of_a_write_is_an_answer_to_it() {
        let call = |verb| Call::on(verb, "pods/resize", "shop", "web");
        let over = |error: ClusterError| {
            let (resources, plan, result) = (Vec::new(), Plan::new(), Err(error.into()));
            Sent::Over(Some(Attempt { resources, plan, result })).is_answered()
        };
        let failed = |verb| ClusterError::Unavailable { call: call(verb), message: "502".into() };
        assert_eq!([over(failed("patch")), over(failed("get"))], [Some(false), None]);
        assert_eq!(over(ClusterError::NotSent { call: call("patch"), why: "waiting" }), None);
        let (call, message) = (call("patch"), "denied".into());
        assert_eq!(over(ClusterError::Refused { call, code: 403, message }), Some(true));
    }

    async fn by_hand(simulation: &Arc<Simulation>, owned: &OwnedPod, limits: Value) {
        let api = Api::<KubePod>::namespaced(simulation.client(), "default");
        let spec = json!({"containers": [{"name": "app", "resources": {"limits": limits}}]});
        let patch = Patch::Strategic(json!({"spec": spec}));
        let name = &owned.pod.key.name;
        api.patch_resize(name, &PatchParams::default(), &patch).await.unwrap();
    }

    const UP: Fallback = Fallback::Template(TemplateChange::OnlyUp);

    async fn carry_through(cluster: &Cluster, resize: Resize) -> Vec<Attempt> {
        resize.carry_through(cluster, Duration::from_secs(10), &WriteTurn::default()).await
    }

    async fn apply(cluster: &Cluster, owned: &OwnedPod, plan: Plan) -> Result<Applied, ApplyError> {
        let resize = Resize::whole(owned.clone(), plan, UP);
        carry_through(cluster, resize).await.remove(0).result
    }

    #[tokio::test]
    async fn what_is_refused_to_one_resource_is_done_for_the_other() {
        let (simulation, cluster, owned) = one_pod(ServerVersion::V1_33).await;
        let plan = plan(&[("cpu", "600m"), ("memory", "400Mi")]);
        let attempts = carry_through(&cluster, Resize::by_parts(owned.clone(), plan, UP)).await;
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
        let applied = apply(&cluster, &owned, plan(&[("cpu", "600m")])).await;
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
        let applied = apply(&cluster, &owned, plan(&[("cpu", "600m")])).await;
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
        let refused = apply(&cluster, &owned, plan).await.err().unwrap();
        assert!(refused.to_string().contains("Deployment web: it is paused"), "{refused}");
        let template = api.get("web").await.unwrap().spec.unwrap().template.spec.unwrap();
        let limits = template.containers[0].resources.clone().unwrap().limits.unwrap();
        assert_eq!(limits["cpu"].0, "500m");
        assert_eq!(super::super::fixtures::limits(&simulation, &owned).await.0, "500m");
    }

    /// The cluster behind a webhook that has its own idea of CPU limits.
    fn rewriting(simulation: &Arc<Simulation>, limit: &'static str) -> Cluster {
        let server = crate::sim::api::router(simulation.clone());
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let server = server.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = String::from_utf8(body.collect_bytes().await.unwrap().into()).unwrap();
                let body = axum::body::Body::from(body.replace("600m", limit));
                server.oneshot(http::Request::from_parts(parts, body)).await
            }
        });
        let client = kube::Client::new(service, "default");
        let (clock, leadership) = (*simulation.clock(), Arc::new(Leadership::alone()));
        Cluster::new(client, clock, leadership, &Config::default())
    }

    #[tokio::test]
    async fn what_admission_has_put_in_the_place_of_a_size_is_followed() {
        let (simulation, _, owned) = one_pod(ServerVersion::default()).await;
        let cluster = rewriting(&simulation, "550m");
        let plan = plan(&[("cpu", "600m"), ("memory", "1Gi")]);
        let attempts = carry_through(&cluster, Resize::by_parts(owned.clone(), plan, UP)).await;
        let [Attempt { plan, result, .. }] = &attempts[..] else { panic!("{}", attempts.len()) };
        assert_eq!(result.as_ref().unwrap().pending, None, "no kubelet is waited for");
        assert_eq!((&*plan["app"].limits["cpu"], &*plan["app"].limits["memory"]), ("550m", "1Gi"));
        assert_eq!(limits(&simulation, &owned).await, ("550m".to_owned(), "1Gi".to_owned()));
    }

    #[tokio::test]
    async fn what_admission_leaves_as_it_was_is_refused() {
        let (simulation, _, owned) = one_pod(ServerVersion::default()).await;
        let cluster = rewriting(&simulation, "500m");
        let refused = apply(&cluster, &owned, plan(&[("cpu", "600m")])).await.err().unwrap();
        assert!(refused.to_string().contains("left the sizes as they were"), "{refused}");
    }
}
