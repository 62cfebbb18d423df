//! The Kubernetes client: inventory, metrics, resize, owners.

pub mod error;
pub mod metrics;
pub mod names;
pub mod pod;
pub mod quantity;
pub mod retry;
