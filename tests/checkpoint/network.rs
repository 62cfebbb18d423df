//! Networks built from a checkpoint: what fits, what is refused, what is answered.

use dqn_scaler::model::{ModelError, NamedTensor, Network};
use ndarray::Array2;
use serde_json::json;

use super::{answers, network_error, position, small};

/// Chunks of a large batch are put together in order, on several threads at once.
#[test]
fn large_batches_keep_their_rows() {
    let network = Network::from_checkpoint(&small()).unwrap();
    let states: Vec<Vec<f32>> = (0..40_000).map(|row| vec![row as f32 / 1000.0; 8]).collect();
    let found = std::thread::scope(|scope| {
        let threads = [0, 1, 2].map(|_| scope.spawn(|| answers(&network, &states)));
        let [first, second, third] = threads.map(|thread| thread.join().unwrap());
        assert!(first == second && second == third);
        first
    });
    for row in [0, 16_383, 16_384, 32_768, 39_999] {
        let single = answers(&network, &states[row..=row])[0];
        assert!(
            (found[row].cpu[2] - single.cpu[2]).abs() <= 1e-4 * single.cpu[2].abs().max(1.0),
            "row {row}"
        );
    }
    assert!(answers(&network, &[]).is_empty());
}

#[test]
fn states_that_cannot_be_answered() {
    let network = Network::from_checkpoint(&small()).unwrap();
    let mut states = Array2::<f32>::zeros((3, 8));
    states[[1, 2]] = f32::NAN;
    let error = network.forward(states.view()).unwrap_err();
    assert!(
        matches!(error, ModelError::Row { row: 1, .. }) && error.to_string().contains("c is NaN"),
        "{error}"
    );
    states[[1, 2]] = f32::MAX;
    states[[1, 3]] = f32::MAX;
    let mut large = small();
    large.tensors[0].data.fill(1e30);
    let error = Network::from_checkpoint(&large).unwrap().forward(states.view()).unwrap_err();
    assert!(matches!(error, ModelError::Row { row: 1, .. }), "{error}");
    let error = network.forward(Array2::zeros((1, 7)).view()).unwrap_err().to_string();
    assert!(error.contains('7') && error.contains('8'), "{error}");
}

#[test]
fn networks_that_do_not_fit() {
    let edited = |name: &str, edit: fn(&mut NamedTensor)| {
        let mut checkpoint = small();
        let at = position(&checkpoint, name);
        edit(&mut checkpoint.tensors[at]);
        let error = network_error(&checkpoint);
        assert!(error.contains(&checkpoint.tensors[at].name), "{error}");
        error
    };
    assert!(
        edited("cpu_head.0.bias", |tensor| tensor.data[1] = f32::NAN).contains("element 1 is NaN")
    );
    assert!(
        edited("cpu_head.0.bias", |tensor| tensor.data[1] = f32::INFINITY)
            .contains("element 1 is inf")
    );
    assert!(
        edited("memory_head.0.weight", |tensor| tensor.shape = vec![4, 3])
            .contains("the layer before it gives 4")
    );
    assert!(
        edited("memory_head.0.weight", |tensor| tensor.shape = vec![12])
            .contains("[outputs, inputs]")
    );
    assert!(edited("memory_head.0.bias", |tensor| tensor.shape = vec![1, 3]).contains("not [3]"));
    assert!(
        edited("prediction_head.0.bias", |tensor| tensor.name = "value_head.0.bias".into())
            .contains("no layer")
    );
    assert!(
        edited("prediction_head.0.bias", |tensor| tensor.name = "cpu_head.00.bias".into())
            .contains("same layer")
    );

    let mut checkpoint = small();
    checkpoint.tensors.retain(|tensor| !tensor.name.starts_with("memory_head"));
    assert!(network_error(&checkpoint).contains("memory_head.0.weight: is missing"));
    let mut checkpoint = small();
    checkpoint.metadata.insert("features".into(), json!(["a"]));
    assert!(network_error(&checkpoint).contains("names 1 features, the network has 8 inputs"));
    checkpoint.metadata.clear();
    assert_eq!(Network::from_checkpoint(&checkpoint).unwrap().features()[2], "network_latency");
    checkpoint.tensors[0] =
        NamedTensor { shape: vec![4, 7], data: vec![0.5; 28], ..checkpoint.tensors[0].clone() };
    assert!(network_error(&checkpoint).contains("7 inputs"));
}
