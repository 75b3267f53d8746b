//! Reductions: by a thread where there is little to reduce, else by a group.

use super::Program;
use super::text::{Text, computed};
use crate::plan::view::count;
use crate::plan::{Element, Extreme, Reduce, Reducer};

/// From this many elements on a group of threads reduces them. Depends on what is
/// reduced alone, so a row is reduced alike in any batch.
const SHARED_FROM: usize = 128;

pub(super) fn program(mut text: Text<'_>, it: &Reduce) -> Program {
    let (kept, reduced) = it.input.shape.split_at(it.n_kept);
    let (outer, inner) = it.input.strides.split_at(it.n_kept);
    text.offsets("outer", kept, outer, it.input.offset);
    text.offsets("inner", reduced, inner, 0);
    text.element("x", &it.input);
    let n = count(reduced);
    text.size("N_REDUCED", n as u64);
    let element = computed(it.input.element);
    let (first, join, each) = match it.reducer {
        Reducer::Sum => ("zero", "a + b", "it"),
        Reducer::Product => ("one", "a * b", "it"),
        Reducer::Min => ("", "min(a, b)", "it"),
        Reducer::Max => ("", "max(a, b)", "it"),
        Reducer::MeanOfSquares => ("zero", "a + b", "it * it"),
        Reducer::All => ("true", "a && b", "it"),
        Reducer::Any => ("false", "a || b", "it"),
        Reducer::Place(extreme) => return place(text, it, extreme),
    };
    let number = |x: u32| format!("{element}({x})");
    let first = match first {
        "zero" => number(0),
        "one" => number(1),
        // The first element is no less and no more than itself.
        "" => "x(outer(i))".to_owned(),
        other => other.to_owned(),
    };
    text.line(format_args!("alias Number = {element};"));
    text.line(format_args!(
        "fn join(a: Number, b: Number) -> Number {{ return {join}; }}"
    ));
    text.line(format_args!(
        "fn each(it: Number) -> Number {{ return {each}; }}"
    ));
    text.line(format_args!(
        "fn first(i: u32) -> Number {{ return {first}; }}"
    ));
    let last = match it.reducer {
        Reducer::MeanOfSquares => "it / f32(N_REDUCED)",
        _ => "it",
    };
    text.line(format_args!(
        "fn last(it: Number) -> Number {{ return {last}; }}"
    ));
    let outputs = text.n_stored();
    // A truth value cannot stand in memory that threads share.
    if n < SHARED_FROM || it.input.element == Element::Bool {
        text.line(include_str!("reduce.wgsl"));
        return text.per_element(outputs, n as u64);
    }
    text.line(include_str!("reduce_shared.wgsl"));
    text.program(outputs as u64, n as u64)
}

fn place(mut text: Text<'_>, it: &Reduce, extreme: Extreme) -> Program {
    let better = match (extreme.largest, extreme.last) {
        (true, false) => "a > b",
        (true, true) => "a >= b",
        (false, false) => "a < b",
        (false, true) => "a <= b",
    };
    let element = computed(it.input.element);
    text.line(format_args!(
        "fn better(a: {element}, b: {element}) -> bool {{ return {better}; }}"
    ));
    text.line(include_str!("reduce_place.wgsl"));
    let (outputs, n) = (text.n_stored(), count(&it.input.shape[it.n_kept..]));
    text.per_element(outputs, n as u64)
}
