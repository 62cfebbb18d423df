//! How dqn-scaler decides: values to values, without I/O, clock, lock, runtime or client.
//!
//! The way of the data: [`pod`] and [`observation`] become a row of [`features`], the network
//! answers with [`network::QValues`], [`decision`] takes them through the [`guard`], [`step`] says
//! what is to be done next, [`plan`] with which resources, and [`outcome`] what came of it.

pub mod action;
pub mod autoscalers;
pub mod balance;
pub mod birth;
pub mod breaker;
pub mod budget;
pub mod burst;
pub mod change_record;
pub mod context;
pub mod decision;
pub mod downsampled;
pub mod eligibility;
pub mod event;
pub mod explain;
pub mod export;
pub mod features;
pub mod guard;
pub mod history;
pub mod lookup;
pub mod marks;
pub mod memory;
pub mod names;
pub mod namespace_limits;
pub mod network;
pub mod observation;
pub mod outcome;
pub mod overrides;
mod peaks;
pub mod pending;
pub mod phases;
pub mod plan;
pub mod pod;
pub mod pod_decision;
pub mod policy;
pub mod progress;
pub mod quantity;
pub mod reasons;
pub mod recorded;
pub mod resource;
pub mod revert;
pub mod room;
pub mod second_look;
pub mod skip_reason;
pub mod step;
pub mod timestamp;
pub mod traits;
mod typical_use;
pub mod words;
pub mod workload;
