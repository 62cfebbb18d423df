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
use crate::core::policy::Settings;
use crate::core::second_look::listed;

/// What pods are decided on for.
pub(super) struct Round {
    pub budget: Mutex<ResizeBudget>,
    /// Who asks for what comes of it.
    pub by: By,
    /// Between two cycles: what changes nothing is told by the cycles alone.
    pub between: bool,
    /// What is wanted is put down for the dispatcher, in place of what cycles before this moment
    /// wanted, and nobody waits for what comes of it; None: it is made at once.
    pub later_since: Option<i64>,
    /// Pods that are near their limit, the fullest first.
    near: Mutex<Vec<(f64, PodKey)>>,
    /// Of a cycle: what all pods together ask for.
    pub balance: Mutex<Option<Balance>>,
}

/// Pods that were decided on.
#[derive(Default)]
pub(super) struct Sifted {
    /// Something is to be done with them.
    pub due: Vec<Decided>,
    /// What came of the others, where somebody waits for it.
    pub outcomes: Vec<Outcome>,
}

impl Round {
    pub fn cycle(config: &Config) -> Self {
        let budget = ResizeBudget::new(config.resizes_per_cycle, config.resizes_per_namespace);
        Self {
            budget: Mutex::new(budget),
            by: By::Loop,
            between: false,
            later_since: None,
            near: Mutex::default(),
            balance: Mutex::default(),
        }
    }

    /// In place of what rounds before `since` wanted.
    pub fn dispatched(config: &Config, since: i64) -> Self {
        Self { later_since: Some(since), ..Self::cycle(config) }
    }

    pub fn between_cycles(config: &Config) -> Self {
        Self { between: true, by: By::SecondLook, ..Self::cycle(config) }
    }

    pub fn asked_for(config: &Config) -> Self {
        Self { by: By::Person, ..Self::cycle(config) }
    }

    /// The pods that were found near their limit, the fullest first.
    pub fn near(self) -> Vec<PodKey> {
        self.near.into_inner().into_iter().map(|(_, pod)| pod).collect()
    }

    pub fn tells(&self, outcome: &Outcome) -> bool {
        !self.between || matches!(outcome.status, Status::Success(_) | Status::Failed)
    }

    pub fn list_near(&self, decided: &[Decided], settings: &Settings) {
        if self.between {
            return;
        }
        let pods =
            decided.iter().filter_map(|of| Some((&of.owned.pod.key, of.decision.as_ref().ok()?)));
        let mut near = self.near.lock();
        near.extend(listed(pods, &settings.policy, MOST));
        near.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        near.truncate(MOST);
    }
}
