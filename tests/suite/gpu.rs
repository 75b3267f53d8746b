//! What a GPU device owes its callers beside right numbers: a way on when there is no
//! plan, no GPU any more, or wrong data. On whatever adapter there is; in CI that is
//! software.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tract_onnx::pb::tensor_proto::DataType;
use trommel::registry::bundled;
use trommel_tensor::{
    Account, Device as _, Dimension, GpuDevice, GpuOptions, Port, Run, Session, Tensor,
    TensorError, plan_text,
};
use trommel_tests::devices::{Array, evaluate, gpu, gpu_of, graph, new_gpu, run, upload};
use trommel_tests::onnx::{Attribute, Builder, Dim, Writer, without_a_plan};

fn session(device: &GpuDevice, file: &[u8]) -> Arc<dyn Session> {
    device.session(&graph(file)).unwrap()
}

/// The only output for the only input, both float32.
async fn answer(
    device: &GpuDevice,
    session: &dyn Session,
    shape: &[usize],
    values: &[f32],
) -> Result<Vec<f32>, TensorError> {
    let x = Array::floats(shape, values);
    let outputs = evaluate(device, session, &[("x".to_owned(), x)]).await?;
    Ok(outputs[0].to_floats())
}

fn doubled() -> Vec<u8> {
    Builder::default()
        .input("x", &[Dim::Name("batch"), Dim::Size(3)])
        .node("Add", &["x", "x"], "y")
        .output("y")
        .file()
}

fn looked_up() -> Vec<u8> {
    let table: Vec<f32> = (0..10).map(|x| x as f32).collect();
    let to = [Attribute::Integer("to", DataType::Int32 as i64)];
    Builder::default()
        .input("x", &[Dim::Name("batch")])
        .weight("table", &[5, 2], &table)
        .node_with("Cast", &["x"], &["at"], &to)
        .node("Gather", &["table", "at"], "y")
        .output("y")
        .file()
}

#[tokio::test]
async fn a_lost_gpu_fails_what_it_had_begun_and_the_next_call_works() {
    for checked in [false, true] {
        let Some(device) = new_gpu(checked) else {
            return;
        };
        let session = session(&device, &doubled());
        let answer = || answer(&device, session.as_ref(), &[1, 3], &[1.0, 2.0, 3.0]);
        assert_eq!(answer().await.unwrap(), [2.0, 4.0, 6.0]);
        device.lose();
        let error = answer().await.unwrap_err();
        assert!(matches!(error, TensorError::DeviceLost { .. }), "{error}");
        assert_eq!(answer().await.unwrap(), [2.0, 4.0, 6.0]);
        assert!(device.adapter().is_some(), "open again");
    }
}

#[tokio::test]
async fn an_index_outside_its_table_fails_the_run_and_reads_nothing_else() {
    for checked in [false, true] {
        let Some(device) = gpu(checked) else { return };
        let session = session(&device, &looked_up());
        let graph = session.graph().clone();
        assert_eq!(device.uncovered(&graph), None);
        let found = answer(&device, session.as_ref(), &[3], &[4.0, 0.0, -1.0]).await;
        assert_eq!(found.unwrap(), [8.0, 9.0, 0.0, 1.0, 8.0, 9.0]);
        for outside in [5.0, -6.0, 2e9] {
            let found = answer(&device, session.as_ref(), &[2], &[1.0, outside]).await;
            let error = found.unwrap_err();
            assert!(matches!(error, TensorError::RunFailed { .. }), "{error}");
        }
        let found = answer(&device, session.as_ref(), &[1], &[1.0]).await;
        assert_eq!(found.unwrap(), [2.0, 3.0], "the next run is as good as new");
    }
}

/// `x` is the indices, of three numbers in each of two rows.
fn picked(operator: &str) -> Vec<u8> {
    let to = [Attribute::Integer("to", DataType::Int64 as i64)];
    let axis = [Attribute::Integer("axis", 1)];
    let mut writer = Writer::new(18, 1);
    let x = writer.input("x", &[Dim::Size(2), Dim::Size(1)]);
    let at = writer.node("Cast", &[&x], &to);
    let data = writer.floats(&[2, 3], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    let y = match operator {
        "GatherElements" => writer.node(operator, &[&data, &at], &axis),
        "GatherND" => writer.node(
            operator,
            &[&data, &at],
            &[Attribute::Integer("batch_dims", 1)],
        ),
        "ScatterElements" => {
            let updates = writer.floats(&[2, 1], &[8.0, 9.0]);
            writer.node(operator, &[&data, &at, &updates], &axis)
        }
        _ => {
            let updates = writer.floats(&[2, 3], &[8.0; 6]);
            writer.node(operator, &[&data, &at, &updates], &[])
        }
    };
    writer.file(&[&y])
}

#[tokio::test]
async fn whatever_indices_say_nothing_outside_is_read_or_written() {
    let cases: [(&str, [f32; 2], &[f32]); 4] = [
        ("GatherElements", [2.0, -1.0], &[2.0, 5.0]),
        ("GatherND", [2.0, 0.0], &[2.0, 3.0]),
        (
            "ScatterElements",
            [-3.0, 1.0],
            &[8.0, 1.0, 2.0, 3.0, 9.0, 5.0],
        ),
        ("ScatterND", [1.0, 1.0], &[0.0, 1.0, 2.0, 8.0, 8.0, 8.0]),
    ];
    for checked in [false, true] {
        let Some(device) = gpu(checked) else { return };
        for (operator, good, right) in cases {
            let session = session(&device, &picked(operator));
            assert_eq!(device.uncovered(session.graph()), None);
            let run =
                async |values: [f32; 2]| answer(&device, session.as_ref(), &[2, 1], &values).await;
            assert_eq!(run(good).await.unwrap(), right, "{operator}");
            for outside in [3.0, -4.0, 2e9, -2e9, 9e18] {
                let found = run([good[0], outside]).await;
                let error = found.expect_err(operator);
                assert!(
                    matches!(error, TensorError::RunFailed { .. }),
                    "{operator} at {outside}: {error}"
                );
            }
            assert_eq!(run(good).await.unwrap(), right, "{operator} again");
        }
    }
}

#[tokio::test]
async fn a_graph_without_a_plan_runs_on_the_cpu() {
    let Some(device) = gpu(true) else { return };
    let session = session(&device, &without_a_plan());
    let why = device.uncovered(session.graph()).unwrap();
    assert!(why.contains("nan-node"), "{why}");
    let answer = answer(&device, session.as_ref(), &[1, 3], &[1.0, 2.0, 3.0]).await;
    assert_eq!(answer.unwrap(), [1.0, 2.0, 3.0]);
}

/// Rows whose answer is too large to be brought over before anybody asks.
const MANY_ROWS: usize = 200_000;

/// The answer for `n_rows` of three numbers each, and those numbers.
async fn doubled_rows(
    device: &GpuDevice,
    session: &dyn Session,
    n_rows: usize,
) -> (Tensor, Vec<f32>) {
    let values: Vec<f32> = (0..3 * n_rows).map(|x| x as f32).collect();
    let x = upload(device, &Array::floats(&[n_rows, 3], &values)).unwrap();
    let outputs = run(session, &[("x".to_owned(), x)]).await;
    (outputs.unwrap().remove(0), values)
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let (words, _) = bytes.as_chunks::<4>();
    words.iter().map(|word| f32::from_le_bytes(*word)).collect()
}

#[tokio::test]
async fn a_large_output_stays_on_the_gpu_and_is_lost_with_it() {
    let Some(device) = new_gpu(false) else { return };
    let session = session(&device, &doubled());
    let (small, _) = doubled_rows(&device, session.as_ref(), 2).await;
    let (large, _) = doubled_rows(&device, session.as_ref(), MANY_ROWS).await;
    device.lose();
    let read = small.read().await.unwrap();
    assert_eq!(floats(&read), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
    let error = large.read().await.unwrap_err();
    assert!(matches!(error, TensorError::DeviceLost { .. }), "{error}");
}

#[tokio::test]
async fn a_large_output_feeds_the_next_run_and_can_be_read() {
    let Some(device) = gpu(false) else { return };
    let session = session(&device, &doubled());
    let (large, values) = doubled_rows(&device, session.as_ref(), MANY_ROWS).await;
    let outputs = run(session.as_ref(), &[("x".to_owned(), large)]).await;
    let read = outputs.unwrap().remove(0).read().await.unwrap();
    let right: Vec<f32> = values.iter().map(|x| 4.0 * x).collect();
    assert!(floats(&read) == right);
}

/// Reads at once.
const N_READERS: usize = 16;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_reads_outputs_back_holds_up_no_run() {
    let Some(device) = gpu(false) else { return };
    let session = session(&device, &doubled());
    let (large, _) = doubled_rows(&device, session.as_ref(), MANY_ROWS).await;
    let n_read = Arc::new(AtomicUsize::new(0));
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..N_READERS {
        let (large, n_read) = (large.clone(), n_read.clone());
        readers.spawn(async move {
            loop {
                large.read().await.unwrap();
                n_read.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    while n_read.load(Ordering::Relaxed) < N_READERS {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let runs = async {
        for _ in 0..10 {
            let found = answer(&device, session.as_ref(), &[1, 3], &[1.0, 2.0, 3.0]).await;
            assert_eq!(found.unwrap(), [2.0, 4.0, 6.0]);
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(60), runs).await;
    ended.expect("runs go on beside the reads");
}

/// The four first of each row, and their places.
fn first_four(largest: bool) -> Vec<u8> {
    let mut writer = Writer::new(17, 1);
    let x = writer.input("x", &[Dim::Name("batch"), Dim::Size(4)]);
    let k = writer.integers(&[4]);
    let largest = [Attribute::Integer("largest", i64::from(largest))];
    let made = writer.nodes("TopK", &[&x, &k], &largest, 2);
    writer.file(&[&made[0], &made[1]])
}

/// What rows of four are made of: what is no number has a sign, too, as zero has.
const EXTREMES: [f32; 7] = [1.0, 2.0, f32::NAN, -f32::NAN, f32::NEG_INFINITY, 0.0, -0.0];

#[tokio::test]
async fn the_first_of_what_is_no_number_are_all_there_once() {
    let n_rows = EXTREMES.len().pow(4);
    let digit = |row: usize, at: u32| row / EXTREMES.len().pow(at) % EXTREMES.len();
    let rows = (0..n_rows).flat_map(|row| (0..4).map(move |at| EXTREMES[digit(row, at)]));
    let values: Vec<f32> = rows.collect();
    let x = [("x".to_owned(), Array::floats(&[n_rows, 4], &values))];
    for (checked, largest) in [(false, true), (false, false), (true, true)] {
        let Some(device) = gpu(checked) else { return };
        let session = session(&device, &first_four(largest));
        assert_eq!(device.uncovered(session.graph()), None);
        let outputs = evaluate(device.as_ref(), session.as_ref(), &x).await;
        let outputs = outputs.unwrap();
        let (places, _) = outputs[1].bytes.as_chunks::<8>();
        let places: Vec<i64> = places
            .iter()
            .map(|place| i64::from_le_bytes(*place))
            .collect();
        let found = outputs[0].to_floats();
        for (row, places) in places.chunks_exact(4).enumerate() {
            let given = &values[4 * row..][..4];
            let mut each = places.to_vec();
            each.sort_unstable();
            assert_eq!(each, [0, 1, 2, 3], "{given:?}");
            for (place, found) in places.iter().zip(&found[4 * row..]) {
                let right = given[usize::try_from(*place).unwrap()];
                let is_it = found.to_bits() == right.to_bits() || found.is_nan() && right.is_nan();
                assert!(is_it, "{found} of {given:?} stands at {place}");
            }
            if given.iter().all(|it| !it.is_nan()) {
                let in_order = found[4 * row..][..4].windows(2).all(|pair| match largest {
                    true => pair[0] >= pair[1],
                    false => pair[0] <= pair[1],
                });
                assert!(in_order, "{given:?}");
            }
        }
    }
}

/// `y = x·x·…`, each factor a square matrix: some work for few bytes.
fn multiplied(n_factors: usize) -> Vec<u8> {
    let mut model = Builder::default().input("x", &[Dim::Name("size"), Dim::Name("size")]);
    let mut product = "x".to_owned();
    for at in 1..n_factors {
        let next = format!("product_{at}");
        model = model.node("MatMul", &[&product, "x"], &next);
        product = next;
    }
    model.node("Identity", &[&product], "y").output("y").file()
}

/// `size`² elements of a matrix whose powers are itself.
fn averaging(size: usize) -> Vec<f32> {
    vec![1.0 / size as f32; size * size]
}

#[tokio::test]
async fn a_model_that_takes_too_long_loses_the_gpu_once_and_nobody_else_does() {
    let options = GpuOptions {
        timeout: Duration::ZERO,
        ..GpuOptions::default()
    };
    let Some(device) = gpu_of(options) else {
        return;
    };
    let slow = session(&device, &multiplied(8));
    let n = 256;
    let answer = async || answer(&device, slow.as_ref(), &[n, n], &averaging(n)).await;
    let error = answer().await.unwrap_err();
    assert!(matches!(error, TensorError::DeviceLost { .. }), "{error}");
    // The CPU has it from now on: a GPU would be lost again.
    for _ in 0..4 {
        let found = answer().await.unwrap();
        assert!(found.iter().all(|x| (x - 1.0 / n as f32).abs() < 1e-6));
    }
}

#[tokio::test]
async fn a_run_of_more_work_than_the_gpu_is_given_runs_on_the_cpu() {
    // Begun on the GPU, it would end by the timeout.
    let options = GpuOptions {
        max_run_operations: 40_000_000,
        timeout: Duration::ZERO,
        ..GpuOptions::default()
    };
    let Some(device) = gpu_of(options) else {
        return;
    };
    let session = session(&device, &multiplied(2));
    let n = 300;
    let found = answer(&device, session.as_ref(), &[n, n], &averaging(n)).await;
    let found = found.unwrap();
    assert!(found.iter().all(|x| (x - 1.0 / n as f32).abs() < 1e-6));
}

#[test]
fn padding_of_nothing_is_refused_at_its_node_and_not_by_a_panic() {
    let same = [
        Attribute::Integers("kernel_shape", &[3, 3]),
        Attribute::Text("auto_pad", "SAME_UPPER"),
    ];
    let file = Builder::default()
        .input(
            "x",
            &[Dim::Size(1), Dim::Size(2), Dim::Name("m"), Dim::Size(3)],
        )
        .node_with("MaxPool", &["x"], &["y"], &same)
        .output("y")
        .file();
    let why = plan_text(&graph(&file), &[("m".to_owned(), 0)]).unwrap_err();
    let TensorError::NoPlan { operator, why, .. } = &why else {
        panic!("{why}")
    };
    assert!(
        operator.contains("MaxPool") && why.contains("over nothing"),
        "{operator}: {why}"
    );
}

#[tokio::test]
async fn the_bundled_models_run_on_the_gpu() {
    let mut n_models = 0;
    for (name, files) in bundled::DETECTORS {
        for (_, file) in files.iter().filter(|(file, _)| file.ends_with(".onnx")) {
            let Some(device) = new_gpu(false) else { return };
            let session = session(&device, file);
            let inputs: Vec<_> = session.graph().inputs().iter().map(zeros).collect();
            // A model of fixed sizes is ready; software would take seconds to run it.
            if *name != "image-quality" {
                run(session.as_ref(), &inputs).await.unwrap();
            }
            // Only what the GPU has begun is lost with it; the CPU would answer.
            device.lose();
            let ran = run(session.as_ref(), &inputs).await;
            assert!(matches!(ran, Err(TensorError::DeviceLost { .. })), "{name}");
            n_models += 1;
        }
    }
    assert_eq!(n_models, 3);
}

/// Zeros as an input takes them, 64 of each dimension that has a name.
fn zeros(port: &Port) -> (String, Tensor) {
    let size = |size: &Dimension| match size {
        Dimension::Fixed(size) => *size,
        Dimension::Symbol(_) => 64,
    };
    let shape: Vec<usize> = port.shape.iter().map(size).collect();
    let bytes = vec![0; shape.iter().product::<usize>() * port.dtype.n_bytes()];
    let array = Array {
        dtype: port.dtype,
        shape,
        bytes,
    };
    let cpu = trommel_tests::devices::cpu();
    (port.name.clone(), upload(cpu.as_ref(), &array).unwrap())
}

#[tokio::test]
async fn an_empty_batch_is_an_empty_answer() {
    let Some(device) = gpu(true) else { return };
    let session = session(&device, &doubled());
    let answer = answer(&device, session.as_ref(), &[0, 3], &[]).await;
    assert!(answer.unwrap().is_empty());
}

#[tokio::test]
async fn what_a_run_holds_is_charged_before_it_begins() {
    let Some(device) = gpu(true) else { return };
    let session = session(&device, &doubled());
    let x = upload(device.as_ref(), &Array::floats(&[100, 3], &[0.5; 300])).unwrap();
    let run = session.run(Run {
        inputs: vec![("x".to_owned(), x)],
        outputs: vec!["y".to_owned()],
        deadline: None,
        account: Account::new("small", 1000, 10),
    });
    let error = run.await.unwrap_err();
    assert!(
        matches!(error, TensorError::QuotaExceeded { .. }),
        "{error}"
    );
}

/// Were it noticed any later, its tables would have been made already: they grow with it.
#[test]
fn a_value_that_no_gpu_holds_is_refused_at_its_node() {
    let sizes = [Attribute::Text("mode", "linear")];
    let resized = Builder::default()
        .input("x", &[Dim::Name("batch"), Dim::Size(3)])
        .weight("scales", &[2], &[1.0, (1 << 25) as f32])
        .node_with("Resize", &["x", "", "scales"], &["y"], &sizes)
        .output("y")
        .file();
    let repeated = Builder::default()
        .input("x", &[Dim::Name("batch"), Dim::Size(3)])
        .integers("shape", &[3], &[1 << 25, 1, 1])
        .node("Expand", &["x", "shape"], "wide")
        .node("Exp", &["wide"], "y")
        .output("y")
        .file();
    for (file, at) in [(resized, "y-node"), (repeated, "wide-node")] {
        let error = plan_text(&graph(&file), &[]).unwrap_err();
        let TensorError::NoPlan { node, why, .. } = error else {
            panic!("{error}");
        };
        assert!(node.contains(at), "node `{node}`: {why}");
        assert!(why.contains("where one value may have 134217728"), "{why}");
    }
}
