//! What both forms of metrics are read to.

use crate::core::observation::Usage;
use crate::core::pod::Containers;
use crate::core::quantity;
use crate::core::resource::PerResource;

/// Of usage, in seconds.
const LONGEST_WINDOW: f64 = 300.0;

/// Takes the metrics of the pod of a name, which are read for its containers.
pub type Take<'a> = dyn FnMut(&str, &dyn Fn(&Containers) -> Usage) + 'a;

/// An answer that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Odd {
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Protobuf(#[from] prost::DecodeError),
    #[error("it does not begin as protobuf of Kubernetes does")]
    Magic,
    #[error("it ends within a field")]
    Short,
    #[error("a field is of wire type {0}")]
    Kind(usize),
}

/// What was measured of a container: its name, CPU and memory as quantities.
pub type Measured<'a> = (&'a str, PerResource<Option<&'a str>>);

/// Usage of these containers, in their order; what is missing or no quantity is not measured.
pub fn usage<'a>(
    at: i64,
    window: Option<i64>,
    measured: impl Iterator<Item = Measured<'a>>,
    containers: &Containers,
) -> Usage {
    let mut usage = vec![PerResource::default(); containers.len()];
    for (name, used) in measured {
        if let Some(index) = containers.iter().position(|of| *of.name == *name) {
            let (cpu, memory) = (used.cpu.and_then(quantity::cores), used.memory);
            usage[index] = PerResource::new(cpu, memory.and_then(quantity::mib));
        }
    }
    let (window, containers) = (window.unwrap_or_default(), usage.into());
    Usage { at, window, containers, bursts: Box::default() }
}

/// In whole seconds; none that is no window of usage.
pub fn window(seconds: f64) -> Option<i64> {
    (0.0..=LONGEST_WINDOW).contains(&seconds).then_some(seconds.ceil() as i64)
}
