//! Models whose values a GPU stores as f16: near what they answer in f32 and not the same,
//! in half the bytes, and each row alike in any batch. The CPU computes them in f32.

mod hosts;

use std::sync::Arc;

use trommel_tensor::{
    Device, GpuDevice, GpuOptions, Graph, Precision, Session, plan_summary, plan_text,
};
use trommel_tests::devices::{Array, cpu, evaluate, gpu, gpu_of, graph};
use trommel_tests::models::{Architecture, Size};
use trommel_tests::onnx::Writer;
use trommel_tests::onnx::{Builder, Dim};

const N_ROWS: usize = 3;

/// How far an answer in f16 may be from f32's, and how far it is at least: of the norm.
const NEAR: f64 = 0.01;
const APART: f64 = 1e-5;

fn in_half(graph: &Graph) -> Arc<Graph> {
    Arc::new(Graph::clone(graph).stored_as(Precision::Half))
}

/// Both GPUs, with shaders that check themselves and those that do not.
fn gpus() -> impl Iterator<Item = Arc<GpuDevice>> {
    [true, false].into_iter().filter_map(gpu)
}

async fn answer(device: &dyn Device, session: &dyn Session, inputs: &[(String, Array)]) -> Array {
    let mut outputs = evaluate(device, session, inputs).await.unwrap();
    outputs.remove(0)
}

fn row(inputs: &[(String, Array)], index: usize) -> Vec<(String, Array)> {
    let row = |(name, array): &(String, Array)| (name.clone(), array.row(index));
    inputs.iter().map(row).collect()
}

/// The norm of the difference over that of the first.
fn apart(right: &Array, given: &Array) -> f64 {
    assert_eq!(right.shape, given.shape);
    let (right, given) = (right.to_floats(), given.to_floats());
    let norm = |of: &mut dyn Iterator<Item = f64>| of.map(|x| x * x).sum::<f64>().sqrt();
    let difference = right.iter().zip(&given);
    let difference =
        norm(&mut difference.map(|(right, given)| f64::from(*right) - f64::from(*given)));
    difference / norm(&mut right.iter().map(|x| f64::from(*x)))
}

async fn check(architecture: Architecture) {
    let size = Size::SMALL;
    let whole = graph(&architecture.file(&size));
    let half = in_half(&whole);
    let inputs = architecture.inputs(&size, N_ROWS);
    for device in gpus() {
        let place = architecture.name();
        let session = device.session(&whole).unwrap();
        session.stores_halves().unwrap_err();
        let right = answer(device.as_ref(), session.as_ref(), &inputs).await;
        let session = device.session(&half).unwrap();
        assert_eq!(session.stores_halves(), Ok(()), "{place}");
        let given = answer(device.as_ref(), session.as_ref(), &inputs).await;
        let apart = apart(&right, &given);
        assert!((APART..NEAR).contains(&apart), "{place}: {apart}");
        for index in 0..N_ROWS {
            let alone = row(&inputs, index);
            let alone = answer(device.as_ref(), session.as_ref(), &alone).await;
            assert!(alone == given.row(index), "{place}: row {index} alone");
        }
    }
}

#[tokio::test]
async fn a_minilm_in_f16_answers_about_as_in_f32_and_in_any_batch() {
    check(Architecture::MiniLm).await;
}

#[tokio::test]
async fn an_encoder_in_f16_answers_about_as_in_f32_and_in_any_batch() {
    check(Architecture::Encoder).await;
}

#[tokio::test]
async fn a_mobilenet_in_f16_answers_about_as_in_f32_and_in_any_batch() {
    check(Architecture::MobileNetV2).await;
}

#[test]
fn weights_take_half_the_bytes_and_values_in_between_do_too() {
    let whole = graph(&Architecture::MiniLm.file(&Size::SMALL));
    let [whole, half] = [
        Graph::clone(&whole),
        whole.as_ref().clone().stored_as(Precision::Half),
    ]
    .map(|graph| plan_summary(&graph, &[]).unwrap());
    let share = |half: u64, whole: u64| half as f64 / whole as f64;
    let weights = share(half.weight_bytes, whole.weight_bytes);
    // Biases and scales stay what they are.
    assert!((0.5..0.55).contains(&weights), "{weights}");
    let arena = share(half.arena_bytes, whole.arena_bytes);
    assert!((0.4..0.8).contains(&arena), "{arena}");
    assert_eq!(
        (half.n_steps, half.n_operations),
        (whole.n_steps, whole.n_operations)
    );
    assert_eq!(whole.n_halves, 0);
    assert!(half.n_halves > 40, "{}", half.n_halves);
}

#[test]
fn a_plan_tells_what_is_stored_as_f16() {
    let graph = graph(&Architecture::Encoder.file(&Size::SMALL));
    insta::assert_snapshot!(plan_text(&in_half(&graph), &[]).unwrap());
}

/// `y = (x · a) · b`, of three numbers a row; what is between is stored.
fn twice(a: f32, b: f32) -> Arc<Graph> {
    let diagonal = |x: f32| [x, 0.0, 0.0, 0.0, x, 0.0, 0.0, 0.0, x];
    let file = Builder::default()
        .input("x", &[Dim::Name("batch"), Dim::Size(3)])
        .weight("a", &[3, 3], &diagonal(a))
        .weight("b", &[3, 3], &diagonal(b))
        .node("MatMul", &["x", "a"], "between")
        .node("MatMul", &["between", "b"], "y")
        .output("y")
        .file();
    in_half(&graph(&file))
}

async fn of_three(device: &GpuDevice, graph: &Arc<Graph>, x: [f32; 3]) -> Vec<f32> {
    let session = device.session(graph).unwrap();
    let x = [("x".to_owned(), Array::floats(&[1, 3], &x))];
    answer(device, session.as_ref(), &x).await.to_floats()
}

#[tokio::test]
async fn what_is_beyond_f16_is_held_at_its_largest() {
    for device in gpus() {
        let graph = twice(1000.0, 0.5);
        let y = of_three(&device, &graph, [1.0, 1e3, -1e30]).await;
        assert_eq!(y, [500.0, 32_752.0, -32_752.0]);
        let y = of_three(&device, &graph, [65.504, 65.51, -70.0]).await;
        assert_eq!(y, [32_752.0, 32_752.0, -32_752.0]);
        // What comes in and what goes out is f32.
        let y = of_three(&device, &twice(1e-3, 1e6), [1e6, 1.0, 0.0]).await;
        assert_eq!(y[0], 1e9);
        assert!((y[1] / 1e3 - 1.0).abs() < 1e-3 && y[2] == 0.0, "{y:?}");
    }
}

#[tokio::test]
async fn what_is_no_number_stays_none() {
    for device in gpus() {
        let y = of_three(&device, &twice(2.0, 0.5), [f32::NAN, 1.0, 2.0]).await;
        // A product with a zero is no number either.
        assert!(y.iter().all(|y| y.is_nan()), "{y:?}");
    }
}

/// Integers come out of a float as they went in, however large f16 would round them.
#[tokio::test]
async fn what_becomes_an_index_is_not_rounded() {
    let mut writer = Writer::new(17, 1);
    let x = writer.input("x", &[Dim::Name("batch"), Dim::Size(1)]);
    let one = writer.floats(&[1, 1], &[1.0]);
    let at = writer.node("MatMul", &[&x, &one], &[]);
    let to = [trommel_tests::onnx::Attribute::Integer("to", 7)];
    let at = writer.node("Cast", &[&at], &to);
    let table: Vec<f32> = (0..5000).map(|x| (x % 7) as f32).collect();
    let table = writer.floats(&[5000], &table);
    let y = writer.node("Gather", &[&table, &at], &[]);
    let graph = in_half(&graph(&writer.file(&[&y])));
    for device in gpus() {
        let session = device.session(&graph).unwrap();
        for at in [2049_u16, 4097, 4999] {
            let x = Array::floats(&[1, 1], &[f32::from(at)]);
            let y = answer(device.as_ref(), session.as_ref(), &[("x".to_owned(), x)]).await;
            assert_eq!(y.to_floats(), [f32::from(at % 7)]);
        }
    }
}

#[tokio::test]
async fn a_device_without_f16_answers_in_f32_and_says_so() {
    let size = Size::SMALL;
    let whole = graph(&Architecture::Encoder.file(&size));
    let half = in_half(&whole);
    let inputs = Architecture::Encoder.inputs(&size, 1);
    let device = cpu();
    let mut answers = Vec::new();
    for graph in [&whole, &half] {
        let session = device.session(graph).unwrap();
        let why = session.stores_halves().unwrap_err();
        assert!(why.contains("the CPU device"), "{why}");
        answers.push(answer(device.as_ref(), session.as_ref(), &inputs).await);
    }
    assert!(answers[0] == answers[1]);
    let options = GpuOptions {
        halves: false,
        ..GpuOptions::default()
    };
    let Some(device) = gpu_of(options) else {
        return;
    };
    let mut answers = Vec::new();
    for graph in [&whole, &half] {
        let session = device.session(graph).unwrap();
        answers.push(answer(device.as_ref(), session.as_ref(), &inputs).await);
    }
    assert!(answers[0] == answers[1]);
    let why = device.session(&half).unwrap().stores_halves().unwrap_err();
    assert!(why.contains("stores no f16"), "{why}");
}

#[test]
fn one_file_in_both_precisions_is_two_models() {
    let whole = graph(&Architecture::Encoder.file(&Size::SMALL));
    let half = in_half(&whole);
    for device in gpus() {
        let [whole, half, again] =
            [&whole, &half, &half].map(|graph| device.session(graph).unwrap());
        assert!(!Arc::ptr_eq(&whole, &half));
        assert!(Arc::ptr_eq(&half, &again));
        assert_eq!(whole.graph().precision(), Precision::Single);
        assert_eq!(half.graph().precision(), Precision::Half);
    }
}
