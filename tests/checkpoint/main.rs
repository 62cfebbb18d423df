//! `.pth` files: PyTorch's own, ours, damaged and hostile ones.

mod hostile;
mod mutated;
mod network;
mod pytorch;

use std::io::{Cursor, Write};
use std::path::PathBuf;

use dqn_scaler::core::network::QValues;
use dqn_scaler::model::{Checkpoint, NamedTensor, Network};
use ndarray::Array2;
use serde_json::{Value, json};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// A file of the reference checkpoint, which lies beside the repository; `None`, with a line that
/// says so, where it does not.
fn reference(name: &str) -> Option<PathBuf> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let path = std::env::var_os("DQN_SHARED")
        .map_or_else(beside, PathBuf::from)
        .join("reference")
        .join(name);
    if !path.exists() {
        println!("skipped: {} is not here", path.display());
        return None;
    }
    Some(path)
}

/// A network 8-4 with heads of one layer; its elements are small and all different.
fn small() -> Checkpoint {
    let shapes: [(&str, &[usize]); 8] = [
        ("shared_layers.0.weight", &[4, 8]),
        ("shared_layers.0.bias", &[4]),
        ("cpu_head.0.weight", &[3, 4]),
        ("cpu_head.0.bias", &[3]),
        ("memory_head.0.weight", &[3, 4]),
        ("memory_head.0.bias", &[3]),
        ("prediction_head.0.weight", &[2, 4]),
        ("prediction_head.0.bias", &[2]),
    ];
    let tensor = |(index, (name, shape)): (usize, (&str, &[usize]))| {
        let data =
            (0..shape.iter().product()).map(|at| (index * 40 + at) as f32 / 1024.0).collect();
        NamedTensor { name: name.to_owned(), shape: shape.to_vec(), data }
    };
    let metadata = json!({
        "features": ["a", "b", "c", "d", "e", "f", "g", "h"],
        "trained_at": "2026-01-01T00:00:00Z",
        "seed": 9_007_199_254_740_993_i64,
        "score": -0.25,
        "nested": {"list": [1, null, true, {"empty": {}}], "negative": -5_000_000_000_i64},
    });
    let Value::Object(metadata) = metadata else { unreachable!("an object by construction") };
    Checkpoint { tensors: shapes.into_iter().enumerate().map(tensor).collect(), metadata }
}

fn position(checkpoint: &Checkpoint, name: &str) -> usize {
    checkpoint.tensors.iter().position(|tensor| tensor.name == name).expect("the tensor is there")
}

/// The same entries in a new zip file, each as `edit` leaves it.
fn repack(file: &[u8], method: CompressionMethod, edit: impl Fn(&str, &mut Vec<u8>)) -> Vec<u8> {
    let mut old = ZipArchive::new(Cursor::new(file)).expect("a zip file");
    let mut new = ZipWriter::new(Cursor::new(Vec::new()));
    for index in 0..old.len() {
        let mut entry = old.by_index(index).expect("an entry");
        let name = entry.name().expect("a name").into_owned();
        let mut bytes = Vec::new();
        std::io::copy(&mut entry, &mut bytes).expect("readable");
        edit(&name, &mut bytes);
        let options = SimpleFileOptions::default().compression_method(method);
        new.start_file(name, options).and_then(|()| Ok(new.write_all(&bytes)?)).expect("writable");
    }
    new.finish().expect("writable").into_inner()
}

/// `small()` with another pickle in it.
fn with_pickle(pickle: &[u8]) -> Vec<u8> {
    let file = small().to_bytes().expect("writable");
    repack(&file, CompressionMethod::Deflated, |name, bytes| {
        if name.ends_with("data.pkl") {
            pickle.clone_into(bytes);
        }
    })
}

fn replaced(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let at = bytes
        .windows(old.len())
        .position(|window| window == old)
        .expect("what to replace is there");
    [&bytes[..at], new, &bytes[at + old.len()..]].concat()
}

fn read_error(file: &[u8]) -> String {
    let error = Checkpoint::read_bytes(file, "some.pth").expect_err("must be refused").to_string();
    assert!(error.starts_with("some.pth: "), "{error}");
    error
}

fn network_error(checkpoint: &Checkpoint) -> String {
    Network::from_checkpoint(checkpoint).expect_err("must be refused").to_string()
}

fn answers(network: &Network, states: &[Vec<f32>]) -> Vec<QValues> {
    let flat = states.concat();
    let states = Array2::from_shape_vec((states.len(), network.state_dim()), flat)
        .expect("rows of one width");
    network.forward(states.view()).expect("finite answers")
}
