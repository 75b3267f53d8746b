//! Operators whose elements follow from where they stand: programs that ask for their index.

use tract_onnx::prelude::{DatumType, OutletId, TypedNode};
use tract_onnx::tract_core::ops::array::{OneHot, Range, Trilu};

use super::arithmetic::Program;
use super::{Lowering, uncovered};
use crate::plan::{Element, Function2, Node, Uncovered, View};

pub(super) fn lower(to: &mut Lowering<'_>, node: &TypedNode) -> Result<Option<View>, Uncovered> {
    if let Some(op) = node.op_as::<Trilu>() {
        return trilu(to, node, op.upper).map(Some);
    }
    if let Some(op) = node.op_as::<OneHot>() {
        return one_hot(to, node, op).map(Some);
    }
    if node.op_is::<Range>() {
        return range(to, node).map(Some);
    }
    Ok(None)
}

/// Elements on one side of a diagonal, and nothing on the other.
fn trilu(to: &mut Lowering<'_>, node: &TypedNode, upper: bool) -> Result<View, Uncovered> {
    let (input, diagonal) = (to.read(node, 0)?, to.read(node, 1)?);
    let shape = to.shape(node, OutletId::new(node.id, 0))?;
    let rank = shape.len();
    if rank < 2 || diagonal.element != Element::I64 || diagonal.n_elements() != 1 {
        return Err(uncovered(node, "no matrices with one diagonal"));
    }
    let element = input.element;
    let mut program = Program::new(&shape);
    let it = program.source(to, input);
    let diagonal = View {
        shape: Vec::new(),
        strides: Vec::new(),
        ..diagonal
    };
    let first = program.source(to, diagonal.broadcast(&shape));
    let row = program.index(rank - 2);
    let row = program.node(Node::Cast(row), Element::I64);
    let column = program.index(rank - 1);
    let column = program.node(Node::Cast(column), Element::I64);
    // Wrapped around by a diagonal that is beyond all matrices, as the CPU's is.
    let edge = program.node(Node::Combine(Function2::Add, row, first), Element::I64);
    let beyond = if upper {
        Function2::Less
    } else {
        Function2::Greater
    };
    let is_beyond = program.node(Node::Combine(beyond, column, edge), Element::Bool);
    let zero = program.zero(element);
    program.finish(to, node, Node::Select(is_beyond, zero, it), element)
}

/// One of two numbers, by whether an index names this place.
fn one_hot(to: &mut Lowering<'_>, node: &TypedNode, op: &OneHot) -> Result<View, Uncovered> {
    let index = to.read(node, 0)?;
    let shape = to.shape(node, OutletId::new(node.id, 0))?;
    let dim = i32::try_from(op.dim).map_err(|_| uncovered(node, "too many classes"))?;
    if !matches!(index.element, Element::I32 | Element::I64) || index.shape.len() < op.axis {
        return Err(uncovered(node, "no kernel for such indices"));
    }
    let [off, on] = [&op.off, &op.on].map(|tensor| to.weight(node, tensor));
    let (off, on) = (off?, on?);
    if off.n_elements() != 1 || on.n_elements() != 1 || off.element != on.element {
        return Err(uncovered(node, "no kernel for such numbers"));
    }
    let element = on.element;
    let mut program = Program::new(&shape);
    let at = program.source(to, index.with_axis(op.axis).broadcast(&shape));
    let at = program.node(Node::Cast(at), Element::I32);
    let zero = program.zero(Element::I32);
    let size = program.node(Node::I32(dim), Element::I32);
    let from_end = program.node(Node::Combine(Function2::Add, at, size), Element::I32);
    let is_negative = program.node(Node::Combine(Function2::Less, at, zero), Element::Bool);
    let at = program.node(Node::Select(is_negative, from_end, at), Element::I32);
    let place = program.index(op.axis);
    let is_hot = program.node(Node::Combine(Function2::Equal, at, place), Element::Bool);
    let [off, on] = [off, on].map(|view| {
        let view = View {
            shape: Vec::new(),
            strides: Vec::new(),
            ..view
        };
        program.source(to, view.broadcast(&shape))
    });
    program.finish(to, node, Node::Select(is_hot, on, off), element)
}

/// `start + place · step`, of whole numbers: a float's would be summed up on the CPU.
fn range(to: &mut Lowering<'_>, node: &TypedNode) -> Result<View, Uncovered> {
    let shape = to.shape(node, OutletId::new(node.id, 0))?;
    let bound = |to: &mut Lowering<'_>, input: usize| -> Result<i64, Uncovered> {
        let why = || uncovered(node, "its bounds are not known before the run");
        let tensor = to.constant(node, input).ok_or_else(why)?;
        let known = match tensor.datum_type() {
            DatumType::I64 | DatumType::I32 => tensor.cast_to_scalar::<i64>().ok(),
            DatumType::TDim => {
                let plain = tensor.as_plain_ram().ok_or_else(why)?;
                let dims = plain.as_slice::<tract_onnx::prelude::TDim>().ok();
                let dim = dims.and_then(<[_]>::first);
                dim.and_then(|dim| dim.eval_to_i64(to.sizes).ok())
            }
            _ => None,
        };
        known.ok_or_else(why)
    };
    let (start, step) = (bound(to, 0)?, bound(to, 2)?);
    let last = (shape.first().copied().unwrap_or(0) as i64).saturating_sub(1);
    let end = step.checked_mul(last).and_then(|it| it.checked_add(start));
    let fits = [Some(start), Some(step), end]
        .into_iter()
        .all(|it| it.is_some_and(|it| i32::try_from(it).is_ok()));
    if shape.len() != 1 || !fits {
        return Err(uncovered(node, "it counts beyond 32 bits"));
    }
    let element = super::element_of(node, node.outputs[0].fact.datum_type)?;
    if !matches!(element, Element::I32 | Element::I64) {
        return Err(uncovered(node, format!("no kernel for {element}")));
    }
    let mut program = Program::new(&shape);
    let place = program.index(0);
    let step = program.node(Node::I32(step as i32), Element::I32);
    let by = program.node(
        Node::Combine(Function2::Multiply, place, step),
        Element::I32,
    );
    let start = program.node(Node::I32(start as i32), Element::I32);
    let last = program.node(Node::Combine(Function2::Add, by, start), Element::I32);
    match element {
        Element::I64 => program.finish(to, node, Node::Cast(last), element),
        _ => program.finish(to, node, Node::Combine(Function2::Add, by, start), element),
    }
}
