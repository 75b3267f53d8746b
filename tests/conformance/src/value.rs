//! A tensor as the tests' files hold it.

use tract_onnx::pb::TensorProto;
use tract_onnx::pb::tensor_proto::DataType;
use trommel_tensor::{Dtype, Fixed};

/// Elements in memory, row-major, little-endian.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Value {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

impl Value {
    /// Why not, for elements that no device of ours holds.
    pub(crate) fn of(tensor: &TensorProto) -> Result<Self, String> {
        let data_type = DataType::try_from(tensor.data_type).ok();
        let dtype = data_type.and_then(dtype_of).ok_or_else(|| {
            let name = data_type.map_or("an unknown dtype", |it| it.as_str_name());
            format!("holds {name}, which no device holds")
        })?;
        let shape = tensor.dims.iter().map(|&size| usize::try_from(size));
        let shape: Vec<usize> = shape
            .collect::<Result<_, _>>()
            .map_err(|_| format!("has the impossible shape {:?}", tensor.dims))?;
        let bytes = match tensor.raw_data.is_empty() {
            true => typed_bytes(dtype, tensor),
            false => tensor.raw_data.clone(),
        };
        let wanted = shape.iter().product::<usize>() * dtype.n_bytes();
        if bytes.len() != wanted {
            return Err(format!("holds {} bytes instead of {wanted}", bytes.len()));
        }
        Ok(Self {
            dtype,
            shape,
            bytes,
        })
    }

    pub(crate) fn fixed(&self, name: &str) -> Fixed {
        Fixed {
            name: name.to_owned(),
            dtype: self.dtype,
            shape: self.shape.clone(),
            bytes: self.bytes.clone(),
        }
    }
}

fn dtype_of(data_type: DataType) -> Option<Dtype> {
    Some(match data_type {
        DataType::Bool => Dtype::Bool,
        DataType::Uint8 => Dtype::U8,
        DataType::Int8 => Dtype::I8,
        DataType::Uint16 => Dtype::U16,
        DataType::Int16 => Dtype::I16,
        DataType::Uint32 => Dtype::U32,
        DataType::Int32 => Dtype::I32,
        DataType::Uint64 => Dtype::U64,
        DataType::Int64 => Dtype::I64,
        DataType::Float16 => Dtype::F16,
        DataType::Float => Dtype::F32,
        DataType::Double => Dtype::F64,
        _ => return None,
    })
}

/// The elements where they are not kept as bytes; onnx.proto says in which field
/// each type is.
fn typed_bytes(dtype: Dtype, tensor: &TensorProto) -> Vec<u8> {
    let narrow = tensor.int32_data.iter();
    match dtype {
        Dtype::F32 => flat(&tensor.float_data, |it| it.to_le_bytes()),
        Dtype::F64 => flat(&tensor.double_data, |it| it.to_le_bytes()),
        Dtype::I64 => flat(&tensor.int64_data, |it| it.to_le_bytes()),
        Dtype::U64 => flat(&tensor.uint64_data, |it| it.to_le_bytes()),
        Dtype::U32 => flat(&tensor.uint64_data, |it| (*it as u32).to_le_bytes()),
        Dtype::I32 => flat(&tensor.int32_data, |it| it.to_le_bytes()),
        _ => narrow
            .flat_map(|it| it.to_le_bytes().into_iter().take(dtype.n_bytes()))
            .collect(),
    }
}

fn flat<T, const N: usize>(values: &[T], bytes: impl Fn(&T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(bytes).collect()
}
