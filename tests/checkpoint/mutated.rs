//! Damaged files.

use dqn_scaler::model::{Checkpoint, Network};
use ndarray::Array2;
use proptest::prelude::*;
use zip::CompressionMethod;

use super::{repack, small};

/// Never a panic: an error, or a network whose weights are finite and which answers.
fn survives(file: &[u8]) {
    let Ok(checkpoint) = Checkpoint::read_bytes(file, "mutated") else { return };
    let Ok(network) = Network::from_checkpoint(&checkpoint) else { return };
    assert!(
        checkpoint
            .tensors
            .iter()
            .all(|tensor| tensor.data.iter().all(|element| element.is_finite()))
    );
    // The weights may have become huge, so an error is fine here too.
    let _ = network.forward(Array2::zeros((2, network.state_dim())).view());
}

#[derive(Debug, Clone)]
enum Mutation {
    Flip(usize, u8),
    Insert(usize, u8),
    Delete(usize, usize),
    Truncate(usize),
}

fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    let place = any::<usize>;
    let one = prop_oneof![
        6 => (place(), 1u8..).prop_map(|(at, bits)| Mutation::Flip(at, bits)),
        2 => (place(), any::<u8>()).prop_map(|(at, byte)| Mutation::Insert(at, byte)),
        2 => (place(), 1usize..16).prop_map(|(at, count)| Mutation::Delete(at, count)),
        1 => place().prop_map(Mutation::Truncate),
    ];
    prop::collection::vec(one, 1..4)
}

fn mutate(bytes: &mut Vec<u8>, mutations: &[Mutation]) {
    for mutation in mutations {
        let size = bytes.len().max(1);
        match *mutation {
            _ if bytes.is_empty() => {}
            Mutation::Flip(at, bits) => bytes[at % size] ^= bits,
            Mutation::Insert(at, byte) => bytes.insert(at % size, byte),
            Mutation::Delete(at, count) => {
                drop(bytes.drain(at % size..(at % size + count).min(size)))
            }
            Mutation::Truncate(at) => bytes.truncate(at % size),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None,
        ..ProptestConfig::default() })]

    #[test]
    fn mutated_files_never_panic(mutations in mutations(), deflated: bool) {
        let method = if deflated { CompressionMethod::Deflated } else { CompressionMethod::Stored };
        let mut file = repack(&small().to_bytes().unwrap(), method, |_, _| {});
        mutate(&mut file, &mutations);
        survives(&file);
    }

    /// With checksums that fit, so that the mutation gets past the zip file.
    #[test]
    fn mutated_entries_never_panic(mutations in mutations(), storages: bool) {
        let file = repack(&small().to_bytes().unwrap(), CompressionMethod::Stored, |name, bytes| {
            if name.ends_with("data.pkl") || storages && name.contains("data/") {
                mutate(bytes, &mutations);
            }
        });
        survives(&file);
    }
}
