//! What a file says, and what of it is refused, before any device.

use std::sync::Arc;

use tract_onnx::pb::TensorProto;
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::type_proto::Value;
use trommel_tensor::{Device, Dtype, Fixed, Graph, Weights};
use trommel_tests::onnx::{Builder, Dim};
use trommel_tests::spam_model;

use crate::tensors::{ample, cpu, graph, run, upload};

#[test]
fn a_file_that_is_no_usable_model_is_refused_with_the_reason() {
    let refused = |file: &[u8]| {
        Graph::from_onnx(file, &Weights::default())
            .unwrap_err()
            .to_string()
    };
    let x = [Dim::Name("batch"), Dim::Size(2)];
    let base = || Builder::default().input("x", &x);
    for (file, expected) in [
        (b"not a model at all".to_vec(), "does not decode"),
        (Vec::new(), "holds no graph"),
        (base().file(), "the graph has no output"),
        (
            base().node("Teleport", &["x"], "y").output("y").file(),
            "operator Teleport of node `y-node` is not supported",
        ),
        (
            base().node("Relu", &["nowhere"], "y").output("y").file(),
            "not a usable ONNX model",
        ),
        (base().output("y").file(), "not a usable ONNX model"),
        (
            base()
                .weight("w", &[1 << 40, 1 << 30], &[])
                .node("Relu", &["x"], "y")
                .output("y")
                .file(),
            "weight `w` has the impossible shape",
        ),
        (
            base()
                .weight("w", &[-1, 2], &[])
                .node("Relu", &["x"], "y")
                .output("y")
                .file(),
            "weight `w` has the impossible shape",
        ),
        (
            base()
                .weight("w", &[3, 3], &[1.0; 9])
                .node("MatMul", &["x", "w"], "y")
                .output("y")
                .file(),
            "not a usable ONNX model",
        ),
        (
            base()
                .weight("w", &[2, 2], &[])
                .with(|graph| {
                    graph.initializer[0].data_location = Some(DataLocation::External as i32);
                })
                .node("MatMul", &["x", "w"], "y")
                .output("y")
                .file(),
            "weight `w` lies in a file of its own",
        ),
        (
            Builder::default()
                .with(|graph| {
                    graph.initializer.push(TensorProto {
                        name: "shape".to_owned(),
                        dims: vec![1],
                        data_type: DataType::Int64 as i32,
                        raw_data: (1_i64 << 30).to_le_bytes().to_vec(),
                        ..TensorProto::default()
                    });
                })
                .node("ConstantOfShape", &["shape"], "y")
                .output("y")
                .file(),
            "larger than 1073741824 bytes",
        ),
        (
            base().node("NonZero", &["x"], "y").output("y").file(),
            "depends on the data",
        ),
    ] {
        let error = refused(&file);
        assert!(error.contains(expected), "expected `{expected}`: {error}");
    }
    let whole = spam_model();
    let error = refused(&whole[..whole.len() / 2]);
    assert!(error.contains("is it an ONNX file, and whole?"), "{error}");
}

#[test]
fn an_unnamed_dimension_gets_a_name_of_its_own() {
    let file = Builder::default()
        .input("x", &[Dim::Unknown, Dim::Size(2)])
        .node("Relu", &["x"], "y")
        .output("y")
        .file();
    let graph = graph(&file);
    assert_eq!(graph.inputs()[0].to_string(), "x f32 [x_0, 2]");
    assert_eq!(graph.outputs()[0].to_string(), "y f32 [x_0, 2]");
}

/// `y = reshape(x, shape)`, with the shape as an input.
fn reshaping() -> Vec<u8> {
    Builder::default()
        .input("x", &[Dim::Size(2), Dim::Size(2)])
        .input("shape", &[Dim::Size(2)])
        .with(|graph| {
            let of = graph.input[1].r#type.as_mut().unwrap();
            let Some(Value::TensorType(tensor)) = &mut of.value else {
                panic!("an input is a tensor")
            };
            tensor.elem_type = DataType::Int64 as i32;
        })
        .node("Reshape", &["x", "shape"], "y")
        .output("y")
        .file()
}

fn fixed(name: &str, dtype: Dtype, shape: &[usize], bytes: &[u8]) -> Fixed {
    Fixed {
        name: name.to_owned(),
        dtype,
        shape: shape.to_vec(),
        bytes: bytes.to_vec(),
    }
}

fn shape_of(sizes: [i64; 2]) -> Fixed {
    let bytes: Vec<u8> = sizes.iter().flat_map(|size| size.to_le_bytes()).collect();
    fixed("shape", Dtype::I64, &[2], &bytes)
}

#[tokio::test]
async fn an_input_that_is_fixed_is_part_of_the_graph_and_of_its_name() {
    let (device, account, weights) = (cpu(), ample(), Weights::default());
    let read = |sizes| Graph::from_onnx_fixing(&reshaping(), &weights, &[shape_of(sizes)]);
    let (flat, square) = (read([1, 4]).unwrap(), read([2, 2]).unwrap());
    let names: Vec<_> = flat.inputs().iter().map(|port| &port.name).collect();
    assert_eq!(names, ["x"]);
    assert_ne!(flat.digest(), square.digest());
    // Both at once: a device keeps its sessions apart by digest.
    let x = upload(&device, &account, &[2, 2], &[1.0; 4]);
    let sessions = [flat, square].map(|graph| device.session(&Arc::new(graph)).unwrap());
    for (session, shape) in sessions.iter().zip([[1, 4], [2, 2]]) {
        let y = run(session.as_ref(), &[("x", &x)], &["y"], &account).await;
        assert_eq!(y.unwrap()[0].shape(), shape);
    }
}

#[test]
fn an_input_cannot_be_fixed_to_what_it_is_not() {
    let eight = [0; 8];
    let cases = [
        (
            vec![fixed("z", Dtype::I64, &[2], &[0; 16])],
            "it does not exist; left are `x`, `shape`",
        ),
        (vec![shape_of([1, 4]), shape_of([1, 4])], "is fixed 2 times"),
        (
            vec![fixed("shape", Dtype::I32, &[2], &eight)],
            "it holds INT64, i32 [2] was given",
        ),
        (
            vec![fixed("shape", Dtype::I64, &[1], &eight)],
            "its shape is [2], i64 [1] was given",
        ),
        (
            vec![fixed("shape", Dtype::I64, &[2], &eight)],
            "takes 16 bytes, 8 were given",
        ),
        (
            vec![fixed("x", Dtype::F32, &[2, 1], &eight)],
            "its shape is [2, 2], f32 [2, 1] was given",
        ),
    ];
    for (inputs, wanted) in cases {
        let read = Graph::from_onnx_fixing(&reshaping(), &Weights::default(), &inputs);
        let said = read.unwrap_err().to_string();
        assert!(said.contains(wanted), "{said}");
    }
}
