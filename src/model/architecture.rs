//! The network's layers, found in a checkpoint: a shared trunk and three heads on it, and two heads
//! for room beside them, all of `nn.Linear`.

use std::collections::BTreeMap;
use std::fmt;

use super::checkpoint::{Checkpoint, NamedTensor};
use super::error::ModelError;
use crate::core::room::LEVELS;

/// The trunk and the heads by the names their modules have in PyTorch; the heads with their numbers
/// of outputs.
const TRUNK: &str = "shared_layers";
const HEADS: [(&str, usize); 3] = [("cpu_head", 3), ("memory_head", 3), ("prediction_head", 2)];
/// The heads that tell how much room each resource needs, on the state itself: both, or neither.
pub(super) const ROOM_HEADS: [&str; 2] = ["cpu_room", "memory_room"];

/// The features of a network whose checkpoint names none, in the order of its inputs.
pub const DEFAULT_FEATURES: [&str; 8] = [
    "cpu_usage",
    "memory_usage",
    "network_latency",
    "container_count",
    "cpu_trend",
    "memory_trend",
    "cpu_allocation",
    "memory_allocation",
];

/// Linear layers applied one after another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    pub name: &'static str,
    /// The block's inputs, then the outputs of each layer.
    pub sizes: Vec<usize>,
    /// Whether a ReLU follows the last layer too, as it does in the trunk; between layers there
    /// always is one.
    pub relu_last: bool,
}

impl Block {
    /// Whether it takes the state, or what the trunk has made of it.
    fn reads_state(&self) -> bool {
        self.name == TRUNK || ROOM_HEADS.contains(&self.name)
    }

    /// Weights and biases.
    pub fn parameters(&self) -> usize {
        self.sizes.windows(2).map(|pair| (pair[0] + 1) * pair[1]).sum()
    }
}

impl fmt::Display for Block {
    /// For example `8 -> 256 -> 256 (ReLU)`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes: Vec<_> = self.sizes.iter().map(usize::to_string).collect();
        write!(out, "{}{}", sizes.join(" -> "), if self.relu_last { " (ReLU)" } else { "" })
    }
}

/// A block with the tensors of its layers.
pub(super) struct Layers<'c> {
    pub block: Block,
    /// Weight `[outputs, inputs]` and bias `[outputs]` of each layer.
    pub tensors: Vec<(&'c NamedTensor, &'c NamedTensor)>,
}

/// Weight and bias of the layers of one block by their indices in its `nn.Sequential`; activations
/// and dropout take an index and have no tensors.
type Indexed<'c> = BTreeMap<usize, [Option<&'c NamedTensor>; 2]>;

/// The trunk, then the heads, and the heads for room if there are any; every tensor has its place,
/// a fitting shape and only finite elements.
pub(super) fn blocks(checkpoint: &Checkpoint) -> Result<Vec<Layers<'_>>, ModelError> {
    let mut indexed: BTreeMap<&str, Indexed<'_>> = BTreeMap::new();
    for tensor in &checkpoint.tensors {
        let (block, index, part) = place(&tensor.name).ok_or_else(|| {
            ModelError::tensor(&tensor.name, "is no layer of the multi-head Q-network")
        })?;
        let slot = &mut indexed.entry(block).or_default().entry(index).or_default()[part];
        if slot.replace(tensor).is_some() {
            return Err(ModelError::tensor(&tensor.name, "names the same layer as another tensor"));
        }
        if let Some(at) = tensor.data.iter().position(|element| !element.is_finite()) {
            return Err(ModelError::tensor(
                &tensor.name,
                format!("element {at} is {}", tensor.data[at]),
            ));
        }
    }

    let trunk = layers(TRUNK, true, None, &indexed)?;
    let width = trunk.block.sizes.last().copied();
    let mut blocks = vec![trunk];
    let has_room = ROOM_HEADS.iter().any(|name| indexed.contains_key(name));
    let room = ROOM_HEADS.iter().filter(|_| has_room).map(|name| (*name, LEVELS, None));
    let heads = HEADS.into_iter().map(|(name, outputs)| (name, outputs, width)).chain(room);
    for (name, outputs, width) in heads {
        let head = layers(name, false, width, &indexed)?;
        if let Some((weight, _)) =
            head.tensors.last().filter(|(weight, _)| weight.shape[0] != outputs)
        {
            return Err(ModelError::tensor(
                &weight.name,
                format!("has {} outputs, not {outputs}", weight.shape[0]),
            ));
        }
        blocks.push(head);
    }
    Ok(blocks)
}

/// `shared_layers.3.bias` is the bias of layer 3 of the trunk; a head that is a single layer may go
/// without an index.
fn place(name: &str) -> Option<(&'static str, usize, usize)> {
    let (block, rest) = name.split_once('.')?;
    let heads = HEADS.map(|head| head.0).into_iter().chain(ROOM_HEADS);
    let block = std::iter::once(TRUNK).chain(heads).find(|known| *known == block)?;
    let (index, part) = match rest.split_once('.') {
        Some((index, part)) => (index.parse().ok()?, part),
        None => (0, rest),
    };
    match part {
        "weight" => Some((block, index, 0)),
        "bias" => Some((block, index, 1)),
        _ => None,
    }
}

/// The layers of one block in order; `inputs` is the width of what comes before it, if anything
/// does.
fn layers<'c>(
    name: &'static str,
    relu_last: bool,
    inputs: Option<usize>,
    indexed: &BTreeMap<&str, Indexed<'c>>,
) -> Result<Layers<'c>, ModelError> {
    let missing = |index: usize, part: &str| {
        ModelError::tensor(&format!("{name}.{index}.{part}"), "is missing")
    };
    let mut sizes: Vec<usize> = inputs.into_iter().collect();
    let mut tensors = Vec::new();
    for (&index, parts) in indexed.get(name).ok_or_else(|| missing(0, "weight"))? {
        let weight = parts[0].ok_or_else(|| missing(index, "weight"))?;
        let bias = parts[1].ok_or_else(|| missing(index, "bias"))?;
        let [outputs, width] = weight.shape[..] else {
            return Err(ModelError::tensor(
                &weight.name,
                format!("has shape {:?}, not [outputs, inputs]", weight.shape),
            ));
        };
        if outputs == 0 || width == 0 || outputs.checked_mul(width) != Some(weight.data.len()) {
            return Err(ModelError::tensor(
                &weight.name,
                format!("has no elements for its shape {:?}", weight.shape),
            ));
        }
        match sizes.last() {
            None => sizes.push(width),
            Some(&before) if before != width => {
                let reason = format!("takes {width} inputs, the layer before it gives {before}");
                return Err(ModelError::tensor(&weight.name, reason));
            }
            Some(_) => {}
        }
        if bias.shape != [outputs] || bias.data.len() != outputs {
            return Err(ModelError::tensor(
                &bias.name,
                format!("has shape {:?}, not [{outputs}]", bias.shape),
            ));
        }
        sizes.push(outputs);
        tensors.push((weight, bias));
    }
    Ok(Layers { block: Block { name, sizes, relu_last }, tensors })
}

/// Where the usage of CPU and of memory stands among the features.
pub fn usage_in(features: &[String]) -> Result<[usize; 2], ModelError> {
    let place = |name: &str| {
        let place = features.iter().position(|feature| feature == name);
        place.ok_or_else(|| ModelError::Metadata(format!("names no feature {name}")))
    };
    Ok([place("cpu_usage")?, place("memory_usage")?])
}

/// The width of a state: all of it goes to the heads for room, and its beginning to the trunk.
pub(super) fn state_dim(blocks: &[Block]) -> Result<usize, ModelError> {
    let mut inputs = blocks.iter().filter(|block| block.reads_state()).map(|block| block.sizes[0]);
    let trunk = inputs.next().unwrap_or_default();
    let (cpu, memory) = (inputs.next().unwrap_or(trunk), inputs.next().unwrap_or(trunk));
    if cpu != memory || cpu < trunk {
        return Err(ModelError::tensor(
            &format!("{}.0.weight", ROOM_HEADS[0]),
            format!("takes {cpu} features, {} takes {memory}, the trunk {trunk}", ROOM_HEADS[1]),
        ));
    }
    Ok(cpu)
}

/// The names of the `inputs` of the network, from `features` or `state_features` in the metadata.
pub(super) fn features(checkpoint: &Checkpoint, inputs: usize) -> Result<Vec<String>, ModelError> {
    let metadata = &checkpoint.metadata;
    let Some(named) = metadata.get("features").or_else(|| metadata.get("state_features")) else {
        if inputs != DEFAULT_FEATURES.len() {
            return Err(ModelError::Metadata(format!(
                "names no features, and the network has {inputs} inputs, not the {} documented \
                    ones",
                DEFAULT_FEATURES.len()
            )));
        }
        return Ok(DEFAULT_FEATURES.map(str::to_owned).to_vec());
    };
    let names: Option<Vec<String>> = named
        .as_array()
        .and_then(|items| items.iter().map(|item| item.as_str().map(str::to_owned)).collect());
    let names =
        names.ok_or_else(|| ModelError::Metadata("features is not a list of names".into()))?;
    if names.len() != inputs {
        return Err(ModelError::Metadata(format!(
            "names {} features, the network has {inputs} inputs",
            names.len()
        )));
    }
    Ok(names)
}
