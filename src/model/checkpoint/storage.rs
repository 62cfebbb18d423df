//! Tensors as a pickle describes them: views on storages, which are plain arrays in the zip file.

use std::collections::HashMap;
use std::io::{Read, Seek};

use super::archive::Archive;
use super::object::{Global, Heap, Object, Value};

/// 200 times the parameters of the usual network. A view with stride 0 makes a large tensor of a
/// small file, so the elements are bounded as well as the bytes.
const MAX_ELEMENTS: usize = 32 << 20;
const MAX_STORAGE_BYTES: u64 = 256 << 20;
const MAX_AXES: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Dtype {
    Float32,
    Float64,
    Float16,
    BFloat16,
    /// May lie beside the model, as a step counter does; no weight is of such a type.
    Other(&'static str),
}

impl Dtype {
    const NAMES: [(&str, &str, Dtype); 12] = [
        ("float32", "FloatStorage", Self::Float32),
        ("float64", "DoubleStorage", Self::Float64),
        ("float16", "HalfStorage", Self::Float16),
        ("bfloat16", "BFloat16Storage", Self::BFloat16),
        ("int64", "LongStorage", Self::Other("int64")),
        ("int32", "IntStorage", Self::Other("int32")),
        ("int16", "ShortStorage", Self::Other("int16")),
        ("int8", "CharStorage", Self::Other("int8")),
        ("uint8", "ByteStorage", Self::Other("uint8")),
        ("bool", "BoolStorage", Self::Other("bool")),
        ("complex64", "ComplexFloatStorage", Self::Other("complex64")),
        ("complex128", "ComplexDoubleStorage", Self::Other("complex128")),
    ];

    pub fn of_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|entry| entry.0 == name).map(|entry| entry.2)
    }

    pub fn of_storage(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|entry| entry.1 == name).map(|entry| entry.2)
    }

    fn size(self) -> Result<usize, String> {
        match self {
            Self::Float16 | Self::BFloat16 => Ok(2),
            Self::Float32 => Ok(4),
            Self::Float64 => Ok(8),
            Self::Other(name) => {
                Err(format!("has type {name}; weights are float32, float64, float16 or bfloat16"))
            }
        }
    }

    /// One element as float32; `None` if `bytes` are not of this type's size.
    fn decode(self, bytes: &[u8]) -> Option<f32> {
        Some(match self {
            Self::Float32 => f32::from_le_bytes(bytes.try_into().ok()?),
            Self::Float64 => f64::from_le_bytes(bytes.try_into().ok()?) as f32,
            Self::Float16 => half(u16::from_le_bytes(bytes.try_into().ok()?)),
            Self::BFloat16 => {
                f32::from_bits(u32::from(u16::from_le_bytes(bytes.try_into().ok()?)) << 16)
            }
            Self::Other(_) => return None,
        })
    }
}

/// IEEE 754 binary16: one sign bit, five of the exponent, ten of the fraction.
fn half(bits: u16) -> f32 {
    let fraction = f32::from(bits & 0x3ff) / 1024.0;
    let magnitude = match (bits >> 10) & 0x1f {
        0 => fraction * 2f32.powi(-14),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        exponent => (1.0 + fraction) * 2f32.powi(i32::from(exponent) - 15),
    };
    if bits & 0x8000 == 0 { magnitude } else { -magnitude }
}

/// An entry `data/<key>`: `length` elements of `dtype`.
#[derive(Debug, Clone, Copy)]
pub(super) struct StorageRef<'a> {
    key: &'a str,
    dtype: Dtype,
    length: usize,
}

impl<'a> StorageRef<'a> {
    /// From a persistent id: `("storage", type, key, device, length)`.
    pub fn new(heap: &Heap<'a>, id: Value<'a>) -> Result<Self, String> {
        let Some(
            &[
                Value::Str("storage"),
                Value::Global(Global::Storage(dtype)),
                Value::Str(key),
                Value::Str(_),
                Value::Int(length),
            ],
        ) = heap.tuple(id)
        else {
            return Err("a persistent id does not describe a storage".into());
        };
        let length = usize::try_from(length).map_err(|_| "a storage has a negative length")?;
        Ok(Self { key, dtype, length })
    }
}

/// A strided view on a storage, all in elements.
#[derive(Debug)]
pub(super) struct TensorView<'a> {
    storage: StorageRef<'a>,
    offset: usize,
    shape: Vec<usize>,
    stride: Vec<usize>,
}

impl<'a> TensorView<'a> {
    /// From the arguments of `torch._utils._rebuild_tensor_v2`.
    pub fn new(
        heap: &Heap<'a>,
        storage: Value<'a>,
        offset: Value<'a>,
        shape: Value<'a>,
        stride: Value<'a>,
    ) -> Result<Self, String> {
        let Some(&Object::Storage(storage)) = heap.get(storage) else {
            return Err("a tensor has no storage".into());
        };
        let offset = natural(offset).ok_or("a tensor's offset is not a natural number")?;
        let numbers = |value| {
            heap.tuple(value)
                .filter(|items| items.len() <= MAX_AXES)?
                .iter()
                .copied()
                .map(natural)
                .collect()
        };
        let shape: Option<Vec<usize>> = numbers(shape);
        let stride: Option<Vec<usize>> = numbers(stride);
        match (shape, stride) {
            (Some(shape), Some(stride)) if shape.len() == stride.len() => {
                Ok(Self { storage, offset, shape, stride })
            }
            _ => Err(format!(
                "a tensor's shape and strides are not two tuples of up to {MAX_AXES} natural numbers"
            )),
        }
    }

    pub fn describe(&self) -> String {
        format!("<tensor {:?}>", self.shape)
    }
}

fn natural(value: Value<'_>) -> Option<usize> {
    if let Value::Int(number) = value { usize::try_from(number).ok() } else { None }
}

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
            let bytes = self
                .archive
                .entry(&format!("data/{key}"), self.bytes_left)
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
