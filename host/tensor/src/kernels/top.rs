//! The most extreme elements of a row, a row per group.

use super::Program;
use super::text::{Text, computed};
use crate::plan::view::count;
use crate::plan::{Element, Top};

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
    let beyond = match (it.input.element, it.largest) {
        (Element::I64, true) => "wide_less(b, a)",
        (Element::I64, false) => "wide_less(a, b)",
        (_, true) => "a > b",
        (_, false) => "a < b",
    };
    if it.input.element == Element::I64 {
        text.wide();
    }
    text.line(format_args!(
        "fn beyond(a: Number, b: Number) -> bool {{ return {beyond}; }}"
    ));
    text.line(include_str!("top.wgsl"));
    let n_groups = if it.n == 0 { 0 } else { count(kept) as u64 };
    let operations = (*along as u64).saturating_mul(it.n as u64);
    text.program(n_groups, operations.saturating_mul(2))
}
