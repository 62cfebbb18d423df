//! CPU that was measured for a few seconds only.

use serde::{Deserialize, Serialize};

/// Two looks are compared that are so many milliseconds apart, if there are: demand varies from
/// second to second, and what a limit holds back for so short a time is soon made up for.
pub const WINDOW: i64 = 4000;

/// What the CPU usage of a few seconds may be compared with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Burst {
    /// How long the usage was measured: milliseconds.
    pub length: i64,
    /// Up to here usage varies by chance, as told by the looks before: cores. None: too few.
    pub ordinary: Option<f64>,
    /// The mean of a longer time under the same limit: cores.
    pub lasting: Option<f64>,
}
