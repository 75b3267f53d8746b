//! Whole models on every device: the CPU's answers, and the same score in any batch.

mod folded;

use std::sync::Arc;

use trommel_tensor::{Device, Graph, Session, plan_text};
use trommel_tests::devices::{Array, agree, cpu, devices, evaluate, graph};
use trommel_tests::models::{Architecture, Size};

/// Rows of a batch; odd, as a queue would leave it.
const N_ROWS: usize = 3;

/// The only output, for `inputs`.
async fn answer(device: &dyn Device, session: &dyn Session, inputs: &[(String, Array)]) -> Array {
    let mut outputs = evaluate(device, session, inputs).await.unwrap();
    assert_eq!(outputs.len(), 1);
    outputs.remove(0)
}

/// Row `index` of every input.
fn row(inputs: &[(String, Array)], index: usize) -> Vec<(String, Array)> {
    let row = |(name, array): &(String, Array)| (name.clone(), array.row(index));
    inputs.iter().map(row).collect()
}

/// Runs a model on every device and holds its answer to the CPU's. Each row alone is
/// bit-equal to itself in a batch, but on the devices that `inexact` names.
async fn check(architecture: Architecture, size: Size, inexact: &[&str]) {
    let graph = graph(&architecture.file(&size));
    let inputs = architecture.inputs(&size, N_ROWS);
    let reference = reference(&graph, &inputs).await;
    for (name, device) in devices() {
        let place = format!("{} on {name}", architecture.name());
        let session = device.session(&graph).unwrap();
        let answered = answer(device.as_ref(), session.as_ref(), &inputs).await;
        agree(&reference, &answered).unwrap_or_else(|error| panic!("{place}: {error}"));
        let mut is_exact = true;
        for index in 0..N_ROWS {
            let inputs = row(&inputs, index);
            let alone = answer(device.as_ref(), session.as_ref(), &inputs).await;
            agree(&answered.row(index), &alone)
                .unwrap_or_else(|error| panic!("{place}: row {index} alone: {error}"));
            is_exact &= alone == answered.row(index);
        }
        // A device that is listed and exact all the same is struck off the list.
        assert_eq!(
            is_exact,
            !inexact.contains(&name),
            "{place}: each row alone is bit-equal to itself in a batch"
        );
    }
}

/// The CPU's answer, which is one that can be compared with.
async fn reference(graph: &Arc<Graph>, inputs: &[(String, Array)]) -> Array {
    let device = cpu();
    let session = device.session(graph).unwrap();
    let reference = answer(device.as_ref(), session.as_ref(), inputs).await;
    assert_eq!(reference.shape[0], N_ROWS);
    let values = reference.to_floats();
    // Else the weights are badly scaled, and an error could hide.
    let square = values.iter().map(|value| value * value).sum::<f32>() / values.len() as f32;
    assert!((0.01..100.0).contains(&square), "mean square {square}");
    // Else the rows are one, and a mixed-up batch would not be seen.
    for index in 1..N_ROWS {
        agree(&reference.row(0), &reference.row(index)).unwrap_err();
    }
    reference
}

/// Else a model that runs on the CPU behind a GPU would be compared with itself.
#[test]
fn the_models_have_a_plan_for_a_gpu() {
    for architecture in Architecture::ALL {
        let graph = graph(&architecture.file(&Size::SMALL));
        let name = architecture.name();
        let plan = plan_text(&graph, &[]).unwrap_or_else(|error| panic!("{name}: {error}"));
        insta::assert_snapshot!(format!("plan-{name}"), plan);
    }
}

#[tokio::test]
async fn a_mobilenet_answers_as_on_the_cpu_in_any_batch() {
    check(Architecture::MobileNetV2, Size::SMALL, &[]).await;
}

#[tokio::test]
async fn a_resnet_answers_as_on_the_cpu_in_any_batch() {
    check(Architecture::ResNet18, Size::SMALL, &[]).await;
}

#[tokio::test]
async fn a_minilm_answers_as_on_the_cpu_in_any_batch() {
    check(Architecture::MiniLm, Size::SMALL, &[]).await;
}

#[tokio::test]
async fn an_encoder_answers_as_on_the_cpu_in_any_batch() {
    check(Architecture::Encoder, Size::SMALL, &[]).await;
}

/// The CPU's softmax sums from the first address that 32 divides, so the order of a sum
/// over 17 scores moves with where the row lies in memory (tract-linalg 0.23.9,
/// `map_reduce_slice_with_alignment`). Multiples of 8 tokens are not affected.
#[tokio::test]
async fn a_minilm_answers_as_on_the_cpu_at_an_odd_number_of_tokens() {
    let size = Size {
        sequence: 17,
        ..Size::SMALL
    };
    check(Architecture::MiniLm, size, &["cpu"]).await;
}

#[tokio::test]
async fn what_the_mask_hides_does_not_change_a_score() {
    for architecture in [Architecture::MiniLm, Architecture::Encoder] {
        check_hidden(architecture, Size::SMALL).await;
    }
}

async fn check_hidden(architecture: Architecture, size: Size) {
    let graph = graph(&architecture.file(&size));
    let inputs = architecture.inputs(&size, 2);
    let mut other = inputs.clone();
    // The second row's last token is padding: another id there changes nothing.
    let last = other[0].1.bytes.len() - 8;
    assert_eq!(inputs[1].1.bytes[last], 0, "the last token is hidden");
    other[0].1.bytes[last] ^= 1;
    for (name, device) in devices() {
        let session = device.session(&graph).unwrap();
        let expected = answer(device.as_ref(), session.as_ref(), &inputs).await;
        let answered = answer(device.as_ref(), session.as_ref(), &other).await;
        assert!(answered == expected, "on {name}");
    }
}
