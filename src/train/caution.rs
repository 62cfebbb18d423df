//! What more caution costs, and what it saves from being killed: one setting, by which a user can
//! choose.

use serde::Serialize;

use super::score::Score;
use super::table::{self, COLUMNS};

#[derive(Debug, Clone, Serialize)]
pub struct Cautions {
    pub points: Vec<Point>,
}

/// The means over the series at one value of `caution`.
#[derive(Debug, Clone, Serialize)]
pub struct Point {
    pub caution: f64,
    pub mean: Score,
    median: f64,
}

impl Point {
    pub fn of(caution: f64, scores: &[Score]) -> Self {
        Self { caution, mean: Score::mean(scores), median: Score::median_cost(scores) }
    }
}

impl Cautions {
    pub const TITLE: &'static str = "What caution costs, and what it saves from being killed";

    /// A line for each point: the caution, then the figures.
    pub fn rows(&self) -> Vec<(String, [String; COLUMNS.len()])> {
        let row =
            |point: &Point| (point.caution.to_string(), table::cells(&point.mean, point.median));
        self.points.iter().map(row).collect()
    }

    pub fn render(&self, conditions: &str) -> String {
        let mut text = format!("\n{}; {conditions}\n\n", Self::TITLE);
        let mut rows =
            vec![[vec!["caution".to_owned()], COLUMNS.map(str::to_owned).into()].concat()];
        rows.extend(
            self.rows().into_iter().map(|(name, cells)| [vec![name], cells.into()].concat()),
        );
        table::align(&mut text, &rows);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_has_a_line() {
        let score = |cost, ooms| Score { cost, ooms, ..Score::default() };
        let points = vec![
            Point::of(0.5, &[score(0.5, 2.0), score(0.7, 1.0)]),
            Point::of(2.0, &[score(0.8, 0.5)]),
        ];
        let text = Cautions { points }.render("cooldown 30 min");
        assert!(text.contains("cooldown 30 min") && text.contains("| 0.5     |"), "{text}");
        assert!(text.contains("|  1.50 |") && text.contains("| 0.600 |  0.600 |"), "{text}");
    }
}
