//! PyTorch checkpoints: the zip files of `torch.save`, a pickle beside raw storages.
//!
//! Reading takes a state dict and the plain metadata beside it, and runs nothing: a pickle is a
//! program for a small stack machine, and ours knows only the values and the few constructors that
//! tensors need. All sizes are bounded, since a file may be damaged or hostile. Writing gives what
//! `torch.load(weights_only=True)` opens.

mod archive;
mod bytes;
mod dtype;
mod object;
mod pickle;
mod select;
mod storage;
mod tensor;
mod write;

use std::collections::HashSet;
use std::io::{BufReader, Cursor, Read, Seek};
use std::path::Path;

use serde_json::{Map, Value};

use self::archive::{Archive, MAX_FILE};
pub use self::tensor::NamedTensor;
use super::error::ModelError;
use crate::files;

/// A model's tensors in the order of its state dict, and the plain values saved with them under
/// `metadata`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Checkpoint {
    pub tensors: Vec<NamedTensor>,
    pub metadata: Map<String, Value>,
}

impl Checkpoint {
    /// Reads a `.pth` file; optimizer state and other tensors that the model does not hold are
    /// never read.
    pub fn read(path: &Path) -> Result<Self, ModelError> {
        Self::open(path).map_err(|error| error.of_file(path.display()))
    }

    /// Reads a checkpoint in memory; errors call it `name`.
    pub fn read_bytes(bytes: &[u8], name: &str) -> Result<Self, ModelError> {
        Self::read_archive(Cursor::new(bytes)).map_err(|error| error.of_file(name))
    }

    fn open(path: &Path) -> Result<Self, ModelError> {
        Self::read_archive(BufReader::new(files::open(path, MAX_FILE)?))
    }

    fn read_archive(reader: impl Read + Seek) -> Result<Self, ModelError> {
        let mut archive = Archive::open(reader)?;
        let pickle = archive.pickle()?;
        let (heap, root) = pickle::parse(&pickle)?;
        let metadata = select::metadata(&heap, root)?;

        let mut storages = storage::Storages::new(&mut archive);
        let mut tensors = Vec::new();
        let mut names = HashSet::new();
        for (name, view) in select::model(&heap, root)? {
            let (shape, data) =
                storages.read(view).map_err(|reason| ModelError::tensor(name, reason))?;
            // nn.DataParallel puts this before every name.
            let name = name.strip_prefix("module.").unwrap_or(name).to_owned();
            if !names.insert(name.clone()) {
                return Err(ModelError::tensor(&name, "is there twice"));
            }
            tensors.push(NamedTensor { name, shape, data });
        }
        Ok(Self { tensors, metadata })
    }

    /// Writes the checkpoint beside `path` and renames it into place, so that a reader sees the old
    /// file or the new one.
    pub fn write(&self, path: &Path) -> Result<(), ModelError> {
        self.to_bytes()
            .and_then(|bytes| write::replace(path, &bytes))
            .map_err(|error| error.of_file(path.display()))
    }

    /// The bytes that [`Checkpoint::write`] writes: the same content gives the same bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ModelError> {
        write::archive(&self.tensors, &self.metadata)
    }
}
