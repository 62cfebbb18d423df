//! The agent: what it has seen of every pod, and what it decides for all of them at once.

use std::collections::{HashMap, HashSet};

use ndarray::Array2;
use parking_lot::Mutex;

use super::stopwatch::Stopwatch;
use crate::core::context::OwnedPod;
use crate::core::decision::{Decision, decide};
use crate::core::features::FeatureSet;
use crate::core::history::PodHistory;
use crate::core::network::QValues;
use crate::core::observation::Observation;
use crate::core::outcome::SkipReason;
use crate::core::phases::Phase;
use crate::core::pod::PodKey;
use crate::core::policy::Policy;
use crate::model::{ModelError, Network};

/// The longest pause after resizes of a pod that failed in a row, in seconds.
const MAX_BACKOFF: i64 = 3600;

pub struct Agent {
    network: Network,
    features: FeatureSet,
    histories: Mutex<HashMap<PodKey, PodHistory>>,
    /// Pods that have been changed, or were to be, since somebody last asked.
    dirty: Mutex<HashSet<PodKey>>,
}

/// A pod with what was measured of it, or why nothing can be decided.
pub struct Observed {
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
    /// No attempt before this moment.
    pub retry_at: Option<i64>,
}

/// The features of the pods that were measured, and whose row each is.
struct Batch {
    pods: Vec<usize>,
    states: Array2<f32>,
}

impl Agent {
    pub fn new(network: Network, features: FeatureSet) -> Self {
        Self { network, features, histories: Mutex::default(), dirty: Mutex::default() }
    }

    pub fn features(&self) -> &FeatureSet {
        &self.features
    }

    /// Takes in what was observed and decides: one forward pass for all pods.
    pub fn decide(
        &self,
        pods: Vec<Observed>,
        policy: &Policy,
        now: i64,
        watch: &mut Stopwatch,
    ) -> Result<Vec<Decided>, ModelError> {
        self.observe_external_resizes(&pods, now);
        let pods: Vec<_> = pods.into_iter().map(|seen| self.worth_deciding(seen)).collect();
        let Batch { pods: rows, states } = self.observe(&pods, policy)?;
        watch.lap(Phase::Features);
        let q_values = self.network.forward(states.view())?;
        if q_values.len() != rows.len() {
            let (rows, answers) = (rows.len(), q_values.len());
            return Err(ModelError::Input(format!("{answers} answers to {rows} rows")));
        }
        let mut of_pod: Vec<Option<QValues>> = vec![None; pods.len()];
        for (pod, q_values) in rows.into_iter().zip(q_values) {
            of_pod[pod] = Some(q_values);
        }
        watch.lap(Phase::Forward);
        let histories = self.histories.lock();
        let unknown = PodHistory::default();
        let decided = pods.into_iter().zip(of_pod).map(|(seen, q_values)| {
            let Observed { owned, observation, own_policy } = seen;
            let history = histories.get(&owned.pod.key).unwrap_or(&unknown);
            let policy = own_policy.as_deref().unwrap_or(policy);
            let decision = observation.and_then(|observation| {
                let q_values = q_values.ok_or(SkipReason::NoMetrics)?;
                Ok(decide(&observation, history, &q_values, policy, now))
            });
            let (resized_at, retry_at) = (history.resized_at, history.retry_at);
            Decided { owned, decision, resized_at, retry_at }
        });
        Ok(decided.collect())
    }

    /// Takes in what the cluster tells of resizes by other replicas and in other processes.
    fn observe_external_resizes(&self, pods: &[Observed], now: i64) {
        let mut histories = self.histories.lock();
        for Observed { owned, .. } in pods {
            if let Some(at) = owned.pod.resized_at {
                histories
                    .entry(owned.pod.key.clone())
                    .or_default()
                    .observe_external_resize(at, now);
            }
        }
    }

    /// Without metrics there is something to decide only while an OOM kill has not been answered.
    fn worth_deciding(&self, Observed { owned, observation, own_policy }: Observed) -> Observed {
        let unanswered = |observation: &Observation| {
            let histories = self.histories.lock();
            histories.get(&owned.pod.key).is_none_or(|history| history.unanswered_oom(observation))
        };
        let observation = observation.and_then(|observation| {
            let worth = observation.measured || unanswered(&observation);
            worth.then_some(observation).ok_or(SkipReason::NoMetrics)
        });
        Observed { owned, observation, own_policy }
    }

    /// Brings the histories up to date, and makes the rows of the pods that were measured.
    fn observe(&self, observed: &[Observed], policy: &Policy) -> Result<Batch, ModelError> {
        let mut histories = self.histories.lock();
        let mut pods = Vec::with_capacity(observed.len());
        let mut rows = Vec::with_capacity(observed.len() * self.features.len());
        for (index, Observed { owned, observation, .. }) in observed.iter().enumerate() {
            let Ok(observation) = observation else { continue };
            if !histories.contains_key(&owned.pod.key) {
                histories.insert(owned.pod.key.clone(), PodHistory::default());
            }
            let Some(history) = histories.get_mut(&owned.pod.key) else { continue };
            history.observe(observation, policy);
            self.features.extend_row(&mut rows, observation, history, policy);
            pods.push(index);
        }
        let states = Array2::from_shape_vec((pods.len(), self.features.len()), rows)
            .map_err(|error| ModelError::Input(error.to_string()))?;
        Ok(Batch { pods, states })
    }

    /// When a change of the pod was last applied.
    pub fn resized_at(&self, pod: &PodKey) -> Option<i64> {
        self.histories.lock().get(pod).and_then(|history| history.resized_at)
    }

    pub fn resized(&self, pod: &PodKey, now: i64) {
        let mut histories = self.histories.lock();
        let history = histories.entry(pod.clone()).or_default();
        history.resized_at = Some(now);
        (history.retry_at, history.failures) = (None, 0);
        self.dirty.lock().insert(pod.clone());
    }

    /// Lets a pod rest after a resize that failed: for `pause` seconds, and twice as long after
    /// each further one.
    pub fn failed(&self, pod: &PodKey, now: i64, pause: i64) {
        let mut histories = self.histories.lock();
        let history = histories.entry(pod.clone()).or_default();
        history.retry_at = Some(now + (pause << history.failures.min(10)).min(MAX_BACKOFF));
        history.failures += 1;
        self.dirty.lock().insert(pod.clone());
    }

    /// What is remembered of the pods that have been changed since this was last asked.
    pub fn take_dirty(&self) -> Vec<(PodKey, PodHistory)> {
        let dirty: Vec<_> = std::mem::take(&mut *self.dirty.lock()).into_iter().collect();
        self.histories_of(&dirty)
    }

    /// Every pod of which something is remembered.
    pub fn known(&self) -> Vec<PodKey> {
        self.histories.lock().keys().cloned().collect()
    }

    pub fn histories_of(&self, pods: &[PodKey]) -> Vec<(PodKey, PodHistory)> {
        let histories = self.histories.lock();
        pods.iter().filter_map(|pod| Some((pod.clone(), histories.get(pod)?.clone()))).collect()
    }

    /// Takes in what an earlier process remembered, with peaks of those windows, of pods that this
    /// one knows nothing of.
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
    pub fn retain_present(&self, present: &[OwnedPod], namespaces: &[String], long_ago: i64) {
        let present: HashSet<_> = present.iter().map(|owned| &owned.pod.key).collect();
        let namespaces: HashSet<_> = namespaces.iter().collect();
        let mut histories = self.histories.lock();
        histories.retain(|key, history| {
            let elsewhere =
                !namespaces.contains(&key.namespace) && history.last_at() > Some(long_ago);
            elsewhere || present.contains(key)
        });
        // Nobody may ever ask for them: without a folder for the state nothing is stored.
        self.dirty.lock().retain(|key| histories.contains_key(key));
    }
}
