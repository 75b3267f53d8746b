//! `OneHot` whose two values may come from elsewhere in the graph. An index that
//! is out of range sets nothing, as ONNX has it.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::ops::array::Slice;
use tract_onnx::tract_core::ops::logic::{comp_eq, comp_lt};
use tract_onnx::tract_core::ops::math::add;
use tract_onnx::tract_hir::internal::*;

use super::{Parsed, Wiring, axis_within, theirs};
use crate::graph::read::MAX_VALUE_BYTES;

#[derive(Debug, Clone)]
struct OneHot {
    axis: i64,
    /// Knows the shapes.
    shaped: Box<dyn Expansion>,
}

pub(super) fn one_hot(context: &ParsingContext, node: &NodeProto) -> Parsed {
    let operator = OneHot {
        axis: node.get_attr_opt("axis")?.unwrap_or(-1),
        shaped: theirs(context, node)?,
    };
    Ok((expand(operator), vec![]))
}

impl Expansion for OneHot {
    fn name(&self) -> StaticName {
        "OneHot".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        self.shaped.rules(s, inputs, outputs)
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let mut w = Wiring::new(prefix, model);
        let axis = axis_within(self.axis, w.rank(inputs[0])? + 1)?;
        let depth = w.fact(inputs[1])?.konst;
        let depth = depth.context("the depth of OneHot is not fixed")?;
        let depth = depth.cast_to::<i64>()?;
        let depth = *depth
            .try_as_plain_ram()?
            .as_slice::<i64>()?
            .first()
            .context("no depth")?;
        let n = usize::try_from(depth)?;
        ensure!(
            n as u64 <= MAX_VALUE_BYTES / 8,
            "OneHot makes {n} values of each index"
        );
        let indices = w.cast("indices", inputs[0], i64::datum_type())?;
        let zero = w.constant("zero", tensor0(0_i64))?;
        let length = w.constant("depth", tensor0(depth))?;
        let from_end = w.spread("from_end", add(), &[indices, length])?;
        let is_negative = w.compare("is_negative", comp_lt(), [indices, zero])?;
        let indices = w.choose("wrapped", is_negative, [from_end, indices])?;
        let indices = w.node("spread", AxisOp::Add(axis), &[indices])?;
        let classes: Vec<i64> = (0..depth).collect();
        let mut shape = vec![1; w.rank(indices)?];
        shape[axis] = n;
        let classes = w.constant("classes", tensor1(&classes).into_shape(&shape)?)?;
        let is_hot = w.compare("is_hot", comp_eq(), [indices, classes])?;
        let [off, on] = [0, 1].map(|at| -> TractResult<OutletId> {
            let value = w.node("value", Slice::new(0, at, at + 1), &[inputs[2]])?;
            w.node("scalar", AxisOp::Rm(0), &[value])
        });
        Ok(tvec![w.choose("chosen", is_hot, [on?, off?])?])
    }
}
