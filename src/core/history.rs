//! What is remembered of one pod between cycles: recent samples, recent peaks, the last resize.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::action::Action;
use crate::observation::Observation;
use crate::policy::Policy;
use crate::resource::{PerResource, Resource};

/// Buckets of a peak window: the window slides by a 24th of its length.
const BUCKETS: usize = 24;

/// The largest value of a sliding window, in constant memory.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct PeakWindow {
    buckets: [f32; BUCKETS],
    newest: i64,
}

impl PeakWindow {
    fn new() -> Self {
        Self { buckets: [0.0; BUCKETS], newest: i64::MIN }
    }

    fn observe(&mut self, at: i64, value: f64, window: i64) {
        let bucket = at.div_euclid(bucket_seconds(window));
        if bucket > self.newest {
            let first_stale = (self.newest.saturating_add(1)).max(bucket - BUCKETS as i64 + 1);
            for stale in first_stale..=bucket {
                self.buckets[slot(stale)] = 0.0;
            }
            self.newest = bucket;
        }
        if bucket > self.newest - BUCKETS as i64 {
            let value = value as f32;
            let peak = &mut self.buckets[slot(bucket)];
            *peak = peak.max(value);
        }
    }

    /// The peaks of the buckets with their age, 0 (newest) to 1 (about to be forgotten).
    fn aged(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        let age = |bucket: usize| bucket as f64 / (BUCKETS - 1) as f64;
        (0..BUCKETS).map(move |bucket| {
            (age(bucket), f64::from(self.buckets[slot(self.newest.saturating_sub(bucket as i64))]))
        })
    }

    /// The largest peak, each reduced by its age's share of `fade`.
    fn faded_peak(&self, fade: f64) -> f64 {
        self.aged().map(|(age, peak)| peak * (1.0 - fade * age)).fold(0.0, f64::max)
    }
}

fn bucket_seconds(window: i64) -> i64 {
    (window / (BUCKETS as i64 - 1)).max(1)
}

fn slot(bucket: i64) -> usize {
    bucket.rem_euclid(BUCKETS as i64) as usize
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PodHistory {
    samples: VecDeque<PerResource<f32>>,
    peaks: PerResource<PeakWindow>,
    first_at: i64,
    last_at: i64,
    observed: u32,
    /// When a change of this pod was last applied.
    pub resized_at: Option<i64>,
    /// When the cluster says that it was.
    #[serde(default, rename = "told")]
    external_resize: Option<i64>,
    /// No attempt before this moment, after a resize that failed; and how many have failed in a
    /// row.
    pub retry_at: Option<i64>,
    pub failures: u32,
}

impl Default for PodHistory {
    fn default() -> Self {
        Self {
            samples: VecDeque::new(),
            peaks: PerResource::new(PeakWindow::new(), PeakWindow::new()),
            first_at: 0,
            last_at: i64::MIN,
            observed: 0,
            resized_at: None,
            external_resize: None,
            retry_at: None,
            failures: 0,
        }
    }
}

impl PodHistory {
    /// Takes in a measurement; one that is not newer than the last says nothing new.
    pub fn observe(&mut self, observation: &Observation, policy: &Policy) {
        if let Some(killed) = observation.oom_killed_at.filter(|_| self.unanswered_oom(observation))
        {
            // Whatever was measured: it wanted more than it had. The step up that answers the kill
            // is not taken back soon.
            let wanted = observation.limit.memory * Action::Increase.factor(policy.scale_factor);
            self.peaks.memory.observe(killed, wanted, policy.guard.window.memory);
        }
        if !observation.measured || observation.at <= self.last_at {
            return;
        }
        if self.observed == 0 {
            self.first_at = observation.at;
        }
        self.last_at = observation.at;
        self.observed = self.observed.saturating_add(1);
        while self.samples.len() >= policy.history_window.max(1) {
            self.samples.pop_front();
        }
        let usage = observation.usage;
        self.samples.push_back(PerResource::new(usage.cpu as f32, usage.memory as f32));
        self.peaks.cpu.observe(
            observation.at,
            observation.needed(Resource::Cpu),
            policy.guard.window.cpu,
        );
        self.peaks.memory.observe(
            observation.at,
            observation.needed(Resource::Memory),
            policy.guard.window.memory,
        );
    }

    /// The cluster says that the pod was resized then, by whichever replica in whichever process. A
    /// time to come, of a clock that is ahead, is the moment that it is first heard of.
    pub fn observe_external_resize(&mut self, at: i64, now: i64) {
        if self.external_resize.replace(at) != Some(at) {
            self.resized_at = self.resized_at.max(Some(at.min(now)));
        }
    }

    /// What is still worth knowing at `now` of a history from another process, whose peaks were
    /// kept for `windows`.
    pub fn restored(mut self, windows: (i64, i64), policy: &Policy, now: i64) -> Self {
        let at_most_now = |time: Option<i64>| time.map(|time| time.min(now));
        (self.resized_at, self.retry_at) =
            (at_most_now(self.resized_at), self.retry_at.filter(|retry| *retry > now));
        if self.last_at > now {
            // The clock has gone back: what lies in its future would keep out what is measured now.
            return Self { resized_at: self.resized_at, ..Self::default() };
        }
        for (resource, kept_for) in [(Resource::Cpu, windows.0), (Resource::Memory, windows.1)] {
            let window = policy.guard.window[resource];
            if kept_for != window && self.observed > 0 {
                // When the peak was is told in parts of another window: it counts as if it were
                // now.
                let (mut peaks, peak) = (PeakWindow::new(), self.peak(resource));
                peaks.observe(self.last_at, peak, window);
                match resource {
                    Resource::Cpu => self.peaks.cpu = peaks,
                    Resource::Memory => self.peaks.memory = peaks,
                }
            }
        }
        self
    }

    /// Measurements taken in so far.
    pub fn observed(&self) -> u32 {
        self.observed
    }

    pub fn last_at(&self) -> Option<i64> {
        (self.observed > 0).then_some(self.last_at)
    }

    /// The largest usage of the guard's window.
    pub fn peak(&self, resource: Resource) -> f64 {
        self.faded_peak(resource, 0.0)
    }

    /// The same, but an old peak counts less: one that is about to be forgotten is `1 - fade` of
    /// what it was.
    pub fn faded_peak(&self, resource: Resource, fade: f64) -> f64 {
        self.peaks[resource].faded_peak(fade)
    }

    /// The largest usage of the newest `share` of the guard's window.
    pub fn recent_peak(&self, resource: Resource, share: f64) -> f64 {
        let recent = self.peaks[resource].aged().filter(|(age, _)| *age <= share);
        recent.map(|(_, peak)| peak).fold(0.0, f64::max)
    }

    /// Seconds from the first measurement to the last.
    pub fn observed_for(&self) -> i64 {
        if self.observed == 0 { 0 } else { self.last_at - self.first_at }
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

    /// An OOM kill that no resize has answered yet.
    pub fn unanswered_oom(&self, observation: &Observation) -> bool {
        observation
            .oom_killed_at
            .is_some_and(|killed| self.resized_at.is_none_or(|resized| killed > resized))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observation(at: i64, cpu: f64) -> Observation {
        Observation {
            at,
            usage: PerResource::new(cpu, 100.0),
            limit: PerResource::new(1.0, 200.0),
            containers: 1,
            measured: true,
            oom_killed_at: None,
            container_utilization: PerResource::default(),
        }
    }

    fn history(usages: &[f64]) -> PodHistory {
        let mut history = PodHistory::default();
        for (step, cpu) in usages.iter().enumerate() {
            history.observe(&observation(step as i64 * 30, *cpu), &Policy::default());
        }
        history
    }

    #[test]
    fn trend_is_the_rise_over_the_window() {
        assert_eq!(history(&[0.5]).trend(Resource::Cpu, 1.0), 0.0);
        assert!((history(&[0.1, 0.2, 0.3, 0.4, 0.5]).trend(Resource::Cpu, 1.0) - 0.4).abs() < 1e-6);
        assert!(
            (history(&[9.0, 9.0, 0.5, 0.4, 0.3, 0.2, 0.1]).trend(Resource::Cpu, 1.0) + 0.4).abs()
                < 1e-6
        );
        assert_eq!(history(&[0.0, 1.0]).trend(Resource::Cpu, 1.0), 1.0);
        assert_eq!(history(&[0.1, 0.2]).trend(Resource::Memory, 200.0), 0.0);
    }

    #[test]
    fn peak_forgets_what_is_older_than_the_window() {
        let policy = Policy::default();
        let mut history = PodHistory::default();
        history.observe(&observation(0, 0.9), &policy);
        let window = policy.guard.window.cpu / 60;
        for minute in 1..window - 1 {
            history.observe(&observation(minute * 60, 0.2), &policy);
            assert!((history.peak(Resource::Cpu) - 0.9).abs() < 1e-6, "minute {minute}");
        }
        for minute in window - 1..window + window / 20 {
            history.observe(&observation(minute * 60, 0.2), &policy);
        }
        assert!((history.peak(Resource::Cpu) - 0.2).abs() < 1e-6);
    }

    #[test]
    fn a_gap_longer_than_the_window_empties_it() {
        let policy = Policy::default();
        let mut history = history(&[0.9]);
        history.observe(&observation(1_000_000, 0.1), &policy);
        assert!((history.peak(Resource::Cpu) - 0.1).abs() < 1e-6);
    }

    #[test]
    fn a_restored_history_keeps_its_peaks_and_its_cooldown() {
        let policy = Policy::default();
        let windows = (policy.guard.window.cpu, policy.guard.window.memory);
        let mut history = history(&[0.9, 0.2]);
        history.resized_at = Some(20);
        let restored = history.clone().restored(windows, &policy, 40);
        assert_eq!(
            (restored.peak(Resource::Cpu), restored.resized_at),
            (history.peak(Resource::Cpu), Some(20))
        );
        // Of other windows: no peak is lost, nor is it older than it was.
        let restored = history.clone().restored((3600, 3600), &policy, 40);
        assert_eq!(restored.faded_peak(Resource::Cpu, 1.0), history.peak(Resource::Cpu));
        // Of a clock that was ahead: what is measured now counts.
        let mut restored = history.restored(windows, &policy, 10);
        assert_eq!((restored.observed(), restored.resized_at), (0, Some(10)));
        restored.observe(&observation(11, 0.1), &policy);
        assert!((restored.peak(Resource::Cpu) - 0.1).abs() < 1e-6);
    }

    #[test]
    fn what_the_cluster_tells_of_resizes_counts_once_and_never_from_the_future() {
        let mut history = PodHistory::default();
        history.observe_external_resize(100, 500);
        assert_eq!(history.resized_at, Some(100));
        history.observe_external_resize(900, 510);
        history.observe_external_resize(900, 700);
        assert_eq!(history.resized_at, Some(510));
        let killed = |at| Observation { oom_killed_at: Some(at), ..observation(600, 0.1) };
        assert!(!history.unanswered_oom(&killed(509)) && history.unanswered_oom(&killed(511)));
        history.resized_at = Some(1000);
        history.observe_external_resize(990, 1010);
        assert_eq!(history.resized_at, Some(1000));
    }

    #[test]
    fn more_than_a_container_was_killed_at_counts_as_a_peak() {
        let mut history = history(&[0.1]);
        let killed = Observation { oom_killed_at: Some(45), ..observation(60, 0.1) };
        history.observe(&killed, &Policy::default());
        assert!((history.peak(Resource::Memory) - 240.0).abs() < 1e-3);
        // Once it is answered it is the past.
        history.resized_at = Some(61);
        let raised = Observation { at: 90, limit: PerResource::new(1.0, 400.0), ..killed };
        history.observe(&raised, &Policy::default());
        assert!((history.peak(Resource::Memory) - 240.0).abs() < 1e-3);
    }

    #[test]
    fn an_old_or_repeated_measurement_changes_nothing() {
        let mut history = history(&[0.1, 0.2]);
        history.observe(&observation(30, 0.9), &Policy::default());
        history.observe(&observation(0, 0.9), &Policy::default());
        assert_eq!(history.observed(), 2);
        assert!((history.peak(Resource::Cpu) - 0.2).abs() < 1e-6);
    }
}
