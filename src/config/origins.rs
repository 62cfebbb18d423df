//! Where each setting comes from, for those who ask.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

/// The source of a setting, each of which wins over those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    Default,
    File,
    Environment,
    CommandLine,
    /// `POST /config`, of this process or of one before it.
    RunTime,
}

impl Origin {
    pub fn words(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::File => "configuration file",
            Self::Environment => "environment",
            Self::CommandLine => "command line",
            Self::RunTime => "POST /config",
        }
    }
}

/// Of the options that are not as they are by default.
#[derive(Debug, Clone, Default)]
pub struct Origins(BTreeMap<&'static str, Origin>);

impl Origins {
    pub(super) fn note(&mut self, names: impl IntoIterator<Item = &'static str>, origin: Origin) {
        self.0.extend(names.into_iter().map(|name| (name, origin)));
    }

    pub fn of(&self, option: &str) -> Origin {
        self.0.get(option).copied().unwrap_or(Origin::Default)
    }
}
