//! Charts as SVG that is laid into the page: coloured by its style sheet, and without any text from
//! outside.

use std::borrow::{Borrow, Cow};
use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::train::policies::Kind;

/// Colours that the page's style sheet replaces, so that they fit a light and a dark background.
pub const INK: RGBColor = RGBColor(1, 1, 1);
const GRID: RGBColor = RGBColor(2, 2, 2);
/// About 1.2 times the pixels that letters are high: to be read on a phone, where a chart is made
/// smaller.
const TEXT_SIZE: i32 = 17;
const BAR_HEIGHT: u32 = 24;
/// Pixels that two labels of points keep between them.
const LABEL_HEIGHT: i32 = 15;

type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Plot<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// The colour of a policy in every chart: of a middle lightness, to be seen on both backgrounds.
pub fn colour(kind: Kind) -> RGBColor {
    match kind {
        Kind::Dqn => RGBColor(214, 64, 69),
        Kind::PeakTuned => RGBColor(48, 128, 204),
        Kind::Peak => RGBColor(22, 160, 170),
        Kind::Threshold => RGBColor(224, 138, 32),
        Kind::Static => RGBColor(132, 136, 140),
        Kind::Vpa => RGBColor(150, 98, 200),
        Kind::VpaTwice => RGBColor(176, 140, 214),
        Kind::VpaRequests => RGBColor(112, 88, 160),
        Kind::Oracle => RGBColor(50, 158, 92),
        Kind::GuardRandom => RGBColor(176, 132, 72),
        Kind::GuardMaintain => RGBColor(196, 96, 150),
        Kind::GuardRule => RGBColor(120, 160, 60),
    }
}

/// A point or a bar.
pub struct Figure {
    pub label: Cow<'static, str>,
    pub colour: RGBColor,
    pub x: f64,
    pub y: f64,
}

pub struct Line {
    pub colour: RGBAColor,
    pub width: u32,
    pub points: Vec<(f64, f64)>,
    /// Fills what is below the line instead of drawing it.
    pub filled: bool,
}

/// Labelled points.
pub fn scatter(figures: &[Figure], x_title: &str, y_title: &str) -> anyhow::Result<String> {
    let x = padded(figures.iter().map(|figure| figure.x));
    let y = 0.0..figures.iter().map(|figure| figure.y).fold(0.1, f64::max) * 1.1;
    svg((440, 310), |canvas| {
        let plot = axes(canvas, x, y, x_title, y_title)?;
        points(canvas, plot, figures)
    })
}

/// Labelled points that a line joins in their order, and others beside them; neither axis begins at
/// 0.
pub fn curve(
    joined: &[Figure],
    others: &[Figure],
    x_title: &str,
    y_title: &str,
) -> anyhow::Result<String> {
    let all = || joined.iter().chain(others);
    let (x, y) = (padded(all().map(|figure| figure.x)), padded(all().map(|figure| figure.y)));
    svg((440, 310), |canvas| {
        let mut plot = axes(canvas, x, y, x_title, y_title)?;
        if let Some(first) = joined.first() {
            let line = joined.iter().map(|figure| (figure.x, figure.y));
            plot.draw_series(LineSeries::new(line, first.colour.stroke_width(2)))?;
        }
        points(canvas, plot, &all().collect::<Vec<_>>())
    })
}

fn points<F: Borrow<Figure>>(
    canvas: &Canvas<'_>,
    mut plot: Plot<'_, '_>,
    figures: &[F],
) -> anyhow::Result<()> {
    let figures = || figures.iter().map(Borrow::borrow);
    plot.draw_series(
        figures().map(|figure| Circle::new((figure.x, figure.y), 5, figure.colour.filled())),
    )?;
    let right = canvas.dim_in_pixel().0 as i32;
    let mut labels: Vec<_> = figures().map(|f| (plot.backend_coord(&(f.x, f.y)), f)).collect();
    labels.sort_by_key(|((_, y), _)| std::cmp::Reverse(*y));
    // What a label must not cover, as left, right and middle: points, and the labels before it.
    let mut taken: Vec<(i32, i32, i32)> =
        labels.iter().map(|((x, y), _)| (x - 5, x + 5, *y)).collect();
    for ((x, mut y), Figure { label, colour, .. }) in labels {
        let width = canvas.estimate_text_size(label, &text(HPos::Left))?.0 as i32;
        let (side, at, from, to) = match x + 9 + width > right {
            true => (HPos::Right, x - 9, x - 9 - width, x - 9),
            false => (HPos::Left, x + 9, x + 9, x + 9 + width),
        };
        let covers = |y: i32| {
            move |(left, right, middle): &&(i32, i32, i32)| {
                *left < to && *right > from && (y - middle).abs() < LABEL_HEIGHT
            }
        };
        // Upwards to where there is room.
        while let Some((_, _, middle)) = taken.iter().find(covers(y)) {
            y = middle - LABEL_HEIGHT;
        }
        taken.push((from, to, y));
        // In the colour of its point, which may be some way below.
        canvas.draw(&Text::new(&**label, (at, y), text(side).color(colour)))?;
    }
    Ok(())
}

/// Horizontal bars from 0 to the figures' `x`, from top to bottom, with `write` for what stands
/// beside them.
pub fn bars(figures: &[Figure], write: fn(f64) -> String) -> anyhow::Result<String> {
    let longest = figures.iter().map(|figure| figure.x).fold(1e-9, f64::max);
    svg((360, 8 + BAR_HEIGHT * figures.len() as u32), |canvas| {
        let mut plot = ChartBuilder::on(canvas)
            .margin(4)
            .set_label_area_size(LabelAreaPosition::Left, 112)
            .set_label_area_size(LabelAreaPosition::Right, 48)
            .build_cartesian_2d(0.0..longest, figures.len() as f64..0.0)?;
        let places = || figures.iter().enumerate().map(|(place, figure)| (place as f64, figure));
        plot.draw_series(places().map(|(place, figure)| {
            Rectangle::new([(0.0, place + 0.15), (figure.x, place + 0.85)], figure.colour.filled())
        }))?;
        for (place, figure) in places() {
            let (left, y) = plot.backend_coord(&(0.0, place + 0.5));
            let (end, _) = plot.backend_coord(&(figure.x, place + 0.5));
            canvas.draw(&Text::new(&*figure.label, (left - 6, y), text(HPos::Right)))?;
            canvas.draw(&Text::new(write(figure.x), (end + 6, y), text(HPos::Left)))?;
        }
        Ok(())
    })
}

/// Lines over one axis, the first at the back, and crosses on top of them.
pub fn lines(
    size: (u32, u32),
    lines: &[Line],
    crosses: &[(f64, f64)],
    x_title: &str,
    y_title: &str,
) -> anyhow::Result<String> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let x = padded(points().map(|(x, _)| *x));
    let y = 0.0..points().map(|(_, y)| *y).fold(1e-6, f64::max) * 1.05;
    svg(size, |canvas| {
        let mut plot = axes(canvas, x, y, x_title, y_title)?;
        for line in lines {
            let points = line.points.iter().copied();
            if line.filled {
                plot.draw_series(AreaSeries::new(points, 0.0, line.colour))?;
            } else {
                plot.draw_series(LineSeries::new(points, line.colour.stroke_width(line.width)))?;
            }
        }
        plot.draw_series(crosses.iter().map(|cross| Cross::new(*cross, 4, INK.stroke_width(2))))?;
        Ok(())
    })
}

/// The range of the values, widened where there is only one.
fn padded(values: impl Iterator<Item = f64>) -> Range<f64> {
    let (least, greatest) = values
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(least, greatest), value| {
            (least.min(value), greatest.max(value))
        });
    match greatest - least {
        span if span > 0.0 => least - 0.02 * span..greatest + 0.02 * span,
        0.0 => least - 0.5..greatest + 0.5,
        _ => 0.0..1.0,
    }
}

fn axes<'a, 'b>(
    canvas: &'a Canvas<'b>,
    x: Range<f64>,
    y: Range<f64>,
    x_title: &str,
    y_title: &str,
) -> anyhow::Result<Plot<'a, 'b>> {
    let (wide, high) = (x.end - x.start, y.end - y.start);
    let mut plot = ChartBuilder::on(canvas)
        .margin(8)
        .x_label_area_size(40)
        .y_label_area_size(58)
        .build_cartesian_2d(x, y)?;
    plot.configure_mesh()
        .axis_style(GRID)
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .x_labels(6)
        .y_labels(5)
        .x_label_formatter(&|value| number(*value, wide))
        .y_label_formatter(&|value| number(*value, high))
        .x_desc(x_title)
        .y_desc(y_title)
        .label_style(("sans-serif", TEXT_SIZE).into_font().color(&INK))
        .axis_desc_style(("sans-serif", TEXT_SIZE).into_font().color(&INK))
        .draw()?;
    Ok(plot)
}

/// As many decimals as a step on an axis of this length needs.
fn number(value: f64, span: f64) -> String {
    let decimals = (1.0 - span.log10()).ceil().clamp(0.0, 6.0) as usize;
    format!("{:.decimals$}", value + 0.0)
}

fn text(side: HPos) -> TextStyle<'static> {
    ("sans-serif", TEXT_SIZE).into_font().color(&INK).pos(Pos::new(side, VPos::Center))
}

fn svg(
    size: (u32, u32),
    paint: impl FnOnce(&Canvas<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<String> {
    let mut text = String::new();
    {
        let canvas = SVGBackend::with_string(&mut text, size).into_drawing_area();
        paint(&canvas)?;
        canvas.present()?;
    }
    // Inside a page it needs no namespace, and the page tells how large it is.
    let opening = format!(r#"<svg viewBox="0 0 {} {}" aria-hidden="true">"#, size.0, size.1);
    Ok(text.split_once('>').map_or(String::new(), |(_, rest)| opening + rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(label: &'static str, x: f64, y: f64) -> Figure {
        Figure { label: label.into(), colour: colour(Kind::Dqn), x, y }
    }

    /// The positions of the texts that begin with one of `labels`.
    fn places(svg: &str, label: &str) -> Vec<(i32, i32)> {
        let number = |text: &str, name: &str| {
            let (_, rest) = text.split_once(&format!(" {name}=\"")).unwrap();
            rest.split('"').next().unwrap().parse::<i32>().unwrap()
        };
        let texts = svg.split("<text").skip(1).filter(|text| text.contains(&format!(">\n{label}")));
        texts.map(|text| (number(text, "x"), number(text, "y"))).collect()
    }

    #[test]
    fn labels_of_points_do_not_cover_each_other() {
        let points = [
            figure("one", 50.0, 1.0),
            figure("two", 50.0, 1.0),
            figure("three", 50.5, 1.0),
            figure("far away", 90.0, 1.0),
        ];
        let svg = scatter(&points, "x", "y").unwrap();
        let heights = ["one", "two", "three"].map(|label| places(&svg, label)[0].1);
        for (index, height) in heights.iter().enumerate() {
            for other in &heights[..index] {
                assert!((height - other).abs() >= LABEL_HEIGHT, "{heights:?}");
            }
        }
        // Where there is no room to its right, a label stands to the left of its point.
        let far = svg.split("<text").find(|text| text.contains("far away")).unwrap();
        assert!(
            far.contains("text-anchor=\"end\"") && heights.contains(&places(&svg, "far away")[0].1),
            "{far}"
        );
    }

    #[test]
    fn bars_are_as_long_as_their_figures() {
        let svg = bars(&[figure("one", 1.0, 0.0), figure("half", 0.5, 0.0)], |value| {
            format!("{value:.2}")
        })
        .unwrap();
        let (one, half) = (places(&svg, "1.00")[0].0, places(&svg, "0.50")[0].0);
        let left = places(&svg, "one")[0].0 + 6;
        assert!(((half - left) * 2 - (one - left)).abs() <= 8, "{left} {half} {one}");
    }

    #[test]
    fn a_chart_of_nothing_and_one_of_a_single_point_can_be_drawn() {
        for svg in [
            scatter(&[], "x", "y"),
            scatter(&[figure("a", 1.0, 0.0)], "x", "y"),
            lines((300, 200), &[], &[], "x", "y"),
        ] {
            let svg = svg.unwrap();
            assert!(
                svg.starts_with("<svg viewBox")
                    && svg.trim_end().ends_with("</svg>")
                    && !svg.contains("NaN")
            );
            assert!(!svg.contains("://"));
        }
    }

    #[test]
    fn an_axis_tells_its_steps_apart() {
        assert_eq!(
            [number(20.0, 100.0), number(0.25, 1.0), number(0.004, 0.01)],
            ["20", "0.2", "0.004"]
        );
        assert_eq!(number(-0.0, 10.0), "0");
    }
}
