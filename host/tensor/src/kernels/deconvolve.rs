//! Transposed convolutions, an output element per thread.

use super::Program;
use super::convolve::{spaced, three, windows};
use super::text::Text;
use crate::plan::Deconvolve;
use crate::plan::view::count;

pub(super) fn program(mut text: Text<'_>, it: &Deconvolve) -> Program {
    let [images, groups, channels] = [it.input.shape[0], it.input.shape[1], it.input.shape[2]];
    let per_group = it.kernel.shape[1];
    let spatial = three(&it.spatial);
    windows(&mut text, &spatial);
    let outputs = count(spatial.iter().map(|axis| axis.output));
    let window = count(spatial.iter().map(|axis| axis.kernel));
    text.size("CHANNELS", channels as u64);
    text.size("PER_GROUP", per_group as u64);
    text.size("PLACES", outputs as u64);
    text.element("x_element", &it.input);
    text.offsets(
        "x_outer",
        &[images, groups],
        &it.input.strides[..2],
        it.input.offset,
    );
    text.stride("X_CHANNEL", it.input.strides[2]);
    spaced(&mut text, "X", &it.input.strides[3..]);
    text.element("w_element", &it.kernel);
    text.offsets(
        "w_outer",
        &it.kernel.shape[..2],
        &it.kernel.strides[..2],
        it.kernel.offset,
    );
    text.stride("W_CHANNEL", it.kernel.strides[2]);
    spaced(&mut text, "W", &it.kernel.strides[3..]);
    text.reader("bias", &it.bias);
    let sizes: Vec<usize> = it.spatial.iter().map(|axis| axis.output).collect();
    let all: Vec<usize> = [images, groups, per_group]
        .into_iter()
        .chain(sizes)
        .collect();
    text.offsets("out_at", &all, &it.out, 0);
    text.size("GROUPS", groups as u64);
    text.line(include_str!("deconvolve.wgsl"));
    let operations = (channels as u64)
        .saturating_mul(window as u64)
        .saturating_mul(2);
    text.scattered(count(&all), operations)
}
