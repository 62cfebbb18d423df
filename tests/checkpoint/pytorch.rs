//! What PyTorch writes is read, and its answers are ours; what we write reads back.

use dqn_scaler::model::{Checkpoint, Network};
use serde_json::Value;
use zip::CompressionMethod;

use super::{answers, reference, repack, replaced, small};

/// Batched or row by row, the answers are PyTorch's: within 6e-5, relative above 1.
#[test]
fn golden_outputs() {
    let (Some(path), Some(golden)) =
        (reference("checkpoint.pth"), reference("golden_forward.json"))
    else {
        return;
    };
    let network = Network::load(&path).unwrap();
    assert_eq!((network.state_dim(), network.action_dim(), network.parameters()), (8, 3, 167_816));
    let golden: Vec<Value> = serde_json::from_slice(&std::fs::read(golden).unwrap()).unwrap();
    let numbers = |row: &Value, key: &str| -> Vec<f64> {
        row[key].as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
    };
    let states: Vec<Vec<f32>> = golden
        .iter()
        .map(|row| numbers(row, "state").iter().map(|&value| value as f32).collect())
        .collect();

    let batched = answers(&network, &states);
    let single: Vec<_> =
        states.iter().flat_map(|state| answers(&network, std::slice::from_ref(state))).collect();
    let deflated = repack(&std::fs::read(&path).unwrap(), CompressionMethod::Deflated, |_, _| {});
    let deflated =
        Network::from_checkpoint(&Checkpoint::read_bytes(&deflated, "deflated").unwrap()).unwrap();
    let mut worst = 0f64;
    for found in [batched, single, answers(&deflated, &states)] {
        assert_eq!(found.len(), golden.len());
        for (row, found) in golden.iter().zip(found) {
            let heads =
                [("cpu_q", &found.cpu[..]), ("memory_q", &found.memory), ("future", &found.future)];
            for (key, found) in heads {
                for (expected, &found) in numbers(row, key).into_iter().zip(found) {
                    worst =
                        worst.max((expected - f64::from(found)).abs() / expected.abs().max(1.0));
                }
            }
        }
    }
    println!("{} states, largest deviation {worst:.1e}", golden.len());
    assert!(worst < 6e-5, "{worst}");
}

#[test]
fn written_checkpoints_read_back() {
    let checkpoint = small();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.pth");
    std::fs::write(&path, "an older file").unwrap();
    checkpoint.write(&path).unwrap();
    assert_eq!(Checkpoint::read(&path).unwrap(), checkpoint);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
    assert_eq!(
        checkpoint.to_bytes().unwrap(),
        std::fs::read(&path).unwrap(),
        "the same bytes each time"
    );
    assert_eq!(Network::load(&path).unwrap().features()[7], "h");

    let nowhere = folder.path().join("missing/model.pth");
    assert!(checkpoint.write(&nowhere).unwrap_err().to_string().contains("missing/model.pth"));
}

/// What other versions and options of PyTorch save: transposed and half-precision tensors,
/// prefixes, flat state dicts.
#[test]
fn other_layouts() {
    let file = small().to_bytes().unwrap();
    let edit_pickle = |old: &[u8], new: &[u8], data: Option<&[u8]>| {
        let file = repack(&file, CompressionMethod::Stored, |name, bytes| match data {
            Some(data) if name.ends_with("data/0") => data.clone_into(bytes),
            _ if name.ends_with("data.pkl") => *bytes = replaced(bytes, old, new),
            _ => {}
        });
        Checkpoint::read_bytes(&file, "edited")
    };
    let original = &small().tensors[0].data;

    let transposed =
        edit_pickle(b"J\x08\0\0\0J\x01\0\0\0t", b"J\x01\0\0\0J\x04\0\0\0t", None).unwrap();
    assert_eq!(transposed.tensors[0].data[1], original[4]);
    assert_eq!(transposed.tensors[0].data[8], original[1]);

    // All of these values are exact in half precision and, with few bits, in bfloat16.
    let half: Vec<u8> = [0x3c00u16, 0xc000, 0x0001, 0x7bff]
        .repeat(8)
        .into_iter()
        .flat_map(u16::to_le_bytes)
        .collect();
    let read = edit_pickle(b"FloatStorage", b"HalfStorage", Some(&half)).unwrap();
    assert_eq!(read.tensors[0].data[..4], [1.0, -2.0, 2f32.powi(-24), 65504.0]);
    let brain: Vec<u8> = [0x3f80u16, 0xc000, 0x0080, 0x7f7f]
        .repeat(8)
        .into_iter()
        .flat_map(u16::to_le_bytes)
        .collect();
    let read = edit_pickle(b"FloatStorage", b"BFloat16Storage", Some(&brain)).unwrap();
    assert_eq!(read.tensors[0].data[..3], [1.0, -2.0, f32::MIN_POSITIVE]);
    let double: Vec<u8> =
        original.iter().flat_map(|&value| f64::from(value).to_le_bytes()).collect();
    let read = edit_pickle(b"FloatStorage", b"DoubleStorage", Some(&double)).unwrap();
    assert_eq!(&read.tensors[0].data, original);
    let error =
        edit_pickle(b"FloatStorage", b"LongStorage", Some(&double)).unwrap_err().to_string();
    assert!(error.contains("shared_layers.0.weight: has type int64"), "{error}");

    let prefixed = edit_pickle(
        b"X\x16\0\0\0shared_layers.0.weight",
        b"X\x1d\0\0\0module.shared_layers.0.weight",
        None,
    );
    assert_eq!(prefixed.unwrap().tensors, small().tensors);
    let other_key = edit_pickle(b"X\x10\0\0\0model_state_dict", b"X\x05\0\0\0agent", None);
    assert_eq!(other_key.unwrap(), small());
}
