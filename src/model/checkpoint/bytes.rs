//! The bytes of a pickle, read from front to back.

use crate::model::error::ModelError;

/// Why the pickle cannot be run on: a global outside the allow-list, or a defect at the opcode in
/// hand.
pub(super) enum Fault {
    Refused(ModelError),
    Reason(String),
}

impl From<String> for Fault {
    fn from(reason: String) -> Self {
        Self::Reason(reason)
    }
}

impl From<&str> for Fault {
    fn from(reason: &str) -> Self {
        Self::Reason(reason.to_owned())
    }
}

pub(super) struct Bytes<'a> {
    bytes: &'a [u8],
    pub at: usize,
}

impl<'a> Bytes<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = rest.get(..count).ok_or("ends in the middle")?;
        self.at += count;
        Ok(taken)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        self.take(N)?.try_into().map_err(|_| "ends in the middle".into())
    }

    /// An unsigned little-endian number of `width` bytes, at most 8.
    pub fn length(&mut self, width: usize) -> Result<usize, Fault> {
        let number = self
            .take(width)?
            .iter()
            .rev()
            .fold(0u64, |number, &byte| number << 8 | u64::from(byte));
        usize::try_from(number).map_err(|_| "a length is too large".into())
    }

    pub fn line(&mut self) -> Result<&'a str, Fault> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let end = rest.iter().position(|&byte| byte == b'\n').ok_or("a name has no end")?;
        let line = self.text(end)?;
        self.at += 1;
        Ok(line)
    }

    pub fn text(&mut self, count: usize) -> Result<&'a str, Fault> {
        str::from_utf8(self.take(count)?).map_err(|_| "text is not UTF-8".into())
    }
}
