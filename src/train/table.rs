//! The results of a comparison: as a table of text and as JSON.

use serde_json::{Map, Value, json};
use std::fmt::Write;

use super::demand::PodSeries;
use super::difference::Difference;
use super::policies::{Kind, Outcome};
use super::score::Score;

/// A policy and what came of every series under it.
#[derive(Debug, Clone)]
pub struct Row {
    pub policy: Kind,
    pub outcomes: Vec<Outcome>,
}

impl Row {
    pub fn scores(&self) -> Vec<Score> {
        self.outcomes.iter().map(|outcome| outcome.score).collect()
    }
}

#[derive(Debug, Clone)]
pub struct Run {
    /// Of each pod.
    pub series: Vec<PodSeries>,
    pub sources: Vec<String>,
    pub rows: Vec<Row>,
    pub generated: bool,
    pub hold: bool,
    /// What of all series, in words; None: all.
    pub part: Option<String>,
    pub cooldown: i64,
    /// How time passed, in words.
    pub timing: String,
    pub seconds: f64,
}

impl Run {
    pub fn pod_days(&self) -> f64 {
        self.series.iter().map(|series| series.days()).sum()
    }

    /// The scores of one row on the series of one source.
    pub fn of_source(&self, row: &Row, source: &str) -> Vec<Score> {
        let of = |(series, outcome): (&PodSeries, &Outcome)| {
            (series.source() == source).then_some(outcome.score)
        };
        self.series.iter().zip(&row.outcomes).filter_map(of).collect()
    }

    /// What was compared on, in a line.
    pub fn title(&self) -> String {
        let what = if self.generated { "generated" } else { "recorded" };
        let grid = match (self.generated, self.hold) {
            (true, _) => "",
            (false, true) => ", samples held",
            (false, false) => ", interpolated",
        };
        let part = self.part.iter().map(|part| format!(", {part}")).collect::<String>();
        let containers = self.series.iter().map(|pod| pod.containers.len()).max().unwrap_or(1);
        let pods = match containers {
            1 => format!("{} {what} series", self.series.len()),
            _ => format!("{} pods of {containers} {what} series", self.series.len()),
        };
        format!("{pods}{part}, {:.0} pod-days{grid}; {}", self.pod_days(), self.conditions())
    }

    /// What every figure depends on, for a caption.
    pub fn conditions(&self) -> String {
        format!("cooldown of model and guard {} min; {}", self.cooldown, self.timing)
    }

    /// What the model costs more than the rule, over all series and by source where there are
    /// several; nothing unless both took part.
    pub fn differences(&self) -> Vec<Difference> {
        let row = |kind| self.rows.iter().find(|row| row.policy == kind);
        let (Some(ours), Some(theirs)) = (row(Kind::Dqn), row(Kind::GuardRule)) else {
            return Vec::new();
        };
        let costs = |scores: Vec<Score>| scores.iter().map(|score| score.cost).collect::<Vec<_>>();
        let all = Difference::new("all", &costs(ours.scores()), &costs(theirs.scores()));
        let sources = Some(&self.sources).filter(|sources| sources.len() > 1);
        let by_source = sources.into_iter().flatten().map(|source| {
            let costs = |row| costs(self.of_source(row, source));
            Difference::new(source, &costs(ours), &costs(theirs))
        });
        [all].into_iter().chain(by_source).collect()
    }

    pub fn to_json(&self) -> Value {
        let row = |row: &Row| {
            let scores = row.scores();
            let by_source: Map<String, Value> = self
                .sources
                .iter()
                .map(|source| (source.clone(), json!(Score::mean(&self.of_source(row, source)))))
                .collect();
            let by_series: Map<String, Value> = self
                .series
                .iter()
                .zip(&scores)
                .map(|(series, score)| (series.name.clone(), json!(score.cost)))
                .collect();
            json!({
                "policy": row.policy.name(),
                "mean": Score::mean(&scores),
                "median_cost": Score::median_cost(&scores),
                "by_source": by_source,
                "cost_by_series": by_series,
            })
        };
        json!({
            "series": self.series.len(),
            "pod_days": self.pod_days(),
            "generated": self.generated,
            "hold": self.hold,
            "part": self.part,
            "cooldown_minutes": self.cooldown,
            "timing": self.timing,
            "seconds": self.seconds,
            "policies": self.rows.iter().map(row).collect::<Vec<_>>(),
            "dqn_against_guard_rule": self.differences(),
        })
    }
}

/// Column titles and the figures below them, already in their units.
pub const COLUMNS: [&str; 9] = [
    "CPU slack %",
    "mem slack %",
    "throttled %",
    "unserved %",
    "OOM/d",
    "resize/d",
    "reversed %",
    "COST",
    "median",
];

pub fn cells(score: &Score, median: f64) -> [String; 9] {
    [
        format!("{:.1}", 100.0 * score.cpu_slack),
        format!("{:.1}", 100.0 * score.memory_slack),
        format!("{:.2}", 100.0 * score.throttled),
        format!("{:.2}", 100.0 * score.unserved),
        format!("{:.2}", score.ooms),
        format!("{:.1}", score.resizes),
        format!("{:.0}", 100.0 * score.reversal_share()),
        format!("{:.3}", score.cost),
        format!("{median:.3}"),
    ]
}

/// COST, unserved CPU and OOM kills of a source.
pub fn source_cells(mean: &Score) -> [String; 3] {
    [
        format!("{:.3}", mean.cost),
        format!("{:.2}", 100.0 * mean.unserved),
        format!("{:.2}", mean.ooms),
    ]
}

pub const LEGEND: &str = "\
slack: share of the limit that is not used. throttled: share of the time with more CPU demand than
limit. unserved: share of the CPU demand that was not given within 30 s. OOM/d, resize/d: OOM kills
and resizes per pod and day. reversed: share of the resizes that take a resource the other way than
its change before. COST: mean of allocated CPU and memory relative to a constant limit at the
series' maximum + 10 x share of CPU demand not served + 0.05 x OOM kills a day (20 at most) + 0.0005
x resizes a day; mean over the series, lower is better.";

pub fn render(run: &Run) -> String {
    let mut text = format!("{}\n\n", run.title());
    let mut rows = vec![[vec!["policy".to_owned()], COLUMNS.map(str::to_owned).to_vec()].concat()];
    for row in &run.rows {
        let scores = row.scores();
        let figures = cells(&Score::mean(&scores), Score::median_cost(&scores));
        rows.push([vec![row.policy.name().to_owned()], figures.to_vec()].concat());
    }
    align(&mut text, &rows);
    if run.sources.len() > 1 {
        let _ = writeln!(text, "\nCOST by source (unserved %, OOM/d); {}\n", run.conditions());
        let mut rows = vec![[vec!["policy".to_owned()], run.sources.clone()].concat()];
        for row in &run.rows {
            let cell = |source: &String| {
                let [cost, unserved, ooms] =
                    source_cells(&Score::mean(&run.of_source(row, source)));
                format!("{cost} ({unserved}, {ooms})")
            };
            rows.push(
                [vec![row.policy.name().to_owned()], run.sources.iter().map(cell).collect()]
                    .concat(),
            );
        }
        align(&mut text, &rows);
    }
    let differences = run.differences();
    if !differences.is_empty() {
        let _ = writeln!(text, "\n{}; {}\n", Difference::TITLE, run.conditions());
        let mut rows = vec![["series", "number", "%", "interval, %"].map(str::to_owned).to_vec()];
        rows.extend(differences.iter().map(|difference| {
            let [relative, interval] = difference.cells();
            vec![difference.of.clone(), difference.series.to_string(), relative, interval]
        }));
        align(&mut text, &rows);
    }
    if let Some(row) = run.rows.iter().find(|row| row.policy == Kind::Dqn) {
        let mean = Score::mean(&row.scores());
        let _ = writeln!(
            text,
            "\nPrediction head, mean absolute error of the next step's usage in % of the limit \
                (\"as now\" in brackets): \
             CPU {:.2} ({:.2}), memory {:.2} ({:.2})",
            100.0 * mean.cpu_error,
            100.0 * mean.cpu_persistence,
            100.0 * mean.memory_error,
            100.0 * mean.memory_persistence
        );
    }
    text.push('\n');
    for row in &run.rows {
        let _ = writeln!(text, "{}: {}", row.policy.name(), row.policy.about());
    }
    text.push_str(LEGEND);
    let _ = writeln!(text, "{:.1} s", run.seconds);
    text
}

/// A Markdown table with its columns aligned.
pub fn align(text: &mut String, rows: &[Vec<String>]) {
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0).max(3))
        .collect();
    for (number, row) in rows.iter().enumerate() {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ = if column == 0 {
                write!(text, "| {cell:<width$} ")
            } else {
                write!(text, "| {cell:>width$} ")
            };
        }
        text.push_str("|\n");
        if number == 0 {
            for (column, width) in widths.iter().enumerate() {
                let _ = write!(
                    text,
                    "|{}{}",
                    "-".repeat(width + 1),
                    if column == 0 { "-" } else { ":" }
                );
            }
            text.push_str("|\n");
        }
    }
}
