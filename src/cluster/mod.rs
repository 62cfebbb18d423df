//! The Kubernetes client: caches, usage, resizes, templates, events.

mod autoscalers;
mod connected;
mod context;
mod controllers;
mod convert;
pub mod events;
mod inventory;
mod metrics;
mod namespace_limits;
mod owners;
mod partial_pod;
pub mod recent;
mod resize;
mod resource_cache;
mod shared;
pub mod template;
mod write_limiter;

pub use self::connected::Cluster;
pub use self::inventory::Unreadable;
pub use self::shared::SharedCluster;
