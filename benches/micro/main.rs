//! The pieces of a decision by themselves: `cargo bench --bench micro`.

mod plain;

use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dqn_scaler::core::context::OwnedPod;
use dqn_scaler::core::features::FeatureSet;
use dqn_scaler::core::history::ContainerHistory;
use dqn_scaler::core::observation::Observation;
use dqn_scaler::core::plan::plan;
use dqn_scaler::core::pod::{ContainerResources, Pod, PodContainer, pod_key};
use dqn_scaler::core::policy::Policy;
use dqn_scaler::core::quantity;
use dqn_scaler::core::resource::PerResource;
use dqn_scaler::model::{Checkpoint, Network};
use dqn_scaler::scaler::agent::{Agent, Observed};
use dqn_scaler::scaler::stopwatch::Stopwatch;
use ndarray::Array2;

const PODS: usize = 10_000;
const MODEL: &str = "models/final-models/dqn_model.pth";

/// Usage that differs from pod to pod and from step to step.
fn observation(pod: usize, step: usize) -> Observation {
    let share = |salt: usize| ((pod * 7919 + step * 104_729 + salt) % 1000) as f64 / 1000.0;
    let usage = PerResource::new(share(1), 512.0 * share(2));
    let limit = PerResource::new(1.2, 640.0);
    Observation { containers: 2, ..Observation::measured(step as i64 * 30, usage, limit) }
}

fn pod(index: usize) -> OwnedPod {
    let container = |name: &str, cpu: &str, memory: &str| {
        let requests = [("cpu", "50m"), ("memory", "64Mi")];
        let limits = [("cpu", cpu), ("memory", memory)];
        PodContainer::new(name, ContainerResources::new(&requests, &limits))
    };
    let key = pod_key("team-1", format!("app-{index}"), format!("uid-{index}"));
    let containers = vec![container("app", "1", "512Mi"), container("proxy", "200m", "128Mi")];
    OwnedPod::bare(Pod::new(key, containers))
}

fn seen(pods: &[OwnedPod], step: usize) -> Vec<Observed> {
    let seen = |(index, owned): (usize, &OwnedPod)| Observed {
        owned: owned.clone(),
        containers: Ok(vec![observation(index, step), observation(index + 1, step)]),
        own_policy: None,
    };
    pods.iter().enumerate().map(seen).collect()
}

fn network() -> Network {
    Network::load(Path::new(MODEL)).expect("the shipped model")
}

fn deciding(criterion: &mut Criterion) {
    let policy = Policy::default();
    let mut group = criterion.benchmark_group("10,000 pods");
    group.throughput(Throughput::Elements(PODS as u64)).sample_size(20);

    let histories: Vec<ContainerHistory> = (0..PODS)
        .map(|pod| {
            let mut history = ContainerHistory::default();
            (0..8).for_each(|step| {
                history.observe(&observation(pod, step), &policy, step as i64 * 30);
            });
            history
        })
        .collect();
    let features = FeatureSet::documented();
    let states = || {
        let mut rows = Vec::with_capacity(PODS * features.len());
        for (pod, history) in histories.iter().enumerate() {
            features.extend_row(&mut rows, &observation(pod, 8), history, &policy);
        }
        rows
    };
    group.bench_function("features", |bencher| bencher.iter(|| black_box(states())));

    let states =
        Array2::from_shape_vec((PODS, features.len()), states()).expect("as many as promised");
    let network = network();
    for threads in [1, 2] {
        tch::set_num_threads(threads);
        group.bench_function(format!("forward, libtorch, {threads} threads"), |bencher| {
            bencher.iter(|| network.forward(black_box(states.view())).expect("finite answers"));
        });
    }
    tch::set_num_threads(1);
    let plain = plain::Network::of(&Checkpoint::read(Path::new(MODEL)).expect("the shipped model"));
    let (ours, theirs) =
        (plain.forward(states.view()), network.forward(states.view()).expect("finite answers"));
    let largest = ours
        .iter()
        .zip(&theirs)
        .map(|(ours, theirs)| (ours[0] - theirs.cpu[0]).abs())
        .fold(0.0, f32::max);
    assert!(largest < 1e-4, "the two forwards differ by {largest}");
    group.bench_function("forward, ndarray, 1 thread", |bencher| {
        bencher.iter(|| plain.forward(black_box(states.view())))
    });

    let pods: Vec<OwnedPod> = (0..PODS).map(pod).collect();
    let agent = Agent::new(network, features);
    let step = std::cell::Cell::new(0);
    group.bench_function("decide to plan", |bencher| {
        bencher.iter_batched(
            || {
                step.set(step.get() + 1);
                seen(&pods, step.get())
            },
            |seen| {
                let decided =
                    agent.decide(seen, &policy, step.get() as i64 * 30, &mut Stopwatch::start());
                let decided = decided.expect("finite answers").into_iter();
                let plans = decided.filter_map(|decided| {
                    let decided = decided.ok()?;
                    Some(plan(&decided.owned.pod, decided.decision.as_ref().ok()?))
                });
                plans.filter(|plan| !plan.is_empty()).count()
            },
            criterion::BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn reading(criterion: &mut Criterion) {
    criterion.bench_function("load of the .pth", |bencher| bencher.iter(network));
    let mut group = criterion.benchmark_group("quantity");
    for text in ["250m", "1536Mi", "123456789n", "1e3"] {
        group.bench_function(text, |bencher| bencher.iter(|| quantity::cores(black_box(text))));
    }
    group.finish();
}

criterion_group!(benches, deciding, reading);
criterion_main!(benches);
