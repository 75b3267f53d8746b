//! Updates put in where indices say: each output element looks through those that may be
//! for it.

use super::Program;
use super::text::{Text, computed};
use crate::plan::view::{count, row_major};
use crate::plan::{Element, Scatter, Update};

pub(super) fn program(mut text: Text<'_>, it: &Scatter) -> Program {
    text.faults();
    text.reader("data", &it.data);
    text.element("index", &it.indices);
    text.narrow(it.indices.element);
    text.element("updated", &it.updates);
    let shape = &it.data.shape;
    text.offsets("place_index", shape, &it.place_indices, it.indices.offset);
    text.offsets("place_update", shape, &it.place_updates, it.updates.offset);
    let candidates = &it.candidates;
    text.offsets("candidate_index", candidates, &it.candidate_indices, 0);
    text.offsets("candidate_update", candidates, &it.candidate_updates, 0);
    let n = count(candidates);
    text.size("CANDIDATES", n as u64);
    text.line(format_args!("const WRAPS: bool = {};", it.wraps));
    let element = computed(it.data.element);
    text.line(format_args!("alias Data = {element};"));
    joined(&mut text, it);
    reached(&mut text, it);
    named(&mut text, it);
    text.line(include_str!("scatter.wgsl"));
    let operations = (n as u64)
        .saturating_mul(4)
        .saturating_mul(it.named.len().max(1) as u64);
    let n = text.n_stored();
    text.per_element(n, operations)
}

/// Declares what an update makes of an element.
fn joined(text: &mut Text<'_>, it: &Scatter) {
    let is_wide = it.data.element == Element::I64;
    let expression = match it.update {
        Update::Replace => "b",
        Update::Sum if is_wide => "wide_add(a, b)",
        Update::Product if is_wide => "wide_multiply(a, b)",
        Update::Min if is_wide => "select(a, b, wide_less(b, a))",
        Update::Max if is_wide => "select(a, b, wide_less(a, b))",
        Update::Sum => "a + b",
        Update::Product => "a * b",
        Update::Min => "min(a, b)",
        Update::Max => "max(a, b)",
    };
    if expression.contains("wide_") {
        text.wide();
    }
    text.line(format_args!(
        "fn joined(a: Data, b: Data) -> Data {{ return {expression}; }}"
    ));
}

/// Declares `reached(i)`, whether the `i`th place can have an update at all.
fn reached(text: &mut Text<'_>, it: &Scatter) {
    let mut tests = Vec::new();
    for ((&size, &n), stride) in it.data.shape.iter().zip(&it.reached).zip(places(it)) {
        if n < size {
            tests.push(format!("i / {stride}u % {}u < {n}u", size.max(1)));
        }
    }
    let all = match tests.is_empty() {
        true => "true".to_owned(),
        false => tests.join(" && "),
    };
    text.line(format_args!(
        "fn reached(i: u32) -> bool {{ return {all}; }}"
    ));
}

/// Declares `is_for(i, first)`, whether the indices from `first` on name the `i`th place.
fn named(text: &mut Text<'_>, it: &Scatter) {
    text.line("fn is_for(i: u32, first: i32) -> bool {\n    var is = true;");
    let strides: Vec<i64> = places(it).collect();
    for (number, &axis) in it.named.iter().enumerate() {
        let (size, stride) = (it.data.shape[axis], strides[axis]);
        text.line(format_args!(
            "    is = named(index(first + {number} * {}), {size}, i32(i / {stride}u % {}u)) && is;",
            it.step,
            size.max(1)
        ));
    }
    text.line("    return is;\n}");
}

/// From one place to the next along each dimension, at least 1.
fn places(it: &Scatter) -> impl Iterator<Item = i64> {
    row_major(&it.data.shape)
        .into_iter()
        .map(|stride| stride.max(1))
}
