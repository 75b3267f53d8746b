//! Resampling along one axis by a table.

use super::Program;
use super::text::Text;
use crate::plan::Resize;
use crate::plan::view::count;

pub(super) fn program(mut text: Text<'_>, it: &Resize) -> Program {
    let along = &it.along;
    let inner = count(&it.shape[along.axis + 1..]);
    text.reader("place", &along.places);
    text.reader("weight", &along.weights);
    text.element("x", &it.input);
    let mut shape = it.input.shape.clone();
    let mut strides = it.input.strides.clone();
    shape.remove(along.axis);
    let stride = strides.remove(along.axis);
    text.offsets("x_other", &shape, &strides, it.input.offset);
    text.stride("X_ALONG", stride);
    text.size("ALONG", it.shape[along.axis] as u64);
    text.size("INNER", inner as u64);
    text.size("WINDOW", along.window as u64);
    text.line(include_str!("resize.wgsl"));
    let n = text.n_stored();
    text.per_element(n, (along.window as u64).saturating_mul(2))
}
