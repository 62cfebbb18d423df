//! What an answer of the network goes by most: the features without which it would differ the most.

use crate::action::Action;
use crate::decision::Decision;
use crate::features::{FeatureGroup, FeatureSet};
use crate::network::QValues;
use crate::resource::Resource;
use crate::room;

/// Room that differs by less than this share has no reason.
const LEAST: f64 = 0.01;
/// Nor has a lead that is still this share of what it was.
const SAME_LEAD: f32 = 0.95;

/// In words; None where no feature alone makes a difference.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reasons {
    pub action: Option<String>,
    pub room: Option<String>,
}

/// The row itself, then for each group of features one in which these are what is typical.
pub fn rows(features: &FeatureSet, row: &[f32], typical: &[f32]) -> Vec<f32> {
    let mut rows = row.to_vec();
    for (_, columns) in features.groups() {
        let begin = rows.len();
        rows.extend_from_slice(row);
        for column in columns {
            rows[begin + column] = typical[column];
        }
    }
    rows
}

/// Compares the answers to [`rows`].
pub fn reasons(
    resource: Resource,
    decision: &Decision,
    features: &FeatureSet,
    answers: &[QValues],
) -> Reasons {
    let Some((answer, without)) = answers.split_first() else { return Reasons::default() };
    let groups = features.groups();
    let without = || groups.iter().map(|(group, _)| *group).zip(without);
    let preferred = decision.predicted[resource];
    let lead = |answer: &QValues| lead(answer.of(resource), preferred);
    let smallest = without().min_by(|a, b| lead(a.1).total_cmp(&lead(b.1)));
    let action = smallest.filter(|(_, other)| lead(other) < SAME_LEAD * lead(answer)).map(
        |(group, other)| match other.preference(resource).action {
            same if same == preferred => format!(
                "{} (with what is typical, {} would lead by {:.2} instead of {:.2})",
                group.name(),
                preferred.name(),
                lead(other),
                lead(answer)
            ),
            another => format!("{} (with what is typical, {})", group.name(), another.name()),
        },
    );
    Reasons { action, room: room_reason(resource, decision, answer, without()) }
}

fn room_reason<'a>(
    resource: Resource,
    decision: &Decision,
    answer: &QValues,
    without: impl Iterator<Item = (FeatureGroup, &'a QValues)>,
) -> Option<String> {
    let share = decision.basis[resource].expected?.share;
    let room = |answer: &QValues| {
        answer.room.map(|levels| room::expected(&levels[resource], 1.0, share).limit)
    };
    let ours = room(answer)?;
    let differs = without.filter_map(|(group, other)| Some((group, room(other)? / ours)));
    let (group, times) = differs.max_by(|a, b| a.1.ln().abs().total_cmp(&b.1.ln().abs()))?;
    let percent = 100.0 * (times - 1.0).abs();
    let how = if times > 1.0 { "more" } else { "less" };
    let told = || format!("{} (with what is typical, {percent:.0} % {how})", group.name());
    (percent >= 100.0 * LEAST).then(told)
}

/// By how much the action is worth more than the next best one.
fn lead(q_values: [f32; 3], of: Action) -> f32 {
    let others = Action::ALL.iter().zip(q_values).filter(|(action, _)| **action != of);
    let next = others.map(|(_, value)| value).fold(f32::NEG_INFINITY, f32::max);
    let own = Action::ALL.iter().zip(q_values).find(|(action, _)| **action == of);
    own.map_or(0.0, |(_, value)| value - next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::Observation;
    use crate::resource::PerResource;
    use crate::room::{Expected, LEVELS};

    fn answer(cpu: [f32; 3], level: f32) -> QValues {
        let room = PerResource::new([level; LEVELS], [0.0; LEVELS]);
        QValues { cpu, room: Some(room), ..QValues::default() }
    }

    #[test]
    fn the_group_that_matters_most_is_named() {
        let features =
            FeatureSet::from_names(&["cpu_usage", "cpu_peak", "memory_peak", "cpu_last"]).unwrap();
        let rows = rows(&features, &[0.1, 0.2, 0.3, 0.4], &[1.0, 2.0, 3.0, 4.0]);
        assert_eq!(
            rows.chunks(4).collect::<Vec<_>>(),
            [[0.1, 0.2, 0.3, 0.4], [1.0, 0.2, 0.3, 4.0], [0.1, 2.0, 3.0, 0.4]]
        );
        let seen = Observation::measured(0, PerResource::default(), PerResource::new(1.0, 1.0));
        let mut decision = Decision::maintain(seen);
        decision.predicted.cpu = Action::Decrease;
        decision.basis.cpu.expected = Some(Expected { limit: 1.0, share: 0.8 });
        let ours = answer([0.9, 0.5, 0.0], 0.0);
        let by_usage = answer([0.7, 0.5, 0.0], 0.1);
        let told =
            |by_peaks| reasons(Resource::Cpu, &decision, &features, &[ours, by_usage, by_peaks]);
        assert_eq!(
            told(answer([0.1, 0.2, 0.6], -0.5)),
            Reasons {
                action: Some("recent peaks (with what is typical, INCREASE)".into()),
                room: Some("recent peaks (with what is typical, 39 % less)".into()),
            }
        );
        assert_eq!(
            told(ours),
            Reasons {
                action: Some(
                    "usage now (with what is typical, DECREASE would lead by 0.20 instead of 0.40)"
                        .into()
                ),
                room: Some("usage now (with what is typical, 11 % more)".into()),
            }
        );
        assert_eq!(reasons(Resource::Memory, &decision, &features, &[ours; 3]), Reasons::default());
    }
}
