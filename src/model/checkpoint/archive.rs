//! The zip file around a checkpoint: `<any name>/data.pkl`, `<any name>/data/<storage key>`, `<any
//! name>/byteorder`.

use std::io::{Read, Seek, SeekFrom};

use zip::ZipArchive;
use zip::result::ZipError;

use crate::model::error::ModelError;

/// Far above a real file's sizes (131,000 recorded losses take 1.2 MB of pickle), low enough for a
/// small container.
pub(super) const MAX_FILE: u64 = 256 << 20;
const MAX_PICKLE: u64 = 16 << 20;

pub(super) struct Archive<R> {
    zip: ZipArchive<R>,
    root: String,
}

impl<R: Read + Seek> Archive<R> {
    pub fn open(mut reader: R) -> Result<Self, ModelError> {
        check_signature(&mut reader)?;
        let zip = ZipArchive::new(reader)
            .map_err(|error| ModelError::Format(format!("damaged zip file: {error}")))?;
        let root = zip.file_names_raw().find_map(|name| {
            let root = str::from_utf8(name).ok()?.strip_suffix("/data.pkl")?;
            (!root.contains('/')).then(|| root.to_owned())
        });
        let root = root.ok_or_else(|| ModelError::Format("the zip file has no data.pkl".into()))?;
        let mut archive = Self { zip, root };
        // Files from before PyTorch 2.1 do not say; all of them are little-endian in practice.
        if let Some(order) =
            archive.optional("byteorder", 16)?.filter(|order| order.trim_ascii() != b"little")
        {
            let order = String::from_utf8_lossy(&order).trim().to_owned();
            return Err(ModelError::entry(
                "byteorder",
                format!("{order:?} is not supported, only \"little\" is"),
            ));
        }
        Ok(archive)
    }

    pub fn pickle(&mut self) -> Result<Vec<u8>, ModelError> {
        self.entry("data.pkl", MAX_PICKLE)
    }

    /// The bytes of an entry; `limit` bounds what it says of its size and what it inflates to.
    pub fn entry(&mut self, name: &str, limit: u64) -> Result<Vec<u8>, ModelError> {
        self.optional(name, limit)?
            .ok_or_else(|| ModelError::entry(name, "is missing from the zip file"))
    }

    fn optional(&mut self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, ModelError> {
        let too_large = || ModelError::entry(name, format!("is larger than {limit} bytes"));
        let entry = match self.zip.by_name(&format!("{}/{name}", self.root)) {
            Ok(entry) => entry,
            Err(ZipError::FileNotFound) => return Ok(None),
            Err(error) => return Err(ModelError::entry(name, error)),
        };
        if entry.size() > limit {
            return Err(too_large());
        }
        // Grown as it inflates: a small file that declares a large entry gets no large buffer for
        // it.
        let mut bytes = Vec::new();
        entry
            .take(limit.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|error| ModelError::entry(name, error))?;
        if bytes.len() as u64 > limit {
            return Err(too_large());
        }
        Ok(Some(bytes))
    }
}

/// Says what a file is instead, before the search for a zip directory walks through all of it.
fn check_signature(reader: &mut (impl Read + Seek)) -> Result<(), ModelError> {
    let size = reader.seek(SeekFrom::End(0))?;
    if size > MAX_FILE {
        return Err(ModelError::Format(format!(
            "{size} bytes are more than any model this service runs"
        )));
    }
    reader.rewind()?;
    let mut start = Vec::new();
    reader.by_ref().take(4).read_to_end(&mut start)?;
    reader.rewind()?;
    match start.as_slice() {
        b"PK\x03\x04" => Ok(()),
        // A bare pickle, whose first value was a magic number.
        [0x80, 2, 0x8a, 10] => Err(ModelError::Format(
            "this is the legacy format from before PyTorch 1.6; load it and save it again with a \
                newer PyTorch"
                .into(),
        )),
        [] => Err(ModelError::Format("the file is empty".into())),
        _ => Err(ModelError::Format("the file is no zip file".into())),
    }
}
