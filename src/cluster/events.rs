//! Tells of resizes, and of annotations that cannot be followed, by Kubernetes Events, on the pod
//! and on the workload behind it, so that `kubectl describe` shows them.
//!
//! Best effort, at a pace of its own: a resize neither waits for its event nor fails with it. What
//! happens again is counted on the event that tells of it already: on a pod when the same change is
//! told, on a workload whatever the pod.

use std::mem::Discriminant;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{ApiResource, Patch, PatchParams, PostParams};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Cluster;
use super::error::{Call, ClusterError};
use super::pace::Pace;
use super::pod::FIELD_MANAGER;
use super::recent::Recent;
use super::retry::{Deadline, while_allowed};
use crate::scaler::event::PodEvent;
use crate::state::AppState;

/// Resizes that wait to be told of.
const WAITING: usize = 1000;
/// For one event to be written, retries included.
const PATIENCE: Duration = Duration::from_secs(5);
/// For the rest of them when the service stops.
const GRACE: Duration = Duration::from_secs(2);
/// As long as an API server keeps events unless it is told otherwise.
const KEPT: i64 = 3600;
/// What is left of a name beside what makes an event's name unique.
const LONGEST_NAME: usize = 253 - 17;

/// What is to be told, from whoever resizes to the task that tells.
pub struct Queue {
    sender: mpsc::Sender<PodEvent>,
    receiver: Mutex<Option<mpsc::Receiver<PodEvent>>>,
}

impl Default for Queue {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        Self { sender, receiver: Mutex::new(Some(receiver)) }
    }
}

impl Queue {
    /// Never waits; false: there was no room.
    pub fn put(&self, event: PodEvent) -> bool {
        self.sender.try_send(event).is_ok()
    }
}

/// Tells of what is in the queue until the service has `ended`, and then for a moment of what is
/// left.
pub async fn run(state: Arc<AppState>, ended: CancellationToken) {
    let Some(mut events) = state.scaler.events.receiver.lock().take() else { return };
    let mut recorder = Recorder::default();
    let pace = Pace::new(state.config().writes_per_second / 2, 1);
    let telling = async {
        loop {
            let event = tokio::select! {
                biased;
                event = events.recv() => event,
                () = ended.cancelled() => None,
            };
            let (Some(event), Some(cluster)) = (event, state.cluster()) else { break };
            for (about, text) in addressees(&event) {
                tokio::select! {
                    _ = pace.turn(Duration::MAX) => {}
                    () = ended.cancelled() => {}
                }
                let told = recorder.tell(&cluster, &event, about, text).await;
                state.scaler.metrics.event(if told { "sent" } else { "failed" });
            }
        }
    };
    tokio::select! {
        () = telling => {}
        () = async { ended.cancelled().await; tokio::time::sleep(GRACE).await } => {
            tracing::warn!("not every event could be sent before the end");
        }
    }
}

/// About which object, why, and, on a pod, what.
type Subject = (String, &'static str, Option<String>);

struct Recorder {
    /// The name of the event that tells of it, and how often it was told.
    told: Recent<Subject, (String, i32)>,
    complaints: Recent<(String, Discriminant<ClusterError>), ()>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self { told: Recent::new(KEPT), complaints: Recent::new(KEPT) }
    }
}

impl Recorder {
    /// Whether it could be told.
    async fn tell(
        &mut self,
        cluster: &Cluster,
        event: &PodEvent,
        about: ObjectReference,
        text: String,
    ) -> bool {
        let now = cluster.clock().now().timestamp();
        let namespace = event.pod.namespace.as_str();
        let uid = about.uid.clone().unwrap_or_default();
        let subject =
            (uid, event.reason, (about.kind.as_deref() == Some("Pod")).then(|| event.what.clone()));
        let again = match self.told.get(&subject, now).cloned() {
            Some((name, count)) => {
                let count = count.saturating_add(1);
                let told = patch(cluster, namespace, &name, count, event.at, &text).await;
                Some(told.map(|()| (name, count)))
            }
            None => None,
        };
        // What is remembered here the API server may have forgotten.
        let told = match again.filter(|told| !told.as_ref().is_err_and(ClusterError::is_not_found))
        {
            Some(told) => told,
            None => create(cluster, namespace, fresh(cluster, event, about, text))
                .await
                .map(|name| (name, 1)),
        };
        match told {
            Ok(told) => self.told.put(subject, told, now),
            Err(error) => {
                self.complain(namespace, &error, now);
                return false;
            }
        }
        true
    }

    /// Once for each namespace and kind of fault: what lacks a right for one event lacks it for
    /// all.
    fn complain(&mut self, namespace: &str, error: &ClusterError, now: i64) {
        let cause = (namespace.to_owned(), std::mem::discriminant(error));
        if self.complaints.is_new(cause, now) {
            tracing::warn!(%error, "events cannot be sent, which harms nothing else; it is not said again for an hour");
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
    if let Some(workload) = &event.workload {
        let resource = match workload.kind.as_str() {
            "StatefulSet" => ApiResource::erase::<StatefulSet>(&()),
            "DaemonSet" => ApiResource::erase::<DaemonSet>(&()),
            _ => ApiResource::erase::<Deployment>(&()),
        };
        let about = reference(&resource, &pod.namespace, &workload.name, &workload.uid);
        addressees.push((about, format!("Pod {}: {what}: {why}", pod.name)));
    }
    addressees
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
async fn create(cluster: &Cluster, namespace: &str, event: Event) -> Result<String, ClusterError> {
    let api = Api::<Event>::namespaced(cluster.client().clone(), namespace);
    let params = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
    let call = Call::over("create", "events", namespace);
    while_allowed(
        call,
        Deadline::after(PATIENCE),
        || cluster.may_act(),
        || async {
            match api.create(&params, &event).await {
                // Only an earlier attempt, whose answer was lost, can have taken the name.
                Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
                done => done.map(drop),
            }
        },
    )
    .await?;
    Ok(event.metadata.name.unwrap_or_default())
}

async fn patch(
    cluster: &Cluster,
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
    let deadline = Deadline::after(PATIENCE);
    while_allowed(call, deadline, || cluster.may_act(), || api.patch(name, &params, &body))
        .await
        .map(drop)
}
