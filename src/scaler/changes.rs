//! The changes of the last days, apart from the decisions, which are many more: those of pods that
//! stay as they are push none of them out.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use crate::core::change_record::{ChangeRecord, Course};
use crate::core::outcome::Applied;
use crate::core::pod::Pod;
use crate::core::pod_decision::PodDecision;

/// Seconds after which nobody waits any more for the end of a resize.
const LONGEST_WAIT: f64 = 24.0 * 3600.0;

#[derive(Debug, Default)]
pub struct Changes {
    entries: VecDeque<Arc<ChangeRecord>>,
    /// The number of the oldest.
    first: u64,
    /// Numbers of those that have changed since somebody last asked.
    dirty: BTreeSet<u64>,
    /// Those that the kubelet has not done yet, by the pod's uid.
    pending: HashMap<String, u64>,
}

/// How many are kept, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Kept {
    pub most: usize,
    pub days: u32,
}

impl Changes {
    pub fn record(&mut self, record: ChangeRecord, kept: Kept) {
        let oldest = record.at - TimeDelta::days(kept.days.into());
        let number = self.first + self.entries.len() as u64;
        if record.course == Course::Pending {
            self.pending.insert(record.pod.uid.clone(), number);
        }
        self.dirty.insert(number);
        self.entries.push_back(Arc::new(record));
        self.forget(oldest, kept.most);
    }

    fn forget(&mut self, oldest: DateTime<Utc>, most: usize) {
        while self.entries.len() > most
            || self.entries.front().is_some_and(|entry| entry.at < oldest)
        {
            self.entries.pop_front();
            self.first += 1;
        }
        let first = self.first;
        self.dirty.retain(|number| *number >= first);
        self.pending.retain(|_, number| *number >= first);
    }

    fn entry_mut(&mut self, number: u64) -> Option<&mut ChangeRecord> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let entry = self.entries.get_mut(index)?;
        self.dirty.insert(number);
        Some(Arc::make_mut(entry))
    }

    /// Whether a resize is waited for at all.
    pub fn waits(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Whether a resize of this pod that was waited for is done by now.
    pub fn settle(&mut self, pod: &Pod, now: DateTime<Utc>) -> bool {
        let Some(number) = self.pending.get(pod.key.uid.as_str()).copied() else { return false };
        let index = usize::try_from(number.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let Some(entry) = self.entries.get(index) else { return false };
        let seconds = (now - entry.at).as_seconds_f64();
        let is_done = entry.is_in_force(pod);
        if is_done || seconds > LONGEST_WAIT {
            self.pending.remove(pod.key.uid.as_str());
        }
        if is_done && let Some(entry) = self.entry_mut(number) {
            entry.course = Course::Done(seconds);
        }
        is_done
    }

    /// What has become of a resize that was waited for; false where none was.
    pub fn end(&mut self, uid: &str, applied: Result<&Applied, String>, seconds: f64) -> bool {
        let Some(entry) = self.pending.remove(uid).and_then(|number| self.entry_mut(number)) else {
            return false;
        };
        entry.take_in(applied, seconds);
        true
    }

    /// The newest cut that this decision gives back has been undone.
    pub fn undo(&mut self, uid: &str, later: &PodDecision, now: DateTime<Utc>) {
        let newest = self.entries.iter().rposition(|entry| {
            entry.pod.uid == uid && entry.undone_at.is_none() && entry.is_undone_by(later)
        });
        let Some(index) = newest else { return };
        if let Some(entry) = self.entry_mut(self.first + index as u64) {
            entry.undone_at = Some(now);
        }
    }

    /// Those that are wanted, newest first: how many, and a page of them.
    pub fn page(
        &self,
        wanted: impl Fn(&ChangeRecord) -> bool,
        offset: usize,
        count: usize,
    ) -> (usize, Vec<Arc<ChangeRecord>>) {
        let mut found = 0;
        let mut page = Vec::new();
        for entry in self.entries.iter().rev().filter(|entry| wanted(entry)) {
            if (offset..offset.saturating_add(count)).contains(&found) {
                page.push(entry.clone());
            }
            found += 1;
        }
        (found, page)
    }

    /// The newest of each workload that is asked for.
    pub fn newest(&self, wanted: impl Fn(&ChangeRecord) -> bool) -> Option<Arc<ChangeRecord>> {
        self.entries.iter().rev().find(|entry| wanted(entry)).cloned()
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<ChangeRecord>> {
        self.entries.iter()
    }

    /// Some of those that have changed since this was last asked, with their numbers, and the
    /// number of the oldest that is kept.
    pub fn take_dirty(&mut self, most: usize) -> (u64, Vec<(u64, ChangeRecord)>) {
        let mut changed = Vec::new();
        while changed.len() < most {
            let Some(number) = self.dirty.pop_first() else { break };
            let index = usize::try_from(number.saturating_sub(self.first)).unwrap_or(usize::MAX);
            let entry = self.entries.get(index);
            changed.extend(entry.map(|entry| (number, ChangeRecord::clone(entry))));
        }
        (self.first, changed)
    }

    /// All are to be written anew.
    pub fn mark_all(&mut self) {
        self.dirty = (self.first..self.first + self.entries.len() as u64).collect();
    }

    /// Puts what an earlier life has changed before what is here. What it has waited for is waited
    /// for no more: how that went is not known.
    pub fn restore(&mut self, earlier: Vec<(u64, ChangeRecord)>) {
        let Some((last, _)) = earlier.last() else { return };
        let next = last + 1;
        let count = earlier.len() as u64;
        let here = std::mem::take(&mut self.entries);
        let shift = next - self.first;
        self.first = next - count;
        self.entries = earlier.into_iter().map(|(_, entry)| Arc::new(entry)).collect();
        self.entries.extend(here);
        self.pending.values_mut().for_each(|number| *number += shift);
        self.dirty = (next..self.first + self.entries.len() as u64).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::change_record::Origin;
    use crate::core::context::OwnedPod;
    use crate::core::outcome::Method;
    use crate::core::plan::{Change, Plan};
    use crate::core::pod::{ContainerResources, PodContainer, pod_key};

    const KEPT: Kept = Kept { most: 3, days: 7 };

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn owned(name: &str, cpu: &str) -> OwnedPod {
        let key = pod_key("shop", name, name);
        let resources = ContainerResources::new(&[], &[("cpu", cpu), ("memory", "1Gi")]);
        OwnedPod::bare(Pod::new(key, vec![PodContainer::new("app", resources)]))
    }

    fn record(name: &str, seconds: i64) -> ChangeRecord {
        let limits = [("cpu".to_owned(), "600m".to_owned())].into();
        let plan = Plan::from([("app".to_owned(), Change { limits, ..Change::default() })]);
        ChangeRecord::new(&owned(name, "500m"), &plan, None, Origin::default(), at(seconds))
    }

    fn names(changes: &Changes) -> Vec<String> {
        changes.page(|_| true, 0, 10).1.iter().map(|entry| entry.pod.name.clone()).collect()
    }

    #[test]
    fn they_are_kept_by_number_and_by_days_and_told_newest_first() {
        let mut changes = Changes::default();
        for (index, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
            changes.record(record(name, index as i64), KEPT);
        }
        assert_eq!(names(&changes), ["d", "c", "b"]);
        let (found, page) = changes.page(|entry| entry.pod.name != "c", 1, 1);
        assert_eq!((found, page[0].pod.name.as_str()), (2, "b"));
        changes.record(record("e", 8 * 24 * 3600), KEPT);
        assert_eq!(names(&changes), ["e"], "the others are older than a week");
        let (oldest, dirty) = changes.take_dirty(10);
        assert_eq!((oldest, dirty.len()), (4, 1));
        assert!(changes.take_dirty(10).1.is_empty());
    }

    #[test]
    fn what_is_waited_for_ends_as_done_or_as_something_else() {
        let mut changes = Changes::default();
        changes.record(record("a", 100), KEPT);
        changes.record(record("b", 100), KEPT);
        changes.take_dirty(10);
        changes.settle(&owned("a", "500m").pod, at(120));
        assert!(changes.take_dirty(10).1.is_empty(), "not yet");
        changes.settle(&owned("a", "600m").pod, at(140));
        let (_, dirty) = changes.take_dirty(10);
        assert_eq!((dirty[0].0, dirty[0].1.course), (0, Course::Done(40.0)));
        let method = Method::DeploymentUpdate;
        let fell_back = Applied { method, pending: None, refusal: Some("no room".into()) };
        assert!(changes.end("b", Ok(&fell_back), 0.0) && !changes.end("b", Ok(&fell_back), 0.0));
        assert_eq!(changes.take_dirty(10).1[0].1.course, Course::FellBack);
        assert!(!changes.waits());
    }

    #[test]
    fn what_an_earlier_process_has_changed_comes_first() {
        let mut earlier = Changes::default();
        (0..5).for_each(|index| earlier.record(record(&format!("old-{index}"), index), KEPT));
        let (_, stored) = earlier.take_dirty(10);
        let mut changes = Changes::default();
        changes.record(record("new", 100), KEPT);
        changes.restore(stored);
        assert_eq!(names(&changes), ["new", "old-4", "old-3", "old-2"]);
        let (oldest, dirty) = changes.take_dirty(10);
        assert_eq!((oldest, dirty.len(), dirty[0].0), (2, 1, 5));
        changes.settle(&owned("new", "600m").pod, at(130));
        assert_eq!(changes.take_dirty(10).1[0].1.course, Course::Done(30.0));
    }
}
