//! Finds the model's state dict and the metadata in what a checkpoint holds.

use serde_json::{Map, Number, Value as Json};

use super::object::TensorView;
use super::object::{Heap, Object, Value};
use crate::model::error::{ModelError, shown};

/// The names under which training scripts save the network that acts, best first. Among several
/// networks in one file the target network is the older copy, so it is no candidate before these.
const MODEL_KEYS: [&str; 11] = [
    "model_state_dict",
    "state_dict",
    "policy_net_state_dict",
    "policy_net",
    "q_network_state_dict",
    "q_network",
    "online_net",
    "main_network",
    "network",
    "model",
    "net",
];

const MAX_METADATA_DEPTH: usize = 32;
const MAX_METADATA_VALUES: usize = 1 << 16;

type Dict<'h, 'a> = &'h [(Value<'a>, Value<'a>)];

/// The model's tensors by name. Tried in order: the top level itself, the usual keys, all others;
/// the first dict with the shared layers is taken, else the first with any tensor, whose lack is
/// then reported layer by layer.
pub(super) fn model<'h, 'a>(
    heap: &'h Heap<'a>,
    root: Value<'a>,
) -> Result<Vec<(&'a str, &'h TensorView<'a>)>, ModelError> {
    let top =
        heap.dict(root).ok_or_else(|| ModelError::Format("it holds no dict of tensors".into()))?;
    let usual = MODEL_KEYS.iter().filter_map(|key| heap.dict(find(top, key)?));
    let others = top.iter().filter_map(|&(_, value)| heap.dict(value));
    let candidates = || std::iter::once(top).chain(usual.clone()).chain(others.clone());

    let chosen = candidates()
        .find(|dict| {
            tensors(heap, dict)
                .any(|(name, _)| name.trim_start_matches("module.").starts_with("shared_layers."))
        })
        .or_else(|| candidates().find(|dict| tensors(heap, dict).next().is_some()));
    let chosen = chosen.ok_or_else(|| {
        let keys: Vec<_> = top.iter().take(12).map(|&(key, _)| shown_key(key)).collect();
        ModelError::Format(format!("none of its keys holds a dict of tensors: {}", keys.join(", ")))
    })?;
    Ok(tensors(heap, chosen).collect())
}

/// The plain values under the top-level key `metadata`; none if there is no such key.
pub(super) fn metadata<'a>(
    heap: &Heap<'a>,
    root: Value<'a>,
) -> Result<Map<String, Json>, ModelError> {
    let Some(value) = heap.dict(root).and_then(|top| find(top, "metadata")) else {
        return Ok(Map::new());
    };
    let mut values_left = MAX_METADATA_VALUES;
    match json(heap, value, MAX_METADATA_DEPTH, &mut values_left)? {
        Json::Null => Ok(Map::new()),
        Json::Object(map) => Ok(map),
        _ => Err(ModelError::Metadata("is not a dict".into())),
    }
}

fn tensors<'h, 'a>(
    heap: &'h Heap<'a>,
    dict: Dict<'h, 'a>,
) -> impl Iterator<Item = (&'a str, &'h TensorView<'a>)> {
    dict.iter().filter_map(|&(key, value)| match key {
        Value::Str(name) => heap.tensor(value).map(|view| (name, view)),
        _ => None,
    })
}

/// As in Python, the last of equal keys counts.
fn find<'a>(dict: Dict<'_, 'a>, key: &str) -> Option<Value<'a>> {
    dict.iter().rev().find(|entry| entry.0 == Value::Str(key)).map(|entry| entry.1)
}

fn shown_key(key: Value<'_>) -> String {
    match key {
        Value::Str(text) => shown(text),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Bool(value) => value.to_string(),
        _ => "…".to_owned(),
    }
}

/// What JSON cannot say (NaN, a tensor, a device) becomes a text that says what was there. The two
/// limits end structures that hold themselves, and small ones that unfold into huge ones.
fn json<'a>(
    heap: &Heap<'a>,
    value: Value<'a>,
    depth: usize,
    values_left: &mut usize,
) -> Result<Json, ModelError> {
    if depth == 0 {
        return Err(ModelError::Metadata(format!(
            "is nested deeper than {MAX_METADATA_DEPTH} levels"
        )));
    }
    *values_left = values_left.checked_sub(1).ok_or_else(|| {
        ModelError::Metadata(format!("has more than {MAX_METADATA_VALUES} values"))
    })?;
    let mut inner = |value| json(heap, value, depth - 1, values_left);
    Ok(match value {
        Value::None => Json::Null,
        Value::Bool(value) => Json::Bool(value),
        Value::Int(number) => Json::from(number),
        Value::Float(number) => {
            Number::from_f64(number).map_or_else(|| Json::String(number.to_string()), Json::Number)
        }
        Value::Str(text) => Json::from(text),
        Value::Global(_) | Value::Opaque => Json::from("<not shown>"),
        Value::Object(_) => match heap.get(value) {
            Some(Object::Tuple(items) | Object::List(items)) => {
                Json::Array(items.iter().map(|&item| inner(item)).collect::<Result<_, _>>()?)
            }
            Some(Object::Dict(entries)) => {
                let entry = |&(key, value)| match key {
                    Value::Str(text) => Ok((text.to_owned(), inner(value)?)),
                    key => Ok((shown_key(key), inner(value)?)),
                };
                Json::Object(entries.iter().map(entry).collect::<Result<_, ModelError>>()?)
            }
            Some(Object::Tensor(view)) => Json::String(view.describe()),
            Some(Object::Storage(_)) | None => Json::from("<not shown>"),
        },
    })
}
