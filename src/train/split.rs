//! Which series a model is trained on, and which it is judged on.

use clap::Args;
use serde::{Deserialize, Serialize};

use super::demand::{self, DemandSeries};

/// What is left out of a training.
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize, PartialEq)]
#[command(next_help_heading = "Split")]
pub struct LeftOut {
    /// Leave out these thirds of the series, by the hash of their names: 1, 2, 3
    #[arg(long, value_delimiter = ',', value_name = "NUMBER,…", default_value = "1",
        value_parser = clap::value_parser!(u8).range(1..=3))]
    pub leave_out: Vec<u8>,
    /// Leave out the series of these sources instead, and train on all others
    #[arg(long, value_delimiter = ',', value_name = "SOURCE,…")]
    pub without_source: Vec<String>,
}

impl LeftOut {
    pub fn holds(&self, series: &DemandSeries) -> bool {
        match self.without_source.as_slice() {
            [] => self.leave_out.contains(&third(&series.name)),
            sources => sources.iter().any(|source| series.source() == source),
        }
    }
}

/// What of the series is judged on.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Split")]
pub struct Judged {
    /// Only the series that no model of this project is trained on: a third of them, by the hash of
    /// their names
    #[arg(long)]
    pub holdout: bool,
    /// Which third that is: what `train --leave-out` has left out
    #[arg(long, value_name = "NUMBER", default_value_t = 1, requires = "holdout",
        value_parser = clap::value_parser!(u8).range(1..=3))]
    pub third: u8,
    /// Only the series of these sources: what `train --without-source` has left out
    #[arg(long, value_delimiter = ',', value_name = "SOURCE,…")]
    pub source: Vec<String>,
}

impl Judged {
    pub fn holds(&self, series: &DemandSeries) -> bool {
        let of_source =
            self.source.is_empty() || self.source.iter().any(|source| series.source() == source);
        of_source && (!self.holdout || third(&series.name) == self.third)
    }

    /// In words; None: all.
    pub fn words(&self) -> Option<String> {
        let third = self.holdout.then(|| match self.third {
            1 => "held-out third".to_owned(),
            number => format!("held-out third {number}"),
        });
        let source = (!self.source.is_empty()).then(|| format!("{} alone", self.source.join(", ")));
        let parts: Vec<_> = third.into_iter().chain(source).collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}

/// Which of three parts a series belongs to, by its name alone.
fn third(name: &str) -> u8 {
    let hash = demand::fingerprint(name).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    (hash / u64::from(u32::MAX / 3)).min(2) as u8 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str) -> DemandSeries {
        DemandSeries { name: name.into(), demand: Vec::new(), template: None }
    }

    #[test]
    fn every_series_is_judged_by_one_training_that_did_not_see_it() {
        let names: Vec<_> = (0..300).map(|number| format!("source-{number}")).collect();
        for name in &names {
            let series = series(name);
            for third in 1..=3 {
                let left_out = LeftOut { leave_out: vec![third], without_source: Vec::new() };
                let judged = Judged { holdout: true, third, source: Vec::new() };
                assert_eq!(left_out.holds(&series), judged.holds(&series));
            }
        }
        for number in 1..=3 {
            let count = names.iter().filter(|name| third(name) == number).count();
            assert!((80..120).contains(&count), "{number}: {count}");
        }
    }

    #[test]
    fn a_source_is_left_out_instead_of_a_third() {
        let without = LeftOut { leave_out: vec![1], without_source: vec!["a".into()] };
        let judged = Judged { source: vec!["a".into()], ..Judged::default() };
        for number in 0..20 {
            let (a, b) = (series(&format!("a-{number}")), series(&format!("b-{number}")));
            assert!(without.holds(&a) && !without.holds(&b));
            assert!(judged.holds(&a) && !judged.holds(&b));
        }
        assert_eq!(judged.words().as_deref(), Some("a alone"));
    }
}
