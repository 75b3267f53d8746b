//! Operators one by one, through graph, session and device: each case is a model
//! of one node, its inputs, and what must come out.

use std::collections::BTreeMap;
use std::sync::Arc;

use prost::Message as _;
use serde::Deserialize;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::type_proto::{self, Value};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorShapeProto,
    TypeProto, ValueInfoProto,
};
use trommel_tensor::{
    Account, CpuDevice, CpuOptions, Device, Dtype, Fixed, Graph, Run, Tensor, TensorError, Weights,
};

#[derive(Deserialize)]
struct Cases {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    operator: String,
    #[serde(default)]
    domain: String,
    opset: i64,
    #[serde(default)]
    attributes: BTreeMap<String, toml::Value>,
    /// One without elements is left out of the node.
    inputs: Vec<Elements>,
    /// Positions of the inputs that are fixed when the graph is read.
    #[serde(default)]
    fixed: Vec<usize>,
    /// One without elements is left out of the node.
    #[serde(default)]
    outputs: Vec<Elements>,
    /// What the error says, where one is wanted instead.
    #[serde(default)]
    refused: String,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Elements {
    #[serde(default)]
    shape: Vec<usize>,
    /// Names or sizes that the model declares, where they are not `shape`.
    declared: Option<Vec<toml::Value>>,
    f32: Option<Vec<f64>>,
    i8: Option<Vec<i64>>,
    u8: Option<Vec<i64>>,
    u16: Option<Vec<i64>>,
    i32: Option<Vec<i64>>,
    i64: Option<Vec<i64>>,
    bool: Option<Vec<bool>>,
}

impl Elements {
    fn dtype(&self) -> Option<Dtype> {
        let given = [
            (Dtype::F32, self.f32.is_some()),
            (Dtype::I8, self.i8.is_some()),
            (Dtype::U8, self.u8.is_some()),
            (Dtype::U16, self.u16.is_some()),
            (Dtype::I32, self.i32.is_some()),
            (Dtype::I64, self.i64.is_some()),
            (Dtype::Bool, self.bool.is_some()),
        ];
        let mut given = given.into_iter().filter(|(_, is_given)| *is_given);
        given.next().map(|(dtype, _)| dtype)
    }

    fn data_type(&self) -> DataType {
        match self.dtype().expect("elements") {
            Dtype::F32 => DataType::Float,
            Dtype::I8 => DataType::Int8,
            Dtype::U8 => DataType::Uint8,
            Dtype::U16 => DataType::Uint16,
            Dtype::I32 => DataType::Int32,
            Dtype::I64 => DataType::Int64,
            Dtype::Bool => DataType::Bool,
            other => panic!("no case holds {other}"),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        if let Some(floats) = &self.f32 {
            return floats
                .iter()
                .flat_map(|&value| (value as f32).to_le_bytes())
                .collect();
        }
        if let Some(bools) = &self.bool {
            return bools.iter().map(|&value| u8::from(value)).collect();
        }
        let integers = [&self.i8, &self.u8, &self.u16, &self.i32, &self.i64];
        let integers = integers.into_iter().flatten().next().expect("elements");
        let n_bytes = self.dtype().expect("elements").n_bytes();
        integers
            .iter()
            .flat_map(|value| value.to_le_bytes().into_iter().take(n_bytes))
            .collect()
    }

    fn declared(&self) -> TensorShapeProto {
        let value = |value: &toml::Value| match value {
            toml::Value::String(name) => dimension::Value::DimParam(name.clone()),
            other => dimension::Value::DimValue(other.as_integer().expect("a size")),
        };
        let size = |&size: &usize| dimension::Value::DimValue(size as i64);
        let dims: Vec<_> = match &self.declared {
            Some(declared) => declared.iter().map(value).collect(),
            None => self.shape.iter().map(size).collect(),
        };
        let dims = dims.into_iter().map(|value| Dimension {
            value: Some(value),
            ..Dimension::default()
        });
        TensorShapeProto {
            dim: dims.collect(),
        }
    }
}

fn named<'a>(kind: &str, values: &'a [Elements]) -> Vec<(String, &'a Elements)> {
    let name = |(at, elements): (usize, &'a Elements)| {
        let name = elements.dtype().map(|_| format!("{kind}{at}"));
        (name.unwrap_or_default(), elements)
    };
    values.iter().enumerate().map(name).collect()
}

fn names(values: &[(String, &Elements)]) -> Vec<String> {
    values.iter().map(|(name, _)| name.clone()).collect()
}

fn attribute((name, value): (&String, &toml::Value)) -> AttributeProto {
    let mut attribute = AttributeProto {
        name: name.clone(),
        ..AttributeProto::default()
    };
    let kind = match value {
        toml::Value::Integer(value) => {
            attribute.i = *value;
            AttributeType::Int
        }
        toml::Value::Float(value) => {
            attribute.f = *value as f32;
            AttributeType::Float
        }
        toml::Value::String(value) => {
            attribute.s = value.clone().into_bytes();
            AttributeType::String
        }
        toml::Value::Array(values) if values.iter().all(toml::Value::is_integer) => {
            attribute.ints = values.iter().filter_map(toml::Value::as_integer).collect();
            AttributeType::Ints
        }
        toml::Value::Array(values) => {
            let floats = values.iter().filter_map(toml::Value::as_float);
            attribute.floats = floats.map(|value| value as f32).collect();
            AttributeType::Floats
        }
        other => panic!("no attribute is {other:?}"),
    };
    attribute.r#type = kind as i32;
    attribute
}

fn model(case: &Case) -> Vec<u8> {
    let port = |(name, elements): &(String, &Elements)| ValueInfoProto {
        name: name.clone(),
        r#type: Some(TypeProto {
            value: Some(Value::TensorType(type_proto::Tensor {
                elem_type: elements.data_type() as i32,
                shape: Some(elements.declared()),
            })),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    };
    let inputs = named("x", &case.inputs);
    let mut outputs = named("y", &case.outputs);
    let empty = Elements::default();
    if outputs.is_empty() {
        outputs.push(("y0".to_owned(), &empty));
    }
    let node = NodeProto {
        op_type: case.operator.clone(),
        domain: case.domain.clone(),
        input: names(&inputs),
        output: names(&outputs),
        attribute: case.attributes.iter().map(attribute).collect(),
        ..NodeProto::default()
    };
    let graph = GraphProto {
        node: vec![node],
        input: inputs
            .iter()
            .filter(|(name, _)| !name.is_empty())
            .map(port)
            .collect(),
        output: names(&outputs)
            .into_iter()
            .filter(|name| !name.is_empty())
            .map(|name| ValueInfoProto {
                name,
                ..ValueInfoProto::default()
            })
            .collect(),
        ..GraphProto::default()
    };
    let model = ModelProto {
        ir_version: 10,
        opset_import: vec![OperatorSetIdProto {
            version: case.opset,
            ..OperatorSetIdProto::default()
        }],
        graph: Some(graph),
        ..ModelProto::default()
    };
    model.encode_to_vec()
}

async fn computed(case: &Case) -> Result<Vec<Tensor>, TensorError> {
    let inputs = named("x", &case.inputs);
    let mut fixed = Vec::new();
    for &at in &case.fixed {
        let (name, elements) = &inputs[at];
        fixed.push(Fixed {
            name: name.clone(),
            dtype: elements.dtype().expect("elements"),
            shape: elements.shape.clone(),
            bytes: elements.bytes(),
        });
    }
    let graph = Graph::from_onnx_fixing(&model(case), &Weights::default(), &fixed)?;
    let device = CpuDevice::new(&CpuOptions::default())?;
    let session = device.session(&Arc::new(graph))?;
    let account = Account::new("the case", u64::MAX, u64::MAX);
    let mut given = Vec::new();
    for (at, (name, elements)) in inputs.into_iter().enumerate() {
        let Some(dtype) = elements.dtype().filter(|_| !case.fixed.contains(&at)) else {
            continue;
        };
        let bytes = elements.bytes();
        let tensor = Tensor::upload(&device, &account, dtype, &elements.shape, &bytes)?;
        given.push((name, tensor));
    }
    let outputs = named("y", &case.outputs).into_iter().map(|(name, _)| name);
    session
        .run(Run {
            inputs: given,
            outputs: outputs.filter(|name| !name.is_empty()).collect(),
            deadline: None,
            account,
        })
        .await
}

async fn check(case: &Case) -> Result<(), String> {
    let given = match computed(case).await {
        Ok(_) if !case.refused.is_empty() => return Err("it was not refused".to_owned()),
        Ok(given) => given,
        Err(error) if case.refused.is_empty() => return Err(error.to_string()),
        Err(error) => match error.to_string() {
            said if said.contains(&case.refused) => return Ok(()),
            said => return Err(format!("the error is: {said}")),
        },
    };
    let wanted = case.outputs.iter().filter(|it| it.dtype().is_some());
    for (given, wanted) in given.iter().zip(wanted) {
        let is_same = Some(given.dtype()) == wanted.dtype() && given.shape() == wanted.shape;
        let bytes = given.read().await.map_err(|error| error.to_string())?;
        if !is_same || !is_close(&bytes, wanted) {
            return Err(format!("{given:?} of {bytes:?}, not {:?}", wanted.bytes()));
        }
    }
    Ok(())
}

/// Floats within a millionth; all else exact.
fn is_close(bytes: &[u8], wanted: &Elements) -> bool {
    let Some(floats) = &wanted.f32 else {
        return bytes == wanted.bytes();
    };
    let (given, _) = bytes.as_chunks::<4>();
    let given = given
        .iter()
        .map(|bytes| f64::from(f32::from_le_bytes(*bytes)));
    given.len() == floats.len()
        && given
            .zip(floats)
            .all(|(given, &wanted)| given == wanted || (given - wanted).abs() <= 1e-6)
}

#[tokio::test]
async fn every_operator_case_computes_what_it_says() {
    let cases: Cases = toml::from_str(include_str!("../cases/operators.toml")).unwrap();
    let mut wrong = Vec::new();
    for case in &cases.case {
        assert!(
            case.refused.is_empty() != case.outputs.is_empty(),
            "{}: outputs or a refusal",
            case.name
        );
        if let Err(why) = check(case).await {
            wrong.push(format!("{}: {why}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
