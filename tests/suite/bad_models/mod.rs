//! Models that nobody should bring: each is refused when it is read, by a message that
//! says which node, which shapes, and how to mend it, in memory and time that the file's
//! size bounds.

mod computed;
mod weights;

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::type_proto::Value;
use tract_onnx::pb::{AttributeProto, NodeProto};
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
    // Whatever a run brings, of which there may be nothing.
    let tile = base()
        .integers("many", &[2], &[1 << 40, 1])
        .node("Tile", &["x", "many"], "y");
    check(
        &tile.output("y").file(),
        &["`y-node` (Tile)", "repeats 1099511627776 times"],
    );
    let tile = base()
        .weight("none", &[0, 1], &[])
        .integers("many", &[2], &[1 << 40, 1])
        .node("Tile", &["none", "many"], "y");
    check(
        &tile.output("y").file(),
        &["F32 [0, 1]", "repeats 1099511627776 times"],
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
