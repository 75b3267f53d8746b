//! Models that nobody should bring: each is refused when it is read, by a message that
//! says which node, which shapes, and how to mend it, in memory and time that the file's
//! size bounds.

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::type_proto::Value;
use tract_onnx::pb::{
    AttributeProto, GraphProto, NodeProto, SparseTensorProto, StringStringEntryProto, TensorProto,
};
use trommel_tensor::{Graph, TensorError, Weights};
use trommel_tests::onnx::{Attribute, Builder, Dim};

fn refused(file: &[u8]) -> String {
    let read = Graph::from_onnx(file, &Weights::default());
    read.expect_err("a bad model was read").to_string()
}

fn check(file: &[u8], wanted: &[&str]) {
    let said = refused(file);
    for wanted in wanted {
        assert!(said.contains(wanted), "expected `{wanted}`: {said}");
    }
}

/// `x`, f32 `[batch, 2]`.
fn base() -> Builder {
    Builder::default().input("x", &[Dim::Name("batch"), Dim::Size(2)])
}

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
fn a_cycle_is_refused_by_a_node_of_it() {
    let file = base()
        .node("Relu", &["y"], "after")
        .node("Add", &["x", "b"], "a")
        .node("Relu", &["a"], "b")
        .node("Relu", &["b"], "y")
        .output("after")
        .file();
    check(
        &file,
        &[
            "reads what is made of its own output: a cycle",
            "unroll the loop",
        ],
    );
    let said = refused(&file);
    let of_it = ["`a-node` (Add)", "`b-node` (Relu)"];
    assert!(of_it.iter().any(|node| said.contains(node)), "{said}");
}

#[test]
fn what_nobody_makes_and_what_is_made_twice_is_refused() {
    check(
        &base().node("MatMul", &["x", "w"], "y").output("y").file(),
        &["node `y-node` (MatMul) reads `w`", "is a weight missing"],
    );
    check(
        &base().node("Relu", &["x"], "z").output("y").file(),
        &["output `y` is made by no node", "name a value"],
    );
    check(
        &base()
            .node("Relu", &["x"], "y")
            .node("Tanh", &["x"], "y")
            .output("y")
            .file(),
        &[
            "`y` is there twice: node `y-node` (Relu) and node `y-node` (Tanh)",
            "a name of its own",
        ],
    );
    check(
        &base().node("Relu", &["x"], "x").output("x").file(),
        &["`x` is there twice: an input and node `x-node` (Relu)"],
    );
    check(
        &base()
            .weight("w", &[2], &[1.0; 2])
            .weight("w", &[2], &[2.0; 2])
            .node("Add", &["x", "w"], "y")
            .output("y")
            .file(),
        &["`w` is there twice: a weight and a weight"],
    );
    check(
        &base()
            .node("Relu", &["x"], "y")
            .output("y")
            .output("y")
            .file(),
        &["output `y` is declared twice"],
    );
}

#[test]
fn nodes_of_one_name_are_two_nodes() {
    let file = base()
        .node("Relu", &["x"], "a")
        .node("Tanh", &["a"], "y")
        .with(|graph| {
            graph
                .node
                .iter_mut()
                .for_each(|node| node.name = "same".to_owned());
        })
        .output("y")
        .file();
    let graph = Graph::from_onnx(&file, &Weights::default()).unwrap();
    assert_eq!(graph.outputs()[0].to_string(), "y f32 [batch, 2]");
}

#[test]
fn an_unknown_operator_is_refused_by_name_and_node() {
    let of = |domain: &str, operator: &str| {
        let base = base().node(operator, &["x"], "y").output("y");
        base.with(|graph| graph.node[0].domain = domain.to_owned())
            .file()
    };
    check(
        &of("", "Teleport"),
        &["operator Teleport of node `y-node`", "other operators"],
    );
    check(
        &of("com.example", "Attention"),
        &["operator com.example.Attention of node `y-node`"],
    );
}

#[test]
fn shapes_that_do_not_fit_are_shown_with_the_node() {
    let matmul = base()
        .weight("w", &[3, 3], &[1.0; 9])
        .node("MatMul", &["x", "w"], "y");
    check(
        &matmul.output("y").file(),
        &["`y-node` (MatMul)", "[batch, 2]", "[3, 3]"],
    );
    let add = base()
        .weight("w", &[5], &[1.0; 5])
        .node("Add", &["x", "w"], "y");
    check(
        &add.output("y").file(),
        &["`y-node` (Add)", "[batch, 2]", "[5]"],
    );
    let axis = [Attribute::Integer("axis", 7)];
    // Of no elements in all, and yet the importer went around for each row.
    let edge = [Attribute::Text("mode", "edge")];
    let pad = base()
        .weight("none", &[1, 0], &[])
        .integers("pads", &[4], &[1 << 38, 0, 0, 0])
        .node_with("Pad", &["none", "pads"], &["y"], &edge);
    check(
        &pad.output("y").file(),
        &["`y-node` (Pad)", "[274877906945, 0]", "larger than"],
    );
    let tile = base()
        .weight("none", &[1, 0], &[])
        .integers("repeats", &[2], &[1 << 24, 1])
        .node("Tile", &["none", "repeats"], "y");
    check(
        &tile.output("y").file(),
        &["`y-node` (Tile)", "[16777216, 0]", "larger than"],
    );
    let pads = [0, i64::MIN, 0, 0];
    let pad = base()
        .integers("pads", &[4], &pads)
        .node("Pad", &["x", "pads"], "y");
    check(
        &pad.output("y").file(),
        &[
            "`y-node` (Pad) of F32 [batch, 2]",
            "Pad by -9223372036854775808",
        ],
    );
    let far = [Attribute::Integer("axis", -(1 << 33))];
    let norm = base().weight("w", &[2], &[1.0; 2]).node_with(
        "LayerNormalization",
        &["x", "w"],
        &["y"],
        &far,
    );
    check(
        &norm.output("y").file(),
        &[
            "`y-node` (LayerNormalization): attribute `axis` is -8589934592",
            "axes are -64 to 64",
        ],
    );
    // Within bounds, and yet outside of this tensor: the importer counted up to 2^64.
    let outside = [Attribute::Integer("axis", -4)];
    let norm = base().weight("w", &[2], &[1.0; 2]).node_with(
        "LayerNormalization",
        &["x", "w"],
        &["y"],
        &outside,
    );
    check(
        &norm.output("y").file(),
        &[
            "`y-node` (LayerNormalization) of F32 [batch, 2], F32 [2]",
            "axis -4 is outside",
        ],
    );
    let concat = base().node_with("Concat", &["x", "x"], &["y"], &axis);
    check(
        &concat.output("y").file(),
        &["`y-node` (Concat)", "[batch, 2]"],
    );
    let reshape = base()
        .integers("shape", &[2], &[3, -7])
        .node("Reshape", &["x", "shape"], "y");
    check(
        &reshape.output("y").file(),
        &["`y-node` (Reshape)", "[batch, 2]"],
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
fn inputs_of_absurd_shapes_are_refused() {
    for size in [1 << 62, 1 << 40] {
        let file = Builder::default()
            .input("x", &[Dim::Size(size), Dim::Size(3)])
            .node("Relu", &["x"], "y")
            .output("y")
            .file();
        check(&file, &["larger than 1073741824 bytes", &size.to_string()]);
    }
    // What older exporters write for a size that is not known.
    let file = Builder::default()
        .input("x", &[Dim::Size(-1), Dim::Size(2)])
        .node("Relu", &["x"], "y")
        .output("y")
        .file();
    let graph = Graph::from_onnx(&file, &Weights::default()).unwrap();
    assert_eq!(graph.inputs()[0].to_string(), "x f32 [x_0, 2]");
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

#[test]
fn an_operator_without_its_inputs_is_refused() {
    for inputs in [&["x", "x"][..], &["x", "", "x"]] {
        let file = base().node("Attention", inputs, "y").output("y").file();
        check(
            &file,
            &["y-node (Attention)", "takes queries, keys and values"],
        );
    }
}

#[test]
fn a_number_that_is_none_is_refused() {
    // The importer would read an element of what holds none.
    let none = || {
        base()
            .weight("none", &[0], &[])
            .integers("nones", &[0], &[])
    };
    let is_known = none().node("Dropout", &["x", "none"], "y").output("y");
    check(
        &is_known.file(),
        &[
            "`y-node` (Dropout) of F32 [batch, 2], F32 [0]",
            "give it one element",
        ],
    );
    let top = none().node_with("TopK", &["x", "nones"], &["y", "at"], &[]);
    check(
        &top.output("y").file(),
        &["`y-node` (TopK)", "give it one element"],
    );
    let numbers = none().node("Range", &["nones", "nones", "nones"], "y");
    check(
        &numbers.output("y").file(),
        &["`y-node` (Range)", "give it one element"],
    );
    // How many there are is the run's to say.
    let of_run =
        base()
            .integer_input("axis", &[Dim::Name("n")])
            .node("CumSum", &["x", "axis"], "y");
    check(
        &of_run.output("y").file(),
        &["`y-node` (CumSum)", "I64 [n]"],
    );
}

#[test]
fn arithmetic_with_nothing_is_refused() {
    // The importer looked for formulas by the first element of what has none.
    let file = base()
        .weight("three", &[], &[3.0])
        .weight("none", &[0], &[])
        .node("Pow", &["x", "three"], "cube")
        .node("Mul", &["cube", "none"], "y")
        .output("y")
        .file();
    check(&file, &["`y-node` (Mul)"]);
    let file = Builder::default()
        .input("x", &[Dim::Name("batch"), Dim::Size(1)])
        .weight("none", &[0], &[])
        .node("Mul", &["x", "none"], "y")
        .output("y")
        .file();
    check(
        &file,
        &[
            "node `y-node` (Mul)",
            "has no elements",
            "leave the node out",
        ],
    );
}

#[test]
fn windows_over_nothing_are_refused() {
    let pads = [Attribute::Integers("pads", &[1, 1])];
    let file = base()
        .weight("none", &[1, 1, 0], &[])
        .weight("kernel", &[1, 1, 1], &[1.0])
        .node_with("Conv", &["none", "kernel"], &["y"], &pads)
        .output("y")
        .file();
    check(
        &file,
        &["`y-node` (Conv) of F32 [1, 1, 0]", "leave the node out"],
    );
}

#[test]
fn trees_are_refused() {
    let trees = base()
        .node("TreeEnsembleClassifier", &["x"], "y")
        .output("y");
    check(
        &trees.file(),
        &[
            "node `y-node` (TreeEnsembleClassifier)",
            "trusts its tables",
        ],
    );
}

#[test]
fn text_is_no_tensor_of_ours() {
    let file = base()
        .node("Identity", &["x"], "y")
        .with(|graph| {
            let of = graph.input[0].r#type.as_mut().unwrap();
            let Some(Value::TensorType(tensor)) = &mut of.value else {
                panic!("an input is a tensor")
            };
            tensor.elem_type = DataType::String as i32;
        })
        .output("y")
        .file();
    check(
        &file,
        &["`x` holds String, which is no tensor dtype", "cast it"],
    );
}

/// Nodes that make `[side, side]` of a constant, hidden behind arithmetic.
fn computed_shape(side: i64) -> Builder {
    base()
        .integers("half", &[2], &[side / 2, side / 2])
        .integers("two", &[1], &[2])
        .node("Mul", &["half", "two"], "shape")
        .weight("one", &[1, 1], &[1.0])
}

#[test]
fn a_constant_that_is_told_to_become_gigabytes_is_refused_before_it_is_made() {
    let side = 1 << 20;
    let shape = ["`big-node`", "1048576", "larger than 1073741824 bytes"];
    let finish = |builder: Builder| {
        let builder = builder.node("ReduceMax", &["big"], "most");
        builder.node("Add", &["x", "most"], "y").output("y").file()
    };
    for (operator, inputs) in [
        ("ConstantOfShape", &["shape"][..]),
        ("Expand", &["one", "shape"]),
        ("Tile", &["one", "shape"]),
    ] {
        let file = finish(computed_shape(side).node(operator, inputs, "big"));
        check(&file, &[&shape[..], &[operator]].concat());
    }
    let pads = base()
        .weight("one", &[1, 1], &[1.0])
        .integers("pads", &[4], &[0, 0, side, side])
        .node("Pad", &["one", "pads"], "big");
    check(&finish(pads), &["`big-node` (Pad)", "1048577"]);
    let range = base()
        .integers("from", &[], &[0])
        .integers("to", &[], &[1 << 40])
        .integers("by", &[], &[1])
        .node("Range", &["from", "to", "by"], "numbers")
        .node_with(
            "Cast",
            &["numbers"],
            &["big"],
            &[Attribute::Integer("to", 1)],
        );
    check(&finish(range), &["`numbers-node` (Range)", "1099511627776"]);
    let one_hot = base()
        .integers("index", &[1], &[1])
        .integers("depth", &[], &[1 << 40])
        .weight("values", &[2], &[0.0, 1.0])
        .node("OneHot", &["index", "depth", "values"], "big");
    check(&finish(one_hot), &["`big-node` (OneHot)", "1099511627776"]);
}

#[test]
fn many_constants_together_are_bounded_by_the_size_of_the_file() {
    // Each of 4 MB, which is little; all of them are 4 GB.
    let mut builder = base();
    for at in 0..1000_i64 {
        let (shape, made) = (format!("shape{at}"), format!("made{at}"));
        builder = builder
            .integers(&shape, &[1], &[1_000_000 + at])
            .node("ConstantOfShape", &[&shape], &made)
            .output(&made);
    }
    check(
        &builder.file(),
        &[
            "(ConstantOfShape)",
            "is computed from constants",
            "reading a file of this size may take",
        ],
    );
}

#[test]
fn a_constant_that_doubles_again_and_again_is_refused() {
    let mut builder = base().weight("c0", &[1024], &[1.0; 1024]);
    for at in 0..40 {
        let (from, to) = (format!("c{at}"), format!("c{}", at + 1));
        let axis = [Attribute::Integer("axis", 0)];
        builder = builder.node_with("Concat", &[&from, &from], &[&to], &axis);
    }
    let file = builder
        .node("ReduceMax", &["c40"], "m")
        .node("Add", &["x", "m"], "y");
    check(
        &file.output("y").file(),
        &["(Concat)", "larger than 1073741824 bytes"],
    );
}

#[test]
fn sizes_that_multiply_again_and_again_are_refused() {
    let mut builder = base()
        .node("Shape", &["x"], "s0")
        .integers("one", &[1], &[1]);
    for at in 0..40 {
        let (from, sum, to) = (format!("s{at}"), format!("t{at}"), format!("s{}", at + 1));
        builder = builder
            .node("Add", &[&from, "one"], &sum)
            .node("Mul", &[&sum, &sum], &to);
    }
    let file = builder
        .node("ConstantOfShape", &["s40"], "y")
        .output("y")
        .file();
    let said = refused(&file);
    assert!(!said.contains("did not end"), "{said}");
    assert!(said.contains("node `"), "{said}");
}

#[test]
fn convolutions_of_constants_are_not_computed() {
    let file = base()
        .weight("image", &[1, 1, 1000], &[1.0; 1000])
        .weight("kernel", &[1, 1, 500], &[1.0; 500])
        .node("Conv", &["image", "kernel"], "c")
        .node("ReduceMax", &["c"], "m")
        .node("Add", &["x", "m"], "y")
        .output("y")
        .file();
    check(
        &file,
        &[
            "node `c-node` (Conv) depends on no input of the model",
            "before the export",
        ],
    );
}

#[test]
fn an_index_that_the_file_spells_out_lies_within_its_dimension() {
    for (index, is_good) in [
        (1, true),
        (-2, true),
        (2, false),
        (-3, false),
        (i64::MIN, false),
    ] {
        // Of what a run brings, and of a constant that is computed when it is read.
        for data in ["x", "w"] {
            let axis = [Attribute::Integer("axis", 1)];
            let file = base()
                .weight("w", &[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
                .integers("at", &[], &[index])
                .node_with("Gather", &[data, "at"], &["g"], &axis)
                .node("ReduceMax", &["g"], "m")
                .node("Add", &["x", "m"], "y")
                .output("y")
                .file();
            let read = Graph::from_onnx(&file, &Weights::default());
            assert_eq!(read.is_ok(), is_good, "{index} {data}: {read:?}");
            let Err(error) = read else { continue };
            let wanted = format!("index {index}, which lies outside a dimension of 2");
            let said = error.to_string();
            assert!(
                said.contains("`g-node` (Gather)") && said.contains(&wanted),
                "{said}"
            );
        }
    }
}

/// `n` times Relu, one after another.
fn deep(n: usize) -> Builder {
    let mut builder = base();
    let mut last = "x".to_owned();
    for at in 0..n {
        let next = format!("v{at}");
        builder = builder.node("Relu", &[&last], &next);
        last = next;
    }
    builder.output(&last)
}

#[test]
fn a_deep_graph_takes_no_stack() {
    let graph = Graph::from_onnx(&deep(2000).file(), &Weights::default());
    assert!(graph.is_ok(), "{:?}", graph.err());
}

#[test]
fn a_graph_of_a_hundred_thousand_nodes_is_refused_at_once() {
    check(
        &deep(100_000).file(),
        &[
            "the graph has 100000 nodes and weights, more than 32768",
            "split it",
        ],
    );
}

#[test]
fn a_file_of_empty_parts_is_refused_before_it_is_decoded() {
    // Two bytes each, and hundreds once decoded.
    let attribute = AttributeProto::default();
    let file = base()
        .with(|graph| {
            graph.node.push(NodeProto {
                op_type: "Relu".to_owned(),
                attribute: vec![attribute; 2_000_000],
                ..NodeProto::default()
            });
        })
        .file();
    check(
        &file,
        &[
            "empty or tiny parts",
            "reading a file of this size may take",
            "whole?",
        ],
    );
}

#[test]
fn attributes_nested_without_end_overflow_no_stack() {
    // A graph in an attribute of a node of a graph, and so on, written from inside.
    let mut bytes: Vec<u8> = Vec::new();
    for _ in 0..5000 {
        for tag in [6_u8, 5, 1] {
            let mut field = vec![tag << 3 | 2];
            let mut length = bytes.len();
            while length >= 0x80 {
                field.push(length as u8 | 0x80);
                length >>= 7;
            }
            field.push(length as u8);
            field.append(&mut bytes);
            bytes = field;
        }
    }
    let mut file = vec![7 << 3 | 2];
    let mut length = bytes.len();
    while length >= 0x80 {
        file.push(length as u8 | 0x80);
        length >>= 7;
    }
    file.push(length as u8);
    file.append(&mut bytes);
    let error = Graph::from_onnx(&file, &Weights::default()).unwrap_err();
    assert!(matches!(error, TensorError::InvalidGraph { .. }), "{error}");
    assert!(error.to_string().contains("does not decode"), "{error}");
}
