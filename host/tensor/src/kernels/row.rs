//! Rows made anew from all of their elements: softmax, root mean square, layer norm.

use super::Program;
use super::map::literal;
use super::text::Text;
use crate::plan::view::count;
use crate::plan::{Row, RowKind};

pub(super) fn program(mut text: Text<'_>, it: &Row) -> Program {
    let (kept, along) = it.input.shape.split_at(it.n_kept);
    let (outer, inner) = it.input.strides.split_at(it.n_kept);
    text.offsets("outer", kept, outer, it.input.offset);
    text.offsets("inner", along, inner, 0);
    let (outer, inner) = it.out.split_at(it.n_kept);
    text.offsets("out_outer", kept, outer, 0);
    text.offsets("out_inner", along, inner, 0);
    text.element("x", &it.input);
    let (n, rows) = (count(along), count(kept));
    text.size("N", n as u64);
    let (from, term, last) = match it.kind {
        RowKind::Softmax => ("MOST", "exp(it)", "exp(it) / sum".to_owned()),
        RowKind::LogSoftmax => ("MOST", "exp(it)", "it - log(sum)".to_owned()),
        RowKind::RootMeanSquare(lift) => ("NOTHING", "it * it", rooted(lift)),
        RowKind::Normalised(lift) => ("MEAN", "it * it", rooted(lift)),
    };
    for name in ["MOST", "MEAN"] {
        text.line(format_args!("const FROM_{name}: bool = {};", name == from));
    }
    text.line(format_args!(
        "fn term(it: f32) -> f32 {{ return {term}; }}\n\
         fn last(it: f32, sum: f32) -> f32 {{ return {last}; }}"
    ));
    text.line(include_str!("row.wgsl"));
    let n_groups = if n == 0 { 0 } else { rows as u64 };
    text.program(n_groups, (n as u64).saturating_mul(4))
}

/// Divided by the root of the mean square and a little.
fn rooted(lift: f32) -> String {
    format!("it / sqrt(sum / f32(N) + {})", literal(lift))
}
