//! `Gather` that looks at its indices first.
//!
//! tract copies blocks out of the whole of the data, so an index past the end of
//! its axis answers the row beside it where there is one.

use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::array::Gather;

/// Puts the check before every `Gather` of a plan that is otherwise ready.
pub(super) fn check_indices(model: &mut TypedModel) {
    for node in model.nodes_mut() {
        if let Some(gather) = node.op_as::<Gather>() {
            node.op = Box::new(CheckedGather(gather.clone()));
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct CheckedGather(Gather);

impl Op for CheckedGather {
    fn name(&self) -> StaticName {
        self.0.name()
    }

    op_as_typed_op!();
}

impl EvalOp for CheckedGather {
    op_out_of_plan!();

    fn eval(&self, context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let (data, indices) = (&inputs[0], &inputs[1]);
        let size = i64::try_from(data.shape()[self.0.axis])?;
        let indices = indices.try_as_plain_ram()?.as_slice::<i64>()?;
        if let Some(index) = indices.iter().find(|index| !(-size..size).contains(index)) {
            bail!("index {index} lies outside a dimension of {size}");
        }
        self.0.eval(context, inputs)
    }
}

impl TypedOp for CheckedGather {
    as_op!();

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        self.0.output_facts(inputs)
    }
}
