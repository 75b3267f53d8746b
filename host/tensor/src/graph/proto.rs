//! What an ONNX file says, read and written as its proto has it.

use tract_onnx::pb::tensor_proto::DataType;

use crate::Dtype;

/// ONNX's number for a dtype of ours.
pub(super) fn data_type_of(dtype: Dtype) -> DataType {
    match dtype {
        Dtype::Bool => DataType::Bool,
        Dtype::U8 => DataType::Uint8,
        Dtype::I8 => DataType::Int8,
        Dtype::U16 => DataType::Uint16,
        Dtype::I16 => DataType::Int16,
        Dtype::U32 => DataType::Uint32,
        Dtype::I32 => DataType::Int32,
        Dtype::U64 => DataType::Uint64,
        Dtype::I64 => DataType::Int64,
        Dtype::F16 => DataType::Float16,
        Dtype::Bf16 => DataType::Bfloat16,
        Dtype::F32 => DataType::Float,
        Dtype::F64 => DataType::Double,
    }
}
