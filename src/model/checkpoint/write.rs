//! A checkpoint as PyTorch writes one: a protocol 2 pickle and aligned little-endian storages in a
//! zip file, stored.

use std::fs::{self, File, OpenOptions};
use std::io::{Cursor, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Map, Number, Value as Json};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use super::tensor::NamedTensor;
use crate::model::error::ModelError;

/// As deep as reading allows.
const MAX_METADATA_DEPTH: usize = 32;

/// The whole file. Names, order and times are fixed, so that equal checkpoints are equal files.
pub(super) fn archive(
    tensors: &[NamedTensor],
    metadata: &Map<String, Json>,
) -> Result<Vec<u8>, ModelError> {
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(DateTime::default())
        .with_alignment(64);
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let mut entry = |name: &str, bytes: &[u8]| {
        zip.start_file(format!("archive/{name}"), options)
            .map_err(|error| ModelError::entry(name, error))
            .and_then(|()| Ok(zip.write_all(bytes)?))
    };
    entry("data.pkl", &pickle(tensors, metadata)?)?;
    entry(".format_version", b"1")?;
    entry(".storage_alignment", b"64")?;
    entry("byteorder", b"little")?;
    for (key, tensor) in tensors.iter().enumerate() {
        let bytes: Vec<u8> = tensor.data.iter().flat_map(|element| element.to_le_bytes()).collect();
        entry(&format!("data/{key}"), &bytes)?;
    }
    entry("version", b"3\n")?;
    let file = zip.finish().map_err(|error| ModelError::Format(error.to_string()))?;
    Ok(file.into_inner())
}

/// Puts `bytes` at `path` in one step: whoever reads meanwhile, and whoever reads after a crash,
/// finds a whole file.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), ModelError> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = path
        .file_name()
        .ok_or_else(|| ModelError::Format("the path names no file".into()))?
        .to_string_lossy();
    let folder =
        path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let temporary = folder.join(format!(".{name}.{}-{count}.tmp", std::process::id()));

    let put = || {
        let mut file = OpenOptions::new().write(true).create_new(true).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        // The rename itself is on disk only when the folder is.
        File::open(folder)?.sync_all()
    };
    put().map_err(|error| {
        // Best effort: the error that counts is the first one.
        let _ = fs::remove_file(&temporary);
        error.into()
    })
}

/// `{"model_state_dict": OrderedDict(name: tensor), "metadata": {…}}`.
fn pickle(tensors: &[NamedTensor], metadata: &Map<String, Json>) -> Result<Vec<u8>, ModelError> {
    let mut out = b"\x80\x02}(".to_vec();
    text(&mut out, "model_state_dict")?;
    out.extend_from_slice(b"ccollections\nOrderedDict\n)R(");
    for (key, named) in tensors.iter().enumerate() {
        text(&mut out, &named.name)?;
        tensor(&mut out, key, named)?;
    }
    out.push(b'u');
    text(&mut out, "metadata")?;
    out.extend_from_slice(b"}(");
    for (key, value) in metadata {
        text(&mut out, key)?;
        json(&mut out, value, MAX_METADATA_DEPTH - 1)?;
    }
    out.extend_from_slice(b"uu.");
    Ok(out)
}

/// A call of `_rebuild_tensor_v2(storage, 0, shape, strides, requires_grad, hooks)`.
fn tensor(out: &mut Vec<u8>, key: usize, tensor: &NamedTensor) -> Result<(), ModelError> {
    let elements = tensor.shape.iter().try_fold(1usize, |count, &axis| count.checked_mul(axis));
    if elements != Some(tensor.data.len()) {
        let reason =
            format!("shape {:?} does not fit its {} elements", tensor.shape, tensor.data.len());
        return Err(ModelError::tensor(&tensor.name, reason));
    }
    let mut strides = vec![1usize; tensor.shape.len()];
    for axis in (1..strides.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(tensor.shape[axis].max(1));
    }

    out.extend_from_slice(b"ctorch._utils\n_rebuild_tensor_v2\n((");
    text(out, "storage")?;
    out.extend_from_slice(b"ctorch\nFloatStorage\n");
    text(out, &key.to_string())?;
    text(out, "cpu")?;
    integer(out, tensor.data.len() as i128);
    out.extend_from_slice(b"tQK\x00");
    for numbers in [&tensor.shape, &strides] {
        out.push(b'(');
        numbers.iter().for_each(|&number| integer(out, number as i128));
        out.push(b't');
    }
    out.extend_from_slice(b"\x89ccollections\nOrderedDict\n)RtR");
    Ok(())
}

fn json(out: &mut Vec<u8>, value: &Json, depth: usize) -> Result<(), ModelError> {
    let inner = depth.checked_sub(1).ok_or_else(|| {
        ModelError::Metadata(format!("is nested deeper than {MAX_METADATA_DEPTH} levels"))
    })?;
    match value {
        Json::Null => out.push(b'N'),
        Json::Bool(value) => out.push(if *value { 0x88 } else { 0x89 }),
        Json::Number(value) => number(out, value),
        Json::String(value) => text(out, value)?,
        Json::Array(items) => {
            out.extend_from_slice(b"](");
            items.iter().try_for_each(|item| json(out, item, inner))?;
            out.push(b'e');
        }
        Json::Object(entries) => {
            out.extend_from_slice(b"}(");
            for (key, value) in entries {
                text(out, key)?;
                json(out, value, inner)?;
            }
            out.push(b'u');
        }
    }
    Ok(())
}

fn number(out: &mut Vec<u8>, number: &Number) {
    if let Some(whole) = number.as_i128() {
        integer(out, whole);
    } else {
        out.push(b'G');
        out.extend_from_slice(&number.as_f64().unwrap_or(f64::NAN).to_be_bytes());
    }
}

/// As Python does: BININT while it fits, else LONG1, a length and two's complement.
fn integer(out: &mut Vec<u8>, number: i128) {
    if let Ok(small) = i32::try_from(number) {
        out.push(b'J');
        out.extend_from_slice(&small.to_le_bytes());
    } else {
        out.extend_from_slice(&[0x8a, 16]);
        out.extend_from_slice(&number.to_le_bytes());
    }
}

fn text(out: &mut Vec<u8>, text: &str) -> Result<(), ModelError> {
    let length = u32::try_from(text.len())
        .map_err(|_| ModelError::Metadata("a text is larger than 4 GiB".into()))?;
    out.push(b'X');
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(text.as_bytes());
    Ok(())
}
