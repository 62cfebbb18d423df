//! What people look at: what became of every pod last and how its usage went, and what the cycles
//! did over time.

use std::collections::HashMap;

use parking_lot::Mutex;

use super::action::{Action, PerResource};
use super::decision::{Bound, Decision};
use super::guard::Override;
use super::outcome::{Outcome, Status};
use super::thinned::{Mark, Thinned};

/// Seconds that the records reach back.
const REACH: i64 = 24 * 3600;
const SAMPLES: usize = 32;
const CYCLES: usize = 120;
/// Seconds after which a pod that no cycle has met is forgotten.
const FORGOTTEN: i64 = 3600;

/// One measurement with the limits then in force, at the precision of a small chart.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    at: u32,
    usage: PerResource<Coarse>,
    limit: PerResource<Coarse>,
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
            usage: PerResource::build(|resource| (*seen.usage.get(resource)).into()),
            limit: PerResource::build(|resource| (*seen.limit.get(resource)).into()),
        }
    }

    pub fn taken_at(&self) -> i64 {
        self.at.into()
    }

    pub fn usage(&self) -> PerResource<f64> {
        PerResource::build(|resource| (*self.usage.get(resource)).into())
    }

    pub fn limit(&self) -> PerResource<f64> {
        PerResource::build(|resource| (*self.limit.get(resource)).into())
    }
}

impl Mark for Sample {
    fn at(&self) -> i64 {
        self.at.into()
    }

    /// A peak must not vanish from the picture.
    fn merge(&mut self, later: Self) {
        let larger = |a: Coarse, b: Coarse| if a > b { a } else { b };
        self.usage = PerResource::build(|resource| {
            larger(*self.usage.get(resource), *later.usage.get(resource))
        });
        (self.at, self.limit) = (self.at.max(later.at), later.limit);
    }
}

/// What became of a pod the last time that it was looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    pub at: i64,
    pub status: Status,
    /// None where nothing could be decided.
    pub decided: Option<Decided>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decided {
    /// What the network wanted, what was left of it, and what the guard had against it.
    pub predicted: PerResource<Action>,
    pub actions: PerResource<Action>,
    pub overridden: PerResource<Option<Override>>,
    pub beyond: PerResource<Option<Bound>>,
}

impl Decided {
    fn new(decision: &Decision) -> Self {
        Self {
            predicted: decision.predicted,
            actions: decision.actions,
            overridden: PerResource::build(|resource| decision.overridden(resource)),
            beyond: decision.beyond,
        }
    }
}

#[derive(Debug, Clone)]
struct Card {
    verdict: Verdict,
    /// Of the last measurement.
    measured_at: i64,
    usage: PerResource<f32>,
    trail: Thinned<Sample, SAMPLES>,
}

/// The last measurement and the last verdict of a pod.
#[derive(Debug, Clone)]
pub struct Latest {
    pub verdict: Verdict,
    pub measured: Option<(i64, PerResource<f64>)>,
}

/// How many pods met which end in the cycles of one step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub at: i64,
    pub applied: u64,
    pub dry_run: u64,
    pub unchanged: u64,
    pub skipped: u64,
    pub failed: u64,
}

impl Tally {
    fn new(outcomes: &[Outcome], at: i64) -> Self {
        let mut tally = Self { at, ..Self::default() };
        for outcome in outcomes {
            *match outcome.status {
                Status::Success(_) => &mut tally.applied,
                Status::DryRun => &mut tally.dry_run,
                Status::NoActionNeeded => &mut tally.unchanged,
                Status::Skipped(_) => &mut tally.skipped,
                Status::Failed => &mut tally.failed,
            } += 1;
        }
        tally
    }
}

impl Mark for Tally {
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

pub struct Board {
    /// By the pod's uid.
    cards: Mutex<HashMap<Box<str>, Card>>,
    timeline: Mutex<Thinned<Tally, CYCLES>>,
}

impl Default for Board {
    fn default() -> Self {
        let timeline = Thinned::new(REACH / CYCLES as i64);
        Self { cards: Mutex::default(), timeline: Mutex::new(timeline) }
    }
}

impl Board {
    /// Takes in what became of some pods at one moment.
    pub fn note(&self, outcomes: &[Outcome], at: i64) {
        self.timeline.lock().push(Tally::new(outcomes, at));
        let mut cards = self.cards.lock();
        for outcome in outcomes {
            let decided = outcome.decided.as_ref();
            let verdict =
                Verdict { at, status: outcome.status.clone(), decided: decided.map(Decided::new) };
            let blank = || Card {
                verdict: verdict.clone(),
                measured_at: i64::MIN,
                usage: PerResource::default(),
                trail: Thinned::new(REACH / SAMPLES as i64),
            };
            let uid = outcome.pod.uid.as_str();
            if !cards.contains_key(uid) {
                cards.insert(uid.into(), blank());
            }
            let Some(card) = cards.get_mut(uid) else { continue };
            card.verdict = verdict;
            if let Some(decision) = decided.filter(|decision| decision.observation.measured) {
                let usage = &decision.observation.usage;
                card.measured_at = decision.observation.at;
                card.usage = PerResource::new(usage.cpu as f32, usage.memory as f32);
                card.trail.push(Sample::new(decision));
            }
        }
    }

    /// Forgets the pods that have not been met for an hour, or for two of these intervals.
    pub fn forget_gone(&self, now: i64, interval: i64) {
        let long_ago = now - FORGOTTEN.max(2 * interval);
        self.cards.lock().retain(|_, card| card.verdict.at >= long_ago);
    }

    pub fn latest(&self, uid: &str) -> Option<Latest> {
        self.cards.lock().get(uid).map(|card| {
            let usage = PerResource::build(|resource| f64::from(*card.usage.get(resource)));
            let measured = (card.measured_at > i64::MIN).then_some((card.measured_at, usage));
            Latest { verdict: card.verdict.clone(), measured }
        })
    }

    /// The pod's samples, oldest first.
    pub fn trail(&self, uid: &str) -> Vec<Sample> {
        self.cards.lock().get(uid).map(|card| card.trail.entries().to_vec()).unwrap_or_default()
    }

    /// What the cycles did, oldest first, and the seconds that each entry stands for.
    pub fn timeline(&self) -> (i64, Vec<Tally>) {
        let timeline = self.timeline.lock();
        (timeline.step(), timeline.entries().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::pod::PodKey;
    use crate::scaler::outcome::{Method, SkipReason};

    fn outcome(uid: &str, status: Status) -> Outcome {
        let pod = PodKey { namespace: "default".into(), name: uid.into(), uid: uid.into() };
        Outcome { pod, status, message: String::new(), decided: None }
    }

    #[test]
    fn every_end_is_counted_and_remembered() {
        let board = Board::default();
        let skipped = Status::Skipped(SkipReason::CooldownPeriod);
        board.note(
            &[outcome("a", Status::Success(Method::Vertical)), outcome("b", skipped.clone())],
            100,
        );
        board.note(&[outcome("a", skipped.clone()), outcome("c", Status::Failed)], 130);
        let (_, tallies) = board.timeline();
        let counts: Vec<_> =
            tallies.iter().map(|t| (t.at, t.applied, t.skipped, t.failed)).collect();
        assert_eq!(counts, [(100, 1, 1, 0), (130, 0, 1, 1)]);
        assert_eq!(
            board.latest("a").unwrap().verdict,
            Verdict { at: 130, status: skipped, decided: None }
        );
        assert!(board.latest("a").unwrap().measured.is_none() && board.latest("d").is_none());
    }

    #[test]
    fn a_pod_that_is_gone_is_forgotten() {
        let board = Board::default();
        board.note(&[outcome("old", Status::NoActionNeeded)], 0);
        board.note(&[outcome("new", Status::NoActionNeeded)], FORGOTTEN);
        board.forget_gone(FORGOTTEN + 1, 30);
        assert!(board.latest("old").is_none() && board.latest("new").is_some());
    }

    #[test]
    fn a_coarse_number_is_good_enough_to_draw() {
        for value in [0.0, 0.0123, 1.6, 2621.44, 15_999.0] {
            let coarse = f64::from(Coarse::from(value));
            assert!((coarse - value).abs() <= value * 0.004, "{value}: {coarse}");
        }
    }
}
