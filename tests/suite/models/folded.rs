//! Scales and biases after a sum of products: part of its weights where that is right, and
//! the CPU's answers either way.

use trommel_tensor::plan_text;
use trommel_tests::devices::{Array, agree, devices, evaluate, graph};
use trommel_tests::onnx::{Attribute, Builder, Dim};

const N_ROWS: usize = 3;

/// Numbers that no two channels share.
fn numbers(n: i64, from: f32) -> Vec<f32> {
    (0..n).map(|at| from + 0.37 * at as f32).collect()
}

fn pictures() -> Builder {
    Builder::default()
        .input(
            "x",
            &[Dim::Name("batch"), Dim::Size(4), Dim::Size(5), Dim::Size(3)],
        )
        .weight("w", &[6, 4, 1, 1], &numbers(24, -4.0))
        .weight("scale", &[6, 1, 1], &numbers(6, -1.0))
        .weight("shift", &[6, 1, 1], &numbers(6, 2.0))
}

fn rows() -> Builder {
    Builder::default()
        .input("x", &[Dim::Name("batch"), Dim::Size(7), Dim::Size(4)])
        .weight("w", &[4, 6], &numbers(24, -4.0))
        .weight("scale", &[6], &numbers(6, -1.0))
        .weight("shift", &[6], &numbers(6, 2.0))
}

/// Holds every device to the CPU, and rows to themselves; answers the plan.
async fn held(file: Builder, shape: &[usize]) -> String {
    let graph = graph(&file.output("y").file());
    let shape: Vec<usize> = [N_ROWS].iter().chain(shape).copied().collect();
    let n: usize = shape.iter().product();
    let values: Vec<f32> = (0..n).map(|at| (at as f32 * 0.7).sin()).collect();
    let x = Array::floats(&shape, &values);
    let mut reference = None;
    for (name, device) in devices() {
        let session = device.session(&graph).unwrap();
        let of = async |x: Array| {
            let inputs = [("x".to_owned(), x)];
            let outputs = evaluate(device.as_ref(), session.as_ref(), &inputs).await;
            outputs.unwrap().remove(0)
        };
        let answered = of(x.clone()).await;
        let right = reference.get_or_insert_with(|| answered.clone());
        agree(right, &answered).unwrap_or_else(|error| panic!("{name}: {error}"));
        for index in 0..N_ROWS {
            let alone = of(x.row(index)).await;
            assert!(alone == answered.row(index), "{name}: row {index} alone");
        }
    }
    plan_text(&graph, &[]).unwrap()
}

#[tokio::test]
async fn what_a_batch_normalisation_leaves_is_part_of_the_weights() {
    let deep = [Attribute::Integer("group", 4)];
    let pointwise = pictures().node("Conv", &["x", "w"], "c");
    let depthwise = pictures()
        .weight("deep", &[4, 1, 3, 3], &numbers(36, -6.0))
        .weight("scale4", &[4, 1, 1], &numbers(4, -1.0))
        .weight("shift4", &[4, 1, 1], &numbers(4, 2.0))
        .node_with("Conv", &["x", "deep"], &["c"], &deep);
    for (before, scale, shift) in [
        (pointwise, "scale", "shift"),
        (depthwise, "scale4", "shift4"),
    ] {
        let file = before
            .node("Mul", &["c", scale], "m")
            .node("Add", &[shift, "m"], "a")
            .node("Relu", &["a"], "y");
        let plan = held(file, &[4, 5, 3]).await;
        assert!(
            plan.contains("plus") && plan.contains("then max(it, 0.0)"),
            "{plan}"
        );
    }
}

#[tokio::test]
async fn a_linear_layer_begins_at_its_bias() {
    let file = rows()
        .node("MatMul", &["x", "w"], "p")
        .node("Add", &["p", "shift"], "y");
    let plan = held(file, &[7, 4]).await;
    assert!(plan.contains("plus") && !plan.contains("then"), "{plan}");
    // Wherever the channels have been moved meanwhile, and whichever way it is taken.
    let turned = [Attribute::Integers("perm", &[2, 0, 1])];
    let file = rows()
        .weight("late", &[6, 1, 1], &numbers(6, 0.5))
        .weight("half", &[1], &[0.5])
        .node("MatMul", &["x", "w"], "p")
        .node("Sub", &["shift", "p"], "d")
        .node("Mul", &["d", "half"], "h")
        .node_with("Transpose", &["h"], &["t"], &turned)
        .node("Mul", &["late", "t"], "m")
        .node("Sub", &["m", "late"], "s")
        .node_with(
            "Transpose",
            &["s"],
            &["y"],
            &[Attribute::Integers("perm", &[1, 2, 0])],
        );
    let plan = held(file, &[7, 4]).await;
    assert!(plan.contains("plus") && !plan.contains("then"), "{plan}");
}

#[tokio::test]
async fn what_differs_along_more_than_channels_stays_an_operation() {
    let file = rows()
        .weight("each", &[7, 1], &numbers(7, 1.0))
        .node("MatMul", &["x", "w"], "p")
        .node("Mul", &["p", "each"], "y");
    let plan = held(file, &[7, 4]).await;
    assert!(plan.contains("then multiply"), "{plan}");
    let file = rows()
        .node("MatMul", &["x", "w"], "p")
        .node("Mul", &["p", "scale"], "m")
        .node("Add", &["m", "p"], "y");
    let plan = held(file, &[7, 4]).await;
    assert!(
        plan.contains("multiply"),
        "the sum is read as it is: {plan}"
    );
}

#[tokio::test]
async fn weights_that_another_reads_are_left_as_they_are() {
    let file = rows()
        .weight("back", &[6, 4], &numbers(24, -4.0))
        .node("MatMul", &["x", "w"], "p")
        .node("Mul", &["p", "scale"], "m")
        .node("Relu", &["m"], "r")
        .node("MatMul", &["r", "back"], "q")
        .node("MatMul", &["q", "w"], "n")
        .node("Add", &["n", "shift"], "y");
    let plan = held(file, &[7, 4]).await;
    assert!(plan.contains("multiply(it, %"), "{plan}");
    // A bias is nobody else's.
    assert!(plan.contains("plus %"), "{plan}");
}

/// Else a weight would be infinite where the product with what is small is not.
#[tokio::test]
async fn a_scale_that_no_weight_can_take_stays_an_operation() {
    let file = rows()
        .weight("tiny", &[1], &[1e-20])
        .weight("huge", &[6], &[1e38; 6])
        .node("Mul", &["x", "tiny"], "t")
        .node("MatMul", &["t", "w"], "p")
        .node("Mul", &["p", "huge"], "y");
    let plan = held(file, &[7, 4]).await;
    assert!(plan.contains("then multiply"), "{plan}");
}
