//! What simplifying a typed model will compute of its constants, looked at before it does.

use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::array::Gather;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::konst::Const;

use super::allowance::Allowance;
use super::bounded::WINDOWED;

/// Checks what simplifying a model will compute of its constants, and keep: what another
/// computation alone reads is dropped at once.
pub(super) fn check_folds(model: &TypedModel, allowance: &Allowance) -> TractResult<()> {
    for node in model.nodes() {
        // The importer looks for known formulas by the first element of a constant.
        let facts = model.node_input_facts(node.id)?;
        let is_empty = |fact: &&&TypedFact| fact.shape.iter().any(|dim| *dim == 0.to_dim());
        if node.op_is::<TypedBinOp>()
            && let Some(empty) = facts.iter().find(is_empty)
        {
            bail!(
                "node `{}` ({}) computes with a value of shape {:?}, which has no elements; \
                 leave the node out",
                node.name,
                node.op.name(),
                empty.shape
            );
        }
        let Some(gather) = node.op_as::<Gather>() else {
            continue;
        };
        if let [data, indices] = facts[..]
            && let Some(indices) = &indices.konst
        {
            let what = format!("node `{}` (Gather)", node.name);
            check_indices(&what, indices, data.shape.get(gather.axis))?;
        }
    }
    let mut is_constant = vec![false; model.nodes().len()];
    let order = model.eval_order()?;
    for &at in &order {
        let node = model.node(at);
        let computes =
            !node.inputs.is_empty() && node.inputs.iter().all(|input| is_constant[input.node]);
        is_constant[at] = node.op_is::<Const>() || computes;
        ensure!(
            !computes || !WINDOWED.contains(&&*node.op.name()),
            "node `{}` ({}) depends on no input of the model; compute it before the export",
            node.name,
            node.op.name()
        );
    }
    for at in order {
        let node = model.node(at);
        if !is_constant[at] || node.inputs.is_empty() {
            continue;
        }
        for (slot, outlet) in node.outputs.iter().enumerate() {
            let readers = &outlet.successors;
            let is_passed_on = readers.len() == 1 && is_constant[readers[0].node];
            if is_passed_on {
                continue;
            }
            let bytes = outlet.fact.mem_size().as_i64().unwrap_or(0);
            if let Err(exceeded) = allowance.take(u64::try_from(bytes)?) {
                bail!(
                    "node `{}` ({}) is computed from constants and makes {:?} as output {slot}, \
                     but {exceeded}; make it of the inputs' shapes, or export a smaller constant",
                    node.name,
                    node.op.name(),
                    outlet.fact.shape
                );
            }
        }
    }
    Ok(())
}

/// Refuses an index that the file spells out and that no run could use: where the importer
/// computes it, it answers the row beside the one that was asked for.
pub(super) fn check_indices(what: &str, indices: &Tensor, size: Option<&TDim>) -> TractResult<()> {
    let Some(size) = size.and_then(|size| size.to_i64().ok()) else {
        return Ok(());
    };
    let indices = indices.cast_to::<i64>()?;
    let indices = indices.try_as_plain_ram()?.as_slice::<i64>()?;
    match indices.iter().find(|index| !(-size..size).contains(index)) {
        None => Ok(()),
        Some(index) => bail!(
            "{what} takes index {index}, which lies outside a dimension of {size}; \
             export the model with indices of {} to {}",
            -size,
            size - 1
        ),
    }
}
