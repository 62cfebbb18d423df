//! Files from outside: only regular ones, and no more of them than they may hold.

use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Read, Result};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// What a person writes, or a Secret holds.
pub const SMALL: u64 = 1 << 20;

/// Opens a file for reading. One that is no file, such as a pipe that nobody writes to, is told
/// apart by what was opened, and is not waited for.
pub fn open(path: &Path, most: u64) -> Result<File> {
    let flags = OFlags::NONBLOCK.bits() as i32;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(Error::new(ErrorKind::InvalidInput, "not a regular file"));
    }
    if metadata.len() > most {
        return Err(too_large(most));
    }
    Ok(file)
}

/// All of a file, which may grow while it is read, or say nothing of its length.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path, most)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most { Err(too_large(most)) } else { Ok(bytes) }
}

pub fn read_text(path: &Path, most: u64) -> Result<String> {
    String::from_utf8(read(path, most)?)
        .map_err(|_| Error::new(ErrorKind::InvalidData, "it is no UTF-8 text"))
}

fn too_large(most: u64) -> Error {
    Error::new(ErrorKind::FileTooLarge, format!("it is larger than {most} bytes"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn what_is_no_file_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
        for path in [pipe.as_path(), Path::new("/dev/zero"), &link, folder.path()] {
            let error = read(path, SMALL).unwrap_err().to_string();
            assert!(error.contains("regular") || error.contains("irectory"), "{error}");
        }
    }

    #[test]
    fn a_file_has_a_size_that_it_may_have() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "words").unwrap();
        assert_eq!(read_text(&file, 5).unwrap(), "words");
        assert_eq!(read(&file, 4).unwrap_err().kind(), ErrorKind::FileTooLarge);
        // It says that it is empty, and is not.
        assert!(read(Path::new("/proc/self/status"), SMALL).unwrap().len() > 100);
        assert!(read(Path::new("/proc/self/status"), 10).is_err());
    }
}
