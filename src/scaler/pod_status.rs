//! What people look at: what became of every pod last and how its usage went, and what the cycles
//! did over time.

use std::sync::Arc;

use hashbrown::DefaultHashBuilder;
use indexmap::IndexMap;
use parking_lot::Mutex;

use crate::core::context::OwnedPod;
use crate::core::decision::Decision;
use crate::core::downsampled::{Downsampled, Mergeable};
use crate::core::history::FULL;
use crate::core::lookup::Lookup;
use crate::core::outcome::{LastOutcome, Status, Summed};
use crate::core::pod::PodKey;
use crate::core::pod_decision::PodDecision;
use crate::core::resource::{PerResource, Resource};
use crate::core::timestamp::Timestamp;

/// Seconds that the records reach back.
const RETENTION: i64 = 24 * 3600;
const SAMPLES: usize = 32;
const CYCLES: usize = 120;
/// Seconds after which a pod that no cycle has met is forgotten.
const FORGOTTEN: i64 = 3600;

/// What is so many times the limit has been used under another one.
const CLEARLY: f64 = 1.05;

/// Characters that are kept of what there is to say of an outcome.
const LONGEST_REMARK: usize = 1000;

/// One measurement with the limits then in force, at the precision of a small chart.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    at: u32,
    usage: PerResource<Coarse>,
    limit: PerResource<Coarse>,
    request: PerResource<Coarse>,
}

/// The upper half of an f32: two to three digits.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
struct Coarse(u16);

impl From<f64> for Coarse {
    fn from(value: f64) -> Self {
        Self(((value as f32).to_bits().saturating_add(0x8000) >> 16) as u16)
    }
}

impl From<Coarse> for f64 {
    fn from(value: Coarse) -> Self {
        f32::from_bits(u32::from(value.0) << 16).into()
    }
}

impl Sample {
    fn new(decision: &Decision) -> Self {
        let seen = &decision.observation;
        Self {
            at: u32::try_from(seen.at).unwrap_or_default(),
            usage: PerResource::build(|resource| (seen.usage[resource]).into()),
            limit: PerResource::build(|resource| (seen.limit[resource]).into()),
            request: PerResource::build(|resource| (seen.request[resource]).into()),
        }
    }

    /// What was used under the limit before stands beside that one; more than any limit is none of
    /// this container's doing.
    fn under_the_limit_of(mut self, before: Option<&Self>, by_request: PerResource<bool>) -> Self {
        for resource in Resource::ALL.into_iter().filter(|of| !by_request[*of]) {
            let (used, most) = (f64::from(self.usage[resource]), self.limit[resource].into());
            match before {
                Some(before)
                    if used > CLEARLY * most && self.usage[resource] <= before.limit[resource] =>
                {
                    self.limit[resource] = before.limit[resource];
                    self.request[resource] = before.request[resource];
                }
                _ if used > most => self.usage[resource] = self.limit[resource],
                _ => {}
            }
        }
        self
    }

    pub fn taken_at(&self) -> i64 {
        self.at.into()
    }

    pub fn usage(&self) -> PerResource<f64> {
        PerResource::build(|resource| (self.usage[resource]).into())
    }

    pub fn limit(&self) -> PerResource<f64> {
        PerResource::build(|resource| (self.limit[resource]).into())
    }

    pub fn request(&self) -> PerResource<f64> {
        PerResource::build(|resource| (self.request[resource]).into())
    }
}

impl Mergeable for Sample {
    fn at(&self) -> i64 {
        self.at.into()
    }

    /// A peak must not vanish from the picture, nor be shown under a limit that it did not have.
    fn merge(&mut self, later: Self) {
        for resource in Resource::ALL {
            if later.usage[resource] >= self.usage[resource] {
                self.usage[resource] = later.usage[resource];
                self.limit[resource] = later.limit[resource];
                self.request[resource] = later.request[resource];
            }
        }
        self.at = self.at.max(later.at);
    }
}

#[derive(Debug, Clone)]
struct PodRecord {
    last: LastOutcome,
    /// Of the last measurement.
    measured_at: Timestamp,
    usage: PerResource<f32>,
    /// How far the newest decision would move the limit: cores, MiB.
    delta: PerResource<f32>,
    /// The containers that the newest measurement found near their limit.
    near: Option<Box<[NearLimit]>>,
    trail: Downsampled<Sample, SAMPLES>,
}

/// A container that has used nearly all of its limit.
#[derive(Debug, Clone, PartialEq)]
pub struct NearLimit {
    pub container: Arc<str>,
    pub resource: Resource,
    /// Of the limit.
    pub share: f32,
}

fn near_limit(decided: &PodDecision) -> Option<Box<[NearLimit]>> {
    let near = decided.decided().flat_map(|(name, decision)| {
        let seen = &decision.observation;
        Resource::ALL.into_iter().filter_map(move |resource| {
            let share = seen.utilization(resource);
            let full = seen.measured[resource] && !seen.by_request[resource] && share >= FULL;
            let container = name.clone();
            full.then_some(NearLimit { container, resource, share: share as f32 })
        })
    });
    let near: Box<[_]> = near.collect();
    (!near.is_empty()).then_some(near)
}

impl PodRecord {
    fn latest(&self) -> Latest {
        let delta = PerResource::build(|resource| f64::from(self.delta[resource]));
        Latest {
            last: self.last.clone(),
            measured: self.measured(),
            delta,
            near: self.near.clone(),
        }
    }

    /// When usage was last measured, and what it was.
    fn measured(&self) -> Option<(i64, PerResource<f64>)> {
        let usage = PerResource::build(|resource| f64::from(self.usage[resource]));
        self.measured_at.get().map(|at| (at, usage))
    }
}

/// The last measurement and the last outcome of a pod.
#[derive(Debug, Clone)]
pub struct Latest {
    pub last: LastOutcome,
    pub measured: Option<(i64, PerResource<f64>)>,
    /// How far the newest decision would move the limit.
    pub delta: PerResource<f64>,
    pub near: Option<Box<[NearLimit]>>,
}

/// How many pods met which end in the cycles of one step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutcomeCounts {
    pub at: i64,
    pub applied: u64,
    pub dry_run: u64,
    pub unchanged: u64,
    pub skipped: u64,
    pub failed: u64,
}

impl OutcomeCounts {
    fn new(outcomes: &[Summed], at: i64) -> Self {
        let mut counts = Self { at, ..Self::default() };
        for Summed { outcome, .. } in outcomes {
            *match outcome.status {
                Status::Success(_) => &mut counts.applied,
                Status::DryRun => &mut counts.dry_run,
                Status::NoActionNeeded => &mut counts.unchanged,
                Status::Skipped(_) => &mut counts.skipped,
                Status::Failed => &mut counts.failed,
            } += 1;
        }
        counts
    }
}

impl Mergeable for OutcomeCounts {
    fn at(&self) -> i64 {
        self.at
    }

    fn merge(&mut self, later: Self) {
        self.at = self.at.max(later.at);
        self.applied += later.applied;
        self.dry_run += later.dry_run;
        self.unchanged += later.unchanged;
        self.skipped += later.skipped;
        self.failed += later.failed;
    }
}

pub struct PodStatuses {
    records: Mutex<IndexMap<PodKey, Box<PodRecord>, DefaultHashBuilder>>,
    timeline: Mutex<Downsampled<OutcomeCounts, CYCLES>>,
}

impl Default for PodStatuses {
    fn default() -> Self {
        let timeline = Downsampled::new(RETENTION / CYCLES as i64);
        Self { records: Mutex::default(), timeline: Mutex::new(timeline) }
    }
}

impl PodStatuses {
    /// Takes in what became of some pods at one moment.
    pub fn record(&self, outcomes: &[Summed], at: i64) {
        self.timeline.lock().push(OutcomeCounts::new(outcomes, at));
        let mut records = self.records.lock();
        // At once: the processor waits for the memory of several at the same time.
        let mut lookup = Lookup::default();
        let places: Vec<_> =
            outcomes.iter().map(|of| lookup.find(&records, &of.outcome.pod)).collect();
        for (Summed { outcome, decision: decided }, place) in outcomes.iter().zip(places) {
            let status = outcome.status.clone();
            let remark = outcome.remark().map(|text| text.chars().take(LONGEST_REMARK).collect());
            let last =
                LastOutcome { at, status, decided: decided.as_deref().map(Into::into), remark };
            let blank = || {
                Box::new(PodRecord {
                    last: last.clone(),
                    measured_at: Timestamp::NONE,
                    usage: PerResource::default(),
                    delta: PerResource::default(),
                    near: None,
                    trail: Downsampled::new(RETENTION / SAMPLES as i64),
                })
            };
            let record = match place {
                Some(place) => &mut records[place],
                None => records.entry(outcome.pod.clone()).or_insert_with(blank),
            };
            record.last = last;
            if let Some(decision) = decided {
                record.delta = PerResource::build(|resource| {
                    (decision.new_limit[resource] - decision.observation.limit[resource]) as f32
                });
                record.near = outcome.decided.as_ref().and_then(near_limit);
            }
            if let Some(decision) =
                decided.as_ref().filter(|decision| decision.observation.is_measured())
            {
                let usage = &decision.observation.usage;
                record.measured_at = Timestamp::at(decision.observation.at);
                record.usage = PerResource::new(usage.cpu as f32, usage.memory as f32);
                let by_request = decision.observation.by_request;
                let before = record.trail.entries().last();
                record.trail.push(Sample::new(decision).under_the_limit_of(before, by_request));
            }
        }
    }

    /// Where more is kept than there are `pods`, forgets those that have not been met for an hour,
    /// or for two of these intervals.
    pub fn retain_present(&self, now: i64, interval: i64, pods: usize) {
        let long_ago = now - FORGOTTEN.max(2 * interval);
        let mut records = self.records.lock();
        if records.len() > pods {
            records.retain(|_, record| record.last.at >= long_ago);
        }
    }

    pub fn latest(&self, pod: &PodKey) -> Option<Latest> {
        self.records.lock().get(pod).map(|record| record.latest())
    }

    /// What `of` makes of these pods, their last status and their last usage, under one lock;
    /// without those that it makes nothing of.
    pub fn look<T>(
        &self,
        pods: Vec<OwnedPod>,
        of: impl Fn(&OwnedPod, Option<&Status>, Option<PerResource<f64>>) -> Option<T>,
    ) -> Vec<(OwnedPod, T)> {
        let records = self.records.lock();
        let seen = pods.into_iter().filter_map(|owned| {
            let record = records.get(&owned.pod.key);
            let usage = record.and_then(|record| record.measured()).map(|(_, usage)| usage);
            let made = of(&owned, record.map(|record| &record.last.status), usage)?;
            Some((owned, made))
        });
        seen.collect()
    }

    /// The pod's samples, oldest first.
    pub fn trail(&self, pod: &PodKey) -> Vec<Sample> {
        self.records
            .lock()
            .get(pod)
            .map(|record| record.trail.entries().to_vec())
            .unwrap_or_default()
    }

    /// What the cycles did, oldest first, and the seconds that each entry stands for.
    pub fn timeline(&self) -> (i64, Vec<OutcomeCounts>) {
        let timeline = self.timeline.lock();
        (timeline.step(), timeline.entries().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::core::outcome::{Method, Outcome};
    use crate::core::pod::PodKey;
    use crate::core::pod::pod_key;
    use crate::core::skip_reason::SkipReason;

    fn pod(name: &str) -> PodKey {
        pod_key("default", name, name)
    }

    fn outcome(name: &str, status: Status) -> Outcome {
        Outcome { pod: pod(name), status, message: Cow::default(), decided: None }
    }

    fn record(statuses: &PodStatuses, outcomes: &[Outcome], at: i64) {
        statuses.record(&outcomes.iter().map(Summed::from).collect::<Vec<_>>(), at);
    }

    #[test]
    fn every_end_is_counted_and_remembered() {
        let statuses = PodStatuses::default();
        let skipped = Status::Skipped(SkipReason::CooldownPeriod);
        let done = Status::Success(Method::Vertical);
        record(&statuses, &[outcome("a", done), outcome("b", skipped.clone())], 100);
        record(&statuses, &[outcome("a", skipped.clone()), outcome("c", Status::Failed)], 130);
        let (_, counts) = statuses.timeline();
        let counts: Vec<_> =
            counts.iter().map(|t| (t.at, t.applied, t.skipped, t.failed)).collect();
        assert_eq!(counts, [(100, 1, 1, 0), (130, 0, 1, 1)]);
        assert_eq!(
            statuses.latest(&pod("a")).unwrap().last,
            LastOutcome { at: 130, status: skipped, decided: None, remark: None }
        );
        assert!(
            statuses.latest(&pod("a")).unwrap().measured.is_none()
                && statuses.latest(&pod("d")).is_none()
        );
    }

    #[test]
    fn a_pod_that_is_gone_is_forgotten() {
        let statuses = PodStatuses::default();
        record(&statuses, &[outcome("old", Status::NoActionNeeded)], 0);
        record(&statuses, &[outcome("new", Status::NoActionNeeded)], FORGOTTEN);
        statuses.retain_present(FORGOTTEN + 1, 30, 1);
        assert!(statuses.latest(&pod("old")).is_none() && statuses.latest(&pod("new")).is_some());
    }

    #[test]
    fn a_coarse_number_is_good_enough_to_draw() {
        for value in [0.0, 0.0123, 1.6, 2621.44, 15_999.0] {
            let coarse = f64::from(Coarse::from(value));
            assert!((coarse - value).abs() <= value * 0.004, "{value}: {coarse}");
        }
    }
}
