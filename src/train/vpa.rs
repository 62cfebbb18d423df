//! The Vertical Pod Autoscaler's recommender with its published constants, and its updater's rules for in-place resizes:
//! what the cluster's own scaler would have done. For a pod of one container whose requests are its limits.

use super::baselines::{Rule, Seen};
use super::demand::STEP;
use crate::sim::physics::Resources;

const DAY: f64 = 86_400.0;
const MIB: f64 = 1_048_576.0;
const BUCKET_GROWTH: f64 = 1.05;
const HALF_LIFE: f64 = DAY;
const MEMORY_INTERVAL: f64 = DAY;
const SAFETY_MARGIN: f64 = 1.15;
const LOWER: f64 = 0.5;
const TARGET: f64 = 0.9;
const UPPER: f64 = 0.95;
/// The smallest recommendation for a pod, which its containers share.
const LEAST: Resources = Resources { cpu: 0.025, memory: 250.0 };
const LEAST_CPU_WEIGHT: f64 = 0.1;
const OOM_BUMP_RATIO: f64 = 1.2;
const OOM_BUMP_BYTES: f64 = 100.0 * MIB;
/// A pod that lives longer than this is also changed for the sake of a better fit.
const SETTLED_AFTER: f64 = 12.0 * 3600.0;
const WORTHWHILE_CHANGE: f64 = 0.1;
const QUICK_OOM: f64 = 600.0;

/// A histogram with exponentially growing buckets whose samples lose half their weight every day.
struct Histogram {
    first_bucket: f64,
    weights: Vec<f64>,
    total: f64,
}

impl Histogram {
    fn new(first_bucket: f64, greatest: f64) -> Self {
        let mut histogram = Self { first_bucket, weights: Vec::new(), total: 0.0 };
        histogram.weights = vec![0.0; histogram.position(greatest) + 2];
        histogram
    }

    fn position(&self, value: f64) -> usize {
        if value < self.first_bucket {
            return 0;
        }
        ((value * (BUCKET_GROWTH - 1.0) / self.first_bucket + 1.0).ln() / BUCKET_GROWTH.ln()) as usize
    }

    fn start_of(&self, bucket: usize) -> f64 {
        self.first_bucket * (BUCKET_GROWTH.powf(bucket as f64) - 1.0) / (BUCKET_GROWTH - 1.0)
    }

    /// Adds (or, with a negative weight, takes back) a sample of the moment `at`.
    fn add(&mut self, value: f64, weight: f64, at: f64) {
        // Later samples grow instead of earlier ones fading: the shares are the same.
        let weight = weight * (at / HALF_LIFE).exp2();
        let bucket = self.position(value).min(self.weights.len() - 1);
        let new = (self.weights[bucket] + weight).max(0.0);
        self.total += new - self.weights[bucket];
        self.weights[bucket] = new;
    }

    /// The end of the bucket in which the share is reached.
    fn percentile(&self, share: f64) -> f64 {
        if self.total <= 0.0 {
            return 0.0;
        }
        let threshold = share * self.total;
        let mut sum = 0.0;
        for (bucket, weight) in self.weights.iter().enumerate() {
            sum += weight;
            if sum >= threshold {
                return self.start_of(bucket + 1);
            }
        }
        self.start_of(self.weights.len())
    }
}

pub struct Vpa {
    cpu: Histogram,
    memory: Histogram,
    memory_peak: f64,
    window_end: Option<f64>,
    first_sample: Option<f64>,
    samples: f64,
    confidence: f64,
    started_at: f64,
    was_down: bool,
    quick_oom: bool,
}

impl Default for Vpa {
    fn default() -> Self {
        Self {
            cpu: Histogram::new(0.01, 1000.0),
            memory: Histogram::new(1e7, 1e12),
            memory_peak: 0.0,
            window_end: None,
            first_sample: None,
            samples: 0.0,
            confidence: 0.0,
            started_at: 0.0,
            was_down: false,
            quick_oom: false,
        }
    }
}

impl Vpa {
    fn observe_cpu(&mut self, at: f64, usage: f64, request: f64) {
        self.cpu.add(usage, request.max(LEAST_CPU_WEIGHT), at);
        let first = *self.first_sample.get_or_insert(at);
        self.samples += 1.0;
        self.confidence = ((at - first) / DAY).min(self.samples / (DAY / 60.0));
    }

    /// One sample stands for a whole interval: its peak.
    fn observe_memory(&mut self, at: f64, bytes: f64) {
        let mut end = *self.window_end.get_or_insert(at);
        if at < end {
            if bytes <= self.memory_peak {
                return;
            }
            if self.memory_peak > 0.0 {
                self.memory.add(self.memory_peak, -1.0, end);
            }
        } else {
            end += ((at - end) / MEMORY_INTERVAL).floor() * MEMORY_INTERVAL + MEMORY_INTERVAL;
            self.window_end = Some(end);
        }
        self.memory_peak = bytes;
        self.memory.add(bytes, 1.0, end);
    }

    fn observe_oom(&mut self, at: f64, limit: f64) {
        let used = limit.max(self.memory_peak);
        self.observe_memory(at, (used + OOM_BUMP_BYTES).max(used * OOM_BUMP_RATIO));
    }

    fn estimate(&self, share: f64, confidence: f64) -> Resources {
        let estimate = |histogram: &Histogram| histogram.percentile(share) * SAFETY_MARGIN * confidence;
        Resources { cpu: estimate(&self.cpu).max(LEAST.cpu), memory: (estimate(&self.memory) / MIB).max(LEAST.memory) }
    }

    fn wants_update(&self, at: f64, limits: Resources, target: Resources) -> bool {
        let lower = self.estimate(LOWER, (1.0 + 0.001 / self.confidence).powi(-2));
        let upper = self.estimate(UPPER, 1.0 + 1.0 / self.confidence);
        let outside = |limit: f64, lower: f64, upper: f64| limit < lower || limit > upper;
        let change =
            (limits.cpu - target.cpu).abs() / limits.cpu + (limits.memory - target.memory).abs() / limits.memory;
        outside(limits.cpu, lower.cpu, upper.cpu)
            || outside(limits.memory, lower.memory, upper.memory)
            || (self.quick_oom && change > 0.0)
            || (at >= SETTLED_AFTER && change > WORTHWHILE_CHANGE)
    }
}

impl Rule for Vpa {
    fn act(&mut self, seen: &Seen) -> Resources {
        let (at, limits, step) = (seen.index as f64 * STEP, seen.limits, seen.step);
        if self.was_down && step.up {
            self.started_at = at;
        }
        self.was_down = !step.up;
        if !step.up {
            return limits;
        }
        if step.oom_killed {
            self.quick_oom = at - self.started_at < QUICK_OOM;
            self.observe_oom(at, limits.memory * MIB);
        }
        // Both the recommender and the updater run once a minute.
        if seen.index.is_multiple_of(2) || step.oom_killed {
            self.observe_cpu(at, step.usage.cpu, limits.cpu);
            self.observe_memory(at, step.usage.memory * MIB);
            let target = self.estimate(TARGET, 1.0);
            if self.wants_update(at, limits, target) {
                self.quick_oom = false;
                return super::score::within_bounds(target);
            }
        }
        limits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_end_of_its_bucket() {
        let mut histogram = Histogram::new(0.01, 1000.0);
        for _ in 0..10 {
            histogram.add(0.005, 1.0, 0.0);
        }
        assert!((histogram.percentile(0.9) - 0.01).abs() < 1e-12);
        histogram.add(0.5, 1000.0, 0.0);
        let estimate = histogram.percentile(0.5);
        assert!((0.5..0.5 * 1.06).contains(&estimate), "{estimate}");
    }

    #[test]
    fn yesterday_counts_half() {
        let mut histogram = Histogram::new(0.01, 1000.0);
        histogram.add(1.0, 2.0, 0.0);
        histogram.add(0.1, 1.0, DAY);
        assert!(histogram.percentile(0.49) < 0.2);
        assert!(histogram.percentile(0.51) > 0.9);
    }

    #[test]
    fn memory_follows_the_peaks_and_an_oom_kill_bumps_them() {
        let mut vpa = Vpa::default();
        for minute in 0..60 {
            vpa.observe_memory(f64::from(minute) * 60.0, 1000.0 * MIB - f64::from(minute) * MIB);
        }
        let before = vpa.estimate(TARGET, 1.0).memory;
        assert!((1150.0..1150.0 * 1.06).contains(&before), "{before}");
        vpa.observe_oom(3600.0, 1000.0 * MIB);
        let after = vpa.estimate(TARGET, 1.0).memory;
        assert!((1380.0..1380.0 * 1.06).contains(&after), "{after}");
    }

    #[test]
    fn a_limit_inside_the_range_is_left_alone_in_the_first_hours() {
        let mut vpa = Vpa::default();
        for minute in 0..240 {
            vpa.observe_cpu(f64::from(minute) * 60.0, 0.5, 1.0);
            vpa.observe_memory(f64::from(minute) * 60.0, 400.0 * MIB);
        }
        let limits = Resources { cpu: 0.8, memory: 600.0 };
        let target = vpa.estimate(TARGET, 1.0);
        assert!(!vpa.wants_update(3600.0, limits, target));
        assert!(vpa.wants_update(SETTLED_AFTER, limits, target));
        assert!(vpa.wants_update(3600.0, Resources { cpu: 0.3, memory: 600.0 }, target));
    }
}
