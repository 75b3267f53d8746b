//! Small ONNX files, made by code.

use prost::Message as _;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::type_proto::{Tensor, Value};
use tract_onnx::pb::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto,
};

/// A dimension of an input: a size, a name, or neither.
#[derive(Debug, Clone, Copy)]
pub enum Dim {
    /// A size.
    Size(i64),
    /// A name.
    Name(&'static str),
    /// Neither.
    Unknown,
}

/// A graph put together piece by piece.
#[derive(Debug, Default)]
pub struct Builder(GraphProto);

impl Builder {
    /// A float32 input.
    #[must_use]
    pub fn input(mut self, name: &str, shape: &[Dim]) -> Self {
        let dim = |dim: &Dim| Dimension {
            value: match *dim {
                Dim::Size(size) => Some(dimension::Value::DimValue(size)),
                Dim::Name(name) => Some(dimension::Value::DimParam(name.to_owned())),
                Dim::Unknown => None,
            },
            ..Dimension::default()
        };
        let shape = TensorShapeProto {
            dim: shape.iter().map(dim).collect(),
        };
        self.0.input.push(ValueInfoProto {
            name: name.to_owned(),
            r#type: Some(TypeProto {
                value: Some(Value::TensorType(Tensor {
                    elem_type: DataType::Float as i32,
                    shape: Some(shape),
                })),
                ..TypeProto::default()
            }),
            ..ValueInfoProto::default()
        });
        self
    }

    /// A float32 weight.
    #[must_use]
    pub fn weight(mut self, name: &str, dims: &[i64], values: &[f32]) -> Self {
        self.0.initializer.push(TensorProto {
            name: name.to_owned(),
            dims: dims.to_vec(),
            data_type: DataType::Float as i32,
            raw_data: values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect(),
            ..TensorProto::default()
        });
        self
    }

    /// A node with one output.
    #[must_use]
    pub fn node(mut self, operator: &str, inputs: &[&str], output: &str) -> Self {
        self.0.node.push(NodeProto {
            name: format!("{output}-node"),
            op_type: operator.to_owned(),
            input: inputs.iter().map(ToString::to_string).collect(),
            output: vec![output.to_owned()],
            ..NodeProto::default()
        });
        self
    }

    /// An output.
    #[must_use]
    pub fn output(mut self, name: &str) -> Self {
        self.0.output.push(ValueInfoProto {
            name: name.to_owned(),
            ..ValueInfoProto::default()
        });
        self
    }

    /// Changes the graph in ways that no method offers.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut GraphProto)) -> Self {
        change(&mut self.0);
        self
    }

    /// The file.
    pub fn file(self) -> Vec<u8> {
        let model = ModelProto {
            ir_version: 7,
            opset_import: vec![OperatorSetIdProto {
                version: 13,
                ..OperatorSetIdProto::default()
            }],
            graph: Some(self.0),
            ..ModelProto::default()
        };
        model.encode_to_vec()
    }
}

/// `y = x · w`, with `x` `[batch, rows]` and `w` `[rows, columns]`.
pub fn linear(rows: i64, columns: i64, weight: &[f32]) -> Vec<u8> {
    Builder::default()
        .input("x", &[Dim::Name("batch"), Dim::Size(rows)])
        .weight("w", &[rows, columns], weight)
        .node("MatMul", &["x", "w"], "y")
        .output("y")
        .file()
}
