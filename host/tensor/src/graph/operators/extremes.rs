//! `ReduceMax` and `ReduceMin` of bools, and of nothing at all.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::{Parsed, Wiring, theirs};

#[derive(Debug, Clone)]
struct Extreme {
    is_max: bool,
    of_numbers: Box<dyn Expansion>,
}

pub(super) fn extreme(context: &ParsingContext, node: &NodeProto) -> Parsed {
    let operator = Extreme {
        is_max: node.op_type == "ReduceMax",
        of_numbers: theirs(context, node)?,
    };
    Ok((expand(operator), vec![]))
}

impl Expansion for Extreme {
    fn name(&self) -> StaticName {
        self.of_numbers.name()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        self.of_numbers.rules(s, inputs, outputs)
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let fact = model.outlet_fact(inputs[0])?.clone();
        if fact.datum_type == bool::datum_type() {
            let mut w = Wiring::new(prefix, model);
            let mut numbers: TVec<OutletId> = inputs.into();
            numbers[0] = w.cast("numbers", inputs[0], u8::datum_type())?;
            let name = w.name("reduced");
            let reduced = self.of_numbers.wire(&name, w.model, &numbers)?;
            return Ok(tvec![w.cast("bools", reduced[0], bool::datum_type())?]);
        }
        let reduced = self.of_numbers.wire(prefix, model, inputs)?;
        // The largest of no numbers is below every number, and so for the least.
        let is_empty = fact.shape.iter().any(|dim| *dim == 0.to_dim());
        if !is_empty || !fact.datum_type.is_float() {
            return Ok(reduced);
        }
        let mut w = Wiring::new(prefix, model);
        let bound = match self.is_max {
            true => f32::NEG_INFINITY,
            false => f32::INFINITY,
        };
        let bound = w.scalar("bound", bound, fact.datum_type)?;
        let shape = w.shape(reduced[0])?;
        Ok(tvec![w.broadcast("of_nothing", bound, &shape)?])
    }
}
