//! The loop: observe, decide, act, for every pod or for one. What is decided, and what is to be
//! done next, is the core's; here are the locks and the I/O.

mod actuator;
pub mod agent;
mod apply;
pub mod autoscale;
pub mod births;
pub mod changes;
mod claims;
pub mod cycle;
mod decide;
pub mod dispatcher;
#[cfg(test)]
mod fixtures;
mod invalid_annotations;
pub mod journal;
mod noting;
pub mod outcomes;
mod panics;
pub mod pod_status;
pub mod recorded_history;
mod resizing;
pub mod revert;
mod round;
pub mod second_look;
pub mod stopwatch;
pub mod throttling;
mod usage_windows;
pub mod wanted;
mod watchlist;

pub use self::apply::{ApplyError, Fallback};
pub use self::decide::Considered;
