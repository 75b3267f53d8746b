//! Attention as one step of a plan: what it is made of, and the CPU's answers at sizes where
//! a tile goes wrong. On whatever adapter there is; in CI that is software.

use trommel_tensor::{Device as _, TensorError, plan_summary, plan_text};
use trommel_tests::devices::{Array, agree, cpu, devices, evaluate, gpu, graph};
use trommel_tests::onnx::{Attribute, Dim, Writer};
use trommel_tests::random::Random;

/// The first operator set with Attention.
const OPSET: i64 = 23;

/// What hides a key from a query.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mask {
    None,
    /// An input f32 `[batch, 1, 1, keys]`, added: this for what is hidden.
    Added(f32),
    /// The operator's own: a query sees the keys up to its own place.
    Causal,
}

/// How large attention is; queries have a depth, values a width.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    heads: usize,
    kv_heads: usize,
    rows: usize,
    keys: usize,
    depth: usize,
    width: usize,
}

const SMALL: Sizes = Sizes {
    heads: 2,
    kv_heads: 2,
    rows: 3,
    keys: 5,
    depth: 8,
    width: 8,
};

fn dims(sizes: [usize; 3]) -> Vec<Dim> {
    let sizes = sizes.map(|size| Dim::Size(size as i64));
    [Dim::Name("batch")].into_iter().chain(sizes).collect()
}

/// Spelt out, node by node, or as the operator.
fn file(sizes: &Sizes, mask: Mask) -> Vec<u8> {
    let mut writer = Writer::new(OPSET, 1);
    let q = writer.input("q", &dims([sizes.heads, sizes.rows, sizes.depth]));
    let k = writer.input("k", &dims([sizes.kv_heads, sizes.keys, sizes.depth]));
    let v = writer.input("v", &dims([sizes.kv_heads, sizes.keys, sizes.width]));
    let y = if mask == Mask::Causal || sizes.heads != sizes.kv_heads {
        let causal = Attribute::Integer("is_causal", i64::from(mask == Mask::Causal));
        writer.node("Attention", &[&q, &k, &v], &[causal])
    } else {
        let order = Attribute::Integers("perm", &[0, 1, 3, 2]);
        let turned = writer.node("Transpose", &[&k], &[order]);
        let mut scores = writer.node("MatMul", &[&q, &turned], &[]);
        let scale = writer.float((sizes.depth as f32).sqrt());
        scores = writer.node("Div", &[&scores, &scale], &[]);
        if mask != Mask::None {
            let mask = writer.input("mask", &dims([1, 1, sizes.keys]));
            scores = writer.node("Add", &[&scores, &mask], &[]);
        }
        let last = Attribute::Integer("axis", -1);
        let weights = writer.node("Softmax", &[&scores], &[last]);
        writer.node("MatMul", &[&weights, &v], &[])
    };
    writer.file(&[&y])
}

/// Of a mask every third key is hidden, and of one row all.
fn inputs(
    sizes: &Sizes,
    mask: Mask,
    n_rows: usize,
    all_hidden: Option<usize>,
) -> Vec<(String, Array)> {
    let drawn = |shape: [usize; 3], seed: u64| {
        let mut random = Random::new(seed);
        let shape = [n_rows, shape[0], shape[1], shape[2]];
        let n: usize = shape.iter().product();
        let values: Vec<f32> = (0..n).map(|_| random.unit_variance()).collect();
        Array::floats(&shape, &values)
    };
    let mut inputs = vec![
        ("q", drawn([sizes.heads, sizes.rows, sizes.depth], 1)),
        ("k", drawn([sizes.kv_heads, sizes.keys, sizes.depth], 2)),
        ("v", drawn([sizes.kv_heads, sizes.keys, sizes.width], 3)),
    ];
    if let Mask::Added(hidden) = mask {
        let hides = |at: usize| all_hidden == Some(at / sizes.keys) || at % sizes.keys % 3 == 2;
        let values: Vec<f32> = (0..n_rows * sizes.keys)
            .map(|at| if hides(at) { hidden } else { 0.0 })
            .collect();
        let mask = Array::floats(&[n_rows, 1, 1, sizes.keys], &values);
        inputs.push(("mask", mask));
    }
    let named = inputs.into_iter();
    named
        .map(|(name, array)| (name.to_owned(), array))
        .collect()
}

fn row(inputs: &[(String, Array)], index: usize) -> Vec<(String, Array)> {
    let row = |(name, array): &(String, Array)| (name.clone(), array.row(index));
    inputs.iter().map(row).collect()
}

/// The CPU's answer on every device, one step of a plan, and each row the same in any batch.
async fn check(sizes: Sizes, mask: Mask) {
    let graph = graph(&file(&sizes, mask));
    let place = format!("{sizes:?} {mask:?}");
    let plan = plan_text(&graph, &[]).unwrap_or_else(|error| panic!("{place}: {error}"));
    assert!(plan.contains("= attend "), "{place}: {plan}");
    assert!(!plan.contains("Softmax %"), "{place}: {plan}");
    let inputs = inputs(&sizes, mask, 3, None);
    let mut right = None;
    for (name, device) in devices() {
        let session = device.session(&graph).unwrap();
        let run = |inputs: Vec<(String, Array)>| {
            let (device, session) = (device.clone(), session.clone());
            async move {
                let outputs = evaluate(device.as_ref(), session.as_ref(), &inputs).await;
                outputs.unwrap().remove(0)
            }
        };
        let answer = run(inputs.clone()).await;
        let right = right.get_or_insert_with(|| answer.clone());
        agree(right, &answer).unwrap_or_else(|error| panic!("{place} on {name}: {error}"));
        if name == "cpu" {
            continue;
        }
        for index in 0..3 {
            let alone = run(row(&inputs, index)).await;
            assert!(
                alone == answer.row(index),
                "{place}: row {index} alone on {name}"
            );
        }
    }
}

#[tokio::test]
async fn attention_answers_as_on_the_cpu_at_any_size() {
    for (rows, keys, depth, width) in [
        (2, 3, 2, 2),
        (3, 5, 8, 8),
        (32, 32, 16, 32),
        (33, 31, 17, 33),
        (5, 70, 24, 40),
        (65, 9, 40, 130),
    ] {
        let sizes = Sizes {
            rows,
            keys,
            depth,
            width,
            ..SMALL
        };
        check(sizes, Mask::None).await;
        check(sizes, Mask::Added(f32::NEG_INFINITY)).await;
    }
}

#[tokio::test]
async fn masks_of_every_kind_hide_as_on_the_cpu() {
    for hidden in [-10_000.0, f32::MIN, f32::NEG_INFINITY, -1e38] {
        check(SMALL, Mask::Added(hidden)).await;
    }
    let square = Sizes {
        rows: 37,
        keys: 37,
        ..SMALL
    };
    check(square, Mask::Causal).await;
}

#[tokio::test]
async fn heads_that_share_keys_attend_as_on_the_cpu() {
    let shared = Sizes {
        heads: 6,
        rows: 7,
        keys: 7,
        ..SMALL
    };
    check(shared, Mask::None).await;
    check(shared, Mask::Causal).await;
}

/// The CPU has no number for a softmax over -∞ alone; a GPU takes every key alike, as both do
/// where what hides is a number.
#[tokio::test]
async fn where_all_keys_are_hidden_all_count_alike() {
    let mask = Mask::Added(f32::MIN);
    let graph = graph(&file(&SMALL, mask));
    let cpu = cpu();
    let session = cpu.session(&graph).unwrap();
    let hidden = inputs(&SMALL, mask, 2, Some(1));
    let right = evaluate(cpu.as_ref(), session.as_ref(), &hidden).await;
    let right = right.unwrap().remove(0);
    for checked in [true, false] {
        let Some(gpu) = gpu(checked) else { return };
        let session = gpu.session(&graph).unwrap();
        for by in [f32::MIN, f32::NEG_INFINITY] {
            let hidden = inputs(&SMALL, Mask::Added(by), 2, Some(1));
            let answer = evaluate(gpu.as_ref(), session.as_ref(), &hidden).await;
            agree(&right, &answer.unwrap().remove(0)).unwrap();
        }
    }
}

/// Two heads' scores of 16,384 tokens would take 2 GiB, where one value may have 128 MiB.
#[test]
fn scores_of_a_long_text_stand_nowhere() {
    let mut writer = Writer::new(OPSET, 1);
    let shape = [
        Dim::Name("batch"),
        Dim::Size(2),
        Dim::Name("sequence"),
        Dim::Size(16),
    ];
    let [q, k, v] = ["q", "k", "v"].map(|name| writer.input(name, &shape));
    let y = writer.node("Attention", &[&q, &k, &v], &[]);
    let graph = graph(&writer.file(&[&y]));
    let sizes = |n: usize| [("batch".to_owned(), 1), ("sequence".to_owned(), n)];
    let summary = plan_summary(&graph, &sizes(16_384)).unwrap();
    let value_bytes = 2 * 16_384 * 16 * 4;
    assert!(
        summary.arena_bytes <= 6 * value_bytes,
        "{} bytes",
        summary.arena_bytes
    );
    // They are counted all the same: offsets of a mask are, and where they would stand.
    let error = plan_summary(&graph, &sizes(1 << 17)).unwrap_err();
    assert!(matches!(error, TensorError::NoPlan { .. }), "{error}");
    assert!(error.to_string().contains("too large to count"), "{error}");
}

/// Scores `[batch, 3, 5]`, whose softmax sees them in another shape.
fn reshaped(before: &[i64]) -> Vec<u8> {
    let mut writer = Writer::new(OPSET, 1);
    let shape = |n: i64| [Dim::Name("batch"), Dim::Size(n), Dim::Size(4)];
    let q = writer.input("q", &shape(3));
    let k = writer.input("k", &shape(5));
    let v = writer.input("v", &shape(5));
    let order = Attribute::Integers("perm", &[0, 2, 1]);
    let turned = writer.node("Transpose", &[&k], &[order]);
    let scores = writer.node("MatMul", &[&q, &turned], &[]);
    let (before, after) = (writer.integers(before), writer.integers(&[0, 3, 5]));
    let scores = writer.node("Reshape", &[&scores, &before], &[]);
    let last = Attribute::Integer("axis", -1);
    let weights = writer.node("Softmax", &[&scores], &[last]);
    let weights = writer.node("Reshape", &[&weights, &after], &[]);
    let y = writer.node("MatMul", &[&weights, &v], &[]);
    writer.file(&[&y])
}

/// Whether a graph attends in one step; its answers are the CPU's on every device.
async fn attends(file: &[u8], shapes: &[(&str, [usize; 3])]) -> bool {
    let graph = graph(file);
    let mut random = Random::new(7);
    let inputs = shapes.iter().map(|(name, shape)| {
        let n: usize = shape.iter().product();
        let values: Vec<f32> = (0..n).map(|_| random.unit_variance()).collect();
        ((*name).to_owned(), Array::floats(shape, &values))
    });
    let inputs: Vec<(String, Array)> = inputs.collect();
    let mut right = None;
    for (name, device) in devices() {
        let session = device.session(&graph).unwrap();
        let answer = evaluate(device.as_ref(), session.as_ref(), &inputs).await;
        let answer = answer.unwrap().remove(0);
        let right = right.get_or_insert_with(|| answer.clone());
        agree(right, &answer).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let plan = plan_text(&graph, &[]).unwrap();
    plan.contains("= attend ")
}

#[tokio::test]
async fn a_softmax_over_more_or_less_than_the_keys_is_no_attention() {
    let shapes = [("q", [2, 3, 4]), ("k", [2, 5, 4]), ("v", [2, 5, 4])];
    // Over queries and keys at once, over one score each, over some of the keys.
    for before in [&[0, 15][..], &[0, 3, 5, 1], &[0, 5, 3]] {
        assert!(!attends(&reshaped(before), &shapes).await, "{before:?}");
    }
    for before in [&[0, 1, 3, 5][..], &[0, 3, 1, 5]] {
        assert!(attends(&reshaped(before), &shapes).await, "{before:?}");
    }
}

/// A thread would go through the keys for too long, and nothing interrupts it.
#[tokio::test]
async fn attention_that_no_step_can_do_is_done_in_several() {
    let (n_keys, depth) = (4096, 512);
    let mut writer = Writer::new(OPSET, 1);
    let shape = |n: i64, of: i64| [Dim::Name("batch"), Dim::Size(n), Dim::Size(of)];
    let q = writer.input("q", &shape(2, depth as i64));
    let k = writer.input("k", &shape(n_keys as i64, depth as i64));
    let v = writer.input("v", &shape(n_keys as i64, 4));
    let order = Attribute::Integers("perm", &[0, 2, 1]);
    let turned = writer.node("Transpose", &[&k], &[order]);
    let scores = writer.node("MatMul", &[&q, &turned], &[]);
    let last = Attribute::Integer("axis", -1);
    let weights = writer.node("Softmax", &[&scores], &[last]);
    let y = writer.node("MatMul", &[&weights, &v], &[]);
    let shapes = [
        ("q", [1, 2, depth]),
        ("k", [1, n_keys, depth]),
        ("v", [1, n_keys, 4]),
    ];
    assert!(!attends(&writer.file(&[&y]), &shapes).await);
}

/// Scores that somebody reads have to stand somewhere.
#[test]
fn scores_that_are_an_output_are_kept() {
    let mut writer = Writer::new(OPSET, 1);
    let x = writer.input("x", &dims([2, 5, 8]));
    let made = writer.nodes("Attention", &[&x, &x, &x], &[], 4);
    let plan = plan_text(&graph(&writer.file(&[&made[0], &made[3]])), &[]).unwrap();
    assert!(!plan.contains("= attend "), "{plan}");
}
