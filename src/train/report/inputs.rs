//! What the page shows beside the figures.

use std::path::Path;

use crate::core::policy::Policy;
use crate::model::Network;
use crate::train::caution::Cautions;
use crate::train::importance::Importance;
use crate::train::savings::Savings;
use crate::train::table::Run;
use crate::train::timing::Timing;

pub struct Report<'a> {
    pub run: &'a Run,
    /// Of a cluster's own series.
    pub savings: Option<&'a Savings>,
    pub network: Option<&'a Network>,
    pub importance: Option<&'a Importance>,
    pub cautions: Option<&'a Cautions>,
    pub model: &'a Path,
    pub traces: Option<&'a Path>,
    pub curves: Option<&'a Path>,
    pub policy: &'a Policy,
    pub timing: Timing,
    pub seed: u64,
    /// The series were named on the command line.
    pub named: bool,
    pub written_at: String,
}
