//! Writes a change down as soon as it is made, tells the log of it, and sees how it ends.

use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};

use super::agent::Decided;
use super::apply::ApplyError;
use super::changes::Kept;
use super::cycle::Scaler;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::core::change_record::{ChangeRecord, Course, Origin};
use crate::core::context::OwnedPod;
use crate::core::outcome::Applied;
use crate::core::plan::Plan;
use crate::core::pod_decision::PodDecision;

/// What was tried, and what came of it.
pub(super) struct Tried<'a> {
    pub owned: &'a OwnedPod,
    pub plan: &'a Plan,
    /// None where a client names the sizes.
    pub decision: Option<&'a PodDecision>,
    pub origin: Origin,
    pub began: Instant,
    pub applied: &'a Result<Applied, ApplyError>,
}

impl Scaler {
    pub(super) fn note(&self, cluster: &Cluster, config: &Config, tried: &Tried) {
        let Tried { owned, plan, decision, origin, began, applied } = *tried;
        let (now, seconds) = (cluster.clock().now(), cluster.clock().elapsed(began));
        let sent = now - TimeDelta::milliseconds((seconds * 1000.0) as i64);
        let mut record = ChangeRecord::new(owned, plan, decision, origin, sent);
        record.replica = cluster.replica().to_owned();
        record.take_in(applied.as_ref().map_err(ToString::to_string), seconds);
        log(&record);
        let kept = Kept { most: config.changes_kept, days: config.changes_kept_days };
        let uid = &owned.pod.key.uid;
        let mut changes = self.changes.lock();
        if let (Some(decision), Ok(_)) = (decision, applied) {
            changes.undo(uid, decision, now);
        }
        changes.record(record, kept);
    }

    /// Of a resize that the kubelet had accepted and not done.
    pub(super) fn note_end(&self, cluster: &Cluster, config: &Config, tried: &Tried) {
        let applied = tried.applied.as_ref().map_err(ToString::to_string);
        let uid = tried.owned.pod.key.uid.as_str();
        if !self.changes.lock().end(uid, applied, 0.0) {
            return self.note(cluster, config, tried);
        }
        let pod = &tried.owned.pod.key;
        match tried.applied {
            Ok(_) => tracing::info!(
                pod = %pod.name, namespace = %pod.namespace,
                "a resize that the kubelet has not done went into the template"
            ),
            Err(error) => tracing::warn!(
                pod = %pod.name, namespace = %pod.namespace, %error, "a resize was taken back"
            ),
        }
    }

    /// Sees which resizes that were waited for are done by now.
    pub(super) fn settle(&self, decided: &[Decided], now: DateTime<Utc>) {
        let mut changes = self.changes.lock();
        if changes.waits() {
            let pods = decided.iter().map(|of| &of.owned.pod);
            let done = pods.filter(|pod| changes.settle(pod, now));
            done.for_each(|pod| self.wanted.kubelet_answered(pod, true, now.timestamp()));
        }
    }
}

/// One line a change: what changes, and why.
fn log(record: &ChangeRecord) {
    let ChangeRecord { pod, message, .. } = record;
    let (by, what) = (record.by.name(), record.words());
    let why = message.as_deref().unwrap_or_default();
    let (pod, namespace) = (&pod.name, &pod.namespace);
    match record.course {
        Course::Done(_) => tracing::info!(%pod, %namespace, by, "resized: {what}"),
        Course::Pending => tracing::info!(%pod, %namespace, by, "resize accepted: {what}; {why}"),
        Course::FellBack => {
            tracing::info!(%pod, %namespace, by, "written into the template: {what}; {why}");
        }
        Course::Failed => tracing::warn!(%pod, %namespace, by, "resize failed: {what}; {why}"),
    }
}
