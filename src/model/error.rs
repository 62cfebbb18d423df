//! Why a checkpoint was refused, or a forward pass failed.

/// Every message names the entry, tensor or row it is about; [`ModelError::File`] puts the file's
/// name before it.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error("{file}: {cause}")]
    File { file: String, cause: Box<ModelError> },
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("not a PyTorch checkpoint: {0}")]
    Format(String),
    #[error("entry {entry}: {reason}")]
    Entry { entry: String, reason: String },
    #[error("pickle, byte {at}: {reason}")]
    Pickle { at: usize, reason: String },
    #[error(
        "pickle: refuses the global {0}; only tensors and plain values are read, nothing in a \
            checkpoint is run \
         (save the state_dict and plain Python values)"
    )]
    Global(String),
    #[error("tensor {tensor}: {reason}")]
    Tensor { tensor: String, reason: String },
    #[error("metadata: {0}")]
    Metadata(String),
    #[error("row {row}: {reason}")]
    Row { row: usize, reason: String },
    #[error("input: {0}")]
    Input(String),
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),
}

impl ModelError {
    pub(super) fn entry(entry: &str, reason: impl ToString) -> Self {
        Self::Entry { entry: shown(entry), reason: reason.to_string() }
    }

    pub(super) fn tensor(tensor: &str, reason: impl ToString) -> Self {
        Self::Tensor { tensor: shown(tensor), reason: reason.to_string() }
    }

    /// The same error, with the file it came from.
    pub(super) fn of_file(self, file: impl ToString) -> Self {
        Self::File { file: file.to_string(), cause: Box::new(self) }
    }
}

/// A name out of an untrusted file as a message may show it: short, and on one line.
pub(super) fn shown(name: &str) -> String {
    const LONGEST: usize = 120;
    let mut shown: String = name.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if name.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}
