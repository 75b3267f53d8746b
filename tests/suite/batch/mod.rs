//! Rows of several callers in one run: each gets its own, bit for bit what it would get
//! alone, whoever else asks.

mod arrivals;
mod shared;

use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use tract_onnx::pb::tensor_proto::DataType;
use trommel_tensor::{
    Account, BatchCounts, Batching, CpuDevice, CpuOptions, Device, GpuOptions, Graph, Run, Session,
    Tensor, TensorError, Weights,
};
use trommel_tests::devices::{Array, gpu_of, graph, new_gpu, upload};
use trommel_tests::onnx::{Attribute, Builder, Dim, Writer, linear};
use trommel_tests::random::Random;

/// Callers at once.
const N_CALLERS: usize = 64;

/// Devices whose batches depend on no clock: rows are joined wherever they agree. The CPU has
/// two threads whatever the machine has: each takes its share of those who wait, and with as
/// many threads as callers nobody would run with another. Opened once, so sessions of one
/// model are shared.
fn agreeing() -> Vec<(&'static str, Arc<dyn Device>)> {
    static OPENED: OnceLock<Vec<(&'static str, Arc<dyn Device>)>> = OnceLock::new();
    let open = || {
        let mut opened: Vec<(&'static str, Arc<dyn Device>)> =
            vec![("cpu", Arc::new(two_threads()))];
        for checked_shaders in [true, false] {
            let gpu = gpu_of(GpuOptions {
                checked_shaders,
                batching: Batching::WhereEqual,
                // Software computes in its own time.
                timeout: Duration::from_secs(120),
                ..GpuOptions::default()
            });
            let name = if checked_shaders {
                "gpu, checked"
            } else {
                "gpu"
            };
            opened.extend(gpu.map(|gpu| (name, gpu as Arc<dyn Device>)));
        }
        opened
    };
    OPENED.get_or_init(open).clone()
}

fn two_threads() -> CpuDevice {
    let options = CpuOptions {
        n_threads: NonZeroUsize::new(2).unwrap(),
        batching: Batching::WhereEqual,
        ..CpuOptions::default()
    };
    CpuDevice::new(&options).unwrap()
}

fn ample(name: &str) -> Account {
    Account::new(name, u64::MAX, u64::MAX)
}

/// Two layers and a softmax: `x` `[batch, 12]` to `[batch, 8]`. Who counts what it runs gives
/// a seed of its own, for a device has one session of one model.
fn perceptron(seed: u64) -> Vec<u8> {
    let mut writer = Writer::new(17, seed);
    let x = writer.input("x", &[Dim::Name("batch"), Dim::Size(12)]);
    let first = writer.drawn(&[12, 24], 0.0, 0.3);
    let second = writer.drawn(&[24, 8], 0.0, 0.3);
    let y = writer.node("MatMul", &[&x, &first], &[]);
    let y = writer.node("Relu", &[&y], &[]);
    let y = writer.node("MatMul", &[&y, &second], &[]);
    let y = writer.node("Softmax", &[&y], &[Attribute::Integer("axis", -1)]);
    writer.file(&[&y])
}

/// A row of a table for each `x` `[batch]`, which is a float: `[batch, 2]`.
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

/// Shares of each column: what a row gets depends on the others.
fn mixed() -> Vec<u8> {
    let mut writer = Writer::new(17, 5);
    let x = writer.input("x", &[Dim::Name("batch"), Dim::Size(3)]);
    let y = writer.node("Softmax", &[&x], &[Attribute::Integer("axis", 0)]);
    writer.file(&[&y])
}

/// Distance from the mean of the batch, which has lost its rows on the way.
fn centred() -> Vec<u8> {
    let mut writer = Writer::new(18, 5);
    let x = writer.input("x", &[Dim::Name("batch"), Dim::Size(3)]);
    let axes = writer.integers(&[0]);
    let mean = writer.node(
        "ReduceMean",
        &[&x, &axes],
        &[Attribute::Integer("keepdims", 1)],
    );
    let y = writer.node("Sub", &[&x, &mean], &[]);
    writer.file(&[&y])
}

/// Float rows that `seed` decides.
fn rows(n_rows: usize, width: usize, seed: u64) -> Array {
    let mut random = Random::new(seed);
    let values: Vec<f32> = (0..n_rows * width)
        .map(|_| random.unit_variance())
        .collect();
    Array::floats(&[n_rows, width], &values)
}

/// The first output for one input `x`, charged to `account`.
async fn ask(
    device: &dyn Device,
    session: &dyn Session,
    x: &Array,
    account: &Account,
) -> Result<Array, TensorError> {
    let outputs = start(device, session, x, account).await?;
    let bytes = outputs[0].read().await?;
    Ok(Array {
        dtype: outputs[0].dtype(),
        shape: outputs[0].shape().to_vec(),
        bytes,
    })
}

/// Begins a run of one input `x` for the first output.
fn start(
    device: &dyn Device,
    session: &dyn Session,
    x: &Array,
    account: &Account,
) -> impl Future<Output = Result<Vec<Tensor>, TensorError>> + use<> {
    let x = upload(device, x).unwrap();
    session.run(Run {
        inputs: vec![("x".to_owned(), x)],
        outputs: vec![session.graph().outputs()[0].name.clone()],
        deadline: None,
        account: account.clone(),
    })
}

/// Asks for each of `xs` alone, one after the other.
async fn alone(
    device: &dyn Device,
    session: &dyn Session,
    xs: &[Array],
) -> Vec<Result<Array, TensorError>> {
    let mut answers = Vec::new();
    for x in xs {
        answers.push(ask(device, session, x, &ample("a test")).await);
    }
    answers
}

fn since(now: BatchCounts, before: BatchCounts) -> (u64, u64) {
    (now.n_batches - before.n_batches, now.n_runs - before.n_runs)
}

#[tokio::test]
async fn callers_at_once_run_in_few_batches_and_get_their_own_rows() {
    for (name, device) in agreeing() {
        let session = device.session(&graph(&perceptron(101))).unwrap();
        let most = session
            .settle()
            .expect("it has rows")
            .expect("they may run together");
        assert!(most >= 8, "{name}: at most {most} rows");
        let xs: Vec<Array> = (0..N_CALLERS)
            .map(|seed| rows(1, 12, seed as u64))
            .collect();
        let expected = alone(device.as_ref(), session.as_ref(), &xs).await;
        let before = session.counts();
        let account = ample("a test");
        let asked = xs
            .iter()
            .map(|x| ask(device.as_ref(), session.as_ref(), x, &account));
        let answers = join_all(asked).await;
        assert!(answers == expected, "{name}");
        let (n_batches, n_runs) = since(session.counts(), before);
        assert_eq!(n_runs, N_CALLERS as u64, "{name}");
        assert!(n_batches <= 32, "{name}: {n_batches} batches");
    }
}

#[tokio::test]
async fn rows_that_look_at_each_other_run_alone() {
    let told = graph(&centred());
    let why = told.why_alone().expect("a shape says so");
    assert!(why.contains("rows cannot be told apart"), "{why}");
    for (name, device) in agreeing() {
        let refused = device.session(&told).unwrap().settle();
        assert_eq!(refused, None, "{name}");
        let session = device.session(&graph(&mixed())).unwrap();
        assert_eq!(session.graph().why_alone(), None, "no shape says so");
        let why = session
            .settle()
            .expect("it seems to have rows")
            .unwrap_err();
        assert!(why.contains("differs from the row alone"), "{name}: {why}");
        let (x, account) = (rows(1, 3, 1), ample("one"));
        let asked = (0..8).map(|_| ask(device.as_ref(), session.as_ref(), &x, &account));
        for answer in join_all(asked).await {
            assert_eq!(answer.unwrap().to_floats(), [1.0; 3], "{name}");
        }
    }
}

/// The most of each row: `x` `[batch, …]` of `sizes` to `[batch]`.
fn most_of(sizes: &[Dim]) -> Vec<u8> {
    let mut writer = Writer::new(18, 5);
    let shape: Vec<Dim> = [Dim::Name("batch")].iter().chain(sizes).copied().collect();
    let x = writer.input("x", &shape);
    let axes: Vec<i64> = (1..=sizes.len() as i64).collect();
    let axes = writer.integers(&axes);
    let keep = [Attribute::Integer("keepdims", 0)];
    let y = writer.node("ReduceMax", &[&x, &axes], &keep);
    writer.file(&[&y])
}

/// A trial holds its rows, on nobody's account.
#[tokio::test]
async fn a_model_of_huge_rows_is_not_tried_and_no_row_is_drawn() {
    // A tebibyte where each open dimension is 16, and a gibibyte whatever they are.
    let open = ["s", "t", "u"].map(Dim::Name);
    let open = most_of(&[&open[..], &[Dim::Size(1 << 26)]].concat());
    let fixed = most_of(&[Dim::Size(1 << 28)]);
    for (name, device) in agreeing() {
        for file in [&open, &fixed] {
            let session = device.session(&graph(file)).unwrap();
            let why = session.settle().expect("it has rows").unwrap_err();
            let says = "more than a batch or a trial may take";
            assert!(why.contains(says), "{name}: {why}");
        }
        // Of a few such rows a batch, and the rest alone.
        let large = most_of(&[Dim::Size(4 << 20)]);
        let session = device.session(&graph(&large)).unwrap();
        if let Some(Ok(most)) = session.settle() {
            assert!(most <= 32, "{name}: {most} rows of 16 MiB");
        }
    }
}

#[tokio::test]
async fn one_callers_bad_row_fails_nobody_else() {
    for (name, device) in agreeing() {
        let session = device.session(&graph(&looked_up())).unwrap();
        // Drawn numbers are mostly no row of the table, so this finds out with smaller ones.
        let _ = session.settle();
        let xs: Vec<Array> = (0..N_CALLERS)
            .map(|n| Array::floats(&[1], &[if n % 9 == 4 { 77.0 } else { (n % 5) as f32 }]))
            .collect();
        let account = ample("a test");
        for _ in 0..3 {
            let asked = xs
                .iter()
                .map(|x| ask(device.as_ref(), session.as_ref(), x, &account));
            let answers = join_all(asked).await;
            for (n, answer) in answers.into_iter().enumerate() {
                if n % 9 == 4 {
                    let error = answer.unwrap_err();
                    assert!(
                        matches!(error, TensorError::RunFailed { .. }),
                        "{name}: {error}"
                    );
                } else {
                    let first = (n % 5) as f32 * 2.0;
                    assert_eq!(answer.unwrap().to_floats(), [first, first + 1.0], "{name}");
                }
            }
        }
    }
}

#[tokio::test]
async fn whoever_may_not_hold_its_rows_fails_alone_and_all_is_given_back() {
    for (name, device) in agreeing() {
        let session = device.session(&graph(&perceptron(102))).unwrap();
        let _ = session.settle();
        let x = rows(1, 12, 3);
        let poor = Account::new("poor", 40, 100);
        let rich = ample("rich");
        let accounts: Vec<&Account> = (0..32)
            .map(|n| if n % 4 == 0 { &poor } else { &rich })
            .collect();
        let asked = accounts
            .iter()
            .map(|account| start(device.as_ref(), session.as_ref(), &x, account));
        let answers = join_all(asked).await;
        for (account, answer) in accounts.iter().zip(&answers) {
            if std::ptr::eq(*account, &poor) {
                let error = answer.as_ref().unwrap_err();
                let is_quota = matches!(error, TensorError::QuotaExceeded { .. });
                assert!(is_quota, "{name}: {error}");
            } else {
                assert_eq!(answer.as_ref().unwrap()[0].shape(), [1, 8], "{name}");
            }
        }
        // Eight floats of each of 24, and nothing of what they held meanwhile.
        assert_eq!((rich.bytes(), rich.tensors()), (24 * 32, 24), "{name}");
        assert_eq!((poor.bytes(), poor.tensors()), (0, 0), "{name}");
    }
}

/// A million products a row: no thread for light runs takes it. Of other weights it is another
/// model.
fn long_enough(weight: f32) -> Arc<Graph> {
    graph(&linear(1024, 1024, &vec![weight; 1024 * 1024]))
}

#[tokio::test]
async fn a_flood_of_one_costs_another_a_batch_and_not_the_queue() {
    let options = CpuOptions {
        n_threads: NonZeroUsize::MIN,
        max_waiting: 4096,
        ..CpuOptions::default()
    };
    let device: Arc<dyn Device> = Arc::new(CpuDevice::new(&options).unwrap());
    let (flooded, other) = (
        device.session(&long_enough(0.2)).unwrap(),
        device.session(&long_enough(0.3)).unwrap(),
    );
    // The one thread is busy until all have come.
    let busy = device.session(&long_enough(0.1)).unwrap();
    let holder = |name: &str| ample(name);
    let (flood, newcomer) = (holder("flood"), holder("newcomer"));
    let busy = start(
        device.as_ref(),
        busy.as_ref(),
        &rows(1024, 1024, 1),
        &holder("busy"),
    );
    let running = FuturesUnordered::new();
    for n in 0..1000_u64 {
        let run = start(device.as_ref(), flooded.as_ref(), &rows(1, 1024, n), &flood);
        running.push(tokio::spawn(async move { ("flood", run.await.is_ok()) }));
    }
    for session in [&flooded, &other] {
        let run = start(
            device.as_ref(),
            session.as_ref(),
            &rows(1, 1024, 9),
            &newcomer,
        );
        running.push(tokio::spawn(async move { ("newcomer", run.await.is_ok()) }));
    }
    let order: Vec<_> = running.map(Result::unwrap).collect().await;
    assert!(busy.await.is_ok());
    assert!(order.iter().all(|(_, is_ok)| *is_ok));
    let of_the_newcomer = order.iter().enumerate();
    let of_the_newcomer = of_the_newcomer.filter(|(_, (who, _))| *who == "newcomer");
    let places: Vec<usize> = of_the_newcomer.map(|(place, _)| place).collect();
    // A batch of the flood's for each of its own; tasks are woken in about that order.
    assert!(places.iter().all(|place| *place < 300), "{places:?}");
}

#[tokio::test]
async fn close_rows_run_together_though_their_last_bits_differ() {
    // Sums over 17 begin elsewhere in each row on the CPU.
    let file = {
        let mut writer = Writer::new(17, 5);
        let mut x = writer.input("x", &[Dim::Name("batch"), Dim::Size(17)]);
        for _ in 0..12 {
            let weight = writer.drawn(&[17, 17], 0.0, 1.0);
            x = writer.node("MatMul", &[&x, &weight], &[]);
            x = writer.node("Softmax", &[&x], &[Attribute::Integer("axis", -1)]);
        }
        writer.file(&[&x])
    };
    let device = two_threads();
    let (exact, close) = (
        graph(&file),
        Arc::new(
            Graph::from_onnx(&file, &Weights::default())
                .unwrap()
                .with_close_rows(),
        ),
    );
    let (exact, close) = (
        device.session(&exact).unwrap(),
        device.session(&close).unwrap(),
    );
    assert!(
        !Arc::ptr_eq(&exact, &close),
        "one promises more than the other"
    );
    let why = exact.settle().unwrap().unwrap_err();
    assert!(why.contains("differs"), "{why}");
    assert!(close.settle().unwrap().unwrap() > 1);
    let xs: Vec<Array> = (0..N_CALLERS)
        .map(|seed| rows(1, 17, seed as u64))
        .collect();
    let account = ample("a test");
    let right = alone(&device, exact.as_ref(), &xs).await;
    let before = close.counts();
    let asked = xs.iter().map(|x| ask(&device, close.as_ref(), x, &account));
    for (right, answer) in right.iter().zip(join_all(asked).await) {
        let (right, answer) = (
            right.as_ref().unwrap().to_floats(),
            answer.unwrap().to_floats(),
        );
        let far = right
            .iter()
            .zip(&answer)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(far <= 1e-5, "{far}");
    }
    let (n_batches, n_runs) = since(close.counts(), before);
    assert!(n_batches < n_runs, "{n_batches} batches");
}

#[tokio::test]
async fn a_gpu_that_is_lost_fails_its_batches_and_runs_the_next() {
    let Some(device) = new_gpu(false) else { return };
    let session = device.session(&graph(&perceptron(104))).unwrap();
    let _ = session.settle();
    let xs: Vec<Array> = (0..N_CALLERS)
        .map(|seed| rows(1, 12, seed as u64))
        .collect();
    let right = alone(device.as_ref(), session.as_ref(), &xs).await;
    let account = ample("a test");
    device.lose();
    let asked = xs
        .iter()
        .map(|x| ask(device.as_ref(), session.as_ref(), x, &account));
    let mut n_lost = 0;
    for (right, answer) in right.iter().zip(join_all(asked).await) {
        match answer {
            Err(TensorError::DeviceLost { .. }) => n_lost += 1,
            answer => assert!(answer == *right),
        }
    }
    assert!(n_lost > 0, "what it had begun is lost with it");
    let asked = xs
        .iter()
        .map(|x| ask(device.as_ref(), session.as_ref(), x, &account));
    assert!(join_all(asked).await == right, "and it is open again");
}
