//! The Kubernetes client: caches, usage, resizes, templates, events.

mod autoscalers;
mod connected;
mod context;
mod controllers;
mod convert;
pub mod events;
mod feed;
mod inventory;
pub mod kubelets;
mod metrics;
mod namespace_limits;
mod owners;
mod pace;
mod partial_pod;
mod pulse;
mod reads;
pub mod recent;
mod resize;
mod resource_cache;
pub mod resource_metrics;
mod shared;
mod sizes;
pub mod template;
mod watches;
mod write_limiter;

pub use self::connected::Cluster;
pub use self::inventory::Unreadable;
pub use self::shared::SharedCluster;
pub use self::write_limiter::WriteTurn;
