//! How CPU demand varies within half a minute, of which recordings tell the mean alone.
//!
//! In each period of the CPU controller (0.1 s) the demand is drawn by itself from an exponential
//! distribution, as in the [model of Alibaba's CPU Burst](
//! https://www.alibabacloud.com/blog/review-probability-theory-through-cpu-burst_598755). A second
//! then deviates by 32 % from its mean. That is what the finest recordings at hand show one scale
//! up: a minute of the pods of the Nezha study deviates so much from the mean of its five minutes
//! (a tenth of them is below 0.60 of it, and a tenth above 1.40).

use super::noise::{mix, unit};

/// Periods of the CPU controller in a second.
const PERIODS: u64 = 10;

/// What the demand of each of `parts` of `seconds` is multiplied by. The mean is 1.
pub fn factors(seed: u64, parts: usize, seconds: u64) -> Vec<f64> {
    let mut factors: Vec<f64> = (0..parts as u64)
        .map(|part| {
            let draws = part * seconds * PERIODS..(part + 1) * seconds * PERIODS;
            // The product of uniform numbers has the sum of exponential ones as its logarithm.
            -draws.map(|draw| 1.0 - unit(mix(seed ^ mix(draw)))).product::<f64>().ln()
        })
        .collect();
    let mean = factors.iter().sum::<f64>() / parts as f64;
    factors.iter_mut().for_each(|factor| *factor /= mean);
    factors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_of_a_step_is_kept_and_its_seconds_deviate_by_a_third() {
        let (mut variance, mut low, mut high) = (0.0, 0, 0);
        for seed in 0..1000 {
            let factors = factors(seed, 30, 1);
            assert!((factors.iter().sum::<f64>() - 30.0).abs() < 1e-9);
            for factor in factors {
                variance += (factor - 1.0).powi(2) / 30_000.0;
                low += u32::from(factor < 0.6);
                high += u32::from(factor > 1.4);
            }
        }
        assert!((variance.sqrt() - 0.31).abs() < 0.01, "{}", variance.sqrt());
        assert!((1500..3500).contains(&low) && (2000..4000).contains(&high), "{low} {high}");
    }

    #[test]
    fn every_step_has_bursts_of_its_own_and_the_same_every_time() {
        assert_eq!(factors(7, 30, 1), factors(7, 30, 1));
        assert_ne!(factors(7, 30, 1), factors(8, 30, 1));
    }
}
