//! tract's rewriting of a model into a simpler one, less one pass.
//!
//! `FoldUniformMask` splits a `Where` along the axis on which its condition turns,
//! but takes a condition that turns elsewhere in every row for one that turns once,
//! and gives each part the size of its branch rather than its own. A causal mask of
//! symbolic size became two numbers so, and every answer after it was wrong.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::optim::{Optimizer, OptimizerSession, TypedPass};

use crate::patience::Deadline;

/// Rewrites for each node at most. An honest model takes a few; some rewrites undo each
/// other for ever (an `Expand` before a `MatMul`, for one), and a model comes from a plugin.
const REWRITES_PER_NODE: usize = 50;

/// Declutters `model` as tract does, but for that pass. A model that takes more rewrites
/// than any honest one stays as it is then, which is right, if larger than it could be. An
/// error past the deadline.
pub(crate) fn declutter(model: &mut TypedModel, deadline: Deadline) -> TractResult<()> {
    let n_rewrites = REWRITES_PER_NODE * (model.nodes().len() + 10);
    let optimizer = timed(optimizer(), deadline);
    optimizer.stopping_at(n_rewrites).optimize(model)
}

/// Makes tract's CPU operators of a model's. An error past the deadline.
pub(crate) fn lower_for_cpu(model: &mut TypedModel, deadline: Deadline) -> TractResult<()> {
    let optimizer = timed(Optimizer::codegen(), deadline);
    model.optimize_with_session(&mut optimizer.session())
}

fn timed(mut optimizer: Optimizer, deadline: Deadline) -> Optimizer {
    let timed = |pass| -> Box<dyn TypedPass> { Box::new(Timed { pass, deadline }) };
    optimizer.passes = optimizer.passes.into_iter().map(timed).collect();
    optimizer
}

/// A pass that looks at the clock before each of its rewrites.
#[derive(Debug, Clone)]
struct Timed {
    pass: Box<dyn TypedPass>,
    deadline: Deadline,
}

impl TypedPass for Timed {
    fn reset(&mut self) -> TractResult<()> {
        self.pass.reset()
    }

    fn next(
        &mut self,
        session: &mut OptimizerSession,
        model: &TypedModel,
    ) -> TractResult<Option<TypedModelPatch>> {
        self.deadline.check().map_err(TractError::msg)?;
        self.pass.next(session, model)
    }

    fn run_direct(&mut self, model: &mut TypedModel) -> TractResult<bool> {
        self.deadline.check().map_err(TractError::msg)?;
        self.pass.run_direct(model)
    }
}

fn optimizer() -> Optimizer {
    let mut optimizer = Optimizer::declutter();
    // Its type is private; its name is not.
    let is_sound = |pass: String| !pass.starts_with("FoldUniformMask");
    optimizer
        .passes
        .retain(|pass| is_sound(format!("{pass:?}")));
    optimizer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pass_is_left_out_and_no_other() {
        let all = Optimizer::declutter().passes.len();
        assert_eq!(optimizer().passes.len(), all - 1);
    }
}
