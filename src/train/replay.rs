//! Prioritised replay: entries of several steps, drawn the more often the less the network
//! expected them.

use rand::rngs::StdRng;
use rand::{Rng, RngExt};
use rand_distr::Distribution;
use rand_distr::weighted::WeightedTreeIndex;

use super::rollout::{Trajectory, Transition};
use crate::core::action::Action;
use crate::model::learner::Batch;

/// How much priorities count: 0 draws all alike.
const PRIORITY_EXPONENT: f64 = 0.3;
/// So that nothing is never drawn.
const LEAST_ERROR: f64 = 0.01;

/// A decision, and the transition at which its returns end.
#[derive(Debug, Clone, Copy, PartialEq)]
struct ReplayEntry {
    trajectory: u32,
    from: u32,
    to: u32,
    returns: [f32; 2],
    discount: f32,
}

#[derive(Debug)]
pub struct Replay {
    trajectories: Vec<Trajectory>,
    width: usize,
    entries: Vec<ReplayEntry>,
    priorities: WeightedTreeIndex<f64>,
}

impl Replay {
    /// All entries of up to `steps` transitions; one ends where something random was tried, which
    /// is not what the policy would have gone on with.
    pub fn new(trajectories: Vec<Trajectory>, width: usize, steps: usize) -> Self {
        let mut entries = Vec::new();
        for (trajectory, of) in trajectories.iter().enumerate() {
            for from in 0..of.transitions.len().saturating_sub(1) {
                entries.push(ReplayEntry {
                    trajectory: trajectory as u32,
                    ..entry(&of.transitions, from, steps)
                });
            }
        }
        Self { trajectories, width, entries, priorities: WeightedTreeIndex::default() }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All entries in order, in batches of `size`.
    pub fn batches(&self, size: usize) -> impl Iterator<Item = Batch> + '_ {
        (0..self.len())
            .step_by(size.max(1))
            .map(move |begin| self.batch(begin..(begin + size).min(self.len())))
    }

    /// Sets what the network was surprised by, of all entries.
    pub fn prioritise(&mut self, errors: &[f32]) {
        self.priorities =
            WeightedTreeIndex::new(errors.iter().copied().map(priority)).unwrap_or_default();
    }

    /// Draws `size` entries and weighs each by how much too often it is drawn; `correction` is
    /// 0 (not at all) to 1.
    pub fn draw(&self, size: usize, correction: f64, rng: &mut StdRng) -> (Vec<usize>, Batch) {
        let indices: Vec<usize> = (0..size).map(|_| self.index(rng)).collect();
        let mut batch = self.batch(indices.iter().copied());
        let weights: Vec<f64> =
            indices.iter().map(|index| self.priorities.get(*index).powf(-correction)).collect();
        let largest = weights.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        batch.weights = weights.iter().map(|weight| (weight / largest) as f32).collect();
        (indices, batch)
    }

    /// Sets what the network was surprised by in a drawn batch.
    pub fn update(&mut self, indices: &[usize], errors: &[f32]) {
        for (index, error) in indices.iter().zip(errors) {
            // Fails only for a weight that is not a number; the old one then stays.
            let _ = self.priorities.update(*index, priority(*error));
        }
    }

    fn index(&self, rng: &mut impl Rng) -> usize {
        match self.priorities.is_valid() {
            true => self.priorities.sample(rng),
            false => rng.random_range(0..self.len()),
        }
    }

    fn batch(&self, indices: impl Iterator<Item = usize>) -> Batch {
        let mut batch = Batch { width: self.width, ..Batch::default() };
        for index in indices {
            let ReplayEntry { trajectory, from, to, returns, discount } = self.entries[index];
            let (trajectory, from, to) =
                (&self.trajectories[trajectory as usize], from as usize, to as usize);
            batch
                .states
                .extend_from_slice(&trajectory.states[from * self.width..(from + 1) * self.width]);
            batch
                .next_states
                .extend_from_slice(&trajectory.states[to * self.width..(to + 1) * self.width]);
            let transition = &trajectory.transitions[from];
            for (resource, returned) in returns.into_iter().enumerate() {
                batch.actions[resource].push(transition.actions[resource] as i64);
                let index = |action: Action| action as i64;
                batch.resolved[resource].extend(transition.resolved[resource].map(index));
                batch.next_resolved[resource]
                    .extend(trajectory.transitions[to].resolved[resource].map(index));
                batch.demonstrated[resource].push(transition.demonstrated[resource] as i64);
                batch.returns[resource].push(returned);
            }
            batch.discounts.push(discount);
            batch.futures.extend(transition.future.unwrap_or([-1.0; 2]));
            batch.weights.push(1.0);
        }
        batch
    }
}

fn priority(error: f32) -> f64 {
    if error.is_finite() { (f64::from(error) + LEAST_ERROR).powf(PRIORITY_EXPONENT) } else { 1.0 }
}

fn entry(transitions: &[Transition], from: usize, steps: usize) -> ReplayEntry {
    let (mut returns, mut discount, mut to) = ([0.0; 2], 1.0, from);
    while to == from
        || (to - from < steps && to + 1 < transitions.len() && !transitions[to].explored)
    {
        let transition = &transitions[to];
        for (sum, reward) in returns.iter_mut().zip(transition.rewards) {
            *sum += discount * reward;
        }
        discount *= transition.discount;
        to += 1;
    }
    ReplayEntry { trajectory: 0, from: from as u32, to: to as u32, returns, discount }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn trajectory(rewards: &[f32], explored: &[usize]) -> Trajectory {
        let transition = |(index, reward): (usize, &f32)| Transition {
            actions: [Action::Maintain, Action::Increase],
            resolved: [Action::ALL, [Action::Maintain, Action::Maintain, Action::Increase]],
            demonstrated: [Action::Decrease; 2],
            explored: explored.contains(&index),
            rewards: [*reward, 0.0],
            discount: 0.5,
            future: None,
        };
        let states = (0..rewards.len()).map(|index| index as f32).collect();
        Trajectory { states, transitions: rewards.iter().enumerate().map(transition).collect() }
    }

    #[test]
    fn returns_are_discounted_over_several_moments_and_end_at_a_trial() {
        let replay = Replay::new(vec![trajectory(&[1.0, 1.0, 1.0, 1.0, 1.0], &[3])], 1, 2);
        let batch = replay.batch(0..replay.len());
        assert_eq!(batch.states, [0.0, 1.0, 2.0, 3.0]);
        // The trial at 3 ends what began before it, but what begins with it goes on.
        assert_eq!(batch.next_states, [2.0, 3.0, 3.0, 4.0]);
        assert_eq!(batch.returns[0], [1.5, 1.5, 1.0, 1.0]);
        assert_eq!(batch.discounts, [0.25, 0.25, 0.5, 0.5]);
        assert_eq!(batch.actions[1], [2; 4]);
        assert_eq!(batch.next_resolved[1][..3], [1, 1, 2]);
    }

    #[test]
    fn surprises_are_drawn_more_often_and_weigh_less() {
        let mut replay = Replay::new(vec![trajectory(&[0.0; 101], &[])], 1, 1);
        let mut errors = vec![0.0; 100];
        errors[7] = 10.0;
        replay.prioritise(&errors);
        let mut rng = StdRng::seed_from_u64(1);
        let (indices, batch) = replay.draw(1000, 1.0, &mut rng);
        let drawn = indices.iter().filter(|index| **index == 7).count();
        // (10.01 / 0.01)^0.3 = 7.9 times as often as any other.
        assert!((50..110).contains(&drawn), "{drawn}");
        let weight_of = |wanted: usize| {
            indices.iter().position(|index| *index == wanted).map(|at| batch.weights[at])
        };
        let common = indices.iter().find(|index| **index != 7).copied().unwrap();
        assert!((weight_of(common).unwrap() / weight_of(7).unwrap() - 7.94).abs() < 0.1);
        replay.update(&[7], &[0.0]);
        let (indices, _) = replay.draw(1000, 1.0, &mut rng);
        assert!(indices.iter().filter(|index| **index == 7).count() < 30);
    }
}
