//! Whole models with random weights: the shapes that detectors come in, of any width,
//! so that a test runs in a blink and a bench at full size.
//!
//! Weights are scaled so that values stay around 1 from layer to layer, as in a
//! trained model; else an error would drown or explode on its way to the output.

mod encoder;
mod layers;
mod minilm;
mod mobilenet;
mod resnet;

use crate::devices::Array;
use crate::onnx::{Attribute, Writer};
use crate::random::Random;

/// The operator set of the files: the first with LayerNormalization.
const OPSET: i64 = 17;

/// An architecture; but for the last they are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// Sandler et al. 2018, arXiv:1801.04381: `pixels` f32 `[batch, 3, side, side]` to
    /// f32 `[batch, 1000 / narrowed_by]`.
    MobileNetV2,
    /// He et al. 2015, arXiv:1512.03385: as above.
    ResNet18,
    /// Wang et al. 2020, arXiv:2002.10957, 6 layers of 384, as a sentence encoder:
    /// `input_ids` and `attention_mask`, i64 `[batch, sequence]`, to f32
    /// `[batch, 384 / narrowed_by]`, the mean over what the mask keeps.
    MiniLm,
    /// Two layers of a like encoder as newer exporters write it: `token_type_ids` as well,
    /// and an answer of length 1.
    Encoder,
}

/// How large a model is, and what it reads.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// What each width is divided by; 1 is the published model, 4 a quarter.
    pub narrowed_by: usize,
    /// Pixels of an image's side; a multiple of 32.
    pub side: usize,
    /// Rows of the embedding table.
    pub vocabulary: usize,
    /// Tokens of a text in [`Architecture::inputs`], padding included; 512 at most.
    pub sequence: usize,
}

impl Size {
    /// As published, on 224 pixels and 128 tokens.
    pub const FULL: Self = Self {
        narrowed_by: 1,
        side: 224,
        vocabulary: 30_522,
        sequence: 128,
    };

    /// A quarter of the width, on 32 pixels and 16 tokens.
    pub const SMALL: Self = Self {
        narrowed_by: 4,
        side: 32,
        vocabulary: 101,
        sequence: 16,
    };
}

impl Architecture {
    /// Those that others publish figures of.
    pub const PUBLISHED: [Self; 3] = [Self::MobileNetV2, Self::ResNet18, Self::MiniLm];

    /// Each of them.
    pub const ALL: [Self; 4] = [
        Self::MobileNetV2,
        Self::ResNet18,
        Self::MiniLm,
        Self::Encoder,
    ];

    /// As benches and tests call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::MobileNetV2 => "mobilenet-v2",
            Self::ResNet18 => "resnet-18",
            Self::MiniLm => "minilm",
            Self::Encoder => "encoder",
        }
    }

    /// The ONNX file; the same every time.
    pub fn file(self, size: &Size) -> Vec<u8> {
        match self {
            Self::MobileNetV2 => mobilenet::file(size),
            Self::ResNet18 => resnet::file(size),
            Self::MiniLm => minilm::file(size),
            Self::Encoder => encoder::file(size),
        }
    }

    /// Inputs of `n_rows` rows; row i is the same in any number of them.
    pub fn inputs(self, size: &Size, n_rows: usize) -> Vec<(String, Array)> {
        match self {
            Self::MobileNetV2 | Self::ResNet18 => vec![("pixels".to_owned(), images(size, n_rows))],
            Self::MiniLm => minilm::inputs(size, n_rows),
            Self::Encoder => encoder::inputs(size, n_rows),
        }
    }
}

fn images(size: &Size, n_rows: usize) -> Array {
    let mut random = Random::new(1);
    let shape = [n_rows, 3, size.side, size.side];
    let n = shape.iter().product();
    let pixels: Vec<f32> = (0..n).map(|_| random.unit_variance()).collect();
    Array::floats(&shape, &pixels)
}

/// A convolution without bias, as it stands before a BatchNormalization.
#[derive(Debug, Clone, Copy)]
struct Conv {
    channels_in: usize,
    channels_out: usize,
    kernel: usize,
    stride: usize,
    groups: usize,
    /// Variance of the output over the mean square of the input: 2 after a rectifier,
    /// which halves it.
    gain: f32,
}

/// `x` `[batch, channels_in, height, width]` convolved, `same`-padded, and normalised
/// to `scale` times itself, give or take a tenth.
fn conv_norm(writer: &mut Writer, x: &str, conv: Conv, scale: f32) -> String {
    let per_group = conv.channels_in / conv.groups;
    let fan_in = per_group * conv.kernel * conv.kernel;
    let weight = writer.drawn(
        &[conv.channels_out, per_group, conv.kernel, conv.kernel],
        0.0,
        (conv.gain / fan_in as f32).sqrt(),
    );
    let [kernel, stride, groups] =
        [conv.kernel, conv.stride, conv.groups].map(|number| number as i64);
    let pad = kernel / 2;
    let y = writer.node(
        "Conv",
        &[x, &weight],
        &[
            Attribute::Integers("kernel_shape", &[kernel, kernel]),
            Attribute::Integers("strides", &[stride, stride]),
            Attribute::Integers("pads", &[pad, pad, pad, pad]),
            Attribute::Integers("dilations", &[1, 1]),
            Attribute::Integer("group", groups),
        ],
    );
    let n = conv.channels_out;
    let gamma = writer.drawn(&[n], scale, 0.1 * scale);
    let beta = writer.drawn(&[n], 0.0, 0.1 * scale);
    let mean = writer.drawn(&[n], 0.0, 0.1);
    let variance = writer.drawn(&[n], 1.0, 0.1);
    writer.node(
        "BatchNormalization",
        &[&y, &gamma, &beta, &mean, &variance],
        &[Attribute::Float("epsilon", 1e-5)],
    )
}

/// `x` `[batch, n_in]` times a drawn weight, plus a drawn bias: `[batch, n_out]`.
fn classifier(writer: &mut Writer, x: &str, n_in: usize, n_out: usize) -> String {
    // As PyTorch exports it: the weight as `[n_out, n_in]`.
    let weight = writer.drawn(&[n_out, n_in], 0.0, (n_in as f32).sqrt().recip());
    let bias = writer.drawn(&[n_out], 0.0, 0.1);
    writer.node(
        "Gemm",
        &[x, &weight, &bias],
        &[Attribute::Integer("transB", 1)],
    )
}

/// The mean over each channel's pixels, `[batch, channels]`.
fn pooled(writer: &mut Writer, x: &str) -> String {
    let x = writer.node("GlobalAveragePool", &[x], &[]);
    writer.node("Flatten", &[&x], &[Attribute::Integer("axis", 1)])
}
