//! Sums of products: `EinSum` as batched matrix products, convolutions.

use std::collections::BTreeMap;

use tract_onnx::prelude::{OutletId, TypedNode};
use tract_onnx::tract_core::ops::cnn::{Conv, KernelFormat};
use tract_onnx::tract_core::ops::einsum::EinSum;

use super::fold::{Channel, Folded, constant, fold};
use super::windows::spatial;
use super::{Lowering, uncovered};
use crate::plan::view::row_major;
use crate::plan::{Axis, Body, Contract, Convolve, Reduce, Reducer, Uncovered, View};

pub(super) fn lower(to: &mut Lowering<'_>, node: &TypedNode) -> Result<Option<View>, Uncovered> {
    if let Some(sum) = node.op_as::<EinSum>() {
        if sum.q_params.is_some() {
            return Err(uncovered(node, "quantised products have no kernel"));
        }
        return match node.inputs.len() {
            1 => single(to, node, sum),
            2 => product(to, node, sum),
            n => Err(uncovered(node, format!("a product of {n} has no kernel"))),
        }
        .map(Some);
    }
    if let Some(convolution) = node.op_as::<Conv>() {
        return convolve(to, node, convolution).map(Some);
    }
    Ok(None)
}

/// For each index its places in an input; refused where one stands twice.
fn places(node: &TypedNode, text: &str) -> Result<BTreeMap<char, usize>, Uncovered> {
    let mut places = BTreeMap::new();
    for (at, index) in text.chars().enumerate() {
        if places.insert(index, at).is_some() {
            return Err(uncovered(node, "a diagonal has no kernel"));
        }
    }
    Ok(places)
}

/// A sum and permutation of one input.
fn single(to: &mut Lowering<'_>, node: &TypedNode, sum: &EinSum) -> Result<View, Uncovered> {
    let (inputs, outputs) = sum.axes.to_strs();
    let places = places(node, &inputs[0])?;
    let input = to.read(node, 0)?;
    to.f32_only(node, &input)?;
    let shape = to.shape(node, OutletId::new(node.id, 0))?;
    let mut view = View {
        shape: Vec::new(),
        strides: Vec::new(),
        ..input.clone()
    };
    let mut kept = Vec::new();
    for (index, &size) in outputs[0].chars().zip(&shape) {
        let stride = match places.get(&index) {
            Some(&axis) => {
                kept.push(axis);
                input.strides[axis]
            }
            None if size == 1 => 0,
            None => return Err(uncovered(node, "an output index stands in no input")),
        };
        view.shape.push(size);
        view.strides.push(stride);
    }
    let n_kept = view.shape.len();
    for axis in (0..input.shape.len()).filter(|axis| !kept.contains(axis)) {
        view.shape.push(input.shape[axis]);
        view.strides.push(input.strides[axis]);
    }
    if view.shape.len() == n_kept {
        return Ok(view);
    }
    let body = Reduce {
        input: view,
        n_kept,
        reducer: Reducer::Sum,
    };
    to.step(node, Body::Reduce(body), &shape)
}

fn product(to: &mut Lowering<'_>, node: &TypedNode, sum: &EinSum) -> Result<View, Uncovered> {
    let (inputs, outputs) = sum.axes.to_strs();
    let (in_a, in_b) = (places(node, &inputs[0])?, places(node, &inputs[1])?);
    let in_out = places(node, &outputs[0])?;
    let of_one = [(0, &in_a, &in_b), (1, &in_b, &in_a)]
        .into_iter()
        .find(|(input, ..)| constant(to.model, node.inputs[*input]).is_some());
    let mut folded = None;
    let mut channels = Vec::new();
    if let Some((input, own, other)) = of_one {
        let sizes = to.constant(node, input).map(|tensor| tensor.shape());
        let sizes = sizes.unwrap_or_default();
        for (out, index) in outputs[0].chars().enumerate() {
            if let (Some(&weight), None) = (own.get(&index), other.get(&index)) {
                let size = sizes[weight];
                channels.push((index, Channel { out, weight, size }));
            }
        }
        let channels: Vec<Channel> = channels.iter().map(|(_, channel)| *channel).collect();
        let fold = fold(to, node, input, &channels, None)?;
        folded = fold.map(|folded| (input, folded));
    }
    let mut read = |input: usize| match &folded {
        Some((of, folded)) if *of == input => match &folded.weights {
            Some(weights) => Ok(weights.clone()),
            None => to.read(node, input),
        },
        _ => to.read(node, input),
    };
    let (a, b) = (read(0)?, read(1)?);
    to.f32_only(node, &a)?;
    to.f32_only(node, &b)?;
    let bias = folded.map(|(_, folded)| folded.bias);
    let along_bias = |index: char| {
        let at = channels.iter().position(|(own, _)| *own == index)?;
        Some(bias.as_ref()?.strides[at])
    };
    let shape = to.shape(node, OutletId::new(node.id, 0))?;
    let out_strides = row_major(&shape);
    let axis = |index: char| {
        // A dimension of 1 stands for any size.
        let of = |view: &View, places: &BTreeMap<char, usize>| {
            let at = places.get(&index)?;
            Some((view.shape[*at], view.strides[*at]))
        };
        let (a, b) = (of(&a, &in_a), of(&b, &in_b));
        let out = in_out.get(&index).map(|&at| (shape[at], out_strides[at]));
        let sizes = [a, b, out].into_iter().flatten();
        let size = sizes
            .map(|(size, _)| size)
            .find(|&size| size != 1)
            .unwrap_or(1);
        let stride = |side: Option<(usize, i64)>| match side {
            Some((own, stride)) if own == size => stride,
            _ => 0,
        };
        let axis = Axis {
            size,
            a: stride(a),
            b: stride(b),
            out: stride(out),
            bias: along_bias(index).unwrap_or(0),
        };
        (axis, a.is_some(), b.is_some())
    };
    let (mut batch, mut rows, mut columns) = (Vec::new(), Vec::new(), Vec::new());
    for index in outputs[0].chars() {
        match axis(index) {
            (axis, true, true) => batch.push(axis),
            (axis, true, false) => rows.push(axis),
            (axis, false, true) => columns.push(axis),
            // A dimension that is merely there.
            (axis, false, false) if axis.size == 1 => {}
            (_, false, false) => {
                return Err(uncovered(node, "an output index stands in no input"));
            }
        }
    }
    let everywhere: Vec<char> = in_a.keys().chain(in_b.keys()).copied().collect();
    let mut inner: Vec<Axis> = Vec::new();
    let mut seen = Vec::new();
    for index in everywhere {
        if !in_out.contains_key(&index) && !seen.contains(&index) {
            seen.push(index);
            inner.push(axis(index).0);
        }
    }
    let mut body = Contract {
        a,
        b,
        batch,
        rows,
        columns,
        inner,
        bias: bias.clone(),
    };
    // Neighbours in the output are neighbouring columns, so that they are stored together.
    let nearest = |axes: &[Axis]| axes.iter().filter(|it| it.size > 1).map(|it| it.out).min();
    if nearest(&body.rows).is_some_and(|rows| nearest(&body.columns).is_none_or(|it| rows < it)) {
        let turned = |axes: Vec<Axis>| -> Vec<Axis> {
            let turn = |axis: Axis| Axis {
                a: axis.b,
                b: axis.a,
                ..axis
            };
            axes.into_iter().map(turn).collect()
        };
        body = Contract {
            a: body.b,
            b: body.a,
            batch: turned(body.batch),
            rows: turned(body.columns),
            columns: turned(body.rows),
            inner: turned(body.inner),
            bias: body.bias,
        };
    }
    to.step(node, Body::Contract(body), &shape)
}

/// What can be folded into a convolution of constants.
fn after_convolution(
    to: &mut Lowering<'_>,
    node: &TypedNode,
    conv: &Conv,
) -> Result<Option<Folded>, Uncovered> {
    let Some((kernel, _)) = constant(to.model, node.inputs[1]) else {
        return Ok(None);
    };
    let Some((_, bias)) = constant(to.model, node.inputs[2]) else {
        return Ok(None);
    };
    let rank = node.outputs[0].fact.shape.rank();
    let format = conv.pool_spec.data_format;
    let channel = Channel {
        out: match format.c_is_last() {
            true => rank - 1,
            false => usize::from(format.has_n()),
        },
        weight: 0,
        size: kernel.shape()[0],
    };
    let own = match bias {
        [one] => vec![*one; channel.size],
        all if all.len() == channel.size => all.to_vec(),
        _ => return Ok(None),
    };
    fold(to, node, 1, &[channel], Some(own))
}

fn convolve(to: &mut Lowering<'_>, node: &TypedNode, conv: &Conv) -> Result<View, Uncovered> {
    if conv.q_params.is_some() || conv.kernel_fmt != KernelFormat::OIHW {
        return Err(uncovered(node, "no kernel for this layout of weights"));
    }
    let folded = after_convolution(to, node, conv)?;
    let input = to.read(node, 0)?;
    let (kernel, bias) = match folded {
        None => (to.read(node, 1)?, to.read(node, 2)?),
        Some(folded) => match folded.weights {
            None => (to.read(node, 1)?, folded.bias),
            Some(kernel) => (kernel, folded.bias),
        },
    };
    for view in [&input, &kernel, &bias] {
        to.f32_only(node, view)?;
    }
    let shape = to.shape(node, OutletId::new(node.id, 0))?;
    let spec = &conv.pool_spec;
    let format = spec.data_format;
    let (sizes, input) = spatial(node, spec, input, &shape)?;
    let groups = conv.group;
    let (n_out, n_in) = (kernel.shape[0], kernel.shape[1]);
    if groups == 0
        || !n_out.is_multiple_of(groups)
        || Some(input.shape[1]) != n_in.checked_mul(groups)
    {
        return Err(uncovered(node, "its groups do not divide its channels"));
    }
    let per_group = n_out / groups;
    let bias = match bias.n_elements() {
        1 => View {
            shape: vec![groups, per_group],
            strides: vec![0, 0],
            ..bias
        },
        n if n == n_out && bias.shape.len() == 1 => split(bias, 0, groups),
        _ => return Err(uncovered(node, "its bias fits no channel")),
    };
    // The output's strides in the order image, channel, spatial.
    let own = row_major(&shape);
    let image = format.has_n().then(|| own[0]);
    let first = usize::from(format.has_n());
    let (channel, places): (i64, Vec<i64>) = match format.c_is_last() {
        true => (1, own[first..own.len() - 1].to_vec()),
        false => (own[first], own[first + 1..].to_vec()),
    };
    let out = [image.unwrap_or(0), channel * per_group as i64, channel]
        .into_iter()
        .chain(places)
        .collect();
    let body = Convolve {
        input: split(input, 1, groups),
        kernel: split(kernel, 0, groups),
        bias: Some(bias),
        spatial: sizes,
        out,
    };
    to.step(node, Body::Convolve(body), &shape)
}

/// One dimension as two, the outer one of size `into`, which divides it.
pub(super) fn split(mut view: View, axis: usize, into: usize) -> View {
    let (size, stride) = (view.shape[axis] / into, view.strides[axis]);
    view.shape[axis] = size;
    view.shape.insert(axis, into);
    view.strides.insert(axis, stride * size as i64);
    view
}
