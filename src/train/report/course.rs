//! Limit, usage and demand of one series over time, thinned out to what a chart can show.

use plotters::style::{Color, RGBColor};

use super::chart::{self, INK, Line};
use crate::sim::physics::Resources;
use crate::train::demand::STEPS_PER_DAY;
use crate::train::policies::Course;

/// Parts of a course, each of which is drawn by its smallest and its largest value.
const PARTS: usize = 260;

/// A resource by its name, with its unit.
pub const CPU: (&str, fn(&Resources) -> f64) = ("cores", |resources| resources.cpu);
pub const MEMORY: (&str, fn(&Resources) -> f64) = ("MiB", |resources| resources.memory);

/// The demand and usage under the first course's policy, and the limits of all courses; OOM kills
/// as crosses where `kills`.
pub fn chart(
    courses: &[(RGBColor, &Course)],
    (unit, of): (&str, fn(&Resources) -> f64),
    kills: bool,
) -> anyhow::Result<String> {
    let mut lines = Vec::new();
    let mut crosses = Vec::new();
    if let Some((_, course)) = courses.first() {
        let demand = thinned(course.iter().map(|(demand, _, _)| of(demand)));
        lines.push(Line { colour: INK.mix(0.16), width: 0, points: demand, filled: true });
        let usage = thinned(course.iter().map(|(_, _, usage)| of(usage)));
        lines.push(Line { colour: INK.mix(0.6), width: 1, points: usage, filled: false });
        if kills {
            crosses = oom_kills(course);
        }
    }
    // The first course's limit comes last and so lies on top.
    for (place, (colour, course)) in courses.iter().enumerate().rev() {
        let limit = thinned(course.iter().map(|(_, limit, _)| of(limit)));
        let width = if place == 0 { 2 } else { 1 };
        lines.push(Line { colour: colour.to_rgba(), width, points: limit, filled: false });
    }
    chart::lines((480, 230), &lines, &crosses, "days", unit)
}

/// When, in days, and at which limit the container was killed for memory.
fn oom_kills(course: &Course) -> Vec<(f64, f64)> {
    let killed = |(demand, limit, usage): &(Resources, Resources, Resources)| {
        // While it is down it uses nothing.
        (usage.memory > 0.0 && demand.memory > limit.memory).then_some(limit.memory)
    };
    course
        .iter()
        .enumerate()
        .filter_map(|(step, at)| Some((step as f64 / STEPS_PER_DAY, killed(at)?)))
        .collect()
}

/// The smallest and the largest value of each part, in the order in which they came.
fn thinned(values: impl ExactSizeIterator<Item = f64>) -> Vec<(f64, f64)> {
    let part = values.len().div_ceil(PARTS).max(1);
    let values: Vec<(f64, f64)> =
        values.enumerate().map(|(step, value)| (step as f64 / STEPS_PER_DAY, value)).collect();
    let extremes = |part: &[(f64, f64)]| {
        let by_value = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let mut both =
            [part.iter().min_by(by_value).copied(), part.iter().max_by(by_value).copied()];
        both.sort_by(|a, b| {
            a.map(|(at, _)| at)
                .partial_cmp(&b.map(|(at, _)| at))
                .unwrap_or(std::cmp::Ordering::Equal)
        });
        both
    };
    let mut points: Vec<_> = values.chunks(part).flat_map(extremes).flatten().collect();
    points.dedup();
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_every_extreme() {
        let mut values = vec![1.0; 40_000];
        (values[12_345], values[30_000]) = (9.0, 0.0);
        let points = thinned(values.into_iter());
        assert!(points.len() <= 2 * PARTS && points.is_sorted_by_key(|(at, _)| *at));
        for (step, value) in [(12_345.0, 9.0), (30_000.0, 0.0)] {
            assert!(points.contains(&(step / STEPS_PER_DAY, value)));
        }
        assert_eq!(thinned([3.0, 4.0].into_iter()), [(0.0, 3.0), (1.0 / STEPS_PER_DAY, 4.0)]);
    }

    #[test]
    fn a_kill_is_marked_once_and_not_while_the_container_is_down() {
        let of = |memory| Resources { cpu: 1.0, memory };
        let course = vec![
            (of(90.0), of(100.0), of(90.0)),
            (of(120.0), of(100.0), of(100.0)),
            (of(120.0), of(100.0), Resources::ZERO),
        ];
        assert_eq!(oom_kills(&course), [(1.0 / STEPS_PER_DAY, 100.0)]);
    }
}
