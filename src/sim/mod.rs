//! A cluster in this process: workloads, node physics and the Kubernetes API over them.

pub mod api;
pub mod controllers;
pub mod demo;
pub mod events;
pub mod json;
pub mod kubelet;
pub mod manager;
pub mod metrics;
pub mod node;
pub mod noise;
pub mod patch;
pub mod physics;
pub mod pods;
pub mod requirements;
pub mod resize;
pub mod resources;
pub mod runtime;
pub mod selector;
pub mod series;
pub mod simulation;
pub mod status;
pub mod store;
pub mod validation;
pub mod workload;
pub mod world;
