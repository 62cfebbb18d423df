//! The figures as plots.

use std::ops::Range;
use std::path::Path;

use anyhow::anyhow;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

use crate::live::{Live, Moment};
use crate::report::{Measured, PHASES};

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

type Line = (&'static str, Vec<(f64, f64)>);

/// The cost of sizes, on axes that are logarithmic: what is linear rises with one slope.
pub fn all(all: &[Measured], folder: &Path) -> anyhow::Result<()> {
    if all.len() < 2 {
        return Ok(());
    }
    let line = |name, value: &dyn Fn(&Measured) -> f64| -> Line {
        (name, all.iter().map(|m| (m.pods as f64, value(m).max(0.01))).collect())
    };
    let phase =
        |name: &'static str| line(name, &|m| m.phases.get(name).map_or(0.0, |spent| spent.0 * 1e3));
    let growth = |title: &str, lines: &[Line], file: &str| {
        let (x, y) = (span(lines, |point| point.0), span(lines, |point| point.1));
        let sizes = all.iter().map(|m| m.pods as f64).collect();
        let x = (0.8 * x.start..1.25 * x.end).log_scale().with_key_points(sizes);
        let (low, high) = (0.7 * y.start, 1.5 * y.end);
        let y = (low..high).log_scale().with_key_points(marks(low, high));
        draw(title, "pods", x, y, lines, &folder.join(file))
    };
    growth("One cycle in dry run: milliseconds by phase", &PHASES.map(phase), "cycle.svg")?;
    let latencies = [
        line("/health p99", &|m| m.health.p99_ms),
        line("/health p50", &|m| m.health.p50_ms),
        line("/decisions p99", &|m| m.decisions.p99_ms),
        line("/pods p50", &|m| m.list.p50_ms),
    ];
    growth("Answers while cycles run: milliseconds", &latencies, "answers.svg")?;
    growth("Peak memory: MiB", &[line("peak RSS", &|m| m.peak_rss)], "memory.svg")
}

/// The course of each size over time.
pub fn live(all: &[Live], folder: &Path) -> anyhow::Result<()> {
    for Live { pods, course, .. } in all {
        let line = |name, value: &dyn Fn(&Moment) -> f64| -> Line {
            (name, course.iter().map(|moment| (moment.at, value(moment))).collect())
        };
        let over_time = |what: &str, lines: &[Line], file: &str| {
            let (x, y) = (span(lines, |point| point.0), span(lines, |point| point.1));
            let file = folder.join(format!("live-{file}-{pods}.svg"));
            let title = format!("{pods} pods: {what}");
            draw(&title, "seconds", x, 0.0..1.1 * y.end, lines, &file)
        };
        let rates = [
            line("pods sent", &|moment| moment.sent),
            line("resizes done", &|moment| moment.done),
            line("writes allowed", &|moment| moment.allowed),
        ];
        over_time("a second", &rates, "rates")?;
        over_time("changes that wait", &[line("waiting", &|moment| moment.waiting)], "backlog")?;
        over_time("RSS in MiB", &[line("RSS", &|moment| moment.rss)], "memory")?;
        over_time("cores in use", &[line("CPU", &|moment| moment.cpu)], "cpu")?;
    }
    Ok(())
}

/// From the least to the largest, and never nothing.
fn span(lines: &[Line], of: fn(&(f64, f64)) -> f64) -> Range<f64> {
    let values = || lines.iter().flat_map(|(_, points)| points).map(of);
    let (low, high) = (values().fold(f64::MAX, f64::min), values().fold(0.01, f64::max));
    low.min(high / 2.0)..high
}

fn draw<X, Y>(
    title: &str,
    x_title: &str,
    x: X,
    y: Y,
    lines: &[Line],
    file: &Path,
) -> anyhow::Result<()>
where
    X: AsRangedCoord<Value = f64>,
    Y: AsRangedCoord<Value = f64>,
    X::CoordDescType: ValueFormatter<f64>,
    Y::CoordDescType: ValueFormatter<f64>,
{
    let paint = || -> Result<(), Box<dyn std::error::Error>> {
        let area = SVGBackend::new(file, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(36)
            .y_label_area_size(60)
            .build_cartesian_2d(x, y)?;
        chart
            .configure_mesh()
            .x_desc(x_title)
            .light_line_style(TRANSPARENT)
            .x_label_formatter(&|value| format!("{value:.0}"))
            .y_label_formatter(&|value| format!("{}", (value * 100.0).round() / 100.0))
            .draw()?;
        for ((name, points), colour) in lines.iter().zip(COLOURS) {
            chart
                .draw_series(points.iter().map(|point| Circle::new(*point, 2, colour.filled())))?;
            chart
                .draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))?
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
    paint().map_err(|error| anyhow!("{}: {error}", file.display()))
}

/// Round numbers for a logarithmic axis: one a decade, or three where there are few decades.
fn marks(low: f64, high: f64) -> Vec<f64> {
    let steps: &[f64] = if high / low > 100.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
    let decades = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let marks = decades.flat_map(|decade| steps.iter().map(move |step| step * 10f64.powi(decade)));
    marks.filter(|mark| (low..=high).contains(mark)).collect()
}
