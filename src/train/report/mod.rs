//! `evaluate --report`: a comparison as one page that needs nothing beside itself.

mod chart;
mod chosen;
mod course;
mod curves;
mod inputs;
mod view;

use std::path::{Path, PathBuf};

use anyhow::Context;
use minijinja::Environment;
use minijinja::value::Serde;

use self::chosen::Chosen;
pub use self::inputs::Report;
use super::difference::Difference;
use super::policies::{self, Course, Kind, Setting};
use super::table::{self, Row};

const PAGE: &str = include_str!("page.html");

impl Report<'_> {
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let page = self.render()?;
        std::fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))
    }

    pub fn render(&self) -> anyhow::Result<String> {
        // The name tells that what is filled in has to be escaped for HTML.
        let mut templates = Environment::new();
        templates.add_template("page.html", PAGE)?;
        let run = self.run;
        let page = view::Page {
            title: run.title(),
            written_at: &self.written_at,
            version: env!("CARGO_PKG_VERSION"),
            settings: view::settings(self),
            savings: self.savings.map(view::savings),
            importance: self.importance.map(view::importance),
            model: self.network.map(|network| view::model(network, self.model)),
            columns: table::COLUMNS,
            policies: view::policies(run),
            conditions: run.conditions(),
            by_source: view::by_source(run)?,
            difference: Difference::TITLE,
            differences: view::differences(run),
            trade_offs: view::trade_offs(run)?,
            cautions: self.cautions.map(|of| view::cautions(of, run)).transpose()?,
            prediction: view::prediction(run),
            courses: self.courses()?,
            curves: self.curves.map(curves::read).transpose()?,
            curves_file: self.curves.map(|path| path.display().to_string()),
            series: view::series(run),
        };
        Ok(templates.get_template("page.html")?.render(Serde(&page))?)
    }

    /// The policy that the courses are about, the model's if it was compared, and the one it is
    /// held against.
    fn subject(&self) -> Option<(&Row, Option<&Row>)> {
        let of = |kind| self.run.rows.iter().find(|row| row.policy == kind);
        let subject = of(Kind::Dqn).or(self.run.rows.first())?;
        Some((subject, of(Kind::PeakTuned).filter(|reference| reference.policy != subject.policy)))
    }

    fn courses(&self) -> anyhow::Result<Vec<view::CourseView>> {
        let Some((subject, reference)) = self.subject() else { return Ok(Vec::new()) };
        let chosen = chosen::choose(self.run, subject, reference, self.named);
        let rows: Vec<&Row> = [subject].into_iter().chain(reference).collect();
        let series: Vec<_> =
            chosen.iter().map(|Chosen { series, .. }| self.run.series[*series].clone()).collect();
        let replay = |row: &&Row| {
            let setting = Setting {
                network: self.network,
                policy: self.policy,
                timing: self.timing,
                seed: self.seed,
                keep: true,
            };
            let outcomes = policies::replay(row.policy, &series, setting)?;
            Ok(outcomes.into_iter().map(|outcome| outcome.course.unwrap_or_default()).collect())
        };
        let courses: Vec<Vec<Course>> = rows.iter().map(replay).collect::<anyhow::Result<_>>()?;
        let view = |(place, chosen): (usize, &Chosen)| {
            let of_rows: Vec<_> =
                rows.iter().zip(&courses).map(|(row, courses)| (*row, &courses[place])).collect();
            view::course(self.run, chosen, &of_rows)
        };
        chosen.iter().enumerate().map(view).collect()
    }
}

/// Now, as it stands on the page.
pub fn now() -> String {
    chrono::Utc::now().format("%Y-%m-%d %H:%M UTC").to_string()
}

/// The arguments of `evaluate` that are about the page.
#[derive(Debug, Clone, clap::Args)]
pub struct ReportArgs {
    /// Write a page with plots, too: one HTML file that needs nothing beside itself
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,
    /// The course of the model's training, as `train --curves` writes it, for the report
    #[arg(long, value_name = "FILE", requires = "report")]
    pub curves: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::train::evaluate::{self, EvaluateArgs};

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: EvaluateArgs,
    }

    /// The page of a run over series of these names, with the arguments `more`.
    fn page(names: &[&str], more: &[&str]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let [traces, curves, file] =
            ["series", "curves.csv", "report.html"].map(|name| folder.path().join(name));
        std::fs::create_dir(&traces).unwrap();
        for (place, name) in names.iter().enumerate() {
            let line = |minute: usize| {
                format!("{},{},{}\n", 60 * minute, 0.5 + 0.1 * place as f64, 100 + minute % 7)
            };
            let lines = (0..300).map(line).collect::<String>();
            let text = format!("timestamp_s,cpu_cores,memory_mib\n{lines}");
            std::fs::write(traces.join(format!("{name}.csv")), text).unwrap();
        }
        std::fs::write(&curves, "round,cost\n20,1.5\n40,1.25\n").unwrap();
        let flags = [
            "evaluate",
            "--traces",
            traces.to_str().unwrap(),
            "--report",
            file.to_str().unwrap(),
            "--curves",
        ];
        let args = flags.into_iter().chain([curves.to_str().unwrap()]).chain(more.iter().copied());
        evaluate::run(&Command::parse_from(args).args).unwrap();
        std::fs::read_to_string(&file).unwrap()
    }

    #[test]
    fn it_holds_every_policy_series_and_figure_and_needs_nothing_from_outside() {
        let page = page(&["a-1", "b-2"], &["--policies", "static,peak-tuned,oracle,dqn"]);
        for name in ["static", "peak-tuned", "oracle", "dqn"] {
            assert!(page.contains(&format!("></span>{name}</td>")), "{name}");
        }
        for text in [
            "a-1 <span class=\"soft\">(best)",
            "b-2 <span class=\"soft\">(best)",
            "cpu_usage",
            "Training",
            "1.2500",
        ] {
            assert!(page.contains(text), "{text}");
        }
        // Two trade-offs, a chart for each source, two for each series, one of the training.
        assert_eq!(page.matches("<svg").count(), 2 + 2 + 4 + 1);
        for load in ["http://", "https://", "src=", "url(", "@import", "<script", "<link"] {
            assert!(!page.contains(load), "{load}");
        }
    }

    #[test]
    fn names_from_outside_are_text_and_nothing_else() {
        let page = page(&["<b>", "<i>-\"&"], &["--policies", "static,peak"]);
        assert!(!page.contains("<b>") && !page.contains("<i>"));
        assert!(page.contains("&lt;b&gt;") && page.contains("&lt;i&gt;-&quot;&amp;"));
        assert!(page.contains("limit of static") && !page.contains("<h2>Model"));
    }
}
