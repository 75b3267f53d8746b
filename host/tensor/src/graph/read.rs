//! ONNX bytes to a typed, decluttered model.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, TensorProto};
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::infer::{Factoid, GenericFactoid, InferenceFact, ShapeFactoid};

use super::fixed::{Fixed, fix};
use crate::{Dimension, Dtype, Port, TensorError};

/// Bytes of the largest value in a model, whatever the batch.
const MAX_VALUE_BYTES: u64 = 1 << 30;

/// What [`read`] answers.
pub(super) struct Model {
    pub(super) model: TypedModel,
    pub(super) inputs: Vec<Port>,
    pub(super) outputs: Vec<Port>,
}

/// Reads and checks a model. Whatever the file holds, the answer is a model or
/// an error: a panic inside the importer becomes one too.
pub(super) fn read(file: &[u8], fixed: &[Fixed]) -> Result<Model, TensorError> {
    let read = catch_unwind(AssertUnwindSafe(|| read_trusting(file, fixed)));
    read.unwrap_or_else(|panic| {
        let what = panic_message(panic.as_ref());
        Err(TensorError::invalid(format!(
            "the importer gave up: {what}"
        )))
    })
}

fn read_trusting(file: &[u8], fixed: &[Fixed]) -> Result<Model, TensorError> {
    let onnx = tract_onnx::onnx();
    let mut proto =
        onnx.proto_model_for_read(&mut &*file)
            .map_err(|error| TensorError::InvalidGraph {
                what: format!("the file does not decode: {}", chain(&error)),
                hint: "is it an ONNX file, and whole?".to_owned(),
            })?;
    fix(&mut proto, fixed)?;
    check_proto(&onnx, &proto)?;
    let mut model = onnx
        .parse(&proto, None)
        .map_err(|error| TensorError::invalid(chain(&error)))?
        .model;
    name_unknown_dimensions(&mut model)?;
    let model = model
        .into_typed()
        .map_err(|error| TensorError::invalid(chain(&error)))?;
    check_sizes(&model)?;
    let model = model
        .into_decluttered()
        .map_err(|error| TensorError::invalid(chain(&error)))?;
    let inputs = model
        .input_outlets()
        .map_err(|error| TensorError::invalid(chain(&error)))?;
    let inputs = inputs
        .iter()
        .map(|outlet| port(&model, *outlet, &model.node(outlet.node).name))
        .collect::<Result<_, _>>()?;
    let graph = proto.graph.as_ref().expect("checked above");
    let outlets = model
        .output_outlets()
        .map_err(|error| TensorError::invalid(chain(&error)))?;
    let outputs = outlets
        .iter()
        .zip(&graph.output)
        .map(|(outlet, info)| port(&model, *outlet, &info.name))
        .collect::<Result<_, _>>()?;
    Ok(Model {
        model,
        inputs,
        outputs,
    })
}

/// Checks what the importer would answer with a poorer message, or with a file
/// opened outside the package.
fn check_proto(onnx: &tract_onnx::Onnx, proto: &ModelProto) -> Result<(), TensorError> {
    let Some(graph) = &proto.graph else {
        return Err(TensorError::InvalidGraph {
            what: "the file holds no graph".to_owned(),
            hint: "is it an ONNX model, and whole?".to_owned(),
        });
    };
    if graph.output.is_empty() {
        return Err(TensorError::invalid("the graph has no output"));
    }
    check_graph(onnx, graph)
}

fn check_graph(onnx: &tract_onnx::Onnx, graph: &GraphProto) -> Result<(), TensorError> {
    for tensor in &graph.initializer {
        check_initializer(tensor)?;
    }
    for node in &graph.node {
        check_made_shape(node, graph)?;
        if let Some((_, why)) = REFUSED
            .iter()
            .find(|(operators, _)| operators.contains(&node.op_type.as_str()))
        {
            return Err(TensorError::invalid(format!(
                "node `{}` ({}) {why}; export the model without it",
                node.name, node.op_type
            )));
        }
        if !onnx.op_register.0.contains_key(&node.op_type) {
            let domain = match node.domain.as_str() {
                "" | "ai.onnx" => String::new(),
                domain => format!("{domain}."),
            };
            let first_output = || node.output.first().cloned().unwrap_or_default();
            return Err(TensorError::UnsupportedOperator {
                operator: format!("{domain}{}", node.op_type),
                node: Some(node.name.clone())
                    .filter(|n| !n.is_empty())
                    .unwrap_or_else(first_output),
            });
        }
        for attribute in &node.attribute {
            if let Some(tensor) = &attribute.t {
                check_initializer(tensor)?;
            }
            let bodies = attribute.g.iter().chain(&attribute.graphs);
            bodies
                .into_iter()
                .try_for_each(|body| check_graph(onnx, body))?;
        }
    }
    Ok(())
}

fn check_initializer(tensor: &TensorProto) -> Result<(), TensorError> {
    let name = &tensor.name;
    let external = tensor.data_location.is_some_and(|location| location != 0);
    if external || !tensor.external_data.is_empty() {
        return Err(TensorError::InvalidGraph {
            what: format!("weight `{name}` lies in a file of its own (external data)"),
            hint: "save the model with its weights inside".to_owned(),
        });
    }
    // Bounds the product before anything is allocated by it: no weight is
    // larger than the file that holds it, bar a constant of few distinct bytes.
    let n_elements = tensor.dims.iter().try_fold(1_u64, |product, &dim| {
        product.checked_mul(u64::try_from(dim).ok()?)
    });
    match n_elements {
        Some(n) if n <= u64::from(u32::MAX) => Ok(()),
        _ => Err(TensorError::invalid(format!(
            "weight `{name}` has the impossible shape {:?}",
            tensor.dims
        ))),
    }
}

/// Operators that the importer knows and a host must not run.
const REFUSED: [(&[&str], &str); 2] = [
    (
        &["If", "Loop", "Scan", "LSTM", "GRU", "RNN"],
        "holds a graph of its own, whose memory cannot be told before it runs",
    ),
    (
        &[
            "RandomNormal",
            "RandomNormalLike",
            "RandomUniform",
            "RandomUniformLike",
            "Multinomial",
            "Bernoulli",
        ],
        "draws random numbers, and a verdict must be repeatable",
    ),
];

/// Operators that make a value of a shape they are told, and which input tells.
const SHAPE_MAKERS: [(&str, usize); 3] = [("ConstantOfShape", 0), ("Expand", 1), ("Tile", 1)];

/// The importer computes what does not depend on the inputs while it still
/// infers shapes, so a shape that the file spells out is checked before.
// A shape that is itself computed is seen too late; docs/security.md says so.
fn check_made_shape(node: &NodeProto, graph: &GraphProto) -> Result<(), TensorError> {
    let Some((_, input)) = SHAPE_MAKERS
        .iter()
        .find(|(operator, _)| *operator == node.op_type)
    else {
        return Ok(());
    };
    let shape = node.input.get(*input).and_then(|name| {
        let initializer = graph.initializer.iter().find(|tensor| tensor.name == *name);
        initializer.or_else(|| constant(name, graph))
    });
    let n_elements = shape.map_or(Some(1), |shape| {
        int64s(shape).try_fold(1_u64, |product, size| {
            product.checked_mul(size.unsigned_abs())
        })
    });
    if n_elements.is_none_or(|n| n > MAX_VALUE_BYTES / 4) {
        return Err(TensorError::invalid(format!(
            "node `{}` ({}) makes a value larger than {MAX_VALUE_BYTES} bytes",
            node.name, node.op_type
        )));
    }
    Ok(())
}

/// The value of the `Constant` node that makes `name`.
fn constant<'a>(name: &str, graph: &'a GraphProto) -> Option<&'a TensorProto> {
    let makes = |node: &&NodeProto| {
        node.op_type == "Constant" && node.output.iter().any(|output| output == name)
    };
    let node = graph.node.iter().find(makes)?;
    node.attribute
        .iter()
        .find_map(|attribute| attribute.t.as_ref())
}

fn int64s(tensor: &TensorProto) -> impl Iterator<Item = i64> {
    let (raw, _) = tensor.raw_data.as_chunks::<8>();
    raw.iter()
        .map(|bytes| i64::from_le_bytes(*bytes))
        .chain(tensor.int64_data.iter().copied())
}

/// Decluttering computes what does not depend on the inputs, so a few bytes of
/// file may ask for gigabytes; refused before anything is computed.
fn check_sizes(model: &TypedModel) -> Result<(), TensorError> {
    for node in model.nodes() {
        for outlet in &node.outputs {
            let element = outlet.fact.datum_type.size_of().max(1) as u64;
            let bytes =
                outlet
                    .fact
                    .shape
                    .iter()
                    .try_fold(element, |bytes, dim| match dim.to_i64() {
                        Ok(size) => bytes.checked_mul(u64::try_from(size).ok()?),
                        // Symbolic: bounded run by run.
                        Err(_) => Some(bytes),
                    });
            if bytes.is_none_or(|bytes| bytes > MAX_VALUE_BYTES) {
                return Err(TensorError::invalid(format!(
                    "node `{}` ({}) makes a value of shape {:?}, larger than {MAX_VALUE_BYTES} bytes",
                    node.name,
                    node.op.name(),
                    outlet.fact.shape
                )));
            }
        }
    }
    Ok(())
}

/// An input dimension with neither size nor name gets a name of its own.
fn name_unknown_dimensions(
    model: &mut tract_onnx::tract_hir::infer::InferenceModel,
) -> Result<(), TensorError> {
    let n_inputs = model.inputs.len();
    for input in 0..n_inputs {
        let name = model.node(model.inputs[input].node).name.clone();
        let fact = model
            .input_fact(input)
            .map_err(|error| TensorError::invalid(chain(&error)))?
            .clone();
        let Some(rank) = fact.shape.rank().concretize() else {
            return Err(TensorError::InvalidGraph {
                what: format!("input `{name}` declares no shape"),
                hint: "declare its rank, with named dimensions where sizes vary".to_owned(),
            });
        };
        let dims: Vec<_> = (0..usize::try_from(rank).unwrap_or(0))
            .map(|axis| match fact.shape.dim(axis) {
                Some(GenericFactoid::Only(dim)) => GenericFactoid::Only(dim),
                _ => GenericFactoid::Only(model.sym(&format!("{name}_{axis}")).to_dim()),
            })
            .collect();
        let fact = InferenceFact {
            shape: ShapeFactoid::closed(dims.into_iter().collect()),
            ..fact
        };
        model
            .set_input_fact(input, fact)
            .map_err(|error| TensorError::invalid(chain(&error)))?;
    }
    Ok(())
}

fn port(model: &TypedModel, outlet: OutletId, name: &str) -> Result<Port, TensorError> {
    let fact = model
        .outlet_fact(outlet)
        .map_err(|error| TensorError::invalid(chain(&error)))?;
    let dtype = dtype_of(fact.datum_type).ok_or_else(|| {
        TensorError::invalid(format!(
            "`{name}` holds {:?}, which is no tensor dtype",
            fact.datum_type
        ))
    })?;
    let shape = fact
        .shape
        .iter()
        .map(|dim| match dim.to_i64() {
            Ok(size) => usize::try_from(size).map(Dimension::Fixed).map_err(|_| {
                TensorError::invalid(format!("`{name}` has a dimension of size {size}"))
            }),
            Err(_) => Ok(Dimension::Symbol(dim.to_string())),
        })
        .collect::<Result<_, _>>()?;
    Ok(Port {
        name: name.to_owned(),
        dtype,
        shape,
    })
}

/// Our dtype for tract's; none for those that are no tensor elements of ours.
pub(crate) fn dtype_of(datum_type: DatumType) -> Option<Dtype> {
    Some(match datum_type {
        DatumType::Bool => Dtype::Bool,
        DatumType::U8 => Dtype::U8,
        DatumType::I8 => Dtype::I8,
        DatumType::U16 => Dtype::U16,
        DatumType::I16 => Dtype::I16,
        DatumType::U32 => Dtype::U32,
        DatumType::I32 => Dtype::I32,
        DatumType::U64 => Dtype::U64,
        DatumType::I64 => Dtype::I64,
        DatumType::F16 => Dtype::F16,
        DatumType::F32 => Dtype::F32,
        DatumType::F64 => Dtype::F64,
        _ => return None,
    })
}

/// An error with its causes, on one line.
pub(crate) fn chain(error: &TractError) -> String {
    let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    causes.join(": ").replace('\n', " ")
}

/// What a caught panic said.
pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}
