//! Publishes resizes, and annotations that cannot be followed, by Kubernetes Events, on the pod and
//! on the workload behind it, so that `kubectl describe` shows them.
//!
//! Best effort: a resize neither waits for its event nor fails with it. What
//! happens again is counted on the event that is there already: on a pod when the change is the
//! same, on a workload whatever the pod.

use std::mem::Discriminant;
use std::time::Duration;

use chrono::{DateTime, Utc};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{ApiResource, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::connected::Cluster;
use super::recent::Recent;
use super::shared::SharedCluster;
use super::write_limiter::WriteTurn;
use crate::client::FIELD_MANAGER;
use crate::client::error::{Call, ClusterError};
use crate::client::retry::Deadline;
use crate::core::event::PodEvent;
use crate::core::pod::TemplateKind;

/// Events that wait to be sent.
const CAPACITY: usize = 1000;
/// For one event to be written, retries included.
const TIMEOUT: Duration = Duration::from_secs(5);
/// For the rest of them when the service stops.
const GRACE: Duration = Duration::from_secs(2);
/// As long as an API server keeps events by default.
const KEPT: i64 = 3600;
/// What is left of a name beside what makes an event's name unique.
const LONGEST_NAME: usize = 253 - 17;

/// What is to be published, from whoever resizes to the task that sends it.
pub struct Queue(mpsc::Sender<PodEvent>);

impl Queue {
    pub fn new() -> (Self, mpsc::Receiver<PodEvent>) {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        (Self(sender), receiver)
    }

    /// Never waits; false: there was no room.
    pub fn put(&self, event: PodEvent) -> bool {
        self.0.try_send(event).is_ok()
    }
}

/// What became of an Event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    Sent,
    Failed,
}

/// Sends what is in the queue until the service has `ended`, and then for a moment what is left.
pub async fn run(
    mut events: mpsc::Receiver<PodEvent>,
    cluster: SharedCluster,
    delivered: impl Fn(Delivery),
    ended: CancellationToken,
) {
    let mut recorder = Recorder::default();
    let sending = async {
        loop {
            let event = tokio::select! {
                biased;
                event = events.recv() => event,
                () = ended.cancelled() => None,
            };
            let (Some(event), Some(cluster)) = (event, cluster.get()) else { break };
            for (about, text) in addressees(&event) {
                let turn = tokio::select! {
                    turn = cluster.turn_of_less() => turn,
                    () = ended.cancelled() => WriteTurn::default(),
                };
                delivered(recorder.publish(&cluster, &turn, &event, about, text).await);
            }
        }
    };
    tokio::select! {
        () = sending => {}
        () = async { ended.cancelled().await; tokio::time::sleep(GRACE).await } => {
            tracing::warn!("not every event could be sent before the end");
        }
    }
}

/// About which object, why, and, on a pod, what.
type Subject = (String, &'static str, Option<String>);

struct Recorder {
    /// The name of the event, and how often it was published.
    published: Recent<Subject, (String, i32)>,
    complaints: Recent<(String, Discriminant<ClusterError>), ()>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self { published: Recent::new(KEPT), complaints: Recent::new(KEPT) }
    }
}

impl Recorder {
    async fn publish(
        &mut self,
        cluster: &Cluster,
        turn: &WriteTurn,
        event: &PodEvent,
        about: ObjectReference,
        text: String,
    ) -> Delivery {
        let now = cluster.clock().now().timestamp();
        let namespace = event.pod.namespace.as_str();
        let uid = about.uid.clone().unwrap_or_default();
        let of_pod = about.kind.as_deref() == Some("Pod");
        let subject = (uid, event.reason, of_pod.then(|| event.what.clone()));
        let again = match self.published.get(&subject, now).cloned() {
            Some((name, count)) => {
                let count = count.saturating_add(1);
                let patched = patch(cluster, turn, namespace, &name, count, event.at, &text).await;
                Some(patched.map(|()| (name, count)))
            }
            None => None,
        };
        // What is remembered here the API server may have forgotten.
        let gone = |patched: &Result<_, ClusterError>| {
            patched.as_ref().is_err_and(ClusterError::is_not_found)
        };
        let published = match again.filter(|patched| !gone(patched)) {
            Some(patched) => patched,
            None => {
                let event = fresh(cluster, event, about, text);
                create(cluster, turn, namespace, event).await.map(|name| (name, 1))
            }
        };
        match published {
            Ok(published) => {
                self.published.put(subject, published, now);
                Delivery::Sent
            }
            Err(error) => {
                self.complain(namespace, &error, now);
                Delivery::Failed
            }
        }
    }

    /// Once for each namespace and kind of fault: what lacks a right for one event lacks it for
    /// all.
    fn complain(&mut self, namespace: &str, error: &ClusterError, now: i64) {
        let cause = (namespace.to_owned(), std::mem::discriminant(error));
        if self.complaints.is_new(cause, now) {
            tracing::warn!(%error, "events cannot be sent, which harms nothing else; it is not \
                said again for an hour");
        }
    }
}

/// Whose event it is, and what it says there.
fn addressees(event: &PodEvent) -> Vec<(ObjectReference, String)> {
    let PodEvent { pod, what, why, .. } = event;
    let mut addressees = Vec::new();
    if !event.of_workload || event.workload.is_none() {
        let about = reference(&ApiResource::erase::<Pod>(&()), &pod.namespace, &pod.name, &pod.uid);
        addressees.push((about, format!("{what}: {why}")));
    }
    if let Some((workload, kind)) = &event.workload {
        let about = reference(&resource(*kind), &pod.namespace, &workload.name, &workload.uid);
        addressees.push((about, format!("Pod {}: {what}: {why}", pod.name)));
    }
    addressees
}

fn resource(kind: TemplateKind) -> ApiResource {
    match kind {
        TemplateKind::Deployment => ApiResource::erase::<Deployment>(&()),
        TemplateKind::StatefulSet => ApiResource::erase::<StatefulSet>(&()),
        TemplateKind::DaemonSet => ApiResource::erase::<DaemonSet>(&()),
    }
}

fn reference(resource: &ApiResource, namespace: &str, name: &str, uid: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some(resource.api_version.clone()),
        kind: Some(resource.kind.clone()),
        namespace: Some(namespace.to_owned()),
        name: Some(name.to_owned()),
        uid: Some(uid.to_owned()),
        ..ObjectReference::default()
    }
}

fn fresh(cluster: &Cluster, event: &PodEvent, about: ObjectReference, text: String) -> Event {
    let name: String = about.name.iter().flat_map(|name| name.chars()).take(LONGEST_NAME).collect();
    let name = format!("{}.{:016x}", name.trim_end_matches(['.', '-']), rand::random::<u64>());
    Event {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: about.namespace.clone(),
            ..ObjectMeta::default()
        },
        involved_object: about,
        type_: Some(if event.warning { "Warning" } else { "Normal" }.into()),
        reason: Some(event.reason.into()),
        action: Some("Resize".into()),
        message: Some(text),
        count: Some(1),
        first_timestamp: time(event.at),
        last_timestamp: time(event.at),
        source: Some(EventSource { component: Some(FIELD_MANAGER.into()), host: None }),
        reporting_component: Some(FIELD_MANAGER.into()),
        reporting_instance: Some(cluster.identity().to_owned()),
        ..Event::default()
    }
}

fn time(at: DateTime<Utc>) -> Option<Time> {
    Timestamp::from_second(at.timestamp()).ok().map(Time)
}

/// Gives the event's name.
async fn create(
    cluster: &Cluster,
    turn: &WriteTurn,
    namespace: &str,
    event: Event,
) -> Result<String, ClusterError> {
    let api = Api::<Event>::namespaced(cluster.client().clone(), namespace);
    let params = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
    let call = Call::over("create", "events", namespace);
    let create = || async {
        match api.create(&params, &event).await {
            // Only an earlier attempt, whose answer was lost, can have taken the name.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            done => done.map(drop),
        }
    };
    cluster.write(call, turn, Deadline::after(TIMEOUT), create).await?;
    Ok(event.metadata.name.unwrap_or_default())
}

async fn patch(
    cluster: &Cluster,
    turn: &WriteTurn,
    namespace: &str,
    name: &str,
    count: i32,
    at: DateTime<Utc>,
    text: &str,
) -> Result<(), ClusterError> {
    let api = Api::<Event>::namespaced(cluster.client().clone(), namespace);
    let params =
        PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
    let call = Call::on("patch", "events", namespace, name);
    let body = Patch::Merge(json!({"count": count, "lastTimestamp": time(at), "message": text}));
    let deadline = Deadline::after(TIMEOUT);
    cluster.write(call, turn, deadline, || api.patch(name, &params, &body)).await.map(drop)
}
