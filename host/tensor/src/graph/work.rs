//! How many operations a run takes, told before it runs: what a quota of work is
//! charged.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tract_onnx::prelude::{SymbolValues, TDim, TypedModel, TypedNode};
use tract_onnx::tract_core::internal::TractResult;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::ops::source::TypedSource;

use super::panic_message;
use crate::TensorError;
use crate::graph::read::chain;

/// Operations of all nodes: those of fixed sizes as their sum, the others as expressions.
#[derive(Debug, Clone)]
pub(super) struct Work {
    fixed: u64,
    symbolic: Vec<TDim>,
}

impl Work {
    pub(super) fn of(model: &TypedModel) -> Result<Self, TensorError> {
        let mut work = Self {
            fixed: 0,
            symbolic: Vec::new(),
        };
        for node in model.nodes() {
            if node.op_is::<Const>() || node.op_is::<TypedSource>() {
                continue;
            }
            // Sizes come from a file: tract's own arithmetic on them may panic.
            let terms = catch_unwind(AssertUnwindSafe(|| terms(model, node)))
                .unwrap_or_else(|panic| {
                    let why = panic_message(panic.as_ref());
                    Err(tract_onnx::prelude::TractError::msg(why))
                })
                .map_err(|error| TensorError::InvalidGraph {
                    what: format!(
                        "the operations of {} (node `{}`) cannot be counted: {}",
                        node.op.name(),
                        node.name,
                        chain(&error)
                    ),
                    hint: "use smaller sizes".to_owned(),
                })?;
            for term in terms {
                match term.to_i64() {
                    Ok(fixed) => work.fixed = work.fixed.saturating_add(count(fixed)),
                    Err(_) => work.symbolic.push(term),
                }
            }
        }
        Ok(work)
    }

    /// Multiplications with their additions, comparisons and moves of one run, roughly.
    pub(super) fn n_operations(&self, symbols: &SymbolValues) -> u64 {
        let sizes = self.symbolic.iter().map(|term| {
            // What cannot be told, a run's own check of its sizes refuses.
            term.eval_to_i64(symbols).map_or(0, count)
        });
        sizes.fold(self.fixed, u64::saturating_add)
    }
}

fn count(size: i64) -> u64 {
    u64::try_from(size).unwrap_or(0)
}

/// What a node computes; an operator that does not say moves its outputs.
fn terms(model: &TypedModel, node: &TypedNode) -> TractResult<Vec<TDim>> {
    let inputs = model.node_input_facts(node.id)?;
    let costs = node.op.cost(&inputs)?;
    let computed: Vec<TDim> = costs
        .into_iter()
        .filter(|(cost, _)| cost.is_compute())
        .map(|(_, count)| count)
        .collect();
    if !computed.is_empty() {
        return Ok(computed);
    }
    let outputs = node.outputs.iter();
    Ok(outputs.map(|outlet| outlet.fact.shape.volume()).collect())
}
