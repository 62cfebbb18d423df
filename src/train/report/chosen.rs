//! Which series are shown one by one: those of each source on which a policy did best, worst and in
//! the middle.

use crate::train::table::{Row, Run};

/// A series by its place in the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chosen {
    pub series: usize,
    pub why: &'static str,
}

/// All series, if they were named; else the best, the median and the worst of each source by the
/// COST of `subject` less that of `reference`.
pub fn choose(run: &Run, subject: &Row, reference: Option<&Row>, named: bool) -> Vec<Chosen> {
    if named {
        return (0..run.series.len())
            .map(|series| Chosen { series, why: "chosen by name" })
            .collect();
    }
    let gain = |series: usize| {
        let cost = |row: &Row| row.outcomes[series].score.cost;
        cost(subject) - reference.map_or(0.0, cost)
    };
    let mut chosen = Vec::new();
    for source in &run.sources {
        let mut places: Vec<usize> =
            (0..run.series.len()).filter(|at| run.series[*at].source() == *source).collect();
        places.sort_by(|a, b| gain(*a).total_cmp(&gain(*b)));
        let last = places.len().saturating_sub(1);
        for (place, why) in [(0, "best"), (last / 2, "median"), (last, "worst")] {
            match places.get(place) {
                Some(series) if chosen.iter().all(|other: &Chosen| other.series != *series) => {
                    chosen.push(Chosen { series: *series, why });
                }
                _ => {}
            }
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::sim::physics::Resources;
    use crate::train::demand::{DemandSeries, PodSeries};
    use crate::train::policies::{Kind, Outcome};
    use crate::train::score::Score;

    fn row(policy: Kind, costs: &[f64]) -> Row {
        let outcome =
            |cost: &f64| Outcome { score: Score { cost: *cost, ..Score::default() }, course: None };
        Row { policy, outcomes: costs.iter().map(outcome).collect() }
    }

    #[test]
    fn each_source_shows_its_best_median_and_worst_against_the_reference() {
        let names = ["a-1", "b-1", "a-2", "a-3", "a-4", "a-5"];
        let series = |name: &str| {
            Arc::new(DemandSeries {
                name: name.into(),
                demand: vec![Resources::ZERO; 2],
                template: None,
            })
        };
        let run = Run {
            series: PodSeries::combined(&names.map(series), 1),
            sources: vec!["a".into(), "b".into()],
            rows: Vec::new(),
            generated: false,
            hold: false,
            part: None,
            cooldown: 30,
            timing: String::new(),
            seconds: 0.0,
        };
        let subject = row(Kind::Dqn, &[1.0, 1.0, 9.0, 2.0, 3.0, 4.0]);
        let reference = row(Kind::PeakTuned, &[0.0, 0.0, 9.5, 2.0, 0.0, 3.5]);
        let of = |chosen: &[Chosen]| {
            chosen.iter().map(|one| (names[one.series], one.why)).collect::<Vec<_>>()
        };
        let chosen = choose(&run, &subject, Some(&reference), false);
        assert_eq!(
            of(&chosen),
            [("a-2", "best"), ("a-5", "median"), ("a-4", "worst"), ("b-1", "best")]
        );
        let alone = choose(&run, &subject, None, false);
        assert_eq!(of(&alone)[0..3], [("a-1", "best"), ("a-4", "median"), ("a-2", "worst")]);
        assert_eq!(choose(&run, &subject, None, true).len(), 6);
    }
}
