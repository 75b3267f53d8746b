//! Broadcasting before ONNX 7: the second operand is laid along the first from an
//! axis that the node names, not from the end.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::{Parsed, Wiring, axis_within, theirs};

/// Operators that broadcast so.
pub(super) const OPERATORS: [&str; 12] = [
    "Add", "And", "Div", "Equal", "Greater", "Less", "Mul", "Or", "PRelu", "Pow", "Sub", "Xor",
];

#[derive(Debug, Clone)]
struct Aligned {
    axis: i64,
    gives_bools: bool,
    operator: Box<dyn Expansion>,
}

pub(super) fn aligned(context: &ParsingContext, node: &NodeProto) -> Parsed {
    let is_old = context.onnx_operator_set_version < 7;
    let axis = match node.op_type.as_str() {
        // A slope of its own for each channel.
        "PRelu" => Some(1),
        _ => node.get_attr_opt::<i64>("axis")?,
    };
    match axis.filter(|_| is_old) {
        None => super::THEIRS.0[&node.op_type](context, node),
        Some(axis) => {
            let comparisons = ["And", "Equal", "Greater", "Less", "Or", "Xor"];
            let operator = Aligned {
                axis,
                gives_bools: comparisons.contains(&node.op_type.as_str()),
                operator: theirs(context, node)?,
            };
            Ok((expand(operator), vec![]))
        }
    }
}

impl Expansion for Aligned {
    fn name(&self) -> StaticName {
        self.operator.name()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 2)?;
        check_output_arity(outputs, 1)?;
        // Only the second operand is stretched.
        s.equals(&inputs[0].shape, &outputs[0].shape)?;
        match self.gives_bools {
            true => s.equals(&outputs[0].datum_type, bool::datum_type()),
            false => s.equals(&inputs[0].datum_type, &outputs[0].datum_type),
        }
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let &[a, mut b] = inputs else {
            bail!("{} has two operands", self.name());
        };
        let mut w = Wiring::new(prefix, model);
        let shape = w.shape(b)?;
        if shape.iter().any(|dim| !dim.is_one()) {
            let rank = w.rank(a)?;
            let axis = axis_within(self.axis, rank)?;
            let end = axis + shape.len();
            ensure!(
                end <= rank,
                "{} lays {} dimensions along {rank}, from {axis} on",
                self.name(),
                shape.len()
            );
            b = w.with_trailing("aligned", b, rank - end)?;
        } else {
            b = w.reshape("one", b, 0, &shape, &[])?;
        }
        self.operator.wire(prefix, model, &[a, b])
    }
}
