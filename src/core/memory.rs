//! What is remembered of pods and of the workloads behind them, and how one teaches the other.

use std::collections::HashSet;

use hashbrown::{DefaultHashBuilder, HashMap};
use indexmap::IndexMap;
use internment::ArcIntern as Shared;

use crate::context::OwnedPod;
use crate::history::{ContainerHistory, News, PodHistory};
use crate::lookup::Lookup;
use crate::observation::Observation;
use crate::pod::{Pod, PodContainer, PodKey};
use crate::policy::{Controls, Policy};
use crate::recorded::RecordedWorkload;
use crate::resource::{PerResource, Resource};
use crate::workload::{KEPT, WorkloadContainer, WorkloadHistory, WorkloadKey};

/// A pod is new for so many seconds after it was made.
pub const NEW: i64 = 600;
/// No more workloads are remembered; beyond it those that have been gone the longest are forgotten.
const MOST_WORKLOADS: usize = 200_000;

#[derive(Debug, Clone, Default)]
pub struct Memory {
    pub pods: IndexMap<PodKey, PodHistory, DefaultHashBuilder>,
    pub workloads: HashMap<Shared<WorkloadKey>, WorkloadHistory>,
}

impl Memory {
    /// Where the histories of these pods are, which are new where there are none yet. All of them
    /// are looked up at once: the processor waits for the memory of several at the same time.
    pub fn places<'a>(&mut self, pods: impl Iterator<Item = &'a OwnedPod>) -> Vec<usize> {
        let mut lookup = Lookup::default();
        let place = |owned: &OwnedPod| {
            let key = &owned.pod.key;
            let known = lookup.find(&self.pods, key);
            known.unwrap_or_else(|| self.pods.insert_full(key.clone(), PodHistory::default()).0)
        };
        pods.map(place).collect()
    }

    /// The histories of the pod in that place and of its workload.
    pub fn at(
        &mut self,
        place: usize,
        owned: &OwnedPod,
        now: i64,
    ) -> (&mut PodHistory, &mut WorkloadHistory) {
        let pod = &mut self.pods[place];
        let workload = self.workloads.entry(pod.workload(owned)).or_default();
        workload.meet(&owned.pod, now);
        (pod, workload)
    }

    /// Forgets the workloads that have long been gone.
    pub fn forget_workloads(&mut self, now: i64) {
        let mut oldest = now - KEPT;
        if self.workloads.len() > MOST_WORKLOADS {
            let mut seen: Vec<_> = self.workloads.values().map(|of| of.seen_at).collect();
            let excess = seen.len() - MOST_WORKLOADS;
            oldest = oldest.max(*seen.select_nth_unstable(excess).1);
        }
        self.workloads.retain(|_, history| history.seen_at >= oldest);
    }

    /// Takes over what an earlier process remembered of what this one knows nothing of; the peaks
    /// were kept for `windows`.
    pub fn restore(
        &mut self,
        pods: Vec<(PodKey, PodHistory)>,
        workloads: Vec<(WorkloadKey, WorkloadHistory)>,
        windows: PerResource<i64>,
        policy: &Policy,
        now: i64,
    ) {
        for (key, history) in pods {
            self.pods.entry(key).or_insert_with(|| history.restored(windows, policy, now));
        }
        for (key, history) in workloads {
            let known = self.workloads.entry(Shared::new(key));
            known.or_insert_with(|| history.restored(windows, policy, now));
        }
    }

    /// Takes in what was recorded of workloads before they were seen, for those of their pods that
    /// are there, too.
    pub fn take_recorded(
        &mut self,
        recorded: Vec<(Shared<WorkloadKey>, RecordedWorkload)>,
        policy: &Policy,
        now: i64,
    ) {
        let mut taken = HashSet::new();
        for (key, recorded) in recorded {
            if let Some(workload) = self.workloads.get_mut(&key) {
                workload.take_recorded(recorded, policy, now);
                taken.insert(key);
            }
        }
        for pod in self.pods.values_mut() {
            let Some(key) = pod.known_workload().filter(|key| taken.contains(*key)) else {
                continue;
            };
            let Some(workload) = self.workloads.get(key) else { continue };
            for (name, container) in workload.containers() {
                if let Some(history) = pod.known_container_mut(name) {
                    history.learn_recorded(&container.inheritance(), policy);
                }
            }
        }
    }

    /// The histories of these workloads.
    pub fn workloads_of(
        &self,
        keys: impl IntoIterator<Item = Shared<WorkloadKey>>,
    ) -> Vec<(WorkloadKey, WorkloadHistory)> {
        let keys: HashSet<_> = keys.into_iter().collect();
        let known = keys.into_iter().filter_map(|key| {
            let history = self.workloads.get(&key)?.clone();
            Some(((*key).clone(), history))
        });
        known.collect()
    }
}

/// A container is seen for the first time: it takes over what its workload has taught. One that has
/// just been made needs the limits that the others of its workload have, or the requests where it
/// is decided on by those; of another image or template only what protects is taken over, and
/// nothing is cut for it.
pub fn meet(
    history: &mut ContainerHistory,
    workload: &mut WorkloadContainer,
    pod: &Pod,
    container: &PodContainer,
    policy: &Policy,
    now: i64,
) {
    let made = container.template.as_ref().unwrap_or(&container.resources);
    let as_made = pod.resized_at.is_none().then_some(made);
    let inheritance = workload.inherit(&container.image, as_made, policy, now);
    history.inherit(&inheritance);
    let until = pod.created.map(|created| created.timestamp() + NEW);
    let Some(until) = until.filter(|until| *until >= now && as_made.is_some()) else { return };
    for resource in Resource::ALL {
        let limit = container.limit_in_force(resource);
        let limit = limit.filter(|_| policy.controls != Controls::Requests);
        let need = match limit {
            Some(limit) => {
                let floor = history.lowest_safe_limit(resource, policy);
                let raised = (floor > limit).then_some(floor);
                workload.settled_need(resource, policy).or(raised)
            }
            None if policy.controls == Controls::Limits => None,
            // Nothing is killed at a request: what the others have come to is enough.
            None => container.request_in_force(resource).and(workload.settled(resource)),
        };
        if let Some(need) = need {
            // After the start there is still the time of a new one to give back what that took.
            history.know_need(resource, need, until + policy.startup);
        }
    }
}

/// Takes in what is seen of a container: for itself, and for what its workload remembers.
pub fn observe(
    history: &mut ContainerHistory,
    workload: &mut WorkloadContainer,
    seen: &Observation,
    policy: &Policy,
    now: i64,
) {
    let news = history.observe(seen, policy, now);
    let needed = history.needed_by_killed(seen, policy, now);
    if news != News::Nothing || needed.is_some() {
        workload.learn(seen, needed, news == News::Sample, policy, now);
    }
    history.typical = PerResource::build(|resource| workload.typical(resource) as f32);
    let starts = seen.starts_at(now, policy.startup);
    if starts {
        let need = PerResource::build(|resource| workload.start_need(resource, policy));
        history.know_start_need(need);
    }
    let starts = seen.unready || starts;
    let tells = news == News::Sample && !starts;
    if let Some(generation) = history.settled_generation(now).filter(|_| tells) {
        workload.settle(generation, seen.limit, now);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chrono::DateTime;

    use super::*;
    use crate::action::Action;
    use crate::decision::{Decision, SizedBy, decide};
    use crate::network::QValues;
    use crate::pod::{ContainerResources, Owner, pod_key};
    use crate::recorded::{FirstPod, Recorded};

    const HOUR: i64 = 3600;

    fn owned(name: &str, kind: &str, cpu: &str, created: i64) -> OwnedPod {
        let key = pod_key("shop", name, name);
        let resources = ContainerResources::new(&[], &[("cpu", cpu), ("memory", "1Gi")]);
        let container =
            PodContainer { image: "web:1".into(), ..PodContainer::new("app", resources) };
        let created = DateTime::from_timestamp(created, 0);
        let pod = Pod { created, ..Pod::new(key, vec![container]) };
        let owner = |kind: &str| Owner {
            group: "apps".into(),
            kind: kind.into(),
            name: "web".into(),
            uid: "w".into(),
        };
        let workload = Some(Shared::new(owner(kind)));
        OwnedPod { workload, ..OwnedPod::bare(pod) }
    }

    impl Memory {
        fn of(&mut self, owned: &OwnedPod, now: i64) -> (&mut PodHistory, &mut WorkloadHistory) {
            let place = self.places([owned].into_iter())[0];
            self.at(place, owned, now)
        }
    }

    /// One look at a pod: what is decided when the network prefers to keep all.
    fn look(memory: &mut Memory, owned: &OwnedPod, cpu: Option<f64>, now: i64) -> Decision {
        look_at(memory, owned, cpu, now, (None, false))
    }

    /// The same of a container that was started then, and may not be ready.
    fn look_at(
        memory: &mut Memory,
        owned: &OwnedPod,
        cpu: Option<f64>,
        now: i64,
        (started_at, unready): (Option<i64>, bool),
    ) -> Decision {
        let policy = Policy::default();
        let limit = owned.pod.limit();
        let measured = PerResource::new(cpu.is_some(), cpu.is_some());
        let usage = PerResource::new(cpu.unwrap_or_default(), 900.0);
        let by_request = PerResource::build(|resource| {
            owned.pod.containers[0].limit_in_force(resource).is_none()
        });
        let seen = Observation::measured(now, usage, limit);
        let seen = Observation { measured, by_request, started_at, unready, ..seen };
        let (pod, workload) = memory.of(owned, now);
        let container = &owned.pod.containers[0];
        let history = pod.container_mut(&container.name);
        let workload = workload.container_mut(&container.name);
        if history.is_new() {
            meet(history, workload, &owned.pod, container, &policy, now);
        }
        observe(history, workload, &seen, &policy, now);
        let keep = QValues { cpu: [0.0, 1.0, 0.0], memory: [0.0, 1.0, 0.0], ..QValues::default() };
        decide(&seen, history, &keep, &policy, now)
    }

    /// A pod of a workload that has been measured for half a day at its template's size.
    fn learned(kind: &str, used: f64) -> (Memory, i64) {
        let mut memory = Memory::default();
        let pod = owned("web-0", kind, "1", 0);
        for minute in 1..12 * HOUR / 60 {
            look(&mut memory, &pod, Some(used), minute * 60);
        }
        (memory, 12 * HOUR)
    }

    #[test]
    fn looks_between_two_samples_tell_nothing_of_typical_use() {
        let (mut memory, end) = learned("Deployment", 0.3);
        let pod = owned("web-0", "Deployment", "1", 0);
        for now in (end..end + 240).step_by(2) {
            look(&mut memory, &pod, Some(0.95), now);
        }
        let (_, workload) = memory.of(&pod, end + 240);
        let workload = workload.container_mut(&pod.pod.containers[0].name);
        assert!(workload.typical(Resource::Cpu) < 0.4 && workload.peak(Resource::Cpu) > 0.9);
    }

    #[test]
    fn what_is_needed_in_a_dry_run_is_told_by_peaks() {
        let (mut memory, end) = learned("Deployment", 0.3);
        let pod = owned("web-0", "Deployment", "1", 0);
        let (_, workload) = memory.of(&pod, end);
        let workload = workload.container_mut(&pod.pod.containers[0].name);
        let policy = Policy::default();
        let limit = |dry_run| workload.needs(Resource::Cpu, &policy, dry_run).0.unwrap();
        assert_eq!(limit(false), 1.0, "it has settled on what its template gives");
        assert!((0.3..0.5).contains(&limit(true)), "{}", limit(true));
        let mut unknown = WorkloadContainer::default();
        unknown.template = workload.template.clone();
        assert_eq!(unknown.needs(Resource::Cpu, &policy, true).0, Some(1.0));
    }

    /// The same, resized to so much a while ago.
    fn settled(kind: &str, used: f64, cpu: &str) -> (Memory, i64) {
        let (mut memory, begin) = learned(kind, used);
        let resized = owned("web-0", kind, cpu, 0);
        let end = begin + HOUR;
        for now in (begin..end).step_by(60) {
            look(&mut memory, &resized, Some(used), now);
        }
        (memory, end)
    }

    #[test]
    fn a_new_pod_gets_what_its_workload_has_settled_on_in_one_step_up_or_down() {
        for (cpu, used) in [("300m", 0.1), ("4", 3.0)] {
            let (mut memory, now) = settled("Deployment", used, cpu);
            let decision = look(&mut memory, &owned("web-1", "Deployment", "1", now), None, now);
            let expected = cpu.strip_suffix('m').map_or(4.0, |_| 0.3);
            assert!((decision.new_limit.cpu - expected).abs() < 1e-6, "{decision:?}");
            assert_eq!(decision.basis.cpu.cause, Some(crate::guard::Override::KnownNeed));
            assert_eq!(decision.basis.cpu.sized_by, Some(SizedBy::Cause));
            assert_eq!(decision.actions.memory, Action::Maintain, "it has what is needed");
        }
    }

    #[test]
    fn a_peak_that_was_known_when_the_others_were_cut_raises_no_new_pod() {
        let (mut memory, begin) = learned("Deployment", 0.8);
        let (cut, now) = (owned("web-0", "Deployment", "300m", 0), begin + HOUR);
        for at in (begin..now).step_by(60) {
            look(&mut memory, &cut, Some(0.1), at);
        }
        let needs = |memory: &mut Memory, policy: &Policy| {
            let known = memory.of(&cut, now).1.container("app").unwrap();
            Resource::ALL.map(|of| known.needs(of, policy, false).0.unwrap())
        };
        let policy = Policy::default();
        assert_eq!(needs(&mut memory, &policy), [0.3, 1024.0]);
        let new = owned("web-1", "Deployment", "1", now);
        let decision = look(&mut memory.clone(), &new, None, now);
        assert!((decision.new_limit.cpu - 0.3).abs() < 1e-6, "{decision:?}");
        assert!(decision.floor.cpu <= 0.3, "{decision:?}");
        let by_peaks = 0.75..0.8 * 1.1;
        let [job, _] = needs(&mut memory, &Policy { is_job: true, ..Policy::default() });
        assert!(by_peaks.contains(&job), "a run begins anew: {job}");

        // A kill that nothing has answered yet, and what another pod uses meanwhile.
        let (history, workload) = memory.of(&cut, now);
        let (history, workload) =
            (history.container_mut(&"app".into()), workload.container_mut(&"app".into()));
        let kill = Some(crate::pod::OomKill { restart: 1, finished_at: now });
        let seen = |at, cpu, memory| {
            let (usage, limit) = (PerResource::new(cpu, memory), PerResource::new(0.3, 1024.0));
            Observation { oom_kill: kill, ..Observation::measured(at, usage, limit) }
        };
        observe(history, workload, &seen(now, 0.4, 900.0), &policy, now);
        let [cpu, killed] = needs(&mut memory, &policy);
        assert!((cpu - 0.4 * 1.1).abs() < 1e-3, "with head room: {cpu}");
        assert!((killed - 1024.0 * 1.2 * 1.05).abs() < 1.0, "more than it was killed at: {killed}");
        // Until a pod has settled on that.
        let raised = Observation {
            limit: PerResource::new(0.4, 1024.0 * 1.2),
            ..seen(now + 60, 0.1, 900.0)
        };
        let (history, workload) = memory.of(&cut, now);
        let (history, workload) =
            (history.container_mut(&"app".into()), workload.container_mut(&"app".into()));
        let answer = crate::history::AppliedChange {
            resource: Resource::Memory,
            from: 1024.0,
            to: 1024.0 * 1.2,
            kill,
        };
        history.applied(&answer, &policy, now + 1);
        observe(history, workload, &raised, &policy, now + 60);
        assert_eq!(needs(&mut memory, &policy), [0.4, 1024.0 * 1.2]);
    }

    #[test]
    fn without_limits_a_new_pod_gets_the_request_that_the_others_have() {
        let by_request = |name: &str, cpu: &str, created: i64| {
            let mut owned = owned(name, "Deployment", "1", created);
            let resources = ContainerResources::new(&[("cpu", cpu), ("memory", "1Gi")], &[]);
            let container =
                PodContainer { resources: resources.into(), ..owned.pod.containers[0].clone() };
            let containers = crate::pod::Containers::new([container].into());
            Arc::make_mut(&mut owned.pod).containers = Shared::new(containers);
            owned
        };
        let mut memory = Memory::default();
        look(&mut memory, &by_request("web-0", "1", 0), Some(0.3), 0);
        let (last, now) = (by_request("web-0", "340m", 0), HOUR);
        for now in (60..now).step_by(60) {
            look(&mut memory, &last, Some(0.3), now);
        }
        // One burst, which says nothing of what is typical.
        look(&mut memory, &last, Some(3.0), now);
        let new = by_request("web-1", "1", now);
        let decision = look(&mut memory, &new, None, now);
        assert!((decision.new_limit.cpu - 0.34).abs() < 1e-6, "{decision:?}");
        assert_eq!(decision.basis.cpu.cause, Some(crate::guard::Override::KnownNeed));
        let (_, workload) = memory.of(&new, now);
        let needed = workload.container("app").unwrap().needed(Resource::Cpu, &Policy::default());
        assert_eq!(needed, (None, Some(0.34)));
    }

    #[test]
    fn another_image_or_template_is_raised_and_not_cut() {
        let (memory, now) = settled("Deployment", 3.0, "4");
        let image = |mut owned: OwnedPod| {
            let pod = Arc::make_mut(&mut owned.pod);
            let renamed = pod
                .containers
                .iter()
                .map(|container| PodContainer { image: "web:2".into(), ..container.clone() });
            pod.containers = Shared::new(crate::pod::Containers::new(renamed.collect()));
            owned
        };
        let new = image(owned("web-1", "Deployment", "1", now));
        let decision = look(&mut memory.clone(), &new, None, now);
        // What was used at most, with head room, and more of it as the image is not known.
        assert!((decision.new_limit.cpu - 3.0 * 1.1 * 1.1).abs() < 1e-3, "{decision:?}");
        let larger = owned("web-1", "Deployment", "6", now);
        let decision = look(&mut memory.clone(), &larger, None, now);
        assert_eq!(decision.actions.cpu, Action::Maintain, "somebody wants it larger");
        // What an old pod has settled on does not count for the new ones.
        let mut memory = memory;
        look(&mut memory, &larger, Some(3.0), now);
        look(&mut memory, &owned("web-0", "Deployment", "4", 0), Some(3.0), now + 30);
        let decision =
            look(&mut memory, &owned("web-2", "Deployment", "6", now + 40), None, now + 40);
        assert_eq!(decision.actions.cpu, Action::Maintain);
    }

    #[test]
    fn pods_that_have_been_there_longer_or_were_changed_by_others_are_not_set() {
        let (mut memory, now) = settled("Deployment", 0.1, "300m");
        let old = owned("web-1", "Deployment", "1", now - NEW - 1);
        assert_eq!(look(&mut memory, &old, Some(0.1), now).actions.cpu, Action::Maintain);
        let mut resized = owned("web-2", "Deployment", "2", now);
        Arc::make_mut(&mut resized.pod).resized_at = Some(now - 1);
        assert_eq!(look(&mut memory, &resized, None, now).actions.cpu, Action::Maintain);
        // By hand, while the need was not answered yet.
        let new = owned("web-3", "Deployment", "1", now);
        look(&mut memory, &new, None, now);
        let (history, _) = memory.of(&new, now);
        history.container_mut(&"app".into()).observe_spec(1, now);
        history.container_mut(&"app".into()).observe_spec(2, now);
        let decision = look(&mut memory, &new, Some(0.1), now + 1);
        assert_eq!(decision.actions.cpu, Action::Maintain);
    }

    /// What a monitoring system has of a container that uses so much CPU, and twice as much for a
    /// minute an hour, and that was killed once.
    fn recorded(begin: i64, end: i64, used: f64) -> RecordedWorkload {
        let times = || (begin..=end).step_by(300);
        let memory = || times().map(|at| (at, 900.0)).collect();
        let peak = |at: i64| if at % 3600 == 0 { 2.0 * used } else { used };
        let recorded = Recorded {
            peaks: PerResource::new(times().map(|at| (at, peak(at))).collect(), memory()),
            samples: PerResource::new(times().map(|at| (at, used)).collect(), memory()),
            step: 300,
            kills: vec![(end - 60, 1000.0)],
        };
        vec![("app".into(), recorded)]
    }

    #[test]
    fn what_was_recorded_makes_the_first_day_as_good_as_the_fourth() {
        let policy = Policy::default();
        let (day, used) = (24 * HOUR, 0.3);
        let now = 4 * day;
        let pod = owned("web-0", "Deployment", "1", 0);
        let mut lived = Memory::default();
        for at in (30..=now).step_by(30) {
            let burst = at % HOUR == 0;
            look(&mut lived, &pod, Some(if burst { 2.0 * used } else { used }), at);
        }
        let mut told = Memory::default();
        look(&mut told, &pod, Some(used), now);
        let key = told.workloads.keys().next().unwrap().clone();
        let first = told.workloads[&key].unrecorded().cloned();
        let expected = FirstPod { name: "web-0".into(), created: Some(0) };
        assert_eq!(first, Some(expected));
        let guarded = |memory: &mut Memory| {
            let (history, _) = memory.of(&pod, now);
            let history = history.container_mut(&"app".into());
            (history.lowest_safe_limit(Resource::Cpu, &policy), history.observed_for())
        };
        let before = guarded(&mut told);
        assert!(before.0 < 0.4 && before.1 == 0, "a burst is not known yet: {before:?}");
        told.take_recorded(vec![(key.clone(), recorded(0, now, used))], &policy, now);
        assert_eq!(told.workloads[&key].unrecorded(), None, "it is asked for once");
        let (fourth, first) = (guarded(&mut lived), guarded(&mut told));
        assert!((fourth.0 - first.0).abs() < 0.02 && fourth.0 > 0.6, "{fourth:?} {first:?}");
        assert!((fourth.1 - first.1).abs() < HOUR, "{fourth:?} {first:?}");
        let typical = |memory: &Memory| {
            let container = memory.workloads[&key].container("app").unwrap();
            container.typical(Resource::Cpu)
        };
        // It is exact where nothing more was ever used.
        let (fourth, first) = (typical(&lived), typical(&told));
        assert!((first - used).abs() < 1e-6, "{first}");
        assert!((first..first * 1.1).contains(&fourth), "{fourth}");
        let killed = told.workloads[&key].container("app").unwrap().peak(Resource::Memory);
        assert!((killed - 1200.0).abs() < 1e-3, "more than it was killed at: {killed}");
        // One that is made later takes it over, and nothing is asked for it.
        look(&mut told, &owned("web-1", "Deployment", "1", now), None, now);
        let (history, workload) = told.of(&owned("web-1", "Deployment", "1", now), now);
        assert!(history.container_mut(&"app".into()).peak(Resource::Cpu) > 0.5);
        assert_eq!(workload.unrecorded(), None);
    }

    #[test]
    fn what_was_recorded_before_the_first_pod_was_made_is_of_other_pods() {
        let policy = Policy::default();
        let pod = owned("web-0", "Deployment", "1", 10 * HOUR);
        let mut memory = Memory::default();
        look(&mut memory, &pod, Some(0.3), 11 * HOUR);
        let key = memory.workloads.keys().next().unwrap().clone();
        let unknown = Shared::new(WorkloadKey { name: "other".into(), ..(*key).clone() });
        let both = vec![
            (key, recorded(0, 11 * HOUR, 0.3)),
            (unknown.clone(), recorded(0, 11 * HOUR, 0.3)),
        ];
        memory.take_recorded(both, &policy, 11 * HOUR);
        let (history, _) = memory.of(&pod, 11 * HOUR);
        let history = history.container_mut(&"app".into());
        assert!((HOUR - 300..=HOUR).contains(&history.observed_for()));
        assert!(history.peak(Resource::Cpu) > 0.5, "its peaks protect all the same");
        assert!(!memory.workloads.contains_key(&unknown), "one that is gone is not made up");
    }

    #[test]
    fn each_pod_of_a_stateful_set_has_a_memory_of_its_own() {
        let (mut memory, now) = settled("StatefulSet", 3.0, "4");
        let other = look(&mut memory, &owned("web-1", "StatefulSet", "1", now), None, now);
        assert_eq!(other.actions.cpu, Action::Maintain);
        let mut again = owned("web-0", "StatefulSet", "1", now);
        Arc::make_mut(&mut again.pod).key = pod_key("shop", "web-0", "made anew");
        assert!((look(&mut memory, &again, None, now).new_limit.cpu - 4.0).abs() < 1e-6);
    }

    #[test]
    fn a_workload_is_remembered_for_days_and_not_for_ever() {
        let (mut memory, now) = settled("Deployment", 3.0, "4");
        memory.pods.clear();
        memory.forget_workloads(now + KEPT - 60);
        assert_eq!((memory.pods.len(), memory.workloads.len()), (0, 1));
        let mut again = memory.clone();
        let late = now + KEPT - 60;
        let decision = look(&mut again, &owned("web-9", "Deployment", "1", late), None, late);
        assert!((decision.new_limit.cpu - 4.0).abs() < 1e-6, "what it settled on still holds");
        memory.forget_workloads(now + KEPT + 60);
        assert!(memory.workloads.is_empty());
    }

    #[test]
    fn a_pod_that_was_born_with_its_size_is_of_the_same_generation_as_the_others() {
        let (mut memory, now) = settled("Deployment", 0.1, "300m");
        let mut born = owned("web-1", "Deployment", "300m", now);
        let template = owned("web-1", "Deployment", "1", now).pod.containers[0].resources.clone();
        let made = born.pod.containers[0].clone();
        let container = PodContainer { template: Some(template.clone()), ..made };
        let containers = crate::pod::Containers::new([container].into());
        Arc::make_mut(&mut born.pod).containers = Shared::new(containers);
        let decision = look(&mut memory, &born, None, now);
        assert_eq!(decision.actions.cpu, Action::Maintain, "it has what it needs");
        let (_, workload) = memory.of(&born, now);
        let known = workload.container("app").unwrap();
        assert_eq!(known.template, template);
        assert!((known.settled(Resource::Cpu).unwrap() - 0.3).abs() < 1e-6);
    }

    #[test]
    fn what_a_start_takes_is_no_peak_and_is_given_to_the_next_one() {
        let (mut memory, now) = settled("Deployment", 0.1, "300m");
        let cpu = |memory: &mut Memory, pod: &OwnedPod, used, at, unready| {
            look_at(memory, pod, used, at, (Some(now), unready)).new_limit.cpu
        };
        // Nobody has seen a start yet: it keeps what the template gives it.
        let first = owned("web-1", "Deployment", "1", now);
        for second in [5, 30, 60, 90] {
            let kept = look_at(&mut memory, &first, Some(0.7), now + second, (Some(now), false));
            assert_eq!(kept.new_limit.cpu, 1.0);
            assert_eq!(kept.overridden.cpu, Some(crate::guard::Override::Starting), "that is why");
        }
        assert_eq!(cpu(&mut memory, &first, Some(0.1), now + 130, true), 1.0, "it is not ready");
        assert!((cpu(&mut memory, &first, Some(0.1), now + 160, false) - 0.3).abs() < 1e-6);
        let (history, workload) = memory.of(&first, now + 160);
        let (history, workload) = (history.container("app"), workload.container("app").unwrap());
        assert!(history.unwrap().peak(Resource::Cpu) < 0.2);
        assert!(workload.peak(Resource::Cpu) < 0.2 && workload.typical(Resource::Cpu) < 0.2);
        assert!(
            (workload.settled(Resource::Cpu).unwrap() - 0.3).abs() < 1e-6,
            "a start settles nothing"
        );

        let now = now + 200;
        let next = owned("web-2", "Deployment", "1", now);
        let cpu = |memory: &mut Memory, pod: &OwnedPod, at, unready| {
            look_at(memory, pod, None, at, (Some(now), unready)).new_limit.cpu
        };
        assert_eq!(cpu(&mut memory, &next, now + 1, true), 1.0, "cuts wait until it is ready");
        assert!((cpu(&mut memory, &next, now + 5, false) - 0.7 * 1.1).abs() < 1e-3);
        assert!((cpu(&mut memory, &next, now + 125, false) - 0.3).abs() < 1e-6, "given back");
    }

    #[test]
    fn a_container_that_was_restarted_is_not_cut_while_it_starts() {
        let (mut memory, now) = learned("Deployment", 0.1);
        let pod = owned("web-0", "Deployment", "1", 0);
        let container = |memory: &mut Memory, at, started| {
            let down =
                QValues { cpu: [1.0, 0.0, 0.0], memory: [0.0, 1.0, 0.0], ..QValues::default() };
            let usage = PerResource::new(0.1, 900.0);
            let seen = Observation::measured(at, usage, pod.pod.limit());
            let seen = Observation { started_at: Some(started), ..seen };
            let (history, _) = memory.of(&pod, at);
            decide(&seen, history.container("app").unwrap(), &down, &Policy::default(), at)
        };
        let starting = container(&mut memory, now, now - 60);
        assert_eq!(starting.overridden.cpu, Some(crate::guard::Override::Starting));
        assert_eq!(container(&mut memory, now, now - 130).actions.cpu, Action::Decrease);
    }

    #[test]
    fn what_it_typically_uses_is_known_to_all_its_pods() {
        let (mut memory, now) = learned("Deployment", 0.5);
        let decision = look(&mut memory, &owned("web-1", "Deployment", "1", now), Some(0.1), now);
        assert!((0.5..0.56).contains(&decision.basis.cpu.typical), "{:?}", decision.basis);
        assert!((900.0..1000.0).contains(&decision.basis.memory.typical));
    }
}
