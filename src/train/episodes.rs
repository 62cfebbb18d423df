//! What the network is trained on: pieces of recorded and generated demand, drawn at random.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::demand::{self, DemandSeries, STEPS_PER_DAY};
use super::environment::Pod;
use super::score::within_bounds;
use super::timing::Timing;
use crate::core::policy::Policy;
use crate::sim::physics::Resources;
use crate::sim::workload::Kind;

/// The share of generated demand where there is recorded demand too.
const GENERATED: f64 = 0.15;
/// Recorded demand is made up to this much smaller or larger, so that no series is known by its
/// level.
const RESCALING: f64 = 1.25;
/// The share of recorded demand that is made smaller still, down to this, since most pods are
/// small.
const SMALL: f64 = 0.15;
const SMALLEST: f64 = 0.05;
/// Half of the pods begin with limits this much off the usual ones.
const MISFIT: (f64, f64) = (0.6, 3.0);
/// Half of the pods have so many containers, as far as the network sees: its decision is of one of
/// them, and must not turn round with their number.
const CONTAINERS: std::ops::RangeInclusive<usize> = 2..=12;
/// The cooldowns, in seconds, that pods are trained under: none, and the documented default.
pub const COOLDOWNS: [i64; 2] = [0, 30 * 60];

/// A piece of a series and what its costs are measured by.
#[derive(Debug, Clone)]
pub struct Episode {
    pub series: Arc<DemandSeries>,
    /// The constant limit that the whole series would need.
    pub ceiling: Resources,
    /// The CPU that the whole series wants on average.
    pub mean_cpu: f64,
    /// What the pod's limits are steered under.
    pub policy: Policy,
    /// What the first limits are multiplied by.
    misfit: f64,
    containers: usize,
    /// Draws what is tried in it.
    pub seed: u64,
}

impl Episode {
    pub fn pod(&self) -> Pod {
        let mut pod = Pod::new(self.series.clone(), Timing::IDEAL);
        pod.containers = self.containers;
        let Resources { cpu, memory } = pod.limits;
        pod.limits =
            within_bounds(Resources { cpu: cpu * self.misfit, memory: memory * self.misfit });
        pod
    }
}

/// Where episodes are drawn from.
#[derive(Debug)]
pub struct Episodes {
    recorded: Vec<Arc<DemandSeries>>,
    steps: usize,
}

impl Episodes {
    /// Episodes of `days` from `recorded` and generated demand; only from generated if nothing is
    /// recorded.
    pub fn new(recorded: Vec<Arc<DemandSeries>>, days: f64) -> Self {
        Self { recorded, steps: (days * STEPS_PER_DAY) as usize }
    }

    /// The same `count` episodes for the same seed and round.
    pub fn draw(&self, seed: u64, round: u64, count: usize) -> Vec<Episode> {
        let mut rng = StdRng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ round);
        (0..count).map(|_| self.draw_one(&mut rng)).collect()
    }

    fn draw_one(&self, rng: &mut StdRng) -> Episode {
        let generated = self.recorded.is_empty() || rng.random::<f64>() < GENERATED;
        let whole = if generated {
            let kind = Kind::ALL[rng.random_range(0..Kind::ALL.len())];
            // Odd: what is evaluated on has even seeds.
            let seed = u64::from(rng.random::<u32>()) * 2 + 1;
            Arc::new(demand::generated(kind, seed, self.steps as f64 / STEPS_PER_DAY))
        } else {
            self.recorded[rng.random_range(0..self.recorded.len())].clone()
        };
        let begin = rng.random_range(0..=whole.demand.len().saturating_sub(self.steps));
        let end = (begin + self.steps).min(whole.demand.len());
        let small = rng.random::<f64>() < SMALL;
        let mut scale = || match (generated, small) {
            (true, _) => 1.0,
            (false, true) => log_uniform(rng, SMALLEST, 1.0),
            (false, false) => log_uniform(rng, 1.0 / RESCALING, RESCALING),
        };
        let scale = Resources { cpu: scale(), memory: scale() };
        let scaled = |demand: &Resources| Resources {
            cpu: demand.cpu * scale.cpu,
            memory: demand.memory * scale.memory,
        };
        let piece = whole.demand[begin..end].iter().map(scaled).collect();
        Episode {
            series: Arc::new(DemandSeries {
                name: whole.name.clone(),
                demand: piece,
                template: None,
            }),
            ceiling: within_bounds(scaled(&whole.max())),
            mean_cpu: (whole.mean().cpu * scale.cpu).max(1e-9),
            policy: Policy {
                cooldown: COOLDOWNS[rng.random_range(0..COOLDOWNS.len())],
                ..Policy::default()
            },
            misfit: if rng.random() { log_uniform(rng, MISFIT.0, MISFIT.1) } else { 1.0 },
            containers: if rng.random() { rng.random_range(CONTAINERS) } else { 1 },
            seed: rng.random(),
        }
    }
}

fn log_uniform(rng: &mut StdRng, least: f64, greatest: f64) -> f64 {
    rng.random_range(least.ln()..=greatest.ln()).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_and_round_draw_the_same_episodes() {
        let episodes = Episodes::new(Vec::new(), 0.1);
        let demand = |round| {
            episodes.draw(1, round, 3).iter().map(|e| e.series.demand.clone()).collect::<Vec<_>>()
        };
        assert_eq!(demand(5), demand(5));
        assert_ne!(demand(5), demand(6));
        assert_eq!(demand(5)[0].len(), 288);
    }

    #[test]
    fn a_piece_is_priced_by_the_whole_series() {
        let mut demand = vec![Resources { cpu: 1.0, memory: 100.0 }; 2000];
        demand[1999] = Resources { cpu: 4.0, memory: 300.0 };
        let series = Arc::new(DemandSeries { name: "made-up".into(), demand, template: None });
        let episodes = Episodes::new(vec![series], 0.1).draw(1, 1, 50);
        let recorded = episodes.iter().filter(|episode| episode.series.name == "made-up");
        for episode in recorded.clone() {
            let scale = episode.series.demand[0].cpu;
            assert!(
                (episode.ceiling.cpu - 4.0 * scale).abs() < 1e-9 && (0.04..1.26).contains(&scale)
            );
            assert!((episode.mean_cpu / scale - 1.0).abs() < 0.01);
        }
        assert!(recorded.count() > 30);
    }
}
