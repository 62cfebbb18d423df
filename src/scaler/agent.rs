//! The agent: what it has seen of every container, and what it decides for all of them at once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use internment::ArcIntern as Shared;
use ndarray::{Array2, ArrayView2};
use parking_lot::Mutex;

use super::panics::{Panicked, catch};
use super::stopwatch::Stopwatch;
use crate::core::action::Action;
use crate::core::balance::Sums;
use crate::core::birth::Births;
use crate::core::change_record::Origin;
use crate::core::context::OwnedPod;
use crate::core::decision::decide;
use crate::core::eligibility::may_resize_down;
use crate::core::export::{SettledWorkload, settled};
use crate::core::features::FeatureSet;
use crate::core::history::{ContainerHistory, PodHistory};
use crate::core::lookup::Lookup;
use crate::core::memory::{self, Memory, meet};
use crate::core::network::QValues;
use crate::core::observation::{Observation, Usage, observe};
use crate::core::phases::Phase;
use crate::core::pod::{Pod, PodContainer, PodKey};
use crate::core::pod_decision::{ContainerDecision, PodDecision, Urgency};
use crate::core::policy::{Controls, Policy, Settings};
use crate::core::reasons::{self, Reasons};
use crate::core::recorded::{FirstPod, RecordedWorkload};
use crate::core::resource::{PerResource, Resource};
use crate::core::skip_reason::SkipReason;
use crate::core::timestamp::Timestamp;
use crate::core::workload::{WorkloadHistory, WorkloadKey};
use crate::model::{ModelError, Network};

pub struct Agent {
    network: Network,
    features: FeatureSet,
    memory: Mutex<Memory>,
    /// Pods that have been changed, or were to be, since somebody last asked.
    dirty: Mutex<hashbrown::HashSet<PodKey>>,
}

/// What is remembered of some pods and of some workloads.
#[derive(Debug, Default)]
pub struct Histories {
    pub pods: Vec<(PodKey, PodHistory)>,
    pub workloads: Vec<(WorkloadKey, WorkloadHistory)>,
}

/// A pod with what was measured of its containers, or why nothing can be decided.
pub struct Observed {
    pub owned: OwnedPod,
    /// In the order of the pod's containers.
    pub containers: Result<Vec<Observation>, SkipReason>,
    /// The policy of this pod, where it is another than for all.
    pub own_policy: Option<Box<Policy>>,
}

/// A pod with what was decided, or why nothing was.
pub struct Decided {
    pub owned: OwnedPod,
    pub decision: Result<PodDecision, SkipReason>,
    /// What the pod is one life of, where that is known.
    pub workload: Option<Shared<WorkloadKey>>,
    /// The last change that the decision knew of.
    pub resized_at: Option<i64>,
    /// Since when what is in force differs from what the pod asks for.
    pub unsettled_since: Option<i64>,
    /// Ending a resize that the kubelet does not carry out has failed not long ago.
    pub backs_off: bool,
    /// Who it is decided for.
    pub origin: Origin,
}

impl Decided {
    pub fn urgency(&self) -> Urgency {
        self.decision.as_ref().map_or(Urgency::Stays, PodDecision::urgency)
    }
}

/// What the template of a pod asks for, and what it needs by that policy.
pub type Templates<'a> = dyn Fn(&OwnedPod, &Policy) -> Option<(Sums, Sums)> + 'a;

/// The features of the containers that can be decided on, and whose row each is.
struct Batch {
    /// Pod and container.
    rows: Vec<(usize, usize)>,
    states: Array2<f32>,
    /// The pods in whose handling something panicked.
    panicked: HashSet<usize>,
}

impl Agent {
    pub fn new(network: Network, features: FeatureSet) -> Self {
        Self { network, features, memory: Mutex::default(), dirty: Mutex::default() }
    }

    pub fn features(&self) -> &FeatureSet {
        &self.features
    }

    /// Takes in what was observed and decides: one forward pass for all containers.
    pub fn decide(
        &self,
        pods: Vec<Observed>,
        policy: &Policy,
        now: i64,
        watch: &mut Stopwatch,
    ) -> Result<Vec<Result<Decided, Panicked>>, ModelError> {
        let Batch { rows, states, panicked } = self.observe(&pods, policy, now)?;
        watch.lap(Phase::Features);
        let answers = self.network.forward(states.view())?;
        if answers.len() != rows.len() {
            let (rows, answers) = (rows.len(), answers.len());
            return Err(ModelError::Input(format!("{answers} answers to {rows} rows")));
        }
        let mut answers = rows.into_iter().zip(answers).peekable();
        watch.lap(Phase::Forward);
        let memory = self.memory.lock();
        let (unknown, mut lookup) = (PodHistory::default(), Lookup::default());
        let decided = pods.into_iter().enumerate().map(|(pod, seen)| {
            let key = seen.owned.pod.key.clone();
            if panicked.contains(&pod) {
                return Err(Panicked(key));
            }
            let known = lookup.find(&memory.pods, &key).map(|place| &memory.pods[place]);
            let history = known.unwrap_or(&unknown);
            // A panic leaves the rest of its pod's answers.
            while answers.next_if(|(row, _)| row.0 < pod).is_some() {}
            let answer =
                |container: usize| Some(answers.next_if(|(row, _)| *row == (pod, container))?.1);
            catch(&key, || decide_pod(seen, history, policy, now, answer))
        });
        Ok(decided.collect())
    }

    /// What the answers on the containers of a pod went by; nothing where the model does not say
    /// what is typical. One forward pass, for who asks.
    pub fn reasons(
        &self,
        decided: &Decided,
        policy: &Policy,
    ) -> Result<HashMap<Arc<str>, PerResource<Reasons>>, ModelError> {
        let (Some(typical), Ok(pod)) = (self.network.typical(), &decided.decision) else {
            return Ok(HashMap::new());
        };
        let (mut states, mut asked) = (Vec::new(), Vec::new());
        {
            let memory = self.memory.lock();
            let history = memory.pods.get(&decided.owned.pod.key);
            for (name, decision) in pod.decided() {
                let Some(history) = history.and_then(|of| of.container(name)) else { continue };
                let mut row = Vec::with_capacity(self.features.len());
                self.features.extend_row(&mut row, &decision.observation, history, policy);
                states.extend(reasons::rows(&self.features, &row, &typical));
                asked.push((name, decision));
            }
        }
        let rows = states.len() / self.features.len().max(1);
        let states = ArrayView2::from_shape((rows, self.features.len()), &states)
            .map_err(|error| ModelError::Input(error.to_string()))?;
        let answers = self.network.forward(states)?;
        let answers = answers.chunks((rows / asked.len().max(1)).max(1)).zip(asked);
        let told = answers.map(|(answers, (name, decision))| {
            let of = |resource| reasons::reasons(resource, decision, &self.features, answers);
            (name.clone(), PerResource::build(of))
        });
        Ok(told.collect())
    }

    /// Brings the histories up to date, and makes the rows of the containers that can be decided
    /// on: without metrics there is something to decide only while an OOM kill is not answered.
    fn observe(&self, pods: &[Observed], policy: &Policy, now: i64) -> Result<Batch, ModelError> {
        let mut memory = self.memory.lock();
        let mut rows = Vec::with_capacity(pods.len());
        let mut states = Vec::with_capacity(pods.len() * self.features.len());
        let decidable = || {
            let pods = pods.iter().enumerate();
            pods.filter_map(|(pod, seen)| Some((pod, seen, seen.containers.as_ref().ok()?)))
        };
        let places = memory.places(decidable().map(|(_, seen, _)| &seen.owned));
        let mut panicked = HashSet::new();
        for ((pod, Observed { owned, own_policy, .. }, containers), place) in
            decidable().zip(places)
        {
            let policy = own_policy.as_deref().unwrap_or(policy);
            let before = (rows.len(), states.len());
            let observed = catch(&owned.pod.key, || {
                let (history, workload) = memory.at(place, owned, now);
                observe_pod(owned, history, now);
                let pairs = owned.pod.containers.iter().zip(containers).enumerate();
                for (index, (container, seen)) in pairs {
                    let history = history.container_mut(&container.name);
                    let workload = workload.container_mut(&container.name);
                    if history.is_new() {
                        meet(history, workload, &owned.pod, container, policy, now);
                    }
                    memory::observe(history, workload, seen, policy, now);
                    if is_decidable(seen, history, now) {
                        self.features.extend_row(&mut states, seen, history, policy);
                        rows.push((pod, index));
                    }
                }
            });
            if observed.is_err() {
                panicked.insert(pod);
                rows.truncate(before.0);
                states.truncate(before.1);
            }
        }
        let states = Array2::from_shape_vec((rows.len(), self.features.len()), states)
            .map_err(|error| ModelError::Input(error.to_string()))?;
        Ok(Batch { rows, states, panicked })
    }

    /// What was last measured of each container of the pod: what was decided by, or newer.
    pub fn newest_usages(&self, decided: &Decided, now: &OwnedPod) -> Vec<Option<Usage>> {
        let memory = self.memory.lock();
        let histories = memory.pods.get(&now.pod.key);
        let decisions = decided.decision.iter().flat_map(PodDecision::decided);
        let decisions: HashMap<_, _> = decisions.collect();
        let newest = |(index, container): (usize, &PodContainer)| {
            let seen = &decisions.get(&container.name)?.observation;
            let history = histories.and_then(|of| of.container(&container.name));
            let newer =
                history.and_then(|history| history.newest()).filter(|(at, _)| *at > seen.at);
            let (at, usage) = newer.unwrap_or((seen.at, seen.usage));
            let measured = |of| seen.measured[of].then_some(usage[of]);
            let count = now.pod.containers.len();
            let mut containers = vec![PerResource::default(); count];
            containers[index] = PerResource::build(measured);
            let bursts = seen.burst.map_or_else(Vec::new, |burst| vec![burst; count]);
            let (containers, bursts) = (containers.into(), bursts.into());
            Some(Usage { at, window: seen.window, containers, bursts })
        };
        now.pod.containers.iter().enumerate().map(newest).collect()
    }

    /// Whether a container of the pod was killed for memory, nothing was done about it yet, and it
    /// can be now.
    pub fn has_unanswered_kill(&self, pod: &Pod, policy: &Policy, now: i64) -> bool {
        if pod.states.iter().all(|state| state.oom_kill.is_none()) {
            return false;
        }
        let memory = self.memory.lock();
        let (history, fresh) = (memory.pods.get(&pod.key), ContainerHistory::default());
        let resized_at = history.and_then(PodHistory::resized_at);
        let resizes_down = may_resize_down(pod, resized_at, policy, now);
        let containers = pod.containers.iter().enumerate();
        containers.filter(|(index, _)| resizes_down || !pod.state(*index).down).any(
            |(index, container)| {
                let seen = observe(pod, index, None, 0, now);
                let known = history.and_then(|history| history.container(&container.name));
                known.unwrap_or(&fresh).unanswered_kill(&seen, now).is_some()
            },
        )
    }

    /// When a change of the pod was last applied.
    pub fn resized_at(&self, pod: &PodKey) -> Option<i64> {
        self.memory.lock().pods.get(pod).and_then(PodHistory::resized_at)
    }

    /// A change of some resources of a pod has been applied, as it was decided.
    pub fn applied(
        &self,
        pod: &PodKey,
        decision: &PodDecision,
        resources: &[Resource],
        policy: &Policy,
        now: i64,
    ) {
        self.change(pod, |history| {
            for (name, decision) in decision.decided() {
                for change in decision.changes().filter(|of| resources.contains(&of.resource)) {
                    history.container_mut(name).applied(&change, policy, now);
                }
            }
        });
    }

    /// Somebody's order on some containers has been carried out.
    pub fn resized<'a>(
        &self,
        pod: &PodKey,
        containers: impl Iterator<Item = &'a Arc<str>>,
        now: i64,
    ) {
        self.change(pod, |history| {
            for name in containers {
                history.container_mut(name).resized_at = Timestamp::at(now);
            }
        });
    }

    /// Lets some resources of a pod rest after a resize that failed.
    pub fn failed(
        &self,
        pod: &PodKey,
        decision: &PodDecision,
        resources: &[Resource],
        now: i64,
        pause: i64,
    ) {
        self.change(pod, |history| {
            for (name, decision) in decision.decided() {
                for resource in resources.iter().copied() {
                    if decision.actions[resource] != Action::Maintain {
                        history.container_mut(name).failed(resource, now, pause);
                    }
                }
            }
        });
    }

    /// Backs off from a pod whose resize did not end.
    pub fn back_off(&self, pod: &PodKey, now: i64, pause: i64) {
        self.change(pod, |history| history.failed(now, pause));
    }

    fn change(&self, pod: &PodKey, change: impl FnOnce(&mut PodHistory)) {
        change(self.memory.lock().pods.entry(pod.clone()).or_default());
        self.dirty.lock().insert(pod.clone());
    }

    /// What is remembered of the pods that have been changed since this was last asked, and of the
    /// workloads behind them.
    pub fn take_dirty(&self) -> Histories {
        let dirty: Vec<_> = std::mem::take(&mut *self.dirty.lock()).into_iter().collect();
        let pods = self.histories_of(&dirty);
        let memory = self.memory.lock();
        let of = |pod: &PodKey| memory.pods.get(pod)?.known_workload().cloned();
        let workloads = memory.workloads_of(dirty.iter().filter_map(of));
        Histories { pods, workloads }
    }

    /// Every pod of which something is remembered.
    pub fn known(&self) -> Vec<PodKey> {
        self.memory.lock().pods.keys().cloned().collect()
    }

    pub fn histories_of(&self, pods: &[PodKey]) -> Vec<(PodKey, PodHistory)> {
        let memory = self.memory.lock();
        pods.iter().filter_map(|pod| Some((pod.clone(), memory.pods.get(pod)?.clone()))).collect()
    }

    /// Every workload of which something is remembered.
    pub fn known_workloads(&self) -> Vec<Shared<WorkloadKey>> {
        self.memory.lock().workloads.keys().cloned().collect()
    }

    pub fn workloads_of(
        &self,
        keys: &[Shared<WorkloadKey>],
    ) -> Vec<(WorkloadKey, WorkloadHistory)> {
        self.memory.lock().workloads_of(keys.iter().cloned())
    }

    /// The workloads that `takes` takes, in the order of their names: how many, and a page of them.
    pub fn page_of_workloads(
        &self,
        takes: impl Fn(&WorkloadKey) -> bool,
        offset: usize,
        count: usize,
    ) -> (usize, Vec<(Shared<WorkloadKey>, WorkloadHistory)>) {
        let memory = self.memory.lock();
        let mut found: Vec<_> = memory.workloads.iter().filter(|(key, _)| takes(key)).collect();
        found.sort_unstable_by_key(|(key, _)| *key);
        let page = found.iter().skip(offset).take(count);
        (found.len(), page.map(|(key, history)| ((*key).clone(), (*history).clone())).collect())
    }

    /// Lets `work` ask what the template of a pod asks for, and what it needs, or would need in a
    /// dry run; None where that is not known.
    pub fn with_templates<R>(&self, dry_run: bool, work: impl FnOnce(&Templates) -> R) -> R {
        let memory = self.memory.lock();
        work(&|owned, policy| {
            let workload = memory.pods.get(&owned.pod.key)?.known_workload()?;
            let history = memory.workloads.get(workload)?;
            let (mut template, mut needed) = (Sums::default(), Sums::default());
            for container in owned.pod.containers.iter() {
                let known = history.container(&container.name)?;
                let size = |resource| {
                    let of = &known.template;
                    (of.limit(resource), of.request(resource))
                };
                template.add(&Sums::of(size));
                needed.add(&Sums::of(|resource| known.needs(resource, policy, dry_run)));
            }
            Some((template, needed))
        })
    }

    /// The limits that new pods like this one are given, or the requests that they are decided on
    /// by; in a dry run what those would come to.
    pub fn needs(
        &self,
        owned: &OwnedPod,
        policy: &Policy,
        dry_run: bool,
    ) -> HashMap<Arc<str>, PerResource<Option<f64>>> {
        let memory = self.memory.lock();
        let history = memory.workloads.get(&Shared::new(WorkloadKey::of(owned)));
        let known = owned.pod.containers.iter().filter_map(|container| {
            let known = history?.container(&container.name).filter(|known| known.has_template())?;
            let need = |resource| match known.needs(resource, policy, dry_run) {
                (_, request) if policy.controls == Controls::Requests => request,
                (limit, request) => limit.or(request),
            };
            Some((container.name.clone(), PerResource::build(need)))
        });
        known.collect()
    }

    /// Each of these pods with what its template asks for, where that is known: read once for those
    /// that are alike and follow each other.
    pub fn with_template_sizes(
        &self,
        pods: &[Decided],
        mut with: impl FnMut(&Decided, Option<&Sums>),
    ) {
        let memory = self.memory.lock();
        let are_alike = |a: &Decided, b: &Decided| {
            a.workload == b.workload && a.owned.pod.containers == b.owned.pod.containers
        };
        for alike in pods.chunk_by(are_alike) {
            let (workload, containers) = (&alike[0].workload, &alike[0].owned.pod.containers);
            let size = workload.as_ref().and_then(|workload| {
                let history = memory.workloads.get(workload)?;
                let mut sum = Sums::default();
                for container in containers.iter() {
                    let template = &history.container(&container.name)?.template;
                    sum.add(&Sums::of(|of| (template.limit(of), template.request(of))));
                }
                Some(sum)
            });
            alike.iter().for_each(|decided| with(decided, size.as_ref()));
        }
    }

    /// Workloads whose recorded past was not taken in yet, at most so many of those that are due,
    /// each with the pod that it was first seen by.
    pub fn unrecorded(
        &self,
        most: usize,
        is_due: impl Fn(&Shared<WorkloadKey>) -> bool,
    ) -> Vec<(Shared<WorkloadKey>, FirstPod)> {
        let memory = self.memory.lock();
        let new = memory.workloads.iter().filter_map(|(key, history)| {
            let first = history.unrecorded().filter(|_| is_due(key))?;
            Some((key.clone(), first.clone()))
        });
        new.take(most).collect()
    }

    /// Takes in what was recorded of workloads before they were seen.
    pub fn take_recorded(
        &self,
        recorded: Vec<(Shared<WorkloadKey>, RecordedWorkload)>,
        policy: &Policy,
        now: i64,
    ) {
        self.memory.lock().take_recorded(recorded, policy, now);
    }

    /// What the workloads behind these pods have settled on.
    pub fn settled(&self, pods: &[OwnedPod], settings: &Settings) -> Vec<SettledWorkload> {
        settled(pods, &self.memory.lock().workloads, settings)
    }

    /// What new pods of the workloads behind these pods of one namespace are made with.
    pub fn births(&self, pods: &[OwnedPod], settings: &Settings) -> Births {
        Births::of(pods, &self.memory.lock().workloads, settings)
    }

    /// Takes in what an earlier process remembered, with peaks of those windows, of what this one
    /// knows nothing of.
    pub fn restore(
        &self,
        histories: Histories,
        windows: PerResource<i64>,
        policy: &Policy,
        now: i64,
    ) {
        let Histories { pods, workloads } = histories;
        self.memory.lock().restore(pods, workloads, windows, policy, now);
    }

    /// Forgets the workloads that have long been gone; and where more pods are remembered than
    /// there are, those of these namespaces that are there no more, and those of others that nobody
    /// has asked for since `long_ago`.
    pub fn retain_present(
        &self,
        present: &[OwnedPod],
        namespaces: &[String],
        long_ago: i64,
        now: i64,
    ) {
        let mut memory = self.memory.lock();
        memory.forget_workloads(now);
        if memory.pods.len() <= present.len() {
            return;
        }
        let present: HashSet<_> = present.iter().map(|owned| &owned.pod.key).collect();
        let namespaces: HashSet<_> = namespaces.iter().collect();
        let is_there = |key: &PodKey, history: &PodHistory| {
            let elsewhere =
                !namespaces.contains(&key.namespace) && history.last_at() > Some(long_ago);
            elsewhere || present.contains(key)
        };
        memory.pods.retain(|key, history| is_there(key, history));
        // Nobody may ever ask for them: without a folder for the state nothing is stored.
        self.dirty.lock().retain(|key| memory.pods.contains_key(key));
    }
}

/// What is decided on without metrics: a kill for memory, and what a new container is known to
/// need.
fn is_decidable(seen: &Observation, history: &ContainerHistory, now: i64) -> bool {
    seen.is_measured()
        || history.unanswered_kill(seen, now).is_some()
        || Resource::ALL.iter().any(|resource| history.known_need(*resource, now).is_some())
}

/// What the object itself says: resizes by other replicas and in other processes, what somebody
/// else has set, and what the kubelet has not done yet.
fn observe_pod(owned: &OwnedPod, history: &mut PodHistory, now: i64) {
    let pod = &owned.pod;
    if let Some(at) = pod.resized_at {
        let names = pod.containers.iter().map(|container| &container.name);
        history.observe_external_resize(at, now, names);
    }
    history.observe_settled(pod.containers.are_settled(), now);
    for (index, container) in pod.containers.iter().enumerate() {
        let spec = pod.containers.figures(index).spec;
        history.container_mut(&container.name).observe_spec(spec, now);
    }
}

fn decide_pod(
    seen: Observed,
    history: &PodHistory,
    policy: &Policy,
    now: i64,
    mut answer: impl FnMut(usize) -> Option<QValues>,
) -> Decided {
    let Observed { owned, containers, own_policy } = seen;
    let policy = own_policy.as_deref().unwrap_or(policy);
    let fresh = ContainerHistory::default();
    let resizes_down = || may_resize_down(&owned.pod, history.resized_at(), policy, now);
    let decision = containers.and_then(|containers| {
        let pairs = owned.pod.containers.iter().zip(containers).enumerate();
        let decisions = pairs.map(|(index, (container, observation))| {
            let is_down = owned.pod.state(index).down;
            let unknown =
                || if is_down { SkipReason::ContainerDown } else { SkipReason::NoMetrics };
            let answer = answer(index).filter(|_| !is_down || resizes_down());
            let decision = answer.ok_or_else(unknown).map(|q_values| {
                let history = history.container(&container.name).unwrap_or(&fresh);
                decide(&observation, history, &q_values, policy, now)
            });
            ContainerDecision { name: container.name.clone(), decision }
        });
        PodDecision::new(decisions.collect())
    });
    Decided {
        workload: history.known_workload().cloned(),
        resized_at: history.resized_at(),
        unsettled_since: history.unsettled_since.get(),
        backs_off: history.backoff.holds(now),
        origin: Origin::default(),
        owned,
        decision,
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::core::pod::{ContainerResources, ContainerState, OomKill, PodContainer, pod_key};
    use crate::model::shipped;

    const NOW: i64 = 1_000_000;

    fn agent() -> Agent {
        let found = shipped::find(std::path::Path::new(shipped::DOCUMENTED)).unwrap();
        Agent::new(found.network, FeatureSet::documented())
    }

    fn pod(name: &str) -> Pod {
        let key = pod_key("shop", name, name);
        let limits = [("cpu", "1"), ("memory", "1Gi")];
        let container = |name| PodContainer::new(name, ContainerResources::new(&[], &limits));
        Pod::new(key, vec![container("app"), container("proxy")])
    }

    fn seen(at: i64, cpu: f64) -> Observation {
        let limit = PerResource::new(1.0, 1024.0);
        Observation::measured(at, PerResource::new(cpu, 400.0), limit)
    }

    fn unmeasured() -> Observation {
        Observation { measured: PerResource::new(false, false), ..seen(NOW, 0.0) }
    }

    fn observed(pod: Pod, containers: Vec<Observation>) -> Observed {
        Observed { owned: OwnedPod::bare(pod), containers: Ok(containers), own_policy: None }
    }

    fn decide_at(agent: &Agent, now: i64, pods: Vec<Observed>) -> Vec<Decided> {
        let decided = agent.decide(pods, &Policy::default(), now, &mut Stopwatch::start());
        decided.unwrap().into_iter().map(Result::unwrap).collect()
    }

    #[test]
    fn each_container_gets_the_answer_to_its_own_row() {
        let agent = agent();
        let decided = decide_at(
            &agent,
            NOW,
            vec![
                observed(pod("a"), vec![unmeasured(), seen(NOW, 1.0)]),
                observed(pod("b"), vec![unmeasured(), unmeasured()]),
                observed(pod("c"), vec![seen(NOW, 0.05), seen(NOW, 1.0)]),
            ],
        );
        let of = |pod: usize, container: usize| {
            decided[pod].decision.as_ref().unwrap().containers[container].decision.clone()
        };
        assert_eq!(of(0, 0), Err(SkipReason::NoMetrics));
        assert_eq!(decided[1].decision, Err(SkipReason::NoMetrics));
        let (idle, full) = (of(2, 0).unwrap(), of(2, 1).unwrap());
        assert_eq!(of(0, 1).unwrap().q_values, full.q_values);
        assert_ne!(idle.q_values, full.q_values);
        assert_eq!((idle.observation.usage.cpu, full.observation.usage.cpu), (0.05, 1.0));
    }

    #[test]
    fn a_panic_costs_only_the_pod_in_whose_handling_it_was() {
        let agent = agent();
        // Out of all reckoning.
        let odd = seen(i64::MAX, 1.0);
        let pods = vec![
            observed(pod("a"), vec![seen(NOW, 0.5), seen(NOW, 1.0)]),
            observed(pod("b"), vec![seen(NOW, 0.5), odd]),
            observed(pod("c"), vec![seen(NOW, 0.05), seen(NOW, 1.0)]),
        ];
        let decided = agent.decide(pods, &Policy::default(), NOW, &mut Stopwatch::start()).unwrap();
        let [Ok(a), Err(Panicked(b)), Ok(c)] = &decided[..] else { panic!("only b") };
        let usage = |of: &Decided| of.decision.as_ref().unwrap().summary().observation.usage.cpu;
        assert_eq!((usage(a), &*b.name, usage(c)), (1.5, "b", 1.05));
    }

    #[test]
    fn a_kill_is_decided_on_without_metrics_until_it_is_answered() {
        let agent = agent();
        let kill = OomKill { restart: 1, finished_at: NOW - 5 };
        let state = ContainerState { down: true, oom_kill: Some(kill), ..Default::default() };
        let killed = Pod { states: Box::new([state, ContainerState::default()]), ..pod("a") };
        let policy = Policy::default();
        assert!(agent.has_unanswered_kill(&killed, &policy, NOW));
        let seen = |now| observe(&killed, 0, None, 120, now);
        let pods = vec![observed(killed.clone(), vec![seen(NOW), unmeasured()])];
        let decision = decide_at(&agent, NOW, pods).remove(0).decision.unwrap();
        assert_eq!(decision.summary().actions.memory, Action::Increase);
        agent.applied(&killed.key, &decision, &Resource::ALL, &Policy::default(), NOW + 1);
        assert!(!agent.has_unanswered_kill(&killed, &policy, NOW + 2));
        let pods = vec![observed(killed.clone(), vec![seen(NOW + 2), unmeasured()])];
        let again = decide_at(&agent, NOW + 2, pods).remove(0).decision;
        assert_eq!(again, Err(SkipReason::ContainerDown));
    }

    #[test]
    fn what_is_down_waits_where_kubelets_do_not_resize_it_and_holds_nobody_back() {
        let agent = agent();
        let policy = Policy { resizes_down: false, ..Policy::default() };
        let kill = OomKill { restart: 1, finished_at: NOW - 5 };
        let state = ContainerState { down: true, oom_kill: Some(kill), ..Default::default() };
        let down = Pod { states: Box::new([state, ContainerState::default()]), ..pod("a") };
        let decide = |pod: &Pod, now: i64| {
            let pods =
                vec![observed(pod.clone(), vec![observe(pod, 0, None, 120, now), seen(now, 1.0)])];
            let decided =
                agent.decide(pods, &policy, now, &mut Stopwatch::start()).unwrap().remove(0);
            let decision = decided.unwrap().decision.unwrap();
            [0, 1].map(|index| decision.containers[index].decision.clone())
        };
        assert!(!agent.has_unanswered_kill(&down, &policy, NOW));
        let [app, proxy] = decide(&down, NOW);
        assert_eq!(app, Err(SkipReason::ContainerDown));
        assert_eq!(proxy.unwrap().actions.cpu, Action::Increase);
        let state = ContainerState { down: false, ..state };
        let back = Pod { states: Box::new([state, ContainerState::default()]), ..down };
        assert!(agent.has_unanswered_kill(&back, &policy, NOW + 1));
        assert_eq!(decide(&back, NOW + 1)[0].as_ref().unwrap().actions.memory, Action::Increase);
    }

    #[test]
    fn what_was_refused_to_one_resource_does_not_hold_the_other_back() {
        let agent = agent();
        let pods = vec![observed(pod("a"), vec![seen(NOW, 1.0), seen(NOW, 0.5)])];
        let decided = decide_at(&agent, NOW, pods).remove(0).decision.unwrap();
        let mut decision = decided.containers[0].decision.clone().unwrap();
        decision.actions = PerResource::new(Action::Increase, Action::Increase);
        let decision = PodDecision::single("app", decision);
        agent.failed(&pod("a").key, &decision, &[Resource::Memory], NOW, 30);
        let histories = agent.histories_of(&[pod("a").key]);
        let history = histories[0].1.container("app").unwrap();
        assert!(history.backoff(Resource::Memory).holds(NOW + 29));
        assert!(!history.backoff(Resource::Cpu).holds(NOW));
    }

    #[test]
    fn what_is_gone_is_forgotten_and_what_was_changed_is_told_once() {
        let agent = agent();
        let both = || ["a", "b"].map(|name| observed(pod(name), vec![seen(NOW, 0.5); 2])).into();
        decide_at(&agent, NOW, both());
        agent.resized(&pod("a").key, [&"app".into()].into_iter(), NOW);
        assert_eq!(agent.resized_at(&pod("a").key), Some(NOW));
        let Histories { pods, workloads } = agent.take_dirty();
        let names: Vec<_> = pods.into_iter().map(|(key, _)| key.name.clone()).collect();
        assert_eq!((&names[..], workloads.len()), (&["a".to_owned()][..], 1));
        assert!(agent.take_dirty().pods.is_empty());
        let present = [OwnedPod { pod: Arc::new(pod("b")), ..OwnedPod::bare(pod("b")) }];
        agent.retain_present(&present, &["shop".to_owned()], 0, NOW);
        assert_eq!(agent.known(), [pod("b").key]);
    }
}
