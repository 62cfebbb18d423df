//! Tensors as a pickle describes them: views on storages, which are plain arrays in the zip file.

use std::collections::HashMap;
use std::io::{Read, Seek};

use super::archive::Archive;
use super::object::TensorView;

/// 25 times the parameters of the usual network. A view with stride 0 makes a large tensor of a
/// small file, so the elements are bounded as well as the bytes.
const MAX_ELEMENTS: usize = 4 << 20;
const MAX_STORAGE_BYTES: u64 = 32 << 20;

/// Reads each storage once, since tensors may share one, and only so much in all.
pub(super) struct Storages<'z, R> {
    archive: &'z mut Archive<R>,
    bytes: HashMap<String, Vec<u8>>,
    bytes_left: u64,
    elements_left: usize,
}

impl<'z, R: Read + Seek> Storages<'z, R> {
    pub fn new(archive: &'z mut Archive<R>) -> Self {
        Self {
            archive,
            bytes: HashMap::new(),
            bytes_left: MAX_STORAGE_BYTES,
            elements_left: MAX_ELEMENTS,
        }
    }

    /// The tensor's shape and its elements in row-major order.
    pub fn read(&mut self, view: &TensorView<'_>) -> Result<(Vec<usize>, Vec<f32>), String> {
        let dtype = view.storage.dtype;
        let size = dtype.size()?;
        let storage_bytes =
            view.storage.length.checked_mul(size).ok_or("its storage is too large")?;

        let count = view.shape.iter().try_fold(1usize, |count, &axis| count.checked_mul(axis));
        let count = count.filter(|&count| count <= self.elements_left);
        let count =
            count.ok_or_else(|| format!("the model has more than {MAX_ELEMENTS} elements"))?;
        if count == 0 {
            return Ok((view.shape.clone(), Vec::new()));
        }
        self.elements_left -= count;

        let last =
            view.shape.iter().zip(&view.stride).try_fold(view.offset, |last, (&axis, &stride)| {
                last.checked_add((axis - 1).checked_mul(stride)?)
            });
        if last.is_none_or(|last| last >= view.storage.length) {
            return Err(format!("reaches beyond its storage data/{}", view.storage.key));
        }
        let bytes = self.storage(view.storage.key, storage_bytes)?;
        let mut data = Vec::with_capacity(count);
        for at in Places::new(view).take(count) {
            // `at` is in bounds: it is at most `last`.
            let element =
                bytes.get(at * size..at * size + size).and_then(|element| dtype.decode(element));
            data.push(element.ok_or("its storage is too short")?);
        }
        Ok((view.shape.clone(), data))
    }

    fn storage(&mut self, key: &str, length: usize) -> Result<&[u8], String> {
        if !self.bytes.contains_key(key) {
            // What all storages say of their length is bounded before one of them is inflated.
            if length as u64 > self.bytes_left {
                return Err(format!("the model has more than {MAX_STORAGE_BYTES} bytes"));
            }
            let bytes = self
                .archive
                .entry(&format!("data/{key}"), length as u64)
                .map_err(|error| error.to_string())?;
            self.bytes_left -= bytes.len() as u64;
            self.bytes.insert(key.to_owned(), bytes);
        }
        let bytes = self.bytes.get(key).map(Vec::as_slice).unwrap_or_default();
        if bytes.len() != length {
            return Err(format!("its storage data/{key} has {} bytes, not {length}", bytes.len()));
        }
        Ok(bytes)
    }
}

/// The places of a view's elements in its storage, in row-major order; without end.
struct Places {
    at: usize,
    index: Vec<usize>,
    axes: Vec<(usize, usize)>,
}

impl Places {
    /// The view is known to lie within its storage, so no sum here can overflow.
    fn new(view: &TensorView<'_>) -> Self {
        // An axis of length 1 may have any stride: it is never stepped along.
        let axes = view
            .shape
            .iter()
            .zip(&view.stride)
            .map(|(&axis, &stride)| (axis, if axis == 1 { 0 } else { stride }));
        Self { at: view.offset, index: vec![0; view.shape.len()], axes: axes.collect() }
    }
}

impl Iterator for Places {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let place = self.at;
        for (index, &(axis, stride)) in self.index.iter_mut().zip(&self.axes).rev() {
            *index += 1;
            self.at += stride;
            if *index < axis {
                break;
            }
            self.at -= axis * stride;
            *index = 0;
        }
        Some(place)
    }
}
