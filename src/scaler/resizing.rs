//! A pod while it is resized: sent, heard of, sent by parts, done or refused. Nobody waits for the
//! kubelet here: between two steps there is nothing but this state.

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use futures::FutureExt;

use super::apply::{Accepted, ApplyError, Attempt, Resize, Sent};
use super::claims::Claim;
use super::cycle::Scaler;
use super::noting::Tried;
use super::panics::Panicked;
use crate::client::error::ClusterError;
use crate::cluster::{Cluster, WriteTurn};
use crate::config::Config;
use crate::core::change_record::Origin;
use crate::core::event::cause;
use crate::core::outcome::{Applied, DONE, NO_ACTION, Outcome, Status};
use crate::core::pod::{Pod, PodKey};
use crate::core::pod_decision::PodDecision;
use crate::core::progress::ResizeProgress;
use crate::core::resource::Resource;
use crate::core::skip_reason::SkipReason;

/// A pod that is resized as it was decided.
pub(super) struct Resizing {
    resize: Resize,
    decision: PodDecision,
    origin: Origin,
    began: Instant,
    done: Option<Applied>,
    faults: Vec<(Vec<Resource>, ApplyError)>,
    _claim: Claim,
}

/// How far a pod has come.
pub(super) enum Stage {
    /// The kubelet has the next word.
    Accepted(Box<Resizing>, Accepted),
    Over(Outcome),
}

impl Resizing {
    pub fn new(resize: Resize, decision: PodDecision, origin: Origin, claim: Claim) -> Self {
        let (began, done, faults) = (Instant::now(), None, Vec::new());
        Self { resize, decision, origin, began, done, faults, _claim: claim }
    }

    pub fn pod(&self) -> &Pod {
        &self.resize.owned.pod
    }

    fn outcome(self) -> Outcome {
        let pod = self.pod().key.clone();
        let mut faults = self.faults.into_iter().peekable();
        let (status, message) = match (self.done, faults.peek()) {
            (Some(applied), _) => {
                let mut message = match applied.pending {
                    Some(pending) => format!("Scaling accepted, {pending}"),
                    None => DONE.to_owned(),
                };
                for (resources, error) in faults {
                    let names: Vec<_> = resources.iter().map(|resource| resource.name()).collect();
                    message += &format!("; {}: {error}", names.join(" and "));
                }
                (Status::Success(applied.method), message.into())
            }
            (None, Some((_, ApplyError::Cluster(ClusterError::Conflict { .. })))) => {
                let reason = SkipReason::Changed;
                (Status::Skipped(reason), reason.message(&pod.name).into())
            }
            (None, Some((_, error))) => (Status::Failed, error.to_string().into()),
            (None, None) => (Status::NoActionNeeded, NO_ACTION.into()),
        };
        Outcome { pod, status, message, decided: Some(self.decision) }
    }
}

impl Scaler {
    /// Takes in the kubelet's word, and does what is next.
    pub(super) async fn heard(
        &self,
        cluster: &Cluster,
        config: &Config,
        mut resizing: Box<Resizing>,
        accepted: Accepted,
        word: Result<ResizeProgress, ClusterError>,
    ) -> Stage {
        let (pod, now) = (resizing.pod().key.clone(), cluster.clock().now().timestamp());
        if let Ok(word) = &word {
            let answered = *word != ResizeProgress::Unanswered;
            self.wanted.kubelet_answered(resizing.pod(), answered, now);
        }
        let work = async {
            let attempt = resizing.resize.heard(cluster, accepted, word).await;
            self.take_in(cluster, config, &mut resizing, attempt);
            self.send_next(cluster, config, resizing, &WriteTurn::default()).await
        };
        let stage = guarded(&pod, work).await;
        self.told(stage, cluster, config)
    }

    /// Sends what is next, as far as that can be without the kubelet's word.
    pub(super) async fn send_next(
        &self,
        cluster: &Cluster,
        config: &Config,
        mut resizing: Box<Resizing>,
        turn: &WriteTurn,
    ) -> Stage {
        while let Some(sent) = resizing.resize.send(cluster, turn).await {
            if let Some(answered) = sent.is_answered().filter(|_| cluster.may_act()) {
                let now = cluster.clock().now().timestamp();
                self.wanted.write_answered(resizing.pod(), answered, now);
            }
            match sent {
                Sent::Accepted(accepted) => return Stage::Accepted(resizing, accepted),
                Sent::Over(attempt) => self.take_in(cluster, config, &mut resizing, attempt),
            }
        }
        Stage::Over(resizing.outcome())
    }

    fn take_in(
        &self,
        cluster: &Cluster,
        config: &Config,
        resizing: &mut Resizing,
        attempt: Option<Attempt>,
    ) {
        let Some(Attempt { resources, plan, result }) = attempt else { return };
        if let Err(ApplyError::Cluster(ClusterError::Conflict { .. })) = result {
            resizing.faults.extend(result.err().map(|error| (resources, error)));
            return;
        }
        let (owned, decision) = (&resizing.resize.owned, &resizing.decision);
        let (key, now) = (&owned.pod.key, cluster.clock().now().timestamp());
        match &result {
            Ok(_) => self.agent.applied(key, decision, &resources, &config.policy(), now),
            Err(_) => {
                let pause = config.auto_scale_interval as i64;
                self.agent.failed(key, decision, &resources, now, pause);
            }
        }
        let (plan, origin, began) = (&plan, resizing.origin, resizing.began);
        let decided = Some(decision);
        let tried = Tried { owned, plan, decision: decided, origin, began, applied: &result };
        self.note(cluster, config, &tried);
        self.publish(cluster, &tried, || cause(decision));
        match result {
            Ok(applied) => {
                resizing.done = Some(match resizing.done.take() {
                    Some(first) => first.with(applied),
                    None => applied,
                });
            }
            Err(error) => resizing.faults.push((resources, error)),
        }
    }

    /// Tells what came of a pod, where that is known.
    pub(super) fn told(&self, stage: Stage, cluster: &Cluster, config: &Config) -> Stage {
        if let Stage::Over(outcome) = &stage {
            self.tell(std::slice::from_ref(outcome), config, cluster.clock().now());
        }
        stage
    }
}

/// A panic in the handling of one pod costs only that.
pub(super) async fn guarded(pod: &PodKey, work: impl Future<Output = Stage>) -> Stage {
    AssertUnwindSafe(work)
        .catch_unwind()
        .await
        .unwrap_or_else(|_| Stage::Over(Panicked(pod.clone()).outcome()))
}
