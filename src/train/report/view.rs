//! What the page's template fills in.

use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::chart::{self, Figure};
use super::chosen::Chosen;
use super::course::{self, CPU, MEMORY};
use super::curves::Curve;
use super::inputs::Report;
use crate::core::resource::Resource;
use crate::model::Network;
use crate::train::caution::{Cautions, Point};
use crate::train::difference::Difference;
use crate::train::importance::Importance;
use crate::train::policies::{Course, Kind};
use crate::train::savings::{self, Savings};
use crate::train::score::Score;
use crate::train::table::{self, Row, Run};

/// A name and a value.
pub type Pair = (String, String);

#[derive(Serialize)]
pub struct Page<'a> {
    pub title: String,
    pub written_at: &'a str,
    pub version: &'static str,
    pub settings: Vec<Pair>,
    pub savings: Option<SavingsView>,
    pub importance: Option<ImportanceView>,
    pub model: Option<ModelView>,
    pub columns: [&'static str; table::COLUMNS.len()],
    pub policies: Vec<PolicyView>,
    pub conditions: String,
    pub by_source: Vec<SourceView>,
    pub difference: &'static str,
    pub differences: Vec<DifferenceView>,
    pub trade_offs: [TradeOff; 2],
    pub cautions: Option<CautionsView>,
    pub prediction: Option<Vec<PredictionView>>,
    pub courses: Vec<CourseView>,
    pub curves: Option<Vec<Curve>>,
    pub curves_file: Option<String>,
    pub series: Vec<SeriesView>,
}

#[derive(Serialize)]
pub struct SavingsView {
    summary: String,
    columns: [&'static str; Savings::COLUMNS.len()],
    rows: Vec<Vec<String>>,
    legend: &'static str,
    beyond_bounds: Vec<String>,
}

pub fn savings(savings: &Savings) -> SavingsView {
    SavingsView {
        summary: savings.summary(),
        columns: Savings::COLUMNS,
        rows: savings.rows(),
        legend: savings::LEGEND,
        beyond_bounds: savings.beyond_bounds.clone(),
    }
}

#[derive(Serialize)]
pub struct PolicyView {
    name: &'static str,
    about: &'static str,
    colour: String,
    cells: [String; table::COLUMNS.len()],
}

pub fn policies(run: &Run) -> Vec<PolicyView> {
    let view = |row: &Row| {
        let scores = row.scores();
        PolicyView {
            name: row.policy.name(),
            about: row.policy.about(),
            colour: css(row.policy),
            cells: table::cells(&Score::mean(&scores), Score::median_cost(&scores)),
        }
    };
    run.rows.iter().map(view).collect()
}

#[derive(Serialize)]
pub struct SourceView {
    name: String,
    series: usize,
    bars: String,
    /// COST, unserved CPU and OOM kills of each policy.
    cells: Vec<[String; 3]>,
}

pub fn by_source(run: &Run) -> anyhow::Result<Vec<SourceView>> {
    let view = |source: &String| {
        let means: Vec<_> = run
            .rows
            .iter()
            .map(|row| (row.policy, Score::mean(&run.of_source(row, source))))
            .collect();
        let bar = |(kind, mean): &(Kind, Score)| figure(*kind, mean.cost, 0.0);
        Ok(SourceView {
            name: source.clone(),
            series: run.series.iter().filter(|series| series.source() == source).count(),
            bars: chart::bars(&means.iter().map(bar).collect::<Vec<_>>(), |cost| {
                format!("{cost:.2}")
            })?,
            cells: means.iter().map(|(_, mean)| table::source_cells(mean)).collect(),
        })
    };
    run.sources.iter().map(view).collect()
}

#[derive(Serialize)]
pub struct DifferenceView {
    of: String,
    series: usize,
    /// In percent: the difference, and its interval.
    cells: [String; 2],
}

pub fn differences(run: &Run) -> Vec<DifferenceView> {
    let view = |difference: Difference| DifferenceView {
        cells: difference.cells(),
        of: difference.of,
        series: difference.series,
    };
    run.differences().into_iter().map(view).collect()
}

#[derive(Serialize)]
pub struct TradeOff {
    title: &'static str,
    chart: String,
}

/// What is saved against what it costs the pods, for each resource.
pub fn trade_offs(run: &Run) -> anyhow::Result<[TradeOff; 2]> {
    let means: Vec<_> =
        run.rows.iter().map(|row| (row.policy, Score::mean(&row.scores()))).collect();
    let chart = |of: fn(&Score) -> (f64, f64), x: &str, y: &str| {
        let point = |(kind, mean): &(Kind, Score)| {
            let (x, y) = of(mean);
            figure(*kind, x, y)
        };
        chart::scatter(&means.iter().map(point).collect::<Vec<_>>(), x, y)
    };
    let cpu = chart(
        |s| (100.0 * s.cpu_slack, 100.0 * s.unserved),
        "CPU slack, % of the limit",
        "unserved CPU, %",
    );
    let memory = chart(
        |s| (100.0 * s.memory_slack, s.ooms),
        "memory slack, % of the limit",
        "OOM kills per day",
    );
    Ok([
        TradeOff { title: "CPU: slack against unserved demand", chart: cpu? },
        TradeOff { title: "Memory: slack against OOM kills", chart: memory? },
    ])
}

#[derive(Serialize)]
pub struct CautionsView {
    title: &'static str,
    rows: Vec<(String, [String; table::COLUMNS.len()])>,
    chart: String,
}

/// COST against kills over the values of caution, and the policies that have none beside them.
pub fn cautions(of: &Cautions, run: &Run) -> anyhow::Result<CautionsView> {
    let point = |point: &Point| Figure {
        label: format!("caution {}", point.caution).into(),
        ..figure(Kind::Dqn, point.mean.ooms, point.mean.cost)
    };
    let points: Vec<_> = of.points.iter().map(point).collect();
    let others = run.rows.iter().filter(|row| row.policy == Kind::GuardRule).map(|row| {
        let mean = Score::mean(&row.scores());
        figure(row.policy, mean.ooms, mean.cost)
    });
    Ok(CautionsView {
        title: Cautions::TITLE,
        rows: of.rows(),
        chart: chart::curve(&points, &others.collect::<Vec<_>>(), "OOM kills per day", "COST")?,
    })
}

#[derive(Serialize)]
pub struct PredictionView {
    of: String,
    /// CPU and memory: the model's error, then that of "as now".
    cells: [String; 4],
}

/// The error of the model's prediction head, over all series and by source; none without the model.
pub fn prediction(run: &Run) -> Option<Vec<PredictionView>> {
    let row = run.rows.iter().find(|row| row.policy == Kind::Dqn)?;
    let view = |of: &str, scores: &[Score]| {
        let Score { cpu_error, cpu_persistence, memory_error, memory_persistence, .. } =
            Score::mean(scores);
        let errors = [cpu_error, cpu_persistence, memory_error, memory_persistence];
        PredictionView {
            of: of.to_owned(),
            cells: errors.map(|error| format!("{:.2}", 100.0 * error)),
        }
    };
    let by_source = run.sources.iter().map(|source| view(source, &run.of_source(row, source)));
    Some([view("all", &row.scores())].into_iter().chain(by_source).collect())
}

#[derive(Serialize)]
pub struct CourseView {
    name: String,
    why: &'static str,
    figures: Vec<CourseFigures>,
    cpu: String,
    memory: String,
}

#[derive(Serialize)]
struct CourseFigures {
    policy: &'static str,
    colour: String,
    cells: [String; table::COLUMNS.len()],
}

pub fn course(
    run: &Run,
    chosen: &Chosen,
    courses: &[(&Row, &Course)],
) -> anyhow::Result<CourseView> {
    let figures = |(row, _): &(&Row, &Course)| {
        let score = row.outcomes[chosen.series].score;
        let cells = table::cells(&score, score.cost);
        CourseFigures { policy: row.policy.name(), colour: css(row.policy), cells }
    };
    let lines: Vec<_> =
        courses.iter().map(|(row, course)| (chart::colour(row.policy), *course)).collect();
    Ok(CourseView {
        name: run.series[chosen.series].name.clone(),
        why: chosen.why,
        figures: courses.iter().map(figures).collect(),
        cpu: course::chart(&lines, CPU, false)?,
        memory: course::chart(&lines, MEMORY, true)?,
    })
}

#[derive(Serialize)]
pub struct SeriesView {
    name: String,
    costs: Vec<String>,
}

/// The COST of every series under every policy.
pub fn series(run: &Run) -> Vec<SeriesView> {
    let view = |(place, name): (usize, &str)| SeriesView {
        name: name.to_owned(),
        costs: run
            .rows
            .iter()
            .map(|row| format!("{:.3}", row.outcomes[place].score.cost))
            .collect(),
    };
    let mut views: Vec<_> =
        run.series.iter().map(|series| series.name.as_str()).enumerate().map(view).collect();
    views.sort_by(|a, b| a.name.cmp(&b.name));
    views
}

#[derive(Serialize)]
pub struct ImportanceView {
    title: &'static str,
    moments: usize,
    columns: [&'static str; Importance::COLUMNS.len()],
    rows: Vec<(String, [String; Importance::COLUMNS.len()])>,
}

pub fn importance(importance: &Importance) -> ImportanceView {
    ImportanceView {
        title: Importance::TITLE,
        moments: importance.moments,
        columns: Importance::COLUMNS,
        rows: importance.rows(),
    }
}

#[derive(Serialize)]
pub struct ModelView {
    facts: Vec<Pair>,
    features: Vec<String>,
}

/// The model's file, and what it says of itself.
pub fn model(network: &Network, path: &Path) -> ModelView {
    let layers: Vec<String> =
        network.layers().iter().map(|block| format!("{} {block}", block.name)).collect();
    let mut facts = vec![
        ("file".to_owned(), path.display().to_string()),
        ("layers".to_owned(), layers.join(", ")),
        ("weights and biases".to_owned(), network.parameters().to_string()),
    ];
    for (key, value) in network.metadata() {
        match value {
            Value::Object(entries) => {
                let known = entries.iter().filter(|(name, _)| *name != "features");
                facts.extend(known.map(|(name, value)| (format!("{key}: {name}"), plain(value))));
            }
            _ if key != "features" => facts.push((key.clone(), plain(value))),
            _ => {}
        }
    }
    ModelView { facts, features: network.features().to_vec() }
}

pub fn settings(report: &Report<'_>) -> Vec<Pair> {
    let (run, policy) = (report.run, report.policy);
    let fact = |name: &str, value: String| (name.to_owned(), value);
    let traces = report
        .traces
        .map_or("generated by dqn-scaler".to_owned(), |folder| folder.display().to_string());
    let sampling = if run.hold { "held until the next one" } else { "interpolated" };
    let mut facts = vec![
        fact("series", format!("{traces}: {}, {:.1} pod-days", run.series.len(), run.pod_days())),
        fact("samples", if run.generated { "every 30 s".to_owned() } else { sampling.to_owned() }),
        fact("part", run.part.clone().unwrap_or_else(|| "all".to_owned())),
        fact(
            "step",
            format!(
                "{:.0} % of the limit, up or down, before steps grow",
                100.0 * policy.scale_factor
            ),
        ),
        fact(
            "bounds",
            format!(
                "{} to {} cores, {} to {} MiB",
                policy.min.cpu, policy.max.cpu, policy.min.memory, policy.max.memory
            ),
        ),
        fact("time", run.timing.clone()),
        fact("cooldown of model and guard", format!("{} min", run.cooldown)),
    ];
    for (resource, name) in [(Resource::Cpu, "CPU"), (Resource::Memory, "memory")] {
        let guard = &policy.guard;
        let hours = guard.window[resource] as f64 / 3600.0;
        let (headroom, fade) = (100.0 * guard.headroom[resource], 100.0 * guard.fade[resource]);
        let value = format!("peak of {hours} h, fading by {fade:.0} %, {headroom:.1} % head room");
        facts.push(fact(&format!("guard, {name}"), value));
    }
    facts.push(fact("seed of what is drawn", report.seed.to_string()));
    facts.push(fact("compared in", format!("{:.1} s", run.seconds)));
    facts
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

fn figure(kind: Kind, x: f64, y: f64) -> Figure {
    Figure { label: kind.name().into(), colour: chart::colour(kind), x, y }
}

/// The colour of a policy, for the style of its name's mark.
fn css(kind: Kind) -> String {
    let plotters::style::RGBColor(red, green, blue) = chart::colour(kind);
    format!("#{red:02x}{green:02x}{blue:02x}")
}
