//! Weights and constants that are not what they say, or that no host should hold.

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::{
    AttributeProto, GraphProto, SparseTensorProto, StringStringEntryProto, TensorProto,
};
use trommel_tensor::{Graph, Weights};
use trommel_tests::onnx::Attribute;

use super::{base, check};

/// A graph of `x` and a weight `w`, which `change` may make bad.
fn weighed(change: impl FnOnce(&mut TensorProto)) -> Vec<u8> {
    base()
        .weight("w", &[2, 2], &[1.0; 4])
        .with(|graph| change(&mut graph.initializer[0]))
        .node("MatMul", &["x", "w"], "y")
        .output("y")
        .file()
}

/// The last node's attribute `name`, a tensor.
fn with_tensor(graph: &mut GraphProto, name: &str, tensor: TensorProto) {
    let node = graph.node.last_mut().unwrap();
    node.attribute.push(AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Tensor as i32,
        t: Some(tensor),
        ..AttributeProto::default()
    });
}

fn floats(dims: &[i64], values: &[f32]) -> TensorProto {
    TensorProto {
        dims: dims.to_vec(),
        data_type: DataType::Float as i32,
        float_data: values.to_vec(),
        ..TensorProto::default()
    }
}

#[test]
fn a_weight_of_nothing_with_a_size_beyond_use_is_refused() {
    // A sum along it would go around for each.
    let file = weighed(|w| {
        w.dims = vec![0, 1 << 40];
        w.float_data.clear();
        w.raw_data.clear();
    });
    check(
        &file,
        &["weight `w` is FLOAT [0, 1099511627776]", "no elements"],
    );
}

#[test]
fn weights_of_absurd_shapes_are_refused() {
    for dims in [
        &[1 << 40, 1 << 30][..],
        &[-1, 2],
        &[i64::MAX, 3],
        &[1 << 62, 0, 1 << 62],
    ] {
        let file = weighed(|w| w.dims = dims.to_vec());
        check(
            &file,
            &[
                "weight `w` has the impossible shape",
                &format!("{dims:?}"),
                "export",
            ],
        );
    }
    // Of two gigabytes, though the file holds some bytes.
    let file = weighed(|w| w.dims = vec![1 << 29]);
    check(
        &file,
        &[
            "weight `w` is FLOAT [536870912], larger than 1073741824 bytes",
            "split it",
        ],
    );
    // No elements at all are a shape as any other.
    let file = base()
        .weight("w", &[2, 0], &[])
        .node("MatMul", &["x", "w"], "y")
        .output("y")
        .file();
    let graph = Graph::from_onnx(&file, &Weights::default()).unwrap();
    assert_eq!(graph.outputs()[0].to_string(), "y f32 [batch, 0]");
}

#[test]
fn a_weight_that_is_not_what_it_says_is_refused() {
    check(
        &weighed(|w| w.raw_data.truncate(9)),
        &[
            "weight `w` is FLOAT [2, 2], which takes 16 bytes, and holds 9",
            "whole?",
        ],
    );
    check(
        &weighed(|w| w.raw_data.push(0)),
        &["which takes 16 bytes, and holds 17"],
    );
    // It says floats and holds integers.
    check(
        &weighed(|w| {
            w.raw_data.clear();
            w.int64_data = vec![1; 4];
        }),
        &["weight `w` is FLOAT [2, 2], which takes 4 elements, and holds 0 of that type"],
    );
    check(
        &weighed(|w| w.data_type = DataType::Double as i32),
        &["weight `w` is DOUBLE [2, 2], which takes 32 bytes, and holds 16"],
    );
    check(
        &weighed(|w| w.data_type = 4711),
        &[
            "weight `w` holds elements of ONNX's type 4711",
            "other elements",
        ],
    );
    check(
        &weighed(|w| w.data_type = DataType::Complex64 as i32),
        &["weight `w` holds COMPLEX64, which no device holds"],
    );
    // Of the right length and another type than the node takes.
    check(
        &weighed(|w| w.data_type = DataType::Int32 as i32),
        &["`y-node` (MatMul)", "F32 [batch, 2], I32 [2, 2]"],
    );
}

#[test]
fn weights_in_files_beside_the_model_are_never_opened() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, [0; 16]).unwrap();
    let link = folder.path().join("link");
    #[cfg(unix)]
    std::os::unix::fs::symlink(&secret, &link).unwrap();
    for location in [
        "../secret",
        &secret.to_string_lossy(),
        &link.to_string_lossy(),
        "w",
    ] {
        for says_so in [true, false] {
            let file = weighed(|w| {
                w.raw_data.clear();
                if says_so {
                    w.data_location = Some(DataLocation::External as i32);
                }
                w.external_data = vec![StringStringEntryProto {
                    key: "location".to_owned(),
                    value: location.to_owned(),
                }];
            });
            check(
                &file,
                &[
                    "weight `w` lies in a file of its own (external data)",
                    "with its weights inside",
                ],
            );
        }
    }
}

#[test]
fn nan_is_refused_wherever_the_file_holds_it() {
    let nan = [1.0, f32::NAN, 0.0, 0.0];
    let hint = "export the model from";
    check(
        &weighed(|w| w.raw_data = nan.iter().flat_map(|it| it.to_le_bytes()).collect()),
        &["weight `w` is FLOAT [2, 2] with NaN as element 1", hint],
    );
    check(
        &weighed(|w| {
            w.raw_data.clear();
            w.float_data = nan.to_vec();
        }),
        &["weight `w` is FLOAT [2, 2] with NaN as element 1"],
    );
    let constant = base()
        .node("Constant", &[], "c")
        .with(|graph| with_tensor(graph, "value", floats(&[1], &[f32::NAN])))
        .node("Add", &["x", "c"], "y");
    check(
        &constant.output("y").file(),
        &[
            "node `c-node` (Constant): attribute `value` is FLOAT [1] with NaN",
            hint,
        ],
    );
    let alpha = [Attribute::Float("alpha", f32::NAN)];
    let leaky = base().node_with("LeakyRelu", &["x"], &["y"], &alpha);
    check(
        &leaky.output("y").file(),
        &["node `y-node` (LeakyRelu): attribute `alpha` is NaN", hint],
    );
}

#[test]
fn infinities_are_what_masks_are_made_of() {
    let file = base()
        .weight("mask", &[2], &[0.0, f32::NEG_INFINITY])
        .node("Add", &["x", "mask"], "masked")
        .node("Constant", &[], "most")
        .with(|graph| with_tensor(graph, "value", floats(&[], &[f32::INFINITY])))
        .node("Min", &["masked", "most"], "y")
        .output("y")
        .file();
    assert!(Graph::from_onnx(&file, &Weights::default()).is_ok());
}

#[test]
fn sparse_weights_and_constants_are_refused() {
    let sparse = |name: &str| SparseTensorProto {
        values: Some(TensorProto {
            name: name.to_owned(),
            ..floats(&[1], &[1.0])
        }),
        dims: vec![1 << 40],
        ..SparseTensorProto::default()
    };
    let weight = base()
        .with(|graph| graph.sparse_initializer.push(sparse("w")))
        .node("Add", &["x", "w"], "y");
    check(
        &weight.output("y").file(),
        &["weight `w` is sparse", "dense weights"],
    );
    let constant = base().node("Constant", &[], "c").with(|graph| {
        graph.node[0].attribute.push(AttributeProto {
            name: "sparse_value".to_owned(),
            sparse_tensor: Some(sparse("")),
            ..AttributeProto::default()
        });
    });
    check(
        &constant.node("Add", &["x", "c"], "y").output("y").file(),
        &[
            "node `c-node` (Constant): attribute `sparse_value` is sparse",
            "dense",
        ],
    );
}
