//! Operators that the importer lacks, refuses or gets wrong, made of basic ones.
//!
//! Each is an [`Expansion`]: it says what shapes it makes, and then wires nodes
//! of tract's core, which every device lowers. One file per family. The register
//! is asked by operator name, as the importer's own is; what is not named here is
//! the importer's.

mod attention;
mod batch_normalization;
mod extremes;
mod legacy;
mod one_hot;
mod pad;
mod quantize;
mod range;
mod resize;
mod term_frequency;
mod wiring;

use std::sync::LazyLock;

use tract_onnx::model::{OnnxOpRegister, ParsingContext};
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use wiring::Wiring;

/// What a builder answers: the operator, and names that its bodies close over.
type Parsed = TractResult<(Box<dyn InferenceOp>, Vec<String>)>;

/// Operators that the importer lacks. Other domains give some of these names
/// another meaning.
pub(super) const ADDED: [&str; 3] = ["Attention", "TfIdfVectorizer", "Upsample"];

/// The importer with our operators.
pub(super) fn importer() -> tract_onnx::Onnx {
    let mut onnx = tract_onnx::onnx();
    let register = &mut onnx.op_register;
    register.insert("Attention", attention::attention);
    register.insert(
        "BatchNormalization",
        batch_normalization::batch_normalization,
    );
    register.insert("DequantizeLinear", quantize::dequantize);
    for operator in legacy::OPERATORS {
        register.insert(operator, legacy::aligned);
    }
    register.insert("OneHot", one_hot::one_hot);
    register.insert("Pad", pad::pad);
    register.insert("QLinearMatMul", quantize::matmul);
    register.insert("QuantizeLinear", quantize::quantize);
    register.insert("Range", range::range);
    register.insert("ReduceMax", extremes::extreme);
    register.insert("ReduceMin", extremes::extreme);
    register.insert("TfIdfVectorizer", term_frequency::term_frequency);
    register.insert("Upsample", resize::upsample);
    onnx
}

/// The importer's own operators, for those of ours that hand on to them.
static THEIRS: LazyLock<OnnxOpRegister> = LazyLock::new(|| tract_onnx::onnx().op_register);

fn theirs(context: &ParsingContext, node: &NodeProto) -> TractResult<Box<dyn Expansion>> {
    let builder = THEIRS.0.get(&node.op_type);
    let builder = builder.with_context(|| format!("the importer lacks {}", node.op_type))?;
    let (operator, _) = builder(context, node)?;
    let expansion = operator.as_op().downcast_ref::<Box<dyn Expansion>>();
    let expansion = expansion.with_context(|| format!("{} is no expansion", node.op_type))?;
    Ok(expansion.clone())
}

/// The axis that `axis` means in a tensor of `rank` dimensions.
pub(super) fn axis_within(axis: i64, rank: usize) -> TractResult<usize> {
    let n = i64::try_from(rank)?;
    ensure!(
        (-n..n).contains(&axis),
        "axis {axis} is outside a tensor of {rank} dimensions"
    );
    Ok(usize::try_from(axis.rem_euclid(n))?)
}
