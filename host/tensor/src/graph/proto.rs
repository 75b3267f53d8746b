//! What an ONNX file says, read and written as its proto has it.

use tract_onnx::pb::tensor_proto::DataType;

use tract_onnx::pb::{GraphProto, ModelProto, TensorProto};

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

/// Spells out as bytes what the importer reads from the wrong field: `UINT32` and
/// `UINT64` lie in `uint64_data`.
pub(super) fn normalise(proto: &mut ModelProto) {
    proto.graph.iter_mut().for_each(normalise_graph);
}

fn normalise_graph(graph: &mut GraphProto) {
    let attributes = graph.node.iter_mut().flat_map(|node| &mut node.attribute);
    let constants = attributes.filter_map(|attribute| attribute.t.as_mut());
    constants
        .chain(&mut graph.initializer)
        .for_each(normalise_tensor);
}

fn normalise_tensor(tensor: &mut TensorProto) {
    let values = std::mem::take(&mut tensor.uint64_data).into_iter();
    let is = |data_type: DataType| tensor.data_type == data_type as i32;
    if is(DataType::Uint32) {
        // The upper half is zero in every file that keeps to ONNX.
        let bytes = values.flat_map(|value| (value as u32).to_le_bytes());
        tensor.raw_data.extend(bytes);
    } else if is(DataType::Uint64) {
        let bytes = values.flat_map(u64::to_le_bytes);
        tensor.raw_data.extend(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsigned_integers_are_spelled_out_as_bytes() {
        let tensor = |data_type: DataType| TensorProto {
            data_type: data_type as i32,
            uint64_data: vec![1, u64::from(u32::MAX)],
            ..TensorProto::default()
        };
        let [mut narrow, mut wide] = [DataType::Uint32, DataType::Uint64].map(tensor);
        normalise_tensor(&mut narrow);
        normalise_tensor(&mut wide);
        assert_eq!(narrow.raw_data, [1, 0, 0, 0, 255, 255, 255, 255]);
        assert_eq!(wide.raw_data.len(), 16);
        assert!(narrow.uint64_data.is_empty() && wide.uint64_data.is_empty());
    }
}
