//! What pods are decided on for, and what has come of them so far.

use parking_lot::Mutex;

use super::agent::Decided;
use super::watchlist::MOST;
use crate::config::Config;
use crate::core::balance::Balance;
use crate::core::budget::ResizeBudget;
use crate::core::change_record::By;
use crate::core::outcome::{Outcome, Status};
use crate::core::pod::PodKey;
use crate::core::pod_decision::Urgency;
use crate::core::policy::Settings;
use crate::core::second_look::listed;

/// What pods are decided on for.
pub(super) struct Round {
    pub budget: Mutex<ResizeBudget>,
    pub way: Way,
    /// Pods that are near their limit, the fullest first.
    near: Mutex<Vec<(f64, PodKey)>>,
    /// Of a cycle: what all pods together ask for.
    pub balance: Mutex<Option<Balance>>,
}

/// How what is wanted is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Of a cycle: in its turn and in place of what cycles before this moment wanted; nobody waits
    /// for what comes of it.
    Later { since: i64 },
    /// Of a look between two cycles: in its turn, and waited for.
    InTurn,
    /// Asked for by a person: at once.
    Now,
}

/// What was begun and those in need come first, and of the others each has its chance.
pub(super) type Place = (Urgency, u32);

/// Pods that were decided on.
#[derive(Default)]
pub(super) struct Sifted {
    /// Something is to be done with them, each in its place.
    pub due: Vec<(Place, Decided)>,
    /// What came of the others, where somebody waits for it.
    pub outcomes: Vec<Outcome>,
}

impl Round {
    pub fn new(config: &Config, way: Way) -> Self {
        let budget = ResizeBudget::new(config.resizes_per_cycle, config.resizes_per_namespace);
        Self { budget: Mutex::new(budget), way, near: Mutex::default(), balance: Mutex::default() }
    }

    /// Who asks for what comes of it.
    pub fn by(&self) -> By {
        match self.way {
            Way::Later { .. } => By::Loop,
            Way::InTurn => By::SecondLook,
            Way::Now => By::Person,
        }
    }

    /// The pods that were found near their limit, the fullest first.
    pub fn near(self) -> Vec<PodKey> {
        let mut near = self.near.into_inner();
        keep_fullest(&mut near);
        near.into_iter().map(|(_, pod)| pod).collect()
    }

    /// What changes nothing between two cycles is told by the cycles alone.
    pub fn tells(&self, outcome: &Outcome) -> bool {
        self.way != Way::InTurn || matches!(outcome.status, Status::Success(_) | Status::Failed)
    }

    pub fn list_near(&self, decided: &[Decided], settings: &Settings) {
        if self.way == Way::InTurn {
            return;
        }
        let pods =
            decided.iter().filter_map(|of| Some((&of.owned.pod.key, of.decision.as_ref().ok()?)));
        let mut near = self.near.lock();
        near.extend(listed(pods, &settings.policy, MOST));
        if near.len() > 2 * MOST {
            keep_fullest(&mut near);
        }
    }
}

fn keep_fullest(near: &mut Vec<(f64, PodKey)>) {
    near.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    near.truncate(MOST);
}
