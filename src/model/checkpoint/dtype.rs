//! The types of elements that a checkpoint may name.

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

    pub fn size(self) -> Result<usize, String> {
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
    pub fn decode(self, bytes: &[u8]) -> Option<f32> {
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
