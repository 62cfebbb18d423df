//! The configuration: defaults, then a YAML file, the environment, the command line and `POST
//! /config`; the later wins. [`options`] declares each option, and nothing else names them all.

mod allowed;
mod check;
mod declare;
mod endpoint;
mod error;
mod options;
mod origins;
mod runtime_changes;
mod schema;
mod settings;
mod shared;
mod sources;
mod update;
mod value;

pub use declare::{Group, OptionSpec};
pub use endpoint::Endpoint;
pub(crate) use error::ConfigError;
pub use options::{Config, groups};
pub(crate) use options::{ConfigOverrides, ConfigUpdate, PodMetrics};
pub use origins::{Origin, Origins};
pub(crate) use runtime_changes::RuntimeChanges;
pub(crate) use shared::SharedConfig;
pub(crate) use value::boolean;
