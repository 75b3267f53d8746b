//! Operators over whole dimensions: reductions, softmax, normalisation.

use tract_onnx::prelude::{OutletId, TypedNode};
use tract_onnx::tract_core::ops::nn::{
    Reduce as TractReduce, Reducer as TractReducer, RmsNorm, Softmax, SoftmaxKind,
};

use super::{Lowering, uncovered};
use crate::plan::view::row_major;
use crate::plan::{Body, Element, Extreme, Reduce, Reducer, Row, RowKind, Uncovered, View};

pub(super) fn lower(to: &mut Lowering<'_>, node: &TypedNode) -> Result<Option<View>, Uncovered> {
    if let Some(reduce) = node.op_as::<TractReduce>() {
        return self::reduce(to, node, reduce).map(Some);
    }
    if let Some(softmax) = node.op_as::<Softmax>() {
        let kind = match softmax.kind {
            SoftmaxKind::Softmax => RowKind::Softmax,
            SoftmaxKind::LogSoftmax => RowKind::LogSoftmax,
        };
        return row(to, node, &softmax.axes, kind).map(Some);
    }
    if let Some(norm) = node.op_as::<RmsNorm>() {
        let lift = norm.eps.cast_to_scalar::<f32>();
        let lift = lift.map_err(|error| uncovered(node, format!("{error:#}")))?;
        return row(to, node, &[norm.axis], RowKind::RootMeanSquare(lift)).map(Some);
    }
    Ok(None)
}

/// Dimensions besides `axes`, which a model may name twice, or name where there is none.
fn n_kept(node: &TypedNode, view: &View, axes: &[usize]) -> Result<usize, Uncovered> {
    let rank = view.shape.len();
    let is_good = |at: usize| axes[at] < rank && !axes[..at].contains(&axes[at]);
    match (0..axes.len()).all(is_good) {
        true => Ok(rank - axes.len()),
        false => Err(uncovered(
            node,
            format!("axes {axes:?} of {rank} dimensions"),
        )),
    }
}

/// The view with `axes` last, and the order of its dimensions.
fn ordered(view: &View, axes: &[usize]) -> (View, Vec<usize>) {
    let kept = (0..view.shape.len()).filter(|axis| !axes.contains(axis));
    let order: Vec<usize> = kept.chain(axes.iter().copied()).collect();
    let view = View {
        shape: order.iter().map(|&axis| view.shape[axis]).collect(),
        strides: order.iter().map(|&axis| view.strides[axis]).collect(),
        ..view.clone()
    };
    (view, order)
}

fn reduce(to: &mut Lowering<'_>, node: &TypedNode, op: &TractReduce) -> Result<View, Uncovered> {
    let input = to.read(node, 0)?;
    let (reducer, fits) = match op.reducer {
        TractReducer::Sum => (Reducer::Sum, is_number(input.element)),
        TractReducer::Prod => (Reducer::Product, is_number(input.element)),
        TractReducer::Min => (Reducer::Min, is_number(input.element)),
        TractReducer::Max => (Reducer::Max, is_number(input.element)),
        TractReducer::MeanOfSquares => (Reducer::MeanOfSquares, input.element == Element::F32),
        TractReducer::All => (Reducer::All, input.element == Element::Bool),
        TractReducer::Any => (Reducer::Any, input.element == Element::Bool),
        TractReducer::ArgMax(last) | TractReducer::ArgMin(last) => {
            let largest = matches!(op.reducer, TractReducer::ArgMax(_));
            let place = Reducer::Place(Extreme { largest, last });
            (place, is_number(input.element) && op.axes.len() == 1)
        }
    };
    if !fits {
        return Err(uncovered(node, format!("no kernel for {}", input.element)));
    }
    let n_kept = n_kept(node, &input, &op.axes)?;
    let (input, _) = ordered(&input, &op.axes);
    if input.shape[n_kept..].contains(&0) {
        return Err(uncovered(node, "nothing is reduced to something"));
    }
    let shape = to.shape(node, OutletId::new(node.id, 0))?;
    let body = Reduce {
        input,
        n_kept,
        reducer,
    };
    to.step(node, Body::Reduce(body), &shape)
}

fn is_number(element: Element) -> bool {
    matches!(element, Element::F32 | Element::I32)
}

fn row(
    to: &mut Lowering<'_>,
    node: &TypedNode,
    axes: &[usize],
    kind: RowKind,
) -> Result<View, Uncovered> {
    let input = to.read(node, 0)?;
    to.f32_only(node, &input)?;
    let shape = to.shape(node, OutletId::new(node.id, 0))?;
    let own = row_major(&shape);
    let n_kept = n_kept(node, &input, axes)?;
    let (input, order) = ordered(&input, axes);
    let body = Row {
        input,
        n_kept,
        kind,
        out: order.iter().map(|&axis| own[axis]).collect(),
    };
    to.step(node, Body::Row(body), &shape)
}
