//! The configuration: defaults, then a YAML file, the environment, the command line and `POST
//! /config`; the later wins. [`options`] declares each option, and nothing else names them all.

mod allowed;
mod check;
mod declare;
mod error;
mod options;
mod runtime_changes;
mod schema;
mod settings;
mod shared;
mod sources;
mod update;
mod value;

pub use declare::{Group, OptionSpec};
pub use error::ConfigError;
pub use options::{Config, ConfigOverrides, ConfigUpdate, PodMetrics, groups};
pub use runtime_changes::RuntimeChanges;
pub use shared::SharedConfig;
pub use value::boolean;
