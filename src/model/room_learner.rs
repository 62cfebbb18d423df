//! The heads that tell how much room a container needs, learning quantiles of the peak to come
//! (pinball loss).

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tch::{Kind, Tensor};

use super::adam::Adam;
use super::architecture::ROOM_HEADS;
use super::checkpoint::NamedTensor;
use super::error::ModelError;
use super::learner::{linear, named, tensor};
use crate::core::room::{LEVELS, SHARES};

/// Hidden layers of each head.
const HIDDEN: [usize; 2] = [64, 64];
const BATCH: usize = 1024;
/// How often each row is learnt from.
const EPOCHS: usize = 8;
const LEARNING_RATE: f64 = 2e-3;
/// A feature that hardly varies is not blown up.
const LEAST_DEVIATION: f32 = 1e-3;

/// What was seen of containers, and what came of it.
#[derive(Debug, Default)]
pub struct Foresight {
    /// Rows of so many features.
    pub width: usize,
    pub states: Vec<f32>,
    /// The peak of the next half hour of CPU and of memory, as the logarithm of what part of the
    /// reference it is.
    pub peaks: [Vec<f32>; 2],
}

impl Foresight {
    pub fn len(&self) -> usize {
        self.peaks[0].len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The median of each feature.
    pub fn typical(&self) -> Vec<f32> {
        let median = |feature: usize| {
            let values = self.states.iter().skip(feature).step_by(self.width.max(1));
            let mut values: Vec<f32> = values.copied().collect();
            values.sort_unstable_by(f32::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or_default()
        };
        (0..self.width).map(median).collect()
    }
}

/// The tensors of both heads, as they stand in a checkpoint.
pub fn learn(rows: &Foresight, seed: u64) -> Result<Vec<NamedTensor>, ModelError> {
    let mut tensors = Vec::new();
    for (index, head) in ROOM_HEADS.iter().enumerate() {
        tensors.extend(learn_head(head, rows, &rows.peaks[index], seed ^ index as u64)?);
    }
    Ok(tensors)
}

/// Whether a tensor of that name belongs to these heads.
pub fn is_of(name: &str) -> bool {
    name.split_once('.').is_some_and(|(head, _)| ROOM_HEADS.contains(&head))
}

fn learn_head(
    head: &str,
    rows: &Foresight,
    peaks: &[f32],
    seed: u64,
) -> Result<Vec<NamedTensor>, ModelError> {
    let (width, count) = (rows.width, rows.len());
    let mut rng = StdRng::seed_from_u64(seed);
    let all = tensor(&[count, width], &rows.states)?;
    let peaks = tensor(&[count, 1], peaks)?;
    let mean = all.mean_dim([0i64].as_slice(), false, Kind::Float);
    let deviation =
        all.std_dim([0i64].as_slice(), false, false).clamp_min(f64::from(LEAST_DEVIATION));
    let shares = tensor(&[1, LEVELS], &SHARES.map(|share| share as f32))?;

    let sizes = [width].into_iter().chain(HIDDEN).chain([LEVELS]).collect::<Vec<_>>();
    let mut weights = Vec::new();
    for pair in sizes.windows(2) {
        let layer = linear(pair[0], pair[1], &mut rng)?;
        weights.extend(layer.map(|tensor| tensor.set_requires_grad(true)));
    }
    let mut adam = Adam::new(&weights);
    let steps = EPOCHS * count.div_ceil(BATCH);
    for step in 0..steps {
        let indices: Vec<i64> = (0..BATCH).map(|_| rng.random_range(0..count as i64)).collect();
        let indices = Tensor::f_from_slice(&indices)?;
        let mut output = (all.f_index_select(0, &indices)? - &mean) / &deviation;
        for (layer, pair) in weights.chunks_exact(2).enumerate() {
            output = output.f_linear(&pair[0], Some(&pair[1]))?;
            if layer < HIDDEN.len() {
                output = output.f_relu()?;
            }
        }
        let missed = peaks.f_index_select(0, &indices)? - output;
        let loss = (&missed * &shares).f_maximum(&(&missed * (&shares - 1.0)))?.mean(Kind::Float);
        let gradients = Tensor::f_run_backward(&[loss], &weights, false, false)?;
        let done = step as f64 / steps as f64;
        let rate = LEARNING_RATE * (0.5 + 0.5 * (std::f64::consts::PI * done).cos()).max(0.01);
        tch::no_grad(|| adam.step(&mut weights, &gradients, rate))?;
    }

    // The network takes states as they are.
    let first = tch::no_grad(|| &weights[0] / &deviation);
    let bias = tch::no_grad(|| &weights[1] - first.matmul(&mean));
    let layers = [&first, &bias].into_iter().chain(&weights[2..]);
    let name = |index: usize| format!("{head}.{}.{}", index / 2 * 2, ["weight", "bias"][index % 2]);
    layers.enumerate().map(|(index, tensor)| named(&name(index), &tensor.detach())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_typical_value_of_a_feature_is_its_median() {
        let states = vec![1.0, 30.0, 3.0, 10.0, 2.0, 20.0];
        assert_eq!(Foresight { width: 2, states, ..Foresight::default() }.typical(), [2.0, 20.0]);
    }

    #[test]
    fn levels_are_quantiles_of_what_came() {
        // The peak to come is uniform between 0 and twice the only feature.
        let mut rng = StdRng::seed_from_u64(3);
        let mut rows = Foresight { width: 1, ..Foresight::default() };
        for _ in 0..20_000 {
            let state = rng.random_range(1.0..2.0f32);
            rows.states.push(state);
            rows.peaks.iter_mut().for_each(|of| of.push(rng.random_range(0.0..2.0 * state)));
        }
        let tensors = learn(&rows, 1).unwrap();
        let find = |name: &str| {
            tensors.iter().find(|tensor| tensor.name == name).map(|tensor| tensor.data.clone())
        };
        let mut values = vec![1.5f32];
        for layer in 0..3 {
            let weight = find(&format!("cpu_room.{}.weight", 2 * layer)).unwrap();
            let bias = find(&format!("cpu_room.{}.bias", 2 * layer)).unwrap();
            let sums = weight.chunks_exact(values.len()).zip(&bias).map(|(row, bias)| {
                row.iter().zip(&values).map(|(weight, value)| weight * value).sum::<f32>() + bias
            });
            values = sums.map(|sum| if layer < 2 { sum.max(0.0) } else { sum }).collect();
        }
        // Too few rows for the rarest.
        for (value, share) in values.iter().zip(SHARES).take(6) {
            assert!((f64::from(*value) - 3.0 * share).abs() < 0.3, "{share}: {value}");
        }
    }
}
