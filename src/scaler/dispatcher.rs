//! The background task that makes the changes that cycles and looks between them want: a cycle
//! waits for no API server and no kubelet, and no task waits for a kubelet.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::apply::Accepted;
use super::cycle::Scaler;
use super::resizing::{Resizing, Stage};
use super::wanted::{Change, Wanted};
use crate::client::error::ClusterError;
use crate::cluster::{Cluster, SharedCluster, WriteTurn};
use crate::config::SharedConfig;
use crate::core::outcome::{Outcome, Status};
use crate::core::progress::ResizeProgress;

/// Changes that may be under way in all, most of them until the kubelet's word comes.
const MOST_UNDER_WAY: usize = 2000;
/// How often it is looked for the kubelets' words in what the watches hold.
const LOOK: Duration = Duration::from_millis(250);
/// How often a pod is asked for that is not watched.
const ASK: Duration = Duration::from_secs(2);

pub struct Dispatcher {
    pub config: Arc<SharedConfig>,
    pub cluster: SharedCluster,
    pub scaler: Arc<Scaler>,
}

/// What every step of a change needs.
#[derive(Clone)]
struct Hands {
    scaler: Arc<Scaler>,
    config: Arc<SharedConfig>,
    cluster: Arc<Cluster>,
}

/// The place of a change among those that are under way, until this is dropped.
struct Place {
    node: String,
    scaler: Arc<Scaler>,
    _one_of_all: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.scaler.wanted.done(&self.node);
    }
}

/// A change that is on its way to the API server, until this is dropped.
struct Sending {
    namespace: String,
    scaler: Arc<Scaler>,
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.scaler.wanted.sent(&self.namespace);
    }
}

/// A change that the API server has accepted, and whose kubelet has the next word.
struct Following {
    hands: Hands,
    resizing: Box<Resizing>,
    accepted: Accepted,
    /// It is waited for no longer, and a pod that is not watched is not asked for before.
    deadline: Instant,
    ask_at: Instant,
    waiter: Option<oneshot::Sender<Outcome>>,
    place: Place,
}

impl Dispatcher {
    /// Runs until the service stops; what was begun is finished.
    pub async fn run(self, stopping: CancellationToken) {
        let (accepted, words) = mpsc::channel(MOST_UNDER_WAY);
        let follower = tokio::spawn(follow(words, self.scaler.clone()));
        self.send(accepted, &stopping).await;
        if follower.await.is_err() {
            tracing::error!("a panic in following changes");
        }
    }

    async fn send(&self, accepted: mpsc::Sender<Following>, stopping: &CancellationToken) {
        let (mut sending, places) = (JoinSet::new(), Arc::new(Semaphore::new(MOST_UNDER_WAY)));
        loop {
            while sending.try_join_next().is_some() {}
            let turn = async {
                let cluster = self.cluster.get().filter(|_| self.wanted().waiting() > 0)?;
                let one_of_all = places.clone().acquire_owned().await.ok()?;
                Some((cluster.turn().await, one_of_all, cluster))
            };
            let turn = tokio::select! {
                turn = turn => turn,
                () = stopping.cancelled() => break,
            };
            // Chosen only now that it can be sent at once.
            let next = turn.and_then(|(turn, one_of_all, cluster)| {
                let change = self.wanted().next(cluster.clock().now().timestamp())?;
                Some((change, turn, one_of_all, cluster))
            });
            let Some((change, turn, one_of_all, cluster)) = next else {
                tokio::select! {
                    () = self.wanted().more.notified() => continue,
                    () = stopping.cancelled() => break,
                }
            };
            let (scaler, config) = (self.scaler.clone(), self.config.clone());
            let (node, namespace) = (change.node().to_owned(), change.namespace().to_owned());
            let on_its_way = Sending { namespace, scaler: scaler.clone() };
            let place = Place { node, scaler: scaler.clone(), _one_of_all: one_of_all };
            let hands = Hands { scaler, config, cluster };
            let accepted = accepted.clone();
            sending.spawn(async move {
                let following = hands.begin(change, turn, place).await;
                drop(on_its_way);
                if let Some(following) = following {
                    // The follower ends after all who send.
                    _ = accepted.send(following).await;
                }
            });
        }
        while sending.join_next().await.is_some() {}
    }

    fn wanted(&self) -> &Wanted {
        &self.scaler.wanted
    }
}

impl Hands {
    /// Begins with a change at its turn, as far as it is still wanted by the newest that is known.
    async fn begin(self, change: Change, turn: WriteTurn, place: Place) -> Option<Following> {
        let Change { decided, since, is_try, waiter, .. } = change;
        let (scaler, cluster, config) = (&self.scaler, &self.cluster, self.config.current());
        // Stopped meanwhile: nobody wants it any more.
        if !config.auto_scale_enabled {
            return None;
        }
        let waited = cluster.clock().now().timestamp() - since;
        let (settings, decided) = match scaler.renewed(cluster, &config, decided).await {
            Ok(renewed) => renewed,
            Err(error) => {
                tracing::warn!(%error, "a change was given up");
                return None;
            }
        };
        let (urgency, decided_at) = (decided.urgency(), Instant::now());
        let namespace = decided.owned.pod.key.namespace.clone();
        let stage = scaler.begin(cluster, &config, &settings, decided, &turn).await;
        match &stage {
            Stage::Over(Outcome {
                status: Status::NoActionNeeded | Status::Skipped(_) | Status::DryRun,
                ..
            }) => {
                scaler.metrics.not_wanted();
                if is_try {
                    let now = cluster.clock().now().timestamp();
                    scaler.wanted.not_tried(&place.node, &namespace, now);
                }
            }
            _ => scaler.metrics.dispatched(urgency, waited, decided_at.elapsed()),
        }
        self.follow(stage, waiter, place)
    }

    fn follow(
        self,
        stage: Stage,
        waiter: Option<oneshot::Sender<Outcome>>,
        place: Place,
    ) -> Option<Following> {
        match stage {
            Stage::Accepted(resizing, accepted) => {
                let timeout = Duration::from_secs(self.config.current().resize_timeout);
                let clock = self.cluster.clock();
                let (deadline, ask_at) =
                    (Instant::now() + clock.real(timeout), Instant::now() + clock.real(LOOK));
                let hands = self;
                Some(Following { hands, resizing, accepted, deadline, ask_at, waiter, place })
            }
            Stage::Over(outcome) => {
                drop(place);
                if let Some(waiter) = waiter {
                    // Whoever waited may have ended.
                    _ = waiter.send(outcome);
                }
                None
            }
        }
    }
}

/// Sees what the kubelets say to the changes that were accepted, until there will be no more.
async fn follow(mut accepted: mpsc::Receiver<Following>, scaler: Arc<Scaler>) {
    let (mut following, mut work) = (Vec::<Following>::new(), JoinSet::new());
    let (mut is_open, mut next_look) = (true, Instant::now());
    while is_open || !following.is_empty() || !work.is_empty() {
        scaler.metrics.resizes_under_way(following.len());
        tokio::select! {
            next = accepted.recv(), if is_open => match next {
                Some(next) => following.push(next),
                None => is_open = false,
            },
            Some(done) = work.join_next() => following.extend(done.ok().flatten()),
            () = tokio::time::sleep_until(next_look.into()), if !following.is_empty() => {
                let now = Instant::now();
                let look = following.first().map(|one| one.hands.cluster.clock().real(LOOK));
                next_look = now + look.unwrap_or(LOOK);
                for one in std::mem::take(&mut following) {
                    match one.look(now) {
                        Look::Later => following.push(one),
                        Look::Word(word) => drop(work.spawn(one.heard(Ok(word)))),
                        Look::Ask => drop(work.spawn(one.ask())),
                    }
                }
            }
        }
    }
}

enum Look {
    Later,
    Word(ResizeProgress),
    Ask,
}

impl Following {
    fn look(&self, now: Instant) -> Look {
        let (cluster, pod) = (&self.hands.cluster, self.resizing.pod());
        match cluster.watched_progress(pod, self.accepted.plan()) {
            Some(word) if word.is_early() && now < self.deadline => Look::Later,
            Some(word) => Look::Word(word),
            None if now < self.ask_at => Look::Later,
            None => Look::Ask,
        }
    }

    async fn ask(mut self) -> Option<Self> {
        let (cluster, pod) = (&self.hands.cluster, self.resizing.pod());
        let word = cluster.asked_progress(pod, self.accepted.plan()).await;
        let now = Instant::now();
        if matches!(&word, Ok(word) if word.is_early()) && now < self.deadline {
            self.ask_at = now + cluster.clock().real(ASK);
            return Some(self);
        }
        self.heard(word).await
    }

    async fn heard(self, word: Result<ResizeProgress, ClusterError>) -> Option<Self> {
        let Self { hands, resizing, accepted, waiter, place, .. } = self;
        let config = hands.config.current();
        let stage = hands.scaler.heard(&hands.cluster, &config, resizing, accepted, word).await;
        hands.follow(stage, waiter, place)
    }
}
