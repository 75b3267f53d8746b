//! Operators that compute nothing: views where that is enough, copies where not.

use tract_onnx::prelude::{DatumType, OutletId, TypedNode};
use tract_onnx::tract_core::ops::Downsample;
use tract_onnx::tract_core::ops::array::{
    Gather as TractGather, MultiBroadcastTo, Pad as TractPad, PadMode as TractPadMode, Slice, Tile,
    TypedConcat,
};
use tract_onnx::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_core::ops::identity::Identity;
use tract_onnx::tract_core::ops::nn::resize::{AxisPlan, plan_axis, window_size};
use tract_onnx::tract_core::ops::nn::{Interpolator, NearestUpsample, Resize as TractResize};
use tract_onnx_opl::resize::{AspectRatio, CoordTransform, Nearest, Resize as OnnxResize};

use super::{Lowering, uncovered};
use crate::plan::{
    Body, Concat, Element, Gather, Pad, PadMode, Resize, ResizeAxis, Uncovered, View,
};

pub(super) fn lower(to: &mut Lowering<'_>, node: &TypedNode) -> Result<Option<View>, Uncovered> {
    let shape = to.shape(node, OutletId::new(node.id, 0));
    if let Some(axis) = node.op_as::<AxisOp>() {
        let input = to.read(node, 0)?;
        return Ok(Some(match axis {
            AxisOp::Add(at) => input.with_axis(*at),
            AxisOp::Rm(at) => input.without_axis(*at),
            AxisOp::Move(from, into) => input.moved(*from, *into),
            AxisOp::Reshape(..) => {
                let shape = shape?;
                match input.reshaped(&shape) {
                    Some(view) => view,
                    None => View {
                        strides: super::super::view::row_major(&shape),
                        shape,
                        ..to.copied(node, input)?
                    },
                }
            }
        }));
    }
    if node.op_is::<Identity>() {
        return to.read(node, 0).map(Some);
    }
    if node.op_is::<MultiBroadcastTo>() {
        let (input, shape) = (to.read(node, 0)?, shape?);
        return Ok(Some(input.broadcast(&shape)));
    }
    if let Some(slice) = node.op_as::<Slice>() {
        let (input, shape) = (to.read(node, 0)?, shape?);
        let start = slice.start.eval_to_i64(to.sizes).ok();
        let start = start.and_then(|start| usize::try_from(start).ok());
        let start = start.ok_or_else(|| uncovered(node, "its start is not known"))?;
        let size = shape[slice.axis];
        if start
            .checked_add(size)
            .is_none_or(|end| end > input.shape[slice.axis])
        {
            return Err(uncovered(node, "it reaches beyond its input"));
        }
        return Ok(Some(input.sliced(slice.axis, start, size)));
    }
    if let Some(sample) = node.op_as::<Downsample>() {
        let (input, shape) = (to.read(node, 0)?, shape?);
        let (from, size) = (input.shape[sample.axis], shape[sample.axis]);
        let first = match sample.stride {
            stride if stride > 0 => sample.modulo,
            _ => from.saturating_sub(1),
        };
        let steps = size.saturating_sub(1);
        let reach = steps.saturating_mul(sample.stride.unsigned_abs());
        let inside = size == 0
            || match sample.stride > 0 {
                true => first.saturating_add(reach) < from,
                false => reach <= first && sample.modulo == 0,
            };
        if !inside {
            return Err(uncovered(node, "it reaches beyond its input"));
        }
        return Ok(Some(input.strided(
            sample.axis,
            first,
            sample.stride as i64,
            size,
        )));
    }
    if node.op_is::<Tile>() {
        return tile(to, node, &shape?).map(Some);
    }
    if let Some(concat) = node.op_as::<TypedConcat>() {
        return self::concat(to, node, concat.axis, &shape?).map(Some);
    }
    if let Some(pad) = node.op_as::<TractPad>() {
        return self::pad(to, node, pad, &shape?).map(Some);
    }
    if let Some(gather) = node.op_as::<TractGather>() {
        let body = Gather {
            data: to.read(node, 0)?,
            axis: gather.axis,
            indices: to.read(node, 1)?,
        };
        let counts = matches!(body.indices.element, Element::I64 | Element::I32);
        if gather.output_type.is_some() || !counts || body.data.shape[gather.axis] == 0 {
            return Err(uncovered(node, "no kernel for such indices or data"));
        }
        return to.step(node, Body::Gather(body), &shape?).map(Some);
    }
    if let Some(upsample) = node.op_as::<NearestUpsample>() {
        // Each element is repeated along a dimension of its own, which is then merged.
        let input = to.read(node, 0)?;
        let (mut sizes, mut strides) = (Vec::new(), Vec::new());
        for (axis, &scale) in upsample.scales.iter().enumerate() {
            sizes.extend([input.shape[axis], scale]);
            strides.extend([input.strides[axis], 0]);
        }
        let view = View {
            shape: sizes,
            strides,
            ..input
        };
        let copied = to.copied(node, view)?;
        let view = View::whole(copied.value, copied.element, &shape?);
        return Ok(Some(view));
    }
    if let Some(resize) = node.op_as::<TractResize>() {
        let given = resize.optional_scales_input;
        let plan = |scale, old, new| resize.plan_axis(scale, old, new);
        let window = window_size(&resize.interpolator, false, 1.0);
        return self::resize(to, node, given, (window, &plan), &shape?).map(Some);
    }
    if let Some(resize) = node.op_as::<OnnxResize>() {
        return onnx_resize(to, node, resize, &shape?).map(Some);
    }
    Ok(None)
}

/// Each tiled dimension is broadcast as one of its own, then merged.
fn tile(to: &mut Lowering<'_>, node: &TypedNode, shape: &[usize]) -> Result<View, Uncovered> {
    let input = to.read(node, 0)?;
    let (mut sizes, mut strides) = (Vec::new(), Vec::new());
    for (axis, (&size, &stride)) in input.shape.iter().zip(&input.strides).enumerate() {
        if size == 0 || !shape[axis].is_multiple_of(size) {
            return Err(uncovered(node, "an empty value is not tiled"));
        }
        sizes.extend([shape[axis] / size, size]);
        strides.extend([0, stride]);
    }
    let view = View {
        shape: sizes,
        strides,
        ..input
    };
    let copied = to.copied(node, view)?;
    Ok(View::whole(copied.value, copied.element, shape))
}

/// More parts than one step may read are put together level by level.
fn concat(
    to: &mut Lowering<'_>,
    node: &TypedNode,
    axis: usize,
    shape: &[usize],
) -> Result<View, Uncovered> {
    let parts = (0..node.inputs.len()).map(|input| to.read(node, input));
    let mut parts: Vec<View> = parts.collect::<Result<_, _>>()?;
    parts.retain(|part| part.shape[axis] > 0);
    let at_once = to.bounds.inputs.max(2);
    while parts.len() > at_once {
        let mut joined = Vec::with_capacity(parts.len().div_ceil(at_once));
        for parts in parts.chunks(at_once) {
            if let [part] = parts {
                joined.push(part.clone());
                continue;
            }
            let mut shape = shape.to_vec();
            shape[axis] = parts.iter().map(|part| part.shape[axis]).sum();
            let body = Concat {
                parts: parts.to_vec(),
                axis,
                shape: shape.clone(),
            };
            joined.push(to.step(node, Body::Concat(body), &shape)?);
        }
        parts = joined;
    }
    match parts.len() {
        0 => Err(uncovered(node, "it puts together nothing")),
        1 => Ok(parts.remove(0)),
        _ => {
            let body = Concat {
                parts,
                axis,
                shape: shape.to_vec(),
            };
            to.step(node, Body::Concat(body), shape)
        }
    }
}

fn pad(
    to: &mut Lowering<'_>,
    node: &TypedNode,
    pad: &TractPad,
    shape: &[usize],
) -> Result<View, Uncovered> {
    let input = to.read(node, 0)?;
    let constant = |value: &tract_onnx::prelude::Tensor| match input.element {
        Element::F32 => value
            .cast_to_scalar::<f32>()
            .map(|x| x.to_bits().cast_signed()),
        Element::Bool => value.cast_to_scalar::<bool>().map(i32::from),
        Element::I32 => value.cast_to_scalar::<i32>(),
        Element::I64 => value
            .cast_to_scalar::<i64>()
            .and_then(|x| Ok(i32::try_from(x)?)),
    };
    let mode = match &pad.mode {
        TractPadMode::Constant(value) => PadMode::Constant(
            constant(value).map_err(|error| uncovered(node, format!("{error:#}")))?,
        ),
        TractPadMode::Reflect => PadMode::Reflect,
        TractPadMode::Edge => PadMode::Edge,
    };
    let folds = |(&size, &(before, after)): (&usize, &(usize, usize))| match mode {
        PadMode::Constant(_) => true,
        PadMode::Reflect => before.max(after) < size,
        PadMode::Edge => size > 0,
    };
    if !input.shape.iter().zip(&pad.pads).all(folds) {
        return Err(uncovered(node, "it pads by more than it has"));
    }
    let body = Pad {
        input,
        before: pad.pads.iter().map(|pads| pads.0).collect(),
        shape: shape.to_vec(),
        mode,
    };
    to.step(node, Body::Pad(body), shape)
}

/// Places of the input that one of the output looks at when it takes the nearest.
const NEAREST_WINDOW: usize = 2;

/// Axis by axis, in the order and with the weights that the CPU uses: `plan` tells them of
/// an axis, `window` a place.
fn resize(
    to: &mut Lowering<'_>,
    node: &TypedNode,
    given: Option<usize>,
    (window, plan): (usize, &dyn Fn(f32, usize, usize) -> AxisPlan),
    shape: &[usize],
) -> Result<View, Uncovered> {
    let mut view = to.read(node, 0)?;
    to.f32_only(node, &view)?;
    let given = given
        .and_then(|input| to.constant(node, input))
        .filter(|scales| scales.len() == shape.len() && scales.datum_type() == DatumType::F32);
    let given: Option<Vec<f32>> = given.map(|scales| {
        let (numbers, _) = scales.as_bytes().as_chunks::<4>();
        numbers
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect()
    });
    let from = view.shape.clone();
    for axis in 0..shape.len() {
        let (old, new) = (from[axis], shape[axis]);
        let scale = given
            .as_ref()
            .map_or(new as f32 / old as f32, |scales| scales[axis]);
        if old == new && scale == 1.0 {
            continue;
        }
        if old == 0 || new == 0 {
            return Err(uncovered(node, "an empty value is not resized"));
        }
        let mut shape = view.shape.clone();
        shape[axis] = new;
        // Tables grow with the value, so both are looked at before either is made.
        let table = [new, window];
        to.check_value(node, Element::F32, &shape)?;
        to.check_value(node, Element::F32, &table)?;
        to.charge(node, Element::F32, &table, 2)?;
        let plan = plan(scale, old, new);
        if plan.window != window {
            return Err(uncovered(node, "its window is not the one that was told"));
        }
        if plan.extrapolated.contains(&true) {
            return Err(uncovered(node, "it extrapolates"));
        }
        let words = |numbers: Vec<u32>| numbers.into_iter().flat_map(u32::to_le_bytes).collect();
        let places = plan.indices.iter().map(|&place| place as u32).collect();
        let weights = plan.weights.iter().map(|weight| weight.to_bits()).collect();
        let places = to.add_weight(Element::I32, &table, words(places));
        let weights = to.add_weight(Element::F32, &table, words(weights));
        let body = Resize {
            input: view,
            along: ResizeAxis {
                axis,
                window,
                places,
                weights,
            },
            shape: shape.clone(),
        };
        view = to.step(node, Body::Resize(body), &shape)?;
    }
    Ok(view)
}

/// What ONNX's own `Resize` adds for the nearest element: rounding down at a half, and up
/// always. Its other additions (a region, antialiasing, other cubics) have no kernel.
fn onnx_resize(
    to: &mut Lowering<'_>,
    node: &TypedNode,
    resize: &OnnxResize,
    shape: &[usize],
) -> Result<View, Uncovered> {
    let simple = !resize.antialias
        && !resize.exclude_outside
        && resize.keep_aspect_ratio_policy == AspectRatio::Stretch
        && resize.interpolator == Interpolator::Nearest;
    let (CoordTransform::Plain(coordinate), true) = (&resize.coord_transformer, simple) else {
        return Err(uncovered(node, "this kind of resampling has no kernel"));
    };
    // Scales for some axes only are told by the sizes, which agree where they are whole.
    let all = resize.axes.is_none();
    let given = resize.optional_scales_input.filter(|_| all);
    if given.is_none()
        && resize.optional_scales_input.is_some_and(|input| {
            to.constant(node, input)
                .is_some_and(|scales| scales.len() > 0)
        })
    {
        return Err(uncovered(node, "scales of some axes have no kernel"));
    }
    let prefers_right = |ratio: f32| match resize.nearest {
        Nearest::Floor => false,
        Nearest::Ceil => true,
        Nearest::RoundPreferFloor => ratio > 0.5,
        Nearest::RoundPreferCeil => ratio >= 0.5,
    };
    let plan = |scale, old, new| {
        let place = |x| Some(coordinate.transform(x, scale, old, new));
        plan_axis(old, new, NEAREST_WINDOW, false, place, |ratio, taps| {
            let right = ratio == 1.0 || prefers_right(ratio);
            taps.copy_from_slice(&[f32::from(u8::from(!right)), f32::from(u8::from(right))]);
        })
    };
    self::resize(to, node, given, (NEAREST_WINDOW, &plan), shape)
}
