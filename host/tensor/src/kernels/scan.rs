//! Running sums, a row per thread.

use super::Program;
use super::text::{Text, computed};
use crate::plan::view::count;
use crate::plan::{Element, Scan};

/// Threads of a group.
const THREADS: u64 = 64;

pub(super) fn program(mut text: Text<'_>, it: &Scan) -> Program {
    let (along, kept) = it.input.shape.split_last().expect("a scan has an axis");
    let (stride, outer) = it.input.strides.split_last().expect("as many strides");
    text.offsets("outer", kept, outer, it.input.offset);
    text.stride("ALONG", *stride);
    let (stride, outer) = it.out.split_last().expect("as many strides");
    text.offsets("out_outer", kept, outer, 0);
    text.stride("OUT_ALONG", *stride);
    text.element("x", &it.input);
    text.size("N", *along as u64);
    text.size("N_ROWS", count(kept) as u64);
    text.line(format_args!(
        "alias Number = {};",
        computed(it.input.element)
    ));
    let sum = match it.input.element {
        Element::I64 => {
            text.wide();
            "wide_add(a, b)"
        }
        _ => "a + b",
    };
    text.line(format_args!(
        "fn plus(a: Number, b: Number) -> Number {{ return {sum}; }}"
    ));
    text.line(format_args!("const EXCLUSIVE: bool = {};", it.exclusive));
    text.line(format_args!("const REVERSE: bool = {};", it.reverse));
    text.line(include_str!("scan.wgsl"));
    let n_groups = match along {
        0 => 0,
        _ => (count(kept) as u64).div_ceil(THREADS),
    };
    text.program(n_groups, (*along as u64).saturating_mul(THREADS))
}
