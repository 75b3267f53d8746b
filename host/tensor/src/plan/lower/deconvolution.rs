//! Transposed convolutions.

use tract_onnx::prelude::{OutletId, TypedNode};
use tract_onnx::tract_core::ops::cnn::KernelFormat;
use tract_onnx::tract_core::ops::cnn::deconv::Deconv;

use super::contraction::split;
use super::{Lowering, uncovered};
use crate::plan::view::row_major;
use crate::plan::{Body, Deconvolve, Spatial, Uncovered, View};

/// Spatial dimensions that the kernel loops over.
const MAX_SPATIAL: usize = 3;

pub(super) fn lower(to: &mut Lowering<'_>, node: &TypedNode) -> Result<Option<View>, Uncovered> {
    match node.op_as::<Deconv>() {
        Some(op) => deconvolve(to, node, op).map(Some),
        None => Ok(None),
    }
}

fn deconvolve(to: &mut Lowering<'_>, node: &TypedNode, op: &Deconv) -> Result<View, Uncovered> {
    let (input, kernel, bias) = (to.read(node, 0)?, to.read(node, 1)?, to.read(node, 2)?);
    for view in [&input, &kernel, &bias] {
        to.f32_only(node, view)?;
    }
    let shape = to.shape(node, OutletId::new(node.id, 0))?;
    let (spec, groups) = (&op.pool_spec, op.group);
    let format = spec.data_format;
    if op.kernel_format != KernelFormat::OIHW || format.c_is_last() || !format.has_n() {
        return Err(uncovered(node, "no kernel for this layout"));
    }
    let rank = spec.kernel_shape.len();
    let fits = (1..=MAX_SPATIAL).contains(&rank)
        && [&input.shape, &kernel.shape, &shape]
            .iter()
            .all(|it| it.len() == rank + 2)
        && groups > 0
        && kernel.shape[0].is_multiple_of(groups)
        && Some(input.shape[1]) == kernel.shape[1].checked_mul(groups)
        && kernel.shape[0] == shape[1];
    if !fits || input.shape[2..].contains(&0) {
        return Err(uncovered(node, "its groups do not divide its channels"));
    }
    let bias = match bias.n_elements() {
        1 => View {
            shape: vec![groups, shape[1] / groups],
            strides: vec![0, 0],
            ..bias
        },
        n if n == shape[1] && bias.shape.len() == 1 => split(bias, 0, groups),
        _ => return Err(uncovered(node, "its bias fits no channel")),
    };
    let padding = spec.padding.compute_for_deconv(
        &input.shape[2..],
        &spec.kernel_shape,
        &spec.dilations(),
        &spec.strides(),
        &op.adjustments,
    );
    let padding = padding.map_err(|error| uncovered(node, format!("{error:#}")))?;
    let spatial = padding.iter().enumerate().map(|(axis, padding)| Spatial {
        input: input.shape[2 + axis],
        output: shape[2 + axis],
        kernel: spec.kernel_shape[axis],
        stride: spec.stride(axis),
        dilation: spec.dilation(axis),
        before: padding.pad_before,
        padded: 0,
    });
    let spatial: Vec<Spatial> = spatial.collect();
    let own = row_major(&shape);
    let per_group = (shape[1] / groups) as i64;
    let mut out = vec![own[0], own[1] * per_group, own[1]];
    out.extend(&own[2..]);
    let body = Deconvolve {
        input: split(input, 1, groups),
        kernel: split(kernel, 0, groups),
        bias,
        spatial,
        out,
    };
    to.step(node, Body::Deconvolve(body), &shape)
}
