//! The most extreme elements of a row, a row per group.

use super::Program;
use super::text::{Text, computed};
use crate::plan::view::count;
use crate::plan::{Element, Top};

/// Floats in an order that has a place for each, by their bits: both zeros alike, and what is
/// no number beyond both infinities. Comparing such a one says no, whatever with: then no
/// place would come first, or one twice.
const FLOAT_ORDER: &str = "fn float_order(it: f32) -> i32 {
    let bits = bitcast<i32>(it);
    let magnitude = bits & 0x7fffffff;
    return select(magnitude, -magnitude, bits < 0);
}";

pub(super) fn program(mut text: Text<'_>, it: &Top) -> Program {
    let (along, kept) = it.input.shape.split_last().expect("it has an axis");
    let (stride, outer) = it.input.strides.split_last().expect("as many strides");
    text.offsets("outer", kept, outer, it.input.offset);
    text.stride("ALONG", *stride);
    let (stride, outer) = it.out.split_last().expect("as many strides");
    text.offsets("out_outer", kept, outer, 0);
    text.stride("OUT_ALONG", *stride);
    text.element("x", &it.input);
    text.size("N", *along as u64);
    text.size("N_TOP", it.n as u64);
    let element = computed(it.input.element);
    text.line(format_args!("alias Number = {element};"));
    let less = match it.input.element {
        Element::I64 => {
            text.wide();
            "wide_less(a, b)"
        }
        Element::F32 => {
            text.line(FLOAT_ORDER);
            "float_order(a) < float_order(b)"
        }
        Element::I32 | Element::Bool => "a < b",
    };
    text.line(format_args!(
        "fn less(a: Number, b: Number) -> bool {{ return {less}; }}"
    ));
    let beyond = if it.largest {
        "less(b, a)"
    } else {
        "less(a, b)"
    };
    text.line(format_args!(
        "fn beyond(a: Number, b: Number) -> bool {{ return {beyond}; }}"
    ));
    text.line(include_str!("top.wgsl"));
    let n_groups = if it.n == 0 { 0 } else { count(kept) as u64 };
    let operations = (*along as u64).saturating_mul(it.n as u64);
    text.program(n_groups, operations.saturating_mul(2))
}
