//! A plan for one row, where it is faster than the plan for any number of them.
//!
//! tract lowers a convolution of an open batch without knowing how large its windows lie
//! apart, and some then take twenty times as long (0.23.9). Most runs are of one row. The
//! plan for one is used only when it gave, bit for bit, what the other gave on rows that were
//! drawn, so nobody's score depends on which it was.

use std::collections::HashMap;
use std::time::Duration;

use tract_onnx::prelude as tract;

use super::session::{Plan, planned, run, stored_value};
use super::{BATCH_BYTES, now};
use crate::batch::draw;
use crate::batch::ladder::RANGES;
use crate::batch::lane::Lane;
use crate::graph::Binding;
use crate::{Graph, TensorError};

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
    let is_small = row.n_operations <= MAX_OPERATIONS && row.all_bytes() <= BATCH_BYTES;
    if !is_small || graph.has_other_symbols() {
        return None;
    }
    let single = of(graph).inspect_err(|error| {
        tracing::debug!(model = %graph.digest(), %error, "there is no plan for one row");
    });
    let single = single.ok()?;
    let [any, one] = compared(graph, &row.shapes, any, &single)?.map(|time| time.as_secs_f64());
    tracing::debug!(model = %graph.digest(), any, one, "seconds of a row, by plan");
    (one <= WORTH_IT * any).then_some(single)
}

/// The least time of a row with each plan; none where they answer other bits, or nothing.
fn compared(
    graph: &Graph,
    shapes: &[Vec<usize>],
    any: &Plan,
    single: &Plan,
) -> Option<[Duration; 2]> {
    let account = draw::account();
    let drawn = |index, range| draw::row(graph, shapes, index, range, &account);
    // Drawn from too wide a range, an index misses its table, by chance in one row only.
    let computes = |range: u64| {
        (0..N_ROWS).all(|index| {
            let row = drawn(index, range);
            row.is_some_and(|row| inputs(&row).is_ok_and(|inputs| run(any, inputs).is_ok()))
        })
    };
    let range = RANGES.into_iter().find(|range| computes(*range))?;
    let mut least = [Duration::MAX; 2];
    for index in 0..N_ROWS {
        let binding = drawn(index, range)?;
        let mut answers = Vec::new();
        for (which, plan) in [any, single].into_iter().enumerate() {
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
    Some(least)
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

#[cfg(test)]
pub(super) mod tests {
    use prost::Message as _;
    use tract_onnx::pb::tensor_proto::DataType;
    use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
    use tract_onnx::pb::{
        GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
        TypeProto, ValueInfoProto, type_proto,
    };

    use super::*;
    use crate::Weights;

    fn port(name: &str, kind: DataType) -> ValueInfoProto {
        let batch = Dimension {
            value: Some(dimension::Value::DimParam("batch".to_owned())),
            ..Dimension::default()
        };
        let tensor = type_proto::Tensor {
            elem_type: kind as i32,
            shape: Some(TensorShapeProto { dim: vec![batch] }),
        };
        ValueInfoProto {
            name: name.to_owned(),
            r#type: Some(TypeProto {
                value: Some(type_proto::Value::TensorType(tensor)),
                ..TypeProto::default()
            }),
            ..ValueInfoProto::default()
        }
    }

    /// One of five numbers for each index.
    pub(in crate::device::cpu) fn looked_up() -> Graph {
        let table = TensorProto {
            name: "table".to_owned(),
            dims: vec![5],
            data_type: DataType::Float as i32,
            float_data: vec![0.5, 1.5, 2.5, 3.5, 4.5],
            ..TensorProto::default()
        };
        let gather = NodeProto {
            op_type: "Gather".to_owned(),
            input: vec!["table".to_owned(), "x".to_owned()],
            output: vec!["y".to_owned()],
            ..NodeProto::default()
        };
        let model = ModelProto {
            ir_version: 8,
            opset_import: vec![OperatorSetIdProto {
                version: 17,
                ..OperatorSetIdProto::default()
            }],
            graph: Some(GraphProto {
                node: vec![gather],
                initializer: vec![table],
                input: vec![port("x", DataType::Int64)],
                output: vec![port("y", DataType::Float)],
                ..GraphProto::default()
            }),
            ..ModelProto::default()
        };
        Graph::from_onnx(&model.encode_to_vec(), &Weights::default()).expect("a good model")
    }

    #[test]
    fn a_model_with_a_small_table_is_compared_on_indices_that_it_has() {
        let graph = looked_up();
        let any = planned(graph.model().clone()).expect("it runs");
        let single = of(&graph).expect("it has rows");
        let shapes = graph.one_row(1).expect("it has rows").shapes;
        assert!(compared(&graph, &shapes, &any, &single).is_some());
    }
}
