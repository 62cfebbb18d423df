//! The agent: what it has seen of every pod, and what it decides for all of them at once.

use std::collections::{HashMap, HashSet};

use ndarray::Array2;
use parking_lot::Mutex;

use super::decision::{Decision, decide};
use super::history::PodHistory;
use super::observation::Observation;
use super::outcome::SkipReason;
use super::phases::{Phase, Stopwatch};
use super::policy::Policy;
use crate::cluster::inventory::OwnedPod;
use crate::cluster::pod::PodKey;
use crate::model::features::FeatureSet;
use crate::model::{ModelError, Network};

/// The longest pause after resizes of a pod that failed in a row, in seconds.
const LONGEST_PAUSE: i64 = 3600;

pub struct Agent {
    network: Network,
    features: FeatureSet,
    histories: Mutex<HashMap<PodKey, PodHistory>>,
    /// Pods that have been changed, or were to be, since somebody last asked.
    touched: Mutex<HashSet<PodKey>>,
}

/// A pod with what was measured of it, or why nothing can be decided.
pub struct Seen {
    pub owned: OwnedPod,
    pub observation: Result<Observation, SkipReason>,
    /// The policy of this pod, where it is another than for all.
    pub own_policy: Option<Box<Policy>>,
}

/// A pod with what was decided, or why nothing was.
pub struct Decided {
    pub owned: OwnedPod,
    pub decision: Result<Decision, SkipReason>,
    /// The last change that the decision knew of.
    pub resized_at: Option<i64>,
}

impl Agent {
    pub fn new(network: Network, features: FeatureSet) -> Self {
        Self { network, features, histories: Mutex::default(), touched: Mutex::default() }
    }

    pub fn features(&self) -> &FeatureSet {
        &self.features
    }

    /// Takes in what was seen and decides: one forward pass for all pods.
    pub fn decide(
        &self,
        pods: Vec<Seen>,
        policy: &Policy,
        now: i64,
        watch: &mut Stopwatch,
    ) -> Result<Vec<Decided>, ModelError> {
        self.hear_of_resizes(&pods, now);
        let pods: Vec<_> = pods.into_iter().map(|seen| self.worth_deciding(seen)).collect();
        let states = self.observe(&pods, policy)?;
        watch.lap(Phase::Features);
        let mut q_values = self.network.forward(states.view())?.into_iter();
        watch.lap(Phase::Forward);
        let histories = self.histories.lock();
        let unknown = PodHistory::default();
        let decided = pods.into_iter().map(|Seen { owned, observation, own_policy }| {
            let history = histories.get(&owned.pod.key).unwrap_or(&unknown);
            let decision = observation.and_then(|observation| {
                let q_values = q_values.next().ok_or(SkipReason::NoMetrics)?;
                Ok(decide(
                    &observation,
                    history,
                    &q_values,
                    own_policy.as_deref().unwrap_or(policy),
                    now,
                ))
            });
            Decided { owned, decision, resized_at: history.resized_at }
        });
        let decided = decided.collect();
        watch.lap(Phase::Plan);
        Ok(decided)
    }

    /// Takes in what the cluster tells of resizes by other replicas and in other lives.
    fn hear_of_resizes(&self, pods: &[Seen], now: i64) {
        let mut histories = self.histories.lock();
        for Seen { owned, .. } in pods {
            if let Some(at) = owned.pod.resized_at {
                histories.entry(owned.pod.key.clone()).or_default().told_of_resize(at, now);
            }
        }
    }

    /// Without metrics there is something to decide only while an OOM kill has not been answered.
    fn worth_deciding(&self, Seen { owned, observation, own_policy }: Seen) -> Seen {
        let unanswered = |observation: &Observation| {
            self.histories
                .lock()
                .get(&owned.pod.key)
                .is_none_or(|history| history.unanswered_oom(observation))
        };
        let observation = observation.and_then(|observation| {
            let worth = observation.measured || unanswered(&observation);
            worth.then_some(observation).ok_or(SkipReason::NoMetrics)
        });
        Seen { owned, observation, own_policy }
    }

    /// The states of the pods that were measured, one row each.
    fn observe(&self, pods: &[Seen], policy: &Policy) -> Result<Array2<f32>, ModelError> {
        let mut histories = self.histories.lock();
        let mut rows = Vec::with_capacity(pods.len() * self.features.len());
        for Seen { owned, observation, .. } in pods {
            let Ok(observation) = observation else { continue };
            if !histories.contains_key(&owned.pod.key) {
                histories.insert(owned.pod.key.clone(), PodHistory::default());
            }
            let Some(history) = histories.get_mut(&owned.pod.key) else { continue };
            history.observe(observation, policy);
            self.features.extend_row(&mut rows, observation, history, policy);
        }
        let shape = (rows.len() / self.features.len().max(1), self.features.len());
        Array2::from_shape_vec(shape, rows).map_err(|error| ModelError::Input(error.to_string()))
    }

    /// When a change of the pod was last applied.
    pub fn resized_at(&self, pod: &PodKey) -> Option<i64> {
        self.histories.lock().get(pod).and_then(|history| history.resized_at)
    }

    /// No attempt on the pod before this moment.
    pub fn retry_at(&self, pod: &PodKey) -> Option<i64> {
        self.histories.lock().get(pod).and_then(|history| history.retry_at)
    }

    pub fn resized(&self, pod: &PodKey, now: i64) {
        let mut histories = self.histories.lock();
        let history = histories.entry(pod.clone()).or_default();
        history.resized_at = Some(now);
        (history.retry_at, history.failures) = (None, 0);
        self.touched.lock().insert(pod.clone());
    }

    /// Lets a pod rest after a resize that failed: for `pause` seconds, and twice as long after
    /// each further one.
    pub fn failed(&self, pod: &PodKey, now: i64, pause: i64) {
        let mut histories = self.histories.lock();
        let history = histories.entry(pod.clone()).or_default();
        history.retry_at = Some(now + (pause << history.failures.min(10)).min(LONGEST_PAUSE));
        history.failures += 1;
        self.touched.lock().insert(pod.clone());
    }

    /// What is remembered of the pods that have been changed since this was last asked.
    pub fn take_touched(&self) -> Vec<(PodKey, PodHistory)> {
        let touched: Vec<_> = std::mem::take(&mut *self.touched.lock()).into_iter().collect();
        self.histories_of(&touched)
    }

    /// Every pod of which something is remembered.
    pub fn known(&self) -> Vec<PodKey> {
        self.histories.lock().keys().cloned().collect()
    }

    pub fn histories_of(&self, pods: &[PodKey]) -> Vec<(PodKey, PodHistory)> {
        let histories = self.histories.lock();
        pods.iter().filter_map(|pod| Some((pod.clone(), histories.get(pod)?.clone()))).collect()
    }

    /// Takes in what an earlier life remembered, with peaks of those windows, of pods that this one
    /// knows nothing of.
    pub fn restore(
        &self,
        pods: Vec<(PodKey, PodHistory)>,
        windows: (i64, i64),
        policy: &Policy,
        now: i64,
    ) {
        let mut histories = self.histories.lock();
        for (pod, history) in pods {
            histories.entry(pod).or_insert_with(|| history.restored(windows, policy, now));
        }
    }

    /// Forgets the pods of these namespaces that are there no more, and those of others that nobody
    /// has asked for since `long_ago`.
    pub fn forget_gone(&self, present: &[OwnedPod], namespaces: &[String], long_ago: i64) {
        let present: HashSet<_> = present.iter().map(|owned| &owned.pod.key).collect();
        let namespaces: HashSet<_> = namespaces.iter().collect();
        let mut histories = self.histories.lock();
        histories.retain(|key, history| {
            let elsewhere =
                !namespaces.contains(&key.namespace) && history.last_at() > Some(long_ago);
            elsewhere || present.contains(key)
        });
        // Nobody may ever ask for them: without a folder for the state nothing is stored.
        self.touched.lock().retain(|key| histories.contains_key(key));
    }
}
