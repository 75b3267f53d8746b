//! How many operations a second does each device do in one matrix product, by a weight
//! or of two inputs? The largest of each row is taken and read back, so that the
//! product is finished and the time is not that of copying it.

use criterion::{Criterion, criterion_group};
use trommel_benches::devices::{Load, Subject, Work, loaded_devices, measure};
use trommel_tests::devices::Array;
use trommel_tests::onnx::{Attribute, Dim, Writer};
use trommel_tests::random::Random;

/// Rows, depth, columns: a batch of one, MiniLM's widest, and squares.
const BY_WEIGHT: [(usize, usize, usize); 5] = [
    (1, 1024, 1024),
    (128, 384, 1536),
    (1024, 384, 1536),
    (1024, 1024, 1024),
    (4096, 4096, 4096),
];
const SMALL_BY_WEIGHT: [(usize, usize, usize); 3] =
    [(1, 256, 256), (128, 96, 384), (128, 128, 128)];

/// Batch, heads, rows, depth, columns, as attention multiplies.
const OF_INPUTS: [[usize; 5]; 2] = [[8, 12, 128, 32, 128], [8, 12, 128, 128, 32]];
const SMALL_OF_INPUTS: [[usize; 5]; 1] = [[1, 12, 17, 8, 17]];

fn drawn(shape: &[usize], seed: u64) -> Array {
    let mut random = Random::new(seed);
    let n = shape.iter().product();
    let values: Vec<f32> = (0..n).map(|_| random.unit_variance()).collect();
    Array::floats(shape, &values)
}

fn dims(sizes: &[usize]) -> Vec<Dim> {
    let sizes = sizes.iter().map(|&size| Dim::Size(size as i64));
    [Dim::Name("batch")].into_iter().chain(sizes).collect()
}

/// The largest of each row of `product`.
fn file(mut writer: Writer, product: &str) -> Vec<u8> {
    let last = writer.integers(&[-1]);
    let keeps = Attribute::Integer("keepdims", 0);
    let largest = writer.node("ReduceMax", &[product, &last], &[keeps]);
    writer.file(&[&largest])
}

fn kernel_matmul(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("kernel_matmul");
    for (name, device, load) in loaded_devices() {
        let (by_weight, of_inputs) = match load {
            Load::Full => (&BY_WEIGHT[..], &OF_INPUTS[..]),
            Load::Small => (&SMALL_BY_WEIGHT[..], &SMALL_OF_INPUTS[..]),
        };
        for &(m, k, n) in by_weight {
            let mut writer = Writer::new(18, 1);
            let x = writer.input("x", &dims(&[k]));
            let weight = writer.drawn(&[k, n], 0.0, (k as f32).sqrt().recip());
            let product = writer.node("MatMul", &[&x, &weight], &[]);
            let subject = Subject {
                name: &format!("{m}×{k}×{n}"),
                file: &file(writer, &product),
                inputs: &[("x".to_owned(), drawn(&[m, k], 1))],
                work: Work::Operations(2 * (m * k * n) as u64),
            };
            measure(
                &mut group,
                "kernel_matmul",
                (name, device.as_ref()),
                &subject,
            );
        }
        for &[batch, heads, m, k, n] in of_inputs {
            let mut writer = Writer::new(18, 1);
            let a = writer.input("a", &dims(&[heads, m, k]));
            let b = writer.input("b", &dims(&[heads, k, n]));
            let product = writer.node("MatMul", &[&a, &b], &[]);
            let subject = Subject {
                name: &format!("{batch}×{heads} of {m}×{k}×{n}"),
                file: &file(writer, &product),
                inputs: &[
                    ("a".to_owned(), drawn(&[batch, heads, m, k], 1)),
                    ("b".to_owned(), drawn(&[batch, heads, k, n], 2)),
                ],
                work: Work::Operations(2 * (batch * heads * m * k * n) as u64),
            };
            measure(
                &mut group,
                "kernel_matmul",
                (name, device.as_ref()),
                &subject,
            );
        }
    }
    group.finish();
}

criterion_group!(benches, kernel_matmul);

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
}
