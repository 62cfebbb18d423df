//! The network in libtorch, and one forward pass for many pods.

use std::path::Path;

use ndarray::{Array2, ArrayView2};
use parking_lot::Mutex;
use serde_json::{Map, Value};
use tch::Tensor;

use super::architecture::{self, Block, Layers};
use super::checkpoint::{Checkpoint, NamedTensor};
use super::error::ModelError;
use crate::core::network::QValues;
use crate::core::resource::PerResource;
use crate::core::room::LEVELS;

/// Elements of the widest activation of one chunk of states (16 MiB): memory stays bounded, however
/// many pods there are.
const CHUNK_ELEMENTS: usize = 4 << 20;
const MAX_CHUNK_ROWS: usize = 16 * 1024;
/// States that a network is tried out on.
const TRIALS: usize = 27;
/// Far above what any reward adds up to.
const LARGEST_Q: f32 = 1e9;

/// The Q-network of a checkpoint, ready to run: immutable, and shared between threads.
#[derive(Debug)]
pub struct Network {
    blocks: Vec<Block>,
    /// As in `blocks`. A `Tensor` may be sent to another thread but not shared, so a forward pass
    /// takes handles of its own under the lock (a reference count, no copy) and computes outside
    /// it.
    weights: Mutex<Vec<Vec<Linear>>>,
    features: Vec<String>,
    /// Where the usage of CPU and of memory stands in a state, if the prediction head expects the
    /// change of that.
    usage: Option<[usize; 2]>,
    metadata: Map<String, Value>,
}

/// The key in the metadata that says what the prediction head expects: the usage itself, unless it
/// is `change`.
pub const PREDICTION: &str = "prediction";
pub const CHANGE: &str = "change";
/// The key in the metadata of what each feature typically was in training.
pub const TYPICAL: &str = "typical";

#[derive(Debug)]
struct Linear {
    /// `[inputs, outputs]`.
    weight: Tensor,
    bias: Tensor,
}

impl Network {
    /// Reads a checkpoint and builds its network.
    pub fn load(path: &Path) -> Result<Self, ModelError> {
        Self::from_checkpoint(&Checkpoint::read(path)?)
            .map_err(|error| error.of_file(path.display()))
    }

    /// Builds the network that the checkpoint's tensors describe.
    pub fn from_checkpoint(checkpoint: &Checkpoint) -> Result<Self, ModelError> {
        let layers = architecture::blocks(checkpoint)?;
        let weights = layers.iter().map(|block| block.tensors.iter().map(Linear::new).collect());
        let weights = weights.collect::<Result<_, _>>()?;
        let blocks: Vec<_> = layers.into_iter().map(|Layers { block, .. }| block).collect();
        let features = architecture::features(checkpoint, architecture::state_dim(&blocks)?)?;
        let usage = match checkpoint.metadata.get(PREDICTION).and_then(Value::as_str) {
            Some(CHANGE) => Some(architecture::usage_in(&features)?),
            _ => None,
        };
        Ok(Self {
            usage,
            blocks,
            weights: Mutex::new(weights),
            features,
            metadata: checkpoint.metadata.clone(),
        })
    }

    /// What each input is, by name.
    pub fn features(&self) -> &[String] {
        &self.features
    }

    /// What each feature typically was in training, where the checkpoint tells.
    pub fn typical(&self) -> Option<Vec<f32>> {
        let values = self.metadata.get(TYPICAL)?.as_array()?.iter();
        let values: Option<Vec<f32>> =
            values.map(|value| value.as_f64().map(|value| value as f32)).collect();
        values.filter(|values| values.len() == self.state_dim())
    }

    /// The width of a state.
    pub fn state_dim(&self) -> usize {
        self.features.len()
    }

    /// The number of actions for each resource.
    pub fn action_dim(&self) -> usize {
        3
    }

    /// What the checkpoint says of itself beside its tensors.
    pub fn metadata(&self) -> &Map<String, Value> {
        &self.metadata
    }

    /// The shared trunk, then the CPU, memory and prediction heads, and the two for room if there
    /// are any.
    pub fn layers(&self) -> &[Block] {
        &self.blocks
    }

    /// Whether it tells how much room a container needs.
    pub fn has_room(&self) -> bool {
        self.blocks.len() > 4
    }

    /// The number of weights and biases.
    pub fn parameters(&self) -> usize {
        self.blocks.iter().map(Block::parameters).sum()
    }

    /// The network's answer for each row of `states`, `[pods, state_dim]`. Fails if the width is
    /// wrong, or if a state or an answer has NaN or infinity.
    pub fn forward(&self, states: ArrayView2<'_, f32>) -> Result<Vec<QValues>, ModelError> {
        if states.ncols() != self.state_dim() {
            let (found, expected) = (states.ncols(), self.state_dim());
            return Err(ModelError::Input(format!(
                "states have {found} values, the network takes {expected}"
            )));
        }
        let dim = self.state_dim();
        let states = states.as_standard_layout();
        let flat = states.as_slice().unwrap_or_default();
        // ReLU turns an infinite input into a finite answer, so the answers alone do not show it.
        if !are_finite(flat)
            && let Some(at) = flat.iter().position(|value| !value.is_finite())
        {
            let reason = format!("{} is {}", self.features[at % dim], flat[at]);
            return Err(ModelError::Row { row: at / dim, reason });
        }

        use_one_thread();
        let weights: Vec<Vec<Linear>> = self
            .weights
            .lock()
            .iter()
            .map(|block| block.iter().map(Linear::handle).collect())
            .collect();
        let widest = self.blocks.iter().flat_map(|block| &block.sizes).max().copied().unwrap_or(1);
        let rows = (CHUNK_ELEMENTS / widest).clamp(1, MAX_CHUNK_ROWS);
        let mut answers = Vec::with_capacity(states.nrows());
        for chunk in flat.chunks(rows * dim) {
            tch::no_grad(|| self.forward_chunk(&weights, chunk, &mut answers))?;
        }
        match answers.iter().position(|answer| !is_finite(answer)) {
            Some(row) => {
                let reason = format!("the network answers {:?}", answers[row]);
                Err(ModelError::Row { row, reason })
            }
            None => Ok(answers),
        }
    }

    /// Lets the network answer to states at the corners of what it may see: one whose weights are
    /// beyond all measure is found before anything is decided by it.
    pub fn try_out(&self) -> Result<(), ModelError> {
        let dim = self.state_dim();
        let corner = |row: usize, column: usize| match row {
            0 => 0.0,
            1 => 1.0,
            2 => -1.0,
            // Signs that differ from row to row, and change ever more slowly along it.
            _ if (column >> (row % 12)) % 2 == (row / 12) % 2 => 1.0,
            _ => -1.0,
        };
        let states = Array2::from_shape_fn((TRIALS, dim), |(row, column)| corner(row, column));
        let answers = self
            .forward(states.view())
            .map_err(|error| ModelError::Format(format!("it gives no sensible answer: {error}")))?;
        let all = answers.iter().flat_map(|answer| answer.cpu.iter().chain(&answer.memory));
        match all.copied().find(|q| q.abs() > LARGEST_Q) {
            Some(q) => Err(ModelError::Format(format!(
                "it gives no sensible answer: Q values such as {q:e}; were the weights saved whole?"
            ))),
            None => Ok(()),
        }
    }

    fn forward_chunk(
        &self,
        weights: &[Vec<Linear>],
        states: &[f32],
        answers: &mut Vec<QValues>,
    ) -> Result<(), ModelError> {
        let input = Tensor::f_from_slice(states)?.f_view([-1, self.state_dim() as i64])?;
        let run = |place: usize, input: &Tensor| -> Result<Tensor, ModelError> {
            let (block, layers) = (&self.blocks[place], &weights[place]);
            let mut output = input.shallow_clone();
            for (index, layer) in layers.iter().enumerate() {
                let has_relu = block.relu_last || index + 1 < layers.len();
                output = layer.apply(&output, has_relu)?;
            }
            Ok(output)
        };
        let seen_by_trunk = self.blocks[0].sizes[0] as i64;
        let shared = run(0, &input.f_narrow(1, 0, seen_by_trunk)?)?;
        let [cpu, memory, future] = [run(1, &shared)?, run(2, &shared)?, run(3, &shared)?];
        let [cpu, memory, future] = [values(&cpu)?, values(&memory)?, values(&future)?];
        let room = match self.has_room() {
            true => [values(&run(4, &input)?)?, values(&run(5, &input)?)?],
            false => [Vec::new(), Vec::new()],
        };
        let [cpu_room, memory_room] = room.each_ref().map(|of| of.as_chunks::<LEVELS>().0.iter());
        let mut room = cpu_room.zip(memory_room);
        let states = states.chunks_exact(self.state_dim());
        let future =
            states.zip(future.as_chunks::<2>().0).map(|(state, [cpu, memory])| match self.usage {
                Some(usage) => [cpu + state[usage[0]], memory + state[usage[1]]],
                None => [*cpu, *memory],
            });
        let heads = cpu.as_chunks::<3>().0.iter().zip(memory.as_chunks::<3>().0).zip(future);
        answers.extend(heads.map(|((cpu, memory), future)| {
            let room = room.next().map(|(cpu, memory)| PerResource::new(*cpu, *memory));
            QValues { cpu: *cpu, memory: *memory, future, room }
        }));
        Ok(())
    }
}

impl Linear {
    fn new((weight, bias): &(&NamedTensor, &NamedTensor)) -> Result<Self, ModelError> {
        let [outputs, inputs] = [bias.shape[0] as i64, weight.shape[1] as i64];
        Ok(Self {
            weight: Tensor::f_from_slice(&weight.data)?.f_view([outputs, inputs])?.f_tr()?,
            bias: Tensor::f_from_slice(&bias.data)?,
        })
    }

    fn handle(&self) -> Self {
        Self { weight: self.weight.shallow_clone(), bias: self.bias.shallow_clone() }
    }

    fn apply(&self, input: &Tensor, has_relu: bool) -> Result<Tensor, ModelError> {
        // `linear` is the same in more calls, which take as long as what is computed here.
        let mut output = self.bias.f_addmm(input, &self.weight)?;
        Ok(if has_relu { output.f_relu_()? } else { output })
    }
}

fn values(output: &Tensor) -> Result<Vec<f32>, ModelError> {
    let mut values = vec![0.0; output.numel()];
    output.f_copy_data(&mut values, output.numel())?;
    Ok(values)
}

/// All of them are looked at, which takes less time than to stop at the first that is not.
fn are_finite(values: &[f32]) -> bool {
    values.iter().fold(true, |finite, value| finite & value.is_finite())
}

fn is_finite(answer: &QValues) -> bool {
    let room = answer.room.as_ref();
    let room = room.is_none_or(|room| are_finite(&room.cpu) & are_finite(&room.memory));
    room & are_finite(&answer.cpu) & are_finite(&answer.memory) & are_finite(&answer.future)
}

/// libtorch computes on the calling thread alone from here on: on a network so small, its helpers
/// only wait for each other. The setting is of each thread by itself.
pub fn use_one_thread() {
    tch::set_num_threads(1);
}
