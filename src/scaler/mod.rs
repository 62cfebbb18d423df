//! Observe, decide, guard, plan, apply: the one way of the data. Everything but `apply` and the loop is pure.

pub mod action;
pub mod decision;
pub mod guard;
pub mod history;
pub mod observation;
pub mod plan;
pub mod policy;
