//! A plan for one row, where it is faster than the plan for any number of them.
//!
//! tract lowers a convolution of an open batch without knowing how large its windows lie
//! apart, and some then take twenty times as long (0.23.9). Most runs are of one row. The
//! plan for one is used only when it gave, bit for bit, what the other gave on rows that were
//! drawn, so nobody's score depends on which it was.

use std::collections::HashMap;
use std::time::Duration;

use tract_onnx::prelude as tract;

use super::now;
use super::session::{Plan, planned, run, stored_value};
use crate::batch::draw;
use crate::batch::lane::Lane;
use crate::graph::Binding;
use crate::{Account, Graph, TensorError};

/// Rows that both plans are compared on, and timed with.
const N_ROWS: usize = 2;

/// What the plan for one row may take of the other's time to be kept: it holds weights of
/// its own.
const WORTH_IT: f64 = 0.8;

/// Operations of a row at most: comparing takes some rows' time when a model is loaded.
const MAX_OPERATIONS: u64 = 4_000_000_000;

/// A plan for one row of `lane` that is right and worth it beside `any`, the plan for any
/// number; none where there is no such, or sizes other than the rows are open, since it would
/// be one of many. Blocking.
pub(super) fn find(graph: &Graph, any: &Plan, lane: &Lane) -> Option<Plan> {
    let row = lane.row.as_ref()?;
    if row.n_operations > MAX_OPERATIONS || graph.has_other_symbols() {
        return None;
    }
    let single = of(graph).inspect_err(|error| {
        tracing::debug!(model = %graph.digest(), %error, "there is no plan for one row");
    });
    let single = single.ok()?;
    let account = Account::new("a trial", u64::MAX, u64::MAX);
    let mut least = [Duration::MAX; 2];
    for index in 0..N_ROWS {
        let binding = draw::row(graph, &row.shapes, index, lane.range(), &account)?;
        let mut answers = Vec::new();
        for (which, plan) in [any, &single].into_iter().enumerate() {
            let inputs = inputs(&binding).ok()?;
            let start = now();
            let ran = run(plan, inputs).ok()?;
            least[which] = least[which].min(start.elapsed());
            answers.push(ran);
        }
        let is_same = answers[0]
            .iter()
            .zip(answers[1].iter())
            .all(|(any, single)| {
                let is_alike =
                    (any.datum_type(), any.shape()) == (single.datum_type(), single.shape());
                is_alike && any.as_bytes() == single.as_bytes()
            });
        if !is_same {
            tracing::debug!(model = %graph.digest(), "the plan for one row has other last bits");
            return None;
        }
    }
    let [any, one] = least.map(|time| time.as_secs_f64());
    tracing::debug!(model = %graph.digest(), any, one, "seconds of a row, by plan");
    (one <= WORTH_IT * any).then_some(single)
}

fn of(graph: &Graph) -> Result<Plan, TensorError> {
    let rows = graph
        .rows_symbol()
        .ok_or_else(|| TensorError::invalid("it has no rows"))?;
    let one = HashMap::from([(rows, tract::TDim::Val(1))]);
    let model = graph.model().set_symbols(&one);
    planned(model.map_err(|error| TensorError::invalid(crate::graph::chain(&error)))?)
}

fn inputs(binding: &Binding) -> Result<tract::TVec<tract::TValue>, TensorError> {
    let inputs = binding.inputs.iter();
    let inputs = inputs.map(|tensor| stored_value(tensor).map(tract::IntoTValue::into_tvalue));
    inputs.collect()
}
