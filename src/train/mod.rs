//! Learning a policy and judging it: the environment, the learner, the baselines and the evaluator.
//! Policies are trained and judged under the physics of [`crate::sim::physics`] and through the
//! decisions of [`crate::scaler`].

pub mod baselines;
pub mod caution;
pub mod cluster;
pub mod demand;
pub mod demonstrator;
pub mod difference;
pub mod environment;
pub mod episodes;
pub mod evaluate;
pub mod foresight;
pub mod importance;
pub mod meter;
pub mod policies;
pub mod replay;
pub mod report;
pub mod rollout;
pub mod savings;
pub mod score;
pub mod split;
pub mod table;
pub mod timing;
pub mod training;
pub mod vpa;
