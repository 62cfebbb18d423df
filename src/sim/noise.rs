//! Noise without state: hashes of a seed and a position.

/// A thorough mix of 64 bits (the finaliser of SplitMix64).
pub fn mix(seed: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The hash as a number in 0..1.
pub fn unit(hash: u64) -> f64 {
    (hash >> 11) as f64 / (1u64 << 53) as f64
}

/// The hash as a nearly normal number (mean 0, deviation 1): the sum of four uniform ones, which
/// never strays beyond 3.5.
pub fn gauss(hash: u64) -> f64 {
    let sum: u64 = (0..4).map(|quarter| (hash >> (16 * quarter)) & 0xffff).sum();
    (sum as f64 / 65_535.0 - 2.0) * 3f64.sqrt()
}

/// Nearly normal noise over a line: independent at whole positions, joined by straight lines
/// between them.
pub fn smooth(seed: u64, position: f64) -> f64 {
    let floor = position.floor();
    let at = |offset: i64| {
        gauss(mix(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ mix((floor as i64 + offset) as u64)))
    };
    let share = position - floor;
    at(0) * (1.0 - share) + at(1) * share
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gauss_has_mean_zero_and_deviation_one() {
        let draws: Vec<f64> = (0..20_000).map(|seed| gauss(mix(seed))).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance =
            draws.iter().map(|draw| (draw - mean).powi(2)).sum::<f64>() / draws.len() as f64;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03, "{mean} {variance}");
    }

    #[test]
    fn smooth_noise_has_no_jumps() {
        for step in -100..100 {
            let position = f64::from(step);
            assert!((smooth(9, position - 1e-9) - smooth(9, position)).abs() < 1e-6);
        }
    }
}
