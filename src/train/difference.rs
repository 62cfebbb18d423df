//! How sure a difference between two policies is: a bootstrap over the series.

use std::ops::Range;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;

const DRAWS: usize = 10_000;
const SEED: u64 = 1;
/// What share of the draws is below and above the interval.
const TAIL: f64 = 0.025;

/// What the model costs more than the rule that it learns from, as a share of what that costs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// A source, or `all`.
    pub of: String,
    pub series: usize,
    pub relative: f64,
    /// In which 95 % of the draws are.
    pub interval: Range<f64>,
}

impl Difference {
    pub const TITLE: &'static str =
        "COST of dqn against guard-rule (95 % interval: bootstrap over the series, in pairs)";

    /// Of the costs of the same series under both.
    pub fn new(of: &str, ours: &[f64], theirs: &[f64]) -> Self {
        let pairs: Vec<_> = ours.iter().copied().zip(theirs.iter().copied()).collect();
        let mut rng = StdRng::seed_from_u64(SEED);
        let mut draw =
            || relative((0..pairs.len()).map(|_| pairs[rng.random_range(0..pairs.len())]));
        let mut drawn: Vec<f64> = (0..DRAWS).map(|_| draw()).collect();
        drawn.sort_by(f64::total_cmp);
        let at = |share: f64| drawn[(share * (DRAWS - 1) as f64).round() as usize];
        Self {
            of: of.to_owned(),
            series: pairs.len(),
            relative: relative(pairs.iter().copied()),
            interval: at(TAIL)..at(1.0 - TAIL),
        }
    }

    /// In percent: the difference, and its interval.
    pub fn cells(&self) -> [String; 2] {
        let percent = |share: f64| format!("{:+.1}", 100.0 * share);
        let Range { start, end } = self.interval;
        [percent(self.relative), format!("{} to {}", percent(start), percent(end))]
    }
}

fn relative(pairs: impl Iterator<Item = (f64, f64)>) -> f64 {
    let (ours, theirs) =
        pairs.fold((0.0, 0.0), |(ours, theirs), pair| (ours + pair.0, theirs + pair.1));
    ours / theirs - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_same_everywhere_is_sure_and_what_varies_is_not() {
        let theirs: Vec<f64> = (1..40).map(f64::from).collect();
        let less: Vec<f64> = theirs.iter().map(|cost| 0.9 * cost).collect();
        let sure = Difference::new("all", &less, &theirs);
        assert!((sure.relative + 0.1).abs() < 1e-12);
        assert!((sure.interval.start + 0.1).abs() + (sure.interval.end + 0.1).abs() < 1e-9);
        assert_eq!(sure.cells(), ["-10.0", "-10.0 to -10.0"]);
        let varied =
            |(place, cost): (usize, &f64)| if place % 2 == 0 { 0.5 * cost } else { 1.4 * cost };
        let varied: Vec<f64> = theirs.iter().enumerate().map(varied).collect();
        let unsure = Difference::new("all", &varied, &theirs);
        assert!(unsure.interval.start < -0.1 && unsure.interval.end > 0.05, "{unsure:?}");
        assert_eq!(unsure, Difference::new("all", &varied, &theirs));
    }
}
