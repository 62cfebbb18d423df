//! The values a checkpoint's pickle may build, and the only globals it may name.

use super::dtype::Dtype;
use crate::model::error::{ModelError, shown};

const MAX_AXES: usize = 8;

/// A value on the pickle machine's stack: a scalar, or the place of an object in the [`Heap`].
///
/// Objects are held by place because a pickle builds graphs: they are shared, filled after they
/// were stored, and may hold themselves. A heap drops flat, however deep a hostile file nests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(&'a str),
    Global(Global),
    Object(usize),
    /// Something a checkpoint may hold and no model needs, such as a `torch.device`.
    Opaque,
}

#[derive(Debug)]
pub(super) enum Object<'a> {
    /// Also a `torch.Size`.
    Tuple(Vec<Value<'a>>),
    /// Also a set.
    List(Vec<Value<'a>>),
    /// Also an `OrderedDict` or a `Counter`.
    Dict(Vec<(Value<'a>, Value<'a>)>),
    Storage(StorageRef<'a>),
    Tensor(TensorView<'a>),
}

#[derive(Debug, Default)]
pub(super) struct Heap<'a> {
    objects: Vec<Object<'a>>,
}

impl<'a> Heap<'a> {
    const MAX_OBJECTS: usize = 1 << 18;

    pub fn add(&mut self, object: Object<'a>) -> Result<Value<'a>, String> {
        if self.objects.len() == Self::MAX_OBJECTS {
            return Err(format!("builds more than {} objects", Self::MAX_OBJECTS));
        }
        self.objects.push(object);
        Ok(Value::Object(self.objects.len() - 1))
    }

    pub fn get(&self, value: Value<'a>) -> Option<&Object<'a>> {
        let Value::Object(place) = value else { return None };
        self.objects.get(place)
    }

    pub fn get_mut(&mut self, value: Value<'a>) -> Option<&mut Object<'a>> {
        let Value::Object(place) = value else { return None };
        self.objects.get_mut(place)
    }

    pub fn tuple(&self, value: Value<'a>) -> Option<&[Value<'a>]> {
        if let Object::Tuple(items) = self.get(value)? { Some(items) } else { None }
    }

    pub fn dict(&self, value: Value<'a>) -> Option<&[(Value<'a>, Value<'a>)]> {
        if let Object::Dict(entries) = self.get(value)? { Some(entries) } else { None }
    }

    pub fn tensor(&self, value: Value<'a>) -> Option<&TensorView<'a>> {
        if let Object::Tensor(view) = self.get(value)? { Some(view) } else { None }
    }
}

/// An entry `data/<key>`: `length` elements of `dtype`.
#[derive(Debug, Clone, Copy)]
pub(super) struct StorageRef<'a> {
    pub key: &'a str,
    pub dtype: Dtype,
    pub length: usize,
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
    pub storage: StorageRef<'a>,
    pub offset: usize,
    pub shape: Vec<usize>,
    pub stride: Vec<usize>,
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
                "a tensor's shape and strides are not two tuples of up to {MAX_AXES} natural \
                    numbers"
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

/// Everything a pickle may name. A name outside this list is refused, so no file can call anything.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Global {
    OrderedDict,
    /// A type whose one argument already is its value for us.
    Wrapper,
    RebuildTensor,
    RebuildParameter,
    Storage(Dtype),
    /// `torch.float32` and the like, as a value.
    Dtype(Dtype),
    Ignored,
}

impl Global {
    pub fn find(module: &str, name: &str) -> Result<Self, ModelError> {
        Ok(match (module, name) {
            ("collections", "OrderedDict") => Self::OrderedDict,
            ("collections", "Counter") | ("torch", "Size") => Self::Wrapper,
            ("builtins" | "__builtin__", "set" | "frozenset") => Self::Wrapper,
            ("torch._utils", "_rebuild_tensor_v2") => Self::RebuildTensor,
            ("torch._utils", "_rebuild_parameter") => Self::RebuildParameter,
            // What Python writes for bytes and complex numbers; their values are of no use here.
            ("_codecs", "encode") | ("builtins" | "__builtin__", "bytearray" | "complex") => {
                Self::Ignored
            }
            ("torch", "device") | ("torch.serialization", "_get_layout") => Self::Ignored,
            ("torch", name) => match Dtype::of_storage(name) {
                Some(dtype) => Self::Storage(dtype),
                None => Self::Dtype(Dtype::of_name(name).ok_or_else(|| refused(module, name))?),
            },
            _ => return Err(refused(module, name)),
        })
    }

    /// What calling this global with `arguments` gives.
    pub fn call<'a>(self, heap: &mut Heap<'a>, arguments: Value<'a>) -> Result<Value<'a>, String> {
        let arguments = heap.tuple(arguments).ok_or("arguments are not a tuple")?;
        match (self, arguments) {
            (Self::OrderedDict, []) => heap.add(Object::Dict(Vec::new())),
            (Self::Wrapper, &[value]) | (Self::RebuildParameter, &[value, _, _]) => Ok(value),
            (Self::RebuildTensor, &[storage, offset, size, stride, _, _, ..]) => {
                let view = TensorView::new(heap, storage, offset, size, stride)?;
                heap.add(Object::Tensor(view))
            }
            (Self::Ignored, _) => Ok(Value::Opaque),
            _ => {
                Err(format!("cannot call {self:?} with {} arguments of this kind", arguments.len()))
            }
        }
    }
}

fn refused(module: &str, name: &str) -> ModelError {
    ModelError::Global(shown(&format!("{module}.{name}")))
}
