//! dqn-scaler: gives every pod of a Kubernetes cluster the CPU and memory it needs, in place.

pub mod clock;
pub mod cluster;
pub mod config;
pub mod model;
pub mod scaler;
pub mod sim;
