//! One call to the API server: how it is reached, what can go wrong, and what is tried again.

pub mod connect;
pub mod error;
pub mod kubelet;
pub mod retry;

/// The name that this service writes under.
pub const FIELD_MANAGER: &str = "dqn-scaler";
