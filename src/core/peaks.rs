//! The peaks of usage of a sliding window, in constant memory.

use serde::{Deserialize, Serialize};

/// Buckets of a peak window: the window slides by a 24th of its length.
pub const BUCKETS: usize = 24;

/// The largest value of a sliding window, in constant memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeakWindow {
    /// Below 0: what a killed container would have needed.
    buckets: [f32; BUCKETS],
    newest: i64,
}

/// Between so many seconds ago: a peak is known by its bucket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Age {
    pub least: u32,
    pub most: u32,
}

/// The peak that counts for the most.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct DecidingPeak {
    pub amount: f64,
    /// What fading has left of it.
    pub faded: f64,
    pub age: Age,
    /// It is what a killed container would have needed, and was not measured.
    pub by_kill: bool,
}

impl PeakWindow {
    pub fn new() -> Self {
        Self { buckets: [0.0; BUCKETS], newest: i64::MIN }
    }

    pub fn observe(&mut self, at: i64, value: f64, window: i64) {
        self.take(at, value as f32, window);
    }

    /// What a container would have needed that was killed.
    pub fn observe_kill(&mut self, at: i64, needed: f64, window: i64) {
        self.take(at, -needed as f32, window);
    }

    fn take(&mut self, at: i64, value: f32, window: i64) {
        let bucket = at.div_euclid(bucket_seconds(window));
        if bucket > self.newest {
            let first_stale = (self.newest.saturating_add(1)).max(bucket - BUCKETS as i64 + 1);
            for stale in first_stale..=bucket {
                self.buckets[slot(stale)] = 0.0;
            }
            self.newest = bucket;
        }
        if bucket > self.newest - BUCKETS as i64 {
            let peak = &mut self.buckets[slot(bucket)];
            if value.abs() > peak.abs() {
                *peak = value;
            }
        }
    }

    /// Moves all that was into the past by so many seconds, in whole buckets at least.
    pub fn shift(&mut self, behind: i64, window: i64) {
        if self.newest == i64::MIN {
            return;
        }
        let buckets = behind / bucket_seconds(window) + 1;
        let old = self.clone();
        self.newest = old.newest.saturating_sub(buckets);
        for back in 0..BUCKETS as i64 {
            self.buckets[slot(self.newest - back)] = old.buckets[slot(old.newest - back)];
        }
    }

    fn newest_first(&self) -> impl Iterator<Item = f64> + '_ {
        let (newer, older) = self.buckets.split_at(slot(self.newest) + 1);
        newer.iter().rev().chain(older.iter().rev()).map(|peak| f64::from(peak.abs()))
    }

    /// The peaks of the buckets with their age, 0 (newest) to 1 (about to be forgotten).
    pub fn aged(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        self.newest_first().enumerate().map(|(bucket, peak)| (age(bucket), peak))
    }

    /// The largest peak, each reduced by its age's share of `fade`.
    pub fn faded_peak(&self, fade: f64) -> f64 {
        self.largest(fade).1
    }

    /// The largest peak. As whole numbers the bits of amounts are in the same order, and compared
    /// several at a time.
    pub fn peak(&self) -> f64 {
        let bits = self.buckets.iter().map(|peak| peak.abs().to_bits() as i32);
        f32::from_bits(bits.fold(0, i32::max) as u32).into()
    }

    /// How many buckets ago the peak was that is the largest after fading, and what is left of it.
    fn largest(&self, fade: f64) -> (usize, f64) {
        let most = self.peak();
        let mut largest = (0, 0.0);
        for (back, peak) in self.newest_first().enumerate() {
            let left = 1.0 - fade * age(back);
            // Nothing that is older has more left.
            if most * left <= largest.1 {
                break;
            }
            if peak * left > largest.1 {
                largest = (back, peak * left);
            }
        }
        largest
    }

    /// The largest peak of those that are at most so old.
    pub fn peak_since(&self, oldest: f64) -> f64 {
        let recent = self.aged().take_while(|(age, _)| *age <= oldest);
        recent.map(|(_, peak)| peak).fold(0.0, f64::max)
    }

    /// The peak that is the largest after that, as it was.
    pub fn deciding_peak(&self, fade: f64, window: i64, now: i64) -> DecidingPeak {
        let (back, faded) = self.largest(fade);
        if faded <= 0.0 {
            return DecidingPeak::default();
        }
        let (bucket, seconds) = (self.newest - back as i64, bucket_seconds(window));
        let ago = |at: i64| u32::try_from(now.saturating_sub(at)).unwrap_or_default();
        let begin = bucket.saturating_mul(seconds);
        let age = Age { least: ago(begin + seconds - 1), most: ago(begin) };
        let peak = self.buckets[slot(bucket)];
        DecidingPeak { amount: f64::from(peak.abs()), faded, age, by_kill: peak < 0.0 }
    }

    /// Takes in the peaks of another window of the same length.
    pub fn merge(&mut self, other: &Self, window: i64) {
        for back in (0..BUCKETS as i64).rev().filter(|_| other.newest > i64::MIN) {
            let bucket = other.newest - back;
            let peak = other.buckets[slot(bucket)];
            self.take(bucket.saturating_mul(bucket_seconds(window)), peak, window);
        }
    }

    /// Takes over peaks that were kept for a window of another length: when they were is told in
    /// parts of that, so they count as if they were the newest.
    pub fn restore(&mut self, old: i64, new: i64) {
        if old != new && self.newest > i64::MIN {
            let (peak, at) = (self.peak(), self.newest.saturating_mul(bucket_seconds(old)));
            *self = Self::new();
            self.observe(at, peak, new);
        }
    }
}

/// As a share of the window.
fn age(bucket: usize) -> f64 {
    bucket as f64 / (BUCKETS - 1) as f64
}

fn bucket_seconds(window: i64) -> i64 {
    (window / (BUCKETS as i64 - 1)).max(1)
}

fn slot(bucket: i64) -> usize {
    bucket.rem_euclid(BUCKETS as i64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_never_seen_is_moved_nowhere() {
        let mut peaks = PeakWindow::new();
        peaks.shift(3600, 28_800);
        assert_eq!(peaks, PeakWindow::new());
        peaks.observe(100_000, 1.0, 28_800);
        peaks.shift(50_000, 28_800);
        assert_eq!(peaks.faded_peak(0.0), 1.0);
    }

    #[test]
    fn a_peak_is_told_as_old_as_its_bucket_and_as_one_of_a_kill() {
        // Buckets of 100 seconds.
        let (window, mut peaks) = (2300, PeakWindow::new());
        let told = |peaks: &PeakWindow, now| peaks.deciding_peak(0.5, window, now);
        assert_eq!(told(&peaks, 5), DecidingPeak::default());
        peaks.observe(1030, 4.0, window);
        peaks.observe(1150, 1.0, window);
        let deciding = told(&peaks, 1160);
        assert_eq!((deciding.amount, deciding.by_kill), (4.0, false));
        assert_eq!(deciding.age, Age { least: 61, most: 160 }, "it was 130 seconds ago");
        assert_eq!(told(&peaks, 1050).age, Age { least: 0, most: 50 });
        peaks.observe_kill(1160, 5.0, window);
        peaks.observe(1170, 3.0, window);
        let deciding = told(&peaks, 1170);
        assert_eq!((deciding.amount, deciding.by_kill, deciding.age.most), (5.0, true, 70));
        assert_eq!((peaks.faded_peak(0.0), peaks.peak_since(0.0)), (5.0, 5.0));
        let mut merged = PeakWindow::new();
        merged.merge(&peaks, window);
        assert_eq!(merged, peaks);
        peaks.observe(1180, 6.0, window);
        assert!(!told(&peaks, 1180).by_kill, "that was measured");
    }

    #[test]
    fn merged_peaks_are_the_larger_of_both_at_each_time() {
        let (mut one, mut other) = (PeakWindow::new(), PeakWindow::new());
        let window = 2300;
        for (at, peak) in [(1000, 5.0), (2000, 1.0), (3000, 2.0)] {
            one.observe(at, peak, window);
        }
        for (at, peak) in [(900, 7.0), (2000, 4.0), (2500, 3.0)] {
            other.observe(at, peak, window);
        }
        let mut merged = one.clone();
        merged.merge(&other, window);
        let peaks: Vec<f64> = merged.aged().map(|(_, peak)| peak).filter(|of| *of > 0.0).collect();
        assert_eq!(peaks, [2.0, 3.0, 4.0, 5.0, 7.0]);
        let mut again = other.clone();
        again.merge(&one, window);
        assert_eq!(again, merged);
        merged.merge(&PeakWindow::new(), window);
        assert_eq!(again, merged, "what holds nothing changes nothing");
        let mut empty = PeakWindow::new();
        empty.merge(&one, window);
        assert_eq!(empty, one);
    }
}
