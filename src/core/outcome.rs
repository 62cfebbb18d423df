//! What came of a pod in a cycle.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::action::Action;
use crate::decision::{Bound, Decision, Wait};
use crate::guard::Override;
use crate::peaks::Age;
use crate::pod::PodKey;
use crate::pod_decision::PodDecision;
use crate::resource::{PerResource, Resource};
use crate::skip_reason::SkipReason;

/// What the service's own dry run makes of a decision.
pub const DRY_RUN: &str = "Dry run: nothing was changed";

pub const NO_ACTION: &str = "No scaling action needed";

/// What a change comes to that is in force as it was decided.
pub const DONE: &str = "Scaling executed successfully";

/// How a change reached the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    Vertical,
    DeploymentUpdate,
}

impl Method {
    pub fn name(self) -> &'static str {
        match self {
            Self::Vertical => "vertical",
            Self::DeploymentUpdate => "deployment_update",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    Success(Method),
    DryRun,
    NoActionNeeded,
    Skipped(SkipReason),
    Failed,
}

impl Status {
    pub const NAMES: [&str; 5] = ["success", "dry_run", "no_action_needed", "skipped", "failed"];

    pub fn name(&self) -> &'static str {
        match self {
            Self::Success(_) => "success",
            Self::DryRun => "dry_run",
            Self::NoActionNeeded => "no_action_needed",
            Self::Skipped(_) => "skipped",
            Self::Failed => "failed",
        }
    }
}

pub struct Outcome {
    pub pod: PodKey,
    pub status: Status,
    pub message: Cow<'static, str>,
    /// None where nothing could be decided.
    pub decided: Option<PodDecision>,
}

/// An outcome, with what was decided on the pod as a whole.
pub struct Summed<'a> {
    pub outcome: &'a Outcome,
    pub decision: Option<Cow<'a, Decision>>,
}

impl<'a> From<&'a Outcome> for Summed<'a> {
    fn from(outcome: &'a Outcome) -> Self {
        Self { outcome, decision: outcome.decided.as_ref().map(PodDecision::summary) }
    }
}

impl Outcome {
    /// What failed, or what of a change is refused or still to come.
    pub fn remark(&self) -> Option<&str> {
        let says_more = match self.status {
            Status::Failed => true,
            Status::Success(_) => self.message != DONE,
            Status::DryRun | Status::NoActionNeeded | Status::Skipped(_) => false,
        };
        says_more.then_some(&self.message)
    }
}

/// A change that reached the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    pub method: Method,
    /// How far the kubelet was when it was last looked at, if it was not done yet.
    pub pending: Option<Unfinished>,
    /// Why it could not be done in place, if it was not.
    pub refusal: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfinished {
    /// It has not said anything.
    Unanswered,
    /// What it had last said, or why that is not known.
    Told(String),
}

impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unanswered => f.write_str("the kubelet has not answered yet"),
            Self::Told(told) => f.write_str(told),
        }
    }
}

impl Applied {
    /// Of two changes that were asked for one by one: what is more than a resize in place counts.
    pub fn with(self, other: Self) -> Self {
        let method = if self.method == Method::Vertical { other.method } else { self.method };
        let (pending, refusal) = (self.pending.or(other.pending), self.refusal.or(other.refusal));
        Self { method, pending, refusal }
    }
}

/// What became of a pod the last time that it was looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct LastOutcome {
    /// Seconds since the epoch.
    pub at: i64,
    pub status: Status,
    /// None where nothing could be decided.
    pub decided: Option<DecisionSummary>,
    /// What failed, or what of a change is refused or still to come.
    pub remark: Option<Box<str>>,
}

/// What is kept of a decision for every pod.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DecisionSummary {
    /// What the network preferred.
    pub predicted: PerResource<Action>,
    /// What was left of it.
    pub actions: PerResource<Action>,
    /// What the guard had against it.
    pub overridden: PerResource<Option<Override>>,
    pub out_of_bounds: PerResource<Option<Bound>>,
    pub figures: PerResource<Figures>,
}

/// What an explanation in short names of one resource.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Figures {
    /// The recent peak, and when it was; 0 where it is not known, or is told by container.
    pub peak: f32,
    pub peak_when: Age,
    /// The limit of the kill for memory that the peak stands for; 0: it was measured.
    pub killed_at: f32,
    /// Below this a cut would leave too little room.
    pub floor: f32,
    /// That is the room that the network gives.
    pub has_room: bool,
    pub wait: Option<Wait>,
}

impl Figures {
    pub fn of(decision: &Decision, resource: Resource) -> Self {
        let basis = &decision.basis[resource];
        Self {
            peak: basis.peak as f32,
            peak_when: basis.peak_when(),
            killed_at: basis.killed_at.unwrap_or_default() as f32,
            floor: decision.floor[resource] as f32,
            has_room: basis.expected.is_some(),
            wait: basis.wait,
        }
    }
}

impl From<&Decision> for DecisionSummary {
    fn from(decision: &Decision) -> Self {
        Self {
            predicted: decision.predicted,
            actions: decision.actions,
            overridden: decision.overridden,
            out_of_bounds: decision.out_of_bounds,
            figures: PerResource::build(|resource| Figures::of(decision, resource)),
        }
    }
}
