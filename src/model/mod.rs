//! The multi-head Q-network: its checkpoint, its features, its forward pass. No tensor type leaves this module.

pub mod features;

/// What the network says of one pod.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QValues {
    /// DECREASE, MAINTAIN, INCREASE.
    pub cpu: [f32; 3],
    pub memory: [f32; 3],
    /// The usage expected at the next step, as a share of the limit: CPU, memory.
    pub future: [f32; 2],
}
