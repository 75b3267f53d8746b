//! Rows that indices name.

use super::Program;
use super::text::{Text, computed};
use crate::plan::Gather;
use crate::plan::view::count;

pub(super) fn program(mut text: Text<'_>, it: &Gather) -> Program {
    text.faults();
    text.reader("index", &it.indices);
    text.element("x", &it.data);
    let (outer, rest) = it.data.shape.split_at(it.axis);
    let (outer_strides, strides) = it.data.strides.split_at(it.axis);
    text.offsets("x_outer", outer, outer_strides, it.data.offset);
    text.offsets("x_inner", &rest[1..], &strides[1..], 0);
    text.stride("X_AXIS", strides[0]);
    let inner = count(&rest[1..]);
    text.size("AXIS", rest[0] as u64);
    text.size("INDICES", (it.indices.n_elements() as u64).max(1));
    text.size("INNER", (inner as u64).max(1));
    text.narrow(it.indices.element);
    text.line(format_args!("alias Data = {};", computed(it.data.element)));
    text.line(include_str!("gather.wgsl"));
    let n = text.n_stored();
    text.per_element(n, 4)
}
