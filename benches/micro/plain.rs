//! The network without libtorch, to be compared with it: the same layers as products of `ndarray`
//! matrices.

use dqn_scaler::model::Checkpoint;
use ndarray::{Array1, Array2, ArrayView2, Axis};

/// Rows of one product, so that its activations stay in the cache.
const CHUNK: usize = 512;

type ConfigOverrides = (Array2<f32>, Array1<f32>);

pub struct Network {
    trunk: Vec<ConfigOverrides>,
    heads: Vec<Vec<ConfigOverrides>>,
}

impl Network {
    pub fn of(checkpoint: &Checkpoint) -> Self {
        let block = |name: &str| -> Vec<ConfigOverrides> {
            let ours = checkpoint
                .tensors
                .iter()
                .filter(|tensor| tensor.name.starts_with(name))
                .collect::<Vec<_>>();
            ours.chunks(2)
                .map(|pair| {
                    let shape = (pair[0].shape[0], pair[0].shape[1]);
                    let weight = Array2::from_shape_vec(shape, pair[0].data.clone())
                        .expect("a weight has its shape");
                    (weight.reversed_axes(), Array1::from(pair[1].data.clone()))
                })
                .collect()
        };
        Self {
            trunk: block("shared_layers"),
            heads: ["cpu_head", "memory_head", "prediction_head"].map(block).into(),
        }
    }

    /// The CPU head's three values, the memory head's three, the prediction's two.
    pub fn forward(&self, states: ArrayView2<'_, f32>) -> Vec<[f32; 8]> {
        let mut answers = Vec::with_capacity(states.nrows());
        for chunk in states.axis_chunks_iter(Axis(0), CHUNK) {
            let shared = run(&self.trunk, chunk.to_owned(), true);
            let heads: Vec<_> =
                self.heads.iter().map(|head| run(head, shared.clone(), false)).collect();
            let row = |row: usize| {
                let values = heads.iter().flat_map(|head| head.row(row).to_vec());
                let mut answer = [0.0; 8];
                answer.iter_mut().zip(values).for_each(|(to, from)| *to = from);
                answer
            };
            answers.extend((0..shared.nrows()).map(row));
        }
        answers
    }
}

fn run(layers: &[ConfigOverrides], mut values: Array2<f32>, relu_last: bool) -> Array2<f32> {
    for (index, (weight, bias)) in layers.iter().enumerate() {
        values = values.dot(weight) + bias;
        if relu_last || index + 1 < layers.len() {
            values.mapv_inplace(|value| value.max(0.0));
        }
    }
    values
}
