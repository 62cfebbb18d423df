//! What is wrong with a configuration.

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("{field}: {message}")]
    Field { field: &'static str, message: String },
    #[error("{0}")]
    File(String),
}

impl ConfigError {
    pub(super) fn field(field: &'static str, message: impl Into<String>) -> Self {
        Self::Field { field, message: message.into() }
    }
}
