//! The Vertical Pod Autoscaler's recommender with its published constants, and its updater's rules
//! for in-place resizes: what the cluster's own scaler would have done, for a pod of one container.

use super::baselines::{Rule, Seen};
use super::score::within_bounds;
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
const OOM_BUMP_RATIO: f64 = 1.2;
const OOM_BUMP_BYTES: f64 = 100.0 * MIB;
/// A pod that trajectories longer than this is also changed for the sake of a better fit.
const SETTLED_AFTER: f64 = 12.0 * 3600.0;
const WORTHWHILE_CHANGE: f64 = 0.1;
const QUICK_OOM: f64 = 600.0;
/// Recommender and updater run once in so many seconds.
const PERIOD: i64 = 60;
/// Where requests are less than limits: their share at the start.
const BURSTABLE: f64 = 0.5;

/// What becomes of the limits when VPA changes requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limits {
    /// They are the requests.
    Equal,
    /// They keep their ratio to the requests: twice as much (`RequestsAndLimits`).
    Twice,
    /// They stay as they are (`RequestsOnly`).
    Fixed,
}

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
        ((value * (BUCKET_GROWTH - 1.0) / self.first_bucket + 1.0).ln() / BUCKET_GROWTH.ln())
            as usize
    }

    fn start_of(&self, bucket: usize) -> f64 {
        self.first_bucket * (BUCKET_GROWTH.powf(bucket as f64) - 1.0) / (BUCKET_GROWTH - 1.0)
    }

    /// Adds (or, with a negative weight, takes back) a sample of the transition `at`.
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

/// What the updater reads of the recommender.
#[derive(Clone, Copy)]
struct Recommendation {
    lower: Resources,
    target: Resources,
    upper: Resources,
}

pub struct Vpa {
    limits: Limits,
    /// The requests, where limits do not tell them.
    requests: Option<Resources>,
    cpu: Histogram,
    memory: Histogram,
    /// The largest memory usage of the present interval, and what an OOM kill made of it: a second
    /// kill starts from the usage again, not from the bump of the first.
    memory_peak: f64,
    oom_peak: f64,
    window_end: Option<f64>,
    first_sample: Option<f64>,
    samples: f64,
    confidence: f64,
    recommendation: Option<Recommendation>,
    started_at: f64,
    /// When recommender and updater first ran.
    first_at: Option<i64>,
    /// The limit in bytes that an OOM kill happened at and whether it came soon after a start,
    /// until the restart tells of it.
    killed: Option<(f64, bool)>,
    /// The last OOM kill came soon after a start. It stays in the container's status until the next
    /// one.
    quick_oom: bool,
}

impl Vpa {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            requests: None,
            cpu: Histogram::new(0.01, 1000.0),
            memory: Histogram::new(1e7, 1e12),
            memory_peak: 0.0,
            oom_peak: 0.0,
            window_end: None,
            first_sample: None,
            samples: 0.0,
            confidence: 0.0,
            recommendation: None,
            started_at: 0.0,
            first_at: None,
            killed: None,
            quick_oom: false,
        }
    }

    /// All samples weigh the same: they were meant to weigh as much as the request, but the
    /// recommender never fills it in.
    fn observe_cpu(&mut self, at: f64, usage: f64) {
        self.cpu.add(usage, 1.0, at);
        let first = *self.first_sample.get_or_insert(at);
        self.samples += 1.0;
        self.confidence = ((at - first) / DAY).min(self.samples / (DAY / 60.0));
    }

    fn observe_memory(&mut self, at: f64, bytes: f64) {
        if self.add_memory(at, bytes) {
            self.memory_peak = bytes;
        }
    }

    fn observe_oom(&mut self, at: f64, limit: f64) {
        let used = limit.max(self.memory_peak);
        let needed = (used + OOM_BUMP_BYTES).max(used * OOM_BUMP_RATIO);
        if self.add_memory(at, needed) {
            self.oom_peak = needed;
        }
    }

    /// One sample stands for a whole interval: its peak. True if this is one.
    fn add_memory(&mut self, at: f64, bytes: f64) -> bool {
        let mut end = *self.window_end.get_or_insert(at);
        if at < end {
            let old = self.memory_peak.max(self.oom_peak);
            if bytes <= old {
                return false;
            }
            if old > 0.0 {
                self.memory.add(old, -1.0, end);
            }
        } else {
            end += ((at - end) / MEMORY_INTERVAL).floor() * MEMORY_INTERVAL + MEMORY_INTERVAL;
            self.window_end = Some(end);
            (self.memory_peak, self.oom_peak) = (0.0, 0.0);
        }
        self.memory.add(bytes, 1.0, end);
        true
    }

    fn estimate(&self, share: f64, confidence: f64) -> Resources {
        let estimate =
            |histogram: &Histogram| histogram.percentile(share) * SAFETY_MARGIN * confidence;
        Resources {
            cpu: estimate(&self.cpu).max(LEAST.cpu),
            memory: (estimate(&self.memory) / MIB).max(LEAST.memory),
        }
    }

    fn recommend(&self) -> Recommendation {
        Recommendation {
            lower: self.estimate(LOWER, (1.0 + 0.001 / self.confidence).powi(-2)),
            target: self.estimate(TARGET, 1.0),
            upper: self.estimate(UPPER, 1.0 + 1.0 / self.confidence),
        }
    }

    fn needs_update(&self, at: f64, requests: Resources, recommendation: &Recommendation) -> bool {
        let Recommendation { lower, target, upper } = recommendation;
        let outside = |request: f64, lower: f64, upper: f64| request < lower || request > upper;
        let change = (requests.cpu - target.cpu).abs() / requests.cpu
            + (requests.memory - target.memory).abs() / requests.memory;
        outside(requests.cpu, lower.cpu, upper.cpu)
            || outside(requests.memory, lower.memory, upper.memory)
            || (self.quick_oom && change > 0.0)
            || (at >= SETTLED_AFTER && change > WORTHWHILE_CHANGE)
    }
}

impl Vpa {
    /// The limits that go with new requests.
    fn grant(&mut self, target: Resources, limits: Resources) -> Resources {
        let target = within_bounds(target);
        match self.limits {
            Limits::Equal => target,
            Limits::Twice => within_bounds(scaled(target, 1.0 / BURSTABLE)),
            Limits::Fixed => {
                let (cpu, memory) = (target.cpu.min(limits.cpu), target.memory.min(limits.memory));
                self.requests = Some(Resources { cpu, memory });
                limits
            }
        }
    }
}

fn scaled(Resources { cpu, memory }: Resources, factor: f64) -> Resources {
    Resources { cpu: cpu * factor, memory: memory * factor }
}

impl Rule for Vpa {
    fn act(&mut self, seen: &Seen) -> Resources {
        let (at, limits) = (seen.at as f64, seen.limits);
        let Some(usage) = seen.usage else { return limits };
        if let Some((limit, quick)) = self.killed.take() {
            self.observe_oom(at, limit);
            (self.quick_oom, self.started_at) = (quick, at);
        }
        if seen.killed {
            self.killed = Some((limits.memory * MIB, at - self.started_at < QUICK_OOM));
        }
        if (seen.at - *self.first_at.get_or_insert(seen.at)) % PERIOD != 0 {
            return limits;
        }
        // The updater acts on what the recommender recommended before.
        self.observe_cpu(at, usage.cpu);
        self.observe_memory(at, usage.memory * MIB);
        let recommended = self.recommendation.replace(self.recommend());
        match recommended {
            Some(recommended) if self.needs_update(at, self.requests(limits), &recommended) => {
                self.grant(recommended.target, limits)
            }
            _ => limits,
        }
    }

    /// The admission webhook gives a new pod what is recommended.
    fn next_life(&mut self, template: Resources) -> Resources {
        (self.killed, self.quick_oom) = (None, false);
        match self.recommendation {
            Some(recommended) => self.grant(recommended.target, template),
            None => template,
        }
    }

    fn requests(&self, limits: Resources) -> Resources {
        match self.limits {
            Limits::Equal => limits,
            Limits::Twice => scaled(limits, BURSTABLE),
            Limits::Fixed => self.requests.unwrap_or(scaled(limits, BURSTABLE)),
        }
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
        let mut vpa = Vpa::new(Limits::Equal);
        for minute in 0..60 {
            vpa.observe_memory(f64::from(minute) * 60.0, 1000.0 * MIB - f64::from(minute) * MIB);
        }
        let before = vpa.estimate(TARGET, 1.0).memory;
        assert!((1150.0..1150.0 * 1.06).contains(&before), "{before}");
        vpa.observe_oom(3600.0, 1000.0 * MIB);
        let after = vpa.estimate(TARGET, 1.0).memory;
        assert!((1380.0..1380.0 * 1.06).contains(&after), "{after}");
        // A second kill at the same limit asks for no more than the first.
        vpa.observe_oom(3660.0, 1000.0 * MIB);
        assert_eq!(vpa.estimate(TARGET, 1.0).memory, after);
    }

    #[test]
    fn a_limit_inside_the_range_is_left_alone_in_the_first_hours() {
        let mut vpa = Vpa::new(Limits::Equal);
        for minute in 0..240 {
            vpa.observe_cpu(f64::from(minute) * 60.0, 0.5);
            vpa.observe_memory(f64::from(minute) * 60.0, 400.0 * MIB);
        }
        let limits = Resources { cpu: 0.8, memory: 600.0 };
        let recommended = vpa.recommend();
        assert!(!vpa.needs_update(3600.0, limits, &recommended));
        assert!(vpa.needs_update(SETTLED_AFTER, limits, &recommended));
        assert!(vpa.needs_update(3600.0, Resources { cpu: 0.3, memory: 600.0 }, &recommended));
    }

    #[test]
    fn an_oom_kill_is_known_by_the_restart_and_answered_a_minute_later() {
        let limits = Resources { cpu: 1.0, memory: 500.0 };
        let seen = |index: i64, memory: Option<f64>, killed| {
            let usage = memory.map(|memory| Resources { cpu: 0.5, memory });
            Seen { at: index * 30, limits, usage, killed }
        };
        let (calm, down) = ((Some(400.0), false), (None, false));
        let kill = [(Some(500.0), true), down, down];
        let mut vpa = Vpa::new(Limits::Equal);
        for (index, (memory, killed)) in
            (0..).zip([calm; 20].into_iter().chain(kill).chain([calm; 3]))
        {
            assert_eq!(vpa.act(&seen(index, memory, killed)), limits, "{index}");
        }
        // (500 + 20 %) MiB and the margin, at the end of their bucket.
        let answer = vpa.act(&seen(26, Some(400.0), false));
        assert!((690.0..690.0 * 1.06).contains(&answer.memory), "{answer:?}");
    }
    /// The limits and requests of a container that uses 1 core and 400 MiB for a day.
    fn after_a_day(limits: Limits) -> (Resources, Resources) {
        let mut vpa = Vpa::new(limits);
        let usage = Some(Resources { cpu: 1.0, memory: 400.0 });
        let mut granted = Resources { cpu: 4.0, memory: 2000.0 };
        for minute in 0..1440 {
            let seen = Seen { at: 60 * minute, limits: granted, usage, killed: false };
            granted = vpa.act(&seen);
        }
        (granted, vpa.requests(granted))
    }

    #[test]
    fn limits_follow_the_requests_or_stay() {
        let near = |got: f64, wanted: f64| (wanted..wanted * 1.08).contains(&got);
        let (limits, requests) = after_a_day(Limits::Equal);
        assert!(limits == requests && near(limits.cpu, 1.15) && near(limits.memory, 460.0));
        let (twice, requests) = after_a_day(Limits::Twice);
        assert!(near(requests.cpu, 1.15) && twice == scaled(requests, 2.0));
        let (fixed, requests) = after_a_day(Limits::Fixed);
        assert_eq!(fixed, Resources { cpu: 4.0, memory: 2000.0 });
        assert!(near(requests.cpu, 1.15) && near(requests.memory, 460.0));
    }

    #[test]
    fn a_new_pod_gets_what_is_recommended() {
        let template = Resources { cpu: 4.0, memory: 2000.0 };
        let mut vpa = Vpa::new(Limits::Equal);
        assert_eq!(vpa.next_life(template), template);
        let usage = Some(Resources { cpu: 1.0, memory: 400.0 });
        for minute in 0..60 {
            vpa.act(&Seen { at: 60 * minute, limits: template, usage, killed: false });
        }
        assert!(vpa.next_life(template).cpu < 1.3);
    }
}
