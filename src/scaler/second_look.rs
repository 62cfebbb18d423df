//! The background task between the cycles: every few seconds it looks at the containers that are
//! near their limit, where they run, so that a burst does not wait for the next cycle.
//!
//! It is apart from the cycles, and waits for none of them. What it measures and wants goes the
//! same way.

use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{FutureExt, StreamExt};
use internment::ArcIntern as Shared;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::cycle::Scaler;
use super::round::{Round, Way};
use super::stopwatch::Stopwatch;
use super::usage_windows::UsageWindows;
use crate::blocking::run_blocking;
use crate::client::retry::Deadline;
use crate::clock::Clock;
use crate::cluster::kubelets::Answer;
use crate::cluster::{Cluster, SharedCluster};
use crate::config::{Config, SharedConfig};
use crate::core::context::OwnedPod;
use crate::core::observation::Usage;
use crate::core::outcome::{Outcome, Status};
use crate::core::pod::{Pod, PodKey};
use crate::core::second_look::{Seen, fills, nearest, usage};

/// Nodes of one look: with two seconds between looks, half as many requests a second.
const MOST_NODES: usize = 50;
/// Nodes that take turns, each of them every fifth look at least.
const MOST_WATCHED: usize = 5 * MOST_NODES;
/// Nodes that are asked at once.
const NODES_AT_ONCE: usize = 8;
/// Pods whose usage `metrics.k8s.io` is asked for in one look, and how many at once.
const MOST_PODS: usize = 50;
const PODS_AT_ONCE: usize = 8;
const METRICS_TIMEOUT: Duration = Duration::from_secs(2);
/// Pods that were changed for what `metrics.k8s.io` told, or whose memory fills, are asked for
/// again at every look for so long, so that the next measurement does not wait for the next turn.
const PRESSED: Duration = Duration::from_secs(20);
/// What it told longer ago is compared with nothing.
const COMPARED: Duration = Duration::from_secs(300);
/// After a change its node is looked at again at once, and once more after this time: of ten whole
/// periods of the kernel's CPU quota a container that is full again has used nine at least.
const FOLLOW_UP: Duration = Duration::from_millis(1000);
/// The steps that follow each other so: from 1 to 16 times the first, and one more.
const MOST_FOLLOW_UPS: usize = 6;

/// Between two looks, by the wall clock, however fast the clock of a simulated cluster runs.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
/// Between two times that the watches are asked for news, and how long they are waited for at once.
const TOGETHER: Duration = Duration::from_millis(100);
const NEWS: Duration = Duration::from_secs(5);
/// The same while pods of which they told are being changed, and for how long those are kept.
const AGAIN: Duration = Duration::from_millis(500);
const LATER: Duration = Duration::from_secs(60);

pub struct SecondLook {
    pub config: Arc<SharedConfig>,
    pub cluster: SharedCluster,
    pub scaler: Arc<Scaler>,
    pub clock: Clock,
}

/// What is kept from look to look.
struct Looks {
    scaler: Arc<Scaler>,
    config: Arc<SharedConfig>,
    clock: Clock,
    windows: UsageWindows,
    /// Pods that are being followed.
    followed: Mutex<HashSet<PodKey>>,
    /// What `metrics.k8s.io` told.
    told: Mutex<HashMap<PodKey, Told>>,
    /// Renewed with each interval: as many pods may be changed between two cycles as by one.
    round: Mutex<(Instant, Arc<Round>)>,
}

/// What `metrics.k8s.io` told of a pod that is near its limit.
struct Told {
    at: Instant,
    usage: Usage,
    /// When the next measurement was last found to be pressing.
    pressed_at: Option<Instant>,
}

/// A pod that was seen near its limit.
struct Near {
    pod: Arc<Pod>,
    /// Of its containers, by their names.
    seen: Vec<(Arc<str>, Seen)>,
    /// In milliseconds since the epoch.
    at: i64,
}

/// When `metrics.k8s.io` was last asked, and whose turn it is then.
#[derive(Default)]
struct MetricsTurn {
    asked: Option<Instant>,
    begin: usize,
}

impl MetricsTurn {
    /// As many of the pods as one look is for; where there are more, the next ones next time.
    fn next<T>(&mut self, mut pods: Vec<T>) -> Vec<T> {
        if pods.len() > MOST_PODS {
            let begin = self.begin % pods.len();
            pods.rotate_left(begin);
            pods.truncate(MOST_PODS);
            self.begin = begin + MOST_PODS;
        }
        pods
    }
}

impl SecondLook {
    /// Runs until the service stops; what was begun is finished.
    pub async fn run(self, stopping: CancellationToken) {
        let round = Arc::new(Round::new(&self.config.current(), Way::InTurn));
        let looks = Arc::new(Looks {
            scaler: self.scaler.clone(),
            config: self.config.clone(),
            clock: self.clock,
            windows: UsageWindows::default(),
            followed: Mutex::default(),
            told: Mutex::default(),
            round: Mutex::new((Instant::now(), round)),
        });
        tokio::join!(self.answer_news(&looks, &stopping), self.look_around(&looks, &stopping));
    }

    /// Decides on pods that have just started or were killed, as soon as a watch tells of them: one
    /// that is killed again and again runs for a short time only. One that is being changed has its
    /// turn after that.
    async fn answer_news(&self, looks: &Arc<Looks>, stopping: &CancellationToken) {
        let (mut work, mut later) = (JoinSet::new(), HashMap::new());
        loop {
            let is_watched = |of: &Arc<Cluster>| looks_now(of, &self.config.current());
            let news = AssertUnwindSafe(async {
                let cluster = self.cluster.get().filter(is_watched)?;
                let wait = if later.is_empty() { NEWS } else { AGAIN };
                let mut pods = tokio::time::timeout(wait, cluster.news()).await.unwrap_or_default();
                let told: HashSet<_> = pods.iter().map(|owned| owned.pod.key.clone()).collect();
                let later = later.keys().filter(|key| !told.contains(*key));
                let later = later.filter_map(|key| still_watched(&cluster, key)).collect();
                pods.extend(cluster.watched_with_context(later));
                Some((pods, cluster))
            });
            let news = tokio::select! {
                news = news.catch_unwind() => news,
                () = stopping.cancelled() => break,
            };
            match news {
                Ok(Some((pods, cluster))) if is_watched(&cluster) => {
                    let is_claimed = |of: &OwnedPod| self.scaler.claims.is_claimed(&of.pod.key);
                    let (claimed, free): (Vec<_>, Vec<_>) = pods.into_iter().partition(is_claimed);
                    for owned in &free {
                        later.remove(&owned.pod.key);
                    }
                    for owned in claimed {
                        later.entry(owned.pod.key.clone()).or_insert_with(Instant::now);
                    }
                    later.retain(|_, since| since.elapsed() < LATER);
                    if !free.is_empty() {
                        let (looks, config) = (looks.clone(), self.config.current());
                        work.spawn(async move {
                            let pods = free.into_iter();
                            let pods = pods.map(|owned| (owned.select_containers(), None));
                            looks.decide(&cluster, &config, pods.collect()).await
                        });
                    }
                }
                Ok(_) => {}
                Err(_) => tracing::error!("a panic in taking in what the watches tell"),
            }
            while work.try_join_next().is_some() {}
            // What comes at the same time is decided on together.
            tokio::time::sleep(TOGETHER).await;
        }
        while work.join_next().await.is_some() {}
    }

    /// Looks at the containers near their limit, every few seconds.
    async fn look_around(&self, looks: &Arc<Looks>, stopping: &CancellationToken) {
        let mut changes = self.config.subscribe();
        let (mut work, mut metrics) = (JoinSet::new(), MetricsTurn::default());
        while !stopping.is_cancelled() {
            let began = Instant::now();
            let config = changes.borrow_and_update().clone();
            if let Some(cluster) = self.cluster.get().filter(|of| looks_now(of, &config)) {
                let look = looks.look(&cluster, &config, &mut metrics, &mut work);
                if AssertUnwindSafe(look).catch_unwind().await.is_err() {
                    tracing::error!("a panic in a look between two cycles");
                }
            }
            while work.try_join_next().is_some() {}
            let pause = Duration::from_secs(config.second_look_interval.max(1));
            let pause = self.clock.real(pause).saturating_sub(began.elapsed()).max(SHORTEST_PAUSE);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = changes.changed() => {}
                () = stopping.cancelled() => {}
            }
        }
        while work.join_next().await.is_some() {}
    }
}

fn looks_now(cluster: &Cluster, config: &Config) -> bool {
    config.auto_scale_enabled && config.second_look_interval > 0 && cluster.may_act()
}

impl Looks {
    /// One look: at the nodes whose turn it is, each as soon as it answers, then at what no kubelet
    /// tells.
    async fn look(
        self: &Arc<Self>,
        cluster: &Arc<Cluster>,
        config: &Arc<Config>,
        metrics: &mut MetricsTurn,
        work: &mut JoinSet<()>,
    ) {
        self.windows.retain_recent(cluster.clock().now().timestamp_millis());
        let watchlist = self.scaler.watchlist.lock().clone();
        let listed = watchlist.pods.iter().filter_map(|key| still_watched(cluster, key));
        let listed: Vec<Arc<Pod>> = listed.collect();
        if let Some(kubelets) = cluster.kubelets() {
            let (watched, first) = nodes_of(&listed, &watchlist.nodes);
            let nodes = kubelets.due(&watched, &first, MOST_NODES);
            let answers = nodes.into_iter().map(|node| async move {
                let near = self.measure(cluster, &node).await;
                (node, near)
            });
            let mut answers = futures::stream::iter(answers).buffer_unordered(NODES_AT_ONCE);
            while let Some((node, near)) = answers.next().await {
                let near = self.claim(near);
                if !near.is_empty() {
                    let (looks, cluster) = (self.clone(), cluster.clone());
                    work.spawn(async move { looks.follow(&cluster, &node, near).await });
                }
            }
            self.scaler.metrics.silent_kubelets(kubelets.silent());
        }
        let interval = Duration::from_secs(config.second_look_interval_metrics);
        let pause = self.clock.real(interval);
        if interval.is_zero() {
            return;
        }
        let told = |pod: &&Arc<Pod>| {
            let kubelets = cluster.kubelets().zip(pod.node_name.as_ref());
            !kubelets.is_some_and(|(kubelets, node)| kubelets.answers(node))
        };
        let pods = match metrics.asked {
            Some(asked) if asked.elapsed() < pause => self.pressed_of(cluster),
            _ => {
                metrics.asked = Some(Instant::now());
                metrics.next(listed.iter().filter(told).cloned().collect())
            }
        };
        if !pods.is_empty() {
            let (looks, cluster, config) = (self.clone(), cluster.clone(), config.clone());
            work.spawn(async move { looks.look_at_metrics(&cluster, &config, pods).await });
        }
    }

    /// The pods of a node that are near their limit.
    async fn measure(&self, cluster: &Cluster, node: &Shared<str>) -> Vec<Near> {
        let Some(kubelets) = cluster.kubelets() else { return Vec::new() };
        let began = Instant::now();
        let Some((answer, pods)) = kubelets.look(node).await else { return Vec::new() };
        self.scaler.metrics.asked_kubelet(answer.name(), began.elapsed());
        if answer != Answer::Answered {
            return Vec::new();
        }
        run_blocking(|| {
            let near = pods.into_iter().filter_map(|counted| {
                let pod = cluster.watched(&counted.namespace, &counted.name)?;
                if pod.node_name.as_ref() != Some(node) {
                    return None;
                }
                let resized_at = self.scaler.agent.resized_at(&pod.key);
                let (at, seen) = self.windows.take(&pod, resized_at, counted.containers);
                nearest(&pod, &seen)?;
                let names = pod.containers.iter().map(|container| container.name.clone());
                let seen = names.zip(seen).collect();
                Some(Near { pod, seen, at })
            });
            near.collect()
        })
    }

    /// Those that nobody follows yet.
    fn claim(&self, near: Vec<Near>) -> Vec<Near> {
        let mut followed = self.followed.lock();
        near.into_iter().filter(|near| followed.insert(near.pod.key.clone())).collect()
    }

    /// Decides on pods of a node, and again on those that were changed for as long as they are near
    /// their limit under the new one.
    async fn follow(&self, cluster: &Cluster, node: &Shared<str>, near: Vec<Near>) {
        let pods: Vec<PodKey> = near.iter().map(|near| near.pod.key.clone()).collect();
        let followed = AssertUnwindSafe(self.follow_up(cluster, node, near)).catch_unwind().await;
        if followed.is_err() {
            tracing::error!("a panic in a look between two cycles");
        }
        let mut followed = self.followed.lock();
        for pod in &pods {
            followed.remove(pod);
        }
    }

    async fn follow_up(&self, cluster: &Cluster, node: &Shared<str>, mut near: Vec<Near>) {
        for _ in 0..MOST_FOLLOW_UPS {
            let config = self.config.current();
            if near.is_empty() || !looks_now(cluster, &config) {
                return;
            }
            let pods = run_blocking(|| measured(cluster, near));
            let changed = self.decide(cluster, &config, pods).await;
            if changed.is_empty() || self.scaler.stopping.is_cancelled() {
                return;
            }
            self.measure(cluster, node).await;
            self.clock.sleep(FOLLOW_UP).await;
            near = self.measure(cluster, node).await;
            near.retain(|near| changed.contains(&near.pod.key));
        }
    }

    /// Those of the pods that were changed.
    async fn decide(
        &self,
        cluster: &Cluster,
        config: &Config,
        pods: Vec<(OwnedPod, Option<Usage>)>,
    ) -> HashSet<PodKey> {
        let round = self.round(config);
        self.scaler.metrics.looked_at(pods.len());
        let watch = &mut Stopwatch::start();
        match self.scaler.run(cluster, config, pods, &round, watch).await {
            Ok(outcomes) => {
                let changed = |outcome: &Outcome| matches!(outcome.status, Status::Success(_));
                outcomes.into_iter().filter(changed).map(|outcome| outcome.pod).collect()
            }
            Err(error) => {
                tracing::warn!(%error, "a look between two cycles was given up");
                HashSet::new()
            }
        }
    }

    fn round(&self, config: &Config) -> Arc<Round> {
        let interval = self.clock.real(Duration::from_secs(config.auto_scale_interval));
        let mut round = self.round.lock();
        if round.0.elapsed() >= interval {
            *round = (Instant::now(), Arc::new(Round::new(config, Way::InTurn)));
        }
        round.1.clone()
    }

    /// The pods whose next measurement is pressing, as many as one look is for.
    fn pressed_of(&self, cluster: &Cluster) -> Vec<Arc<Pod>> {
        let (pressed, compared) = (self.clock.real(PRESSED), self.clock.real(COMPARED));
        let mut told = self.told.lock();
        told.retain(|_, told| told.at.elapsed() < compared);
        let is_pressed = |told: &Told| told.pressed_at.is_some_and(|at| at.elapsed() < pressed);
        let pods = told.iter().filter(|(_, told)| is_pressed(told));
        pods.filter_map(|(key, _)| still_watched(cluster, key)).take(MOST_PODS).collect()
    }

    /// Takes in what was told of a pod.
    fn take_told(&self, pod: &Pod, usage: &Usage) {
        let (at, mut told) = (Instant::now(), self.told.lock());
        let before = told.get(&pod.key);
        let fills = before.is_some_and(|before| fills(pod, &before.usage, usage));
        let pressed_at = fills.then_some(at).or_else(|| before?.pressed_at);
        told.insert(pod.key.clone(), Told { at, usage: usage.clone(), pressed_at });
    }

    async fn look_at_metrics(&self, cluster: &Cluster, config: &Config, pods: Vec<Arc<Pod>>) {
        let pods = run_blocking(|| cluster.watched_with_context(pods));
        let usages = pods.into_iter().map(|owned| async move {
            let owned = owned.select_containers();
            let usage = cluster.usage_of(&owned, Deadline::after(METRICS_TIMEOUT)).await;
            let usage = usage.inspect_err(|error| tracing::debug!(%error, "no metrics"));
            let usage = usage.ok()??;
            let seen =
                usage.containers.iter().map(|usage| Seen { usage: *usage, ..Seen::default() });
            nearest(&owned.pod, &seen.collect::<Vec<_>>())?;
            self.take_told(&owned.pod, &usage);
            Some((owned, Some(usage)))
        });
        let near = futures::stream::iter(usages).buffer_unordered(PODS_AT_ONCE);
        let near: Vec<_> = near.filter_map(std::future::ready).collect().await;
        if !near.is_empty() {
            let changed = self.decide(cluster, config, near).await;
            let (now, mut told) = (Instant::now(), self.told.lock());
            for pod in changed {
                if let Some(told) = told.get_mut(&pod) {
                    told.pressed_at = Some(now);
                }
            }
        }
    }
}

/// The pod as it is now, unless another one has taken its name.
fn still_watched(cluster: &Cluster, key: &PodKey) -> Option<Arc<Pod>> {
    cluster.watched(&key.namespace, &key.name).filter(|pod| pod.key == *key)
}

/// The nodes that take turns: those of the listed pods, the fullest first, then others; and which
/// of them are of listed pods.
fn nodes_of(
    listed: &[Arc<Pod>],
    nodes: &[Shared<str>],
) -> (Vec<Shared<str>>, HashSet<Shared<str>>) {
    let (mut watched, mut first) = (Vec::new(), HashSet::new());
    for node in listed.iter().filter_map(|pod| pod.node_name.as_ref()) {
        if watched.len() < MOST_WATCHED && first.insert(node.clone()) {
            watched.push(node.clone());
        }
    }
    let others = nodes.iter().filter(|node| !first.contains(*node)).cloned();
    watched.extend(others.take(MOST_WATCHED - watched.len()));
    (watched, first)
}

/// The pods as they are known now, with what binds them and what was measured of them.
fn measured(cluster: &Cluster, near: Vec<Near>) -> Vec<(OwnedPod, Option<Usage>)> {
    let now = near.iter().filter_map(|near| still_watched(cluster, &near.pod.key));
    let pods = cluster.watched_with_context(now.collect());
    let seen: HashMap<_, _> = near.iter().map(|near| (&near.pod.key, near)).collect();
    let with_usage = pods.into_iter().filter_map(|owned| {
        let Near { seen, at, .. } = seen.get(&owned.pod.key)?;
        let owned = owned.select_containers();
        let containers = owned.pod.containers.iter().map(|container| {
            let seen = seen.iter().find(|(name, _)| *name == container.name);
            seen.map(|(_, seen)| *seen).unwrap_or_default()
        });
        let usage = usage(*at, &containers.collect::<Vec<_>>());
        Some((owned, Some(usage)))
    });
    with_usage.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::pod::pod_key;

    fn pod(name: &str, node: &str) -> Arc<Pod> {
        let key = pod_key("shop", name, name);
        Arc::new(Pod { node_name: Some(node.into()), ..Pod::new(key, Vec::new()) })
    }

    #[test]
    fn every_pod_has_its_turn() {
        let mut turn = MetricsTurn::default();
        let all: Vec<usize> = (0..MOST_PODS + 10).collect();
        let (first, second) = (turn.next(all.clone()), turn.next(all.clone()));
        assert_eq!((first.len(), second.len()), (MOST_PODS, MOST_PODS));
        let asked: HashSet<_> = first.into_iter().chain(second).collect();
        assert_eq!(asked.len(), all.len());
        assert_eq!(turn.next(vec![1, 2]), [1, 2]);
    }

    #[test]
    fn nodes_of_listed_pods_come_before_others_and_there_is_an_end() {
        let nodes = (0..2 * MOST_WATCHED).map(|number| Shared::from(format!("node-{number:04}")));
        let nodes: Vec<_> = nodes.collect();
        let listed = [pod("a", "node-0400"), pod("b", "node-0007"), pod("c", "node-0400")];
        let (watched, first) = nodes_of(&listed, &nodes);
        assert_eq!((watched.len(), first.len()), (MOST_WATCHED, 2));
        let begin: Vec<&str> = watched.iter().take(3).map(|node| &**node).collect();
        assert_eq!(begin, ["node-0400", "node-0007", "node-0000"]);
        assert_eq!(watched.iter().collect::<HashSet<_>>().len(), MOST_WATCHED);
    }
}
