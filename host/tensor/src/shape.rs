//! Element types and shapes, checked before they size anything.

use std::fmt;

use crate::TensorError;

/// Element type of a tensor. `bool` is one byte, 0 or 1; the rest are
/// little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// One byte, 0 or 1.
    Bool,
    /// Unsigned 8-bit.
    U8,
    /// Signed 8-bit.
    I8,
    /// Unsigned 16-bit.
    U16,
    /// Signed 16-bit.
    I16,
    /// Unsigned 32-bit.
    U32,
    /// Signed 32-bit.
    I32,
    /// Unsigned 64-bit.
    U64,
    /// Signed 64-bit.
    I64,
    /// IEEE 754 half.
    F16,
    /// The upper half of an f32.
    Bf16,
    /// IEEE 754 single.
    F32,
    /// IEEE 754 double.
    F64,
}

impl Dtype {
    /// Bytes of one element.
    pub fn n_bytes(self) -> usize {
        match self {
            Self::Bool | Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 | Self::F16 | Self::Bf16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    /// The name that the contract and messages use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::U8 => "u8",
            Self::I8 => "i8",
            Self::U16 => "u16",
            Self::I16 => "i16",
            Self::U32 => "u32",
            Self::I32 => "i32",
            Self::U64 => "u64",
            Self::I64 => "i64",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::F32 => "f32",
            Self::F64 => "f64",
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One dimension of a graph's input or output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dimension {
    /// A size that never changes.
    Fixed(usize),
    /// A size that each run chooses, by name, or an expression of such.
    Symbol(String),
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(size) => write!(f, "{size}"),
            Self::Symbol(name) => f.write_str(name),
        }
    }
}

/// An input or output of a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its name in the model.
    pub name: String,
    /// Element type.
    pub dtype: Dtype,
    /// Dimensions, outermost first.
    pub shape: Vec<Dimension>,
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.name, self.dtype, shown(&self.shape))
    }
}

/// `[2, 3]`, or `[batch, 3]`.
pub(crate) fn shown<D: fmt::Display>(shape: &[D]) -> String {
    let sizes: Vec<String> = shape.iter().map(D::to_string).collect();
    format!("[{}]", sizes.join(", "))
}

/// Bytes of a tensor, refused when the product does not fit in memory.
pub(crate) fn n_bytes(dtype: Dtype, shape: &[usize]) -> Result<usize, TensorError> {
    shape
        .iter()
        .try_fold(dtype.n_bytes(), |bytes, &size| bytes.checked_mul(size))
        .filter(|&bytes| isize::try_from(bytes).is_ok())
        .ok_or_else(|| TensorError::ShapeMismatch {
            place: String::new(),
            what: format!(
                "a {dtype} tensor of shape {} is larger than memory",
                shown(shape)
            ),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_whose_product_overflows_is_refused() {
        let error = n_bytes(Dtype::F32, &[usize::MAX, 3]).unwrap_err();
        assert!(error.to_string().contains("larger than memory"), "{error}");
    }

    #[test]
    fn a_zero_anywhere_makes_no_bytes() {
        assert_eq!(n_bytes(Dtype::F64, &[3, 0, 5]), Ok(0));
    }

    #[test]
    fn a_scalar_is_one_element() {
        assert_eq!(n_bytes(Dtype::I16, &[]), Ok(2));
    }
}
