//! Windows that become one element.

use super::Program;
use super::convolve::{spaced, three, windows};
use super::text::Text;
use crate::plan::view::count;
use crate::plan::{Pool, PoolKind};

pub(super) fn program(mut text: Text<'_>, it: &Pool) -> Program {
    let spatial = three(&it.spatial);
    windows(&mut text, &spatial);
    text.element("x", &it.input);
    let images = [it.input.shape[0], it.input.shape[1]];
    text.offsets("x_outer", &images, &it.input.strides[..2], it.input.offset);
    spaced(&mut text, "X", &it.input.strides[2..]);
    text.line(match it.kind {
        PoolKind::Max => {
            "fn join(a: f32, b: f32, n: u32) -> f32 { return select(max(a, b), b, n == 0u); }\n\
             fn last(it: f32, n: u32, counted: u32) -> f32 { return it; }"
        }
        PoolKind::Sum => {
            "fn join(a: f32, b: f32, n: u32) -> f32 { return a + b; }\n\
             fn last(it: f32, n: u32, counted: u32) -> f32 { return it; }"
        }
        PoolKind::Mean {
            with_padding: false,
        } => {
            "fn join(a: f32, b: f32, n: u32) -> f32 { return a + b; }\n\
             fn last(it: f32, n: u32, counted: u32) -> f32 { return it / f32(max(n, 1u)); }"
        }
        PoolKind::Mean { with_padding: true } => {
            "fn join(a: f32, b: f32, n: u32) -> f32 { return a + b; }\n\
             fn last(it: f32, n: u32, counted: u32) -> f32 { return it / f32(max(counted, 1u)); }"
        }
    });
    text.line(include_str!("pool.wgsl"));
    // The output's own order, taken apart into images, channels and places.
    let sizes: Vec<usize> = images
        .into_iter()
        .chain(it.spatial.iter().map(|axis| axis.output))
        .collect();
    text.offsets("out_at", &sizes, &it.out, 0);
    let n = count(&sizes);
    let window = count(spatial.iter().map(|axis| axis.kernel));
    text.scattered(n, window as u64)
}
