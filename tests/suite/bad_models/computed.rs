//! Constants that ask for more than the file that holds them, and kernels that would read
//! beside what they are given.

use trommel_tensor::{Graph, Weights};
use trommel_tests::onnx::{Attribute, Builder, Dim};

use super::{base, check, refused};

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
fn a_constant_of_four_hundred_megabytes_is_not_made_of_a_small_file() {
    let file = computed_shape(10_000)
        .node("Expand", &["one", "shape"], "big")
        .node("ReduceMax", &["big"], "most")
        .node("Add", &["x", "most"], "y")
        .output("y")
        .file();
    check(
        &file,
        &[
            "node `big-node` (Expand)",
            "makes 400000000 bytes",
            "make it of the inputs' shapes",
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
