//! A cluster in this process: workloads, node physics and the Kubernetes API over them.

pub mod physics;
