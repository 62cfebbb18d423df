//! How much room a container needs, by what the network expects of the usage to come.

use serde::{Deserialize, Serialize};

/// Seconds to come whose peak is foreseen.
pub const HORIZON: i64 = 1800;
pub const LEVELS: usize = 10;
/// The shares of all cases in which the peak to come is below each level.
pub const SHARES: [f64; LEVELS] = [0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998];

/// The quantiles of the peak to come at [`SHARES`]: the logarithm of what part it is of the
/// [reference](crate::traits::Traits).
pub type Levels = [f32; LEVELS];

/// A limit, and the share of all cases in which the usage to come stays below it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Expected {
    /// Cores, MiB.
    pub limit: f64,
    pub share: f64,
}

/// The limit that the peak to come stays below in such a `share` of all cases, between two levels
/// by how rare it is to be above.
pub fn expected(levels: &Levels, reference: f64, share: f64) -> Expected {
    let rarity = |share: f64| -(1.0 - share).ln();
    let wanted = rarity(share.clamp(SHARES[0], SHARES[LEVELS - 1]));
    let above = SHARES.iter().position(|known| rarity(*known) >= wanted).unwrap_or(LEVELS - 1);
    let below = above.saturating_sub(1);
    let (first, last) = (rarity(SHARES[below]), rarity(SHARES[above]));
    let way = if last > first { (wanted - first) / (last - first) } else { 1.0 };
    let [low, high] = [levels[below], levels[above]].map(f64::from);
    Expected { limit: reference * (low + way * (high - low)).exp(), share }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_two_levels_it_goes_by_how_rare_it_is_to_be_above() {
        let mut levels = [0.0; LEVELS];
        (levels[LEVELS - 2], levels[LEVELS - 1]) = (1.0, 2.0);
        let limit = |share| expected(&levels, 100.0, share).limit;
        assert_eq!((limit(0.1), limit(0.9), limit(0.99)), (100.0, 100.0, 100.0));
        assert!((limit(0.995) - 100.0 * 1_f64.exp()).abs() < 1e-6);
        assert!((limit(0.9999) - 100.0 * 2_f64.exp()).abs() < 1e-6);
        let half = 1.0 - (0.005_f64 * 0.002).sqrt();
        assert!((limit(half) - 100.0 * 1.5_f64.exp()).abs() < 1e-6);
    }
}
