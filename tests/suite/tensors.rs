//! Graph, session, device, account: the seam that a GPU will stand behind.

use std::sync::Arc;

use futures_util::FutureExt as _;
use trommel_tensor::{
    Account, CpuDevice, CpuOptions, Device, Dimension, Dtype, Graph, Run, Session, Tensor,
    TensorError, Weights,
};
use trommel_tests::onnx::{Builder, Dim, linear};
use trommel_tests::spam_model;

pub(crate) fn cpu() -> CpuDevice {
    CpuDevice::new(&CpuOptions::default()).expect("threads")
}

pub(crate) fn ample() -> Account {
    Account::new("the test", u64::MAX, u64::MAX)
}

pub(crate) fn graph(file: &[u8]) -> Arc<Graph> {
    Arc::new(Graph::from_onnx(file, &Weights::default()).expect("a good model"))
}

pub(crate) fn upload(
    device: &dyn Device,
    account: &Account,
    shape: &[usize],
    values: &[f32],
) -> Tensor {
    let bytes: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    Tensor::upload(device, account, Dtype::F32, shape, &bytes).expect("it fits")
}

async fn read(tensor: &Tensor) -> Vec<f32> {
    let bytes = tensor.read().await.expect("the device is there");
    bytes
        .as_chunks()
        .0
        .iter()
        .map(|chunk| f32::from_le_bytes(*chunk))
        .collect()
}

pub(crate) async fn run(
    session: &dyn Session,
    inputs: &[(&str, &Tensor)],
    outputs: &[&str],
    account: &Account,
) -> Result<Vec<Tensor>, TensorError> {
    let inputs = inputs
        .iter()
        .map(|(name, tensor)| ((*name).to_owned(), (*tensor).clone()))
        .collect();
    session
        .run(Run {
            inputs,
            outputs: outputs.iter().map(ToString::to_string).collect(),
            deadline: None,
            account: account.clone(),
        })
        .await
}

#[tokio::test]
async fn a_session_runs_any_batch_and_a_row_is_bit_equal_in_each() {
    let (device, account) = (cpu(), ample());
    let weight: Vec<f32> = (0_u8..15).map(|n| f32::from(n) * 0.37 - 2.0).collect();
    let session = device.session(&graph(&linear(5, 3, &weight))).unwrap();
    let row: Vec<f32> = (0_u8..5).map(|n| f32::from(n) / 3.0).collect();
    let alone = upload(&device, &account, &[1, 5], &row);
    let alone = read(
        &run(session.as_ref(), &[("x", &alone)], &["y"], &account)
            .await
            .unwrap()[0],
    )
    .await;
    for batch in [2, 3, 8, 17] {
        let rows = upload(&device, &account, &[batch, 5], &row.repeat(batch));
        let [y] = &run(session.as_ref(), &[("x", &rows)], &["y"], &account)
            .await
            .unwrap()[..]
        else {
            panic!("one output was asked for")
        };
        assert_eq!(y.shape(), [batch, 3]);
        assert_eq!(read(y).await, alone.repeat(batch), "batch {batch}");
    }
}

#[tokio::test]
async fn named_symbols_must_agree_within_a_run() {
    let file = Builder::default()
        .input("a", &[Dim::Name("batch"), Dim::Name("sequence")])
        .input("b", &[Dim::Name("batch"), Dim::Name("sequence")])
        .node("Add", &["a", "b"], "sum")
        .output("sum")
        .file();
    let (device, account, graph) = (cpu(), ample(), graph(&file));
    assert_eq!(
        graph.inputs()[0].shape,
        [
            Dimension::Symbol("batch".into()),
            Dimension::Symbol("sequence".into())
        ]
    );
    let session = device.session(&graph).unwrap();
    let tensor =
        |shape: &[usize]| upload(&device, &account, shape, &vec![1.0; shape.iter().product()]);
    let (good, other) = (tensor(&[2, 3]), tensor(&[2, 4]));
    let sum = run(
        session.as_ref(),
        &[("a", &good), ("b", &good)],
        &["sum"],
        &account,
    )
    .await
    .unwrap();
    assert_eq!(read(&sum[0]).await, [2.0; 6]);
    let error = run(
        session.as_ref(),
        &[("a", &good), ("b", &other)],
        &["sum"],
        &account,
    )
    .await
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "input `b` takes f32 [batch, sequence], f32 [2, 4] was given; sequence is 3 in this run, not 4"
    );
}

#[tokio::test]
async fn names_and_dtypes_are_checked_before_anything_runs() {
    let (device, account) = (cpu(), ample());
    let session = device.session(&graph(&linear(2, 2, &[1.0; 4]))).unwrap();
    let x = upload(&device, &account, &[1, 2], &[1.0, 2.0]);
    let ints = Tensor::upload(&device, &account, Dtype::I64, &[1, 2], &[0; 16]).unwrap();
    for (inputs, outputs, expected) in [
        (
            vec![],
            vec!["y"],
            "input `x` (f32 [batch, 2]) was not given",
        ),
        (
            vec![("x", &x), ("z", &x)],
            vec!["y"],
            "input `z` does not exist; the model has `x`",
        ),
        (
            vec![("x", &x), ("x", &x)],
            vec!["y"],
            "input `x` was given twice; the model has `x`",
        ),
        (
            vec![("x", &x)],
            vec!["q"],
            "output `q` does not exist; the model has `y`",
        ),
        (
            vec![("x", &ints)],
            vec!["y"],
            "input `x` takes f32 [batch, 2], i64 [1, 2] was given",
        ),
    ] {
        let error = run(session.as_ref(), &inputs, &outputs, &account)
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

#[tokio::test]
async fn an_input_may_be_used_again() {
    let (device, account) = (cpu(), ample());
    let session = device.session(&graph(&linear(2, 1, &[1.0, 10.0]))).unwrap();
    let x = upload(&device, &account, &[1, 2], &[1.0, 2.0]);
    for _ in 0..2 {
        let y = run(session.as_ref(), &[("x", &x)], &["y"], &account)
            .await
            .unwrap();
        assert_eq!(read(&y[0]).await, [21.0]);
    }
    assert_eq!(read(&x).await, [1.0, 2.0]);
}

#[tokio::test]
async fn what_a_run_holds_is_charged_and_given_back() {
    let device = cpu();
    let session = device
        .session(&graph(&linear(4, 100, &[0.5; 400])))
        .unwrap();
    // 16 bytes of input, 400 of output.
    let account = Account::new("the test", 416, 2);
    let x = upload(&device, &account, &[1, 4], &[1.0; 4]);
    let y = run(session.as_ref(), &[("x", &x)], &["y"], &account)
        .await
        .unwrap();
    assert_eq!((account.bytes(), account.tensors()), (416, 2));
    drop((x, y));
    assert_eq!((account.bytes(), account.tensors()), (0, 0));

    let wide = upload(&device, &ample(), &[2, 4], &[1.0; 8]);
    let error = run(session.as_ref(), &[("x", &wide)], &["y"], &account)
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            TensorError::QuotaExceeded {
                wanted: 800,
                limit: 416,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(account.bytes(), 0);
}

#[test]
fn bytes_that_do_not_fit_their_shape_are_refused() {
    let (device, account) = (cpu(), ample());
    let refused = |dtype, shape: &[usize], bytes: &[u8]| {
        Tensor::upload(&device, &account, dtype, shape, bytes)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        refused(Dtype::F32, &[2, 2], &[0; 15]),
        "a f32 tensor of shape [2, 2] takes 16 bytes, 15 were given"
    );
    assert!(refused(Dtype::F32, &[usize::MAX, 2], &[]).contains("larger than memory"));
    assert!(refused(Dtype::Bool, &[2], &[1, 2]).contains("0 or 1"));
    assert!(refused(Dtype::Bf16, &[1], &[0; 2]).contains("does not hold bf16"));
    assert_eq!((account.bytes(), account.tensors()), (0, 0));
}

#[test]
fn two_graphs_share_the_weights_that_they_have_in_common() {
    let weights = Weights::default();
    let shared: Vec<f32> = (0_u16..2048).map(f32::from).collect();
    let one = linear(64, 32, &shared);
    let other = Builder::default()
        .input("x", &[Dim::Name("batch"), Dim::Size(64)])
        .weight("w", &[64, 32], &shared)
        .weight("bias", &[32], &[1.0; 32])
        .node("MatMul", &["x", "w"], "product")
        .node("Add", &["product", "bias"], "y")
        .output("y")
        .file();
    let one = Graph::from_onnx(&one, &weights).unwrap();
    assert_eq!(weights.n_alive(), 1);
    let other = Graph::from_onnx(&other, &weights).unwrap();
    assert_eq!(weights.n_alive(), 1, "the same bytes are held once");
    assert!(
        one.weight_bytes() >= 8192 && other.weight_bytes() >= 8192,
        "each holder is charged"
    );
    drop(one);
    assert_eq!(weights.n_alive(), 1);
    drop(other);
    assert_eq!(weights.n_alive(), 0, "the last holder frees them");
}

#[test]
fn two_sessions_of_one_graph_are_the_same_session() {
    let device = cpu();
    let file = linear(2, 2, &[1.0; 4]);
    let (one, other) = (
        device.session(&graph(&file)).unwrap(),
        device.session(&graph(&file)).unwrap(),
    );
    assert!(Arc::ptr_eq(&one, &other));
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_an_expired_run_is_dropped() {
    let options = CpuOptions {
        n_threads: std::num::NonZeroUsize::MIN,
        max_waiting: 2,
        ..CpuOptions::default()
    };
    let device = CpuDevice::new(&options).unwrap();
    let account = ample();
    // Long enough to keep the one thread busy while the queue fills.
    let n = 1024;
    let slow = device
        .session(&graph(&linear(n, n, &vec![0.1; 1024 * 1024])))
        .unwrap();
    let x = upload(&device, &account, &[512, 1024], &vec![0.1; 512 * 1024]);
    let start = |deadline| {
        slow.run(Run {
            inputs: vec![("x".to_owned(), x.clone())],
            outputs: vec!["y".to_owned()],
            deadline,
            account: account.clone(),
        })
    };
    let past = trommel_tests::sandbox::deadline(std::time::Duration::ZERO);
    let runs: Vec<_> = (0..8).map(|_| start(Some(past))).collect();
    let outcomes = futures_util::future::join_all(runs).await;
    let overloaded = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Err(TensorError::Overloaded { .. })));
    let expired = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Err(TensorError::Expired { .. })));
    let (n_overloaded, n_expired) = (overloaded.count(), expired.count());
    assert_eq!(n_overloaded + n_expired, 8, "{outcomes:?}");
    assert!(n_expired >= 2, "what fitted into the queue was looked at");
    assert!(start(None).await.is_ok(), "and the queue is open again");
}

#[tokio::test]
async fn a_run_is_computed_elsewhere_than_on_its_callers_thread() {
    let (device, account) = (cpu(), ample());
    let session = device
        .session(&graph(&linear(1024, 1024, &vec![0.1; 1024 * 1024])))
        .unwrap();
    let x = upload(&device, &account, &[512, 1024], &vec![0.1; 512 * 1024]);
    let inputs = [("x", &x)];
    let mut running = std::pin::pin!(run(session.as_ref(), &inputs, &["y"], &account));
    assert!(
        running.as_mut().now_or_never().is_none(),
        "the caller computed half a billion products itself"
    );
    assert_eq!(running.await.unwrap()[0].shape(), [512, 1024]);
}

#[tokio::test]
async fn a_model_that_cannot_compute_is_an_error_and_the_thread_lives_on() {
    let options = CpuOptions {
        n_threads: std::num::NonZeroUsize::MIN,
        max_waiting: 8,
        ..CpuOptions::default()
    };
    let (device, account) = (CpuDevice::new(&options).unwrap(), ample());
    let session = device.session(&graph(&spam_model())).unwrap();
    let tensors = |id: i64| {
        let ids =
            Tensor::upload(&device, &account, Dtype::I64, &[1, 1], &id.to_le_bytes()).unwrap();
        (ids, upload(&device, &account, &[1, 1], &[1.0]))
    };
    for id in [1 << 40, -(1 << 40), i64::MIN, i64::MAX] {
        let (ids, values) = tensors(id);
        let outcome = run(
            session.as_ref(),
            &[("ids", &ids), ("values", &values)],
            &["score"],
            &account,
        )
        .await;
        assert!(
            matches!(outcome, Err(TensorError::RunFailed { .. })),
            "{id}: {outcome:?}"
        );
    }
    let (ids, values) = tensors(5);
    let score = run(
        session.as_ref(),
        &[("ids", &ids), ("values", &values)],
        &["score"],
        &account,
    )
    .await
    .unwrap();
    assert!(read(&score[0]).await[0].is_finite());
}
