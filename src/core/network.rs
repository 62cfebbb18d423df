//! What the Q-network says of one row of features.

use serde::{Deserialize, Serialize};

/// The value of every action for each resource, and the usage that the network foresees.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct QValues {
    /// Q values of the CPU actions, in the order of the network's outputs.
    pub cpu: [f32; 3],
    /// Q values of the memory actions, in the same order.
    pub memory: [f32; 3],
    /// The prediction head's outputs, as shares of the limit: CPU, then memory.
    pub future: [f32; 2],
}
