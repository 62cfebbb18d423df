//! A cluster in this process: workloads, node physics and the Kubernetes API over them.

pub mod noise;
pub mod physics;
pub mod series;
pub mod workload;
