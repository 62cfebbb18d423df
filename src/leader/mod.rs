//! Of several replicas one acts: the holder of a Lease. The others watch, decide, and change
//! nothing.

mod election;
mod leadership;
mod lease;

pub use self::leadership::{LeaderArgs, Leadership, Role, SharedLeadership};
pub use self::lease::run;
