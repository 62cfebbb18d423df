//! What `dqn-scaler model inspect` and `dqn-scaler model predict` print.

use std::fmt;
use std::io::{Read, Write};
use std::path::Path;

use ndarray::Array2;
use serde::Serialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};

use super::error::ModelError;
use super::network::Network;
use crate::core::network::QValues;
use crate::core::room::LEVELS;

/// Prints the layers, features, parameter counts and metadata of a checkpoint.
pub fn inspect(path: &Path, out: &mut dyn Write) -> Result<(), ModelError> {
    let network = Network::load(path)?;
    writeln!(out, "{}", path.display())?;

    writeln!(out, "\nArchitecture")?;
    let layers: Vec<_> = network.layers().iter().map(|block| (block, block.to_string())).collect();
    let width = layers.iter().map(|(_, sizes)| sizes.len()).max().unwrap_or(0);
    for (block, sizes) in layers {
        writeln!(
            out,
            "  {:<17}{sizes:<width$}  {:>9} parameters",
            block.name,
            grouped(block.parameters())
        )?;
    }
    writeln!(
        out,
        "  {:<17}{:<width$}  {:>9} parameters",
        "total",
        "",
        grouped(network.parameters())
    )?;

    writeln!(out, "\nState ({} features)", network.state_dim())?;
    for (index, feature) in network.features().iter().enumerate() {
        writeln!(out, "  {index:>2}  {feature}")?;
    }

    writeln!(out, "\nMetadata")?;
    if network.metadata().is_empty() {
        writeln!(out, "  none; the features are the documented ones")?;
    }
    for (key, value) in network.metadata() {
        writeln!(out, "  {key}: {value}")?;
    }
    Ok(())
}

/// Reads a JSON array of states and prints a JSON array of the network's answers, one object a
/// line.
pub fn predict(path: &Path, input: &mut dyn Read, out: &mut dyn Write) -> Result<(), ModelError> {
    let network = Network::load(path)?;
    let mut text = Vec::new();
    input.read_to_end(&mut text)?;
    let states = states(&text, network.state_dim())?;

    let mut separator = "\n";
    write!(out, "[")?;
    for answer in network.forward(states.view())? {
        let answer =
            serde_json::to_string(&Prediction::from(answer)).map_err(std::io::Error::from)?;
        write!(out, "{separator}{answer}")?;
        separator = ",\n";
    }
    writeln!(out, "{}]", if states.is_empty() { "" } else { "\n" })?;
    Ok(())
}

/// float32 values widened to float64, which loses nothing.
#[derive(Serialize)]
struct Prediction {
    cpu_q_values: [f64; 3],
    memory_q_values: [f64; 3],
    future: [f64; 2],
    #[serde(skip_serializing_if = "Option::is_none")]
    room: Option<Levels>,
}

/// The levels of each resource.
#[derive(Serialize)]
struct Levels {
    cpu: [f64; LEVELS],
    memory: [f64; LEVELS],
}

impl From<QValues> for Prediction {
    fn from(answer: QValues) -> Self {
        Self {
            cpu_q_values: answer.cpu.map(f64::from),
            memory_q_values: answer.memory.map(f64::from),
            future: answer.future.map(f64::from),
            room: answer.room.map(|room| Levels {
                cpu: room.cpu.map(f64::from),
                memory: room.memory.map(f64::from),
            }),
        }
    }
}

/// The states in a JSON array of arrays of `width` numbers.
fn states(text: &[u8], width: usize) -> Result<Array2<f32>, ModelError> {
    let mut json = serde_json::Deserializer::from_slice(text);
    let flat = json.deserialize_seq(Rows { width }).and_then(|flat| json.end().map(|()| flat));
    let flat = flat.map_err(|error| ModelError::Input(error.to_string()))?;
    Array2::from_shape_vec((flat.len() / width, width), flat)
        .map_err(|error| ModelError::Input(error.to_string()))
}

/// Reads rows one by one, so that an error can say which row it is in.
struct Rows {
    width: usize,
}

impl<'de> Visitor<'de> for Rows {
    type Value = Vec<f32>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "an array of states, each an array of {} numbers", self.width)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<Vec<f32>, A::Error> {
        let mut flat = Vec::new();
        for row in 0.. {
            let in_row = |reason: String| A::Error::custom(format!("row {row}: {reason}"));
            let Some(state) =
                rows.next_element::<Vec<f64>>().map_err(|error| in_row(error.to_string()))?
            else {
                break;
            };
            if state.len() != self.width {
                return Err(in_row(format!(
                    "has {} values, the network takes {}",
                    state.len(),
                    self.width
                )));
            }
            // As float32, a number may overflow to infinity.
            if let Some(value) = state.iter().find(|value| !(**value as f32).is_finite()) {
                return Err(in_row(format!("{value:e} is too large for a float32")));
            }
            flat.extend(state.into_iter().map(|value| value as f32));
        }
        Ok(flat)
    }
}

/// With a comma between thousands.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let comma = |(at, digit): (usize, char)| {
        let first_of_group = at > 0 && (digits.len() - at).is_multiple_of(3);
        first_of_group.then_some(',').into_iter().chain([digit])
    };
    digits.chars().enumerate().flat_map(comma).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Checkpoint, NamedTensor};

    /// Two inputs to one shared unit; the CPU head answers 0.1, 0.2, 0.3 times that unit.
    fn saved() -> (tempfile::TempDir, std::path::PathBuf) {
        let tensor = |name: &str, shape: &[usize], data: &[f32]| NamedTensor {
            name: name.to_owned(),
            shape: shape.to_vec(),
            data: data.to_vec(),
        };
        let tensors = vec![
            tensor("shared_layers.0.weight", &[1, 2], &[1.0, 1.0]),
            tensor("shared_layers.0.bias", &[1], &[0.0]),
            tensor("cpu_head.weight", &[3, 1], &[0.1, 0.2, 0.3]),
            tensor("cpu_head.bias", &[3], &[0.0; 3]),
            tensor("memory_head.2.weight", &[3, 1], &[1.0, 2.0, 3.0]),
            tensor("memory_head.2.bias", &[3], &[0.0; 3]),
            tensor("prediction_head.0.weight", &[2, 1], &[-1.0, 0.5]),
            tensor("prediction_head.0.bias", &[2], &[0.0; 2]),
        ];
        let metadata = [("features".to_owned(), serde_json::json!(["cpu_usage", "memory_usage"]))]
            .into_iter()
            .collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.pth");
        Checkpoint { tensors, metadata }.write(&path).unwrap();
        (folder, path)
    }

    fn predicted(input: &str) -> Result<String, String> {
        let (_folder, path) = saved();
        let mut out = Vec::new();
        predict(&path, &mut input.as_bytes(), &mut out).map_err(|error| error.to_string())?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn answers_lose_no_precision() {
        let out = predicted("[[0.5, 0.5], [1, -3]]").unwrap();
        let answers: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(answers[0]["cpu_q_values"][0].as_f64(), Some(f64::from(0.1f32)));
        assert_eq!(answers[0]["memory_q_values"], serde_json::json!([1.0, 2.0, 3.0]));
        assert_eq!(answers[0]["future"], serde_json::json!([-1.0, 0.5]));
        assert_eq!(answers[1]["memory_q_values"], serde_json::json!([0.0, 0.0, 0.0]));
        assert_eq!(predicted("[]").unwrap(), "[]\n");
    }

    #[test]
    fn bad_states_are_named() {
        let row = |input: &str, reason: &str| {
            let error = predicted(input).unwrap_err();
            assert!(error.starts_with("input: ") && error.contains(reason), "{error}");
        };
        row("[[1, 2], [1]]", "row 1: has 1 values, the network takes 2");
        row("[[1, NaN]]", "row 0: expected value");
        row("[[1, 2], [1, null]]", "row 1: invalid type: null");
        row("[[1, 2], [1, 1e39]]", "row 1: 1e39 is too large");
        row("[[1, 2], 3]", "row 1: invalid type: integer `3`");
        row("{}", "invalid type: map, expected an array of states, each an array of 2 numbers");
        row("", "EOF");
        row("[] []", "trailing characters");
    }

    #[test]
    fn inspection_lists_layers_and_parameters() {
        let (_folder, path) = saved();
        let mut out = Vec::new();
        inspect(&path, &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(out.contains("shared_layers    2 -> 1 (ReLU)          3 parameters\n"), "{out}");
        assert!(out.contains("total                                  19 parameters\n"), "{out}");
        assert!(
            out.contains("   1  memory_usage\n")
                && out.contains("features: [\"cpu_usage\",\"memory_usage\"]"),
            "{out}"
        );
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(123), "123");
    }
}
