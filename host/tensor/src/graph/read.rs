//! ONNX bytes to a typed, decluttered model.

use std::collections::BTreeMap;

use tract_onnx::pb::GraphProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::cast::cast;
use tract_onnx::tract_hir::infer::{Factoid, GenericFactoid, InferenceFact, ShapeFactoid};

use super::allowance::Allowance;
use super::bounded::bound;
use super::check::{check, operator};
use super::declutter::declutter;
use super::decoded::decoded_bytes;
use super::fixed::{Fixed, fix};
use super::folds::check_folds;
use super::operators::importer;
use super::proto::normalise;
use crate::patience::{self, Deadline, within};
use crate::{Dimension, Dtype, Port, TensorError};

/// Bytes of the largest value in a model, whatever the batch.
pub(super) const MAX_VALUE_BYTES: u64 = 1 << 30;

/// What [`read`] answers.
pub(super) struct Model {
    pub(super) model: TypedModel,
    pub(super) inputs: Vec<Port>,
    pub(super) outputs: Vec<Port>,
    pub(super) operators: BTreeMap<String, usize>,
}

/// Reads and checks a model. Whatever the file holds, the answer is a model or
/// an error: a panic inside the importer becomes one too, and so does one that never ends.
pub(super) fn read(file: &[u8], fixed: &[Fixed]) -> Result<Model, TensorError> {
    let (file, fixed) = (file.to_vec(), fixed.to_vec());
    let read = move || read_trusting(&file, &fixed);
    within(patience::LIMIT, "the importer", read)?
}

fn read_trusting(file: &[u8], fixed: &[Fixed]) -> Result<Model, TensorError> {
    let onnx = importer();
    let allowance = Allowance::of(file);
    let deadline = Deadline::after(patience::LIMIT);
    allowance
        .take(decoded_bytes(file))
        .map_err(|exceeded| TensorError::InvalidGraph {
            what: format!("the file holds millions of empty or tiny parts: {exceeded}"),
            hint: "is it an ONNX file, and whole?".to_owned(),
        })?;
    let mut proto =
        onnx.proto_model_for_read(&mut &*file)
            .map_err(|error| TensorError::InvalidGraph {
                what: format!("the file does not decode: {}", chain(&error)),
                hint: "is it an ONNX file, and whole?".to_owned(),
            })?;
    fix(&mut proto, fixed)?;
    check(&onnx, &proto)?;
    let operators = operators(proto.graph.as_ref().expect("checked above"));
    normalise(&mut proto);
    let mut model = onnx
        .parse(&proto, None)
        .map_err(|error| TensorError::invalid(chain(&error)))?
        .model;
    name_unknown_dimensions(&mut model)?;
    let graph = proto.graph.as_ref().expect("checked above");
    bound(&mut model, graph, &allowance, deadline);
    let mut model = model
        .into_typed()
        .map_err(|error| TensorError::invalid(chain(&error)))?;
    spell_out_dimensions(&mut model).map_err(|error| TensorError::invalid(chain(&error)))?;
    check_sizes(&model)?;
    check_folds(&model, &allowance).map_err(|error| TensorError::invalid(chain(&error)))?;
    declutter(&mut model, deadline).map_err(|error| TensorError::invalid(chain(&error)))?;
    let outlets = model
        .input_outlets()
        .map_err(|error| TensorError::invalid(chain(&error)))?;
    // Named by the file: a node may be renamed after an output that it becomes.
    let inputs = outlets
        .iter()
        .zip(inputs_of(graph))
        .map(|(outlet, name)| port(&model, *outlet, name))
        .collect::<Result<_, _>>()?;
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
        operators,
    })
}

fn operators(graph: &GraphProto) -> BTreeMap<String, usize> {
    let mut operators = BTreeMap::new();
    for node in &graph.node {
        *operators.entry(operator(node)).or_default() += 1;
    }
    operators
}

/// The inputs of a run, in the file's order: those that no weight stands for.
fn inputs_of(graph: &GraphProto) -> impl Iterator<Item = &str> {
    let is_weight = |name: &str| graph.initializer.iter().any(|tensor| tensor.name == name);
    let names = graph.input.iter().map(|input| input.name.as_str());
    names.filter(move |name| !is_weight(name))
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
                        // A size of 0 hides no other: kernels go around by each.
                        Ok(size) => bytes.checked_mul(u64::try_from(size).ok()?.max(1)),
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

/// The importer keeps what is made of sizes as expressions of them; an output of
/// the graph is numbers.
fn spell_out_dimensions(model: &mut TypedModel) -> TractResult<()> {
    let mut outlets = model.output_outlets()?.to_vec();
    for outlet in &mut outlets {
        if model.outlet_fact(*outlet)?.datum_type != TDim::datum_type() {
            continue;
        }
        let label = model.outlet_label(*outlet).map(str::to_owned);
        let name = model.unique_name(format!("{}.numbers", model.node(outlet.node).name));
        *outlet = model.wire_node(name, cast(i64::datum_type()), &[*outlet])?[0];
        if let Some(label) = label {
            model.set_outlet_label(*outlet, label)?;
        }
    }
    model.select_output_outlets(&outlets)
}

fn port(model: &TypedModel, outlet: OutletId, name: &str) -> Result<Port, TensorError> {
    let fact = model
        .outlet_fact(outlet)
        .map_err(|error| TensorError::invalid(chain(&error)))?;
    let dtype = dtype_of(fact.datum_type).ok_or_else(|| TensorError::InvalidGraph {
        what: format!(
            "`{name}` holds {:?}, which is no tensor dtype",
            fact.datum_type
        ),
        hint: "cast it within the model, or leave it out".to_owned(),
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
