//! How many operations a second does each device do in attention, from queries, keys and
//! values to what is seen? The largest of each row is taken and read back, so that all is
//! finished and the time is not that of copying it.

use criterion::{Criterion, criterion_group};
use trommel_benches::devices::{Load, Subject, Work, loaded_devices, measure};
use trommel_tests::devices::Array;
use trommel_tests::onnx::{Attribute, Dim, Writer};
use trommel_tests::random::Random;

/// Batch, heads, tokens, width of a head: MiniLM's texts, and longer ones.
const SIZES: [[usize; 4]; 4] = [
    [8, 12, 128, 32],
    [64, 12, 128, 32],
    [8, 12, 512, 64],
    [1, 12, 4096, 64],
];
const SMALL_SIZES: [[usize; 4]; 2] = [[1, 12, 17, 8], [1, 2, 128, 32]];

fn drawn(shape: &[usize], seed: u64) -> Array {
    let mut random = Random::new(seed);
    let n = shape.iter().product();
    let values: Vec<f32> = (0..n).map(|_| random.unit_variance()).collect();
    Array::floats(shape, &values)
}

/// The largest of each row that is seen; the last tenth of the keys is hidden.
fn file(heads: usize, tokens: usize, width: usize) -> Vec<u8> {
    // The first operator set with Attention.
    let mut writer = Writer::new(23, 1);
    let sizes = [heads, tokens, width].map(|size| Dim::Size(size as i64));
    let shape: Vec<Dim> = [Dim::Name("batch")].into_iter().chain(sizes).collect();
    let [q, k, v] = ["q", "k", "v"].map(|name| writer.input(name, &shape));
    let hides = |at: usize| at >= tokens - tokens / 10;
    let mask: Vec<f32> = (0..tokens)
        .map(|at| if hides(at) { f32::NEG_INFINITY } else { 0.0 })
        .collect();
    let mask = writer.floats(&[1, tokens], &mask);
    let seen = writer.node("Attention", &[&q, &k, &v, &mask], &[]);
    let last = writer.integers(&[-1]);
    let keeps = Attribute::Integer("keepdims", 0);
    let largest = writer.node("ReduceMax", &[&seen, &last], &[keeps]);
    writer.file(&[&largest])
}

fn kernel_attention(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("kernel_attention");
    for (name, device, load) in loaded_devices() {
        let sizes = match load {
            Load::Full => &SIZES[..],
            Load::Small => &SMALL_SIZES[..],
        };
        for &[batch, heads, tokens, width] in sizes {
            let shape = [batch, heads, tokens, width];
            let inputs = [("q", 1), ("k", 2), ("v", 3)];
            let inputs = inputs.map(|(name, seed)| (name.to_owned(), drawn(&shape, seed)));
            let subject = Subject {
                name: &format!("{batch}×{heads} of {tokens}×{width}"),
                file: &file(heads, tokens, width),
                inputs: &inputs,
                work: Work::Operations(4 * (batch * heads * tokens * tokens * width) as u64),
            };
            measure(
                &mut group,
                "kernel_attention",
                (name, device.as_ref()),
                &subject,
            );
        }
    }
    group.finish();
}

criterion_group!(benches, kernel_attention);

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
}
