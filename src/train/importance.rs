//! What a model's answers depend on: how much worse they get when a feature tells of another moment
//! than the one that is asked about (permutation importance).

use std::sync::Arc;

use ndarray::{Array2, ArrayView2};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use serde::Serialize;

use super::demand::DemandSeries;
use super::foresight;
use super::policies::features_of;
use super::table;
use super::timing::Timing;
use crate::core::features::FeatureSet;
use crate::core::network::QValues;
use crate::core::policy::Policy;
use crate::core::resource::{PerResource, Resource};
use crate::core::room::SHARES;
use crate::model::room_learner::Foresight;
use crate::model::{ModelError, Network};

/// Moments that are asked about, drawn from all.
const MOST: usize = 20_000;
/// Features that are told of one by one.
const TOLD: usize = 12;

#[derive(Debug, Clone, Serialize)]
pub struct Importance {
    pub moments: usize,
    /// Features that tell of the same are exchanged together, since each can stand in for another.
    pub groups: Vec<Weight>,
    /// One by one, the weightiest first.
    pub features: Vec<Weight>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Weight {
    pub name: String,
    /// By how much of itself the error of the quantiles grows; None: the model tells no room.
    pub room: Option<PerResource<f64>>,
    /// The share of the moments at which another action is preferred.
    pub action: PerResource<f64>,
}

impl Importance {
    pub const TITLE: &'static str = "What the answers depend on: exchanged between moments, a \
        feature makes the error of the room so much larger, and turns so many preferred actions";
    pub const COLUMNS: [&'static str; 4] =
        ["room of CPU, %", "room of memory, %", "action of CPU, %", "action of memory, %"];

    /// Asked about pods that live through the series under the demonstrating rule.
    pub fn of(
        network: &Network,
        series: &[Arc<DemandSeries>],
        timing: Timing,
        policy: &Policy,
        seed: u64,
    ) -> Result<Self, ModelError> {
        let features = features_of(network)?;
        let lives: Vec<_> = series.iter().map(|series| (series.clone(), vec![timing])).collect();
        let mut rng = StdRng::seed_from_u64(seed);
        let rows = drawn(&foresight::collect(&lives, &features, policy), &mut rng);
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.shuffle(&mut rng);
        let asked = Asked { network, rows: &rows, order };
        asked.weigh(&features)
    }

    /// The table's lines: the groups, then the weightiest features.
    pub fn rows(&self) -> Vec<(String, [String; 4])> {
        let groups = self.groups.iter().map(|group| (format!("all of {}", group.name), group));
        let features = self.features.iter().take(TOLD).map(|one| (one.name.clone(), one));
        groups.chain(features).map(|(name, weight)| (name, weight.cells())).collect()
    }

    pub fn render(&self) -> String {
        let mut text = format!("\n{}; {} moments\n\n", Self::TITLE, self.moments);
        let mut rows = vec![[vec!["feature"], Self::COLUMNS.to_vec()].concat()]
            .into_iter()
            .map(|row| row.into_iter().map(str::to_owned).collect::<Vec<_>>())
            .collect::<Vec<_>>();
        rows.extend(
            self.rows()
                .into_iter()
                .map(|(name, cells)| [name].into_iter().chain(cells).collect::<Vec<_>>()),
        );
        table::align(&mut text, &rows);
        text
    }
}

impl Weight {
    fn cells(&self) -> [String; 4] {
        let room = |resource| {
            self.room.map_or("-".to_owned(), |room| format!("{:.1}", 100.0 * room[resource]))
        };
        let action = |resource| format!("{:.1}", 100.0 * self.action[resource]);
        [
            room(Resource::Cpu),
            room(Resource::Memory),
            action(Resource::Cpu),
            action(Resource::Memory),
        ]
    }

    fn total(&self) -> f64 {
        let room = self.room.map_or(0.0, |room| room.cpu + room.memory);
        room + self.action.cpu + self.action.memory
    }
}

fn drawn(all: &Foresight, rng: &mut StdRng) -> Foresight {
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.shuffle(rng);
    order.truncate(MOST);
    let row = |row: &usize| &all.states[row * all.width..(row + 1) * all.width];
    let states = order.iter().flat_map(row).copied().collect();
    let peaks = all.peaks.each_ref().map(|of| order.iter().map(|row| of[*row]).collect());
    Foresight { width: all.width, states, peaks }
}

struct Asked<'a> {
    network: &'a Network,
    rows: &'a Foresight,
    /// Whose features a moment is told instead of its own.
    order: Vec<usize>,
}

impl Asked<'_> {
    fn weigh(&self, features: &FeatureSet) -> Result<Importance, ModelError> {
        let input = |error: ndarray::ShapeError| ModelError::Input(error.to_string());
        let shape = (self.rows.len(), self.rows.width);
        let states = ArrayView2::from_shape(shape, &self.rows.states).map_err(input)?;
        let known = self.network.forward(states)?;
        let errors = PerResource::build(|resource| self.error(resource, &known));
        let weigh = |name: String, columns: &[usize]| -> Result<Weight, ModelError> {
            let answers = self.network.forward(self.exchanged(states, columns).view())?;
            let grown = |resource| Some(self.error(resource, &answers)? / errors[resource]? - 1.0);
            let room = grown(Resource::Cpu).zip(grown(Resource::Memory));
            Ok(Weight {
                name,
                room: room.map(|(cpu, memory)| PerResource::new(cpu, memory)),
                action: PerResource::build(|resource| turned(resource, &known, &answers)),
            })
        };
        let groups = features.groups().into_iter();
        let groups = groups
            .map(|(group, columns)| weigh(group.name().to_owned(), &columns))
            .collect::<Result<Vec<_>, _>>()?;
        let features = features.names().into_iter().enumerate();
        let mut features =
            features.map(|(column, name)| weigh(name, &[column])).collect::<Result<Vec<_>, _>>()?;
        features.sort_by(|a, b| b.total().total_cmp(&a.total()));
        Ok(Importance { moments: self.rows.len(), groups, features })
    }

    fn exchanged(&self, states: ArrayView2<'_, f32>, columns: &[usize]) -> Array2<f32> {
        let mut exchanged = states.to_owned();
        for (row, other) in self.order.iter().enumerate() {
            for column in columns {
                exchanged[[row, *column]] = states[[*other, *column]];
            }
        }
        exchanged
    }

    /// How far the quantiles are from what came: the loss that they were trained by.
    fn error(&self, resource: Resource, answers: &[QValues]) -> Option<f64> {
        let peaks = &self.rows.peaks[resource.index()];
        let of_one = |(answer, peak): (&QValues, &f32)| {
            let levels = answer.room?[resource];
            let losses = levels.iter().zip(SHARES).map(|(level, share)| {
                let missed = f64::from(peak - level);
                (missed * share).max(missed * (share - 1.0))
            });
            Some(losses.sum::<f64>())
        };
        answers.iter().zip(peaks).map(of_one).sum()
    }
}

fn turned(resource: Resource, before: &[QValues], after: &[QValues]) -> f64 {
    let preferred = |answer: &QValues| answer.preference(resource).action;
    let turned = before.iter().zip(after).filter(|(a, b)| preferred(a) != preferred(b)).count();
    turned as f64 / before.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::shipped;
    use crate::sim::physics::Resources;

    #[test]
    fn what_a_model_does_not_see_weighs_nothing() {
        let network = shipped::find(std::path::Path::new(shipped::ROOM)).unwrap().network;
        let demand = |step: usize| Resources {
            cpu: 0.5 + 0.4 * ((step / 40) % 5) as f64,
            memory: (100 + 40 * ((step / 90) % 7)) as f64,
        };
        let demand = (0..3000).map(demand).collect();
        let series = Arc::new(DemandSeries { name: "made-up".into(), demand, template: None });
        let policy = Policy::default();
        let importance = Importance::of(&network, &[series], Timing::IDEAL, &policy, 1).unwrap();
        let of = |name: &str| importance.features.iter().find(|one| one.name == name).unwrap();
        let latency = of("network_latency");
        assert_eq!((latency.total(), importance.features.len()), (0.0, 55));
        let now = importance.groups.iter().find(|group| group.name == "usage now").unwrap();
        assert!(now.room.unwrap().cpu > 0.0 && now.action.cpu > 0.0, "{now:?}");
        assert!(importance.render().contains("| all of usage now "));
    }
}
