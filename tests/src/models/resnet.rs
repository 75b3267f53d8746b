//! ResNet-18: pairs of 3×3 convolutions with a way around (arXiv:1512.03385, table 1).

use super::{Conv, OPSET, Size, classifier, conv_norm, pooled};
use crate::onnx::{Attribute, Dim, Writer};

/// Channels of the four stages of two blocks each.
const STAGES: [usize; 4] = [64, 128, 256, 512];

pub(super) fn file(size: &Size) -> Vec<u8> {
    let mut writer = Writer::new(OPSET, 0x4e57);
    let side = Dim::Size(size.side as i64);
    let pixels = writer.input("pixels", &[Dim::Name("batch"), Dim::Size(3), side, side]);
    let stem = Conv {
        channels_in: 3,
        channels_out: STAGES[0] / size.narrowed_by,
        kernel: 7,
        stride: 2,
        groups: 1,
        gain: 1.0,
    };
    let x = conv_norm(&mut writer, &pixels, stem, 1.0);
    let x = writer.node("Relu", &[&x], &[]);
    let mut x = writer.node(
        "MaxPool",
        &[&x],
        &[
            Attribute::Integers("kernel_shape", &[3, 3]),
            Attribute::Integers("strides", &[2, 2]),
            Attribute::Integers("pads", &[1, 1, 1, 1]),
        ],
    );
    let mut channels = stem.channels_out;
    for (stage, wide) in STAGES.into_iter().enumerate() {
        for block in 0..2 {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let channels_out = wide / size.narrowed_by;
            x = block_of(&mut writer, &x, (channels, channels_out), stride);
            channels = channels_out;
        }
    }
    let x = pooled(&mut writer, &x);
    let y = classifier(&mut writer, &x, channels, 1000 / size.narrowed_by);
    writer.file(&[&y])
}

fn block_of(writer: &mut Writer, input: &str, channels: (usize, usize), stride: usize) -> String {
    let (channels_in, channels_out) = channels;
    let first = Conv {
        channels_in,
        channels_out,
        kernel: 3,
        stride,
        groups: 1,
        gain: 2.0,
    };
    let second = Conv {
        channels_in: channels_out,
        stride: 1,
        ..first
    };
    let x = conv_norm(writer, input, first, 1.0);
    let x = writer.node("Relu", &[&x], &[]);
    // A branch that is added stays small, else eight of them would grow.
    let branch = conv_norm(writer, &x, second, 0.4);
    let around = if stride == 1 && channels_in == channels_out {
        input.to_owned()
    } else {
        let shortcut = Conv { kernel: 1, ..first };
        conv_norm(writer, input, shortcut, 0.7)
    };
    let sum = writer.node("Add", &[&branch, &around], &[]);
    writer.node("Relu", &[&sum], &[])
}
