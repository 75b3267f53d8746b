//! The parts of an ONNX file, as they stand in all models that are written here.
//!
//! Fills in messages; knows no operator and no model. The same calls give the same bytes.

use prost::Message;
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, attribute_proto::AttributeType,
    tensor_proto::DataType, tensor_shape_proto::Dimension, tensor_shape_proto::dimension,
    type_proto,
};

/// Which ONNX a file is written in: of the file's own format and of the operators.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Version {
    pub ir: i64,
    pub opset: i64,
}

/// The bytes of a file with this graph.
pub(crate) fn model(graph: GraphProto, version: Version) -> Vec<u8> {
    let opset = OperatorSetIdProto {
        version: version.opset,
        ..OperatorSetIdProto::default()
    };
    let model = ModelProto {
        ir_version: version.ir,
        opset_import: vec![opset],
        producer_name: env!("CARGO_PKG_NAME").into(),
        graph: Some(graph),
        ..ModelProto::default()
    };
    model.encode_to_vec()
}

/// A node with one output, named after it.
pub(crate) fn node(
    op: &str,
    inputs: &[&str],
    output: &str,
    attributes: Vec<AttributeProto>,
) -> NodeProto {
    NodeProto {
        op_type: op.into(),
        name: output.into(),
        input: inputs.iter().map(|&input| input.into()).collect(),
        output: vec![output.into()],
        attribute: attributes,
        ..NodeProto::default()
    }
}

/// An attribute that is a whole number.
pub(crate) fn integer(name: &str, i: i64) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: AttributeType::Int.into(),
        i,
        ..AttributeProto::default()
    }
}

/// An attribute that is a list of whole numbers.
pub(crate) fn integers(name: &str, all: &[i64]) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: AttributeType::Ints.into(),
        ints: all.to_vec(),
        ..AttributeProto::default()
    }
}

/// An attribute that is a number.
pub(crate) fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: AttributeType::Float.into(),
        f,
        ..AttributeProto::default()
    }
}

/// Weights, f32 of shape `dims`, row-major.
pub(crate) fn floats(name: &str, dims: &[usize], data: &[f32]) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: dims.iter().map(|&dim| dim as i64).collect(),
        data_type: DataType::Float.into(),
        raw_data: data.iter().flat_map(|x| x.to_le_bytes()).collect(),
        ..TensorProto::default()
    }
}

/// A list of int64.
pub(crate) fn list(name: &str, data: &[i64]) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: vec![data.len() as i64],
        data_type: DataType::Int64.into(),
        raw_data: data.iter().flat_map(|x| x.to_le_bytes()).collect(),
        ..TensorProto::default()
    }
}

/// One axis of an input or output.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Axis<'a> {
    /// Of any size; equal names, equal sizes.
    Named(&'a str),
    Sized(usize),
}

/// An input or output.
pub(crate) fn port(name: &str, elem_type: DataType, axes: &[Axis<'_>]) -> ValueInfoProto {
    let dim = |axis: &Axis<'_>| Dimension {
        value: Some(match *axis {
            Axis::Named(name) => dimension::Value::DimParam(name.into()),
            Axis::Sized(size) => dimension::Value::DimValue(size as i64),
        }),
        ..Dimension::default()
    };
    let tensor = type_proto::Tensor {
        elem_type: elem_type.into(),
        shape: Some(TensorShapeProto {
            dim: axes.iter().map(dim).collect(),
        }),
    };
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(tensor)),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again_node(old: &NodeProto) -> NodeProto {
        let attribute = |old: &AttributeProto| match old.r#type() {
            AttributeType::Int => integer(&old.name, old.i),
            AttributeType::Ints => integers(&old.name, &old.ints),
            AttributeType::Float => float(&old.name, old.f),
            other => panic!("{other:?} is written nowhere"),
        };
        let inputs: Vec<&str> = old.input.iter().map(String::as_str).collect();
        let attributes = old.attribute.iter().map(attribute).collect();
        node(&old.op_type, &inputs, &old.output[0], attributes)
    }

    fn again_tensor(old: &TensorProto) -> TensorProto {
        let data = &old.raw_data;
        match old.data_type() {
            DataType::Int64 => {
                let number = |bytes: &[u8]| i64::from_le_bytes(bytes.try_into().unwrap());
                list(&old.name, &data.chunks(8).map(number).collect::<Vec<_>>())
            }
            _ => {
                let number = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().unwrap());
                let dims: Vec<usize> = old.dims.iter().map(|&dim| dim as usize).collect();
                let data: Vec<f32> = data.chunks(4).map(number).collect();
                floats(&old.name, &dims, &data)
            }
        }
    }

    fn again_port(old: &ValueInfoProto) -> ValueInfoProto {
        let Some(type_proto::Value::TensorType(tensor)) = &old.r#type.as_ref().unwrap().value
        else {
            panic!("a port is a tensor");
        };
        let axis = |dim: &Dimension| match dim.value.clone().unwrap() {
            dimension::Value::DimParam(name) => Axis::Named(name.leak()),
            dimension::Value::DimValue(size) => Axis::Sized(size as usize),
        };
        let axes: Vec<Axis<'_>> = tensor
            .shape
            .as_ref()
            .unwrap()
            .dim
            .iter()
            .map(axis)
            .collect();
        port(&old.name, tensor.elem_type(), &axes)
    }

    /// A shipped file consists of these parts and of nothing beside them: written anew from
    /// what it holds, it has the same bytes.
    #[track_caller]
    fn check(shipped: &[u8], version: Version) {
        let old = ModelProto::decode(shipped).unwrap().graph.unwrap();
        let graph = GraphProto {
            name: old.name.clone(),
            node: old.node.iter().map(again_node).collect(),
            initializer: old.initializer.iter().map(again_tensor).collect(),
            input: old.input.iter().map(again_port).collect(),
            output: old.output.iter().map(again_port).collect(),
            ..GraphProto::default()
        };
        // A comparison that does not print megabytes.
        assert!(model(graph, version) == shipped, "the bytes have moved");
    }

    #[test]
    fn the_shipped_models_are_written_in_these_parts_to_the_byte() {
        let former = Version { ir: 7, opset: 13 };
        check(include_bytes!("../../spam-text/model.onnx"), former);
        check(include_bytes!("../../image-quality/model.onnx"), former);
        let normed = Version { ir: 8, opset: 17 };
        check(include_bytes!("../../toxicity-text/model.onnx"), normed);
    }
}
