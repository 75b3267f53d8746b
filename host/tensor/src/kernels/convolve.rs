//! Convolutions: as tiled products where a group has many channels, else directly.

use super::Program;
use super::contract::{Sizes, Tile, tiled};
use super::text::Text;
use crate::plan::view::count;
use crate::plan::{Convolve, Spatial};

/// From this many channels of a group on, a tile is worth its loads.
const TILED_FROM: usize = 8;

pub(super) fn program(mut text: Text<'_>, it: &Convolve) -> Program {
    let [images, groups, channels] = [it.input.shape[0], it.input.shape[1], it.input.shape[2]];
    let per_group = it.kernel.shape[1];
    let spatial = three(&it.spatial);
    windows(&mut text, &spatial);
    let outputs = count(spatial.iter().map(|axis| axis.output));
    let window = count(spatial.iter().map(|axis| axis.kernel));
    let inner = channels.saturating_mul(window);
    text.size("GROUPS", groups as u64);
    text.size("CHANNELS", channels as u64);
    text.size("PER_GROUP", per_group as u64);
    text.size("WINDOW", window as u64);
    text.size("PLACES", outputs as u64);
    text.element("x_element", &it.input);
    text.stride("X_FIRST", it.input.offset);
    text.offsets("x_image", &[images], &it.input.strides[..1], 0);
    text.offsets("x_group", &[groups], &it.input.strides[1..2], 0);
    text.offsets("x_channel", &[channels], &it.input.strides[2..3], 0);
    spaced(&mut text, "X", &it.input.strides[3..]);
    text.element("w_element", &it.kernel);
    // `[group, channel out, channel in and window]`, the last in the order of the sum.
    text.offsets(
        "w_outer",
        &it.kernel.shape[..2],
        &it.kernel.strides[..2],
        it.kernel.offset,
    );
    text.offsets("w_inner", &it.kernel.shape[2..], &it.kernel.strides[2..], 0);
    match &it.bias {
        Some(bias) => text.reader("bias", bias),
        None => text.line("fn bias(i: u32) -> f32 { return 0.0; }"),
    }
    let sizes: Vec<usize> = it.spatial.iter().map(|axis| axis.output).collect();
    text.offsets("out_place", &sizes, &it.out[3..], 0);
    text.stride("OUT_IMAGE", it.out[0]);
    text.stride("OUT_GROUP", it.out[1]);
    text.stride("OUT_CHANNEL", it.out[2]);
    text.line(include_str!("convolve.wgsl"));
    if per_group < TILED_FROM {
        text.line(include_str!("convolve_direct.wgsl"));
        let n = count([images, groups, per_group, outputs]);
        return text.scattered(n, (inner as u64).saturating_mul(2));
    }
    let sizes = Sizes {
        batch: groups,
        rows: per_group,
        columns: images.saturating_mul(outputs),
        inner,
        a_along_inner: true,
        b_along_inner: false,
    };
    tiled(text, Tile::of(per_group).turned(), &sizes)
}

/// Three spatial dimensions, those that are missing of size 1 and in front.
pub(super) fn three(spatial: &[Spatial]) -> [Spatial; 3] {
    let nothing = Spatial {
        input: 1,
        output: 1,
        kernel: 1,
        stride: 1,
        dilation: 1,
        before: 0,
        padded: 1,
    };
    let mut all = [nothing; 3];
    all[3 - spatial.len()..].copy_from_slice(spatial);
    all
}

/// Declares strides of three spatial dimensions, `NAME_0` to `NAME_2`.
pub(super) fn spaced(text: &mut Text<'_>, name: &str, strides: &[i64]) {
    let missing = 3 - strides.len();
    for at in 0..3 {
        let stride = if at < missing {
            0
        } else {
            strides[at - missing]
        };
        text.stride(&format!("{name}_{at}"), stride);
    }
}

/// Declares the windows' sizes, dimension by dimension.
pub(super) fn windows(text: &mut Text<'_>, spatial: &[Spatial; 3]) {
    for (at, axis) in spatial.iter().enumerate() {
        text.size(&format!("INPUT_{at}"), axis.input as u64);
        text.size(&format!("OUTPUT_{at}"), axis.output as u64);
        text.size(&format!("KERNEL_{at}"), axis.kernel as u64);
        text.stride(&format!("STRIDE_{at}"), axis.stride as i64);
        text.stride(&format!("DILATION_{at}"), axis.dilation as i64);
        text.stride(&format!("BEFORE_{at}"), axis.before as i64);
        text.stride(&format!("PADDED_{at}"), axis.padded as i64);
    }
}
