//! A tensor as it is read and written.

/// A tensor in row-major order, as float32 whatever its type in the file.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedTensor {
    pub name: String,
    pub shape: Vec<usize>,
    pub data: Vec<f32>,
}
