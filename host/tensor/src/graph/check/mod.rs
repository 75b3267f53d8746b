//! What a file may not hold, refused before the importer reads it.

mod tensor;
mod wiring;

use tract_onnx::Onnx;
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, type_proto,
};

use super::operators::ADDED;
use crate::TensorError;
use tensor::{check_elements, check_tensor};
use wiring::{check_wiring, shown};

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
    check_wiring(graph)?;
    check_graph(onnx, graph)
}

/// An output may leave its type to be inferred.
fn check_port(port: &ValueInfoProto) -> Result<(), TensorError> {
    let refused = |what: String| TensorError::InvalidGraph {
        what: format!("`{}` {what}", port.name),
        hint: "export the model with tensors of other elements or fewer dimensions".to_owned(),
    };
    let Some(of) = &port.r#type else {
        return Ok(());
    };
    match &of.value {
        Some(type_proto::Value::TensorType(tensor)) => {
            let rank = tensor.shape.as_ref().map_or(0, |shape| shape.dim.len());
            if rank > MAX_RANK {
                return Err(refused(format!(
                    "has {rank} dimensions, more than {MAX_RANK}"
                )));
            }
            check_elements(tensor.elem_type).map_err(refused)
        }
        None => Err(refused(
            "is a sequence, a map or an optional, which is no tensor".to_owned(),
        )),
    }
}

fn check_graph(onnx: &Onnx, graph: &GraphProto) -> Result<(), TensorError> {
    for tensor in &graph.initializer {
        check_tensor(&format!("weight `{}`", tensor.name), tensor)?;
    }
    for node in &graph.node {
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
            check_attribute(onnx, node, attribute)?;
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

fn check_attribute(
    onnx: &Onnx,
    node: &NodeProto,
    attribute: &AttributeProto,
) -> Result<(), TensorError> {
    let name = &attribute.name;
    let what = format!("{}: attribute `{name}`", shown(node));
    for tensor in attribute.t.iter().chain(&attribute.tensors) {
        check_tensor(&what, tensor)?;
    }
    if attribute.sparse_tensor.is_some() || !attribute.sparse_tensors.is_empty() {
        return Err(TensorError::InvalidGraph {
            what: format!("{what} is sparse"),
            hint: "save the model with dense constants".to_owned(),
        });
    }
    if AXES.contains(&name.as_str()) {
        let mut named = attribute.ints.iter().chain([&attribute.i]);
        if let Some(axis) = named.find(|axis| axis.unsigned_abs() > MAX_RANK as u64) {
            return Err(TensorError::InvalidGraph {
                what: format!("{what} is {axis}, and no tensor has that many dimensions"),
                hint: format!("axes are -{MAX_RANK} to {MAX_RANK}"),
            });
        }
    }
    if attribute.f.is_nan() || attribute.floats.iter().any(|value| value.is_nan()) {
        return Err(TensorError::InvalidGraph {
            what: format!("{what} is NaN"),
            hint: "export the model from numbers".to_owned(),
        });
    }
    let bodies = attribute.g.iter().chain(&attribute.graphs);
    { bodies }.try_for_each(|body| check_graph(onnx, body))
}

/// An error that says how to mend the model.
fn refused(node: &NodeProto, why: &str) -> TensorError {
    TensorError::InvalidGraph {
        what: format!("{} {why}", shown(node)),
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

/// Dimensions of a tensor at most.
const MAX_RANK: usize = 64;

/// Attributes that name dimensions: the importer counts from or up to them.
const AXES: [&str; 4] = ["axes", "axis", "batch_dims", "perm"];

/// Operators that the importer knows and a host must not run.
const REFUSED: [(&[&str], &str); 3] = [
    (
        &["TreeEnsembleClassifier", "TreeEnsembleRegressor"],
        "is walked by code that trusts its tables, which come from the file",
    ),
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
