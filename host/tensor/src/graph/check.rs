//! What a file may not hold, refused before the importer reads it.

use tract_onnx::Onnx;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, type_proto};
use tract_onnx::prelude::DatumType;

use super::operators::ADDED;
use super::read::MAX_VALUE_BYTES;
use crate::TensorError;

/// Checks what the importer would answer with a poorer message, or with a file
/// opened outside the package.
pub(super) fn check(onnx: &Onnx, proto: &ModelProto) -> Result<(), TensorError> {
    let Some(graph) = &proto.graph else {
        return Err(TensorError::InvalidGraph {
            what: "the file holds no graph".to_owned(),
            hint: "is it an ONNX model, and whole?".to_owned(),
        });
    };
    if graph.output.is_empty() {
        return Err(TensorError::invalid("the graph has no output"));
    }
    for port in graph.input.iter().chain(&graph.output) {
        check_port(port)?;
    }
    check_graph(onnx, graph)
}

/// An output may leave its type to be inferred.
fn check_port(port: &ValueInfoProto) -> Result<(), TensorError> {
    let refused = |what: String| TensorError::InvalidGraph {
        what: format!("`{}` {what}", port.name),
        hint: "export the model with tensors of other elements".to_owned(),
    };
    let Some(of) = &port.r#type else {
        return Ok(());
    };
    match &of.value {
        Some(type_proto::Value::TensorType(tensor)) => {
            check_elements(tensor.elem_type).map_err(refused)
        }
        None => Err(refused(
            "is a sequence, a map or an optional, which is no tensor".to_owned(),
        )),
    }
}

/// What a tensor's elements are, where no device holds such.
fn check_elements(data_type: i32) -> Result<(), String> {
    match DataType::try_from(data_type) {
        // Left out, or text, which is refused where it reaches a port.
        Ok(DataType::Undefined | DataType::String) => Ok(()),
        Ok(known) if DatumType::try_from(known).is_ok() => Ok(()),
        Ok(known) => Err(format!(
            "holds {}, which no device holds",
            known.as_str_name()
        )),
        Err(_) => Err(format!(
            "holds elements of ONNX's type {data_type}, which no device holds"
        )),
    }
}

fn check_graph(onnx: &Onnx, graph: &GraphProto) -> Result<(), TensorError> {
    for tensor in &graph.initializer {
        check_initializer(tensor)?;
    }
    for node in &graph.node {
        check_made_shape(node, graph)?;
        check_training(node, graph)?;
        check_cast(node)?;
        if let Some((_, why)) = REFUSED
            .iter()
            .find(|(operators, _)| operators.contains(&node.op_type.as_str()))
        {
            return Err(refused(node, why));
        }
        let is_foreign = !is_own(&node.domain) && ADDED.contains(&node.op_type.as_str());
        if is_foreign || !onnx.op_register.0.contains_key(&node.op_type) {
            let first_output = || node.output.first().cloned().unwrap_or_default();
            return Err(TensorError::UnsupportedOperator {
                operator: operator(node),
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

/// The node's operator, behind its domain when that is not ONNX's own.
pub(super) fn operator(node: &NodeProto) -> String {
    if is_own(&node.domain) {
        node.op_type.clone()
    } else {
        format!("{}.{}", node.domain, node.op_type)
    }
}

fn is_own(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}

/// An error that says how to mend the model.
fn refused(node: &NodeProto, why: &str) -> TensorError {
    TensorError::InvalidGraph {
        what: format!("node `{}` ({}) {why}", node.name, node.op_type),
        hint: "export the model without it".to_owned(),
    }
}

fn check_cast(node: &NodeProto) -> Result<(), TensorError> {
    let types = ["to", "output_dtype", "softmax_precision"];
    let is_type = |name: &str| types.contains(&name);
    for attribute in node.attribute.iter().filter(|it| is_type(&it.name)) {
        let Ok(data_type) = i32::try_from(attribute.i) else {
            return Err(refused(node, "names an impossible type"));
        };
        check_elements(data_type).map_err(|why| refused(node, &why))?;
    }
    Ok(())
}

/// A `Dropout` that trains draws what it drops. Where the model leaves open
/// whether it does, the run that asks for it fails.
fn check_training(node: &NodeProto, graph: &GraphProto) -> Result<(), TensorError> {
    let value = |input: usize| {
        let name = node.input.get(input).filter(|name| !name.is_empty())?;
        known(name, graph)
    };
    let trains = node.op_type == "Dropout" && value(2).is_some_and(|tensor| !is_zero(tensor));
    // The ratio is a half unless it is given.
    if trains && !value(1).is_some_and(is_zero) {
        return Err(refused(node, DRAWS));
    }
    Ok(())
}

fn is_zero(tensor: &TensorProto) -> bool {
    tensor.raw_data.iter().all(|&byte| byte == 0)
        && tensor.int32_data.iter().all(|&value| value == 0)
        && tensor.float_data.iter().all(|&value| value == 0.0)
        && tensor.double_data.iter().all(|&value| value == 0.0)
}

fn check_initializer(tensor: &TensorProto) -> Result<(), TensorError> {
    let name = &tensor.name;
    check_elements(tensor.data_type).map_err(|what| TensorError::InvalidGraph {
        what: format!("weight `{name}` {what}"),
        hint: "export the model with weights of other elements".to_owned(),
    })?;
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
        DRAWS,
    ),
];

const DRAWS: &str = "draws random numbers, and a verdict must be repeatable";

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
    let shape = node.input.get(*input);
    let shape = shape.and_then(|name| known(name, graph));
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

/// The value of `name`, where the file spells it out.
fn known<'a>(name: &str, graph: &'a GraphProto) -> Option<&'a TensorProto> {
    let initializer = graph.initializer.iter().find(|tensor| tensor.name == name);
    initializer.or_else(|| constant(name, graph))
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
