//! Operators over whole dimensions: reductions, softmax, normalisation.

use tract_onnx::prelude::{DatumType, OutletId, TypedFact, TypedModel, TypedNode};
use tract_onnx::tract_core::ops::array::MultiBroadcastTo;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_core::ops::nn::{
    Reduce as TractReduce, Reducer as TractReducer, RmsNorm, Softmax, SoftmaxKind,
};

use super::fold::{constant, is_read_once};
use super::{Lowering, uncovered};
use crate::plan::view::row_major;
use crate::plan::{
    Axis, Body, Contract, Element, Extreme, Reduce, Reducer, Row, RowKind, Uncovered, View,
};

pub(super) fn lower(to: &mut Lowering<'_>, node: &TypedNode) -> Result<Option<View>, Uncovered> {
    if let Some(reduce) = node.op_as::<TractReduce>() {
        return self::reduce(to, node, reduce).map(Some);
    }
    if let Some(softmax) = node.op_as::<Softmax>() {
        let kind = match softmax.kind {
            SoftmaxKind::Softmax => RowKind::Softmax,
            SoftmaxKind::LogSoftmax => RowKind::LogSoftmax,
        };
        let input = to.read(node, 0)?;
        return row(to, node, &input, &softmax.axes, kind).map(Some);
    }
    if let Some(norm) = node.op_as::<RmsNorm>() {
        let lift = norm.eps.cast_to_scalar::<f32>();
        let lift = lift.map_err(|error| uncovered(node, format!("{error:#}")))?;
        let (input, kind) = match centred(to.model, node, norm.axis) {
            Some(whole) => (whole, RowKind::Normalised(lift)),
            None => (node.inputs[0], RowKind::RootMeanSquare(lift)),
        };
        let input = to.view(input)?;
        return row(to, node, &input, &[norm.axis], kind).map(Some);
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
    if let Some(weighted) = weighted(to, node, op)? {
        return Ok(weighted);
    }
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

/// What was repeated along some dimensions to become `outlet`.
fn narrowest(model: &TypedModel, mut outlet: OutletId) -> OutletId {
    loop {
        let node = model.node(outlet.node);
        let is_as_deep = || {
            let before = model.outlet_fact(*node.inputs.first()?).ok()?;
            Some(before.rank() == node.outputs[0].fact.rank())
        };
        if !node.op_is::<MultiBroadcastTo>() || is_as_deep() != Some(true) {
            return outlet;
        }
        outlet = node.inputs[0];
    }
}

/// A sum of what has just been multiplied by something with fewer dimensions, such as a mask
/// of tokens, as a product of matrices: what is multiplied stands nowhere.
fn weighted(
    to: &mut Lowering<'_>,
    node: &TypedNode,
    op: &TractReduce,
) -> Result<Option<View>, Uncovered> {
    let input = node.inputs[0];
    let product = to.model.node(input.node);
    let multiplies = product
        .op_as::<TypedBinOp>()
        .is_some_and(|op| op.0.is::<math::Mul>() && op.1.is_none());
    if op.reducer != TractReducer::Sum || !multiplies || !is_read_once(to.model, input) {
        return Ok(None);
    }
    let sides = [0, 1].map(|input| narrowest(to.model, product.inputs[input]));
    let fact = |side: OutletId| to.model.outlet_fact(side).ok();
    let (Some(a), Some(b)) = (fact(sides[0]), fact(sides[1])) else {
        return Ok(None);
    };
    let is_constant = sides.iter().any(|it| constant(to.model, *it).is_some());
    let is_float = [a, b].iter().all(|fact| fact.datum_type == DatumType::F32);
    let whole = &product.outputs[0].fact.shape;
    // By the graph's own sizes: which dimensions stand in one of them only.
    let alone = |own: &TypedFact, other: &TypedFact| -> Vec<usize> {
        let axes = 0..whole.rank();
        axes.filter(|&at| own.shape[at] == whole[at] && other.shape[at] != whole[at])
            .collect()
    };
    let (of_a, of_b) = (alone(a, b), alone(b, a));
    let is_shared = |at: usize| !of_a.contains(&at) && !of_b.contains(&at);
    let columns = match (of_a.is_empty(), of_b.is_empty()) {
        (false, true) => &of_a,
        (true, false) => &of_b,
        _ => return Ok(None),
    };
    if is_constant || !is_float || !op.axes.iter().all(|&at| is_shared(at)) {
        return Ok(None);
    }
    let (narrow, wide) = if of_b.is_empty() { (1, 0) } else { (0, 1) };
    let (a, b) = (to.view(sides[narrow])?, to.view(sides[wide])?);
    let shape = to.shape(node, OutletId::new(node.id, 0))?;
    let out = row_major(&shape);
    let sizes = to.shape(product, OutletId::new(product.id, 0))?;
    let axis = |at: usize, out: i64| Axis {
        size: sizes[at],
        a: if a.shape[at] == sizes[at] {
            a.strides[at]
        } else {
            0
        },
        b: if b.shape[at] == sizes[at] {
            b.strides[at]
        } else {
            0
        },
        out,
        bias: 0,
    };
    let of = |fits: &dyn Fn(usize) -> bool| -> Vec<Axis> {
        let axes = (0..sizes.len()).filter(|&at| fits(at));
        axes.map(|at| axis(at, if op.axes.contains(&at) { 0 } else { out[at] }))
            .collect()
    };
    let body = Contract {
        batch: of(&|at| is_shared(at) && !op.axes.contains(&at)),
        rows: Vec::new(),
        columns: of(&|at| columns.contains(&at)),
        inner: of(&|at| op.axes.contains(&at)),
        a,
        b,
        bias: None,
    };
    to.step(node, Body::Contract(body), &shape).map(Some)
}

fn is_number(element: Element) -> bool {
    matches!(element, Element::F32 | Element::I32)
}

/// What `norm` normalises before its mean was taken away, where that is all that was done to
/// it: so a layer norm is one step. Looked for in the graph, as folding is.
fn centred(model: &TypedModel, norm: &TypedNode, axis: usize) -> Option<OutletId> {
    let less = model.node(norm.inputs[0].node);
    let &[whole, mean] = &less.inputs[..] else {
        return None;
    };
    let is_difference = less.op_as::<TypedBinOp>()?.0.is::<math::Sub>();
    let scaled = model.node(mean.node);
    if !is_difference || !scaled.op_as::<TypedBinOp>()?.0.is::<math::Mul>() {
        return None;
    }
    let slot = scaled
        .inputs
        .iter()
        .position(|it| constant(model, *it).is_some())?;
    let (_, &[share]) = constant(model, scaled.inputs[slot])? else {
        return None;
    };
    let sum = model.node(scaled.inputs[1 - slot].node);
    let reduce = sum.op_as::<TractReduce>()?;
    let n = model.outlet_fact(whole).ok()?.shape[axis].as_i64()?;
    let is_mean = reduce.reducer == TractReducer::Sum
        && reduce.axes[..] == [axis]
        && sum.inputs[0] == whole
        && (share * n as f32 - 1.0).abs() < 1e-6;
    is_mean.then_some(whole)
}

fn row(
    to: &mut Lowering<'_>,
    node: &TypedNode,
    input: &View,
    axes: &[usize],
    kind: RowKind,
) -> Result<View, Uncovered> {
    to.f32_only(node, input)?;
    let shape = to.shape(node, OutletId::new(node.id, 0))?;
    let own = row_major(&shape);
    let n_kept = n_kept(node, input, axes)?;
    let (input, order) = ordered(input, axes);
    let body = Row {
        input,
        n_kept,
        kind,
        out: order.iter().map(|&axis| own[axis]).collect(),
    };
    to.step(node, Body::Row(body), &shape)
}
