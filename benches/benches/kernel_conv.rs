//! How many operations a second does each device do in one convolution? The shapes are
//! those of ResNet-18 and MobileNetV2. The largest pixel of each channel is read back,
//! so that the convolution is finished and the time is not that of copying it.

use criterion::{Criterion, criterion_group};
use trommel_benches::devices::{Load, Subject, Work, loaded_devices, measure};
use trommel_tests::devices::Array;
use trommel_tests::onnx::{Attribute, Dim, Writer};
use trommel_tests::random::Random;

/// A convolution over square images, padded to keep their size over the stride.
struct Shape {
    name: &'static str,
    channels_in: usize,
    channels_out: usize,
    side: usize,
    kernel: usize,
    stride: usize,
    groups: usize,
}

const fn shape(
    name: &'static str,
    channels: (usize, usize),
    side: usize,
    window: (usize, usize),
    groups: usize,
) -> Shape {
    Shape {
        name,
        channels_in: channels.0,
        channels_out: channels.1,
        side,
        kernel: window.0,
        stride: window.1,
        groups,
    }
}

const SHAPES: [Shape; 6] = [
    shape("stem 7×7/2 3→64 at 224", (3, 64), 224, (7, 2), 1),
    shape("3×3 64→64 at 56", (64, 64), 56, (3, 1), 1),
    shape("3×3 512→512 at 7", (512, 512), 7, (3, 1), 1),
    shape("1×1 24→144 at 56", (24, 144), 56, (1, 1), 1),
    shape("depthwise 3×3 144 at 56", (144, 144), 56, (3, 1), 144),
    shape("depthwise 3×3/2 96 at 112", (96, 96), 112, (3, 2), 96),
];
/// The same at a quarter of the width, on 32 pixels.
const SMALL_SHAPES: [Shape; 6] = [
    shape("stem 7×7/2 3→16 at 32", (3, 16), 32, (7, 2), 1),
    shape("3×3 16→16 at 8", (16, 16), 8, (3, 1), 1),
    shape("3×3 128→128 at 1", (128, 128), 1, (3, 1), 1),
    shape("1×1 8→48 at 8", (8, 48), 8, (1, 1), 1),
    shape("depthwise 3×3 48 at 8", (48, 48), 8, (3, 1), 48),
    shape("depthwise 3×3/2 24 at 16", (24, 24), 16, (3, 2), 24),
];
const BATCHES: [usize; 2] = [1, 8];

impl Shape {
    fn file(&self) -> Vec<u8> {
        let mut writer = Writer::new(18, 1);
        let dims = [self.channels_in, self.side, self.side].map(|size| Dim::Size(size as i64));
        let x = writer.input("x", &[Dim::Name("batch"), dims[0], dims[1], dims[2]]);
        let per_group = self.channels_in / self.groups;
        let fan_in = per_group * self.kernel * self.kernel;
        let weight = writer.drawn(
            &[self.channels_out, per_group, self.kernel, self.kernel],
            0.0,
            (fan_in as f32).sqrt().recip(),
        );
        let [kernel, stride, groups] =
            [self.kernel, self.stride, self.groups].map(|number| number as i64);
        let attributes = [
            Attribute::Integers("kernel_shape", &[kernel, kernel]),
            Attribute::Integers("strides", &[stride, stride]),
            Attribute::Integers("pads", &[kernel / 2; 4]),
            Attribute::Integer("group", groups),
        ];
        let y = writer.node("Conv", &[&x, &weight], &attributes);
        let axes = writer.integers(&[2, 3]);
        let largest = writer.node("ReduceMax", &[&y, &axes], &[]);
        writer.file(&[&largest])
    }

    fn inputs(&self, batch: usize) -> Vec<(String, Array)> {
        let mut random = Random::new(1);
        let shape = [batch, self.channels_in, self.side, self.side];
        let n = shape.iter().product();
        let values: Vec<f32> = (0..n).map(|_| random.unit_variance()).collect();
        vec![("x".to_owned(), Array::floats(&shape, &values))]
    }

    fn operations(&self, batch: usize) -> u64 {
        let side = self.side.div_ceil(self.stride);
        let taps = self.channels_in / self.groups * self.kernel * self.kernel;
        2 * (batch * self.channels_out * side * side * taps) as u64
    }
}

fn kernel_conv(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("kernel_conv");
    for (name, device, load) in loaded_devices() {
        let shapes = match load {
            Load::Full => &SHAPES,
            Load::Small => &SMALL_SHAPES,
        };
        for shape in shapes {
            for batch in BATCHES {
                let subject = Subject {
                    name: &format!("{}, batch {batch}", shape.name),
                    file: &shape.file(),
                    inputs: &shape.inputs(batch),
                    work: Work::Operations(shape.operations(batch)),
                };
                measure(&mut group, "kernel_conv", (name, device.as_ref()), &subject);
            }
        }
    }
    group.finish();
}

criterion_group!(benches, kernel_conv);

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
}
