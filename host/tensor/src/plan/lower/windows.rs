//! Pooling, and what it shares with convolutions.

use tract_onnx::prelude::{OutletId, TypedNode};
use tract_onnx::tract_core::ops::cnn::{MaxPool, PaddingSpec, PoolSpec, SumPool};

use super::{Lowering, uncovered};
use crate::plan::view::row_major;
use crate::plan::{Body, Pool, PoolKind, Spatial, Uncovered, View};

/// Spatial dimensions that kernels loop over.
const MAX_SPATIAL: usize = 3;

pub(super) fn lower(to: &mut Lowering<'_>, node: &TypedNode) -> Result<Option<View>, Uncovered> {
    let (spec, kind) = if let Some(pool) = node.op_as::<MaxPool>() {
        if pool.with_index_outputs.is_some() {
            return Err(uncovered(node, "places of maxima have no kernel"));
        }
        (&pool.pool_spec, PoolKind::Max)
    } else if let Some(pool) = node.op_as::<SumPool>() {
        // The last window may reach beyond the padding, and who counts what there differs.
        let beyond = matches!(
            pool.pool_spec.padding,
            PaddingSpec::ExplicitOnnxPool(_, _, true)
        );
        if beyond && pool.normalize && pool.count_include_pad {
            return Err(uncovered(
                node,
                "rounding up with counted padding has no kernel",
            ));
        }
        let kind = match pool.normalize {
            false => PoolKind::Sum,
            true => PoolKind::Mean {
                with_padding: pool.count_include_pad,
            },
        };
        (&pool.pool_spec, kind)
    } else {
        return Ok(None);
    };
    let input = to.read(node, 0)?;
    to.f32_only(node, &input)?;
    let shape = to.shape(node, OutletId::new(node.id, 0))?;
    let (spatial, input) = spatial(node, spec, input, &shape)?;
    let own = row_major(&shape);
    let first = usize::from(spec.data_format.has_n());
    let image = if first == 1 { own[0] } else { 0 };
    let (channel, places) = match spec.data_format.c_is_last() {
        true => (1, own[first..own.len() - 1].to_vec()),
        false => (own[first], own[first + 1..].to_vec()),
    };
    let body = Pool {
        input,
        kind,
        spatial,
        out: [image, channel].into_iter().chain(places).collect(),
    };
    to.step(node, Body::Pool(body), &shape).map(Some)
}

/// The spatial dimensions, and the input as `[image, channel, spatial…]`.
pub(super) fn spatial(
    node: &TypedNode,
    spec: &PoolSpec,
    input: View,
    shape: &[usize],
) -> Result<(Vec<Spatial>, View), Uncovered> {
    let format = spec.data_format;
    let input = if format.has_n() {
        input
    } else {
        input.with_axis(0)
    };
    let last = input.shape.len() - 1;
    let input = if format.c_is_last() {
        input.moved(last, 1)
    } else {
        input
    };
    let first = usize::from(format.has_n()) + usize::from(!format.c_is_last());
    let rank = spec.kernel_shape.len();
    if rank == 0 || rank > MAX_SPATIAL || input.shape.len() != rank + 2 {
        return Err(uncovered(
            node,
            format!("{rank} spatial dimensions have no kernel"),
        ));
    }
    let sizes = &input.shape[2..];
    let is_same = matches!(
        spec.padding,
        PaddingSpec::SameUpper | PaddingSpec::SameLower
    );
    // tract counts back from the first element, and there is none.
    if is_same && sizes.contains(&0) {
        return Err(uncovered(node, "windows over nothing have no padding"));
    }
    let padding = spec.computed_padding(sizes);
    let spatial = (0..rank).map(|axis| {
        let explicit = match &spec.padding {
            PaddingSpec::ExplicitOnnxPool(before, after, _) => {
                before[axis].saturating_add(after[axis])
            }
            _ => padding[axis]
                .pad_before
                .saturating_add(padding[axis].pad_after),
        };
        Spatial {
            input: sizes[axis],
            output: shape[first + axis],
            kernel: spec.kernel_shape[axis],
            stride: spec.stride(axis),
            dilation: spec.dilation(axis),
            before: padding[axis].pad_before,
            padded: sizes[axis].saturating_add(explicit),
        }
    });
    Ok((spatial.collect(), input))
}
