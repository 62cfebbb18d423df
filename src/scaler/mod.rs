//! Observe, decide, guard, plan, apply: the one way of the data. `cycle`, `handling`, `apply` and
//! `autoscale` do I/O, the rest is pure.

pub mod action;
pub mod agent;
pub mod apply;
pub mod autoscale;
pub mod board;
pub mod cycle;
pub mod decision;
pub mod event;
pub mod explain;
pub mod faults;
pub mod guard;
pub mod handling;
pub mod history;
pub mod journal;
pub mod observation;
pub mod outcome;
pub mod pending;
pub mod phases;
pub mod plan;
pub mod policy;
pub mod terms;
pub mod thinned;
pub mod turns;
pub mod wishes;
