//! Operators that find elements by indices or by size, and running sums.

use tract_onnx::prelude::{OutletId, TypedNode};
use tract_onnx::tract_core::ops::array::{
    CumSum, GatherElements, GatherNd, ScatterElements, ScatterNd, ScatterReduction, Topk,
};

use super::{Lowering, uncovered};
use crate::plan::view::row_major;
use crate::plan::{
    Body, Element, Looked, MAX_TOP, Pick, Scan, Scatter, Top, Uncovered, Update, View,
};

pub(super) fn lower(to: &mut Lowering<'_>, node: &TypedNode) -> Result<Option<View>, Uncovered> {
    if let Some(gather) = node.op_as::<GatherElements>() {
        return gather_elements(to, node, gather.axis).map(Some);
    }
    if let Some(gather) = node.op_as::<GatherNd>() {
        return gather_nd(to, node, gather.batch_dims).map(Some);
    }
    if let Some(scatter) = node.op_as::<ScatterElements>() {
        return scatter_elements(to, node, scatter).map(Some);
    }
    if let Some(scatter) = node.op_as::<ScatterNd>() {
        return scatter_nd(to, node, scatter.reduction).map(Some);
    }
    if let Some(sum) = node.op_as::<CumSum>() {
        return scan(to, node, sum).map(Some);
    }
    if let Some(top) = node.op_as::<Topk>() {
        return self::top(to, node, top).map(Some);
    }
    Ok(None)
}

fn indices(to: &mut Lowering<'_>, node: &TypedNode, input: usize) -> Result<View, Uncovered> {
    let indices = to.read(node, input)?;
    match indices.element {
        Element::I32 | Element::I64 => Ok(indices),
        other => Err(uncovered(node, format!("{other} are no indices"))),
    }
}

/// Without one dimension's stride: what walks along it stays where it is.
fn standing(strides: &[i64], axis: usize) -> Vec<i64> {
    let mut strides = strides.to_vec();
    strides[axis] = 0;
    strides
}

/// Whether `small` has as many dimensions as `large` and none but `axis` is longer.
fn is_inside(small: &View, large: &View, axis: usize) -> bool {
    small.shape.len() == large.shape.len()
        && axis < large.shape.len()
        && (small.shape.iter().zip(&large.shape).enumerate())
            .all(|(at, (small, large))| at == axis || small <= large)
}

fn gather_elements(
    to: &mut Lowering<'_>,
    node: &TypedNode,
    axis: usize,
) -> Result<View, Uncovered> {
    let (data, indices) = (to.read(node, 0)?, indices(to, node, 1)?);
    if !is_inside(&indices, &data, axis) || data.shape[axis] == 0 {
        return Err(uncovered(node, "it reaches beyond its data"));
    }
    let shape = to.shape(node, OutletId::new(node.id, 0))?;
    let body = Pick {
        looked: vec![Looked {
            size: data.shape[axis],
            stride: data.strides[axis],
        }],
        along_data: standing(&data.strides, axis),
        along_indices: indices.strides.clone(),
        step: 0,
        shape: shape.clone(),
        data,
        indices,
    };
    to.step(node, Body::Pick(body), &shape)
}

fn gather_nd(to: &mut Lowering<'_>, node: &TypedNode, n_batch: usize) -> Result<View, Uncovered> {
    let (data, indices) = (to.read(node, 0)?, indices(to, node, 1)?);
    let shape = to.shape(node, OutletId::new(node.id, 0))?;
    let (Some((&n_named, rows)), Some((&step, row_strides))) =
        (indices.shape.split_last(), indices.strides.split_last())
    else {
        return Err(uncovered(node, "indices without dimensions"));
    };
    let inner = n_batch.saturating_add(n_named);
    let fits = inner <= data.shape.len()
        && n_batch <= rows.len()
        && rows[..n_batch] == data.shape[..n_batch]
        && !data.shape[n_batch..inner].contains(&0);
    if !fits {
        return Err(uncovered(node, "it reaches beyond its data"));
    }
    // `[batch…, rows…, inner…]`.
    let n_inner = data.shape.len() - inner;
    let n_rows = rows.len() - n_batch;
    let mut along_data = data.strides[..n_batch].to_vec();
    along_data.extend(std::iter::repeat_n(0, n_rows));
    along_data.extend(&data.strides[inner..]);
    let mut along_indices = row_strides.to_vec();
    along_indices.extend(std::iter::repeat_n(0, n_inner));
    let looked = (n_batch..inner).map(|axis| Looked {
        size: data.shape[axis],
        stride: data.strides[axis],
    });
    let body = Pick {
        looked: looked.collect(),
        along_data,
        along_indices,
        step,
        shape: shape.clone(),
        data,
        indices,
    };
    to.step(node, Body::Pick(body), &shape)
}

fn update(
    node: &TypedNode,
    reduction: ScatterReduction,
    element: Element,
) -> Result<Update, Uncovered> {
    let update = match reduction {
        ScatterReduction::None => Update::Replace,
        ScatterReduction::Add => Update::Sum,
        ScatterReduction::Mul => Update::Product,
        ScatterReduction::Min => Update::Min,
        ScatterReduction::Max => Update::Max,
    };
    match update != Update::Replace && element == Element::Bool {
        true => Err(uncovered(node, "truth values are not summed")),
        false => Ok(update),
    }
}

fn scatter_elements(
    to: &mut Lowering<'_>,
    node: &TypedNode,
    op: &ScatterElements,
) -> Result<View, Uncovered> {
    let (data, indices) = (to.read(node, 0)?, indices(to, node, 1)?);
    let (updates, axis) = (to.read(node, 2)?, op.axis);
    let fits = is_inside(&indices, &data, axis)
        && indices.shape == updates.shape
        && data.element == updates.element;
    if !fits {
        return Err(uncovered(node, "it reaches beyond its data"));
    }
    let shape = data.shape.clone();
    let mut reached = indices.shape.clone();
    reached[axis] = shape[axis];
    let body = Scatter {
        update: update(node, op.reduction, data.element)?,
        wraps: true,
        named: vec![axis],
        step: 0,
        reached,
        place_indices: standing(&indices.strides, axis),
        place_updates: standing(&updates.strides, axis),
        candidates: vec![indices.shape[axis]],
        candidate_indices: vec![indices.strides[axis]],
        candidate_updates: vec![updates.strides[axis]],
        data,
        indices,
        updates,
    };
    to.step(node, Body::Scatter(body), &shape)
}

fn scatter_nd(
    to: &mut Lowering<'_>,
    node: &TypedNode,
    reduction: ScatterReduction,
) -> Result<View, Uncovered> {
    let (data, indices) = (to.read(node, 0)?, indices(to, node, 1)?);
    let updates = to.read(node, 2)?;
    let (Some((&n_named, rows)), Some((&step, row_strides))) =
        (indices.shape.split_last(), indices.strides.split_last())
    else {
        return Err(uncovered(node, "indices without dimensions"));
    };
    let fits = n_named <= data.shape.len()
        && updates.element == data.element
        && updates.shape.len() == rows.len() + data.shape.len() - n_named
        && updates.shape[..rows.len()] == *rows
        && updates.shape[rows.len()..] == data.shape[n_named..];
    if !fits {
        return Err(uncovered(node, "its updates are no parts of its data"));
    }
    let shape = data.shape.clone();
    let mut place_updates = vec![0; n_named];
    place_updates.extend(&updates.strides[rows.len()..]);
    let body = Scatter {
        update: update(node, reduction, data.element)?,
        // As the CPU has it.
        wraps: false,
        named: (0..n_named).collect(),
        step,
        reached: shape.clone(),
        place_indices: vec![0; shape.len()],
        place_updates,
        candidates: rows.to_vec(),
        candidate_indices: row_strides.to_vec(),
        candidate_updates: updates.strides[..rows.len()].to_vec(),
        data,
        indices,
        updates,
    };
    to.step(node, Body::Scatter(body), &shape)
}

/// With `axis` last, and the strides of an output that lies as `shape` says.
fn along(view: View, shape: &[usize], axis: usize) -> (View, Vec<i64>) {
    let mut out = row_major(shape);
    let last = view.shape.len() - 1;
    let stride = out.remove(axis);
    out.push(stride);
    (view.moved(axis, last), out)
}

fn scan(to: &mut Lowering<'_>, node: &TypedNode, sum: &CumSum) -> Result<View, Uncovered> {
    let input = to.read(node, 0)?;
    if input.element == Element::Bool {
        return Err(uncovered(node, "truth values are not summed"));
    }
    let shape = to.shape(node, OutletId::new(node.id, 0))?;
    let (input, out) = along(input, &shape, sum.axis);
    let body = Scan {
        input,
        exclusive: sum.exclusive,
        reverse: sum.reverse,
        out,
    };
    to.step(node, Body::Scan(body), &shape)
}

/// Places first, then the elements that stand there.
fn top(to: &mut Lowering<'_>, node: &TypedNode, top: &Topk) -> Result<View, Uncovered> {
    let input = to.read(node, 0)?;
    if input.element == Element::Bool {
        return Err(uncovered(node, format!("no kernel for {}", input.element)));
    }
    let shape = to.shape(node, OutletId::new(node.id, 0))?;
    let (axis, n) = (top.axis, shape[top.axis]);
    if n > MAX_TOP || n > input.shape[axis] {
        return Err(uncovered(
            node,
            format!(
                "the first {n} of {}, where a kernel finds {MAX_TOP}",
                input.shape[axis]
            ),
        ));
    }
    let (ordered, out) = along(input.clone(), &shape, axis);
    let body = Top {
        input: ordered,
        n,
        largest: top.largest,
        out,
    };
    let places = to.step(node, Body::Top(body), &shape)?;
    to.views.insert(OutletId::new(node.id, 1), places.clone());
    if input.shape[axis] == 0 {
        return Err(uncovered(node, "the first of nothing"));
    }
    let body = Pick {
        looked: vec![Looked {
            size: input.shape[axis],
            stride: input.strides[axis],
        }],
        along_data: standing(&input.strides, axis),
        along_indices: places.strides.clone(),
        step: 0,
        shape: shape.clone(),
        data: input,
        indices: places,
    };
    to.step(node, Body::Pick(body), &shape)
}
