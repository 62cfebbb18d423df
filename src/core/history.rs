//! What is remembered between cycles: of each container recent samples, recent peaks and the last
//! resize.

use std::sync::Arc;

use internment::ArcIntern as Shared;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::action::Action;
use crate::burst::WINDOW;
use crate::context::OwnedPod;
use crate::marks::{Backoff, Cut, KnownNeed, SomeMarks};
use crate::observation::{CLOCK_TOLERANCE, Observation};
use crate::peaks::{DecidingPeak, PeakWindow};
use crate::pod::{OomKill, Owner};
use crate::policy::Policy;
use crate::resource::{PerResource, Resource};
use crate::timestamp::Timestamp;
use crate::workload::{Inheritance, WorkloadKey};

/// The longest pause after failures in a row, in seconds.
const MAX_BACKOFF: i64 = 3600;

/// What is remembered of a pod.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PodHistory {
    /// In the order in which they were first seen.
    containers: Vec<(Arc<str>, ContainerHistory)>,
    /// When the cluster says that the pod was last resized.
    external_resize: Timestamp,
    /// Since when what is in force differs from what the pod asks for.
    pub unsettled_since: Timestamp,
    /// Of ending a resize that the kubelet does not carry out.
    pub backoff: Backoff,
    /// What the pod is one life of, and the owner that this was told by.
    #[serde(skip)]
    workload: Option<(Option<Shared<Owner>>, Shared<WorkloadKey>)>,
}

impl PodHistory {
    /// Takes in whether what is in force is what the pod asks for.
    pub fn observe_settled(&mut self, settled: bool, now: i64) {
        let since = Timestamp::at(self.unsettled_since.get().unwrap_or(now).min(now));
        self.unsettled_since = if settled { Timestamp::NONE } else { since };
    }

    /// What the pod is one life of.
    pub fn workload(&mut self, owned: &OwnedPod) -> Shared<WorkloadKey> {
        match &self.workload {
            Some((owner, key)) if *owner == owned.workload => key.clone(),
            _ => {
                let key = Shared::new(WorkloadKey::of(owned));
                self.workload = Some((owned.workload.clone(), key.clone()));
                key
            }
        }
    }

    /// What it was last known to be one life of.
    pub fn known_workload(&self) -> Option<&Shared<WorkloadKey>> {
        self.workload.as_ref().map(|(_, key)| key)
    }

    pub fn failed(&mut self, now: i64, pause: i64) {
        self.backoff.fail(now, pause, MAX_BACKOFF);
    }

    pub fn container(&self, name: &str) -> Option<&ContainerHistory> {
        self.containers.iter().find(|(known, _)| **known == *name).map(|(_, history)| history)
    }

    pub fn container_mut(&mut self, name: &Arc<str>) -> &mut ContainerHistory {
        let index = self.containers.iter().position(|(known, _)| known == name);
        let index = index.unwrap_or_else(|| {
            // There are very many pods, and hardly any gets another container.
            self.containers.reserve_exact(1);
            self.containers.push((name.clone(), ContainerHistory::default()));
            self.containers.len() - 1
        });
        &mut self.containers[index].1
    }

    pub(crate) fn known_container_mut(&mut self, name: &str) -> Option<&mut ContainerHistory> {
        self.containers.iter_mut().find(|(known, _)| **known == *name).map(|(_, history)| history)
    }

    /// The cluster says that the pod was resized then, by whichever replica in whichever process. A
    /// time to come, of a clock that is ahead, is the moment that it is first heard of.
    pub fn observe_external_resize<'a>(
        &mut self,
        at: i64,
        now: i64,
        containers: impl Iterator<Item = &'a Arc<str>>,
    ) {
        let at = Timestamp::at(at);
        if std::mem::replace(&mut self.external_resize, at) != at {
            for name in containers {
                let history = self.container_mut(name);
                history.resized_at = history.resized_at.max(at.no_later_than(now));
            }
        }
    }

    /// When a change of a container was last applied.
    pub fn resized_at(&self) -> Option<i64> {
        self.containers.iter().filter_map(|(_, history)| history.resized_at.get()).max()
    }

    /// When the last measurement was taken in.
    pub fn last_at(&self) -> Option<i64> {
        self.containers.iter().filter_map(|(_, history)| history.last_at()).max()
    }

    /// What is still worth knowing at `now` of a history from another process, whose peaks were
    /// kept for `windows`.
    pub fn restored(mut self, windows: PerResource<i64>, policy: &Policy, now: i64) -> Self {
        for (_, history) in &mut self.containers {
            history.restore(windows, policy, now);
        }
        self
    }
}

/// What has become of a resource of a container.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AppliedChange {
    pub resource: Resource,
    /// The limits before and after: cores, MiB.
    pub from: f64,
    pub to: f64,
    /// The last kill that was seen when it was decided on.
    pub kill: Option<OomKill>,
}

/// A limit in force.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct KnownLimit {
    /// Cores, MiB; 0 before it was seen.
    amount: f32,
    /// When it was changed; none: before anything was known of the container.
    since: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerHistory {
    /// By default no more than have their place here.
    samples: SmallVec<[PerResource<f32>; 5]>,
    /// When the last of them was measured.
    sampled_at: i64,
    /// What was measured last, be it between two samples.
    #[serde(default)]
    newest: PerResource<f32>,
    peaks: PerResource<PeakWindow>,
    first_at: i64,
    last_at: i64,
    /// Measurements taken in so far.
    observed: PerResource<u32>,
    /// When a change of this container was last applied.
    pub resized_at: Timestamp,
    #[serde(default)]
    limits: PerResource<KnownLimit>,
    /// Increases in a row after which the resource was full again.
    steps: PerResource<u8>,
    /// CPU varied up to its limit by chance before them, and has not jumped.
    #[serde(default)]
    varies: bool,
    /// The generation of the workload that the container was made in, and for how long that was
    /// known then.
    generation: u32,
    known_for: u32,
    /// What the containers of its workload typically use: cores, MiB.
    pub typical: PerResource<f32>,
    /// Whether the container was ever seen.
    seen: bool,
    #[serde(flatten)]
    marks: SomeMarks,
    /// What the spec asked for when it was last seen; 0: it was not, or what it asks for next is
    /// what was applied, and nobody else's.
    #[serde(skip)]
    spec: u32,
}

impl Default for ContainerHistory {
    fn default() -> Self {
        Self {
            samples: SmallVec::new(),
            sampled_at: i64::MIN,
            newest: PerResource::default(),
            peaks: PerResource::new(PeakWindow::new(), PeakWindow::new()),
            first_at: 0,
            last_at: i64::MIN,
            observed: PerResource::default(),
            resized_at: Timestamp::NONE,
            limits: PerResource::default(),
            steps: PerResource::default(),
            varies: false,
            generation: 0,
            known_for: 0,
            typical: PerResource::default(),
            seen: false,
            marks: SomeMarks::default(),
            spec: 0,
        }
    }
}

/// A resource used to this share of its limit is full.
pub const FULL: f64 = 0.9;
/// A resource used to this share of its limit cannot be used any more.
const AT_LIMIT: f64 = 0.98;
/// A limit that differs by no more than this share of it is the same.
const SAME_LIMIT: f64 = 0.02;
/// A cut after which the limit is reached within so many seconds has hurt.
const CUT_WATCHED: i64 = 600;
/// The longest wait for the next cut, in seconds.
const MAX_CUT_PAUSE: i64 = 24 * 3600;
/// Seconds before a raise in which a kill was of the limit before it, and the raise is an answer to
/// it even if it was asked for earlier.
const UNDER_WAY: i64 = 20;
/// A kill that was there before anything was known counts for so many seconds.
const OLD_KILL: i64 = 3600;
/// Steps that double: 1, 2, 4, 8 and 16 times the first.
const MOST_STEPS: u8 = 4;
/// CPU of which this share of the limit was used over so many seconds was held to it all the time.
/// It begins with the third of these steps.
const HELD: f64 = 0.99;
const LONG: i64 = 10;
const HELD_STEPS: u8 = 2;

/// What a measurement adds to what is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    Nothing,
    /// It is of between two samples: a peak at most.
    Peak,
    Sample,
}

impl ContainerHistory {
    /// Takes in a measurement; one that is not newer than the last is no news.
    pub fn observe(&mut self, observation: &Observation, policy: &Policy, now: i64) -> News {
        self.keep_time(policy, now);
        for resource in Resource::ALL {
            self.see_limit(resource, observation.limit[resource], now);
        }
        if let Some(burst) = observation.burst.filter(|_| !self.has_grown(Resource::Cpu)) {
            let at_limit = AT_LIMIT * observation.limit.cpu;
            self.varies = burst.ordinary.is_some_and(|most| most >= at_limit);
        }
        if !std::mem::replace(&mut self.seen, true) {
            let first_kill = observation.oom_kill;
            self.marks.change(|marks| marks.first_kill = first_kill);
        }
        if let Some(needed) = self.needed_by_killed(observation, policy, now) {
            let at = self.last_at.max(now.min(observation.at));
            self.peaks.memory.observe_kill(at, needed, policy.guard.window.memory);
        }
        if !observation.is_measured() || observation.at <= self.last_at {
            return News::Nothing;
        }
        if self.last_at == i64::MIN {
            self.first_at = observation.at;
        }
        self.last_at = observation.at;
        // What is looked at between two cycles must not shorten the time that a trend is of, nor
        // the one in which a container becomes known.
        let in_turn = self.is_in_turn(observation.at, policy);
        let last = self.samples.last().copied().unwrap_or_default();
        let mut sample = last;
        for resource in Resource::ALL.into_iter().filter(|of| observation.measured[*of]) {
            let used = observation.usage[resource];
            sample[resource] = used as f32;
            self.newest[resource] = used as f32;
            // Memory that a start takes is taken by the next one, too, or it is killed.
            let passes =
                resource == Resource::Cpu && observation.is_of_start(resource, policy.startup);
            if !passes {
                if in_turn {
                    self.observed[resource] = self.observed[resource].saturating_add(1);
                }
                self.peaks[resource].observe(observation.at, used, policy.guard.window[resource]);
            }
            if self.marks.cut[resource].is_some_and(|cut| observation.at > cut.at + CUT_WATCHED) {
                // It did not hurt.
                self.marks.change(|marks| {
                    (marks.cut[resource], marks.cuts_rest[resource]) = (None, Backoff::default());
                });
            }
            if self.is_of_present_limit(resource, observation)
                && observation.utilization(resource) < FULL
            {
                self.steps[resource] = 0;
            }
        }
        if !in_turn {
            return News::Peak;
        }
        self.sampled_at = observation.at;
        let window = policy.history_window.max(1);
        while self.samples.len() >= window {
            self.samples.remove(0);
        }
        self.samples.push(sample);
        News::Sample
    }

    /// What a killed container would have needed, whatever was measured: more than it had. So the
    /// step up that answers the kill is not taken back soon.
    pub fn needed_by_killed(
        &self,
        observation: &Observation,
        policy: &Policy,
        now: i64,
    ) -> Option<f64> {
        self.unanswered_kill(observation, now)?;
        Some(observation.limit.memory * Action::Increase.factor(policy.scale_factor))
    }

    /// Takes over what the workload of a new pod has taught.
    pub fn inherit(&mut self, inheritance: &Inheritance) {
        self.peaks = inheritance.peaks.clone();
        self.generation = inheritance.generation;
        self.known_for = seconds(inheritance.known_for);
    }

    /// Its workload has been told more of its past since the container was met.
    pub(crate) fn learn_recorded(&mut self, inheritance: &Inheritance, policy: &Policy) {
        for resource in Resource::ALL {
            let window = policy.guard.window[resource];
            self.peaks[resource].merge(&inheritance.peaks[resource], window);
        }
        if self.generation == inheritance.generation {
            let own = self.observed_for() - i64::from(self.known_for);
            self.known_for = self.known_for.max(seconds(inheritance.known_for - own));
        }
    }

    /// The container is new, and of its workload this limit is known to be needed.
    pub fn know_need(&mut self, resource: Resource, limit: f64, until: i64) {
        let need = Some(KnownNeed { limit, until });
        self.marks.change(|marks| marks.known_need[resource] = need);
    }

    /// The limit that the workload of a new container is known to need, while it is not in force.
    pub fn known_need(&self, resource: Resource, now: i64) -> Option<f64> {
        self.marks.known_need[resource].filter(|need| now <= need.until).map(|need| need.limit)
    }

    /// The limit that the containers of its workload need to start.
    pub fn start_need(&self, resource: Resource) -> f64 {
        self.marks.start_need[resource]
    }

    pub(crate) fn know_start_need(&mut self, need: PerResource<f64>) {
        if need != self.marks.start_need {
            self.marks.change(|marks| marks.start_need = need);
        }
    }

    /// The generation of its workload that the container tells of, once it has got what it needs.
    pub fn settled_generation(&self, now: i64) -> Option<u32> {
        let waits = Resource::ALL.iter().any(|of| self.known_need(*of, now).is_some());
        (!waits).then_some(self.generation)
    }

    /// The limit before the last cut, if the container has turned out to need it.
    pub fn undone_cut(
        &self,
        resource: Resource,
        observation: &Observation,
        now: i64,
    ) -> Option<f64> {
        let cut = self.marks.cut[resource].filter(|cut| now - cut.at <= CUT_WATCHED)?;
        let at_limit = observation.measured[resource]
            && self.is_of_present_limit(resource, observation)
            && observation.utilization(resource) >= AT_LIMIT
            && self.is_short(resource, observation);
        let killed =
            resource == Resource::Memory && self.unanswered_kill(observation, now).is_some();
        (at_limit || killed).then_some(cut.from)
    }

    /// Whether a resource that was measured to be full is too small, and does not just vary: CPU of
    /// a few seconds must have jumped, or be full for longer.
    pub fn is_short(&self, resource: Resource, observation: &Observation) -> bool {
        let Some(burst) = observation.burst.filter(|_| resource == Resource::Cpu) else {
            return true;
        };
        let lasts = match self.has_grown(resource) {
            true => burst.length >= WINDOW,
            false => burst.lasting.is_some_and(|mean| mean >= AT_LIMIT * observation.limit.cpu),
        };
        lasts || !self.varies
    }

    /// Until when nothing is cut, after a cut that has hurt.
    pub fn cuts_rest(&self, resource: Resource) -> &Backoff {
        &self.marks.cuts_rest[resource]
    }

    /// Until when nothing is tried, after a resize that failed.
    pub fn backoff(&self, resource: Resource) -> &Backoff {
        &self.marks.backoff[resource]
    }

    /// Whoever has changed it. What rounding does is no change.
    fn see_limit(&mut self, resource: Resource, limit: f64, now: i64) {
        let KnownLimit { amount, .. } = self.limits[resource];
        let before = f64::from(amount);
        let since = match before {
            0.0 => self.resized_at,
            _ if (limit - before).abs() > SAME_LIMIT * before => Timestamp::at(now),
            _ => return,
        };
        self.limits[resource] = KnownLimit { amount: limit as f32, since };
    }

    /// Whether a whole interval has passed since the last sample, as far as cycles and the times of
    /// measurements, which do not fall on the same moments, can tell.
    fn is_in_turn(&self, at: i64, policy: &Policy) -> bool {
        at.saturating_sub(self.sampled_at) >= policy.sample_interval * 2 / 3
    }

    /// What lies in the future, of a clock that was ahead, is now.
    fn keep_time(&mut self, policy: &Policy, now: i64) {
        self.resized_at = self.resized_at.no_later_than(now);
        for limit in [&mut self.limits.cpu, &mut self.limits.memory] {
            limit.since = limit.since.no_later_than(now);
        }
        if self.sampled_at > now + CLOCK_TOLERANCE {
            self.sampled_at = i64::MIN;
        }
        self.marks.keep_time(now, MAX_BACKOFF, MAX_CUT_PAUSE);
        if self.last_at > now + CLOCK_TOLERANCE {
            let behind = self.last_at - now;
            (self.last_at, self.first_at) = (now, self.first_at - behind);
            for resource in Resource::ALL {
                self.peaks[resource].shift(behind, policy.guard.window[resource]);
            }
        }
    }

    /// Takes in what the spec asks for: what somebody else has set starts the cooldown.
    pub fn observe_spec(&mut self, spec: u64, now: i64) {
        let spec = spec as u32;
        let before = std::mem::replace(&mut self.spec, spec);
        if before != 0 && before != spec {
            self.resized_at = Timestamp::at(now);
            self.marks.change(|marks| marks.known_need = PerResource::default());
        }
    }

    /// A change of a resource has been applied, in answer to what was observed.
    pub fn applied(&mut self, change: &AppliedChange, policy: &Policy, now: i64) {
        let AppliedChange { resource, from, to, kill } = *change;
        self.resized_at = Timestamp::at(now);
        self.limits[resource] = KnownLimit { amount: to as f32, since: Timestamp::at(now) };
        self.spec = 0;
        let pause = 2 * policy.cooldown.max(CUT_WATCHED);
        self.marks.change(|marks| {
            marks.backoff[resource] = Backoff::default();
            marks.known_need[resource] = None;
            let cut = &mut marks.cut[resource];
            if to < from {
                *cut = Some(Cut { at: now, from });
                return;
            }
            if cut.take().is_some_and(|cut| now - cut.at <= CUT_WATCHED) {
                marks.cuts_rest[resource].fail(now, pause, MAX_CUT_PAUSE);
            }
            if resource == Resource::Memory {
                marks.answered_kill = kill.or(marks.answered_kill);
                marks.memory_raised_at = Timestamp::at(now);
            }
        });
        let more = (self.steps[resource] + 1).min(MOST_STEPS);
        self.steps[resource] = if to < from { 0 } else { more };
    }

    /// Lets a resource rest after a resize that failed.
    pub fn failed(&mut self, resource: Resource, now: i64, pause: i64) {
        self.marks.change(|marks| marks.backoff[resource].fail(now, pause, MAX_BACKOFF));
    }

    /// It was raised, and was not seen below the limit since.
    pub fn has_grown(&self, resource: Resource) -> bool {
        self.steps[resource] > 0
    }

    /// CPU was held to its limit for all of a long time.
    pub fn is_held(&self, resource: Resource, observation: &Observation) -> bool {
        resource == Resource::Cpu
            && observation.window >= LONG
            && observation.utilization(resource) >= HELD
            && self.is_of_present_limit(resource, observation)
    }

    /// How many first steps the next increase is worth: twice as many with each one after which the
    /// resource was full again. One that was held to its limit begins with more, for the next
    /// measurement will be as long in coming.
    pub fn step_factor(&self, resource: Resource, is_held: bool) -> f64 {
        let least = if is_held { HELD_STEPS } else { 0 };
        f64::from(1u32 << self.steps[resource].clamp(least, MOST_STEPS))
    }

    /// Whether the usage was measured under the limit that holds now, all of the time. A change of
    /// the other resource is none of this one.
    pub fn is_of_present_limit(&self, resource: Resource, observation: &Observation) -> bool {
        Timestamp::at(observation.begin(resource)) > self.limits[resource].since
    }

    /// Whether a resource that was measured to be full is full under the limit that holds now.
    /// After a raise a mean that is in part of before is too low at most.
    pub fn would_show_full(&self, resource: Resource, observation: &Observation) -> bool {
        let since = self.limits[resource].since.get();
        let raised = self.has_grown(resource) && since.is_some_and(|since| observation.at > since);
        raised || self.is_of_present_limit(resource, observation)
    }

    fn restore(&mut self, windows: PerResource<i64>, policy: &Policy, now: i64) {
        self.keep_time(policy, now);
        for resource in Resource::ALL {
            self.peaks[resource].restore(windows[resource], policy.guard.window[resource]);
        }
    }

    /// Measurements taken in so far.
    pub fn observed(&self, resource: Resource) -> u32 {
        self.observed[resource]
    }

    pub fn last_at(&self) -> Option<i64> {
        (self.last_at > i64::MIN).then_some(self.last_at)
    }

    /// The last measurement and its moment.
    pub fn newest(&self) -> Option<(i64, PerResource<f64>)> {
        Some((self.last_at()?, PerResource::build(|of| f64::from(self.newest[of]))))
    }

    /// The largest usage of the guard's window.
    pub fn peak(&self, resource: Resource) -> f64 {
        self.peaks[resource].peak()
    }

    /// The same, but an old peak counts less: one that is about to be forgotten is `1 - fade` of
    /// what it was.
    pub fn faded_peak(&self, resource: Resource, fade: f64) -> f64 {
        self.peaks[resource].faded_peak(fade)
    }

    /// The recent peak, which fades with time, plus head room; more of it while little is known.
    pub fn lowest_safe_limit(&self, resource: Resource, policy: &Policy) -> f64 {
        let peak = self.faded_peak(resource, policy.guard.fade[resource]);
        policy.guard.with_headroom(resource, peak, self.observed_for())
    }

    /// The largest usage of the newest `share` of the guard's window.
    pub fn recent_peak(&self, resource: Resource, share: f64) -> f64 {
        self.peaks[resource].peak_since(share)
    }

    /// For how many seconds the container has been measured, and others of its workload before it.
    pub fn observed_for(&self) -> i64 {
        let own = if self.last_at == i64::MIN { 0 } else { self.last_at - self.first_at };
        i64::from(self.known_for) + own
    }

    /// Whether the container was ever seen.
    pub fn is_new(&self) -> bool {
        !self.seen
    }

    /// The peak that the guard goes by.
    pub fn deciding_peak(&self, resource: Resource, policy: &Policy, now: i64) -> DecidingPeak {
        let guard = &policy.guard;
        self.peaks[resource].deciding_peak(guard.fade[resource], guard.window[resource], now)
    }

    /// The mean of the last samples: cores, MiB.
    pub fn mean(&self, resource: Resource) -> f64 {
        let sum: f64 = self.samples.iter().map(|sample| f64::from(sample[resource])).sum();
        sum / self.samples.len().max(1) as f64
    }

    /// The peaks of the parts of the guard's window with their age, 0 (newest) to 1.
    pub fn peaks(&self, resource: Resource) -> impl Iterator<Item = (f64, f64)> + '_ {
        self.peaks[resource].aged()
    }

    /// The trend of the usage normalised by `limit`: least-squares slope over the samples x
    /// (samples - 1), clipped to -1..1.
    pub fn trend(&self, resource: Resource, limit: f64) -> f64 {
        let count = self.samples.len();
        if count < 2 || limit <= 0.0 {
            return 0.0;
        }
        let middle = (count - 1) as f64 / 2.0;
        let (mut covariance, mut variance) = (0.0, 0.0);
        for (index, sample) in self.samples.iter().enumerate() {
            let x = index as f64 - middle;
            covariance += x * (f64::from(sample[resource]) / limit).clamp(0.0, 1.0);
            variance += x * x;
        }
        (covariance / variance * (count - 1) as f64).clamp(-1.0, 1.0)
    }

    /// A kill for memory that no resize has answered yet. Each is told by its identity, whatever
    /// the clocks say; only one that was there before anything was known is judged by its time.
    pub fn unanswered_kill(&self, observation: &Observation, now: i64) -> Option<OomKill> {
        let kill = observation.oom_kill.filter(|kill| self.marks.answered_kill != Some(*kill))?;
        let raised = self.marks.memory_raised_at.get();
        if raised.is_some_and(|at| (0..=UNDER_WAY).contains(&(at - kill.finished_at))) {
            return None;
        }
        if self.seen && self.marks.first_kill != Some(kill) {
            return Some(kill);
        }
        let recent = (now - kill.finished_at).abs() <= OLD_KILL;
        let since = Timestamp::at(kill.finished_at) > self.resized_at;
        (recent && since).then_some(kill)
    }
}

/// As many as there is room for.
fn seconds(long: i64) -> u32 {
    u32::try_from(long.max(0)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::burst::Burst;

    fn observation(at: i64, cpu: f64) -> Observation {
        let limit = PerResource::new(1.0, 200.0);
        Observation::measured(at, PerResource::new(cpu, 100.0), limit)
    }

    fn history(usages: &[f64]) -> ContainerHistory {
        let mut history = ContainerHistory::default();
        for (step, cpu) in usages.iter().enumerate() {
            observe(&mut history, &observation(step as i64 * 30, *cpu));
        }
        history
    }

    fn observe(history: &mut ContainerHistory, observation: &Observation) {
        history.observe(observation, &Policy::default(), observation.at);
    }

    #[test]
    fn what_there_is_one_of_for_every_container_takes_little_room() {
        assert!(size_of::<PodHistory>() <= 72, "{}", size_of::<PodHistory>());
        let size = size_of::<ContainerHistory>();
        assert!(size <= 368, "{size}: two with their names are within 768 bytes");
    }

    #[test]
    fn trend_is_the_rise_over_the_window() {
        let trend = |usages: &[f64]| history(usages).trend(Resource::Cpu, 1.0);
        assert_eq!(trend(&[0.5]), 0.0);
        assert!((trend(&[0.1, 0.2, 0.3, 0.4, 0.5]) - 0.4).abs() < 1e-6);
        assert!((trend(&[9.0, 9.0, 0.5, 0.4, 0.3, 0.2, 0.1]) + 0.4).abs() < 1e-6);
        assert_eq!(trend(&[0.0, 1.0]), 1.0);
        assert_eq!(history(&[0.1, 0.2]).trend(Resource::Memory, 200.0), 0.0);
    }

    #[test]
    fn a_look_between_two_samples_makes_a_peak_and_no_trend() {
        let mut history = history(&[0.1, 0.1]);
        for at in (32..=58).step_by(2) {
            observe(&mut history, &observation(at, 0.9));
        }
        assert_eq!(history.observed(Resource::Cpu), 3, "one at 50, which is nearly the next");
        assert!((history.peak(Resource::Cpu) - 0.9).abs() < 1e-6);
        assert_eq!(history.last_at(), Some(58));
        for (at, observed) in [(60, 3), (80, 4)] {
            observe(&mut history, &observation(at, 0.1));
            assert_eq!(history.observed(Resource::Cpu), observed, "{at}");
        }
        assert!(history.trend(Resource::Cpu, 1.0) < 0.3);
    }

    #[test]
    fn peak_forgets_what_is_older_than_the_window() {
        let window = Policy::default().guard.window.cpu / 60;
        let mut history = history(&[0.9]);
        for minute in 1..window - 1 {
            observe(&mut history, &observation(minute * 60, 0.2));
            assert!((history.peak(Resource::Cpu) - 0.9).abs() < 1e-6, "minute {minute}");
        }
        for minute in window - 1..window + window / 20 {
            observe(&mut history, &observation(minute * 60, 0.2));
        }
        assert!((history.peak(Resource::Cpu) - 0.2).abs() < 1e-6);
    }

    #[test]
    fn a_gap_longer_than_the_window_empties_it() {
        let mut history = history(&[0.9]);
        observe(&mut history, &observation(1_000_000, 0.1));
        assert!((history.peak(Resource::Cpu) - 0.1).abs() < 1e-6);
    }

    #[test]
    fn a_restored_history_keeps_its_peaks_and_its_cooldown() {
        let policy = Policy::default();
        let mut history = history(&[0.9, 0.2]);
        history.resized_at = Timestamp::at(20);
        let mut same = history.clone();
        same.restore(policy.guard.window, &policy, 40);
        assert_eq!(same.peak(Resource::Cpu), history.peak(Resource::Cpu));
        assert_eq!(same.resized_at.get(), Some(20));
        // Of other windows: no peak is lost, nor is it older than it was.
        let mut other = history.clone();
        other.restore(PerResource::new(3600, 3600), &policy, 40);
        assert_eq!(other.faded_peak(Resource::Cpu, 1.0), history.peak(Resource::Cpu));
    }

    #[test]
    fn a_clock_that_was_ahead_shuts_out_nothing() {
        let mut history = ContainerHistory::default();
        for step in 0..10 {
            observe(&mut history, &observation(100_000 + step * 30, 0.9));
        }
        history.resized_at = Timestamp::at(100_270);
        history.failed(Resource::Cpu, 200_000, MAX_BACKOFF);
        let now = 1000;
        history.observe(&observation(now, 0.1), &Policy::default(), now);
        assert_eq!((history.last_at(), history.resized_at), (Some(now), Timestamp::at(now)));
        assert!(history.marks.backoff.cpu.retry_at <= Timestamp::at(now + MAX_BACKOFF));
        assert!((history.peak(Resource::Cpu) - 0.9).abs() < 1e-6, "what it needs is not forgotten");
        history.observe(&observation(now + 30, 0.95), &Policy::default(), now + 30);
        assert!((history.peak(Resource::Cpu) - 0.95).abs() < 1e-6);
        assert_eq!(history.observed(Resource::Cpu), 11);
    }

    #[test]
    fn what_the_cluster_says_of_resizes_counts_once_and_never_from_the_future() {
        let mut pod = PodHistory::default();
        let resized = |pod: &mut PodHistory, at, now| {
            pod.observe_external_resize(at, now, [&"app".into()].into_iter());
            pod.resized_at()
        };
        assert_eq!(resized(&mut pod, 100, 500), Some(100));
        assert_eq!(resized(&mut pod, 900, 510), Some(510));
        assert_eq!(resized(&mut pod, 900, 700), Some(510));
        pod.container_mut(&"app".into()).resized_at = Timestamp::at(1000);
        assert_eq!(resized(&mut pod, 990, 1010), Some(1000));
    }

    #[test]
    fn what_somebody_else_sets_starts_the_cooldown() {
        let mut history = history(&[0.1]);
        history.observe_spec(7, 10);
        history.observe_spec(7, 20);
        assert_eq!(history.resized_at.get(), None);
        history.observe_spec(8, 30);
        assert_eq!(history.resized_at.get(), Some(30));
        history.applied(&raised(Resource::Cpu, None), &Policy::default(), 40);
        history.observe_spec(9, 50);
        assert_eq!(history.resized_at.get(), Some(40), "its own change is that of then");
        history.observe_spec(8, 60);
        assert_eq!(history.resized_at.get(), Some(60));
    }

    fn raised(resource: Resource, kill: Option<OomKill>) -> AppliedChange {
        AppliedChange { resource, from: 1.0, to: 1.2, kill }
    }

    fn killed(restart: i32, finished_at: i64, now: i64) -> Observation {
        let kill = OomKill { restart, finished_at };
        Observation { oom_kill: Some(kill), ..observation(now, 0.1) }
    }

    #[test]
    fn each_kill_is_answered_once_whatever_the_clocks_say() {
        let mut history = history(&[0.1]);
        let answered = |history: &ContainerHistory, seen: &Observation| {
            history.unanswered_kill(seen, seen.at).is_none()
        };
        // Dated ten minutes ahead, and answered in the next second.
        let ahead = killed(1, 700, 60);
        observe(&mut history, &ahead);
        assert!(!answered(&history, &ahead));
        history.applied(&raised(Resource::Memory, ahead.oom_kill), &Policy::default(), 61);
        for now in [62, 600, 1200, 9000] {
            assert!(answered(&history, &killed(1, 700, now)), "{now}");
        }
        // Dated in the past, and yet new.
        assert!(!answered(&history, &killed(2, 30, 9001)));
    }

    #[test]
    fn a_kill_from_before_anything_was_known_is_judged_by_its_time() {
        let seen = killed(3, 100, 200);
        let mut history = ContainerHistory::default();
        observe(&mut history, &seen);
        assert!(history.unanswered_kill(&seen, 200).is_some());
        assert!(history.unanswered_kill(&seen, 100 + OLD_KILL + 1).is_none());
        history.resized_at = Timestamp::at(150);
        assert!(history.unanswered_kill(&seen, 200).is_none(), "a resize came after it");
    }

    #[test]
    fn more_than_a_container_was_killed_at_counts_as_a_peak() {
        let mut history = history(&[0.1]);
        let seen = killed(1, 45, 60);
        observe(&mut history, &seen);
        assert!((history.peak(Resource::Memory) - 240.0).abs() < 1e-3);
        // Once it is answered it is the past.
        history.applied(&raised(Resource::Memory, seen.oom_kill), &Policy::default(), 61);
        let raised = Observation { at: 90, limit: PerResource::new(1.0, 400.0), ..seen };
        observe(&mut history, &raised);
        assert!((history.peak(Resource::Memory) - 240.0).abs() < 1e-3);
    }

    #[test]
    fn a_kill_while_a_raise_is_under_way_is_answered_by_it() {
        let mut history = history(&[0.1, 0.1]);
        history.applied(&raised(Resource::Memory, None), &Policy::default(), 100);
        let mut unanswered = |finished_at| {
            let seen = killed(1, finished_at, 110);
            observe(&mut history, &seen);
            history.unanswered_kill(&seen, 110).is_some()
        };
        assert!(!unanswered(100) && !unanswered(100 - UNDER_WAY));
        assert!(unanswered(101), "under the limit that was raised");
        assert!(unanswered(99 - UNDER_WAY), "of a clock that is behind");
    }

    #[test]
    fn steps_double_while_the_resource_is_full_under_the_new_limit() {
        let mut history = history(&[0.95]);
        let seen = |window, usage| Observation { window, ..observation(1000, usage) };
        let is_held = [seen(15, 0.99), seen(15, 0.98), seen(5, 0.99)];
        let is_held = is_held.map(|seen| history.is_held(Resource::Cpu, &seen));
        assert_eq!(is_held, [true, false, false]);
        let mut factors = vec![history.step_factor(Resource::Cpu, false)];
        assert_eq!(history.step_factor(Resource::Cpu, true), 4.0);
        for step in 1..7 {
            history.applied(&raised(Resource::Cpu, None), &Policy::default(), step * 30 + 1);
            observe(&mut history, &observation((step + 1) * 30, 0.95));
            factors.push(history.step_factor(Resource::Cpu, false));
        }
        assert_eq!(factors, [1.0, 2.0, 4.0, 8.0, 16.0, 16.0, 16.0]);
        assert_eq!(history.step_factor(Resource::Cpu, true), 16.0);
        assert_eq!(history.step_factor(Resource::Memory, false), 1.0);
        observe(&mut history, &observation(1000, 0.5));
        assert_eq!(history.step_factor(Resource::Cpu, false), 1.0);
    }

    #[test]
    fn cpu_that_was_full_for_a_few_seconds_must_have_jumped_or_last_or_be_full_again() {
        let mut history = history(&[0.8]);
        let mut at = 1000;
        let mut is_short = |history: &mut ContainerHistory, ordinary, lasting, length| {
            at += 2;
            let burst = Some(Burst { length, ordinary, lasting });
            let seen = Observation { burst, ..observation(at, 1.0) };
            observe(history, &seen);
            assert!(history.is_short(Resource::Memory, &seen));
            assert!(history.is_short(Resource::Cpu, &Observation { burst: None, ..seen }));
            history.is_short(Resource::Cpu, &seen)
        };
        assert!(is_short(&mut history, Some(0.9), None, WINDOW), "it has jumped");
        assert!(is_short(&mut history, None, None, WINDOW), "nothing is known of before");
        assert!(is_short(&mut history, Some(1.2), Some(1.0), WINDOW), "it lasts");
        assert!(!is_short(&mut history, Some(1.2), Some(0.9), WINDOW));
        assert!(!is_short(&mut history, Some(1.2), None, WINDOW));
        history.applied(&raised(Resource::Cpu, None), &Policy::default(), 1010);
        assert!(is_short(&mut history, Some(0.9), None, WINDOW), "in spite of a raise");
        assert!(!is_short(&mut history, Some(0.9), None, WINDOW - 1), "work may be behind");
        let mut jumped = history.clone();
        jumped.steps.cpu = 0;
        assert!(is_short(&mut jumped, Some(0.9), None, WINDOW));
        jumped.applied(&raised(Resource::Cpu, None), &Policy::default(), 1110);
        assert!(is_short(&mut jumped, Some(1.2), None, 1000), "it still jumps");
    }

    #[test]
    fn a_mean_over_a_resize_says_nothing_of_the_new_limit() {
        let mut history = history(&[0.5]);
        history.applied(&raised(Resource::Cpu, None), &Policy::default(), 100);
        let of = |at| Observation { window: 15, ..observation(at, 0.5) };
        let tells = |resource, at| history.is_of_present_limit(resource, &of(at));
        assert!(!tells(Resource::Cpu, 115) && tells(Resource::Cpu, 116));
        assert!(tells(Resource::Memory, 100), "its limit is what it was");
        // But for one that is full in spite of what was before.
        let full = |at| history.would_show_full(Resource::Cpu, &of(at));
        assert!(!full(100) && full(101));
        let cut = AppliedChange { to: 0.8, ..raised(Resource::Cpu, None) };
        history.applied(&cut, &Policy::default(), 200);
        let full = |at| history.would_show_full(Resource::Cpu, &of(at));
        assert!(!full(215) && full(216), "before a cut it may have been more");
        // Somebody else has changed it, or the kubelet does so late.
        let limit = PerResource { cpu: 3.0, ..of(300).limit };
        observe(&mut history, &Observation { limit, ..of(300) });
        let tells = |resource, at| history.is_of_present_limit(resource, &of(at));
        assert!(!tells(Resource::Cpu, 315) && tells(Resource::Cpu, 316));
        assert!(tells(Resource::Memory, 300));
    }

    #[test]
    fn an_old_or_repeated_measurement_changes_nothing() {
        let mut history = history(&[0.1, 0.2]);
        let now = 40;
        history.observe(&observation(30, 0.9), &Policy::default(), now);
        history.observe(&observation(0, 0.9), &Policy::default(), now);
        assert_eq!(history.observed(Resource::Cpu), 2);
        assert!((history.peak(Resource::Cpu) - 0.2).abs() < 1e-6);
    }

    #[test]
    fn what_is_not_measured_leaves_no_trace() {
        let mut history = history(&[0.5]);
        let measured = PerResource::new(true, false);
        let usage = PerResource::new(0.6, 0.0);
        let seen = Observation { measured, usage, ..observation(30, 0.6) };
        observe(&mut history, &seen);
        assert_eq!((history.observed(Resource::Cpu), history.observed(Resource::Memory)), (2, 1));
        assert_eq!(history.trend(Resource::Memory, 200.0), 0.0);
        assert!((history.peak(Resource::Memory) - 100.0).abs() < 1e-6);
    }

    #[test]
    fn a_resource_rests_longer_with_each_failure_and_the_other_does_not() {
        let mut history = ContainerHistory::default();
        for pause in [30, 60, 120] {
            history.failed(Resource::Memory, 1000, 30);
            assert_eq!(history.marks.backoff.memory.retry_at, Timestamp::at(1000 + pause));
        }
        assert!(
            history.marks.backoff.memory.holds(1119) && !history.marks.backoff.memory.holds(1120)
        );
        assert!(!history.marks.backoff.cpu.holds(1000));
        history.applied(&raised(Resource::Memory, None), &Policy::default(), 2000);
        assert_eq!(history.marks.backoff.memory, Backoff::default());
    }
}
