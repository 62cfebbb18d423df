//! What a container typically uses: a histogram of its usage in which older samples count less, in
//! little memory. Requests are decided by its percentiles.

use serde::{Deserialize, Serialize};

/// Each bucket is so much wider than the one below.
const RATIO: f64 = 1.1;
/// Seconds after which a sample counts half.
const HALF_LIFE: f64 = 24.0 * 3600.0;
/// Weights are relative to a time, which is moved on before they grow out of hand.
const REBASE: f64 = 40.0 * HALF_LIFE;

/// Sparse, as hardly any container visits more than a few of all buckets.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TypicalUse {
    /// Bucket and weight, in the order of the buckets.
    weights: Vec<(u8, f32)>,
    /// When a new sample weighs one (seconds since the epoch).
    reference: i64,
    /// The largest sample: a bucket may reach above it.
    #[serde(default)]
    largest: f32,
}

impl TypicalUse {
    /// Takes in a sample in thousandths of a core or in MiB.
    pub fn observe(&mut self, at: i64, amount: f64) {
        self.observe_weighed(at, amount, 1.0);
    }

    /// The same, of a sample that stands for so many.
    pub fn observe_weighed(&mut self, at: i64, amount: f64, samples: f64) {
        if self.weights.is_empty() {
            self.reference = at;
        }
        let mut age = (at - self.reference) as f64;
        if age.abs() > REBASE {
            let factor = (-age / HALF_LIFE).exp2() as f32;
            self.weights.iter_mut().for_each(|(_, weight)| *weight *= factor);
            self.weights.retain(|(_, weight)| *weight > f32::MIN_POSITIVE);
            (self.reference, age) = (at, 0.0);
        }
        let weight = (samples * (age / HALF_LIFE).exp2()) as f32;
        self.largest = self.largest.max(amount as f32);
        let bucket = bucket(amount);
        match self.weights.binary_search_by_key(&bucket, |(bucket, _)| *bucket) {
            Ok(index) => self.weights[index].1 += weight,
            Err(index) => self.weights.insert(index, (bucket, weight)),
        }
    }

    /// Below this amount it was for the `share` of the time; 0 where nothing is known.
    pub fn percentile(&self, share: f64) -> f64 {
        let total: f64 = self.weights.iter().map(|(_, weight)| f64::from(*weight)).sum();
        let mut sum = 0.0;
        let mut below = self.weights.iter().skip_while(|(_, weight)| {
            sum += f64::from(*weight);
            sum < share * total
        });
        let found = below.next().or(self.weights.last());
        found.map_or(0.0, |(found, _)| match f64::from(self.largest) {
            largest if largest > 0.0 && bucket(largest) == *found => largest,
            _ => upper_edge(*found),
        })
    }
}

fn bucket(amount: f64) -> u8 {
    // Casts saturate.
    (amount.max(1.0).ln() / RATIO.ln()).ceil() as u8
}

fn upper_edge(bucket: u8) -> f64 {
    RATIO.powi(i32::from(bucket))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 3600;

    #[test]
    fn a_percentile_covers_its_share_of_the_time_and_no_more_than_a_bucket_above() {
        let mut use_of = TypicalUse::default();
        assert_eq!(use_of.percentile(0.9), 0.0);
        for sample in 0..1000 {
            use_of.observe(sample * 30, if sample % 20 == 0 { 900.0 } else { 100.0 });
        }
        let covers = |amount: f64, percentile: f64| (amount..=amount * RATIO).contains(&percentile);
        assert!(covers(100.0, use_of.percentile(0.9)), "{}", use_of.percentile(0.9));
        assert!(covers(900.0, use_of.percentile(0.98)), "{}", use_of.percentile(0.98));
        assert!(covers(900.0, use_of.percentile(1.0)));
    }

    #[test]
    fn no_percentile_is_above_all_that_was_used() {
        let mut use_of = TypicalUse::default();
        for sample in 0..100 {
            use_of.observe(sample * 30, 100.0 + sample as f64 / 100.0);
        }
        assert_eq!(use_of.percentile(0.98), f64::from(100.99_f32));
        // One from before that was kept.
        use_of.largest = 0.0;
        use_of.observe(3000, 40.0);
        assert!((100.0..110.0).contains(&use_of.percentile(0.98)));
    }

    #[test]
    fn what_is_old_counts_less_and_never_overflows() {
        let mut use_of = TypicalUse::default();
        for hour in 0..48 {
            use_of.observe(hour * 3600, 1000.0);
        }
        for hour in 48..96 {
            use_of.observe(hour * 3600, 10.0);
        }
        // The newer two days weigh four times as much.
        assert!(use_of.percentile(0.75) < 20.0 && use_of.percentile(0.9) > 900.0);
        for day in 4..4000 {
            use_of.observe(day * DAY, 10.0);
        }
        assert!((10.0..12.0).contains(&use_of.percentile(1.0 - 1e-6)));
        assert_eq!(use_of.weights.len(), 1);
    }

    #[test]
    fn a_sample_counts_for_as_many_as_it_stands_for_in_any_order() {
        let mut use_of = TypicalUse::default();
        (0..100).for_each(|sample| use_of.observe(DAY + sample * 30, 100.0));
        use_of.observe_weighed(DAY, 1000.0, 25.0);
        assert!(use_of.percentile(0.75) < 120.0 && use_of.percentile(0.85) > 900.0);
        use_of.observe_weighed(0, 5000.0, 25.0);
        assert!(use_of.percentile(0.85) < 1200.0 && use_of.percentile(0.95) > 4500.0);
    }

    #[test]
    fn amounts_of_any_size_have_a_bucket() {
        let mut use_of = TypicalUse::default();
        for amount in [0.0, 1.0, 1e9, 1e300] {
            use_of.observe(0, amount);
        }
        assert_eq!(use_of.weights.first().map(|(bucket, _)| *bucket), Some(0));
        assert!(use_of.percentile(1.0) > 1e9);
    }
}
