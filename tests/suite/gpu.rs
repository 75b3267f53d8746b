//! What a GPU device owes its callers beside right numbers: a way on when there is no
//! plan, no GPU any more, or wrong data. On whatever adapter there is; in CI that is
//! software.

use std::sync::Arc;

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, NodeProto};
use trommel_tensor::{
    Account, Device, Dtype, GpuDevice, Graph, Run, Session, Tensor, TensorError, Weights,
};
use trommel_tests::devices::{gpu, new_gpu};
use trommel_tests::onnx::{Builder, Dim};

fn account() -> Account {
    Account::new("test", 1 << 30, 1024)
}

fn f32s(device: &dyn Device, shape: &[usize], values: &[f32]) -> Tensor {
    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    Tensor::upload(device, &account(), Dtype::F32, shape, &bytes).unwrap()
}

async fn run(session: &dyn Session, inputs: &[(&str, Tensor)]) -> Result<Vec<f32>, TensorError> {
    let inputs = inputs
        .iter()
        .map(|(name, tensor)| ((*name).to_owned(), tensor.clone()));
    let tensors = session
        .run(Run {
            inputs: inputs.collect(),
            outputs: vec!["y".to_owned()],
            deadline: None,
            account: account(),
        })
        .await?;
    let bytes = tensors[0].read().await?;
    let words = bytes.as_chunks::<4>().0.iter();
    Ok(words.map(|word| f32::from_le_bytes(*word)).collect())
}

fn session(device: &GpuDevice, file: &[u8]) -> Arc<dyn Session> {
    let graph = Arc::new(Graph::from_onnx(file, &Weights::default()).unwrap());
    device.session(&graph).unwrap()
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
    let builder = Builder::default().input("x", &[Dim::Name("batch")]);
    builder
        .weight("table", &[5, 2], &table)
        .with(|graph| {
            let cast = NodeProto {
                name: "cast".to_owned(),
                op_type: "Cast".to_owned(),
                input: vec!["x".to_owned()],
                output: vec!["at".to_owned()],
                attribute: vec![AttributeProto {
                    name: "to".to_owned(),
                    r#type: AttributeType::Int as i32,
                    i: DataType::Int32 as i64,
                    ..AttributeProto::default()
                }],
                ..NodeProto::default()
            };
            graph.node.push(cast);
        })
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
        let x = || f32s(device.as_ref(), &[1, 3], &[1.0, 2.0, 3.0]);
        assert_eq!(
            run(session.as_ref(), &[("x", x())]).await.unwrap(),
            [2.0, 4.0, 6.0]
        );
        device.lose();
        let mut lost = 0;
        let answer = loop {
            match run(session.as_ref(), &[("x", x())]).await {
                Ok(answer) => break answer,
                Err(TensorError::DeviceLost { .. }) if lost < 2 => lost += 1,
                Err(error) => panic!("{error}"),
            }
        };
        assert_eq!(answer, [2.0, 4.0, 6.0]);
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
        let at = |rows: &[f32]| f32s(device.as_ref(), &[rows.len()], rows);
        let found = run(session.as_ref(), &[("x", at(&[4.0, 0.0, -1.0]))]).await;
        assert_eq!(found.unwrap(), [8.0, 9.0, 0.0, 1.0, 8.0, 9.0]);
        for outside in [5.0, -6.0, 2e9] {
            let error = run(session.as_ref(), &[("x", at(&[1.0, outside]))])
                .await
                .unwrap_err();
            assert!(matches!(error, TensorError::RunFailed { .. }), "{error}");
        }
        let found = run(session.as_ref(), &[("x", at(&[1.0]))]).await;
        assert_eq!(found.unwrap(), [2.0, 3.0], "the next run is as good as new");
    }
}

#[tokio::test]
async fn a_graph_without_a_plan_runs_on_the_cpu() {
    let Some(device) = gpu(true) else { return };
    let file = Builder::default()
        .input("x", &[Dim::Name("batch"), Dim::Size(3)])
        .node("IsNaN", &["x"], "nan")
        .node("Where", &["nan", "x", "x"], "y")
        .output("y")
        .file();
    let session = session(&device, &file);
    let why = device.uncovered(session.graph()).unwrap();
    assert!(why.contains("nan-node"), "{why}");
    let x = f32s(device.as_ref(), &[1, 3], &[1.0, 2.0, 3.0]);
    assert_eq!(
        run(session.as_ref(), &[("x", x)]).await.unwrap(),
        [1.0, 2.0, 3.0]
    );
}

#[tokio::test]
async fn a_large_output_stays_on_the_gpu_and_feeds_the_next_run() {
    let Some(device) = gpu(false) else { return };
    let session = session(&device, &doubled());
    let n_rows = 200_000;
    let values: Vec<f32> = (0..3 * n_rows).map(|x| x as f32).collect();
    let x = f32s(device.as_ref(), &[n_rows, 3], &values);
    let run = |x: Tensor| {
        session.run(Run {
            inputs: vec![("x".to_owned(), x)],
            outputs: vec!["y".to_owned()],
            deadline: None,
            account: account(),
        })
    };
    let twice = run(x).await.unwrap().remove(0);
    let four_times = run(twice).await.unwrap().remove(0);
    let bytes = four_times.read().await.unwrap();
    let words = bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|word| f32::from_le_bytes(*word));
    assert!(words.eq(values.iter().map(|x| 4.0 * x)));
}

#[tokio::test]
async fn an_empty_batch_is_an_empty_answer() {
    let Some(device) = gpu(true) else { return };
    let session = session(&device, &doubled());
    let x = f32s(device.as_ref(), &[0, 3], &[]);
    assert!(run(session.as_ref(), &[("x", x)]).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_a_run_holds_is_charged_before_it_begins() {
    let Some(device) = gpu(true) else { return };
    let session = session(&device, &doubled());
    let x = f32s(device.as_ref(), &[100, 3], &[0.5; 300]);
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
