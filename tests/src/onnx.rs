//! ONNX files, made by code. [`Builder`] for graphs that a test spells out, [`Writer`]
//! for those that a function writes node by node.

mod writer;

pub use writer::Writer;

use prost::Message as _;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::type_proto::{Tensor, Value};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto,
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

/// An attribute of a node, by name.
#[derive(Debug, Clone, Copy)]
pub enum Attribute<'a> {
    /// `ints`, such as `strides`.
    Integers(&'a str, &'a [i64]),
    /// `int`, such as `axis`.
    Integer(&'a str, i64),
    /// `float`, such as `alpha`.
    Float(&'a str, f32),
    /// `string`, such as `mode`.
    Text(&'a str, &'a str),
}

impl Attribute<'_> {
    fn proto(self) -> AttributeProto {
        let (name, kind) = match self {
            Self::Integers(name, _) => (name, AttributeType::Ints),
            Self::Integer(name, _) => (name, AttributeType::Int),
            Self::Float(name, _) => (name, AttributeType::Float),
            Self::Text(name, _) => (name, AttributeType::String),
        };
        let mut proto = AttributeProto {
            name: name.to_owned(),
            r#type: kind as i32,
            ..AttributeProto::default()
        };
        match self {
            Self::Integers(_, values) => proto.ints = values.to_vec(),
            Self::Integer(_, value) => proto.i = value,
            Self::Float(_, value) => proto.f = value,
            Self::Text(_, value) => proto.s = value.as_bytes().to_vec(),
        }
        proto
    }
}

/// The operator set of a file that asks for none.
const OPSET: i64 = 13;

/// The file of a model that no GPU has a plan for, by its node `nan-node`: `x` f32
/// `[batch, 3]` to `y`, the same.
pub fn without_a_plan() -> Vec<u8> {
    Builder::default()
        .input("x", &[Dim::Name("batch"), Dim::Size(3)])
        .node("IsNaN", &["x"], "nan")
        .node("Where", &["nan", "x", "x"], "y")
        .output("y")
        .file()
}

/// A graph put together piece by piece.
#[derive(Debug)]
pub struct Builder {
    graph: GraphProto,
    opset: i64,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            graph: GraphProto::default(),
            opset: OPSET,
        }
    }
}

impl Builder {
    /// The version of the operator set that the file asks for; 13 unless told.
    #[must_use]
    pub fn opset(mut self, version: i64) -> Self {
        self.opset = version;
        self
    }

    /// A float32 input.
    #[must_use]
    pub fn input(self, name: &str, shape: &[Dim]) -> Self {
        self.input_of(DataType::Float, name, shape)
    }

    /// An int64 input.
    #[must_use]
    pub fn integer_input(self, name: &str, shape: &[Dim]) -> Self {
        self.input_of(DataType::Int64, name, shape)
    }

    fn input_of(mut self, dtype: DataType, name: &str, shape: &[Dim]) -> Self {
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
        self.graph.input.push(ValueInfoProto {
            name: name.to_owned(),
            r#type: Some(TypeProto {
                value: Some(Value::TensorType(Tensor {
                    elem_type: dtype as i32,
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
    pub fn weight(self, name: &str, dims: &[i64], values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes());
        self.initializer(DataType::Float, name, dims, bytes.collect())
    }

    /// An int64 constant, such as a shape or axes.
    #[must_use]
    pub fn integers(self, name: &str, dims: &[i64], values: &[i64]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes());
        self.initializer(DataType::Int64, name, dims, bytes.collect())
    }

    fn initializer(mut self, dtype: DataType, name: &str, dims: &[i64], bytes: Vec<u8>) -> Self {
        self.graph.initializer.push(TensorProto {
            name: name.to_owned(),
            dims: dims.to_vec(),
            data_type: dtype as i32,
            raw_data: bytes,
            ..TensorProto::default()
        });
        self
    }

    /// A node with one output and no attribute.
    #[must_use]
    pub fn node(self, operator: &str, inputs: &[&str], output: &str) -> Self {
        self.node_with(operator, inputs, &[output], &[])
    }

    /// A node. An input that is an empty name is left out.
    ///
    /// # Panics
    ///
    /// When it has no output.
    #[must_use]
    pub fn node_with(
        mut self,
        operator: &str,
        inputs: &[&str],
        outputs: &[&str],
        attributes: &[Attribute<'_>],
    ) -> Self {
        let first = outputs.first().expect("a node has an output");
        self.graph.node.push(NodeProto {
            name: format!("{first}-node"),
            op_type: operator.to_owned(),
            input: inputs.iter().map(ToString::to_string).collect(),
            output: outputs.iter().map(ToString::to_string).collect(),
            attribute: attributes
                .iter()
                .map(|attribute| attribute.proto())
                .collect(),
            ..NodeProto::default()
        });
        self
    }

    /// An output.
    #[must_use]
    pub fn output(mut self, name: &str) -> Self {
        self.graph.output.push(ValueInfoProto {
            name: name.to_owned(),
            ..ValueInfoProto::default()
        });
        self
    }

    /// Changes the graph in ways that no method offers.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut GraphProto)) -> Self {
        change(&mut self.graph);
        self
    }

    /// The file.
    pub fn file(self) -> Vec<u8> {
        let model = ModelProto {
            ir_version: 7,
            opset_import: vec![OperatorSetIdProto {
                version: self.opset,
                ..OperatorSetIdProto::default()
            }],
            graph: Some(self.graph),
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
