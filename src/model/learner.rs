//! A Q-network that learns: double DQN with one branch per resource, a supervised prediction head,
//! Adam, soft target updates.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Map, Value};
use tch::{Kind, Reduction, Tensor};

use super::adam::Adam;
use super::checkpoint::{Checkpoint, NamedTensor};
use super::error::ModelError;
use super::network::Network;

/// Hidden layers of the trunk and of each head.
const TRUNK: [usize; 2] = [64, 64];
const HEAD: usize = 32;
const HEADS: [(&str, usize); 3] = [("cpu_head", 3), ("memory_head", 3), ("prediction_head", 2)];

/// Beyond this a temporal difference counts linearly (Huber): a rare disaster is heard, but does
/// not drown the rest.
const HUBER_DELTA: f64 = 10.0;
/// The gap between actions is widened no further than this: what is clearly worse need not look
/// worse still.
const WIDEST_GAP: f64 = 0.5;
/// By how much a demonstrator's action is to be better than all others.
const MARGIN: f64 = 0.2;
/// What the prediction's error weighs against the Q values'.
const PREDICTION_WEIGHT: f64 = 1.0;

/// Transitions side by side, `size` of them: states are `[size, features]`, what is per resource is
/// CPU then memory.
#[derive(Debug, Default)]
pub struct Batch {
    pub states: Vec<f32>,
    /// The width of a state, of which the trunk sees the beginning.
    pub width: usize,
    /// Where the returns end and the target network takes over.
    pub next_states: Vec<f32>,
    /// What was done, by the index of the network's output.
    pub actions: [Vec<i64>; 2],
    /// What is done if the network wants DECREASE, MAINTAIN, INCREASE: `[size, 3]`, by index.
    pub resolved: [Vec<i64>; 2],
    pub next_resolved: [Vec<i64>; 2],
    /// What a demonstrator would have wanted, by index.
    pub demonstrated: [Vec<i64>; 2],
    /// The discounted sum of rewards on the way to the next state.
    pub returns: [Vec<f32>; 2],
    /// What the next state's value counts.
    pub discounts: Vec<f32>,
    /// Usage one step later as a share of the state's limit, 0 to 1: `[size, 2]`; negative where it
    /// is not known.
    pub futures: Vec<f32>,
    /// Importance of each transition.
    pub weights: Vec<f32>,
}

impl Batch {
    fn len(&self) -> usize {
        self.discounts.len()
    }
}

/// What came of learning from one batch.
#[derive(Debug)]
pub struct StepStatistics {
    /// The absolute temporal difference of each transition, both resources together, before the
    /// gradient step.
    pub errors: Vec<f32>,
    pub loss: f64,
    pub prediction_loss: f64,
}

/// The temporal differences of each resource, and what the prediction head expects.
struct TdErrors {
    differences: [Tensor; 2],
    /// How far the demonstrator's preferred actions are from being the best by a margin.
    margin_loss: Tensor,
    expected: Tensor,
}

/// How fast to learn.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    pub learning_rate: f64,
    /// What it weighs that the demonstrator's preferred actions be the best ones (large margin, as
    /// in DQfD).
    pub imitation: f64,
    /// The share of the way that the target network goes to the online one in each gradient step.
    pub target_rate: f64,
}

#[derive(Debug)]
pub struct Learner {
    names: Vec<String>,
    features: usize,
    /// Where the usage of CPU and of memory stands in a state, if the prediction head learns how it
    /// changes.
    usage: Option<[usize; 2]>,
    online: Vec<Tensor>,
    target: Vec<Tensor>,
    adam: Adam,
    action_gap: f64,
}

impl Learner {
    /// Random weights, drawn as PyTorch draws them for `nn.Linear`. `action_gap`, 0 to less than 1,
    /// widens the differences between an action's value and the best one's 1 / (1 - `action_gap`)
    /// times (advantage learning).
    pub fn new(
        features: usize,
        usage: Option<[usize; 2]>,
        seed: u64,
        action_gap: f64,
    ) -> Result<Self, ModelError> {
        let mut rng = StdRng::seed_from_u64(seed);
        let (mut names, mut online) = (Vec::new(), Vec::new());
        for (name, inputs, outputs) in layers(features) {
            online.extend(linear(inputs, outputs, &mut rng)?);
            names.extend(["weight", "bias"].map(|part| format!("{name}.{part}")));
        }
        Ok(Self {
            names,
            features,
            usage,
            target: online.iter().map(Tensor::copy).collect(),
            adam: Adam::new(&online),
            online: online.into_iter().map(|weights| weights.set_requires_grad(true)).collect(),
            action_gap,
        })
    }

    /// Learns from one batch.
    pub fn learn(&mut self, batch: &Batch, pace: Pace) -> Result<StepStatistics, ModelError> {
        let size = batch.len();
        let weights = tensor(&[size], &batch.weights)?;
        let futures = tensor(&[size, 2], &batch.futures)?;
        let TdErrors { differences: [cpu, memory], margin_loss, expected } =
            self.td_errors(batch)?;
        let huber = |difference: &Tensor| {
            difference.huber_loss(&difference.zeros_like(), Reduction::None, HUBER_DELTA)
        };
        let loss = (&weights * (huber(&cpu) + huber(&memory))).mean(Kind::Float);
        let known = futures.ge(0.0).to_kind(Kind::Float);
        let usage = batch.states.chunks_exact(batch.width);
        let of = |state: &[f32]| self.usage.map_or([0.0; 2], |usage| usage.map(|at| state[at]));
        let usage = tensor(&[size, 2], &usage.flat_map(of).collect::<Vec<f32>>())?;
        let prediction_loss = ((expected + usage - futures) * known).abs().mean(Kind::Float);
        let total = &loss
            + pace.imitation * margin_loss.mean(Kind::Float)
            + PREDICTION_WEIGHT * &prediction_loss;
        let gradients = Tensor::f_run_backward(&[total], &self.online, false, false)?;
        tch::no_grad(|| self.step(&gradients, pace))?;
        Ok(StepStatistics {
            errors: floats(&(cpu.detach().abs() + memory.detach().abs()))?,
            loss: loss.double_value(&[]),
            prediction_loss: prediction_loss.double_value(&[]),
        })
    }

    /// The absolute temporal difference of each transition, both resources together.
    pub fn errors(&self, batch: &Batch) -> Result<Vec<f32>, ModelError> {
        let TdErrors { differences: [cpu, memory], .. } = tch::no_grad(|| self.td_errors(batch))?;
        floats(&(cpu.abs() + memory.abs()))
    }

    fn td_errors(&self, batch: &Batch) -> Result<TdErrors, ModelError> {
        let size = batch.len();
        let seen = |states: &[f32]| -> Result<Tensor, ModelError> {
            let states = tensor(&[size, batch.width], states)?;
            Ok(states.f_narrow(1, 0, self.features as i64)?)
        };
        let (states, next) = (seen(&batch.states)?, seen(&batch.next_states)?);
        let discounts = tensor(&[size], &batch.discounts)?;
        let target =
            tch::no_grad(|| [forward(&self.target, &states), forward(&self.target, &next)]);
        let wanted = tch::no_grad(|| forward(&self.online, &next));
        let answers = forward(&self.online, &states);
        let pick = |of: &Tensor, actions: &Tensor| -> Result<Tensor, ModelError> {
            Ok(of.f_gather(1, actions, false)?.f_view([-1])?)
        };
        let difference = |resource: usize| -> Result<Tensor, ModelError> {
            let indices = |of: &[Vec<i64>; 2]| -> Result<Tensor, ModelError> {
                Ok(Tensor::f_from_slice(&of[resource])?.f_view([size as i64, -1])?)
            };
            let done = |resolved: Tensor, wanted: &Tensor| {
                resolved.f_gather(1, &wanted.f_argmax(1, true)?, false)
            };
            let actions = indices(&batch.actions)?;
            let [now, next] = [&target[0][resource], &target[1][resource]];
            // The online network wants, the guard grants, the target network values.
            let value = pick(next, &done(indices(&batch.next_resolved)?, &wanted[resource])?)?;
            // What the action is worse than the best one counts many times over: within one step of
            // 30 s it is little.
            let best = pick(now, &done(indices(&batch.resolved)?, now)?)?;
            let gap = (best - pick(now, &actions)?).clamp_max(WIDEST_GAP) * self.action_gap;
            let goal = tensor(&[size], &batch.returns[resource])? + &discounts * value - gap;
            Ok(pick(&answers[resource], &actions)? - goal)
        };
        let differences = [difference(0)?, difference(1)?];
        let margin = |resource: usize| -> Result<Tensor, ModelError> {
            let demonstrated =
                Tensor::f_from_slice(&batch.demonstrated[resource])?.f_view([size as i64, 1])?;
            let margins =
                answers[resource].ones_like().f_scatter_value(1, &demonstrated, 0.0)? * MARGIN;
            let worse = (&answers[resource] + margins).amax([1i64].as_slice(), false)
                - pick(&answers[resource], &demonstrated)?;
            Ok(worse * tensor(&[size], &class_weights(&batch.demonstrated[resource]))?)
        };
        let margin_loss = margin(0)? + margin(1)?;
        let [_, _, expected] = answers;
        Ok(TdErrors { differences, margin_loss, expected })
    }

    fn step(&mut self, gradients: &[Tensor], pace: Pace) -> Result<(), ModelError> {
        self.adam.step(&mut self.online, gradients, pace.learning_rate)?;
        for (online, target) in self.online.iter().zip(&mut self.target) {
            let way = (online - &*target) * pace.target_rate;
            let _ = target.f_add_(&way)?;
        }
        Ok(())
    }

    /// The target network, the average of the online ones on the way here.
    pub fn checkpoint(&self, metadata: Map<String, Value>) -> Result<Checkpoint, ModelError> {
        let tensors = self.names.iter().zip(&self.target).map(|(name, tensor)| named(name, tensor));
        Ok(Checkpoint { tensors: tensors.collect::<Result<_, _>>()?, metadata })
    }

    /// The same network, ready to run.
    pub fn network(&self, metadata: Map<String, Value>) -> Result<Network, ModelError> {
        Network::from_checkpoint(&self.checkpoint(metadata)?)
    }

    /// Everything that learning goes on from.
    pub fn save(&self, mut metadata: Map<String, Value>) -> Result<Checkpoint, ModelError> {
        metadata.insert("gradient_steps".into(), self.adam.steps.into());
        let mut tensors = Vec::new();
        for (part, of_part) in self.parts() {
            for (name, tensor) in self.names.iter().zip(of_part) {
                tensors.push(named(&format!("{part}.{name}"), tensor)?);
            }
        }
        Ok(Checkpoint { tensors, metadata })
    }

    /// Goes on from what [`Self::save`] gave.
    pub fn resume(&mut self, checkpoint: &Checkpoint) -> Result<(), ModelError> {
        let gradient_steps = checkpoint.metadata.get("gradient_steps").and_then(Value::as_i64);
        self.adam.steps = gradient_steps.ok_or_else(|| {
            ModelError::Metadata("does not say after how many gradient_steps".into())
        })?;
        let mut saved = Vec::new();
        for (part, of_part) in self.parts() {
            for (name, ours) in self.names.iter().zip(of_part) {
                let name = format!("{part}.{name}");
                let theirs = checkpoint.tensors.iter().find(|tensor| tensor.name == name);
                let theirs = theirs.ok_or_else(|| ModelError::tensor(&name, "is not there"))?;
                let shape: Vec<i64> = theirs.shape.iter().map(|size| *size as i64).collect();
                if shape != ours.size() {
                    return Err(ModelError::tensor(
                        &name,
                        format!("has shape {shape:?}, not {:?}", ours.size()),
                    ));
                }
                saved.push(tensor(&theirs.shape, &theirs.data)?);
            }
        }
        let ours = self
            .online
            .iter_mut()
            .chain(&mut self.target)
            .chain(&mut self.adam.first)
            .chain(&mut self.adam.second);
        tch::no_grad(|| ours.zip(&saved).for_each(|(ours, saved)| ours.copy_(saved)));
        Ok(())
    }

    fn parts(&self) -> [(&'static str, &Vec<Tensor>); 4] {
        [
            ("online", &self.online),
            ("target", &self.target),
            ("first", &self.adam.first),
            ("second", &self.adam.second),
        ]
    }
}

/// Weights by which the rarer preferred actions of a batch count more, by the square root: without
/// them the usual one is all that is learnt, and at full weight the rare one is seen everywhere.
fn class_weights(actions: &[i64]) -> Vec<f32> {
    let count = |preferred: i64| actions.iter().filter(|other| **other == preferred).count();
    let counts = [0, 1, 2].map(count);
    actions
        .iter()
        .map(|preferred| (actions.len() as f32 / counts[*preferred as usize] as f32).sqrt())
        .collect()
}

/// The names of all linear layers in the order of the state dict, with their inputs and outputs.
fn layers(features: usize) -> Vec<(String, usize, usize)> {
    let last = TRUNK[TRUNK.len() - 1];
    let trunk = [features].into_iter().chain(TRUNK).zip(TRUNK).enumerate();
    let mut all: Vec<_> = trunk
        .map(|(at, (inputs, outputs))| (format!("shared_layers.{}", 2 * at), inputs, outputs))
        .collect();
    for (head, outputs) in HEADS {
        all.push((format!("{head}.0"), last, HEAD));
        all.push((format!("{head}.2"), HEAD, outputs));
    }
    all
}

/// The answers of the three heads.
fn forward(weights: &[Tensor], states: &Tensor) -> [Tensor; 3] {
    let layer = |index: usize, input: &Tensor| {
        input.linear(&weights[2 * index], Some(&weights[2 * index + 1]))
    };
    let mut shared = states.shallow_clone();
    for index in 0..TRUNK.len() {
        shared = layer(index, &shared).relu();
    }
    [0, 1, 2].map(|head| {
        let first = TRUNK.len() + 2 * head;
        // The prediction makes use of what the Q values need; it does not shape it.
        let input = if head == 2 { shared.detach() } else { shared.shallow_clone() };
        layer(first + 1, &layer(first, &input).relu())
    })
}

/// Weight and bias of a layer, drawn as PyTorch draws them for `nn.Linear`.
pub(super) fn linear(
    inputs: usize,
    outputs: usize,
    rng: &mut StdRng,
) -> Result<[Tensor; 2], ModelError> {
    let bound = 1.0 / (inputs as f32).sqrt();
    let mut draw =
        |count: usize| (0..count).map(|_| rng.random_range(-bound..bound)).collect::<Vec<f32>>();
    let weight = tensor(&[outputs, inputs], &draw(outputs * inputs))?;
    Ok([weight, tensor(&[outputs], &draw(outputs))?])
}

pub(super) fn tensor(shape: &[usize], data: &[f32]) -> Result<Tensor, ModelError> {
    let shape: Vec<i64> = shape.iter().map(|size| *size as i64).collect();
    Ok(Tensor::f_from_slice(data)?.f_view(shape.as_slice())?)
}

pub(super) fn named(name: &str, tensor: &Tensor) -> Result<NamedTensor, ModelError> {
    let shape = tensor.size().iter().map(|size| *size as usize).collect();
    Ok(NamedTensor { name: name.into(), shape, data: floats(tensor)? })
}

fn floats(tensor: &Tensor) -> Result<Vec<f32>, ModelError> {
    let mut data = vec![0.0; tensor.numel()];
    tensor.f_copy_data(&mut data, tensor.numel())?;
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { learning_rate: 0.01, imitation: 0.0, target_rate: 0.05 };

    fn batch(size: usize, discount: f32, resolved: [i64; 3]) -> Batch {
        let column = |of: fn(usize) -> f32| (0..size).map(of).collect::<Vec<f32>>();
        let states = column(|row| (row % 2) as f32);
        let actions: Vec<i64> = (0..size as i64).map(|row| row / 2 % 3).collect();
        // In state 0 the first action is right, in state 1 the last.
        let right = |row: usize| if row.is_multiple_of(2) { 0 } else { 2 };
        let returns = (0..size)
            .map(|row| if actions[row] == right(row) { 1.0 } else { 0.0 })
            .collect::<Vec<f32>>();
        let resolved: Vec<i64> = (0..size).flat_map(|_| resolved).collect();
        Batch {
            next_states: states.clone(),
            states,
            width: 1,
            actions: [actions.clone(), actions],
            resolved: [resolved.clone(), resolved.clone()],
            next_resolved: [resolved.clone(), resolved],
            demonstrated: [vec![0; size], vec![0; size]],
            returns: [returns.clone(), returns],
            discounts: vec![discount; size],
            futures: (0..size).flat_map(|row| [0.25 + 0.5 * (row % 2) as f32, -1.0]).collect(),
            weights: vec![1.0; size],
        }
    }

    fn answers(learner: &Learner) -> Vec<crate::core::network::QValues> {
        let metadata = serde_json::json!({"features": ["cpu_usage"]});
        let network = learner.network(metadata.as_object().unwrap().clone()).unwrap();
        network.forward(ndarray::array![[0.0], [1.0]].view()).unwrap()
    }

    fn taught(discount: f32, resolved: [i64; 3]) -> Learner {
        let mut learner = Learner::new(1, None, 1, 0.0).unwrap();
        for _ in 0..600 {
            learner.learn(&batch(64, discount, resolved), PACE).unwrap();
        }
        learner
    }

    #[test]
    fn it_learns_the_value_of_each_action_and_the_next_usage() {
        let answers = answers(&taught(0.0, [0, 1, 2]));
        for (answer, expected, future) in
            [(answers[0], [1.0, 0.0, 0.0], 0.25), (answers[1], [0.0, 0.0, 1.0], 0.75)]
        {
            for (got, want) in
                answer.cpu.iter().chain(&answer.memory).zip(expected.iter().chain(&expected))
            {
                assert!((got - want).abs() < 0.05, "{answers:?}");
            }
            assert!((answer.future[0] - future).abs() < 0.05, "{answers:?}");
        }
    }

    #[test]
    fn what_follows_is_valued_by_what_the_guard_lets_through() {
        // With the best action at every step a state is worth 1 + 0.5 + 0.25 + …
        let free = answers(&taught(0.5, [0, 1, 2]));
        assert!((free[0].cpu[0] - 2.0).abs() < 0.1, "{free:?}");
        // Where the guard makes MAINTAIN of everything, what follows is worth nothing.
        let guarded = answers(&taught(0.5, [1, 1, 1]));
        assert!(
            (guarded[0].cpu[0] - 1.0).abs() < 0.1 && guarded[0].cpu[1].abs() < 0.1,
            "{guarded:?}"
        );
    }

    #[test]
    fn the_gap_between_actions_is_widened_to_a_point_and_the_best_value_stays() {
        let mut learner = Learner::new(1, None, 1, 0.5).unwrap();
        for _ in 0..1200 {
            learner.learn(&batch(64, 0.0, [0, 1, 2]), PACE).unwrap();
        }
        let cpu = answers(&learner)[0].cpu;
        assert!(
            (cpu[0] - 1.0).abs() < 0.1 && (cpu[1] + 0.5 * WIDEST_GAP as f32).abs() < 0.1,
            "{cpu:?}"
        );
    }

    #[test]
    fn learning_goes_on_from_where_it_was_saved() {
        let mut learner = taught(0.5, [0, 1, 2]);
        let saved = learner.save(Map::new()).unwrap();
        let saved = Checkpoint::read_bytes(&saved.to_bytes().unwrap(), "saved").unwrap();
        let mut again = Learner::new(1, None, 2, 0.0).unwrap();
        again.resume(&saved).unwrap();
        for learner in [&mut learner, &mut again] {
            learner.learn(&batch(32, 0.5, [0, 1, 2]), PACE).unwrap();
        }
        assert_eq!(learner.save(Map::new()).unwrap(), again.save(Map::new()).unwrap());
        let mut other = Learner::new(3, None, 2, 0.0).unwrap();
        assert!(other.resume(&saved).unwrap_err().to_string().contains("shared_layers.0.weight"));
    }
}
