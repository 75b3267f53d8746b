//! Scales and biases of channels that follow a sum of products, folded into its weights and
//! bias: what is left of a batch normalisation, and the bias of a linear layer.
//!
//! Looked for in the graph, where sizes are symbols, and never in steps: so a batch is
//! folded as its rows alone are, and both sum the same numbers in the same order.

use tract_onnx::prelude::{DatumType, OutletId, Tensor, TypedModel, TypedNode};
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::ops::math;

use super::Lowering;
use crate::plan::view::{count, row_major};
use crate::plan::{Element, Uncovered, View};

/// Operations folded into one sum at most; each looks at all channels.
const MAX_FOLDED: usize = 8;

/// A dimension that a product's weights bring into its output.
#[derive(Debug, Clone, Copy)]
pub(super) struct Channel {
    /// Which dimension of the output it is.
    pub(super) out: usize,
    /// Which of the weights.
    pub(super) weight: usize,
    pub(super) size: usize,
}

/// What a sum of products reads instead of its own weights and bias.
pub(super) struct Folded {
    /// As the node's own weights lie; none where those stay.
    pub(super) weights: Option<View>,
    /// `[channels…]`.
    pub(super) bias: View,
}

/// Folds what follows `node`, whose constant input `weights` has `channels`, and marks the
/// nodes that are folded as done. `own` is the bias of each channel that the node has.
/// `None` where nothing can be folded.
pub(super) fn fold(
    to: &mut Lowering<'_>,
    node: &TypedNode,
    weights: usize,
    channels: &[Channel],
    own: Option<Vec<f32>>,
) -> Result<Option<Folded>, Uncovered> {
    let Some((tensor, numbers)) = constant(to.model, node.inputs[weights]) else {
        return Ok(None);
    };
    let largest = numbers.iter().fold(0.0_f32, |most, w| most.max(w.abs()));
    // A maximum passes over what is no number.
    let is_finite = numbers.iter().all(|w| w.is_finite());
    let mut found = Following {
        channels,
        // Weights that another reads too would be copied.
        most_scale: match is_finite && is_read_once(to.model, node.inputs[weights]) {
            true => f32::MAX / largest.max(1.0),
            false => -1.0,
        },
        scale: None,
        bias: own.unwrap_or_else(|| vec![0.0; count(channels.iter().map(|it| it.size))]),
        done: Vec::new(),
    };
    found.follow(to.model, node);
    if found.done.is_empty() {
        return Ok(None);
    }
    let sizes: Vec<usize> = channels.iter().map(|it| it.size).collect();
    to.check_value(node, Element::F32, &sizes)?;
    to.charge(node, Element::F32, &sizes, 1)?;
    let weights = match &found.scale {
        None => None,
        Some(scale) => {
            to.check_value(node, Element::F32, tensor.shape())?;
            let bytes = scaled(numbers, tensor.shape(), channels, scale);
            Some(to.add_weight(Element::F32, tensor.shape(), bytes))
        }
    };
    let bias = found.bias.iter().flat_map(|x| x.to_le_bytes()).collect();
    let bias = to.add_weight(Element::F32, &sizes, bias);
    to.done.extend(found.done);
    Ok(Some(Folded { weights, bias }))
}

/// A constant of f32, and its elements.
pub(super) fn constant(model: &TypedModel, outlet: OutletId) -> Option<(&Tensor, &[f32])> {
    let tensor = model.node(outlet.node).op_as::<Const>()?.val();
    if tensor.datum_type() != DatumType::F32 || !tensor.is_plain_ram() {
        return None;
    }
    let plain = tensor.as_plain_ram()?;
    Some((tensor, plain.as_slice::<f32>().ok()?))
}

/// Whether one node reads it and the graph does not give it out.
pub(super) fn is_read_once(model: &TypedModel, outlet: OutletId) -> bool {
    let readers = &model.node(outlet.node).outputs[outlet.slot].successors;
    readers.len() == 1 && !model.outputs.contains(&outlet)
}

/// What is gathered on the way along the nodes after a sum: `it * scale + bias`.
struct Following<'a> {
    channels: &'a [Channel],
    /// A scale may be so large that no weight becomes infinite; below 0 where there can be none.
    most_scale: f32,
    scale: Option<Vec<f32>>,
    bias: Vec<f32>,
    /// Nodes that do nothing more, and their input that goes on as it is.
    done: Vec<(usize, usize)>,
}

impl Following<'_> {
    fn follow(&mut self, model: &TypedModel, node: &TypedNode) {
        let rank = node.outputs[0].fact.shape.rank();
        // Which channel each dimension is, as dimensions come, go and move.
        let channel = |axis| self.channels.iter().position(|it| it.out == axis);
        let mut axes: Vec<Option<usize>> = (0..rank).map(channel).collect();
        let mut outlet = OutletId::new(node.id, 0);
        while self.done.len() < MAX_FOLDED && is_read_once(model, outlet) {
            let reader = model.node(outlet.node).outputs[outlet.slot].successors[0];
            let next = model.node(reader.node);
            outlet = OutletId::new(next.id, 0);
            match next.op_as::<AxisOp>() {
                Some(AxisOp::Add(at)) => axes.insert(*at, None),
                Some(AxisOp::Rm(at)) => drop(axes.remove(*at)),
                Some(AxisOp::Move(from, into)) => {
                    let axis = axes.remove(*from);
                    axes.insert(*into, axis);
                }
                Some(AxisOp::Reshape(..)) => return,
                None => match self.take(model, next, reader.slot, &axes) {
                    Some(()) => self.done.push((next.id, reader.slot)),
                    None => return,
                },
            }
        }
    }

    /// Takes in a node that scales or shifts channels; none where it does something else.
    fn take(
        &mut self,
        model: &TypedModel,
        next: &TypedNode,
        slot: usize,
        axes: &[Option<usize>],
    ) -> Option<()> {
        let op = next.op_as::<TypedBinOp>()?;
        if op.1.is_some_and(|into| into != DatumType::F32) {
            return None;
        }
        let (tensor, numbers) = constant(model, *next.inputs.get(1 - slot)?)?;
        let by = self.spread(tensor.shape(), numbers, axes)?;
        let n = self.bias.len();
        let join = |a: &[f32], f: fn(f32, f32) -> f32| -> Vec<f32> {
            a.iter().zip(&by).map(|(a, by)| f(*a, *by)).collect()
        };
        let own = self.scale.clone();
        let own = || own.unwrap_or_else(|| vec![1.0; n]);
        let (scale, bias) = if op.0.is::<math::Mul>() {
            let scale = join(&own(), |a, by| a * by);
            (Some(scale), join(&self.bias, |a, by| a * by))
        } else if op.0.is::<math::Add>() {
            (self.scale.clone(), join(&self.bias, |a, by| a + by))
        } else if op.0.is::<math::Sub>() && slot == 0 {
            (self.scale.clone(), join(&self.bias, |a, by| a - by))
        } else if op.0.is::<math::Sub>() {
            let scale = own().iter().map(|scale| -scale).collect();
            (Some(scale), join(&self.bias, |a, by| by - a))
        } else {
            return None;
        };
        let mut scales = scale.iter().flatten();
        // Written so that what is no number is not within.
        let fits = scales.all(|scale| scale.abs() <= self.most_scale)
            && bias.iter().all(|bias| bias.is_finite());
        if !fits {
            return None;
        }
        (self.scale, self.bias) = (scale, bias);
        Some(())
    }

    /// The number of each channel; none where a constant differs along another dimension.
    fn spread(&self, shape: &[usize], numbers: &[f32], axes: &[Option<usize>]) -> Option<Vec<f32>> {
        if shape.len() != axes.len() {
            return None;
        }
        let mut strides = vec![0; self.channels.len()];
        for ((&size, &axis), stride) in shape.iter().zip(axes).zip(row_major(shape)) {
            if size == 1 {
                continue;
            }
            let channel = axis?;
            if self.channels[channel].size != size {
                return None;
            }
            strides[channel] = usize::try_from(stride).ok()?;
        }
        let sizes: Vec<usize> = self.channels.iter().map(|it| it.size).collect();
        let of = |at: usize| numbers[place(at, &sizes, &strides)];
        Some((0..self.bias.len()).map(of).collect())
    }
}

/// Where the row-major index `at` lies by other strides.
fn place(mut at: usize, sizes: &[usize], strides: &[usize]) -> usize {
    let mut place = 0;
    for (&size, &stride) in sizes.iter().zip(strides).rev() {
        place += at % size * stride;
        at /= size;
    }
    place
}

/// Weights as the device keeps them, each by its channel's scale.
fn scaled(numbers: &[f32], shape: &[usize], channels: &[Channel], scale: &[f32]) -> Vec<u8> {
    let mut strides = vec![0; shape.len()];
    let mut stride = 1;
    for channel in channels.iter().rev() {
        strides[channel.weight] = stride;
        stride *= channel.size;
    }
    // Along the last dimensions that are no channel the scale is one and the same.
    let last = strides.iter().rposition(|stride| *stride != 0);
    let outer = last.map_or(0, |last| last + 1);
    let run = count(&shape[outer..]).max(1);
    let mut bytes = Vec::with_capacity(4 * numbers.len());
    for (at, run) in numbers.chunks(run).enumerate() {
        let scale = scale[place(at, &shape[..outer], &strides[..outer])];
        bytes.extend(run.iter().flat_map(|w| (w * scale).to_le_bytes()));
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_scaled_by_their_own_channel() {
        let numbers: Vec<f32> = (1..=12).map(|x| x as f32).collect();
        let floats = |bytes: Vec<u8>| -> Vec<f32> {
            let (words, _) = bytes.as_chunks::<4>();
            words.iter().map(|word| f32::from_le_bytes(*word)).collect()
        };
        let channel = |weight, size| Channel {
            out: 0,
            weight,
            size,
        };
        let first = scaled(&numbers, &[2, 6], &[channel(0, 2)], &[1.0, 10.0]);
        assert_eq!(
            floats(first),
            [1., 2., 3., 4., 5., 6., 70., 80., 90., 100., 110., 120.]
        );
        let last = scaled(&numbers, &[4, 3], &[channel(1, 3)], &[1.0, 0.0, -1.0]);
        assert_eq!(
            floats(last),
            [1., 0., -3., 4., 0., -6., 7., 0., -9., 10., 0., -12.]
        );
        // Channels in the output's order, which is not the weights'.
        let turned = [channel(2, 2), channel(0, 3)];
        let both = scaled(&numbers, &[3, 2, 2], &turned, &[1., 2., 3., 10., 20., 30.]);
        assert_eq!(
            floats(both),
            [1., 20., 3., 40., 10., 120., 14., 160., 27., 300., 33., 360.]
        );
    }
}
