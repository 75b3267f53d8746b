//! MobileNetV2: depthwise convolutions between narrow ends (arXiv:1801.04381, table 2).

use super::{Conv, OPSET, Size, classifier, conv_norm, pooled};
use crate::onnx::{Dim, Writer};

/// Expansion, channels, blocks, and stride of the first block.
const STAGES: [(usize, usize, usize, usize); 7] = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
];

pub(super) fn file(size: &Size) -> Vec<u8> {
    let mut writer = Writer::new(OPSET, 0x0b11e);
    let side = Dim::Size(size.side as i64);
    let pixels = writer.input("pixels", &[Dim::Name("batch"), Dim::Size(3), side, side]);
    // Rounded to eights, as the paper's authors do.
    let narrowed = |channels: usize| (channels / size.narrowed_by).next_multiple_of(8);
    let stem = Conv {
        channels_in: 3,
        channels_out: narrowed(32),
        kernel: 3,
        stride: 2,
        groups: 1,
        gain: 1.0,
    };
    let x = conv_norm(&mut writer, &pixels, stem, 1.0);
    let mut x = relu6(&mut writer, &x);
    let mut channels = stem.channels_out;
    for (expansion, channels_out, n_blocks, stride) in STAGES {
        for block in 0..n_blocks {
            let block = Block {
                channels_in: channels,
                channels_out: narrowed(channels_out),
                expansion,
                stride: if block == 0 { stride } else { 1 },
            };
            x = block.write(&mut writer, &x);
            channels = block.channels_out;
        }
    }
    let n_features = narrowed(1280);
    let head = Conv {
        channels_in: channels,
        channels_out: n_features,
        kernel: 1,
        stride: 1,
        groups: 1,
        gain: 1.0,
    };
    let x = conv_norm(&mut writer, &x, head, 1.0);
    let x = relu6(&mut writer, &x);
    let x = pooled(&mut writer, &x);
    let y = classifier(&mut writer, &x, n_features, 1000 / size.narrowed_by);
    writer.file(&[&y])
}

/// Widens, convolves each channel by itself, narrows.
struct Block {
    channels_in: usize,
    channels_out: usize,
    expansion: usize,
    stride: usize,
}

impl Block {
    fn write(&self, writer: &mut Writer, input: &str) -> String {
        let wide = self.channels_in * self.expansion;
        let mut x = input.to_owned();
        if self.expansion > 1 {
            let expand = Conv {
                channels_in: self.channels_in,
                channels_out: wide,
                kernel: 1,
                stride: 1,
                groups: 1,
                gain: 1.0,
            };
            x = conv_norm(writer, &x, expand, 1.0);
            x = relu6(writer, &x);
        }
        let depthwise = Conv {
            channels_in: wide,
            channels_out: wide,
            kernel: 3,
            stride: self.stride,
            groups: wide,
            gain: 2.0,
        };
        x = conv_norm(writer, &x, depthwise, 1.0);
        x = relu6(writer, &x);
        let is_residual = self.stride == 1 && self.channels_in == self.channels_out;
        let project = Conv {
            channels_in: wide,
            channels_out: self.channels_out,
            kernel: 1,
            stride: 1,
            groups: 1,
            gain: 2.0,
        };
        // A branch that is added stays small, else ten of them would grow without end.
        x = conv_norm(writer, &x, project, if is_residual { 0.3 } else { 1.0 });
        if is_residual {
            x = writer.node("Add", &[input, &x], &[]);
        }
        x
    }
}

fn relu6(writer: &mut Writer, x: &str) -> String {
    let (low, high) = (writer.float(0.0), writer.float(6.0));
    writer.node("Clip", &[x, &low, &high], &[])
}
