//! `Range` with its length told rightly: downwards, and by fractions.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::{Parsed, theirs};
use crate::graph::read::MAX_VALUE_BYTES;

#[derive(Debug, Clone)]
struct Range {
    wired: Box<dyn Expansion>,
}

pub(super) fn range(context: &ParsingContext, node: &NodeProto) -> Parsed {
    let wired = theirs(context, node)?;
    Ok((expand(Range { wired }), vec![]))
}

/// Elements from `start` until `end`.
fn length(start: &Tensor, end: &Tensor, step: &Tensor) -> TractResult<TDim> {
    let all = [start, end, step];
    if all.iter().any(|it| it.datum_type().is_float()) {
        let [start, end, step] = all.map(|it| it.cast_to_scalar::<f64>());
        let n = ((end? - start?) / step?).ceil();
        ensure!(
            n <= (MAX_VALUE_BYTES / 8) as f64,
            "a range of {n} numbers is larger than {MAX_VALUE_BYTES} bytes"
        );
        return Ok((n.max(0.0) as i64).to_dim());
    }
    let size = |it: &Tensor| -> TractResult<TDim> {
        // Not cast to a size where it is none: tract would halve a wide integer.
        match it.datum_type() {
            DatumType::TDim => Ok(it.try_as_plain_ram()?.to_scalar::<TDim>()?.clone()),
            _ => Ok(it.cast_to_scalar::<i64>()?.to_dim()),
        }
    };
    let (start, end) = (size(start)?, size(end)?);
    let step = step.cast_to_scalar::<i64>()?;
    ensure!(step != 0, "a range with a step of 0");
    let (from, to) = if step < 0 { (end, start) } else { (start, end) };
    let step = step.unsigned_abs();
    let (Ok(low), Ok(high)) = (from.to_i64(), to.to_i64()) else {
        // Symbolic: bounded run by run.
        return Ok((to - from).divceil(usize::try_from(step)?));
    };
    let n = if high > low { high.abs_diff(low) } else { 0 };
    let n = n.div_ceil(step);
    ensure!(
        n <= MAX_VALUE_BYTES / 8,
        "a range of {n} numbers is larger than {MAX_VALUE_BYTES} bytes"
    );
    Ok(i64::try_from(n)?.to_dim())
}

impl Expansion for Range {
    fn name(&self) -> StaticName {
        "Range".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 3)?;
        check_output_arity(outputs, 1)?;
        for input in inputs {
            s.equals(&input.rank, 0)?;
        }
        s.equals(&outputs[0].rank, 1)?;
        let [start, end, step] = [0, 1, 2].map(|at: usize| &inputs[at]);
        s.given_3(
            &start.datum_type,
            &end.datum_type,
            &step.datum_type,
            move |s, start, end, step| {
                let dtype = DatumType::super_type_for([start, end, step]);
                let dtype = dtype.context("a range from, to and by elements that do not mix")?;
                // Sizes are counted in expressions of them; a list of them is numbers.
                let dtype = if dtype.is_tdim() {
                    i64::datum_type()
                } else {
                    dtype
                };
                s.equals(&outputs[0].datum_type, dtype)
            },
        )?;
        s.given_3(
            &start.value,
            &end.value,
            &step.value,
            move |s, start, end, step| s.equals(&outputs[0].shape[0], length(&start, &end, &step)?),
        )
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        // What is fixed is computed as it is wired, so it is bounded before.
        let fixed = |at: usize| -> TractResult<Option<Arc<Tensor>>> {
            Ok(model.outlet_fact(inputs[at])?.konst.clone())
        };
        if let (Some(start), Some(end), Some(step)) = (fixed(0)?, fixed(1)?, fixed(2)?) {
            length(&start, &end, &step)?;
        }
        self.wired.wire(prefix, model, inputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_bounded_whatever_its_elements() {
        let refused = |end: &Tensor, step: &Tensor| length(&tensor0(0_i64), end, step).is_err();
        assert!(refused(&tensor0(1_i64 << 40), &tensor0(1_i64)));
        assert!(refused(&tensor0(i64::MIN), &tensor0(-1_i64)));
        assert!(refused(&tensor0(TDim::from(1_i64 << 40)), &tensor0(1_i64)));
        assert!(refused(&tensor0(1e12_f32), &tensor0(1_f32)));
        assert!(refused(&tensor0(1_i64), &tensor0(0_i64)));
        assert!(!refused(&tensor0(10_i64), &tensor0(3_i64)));
    }
}
