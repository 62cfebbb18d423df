//! dqn-scaler: gives every pod of a Kubernetes cluster the CPU and memory it needs, in place.
//!
//! A multi-head deep Q-network decides DECREASE, MAINTAIN or INCREASE for the CPU and the memory of
//! each pod; a guard stands between it and the cluster; the pod is resized in place, or the
//! template of its workload is patched.

pub mod api;
pub mod blocking;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod leader;
pub mod listen;
pub mod metrics;
pub mod model;
pub mod scaler;
pub mod serve;
pub mod sim;
pub mod state;
pub mod store;
pub mod train;
