//! What was decided and done: the newest decisions, and counts over all of them.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::core::decision::Decision;
use crate::core::outcome::{Outcome, Status, Summed};
use crate::core::pod::PodKey;
use crate::core::pod_decision::PodDecision;
use crate::core::resource::PerResource;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Entry {
    pub pod: PodKey,
    pub at: DateTime<Utc>,
    pub containers: PodDecision,
    pub status: Status,
    pub message: Cow<'static, str>,
}

impl Entry {
    pub fn can_scale(&self) -> bool {
        !matches!(self.status, Status::Skipped(_))
    }

    pub fn applied(&self) -> bool {
        matches!(self.status, Status::Success(_))
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Totals {
    pub decisions: u64,
    pub applied: u64,
    /// By the index of the action.
    pub actions: PerResource<[u64; 3]>,
    usage: PerResource<f64>,
    confidence: PerResource<f64>,
}

impl Totals {
    /// Applied changes in a hundred decisions.
    pub fn scaling_rate(&self) -> f64 {
        if self.decisions == 0 { 0.0 } else { self.applied as f64 * 100.0 / self.decisions as f64 }
    }

    pub fn average_usage(&self) -> PerResource<f64> {
        self.average(&self.usage)
    }

    pub fn average_confidence(&self) -> PerResource<f64> {
        self.average(&self.confidence)
    }

    fn count(&mut self, outcome: &Outcome, decision: &Decision) {
        self.decisions += 1;
        self.applied += u64::from(matches!(outcome.status, Status::Success(_)));
        self.actions.cpu[decision.actions.cpu.index()] += 1;
        self.actions.memory[decision.actions.memory.index()] += 1;
        self.usage.cpu += decision.observation.usage.cpu;
        self.usage.memory += decision.observation.usage.memory;
        self.confidence.cpu += decision.confidence.cpu;
        self.confidence.memory += decision.confidence.memory;
    }

    fn add(&mut self, other: &Self) {
        self.decisions += other.decisions;
        self.applied += other.applied;
        for (mine, theirs) in [
            (&mut self.actions.cpu, other.actions.cpu),
            (&mut self.actions.memory, other.actions.memory),
        ] {
            mine.iter_mut().zip(theirs).for_each(|(mine, theirs)| *mine += theirs);
        }
        for (mine, theirs) in
            [(&mut self.usage, other.usage), (&mut self.confidence, other.confidence)]
        {
            (mine.cpu, mine.memory) = (mine.cpu + theirs.cpu, mine.memory + theirs.memory);
        }
    }

    fn average(&self, sum: &PerResource<f64>) -> PerResource<f64> {
        let count = self.decisions.max(1) as f64;
        PerResource::build(|resource| sum[resource] / count)
    }
}

#[derive(Debug, Default)]
pub struct Journal {
    /// Shared with the answers that tell of them.
    entries: VecDeque<Arc<Entry>>,
    totals: Totals,
}

impl Journal {
    /// Takes in what was decided at one moment. Only what is kept is copied: a cycle may decide on
    /// far more pods than that.
    pub fn record(&mut self, outcomes: &[Summed], at: DateTime<Utc>, keep: usize) {
        let decided =
            || outcomes.iter().filter_map(|of| Some((of.outcome, of.outcome.decided.as_ref()?)));
        for Summed { outcome, decision } in outcomes {
            decision.iter().for_each(|decision| self.totals.count(outcome, decision));
        }
        let newest: Vec<_> = decided().rev().take(keep).collect();
        for (Outcome { pod, status, message, .. }, containers) in newest.into_iter().rev() {
            let (pod, status, message) = (pod.clone(), status.clone(), message.clone());
            self.put(Entry { pod, at, containers: containers.clone(), status, message }, keep);
        }
    }

    fn put(&mut self, entry: Entry, keep: usize) {
        while self.entries.len() >= keep {
            self.entries.pop_front();
        }
        self.entries.push_back(Arc::new(entry));
    }

    /// At most `most` of those that are kept with a number of `first` or more, and the number of
    /// the first of them.
    pub fn since(&self, first: u64, most: usize) -> (u64, Vec<Entry>) {
        let oldest = self.totals.decisions - self.entries.len() as u64;
        let first = first.clamp(oldest, self.totals.decisions);
        let skipped = (first - oldest) as usize;
        let entries = self.entries.iter().skip(skipped).take(most);
        (first, entries.map(|entry| Entry::clone(entry)).collect())
    }

    /// Puts what an earlier life has decided before what is here.
    pub fn restore(&mut self, mut earlier: Vec<Entry>, totals: Totals) {
        // A file may hold anything.
        earlier.retain(|entry| entry.containers.decided().next().is_some());
        earlier.into_iter().rev().for_each(|entry| self.entries.push_front(Arc::new(entry)));
        self.totals.add(&totals);
        // However much of it was lost, what is kept has been counted.
        self.totals.decisions = self.totals.decisions.max(self.entries.len() as u64);
    }

    /// The newest `limit` of those that are `wanted`, oldest first.
    pub fn newest(&self, limit: usize, wanted: impl Fn(&Entry) -> bool) -> Vec<Arc<Entry>> {
        let mut found: Vec<_> =
            self.entries.iter().rev().filter(|entry| wanted(entry)).take(limit).cloned().collect();
        found.reverse();
        found
    }

    pub fn totals(&self) -> Totals {
        self.totals.clone()
    }
}
