//! The figures as plots.

use std::path::Path;

use anyhow::anyhow;
use plotters::prelude::*;

use crate::report::{Measured, Mode, PHASES};

const SIZE: (u32, u32) = (640, 400);
const COLOURS: [RGBColor; 7] = [
    RGBColor(86, 180, 233),
    RGBColor(0, 114, 178),
    RGBColor(0, 158, 115),
    RGBColor(240, 228, 66),
    RGBColor(230, 159, 0),
    RGBColor(213, 94, 0),
    RGBColor(204, 121, 167),
];

pub fn all(all: &[Measured], folder: &Path) -> anyhow::Result<()> {
    let dry: Vec<&Measured> = all.iter().filter(|m| m.mode == Mode::DryRun).collect();
    if dry.len() < 2 {
        return Ok(());
    }
    let phase = |name: &'static str| {
        move |m: &Measured| m.phases.get(name).map_or(0.0, |spent| spent.0 * 1e3)
    };
    let phases: Vec<Line> = PHASES
        .iter()
        .map(|name| (*name, Box::new(phase(name)) as Box<dyn Fn(&Measured) -> f64>))
        .collect();
    lines(&dry, "One cycle in dry run: milliseconds by phase", &phases, &folder.join("cycle.svg"))?;
    let latencies: Vec<Line> = vec![
        ("/health p99", Box::new(|m: &Measured| m.health.p99_ms)),
        ("/health p50", Box::new(|m: &Measured| m.health.p50_ms)),
        ("/decisions p99", Box::new(|m: &Measured| m.decisions.p99_ms)),
        ("/pods p50", Box::new(|m: &Measured| m.list.p50_ms)),
    ];
    lines(&dry, "Answers while cycles run: milliseconds", &latencies, &folder.join("answers.svg"))?;
    let memory: Vec<Line> = vec![("peak RSS", Box::new(|m: &Measured| m.peak_rss))];
    lines(&dry, "Peak memory: MiB", &memory, &folder.join("memory.svg"))
}

type Line = (&'static str, Box<dyn Fn(&Measured) -> f64>);

/// Both axes logarithmic: what is linear rises with one slope.
fn lines(all: &[&Measured], title: &str, lines: &[Line], file: &Path) -> anyhow::Result<()> {
    let values =
        || all.iter().flat_map(|m| lines.iter().map(|line| line.1(m))).filter(|value| *value > 0.0);
    let (low, high) = (values().fold(f64::MAX, f64::min), values().fold(0.0, f64::max));
    let (low, high) = (low.max(0.01) * 0.7, high * 1.5);
    let sizes: Vec<f64> = all.iter().map(|m| m.pods as f64).collect();
    let (first, last) = (sizes[0] * 0.8, sizes[sizes.len() - 1] * 1.25);
    let draw = || -> Result<(), Box<dyn std::error::Error>> {
        let area = SVGBackend::new(file, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(36)
            .y_label_area_size(60)
            .build_cartesian_2d(
                (first..last).log_scale().with_key_points(sizes),
                (low..high).log_scale().with_key_points(marks(low, high)),
            )?;
        chart
            .configure_mesh()
            .x_desc("pods")
            .light_line_style(TRANSPARENT)
            .x_label_formatter(&|pods| format!("{pods:.0}"))
            .y_label_formatter(&|value| format!("{value}"))
            .draw()?;
        for ((name, value), colour) in lines.iter().zip(COLOURS) {
            let points: Vec<(f64, f64)> =
                all.iter().map(|m| (m.pods as f64, value(m).max(0.01))).collect();
            chart
                .draw_series(points.iter().map(|point| Circle::new(*point, 3, colour.filled())))?;
            chart
                .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
                .label(*name)
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2))
                });
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.8))
            .draw()?;
        area.present()?;
        Ok(())
    };
    draw().map_err(|error| anyhow!("{}: {error}", file.display()))
}

/// Round numbers for a logarithmic axis: one a decade, or three where there are few decades.
fn marks(low: f64, high: f64) -> Vec<f64> {
    let steps: &[f64] = if high / low > 100.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
    let decades = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let marks = decades.flat_map(|decade| steps.iter().map(move |step| step * 10f64.powi(decade)));
    marks.filter(|mark| (low..=high).contains(mark)).collect()
}
