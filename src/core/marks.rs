//! What changes and kills have left with a container: nearly always nothing, which takes no room.

use std::ops::Deref;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::pod::OomKill;
use crate::resource::{PerResource, Resource};
use crate::timestamp::Timestamp;

/// A resize of one resource that was refused or failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    /// No attempt before this moment.
    pub retry_at: Timestamp,
    /// How many have failed in a row.
    failures: u32,
}

impl Backoff {
    /// For `pause` seconds, and twice as long after each further failure, up to `longest`.
    pub fn fail(&mut self, now: i64, pause: i64, longest: i64) {
        self.retry_at = Timestamp::at(now + (pause << self.failures.min(10)).min(longest));
        self.failures = self.failures.saturating_add(1);
    }

    pub fn holds(&self, now: i64) -> bool {
        self.retry_at > Timestamp::at(now)
    }

    fn holds_no_longer_than(&mut self, latest: i64) {
        self.retry_at = self.retry_at.no_later_than(latest);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct KnownNeed {
    /// Cores, MiB.
    pub limit: f64,
    pub until: i64,
}

/// A cut that may turn out to have been too much.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Cut {
    pub at: i64,
    /// The limit before it: cores, MiB.
    pub from: f64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Marks {
    pub backoff: PerResource<Backoff>,
    /// The last cut, while it is watched whether it hurts.
    pub cut: PerResource<Option<Cut>>,
    /// No cut before this moment, after some that hurt.
    pub cuts_rest: PerResource<Backoff>,
    /// The limit that its workload is known to need, until the container has it.
    pub known_need: PerResource<Option<KnownNeed>>,
    /// The limit that the containers of its workload need to start: cores, MiB.
    pub start_need: PerResource<f64>,
    /// The kill that was there when the container was first seen.
    pub first_kill: Option<OomKill>,
    /// The last kill that a resize has answered.
    pub answered_kill: Option<OomKill>,
    /// When memory was last raised.
    pub memory_raised_at: Timestamp,
}

static NONE: LazyLock<Marks> = LazyLock::new(Marks::default);

/// There are very many containers: what most of them lack is kept apart.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Marks", into = "Marks")]
pub struct SomeMarks(Option<Box<Marks>>);

impl SomeMarks {
    pub fn change(&mut self, change: impl FnOnce(&mut Marks)) {
        let mut marks = Marks::clone(self);
        change(&mut marks);
        *self = marks.into();
    }

    /// What lies too far in the future, of a clock that was ahead, is as late as it can be.
    pub fn keep_time(&mut self, now: i64, longest: i64, longest_rest: i64) {
        let Some(marks) = &mut self.0 else { return };
        for resource in Resource::ALL {
            marks.backoff[resource].holds_no_longer_than(now + longest);
            marks.cuts_rest[resource].holds_no_longer_than(now + longest_rest);
            if let Some(cut) = &mut marks.cut[resource] {
                cut.at = cut.at.min(now);
            }
        }
    }
}

impl Deref for SomeMarks {
    type Target = Marks;

    fn deref(&self) -> &Marks {
        self.0.as_deref().unwrap_or(&NONE)
    }
}

impl From<Marks> for SomeMarks {
    fn from(marks: Marks) -> Self {
        Self((marks != *NONE).then(|| marks.into()))
    }
}

impl From<SomeMarks> for Marks {
    fn from(marks: SomeMarks) -> Self {
        Self::clone(&marks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_as_by_default_takes_no_room() {
        let mut marks = SomeMarks::default();
        marks.change(|marks| marks.backoff.cpu.fail(0, 30, 3600));
        assert!(marks.backoff.cpu.holds(29) && marks.0.is_some());
        marks.change(|marks| marks.backoff.cpu = Backoff::default());
        assert_eq!(marks, SomeMarks(None));
        assert!(!marks.backoff.cpu.holds(0));
    }

    #[test]
    fn a_clock_that_was_ahead_holds_nothing_for_long() {
        let mut marks = SomeMarks::default();
        marks.change(|marks| {
            marks.cut.cpu = Some(Cut { at: 900, from: 1.0 });
            marks.backoff.cpu.fail(100_000, 30, 3600);
            marks.cuts_rest.memory.fail(100_000, 30, 3600);
        });
        marks.keep_time(100, 60, 600);
        assert_eq!(marks.cut.cpu.map(|cut| cut.at), Some(100));
        assert_eq!(marks.backoff.cpu.retry_at.get(), Some(160));
        assert_eq!(marks.cuts_rest.memory.retry_at.get(), Some(700));
    }
}
