//! Which inputs of a graph only describe shapes.
//!
//! Such an input is fixed when the graph is read, since a run is sized before it
//! runs. Told by what operators mean, and through the nodes in between: what an
//! input adds up to is a shape when the sum is.

use std::collections::BTreeSet;

use tract_onnx::pb::{GraphProto, NodeProto};

/// Operators and those of their inputs whose values decide the shape of an
/// output, along which axes it is made, or what the operator is.
const POSITIONS: &[(&str, &[usize])] = &[
    ("AffineGrid", &[1]),
    ("BlackmanWindow", &[0]),
    ("CenterCropPad", &[1]),
    ("Col2Im", &[1, 2]),
    ("ConstantOfShape", &[0]),
    ("CumSum", &[1]),
    // Whether it draws.
    ("Dropout", &[1, 2]),
    ("Expand", &[1]),
    ("HammingWindow", &[0]),
    ("HannWindow", &[0]),
    ("MaxUnpool", &[2]),
    ("OneHot", &[1]),
    ("Pad", &[1, 3]),
    ("Range", &[0, 1, 2]),
    ("ReduceL1", &[1]),
    ("ReduceL2", &[1]),
    ("ReduceLogSum", &[1]),
    ("ReduceLogSumExp", &[1]),
    ("ReduceMax", &[1]),
    ("ReduceMean", &[1]),
    ("ReduceMin", &[1]),
    ("ReduceProd", &[1]),
    ("ReduceSum", &[1]),
    ("ReduceSumSquare", &[1]),
    ("Reshape", &[1]),
    ("Resize", &[1, 2, 3]),
    ("Slice", &[1, 2, 3, 4]),
    ("Split", &[1]),
    ("Squeeze", &[1]),
    ("Tile", &[1, 2]),
    ("TopK", &[1]),
    ("Trilu", &[1]),
    ("Unsqueeze", &[1]),
    ("Upsample", &[1]),
];

/// What these answer says nothing of the values they are given.
const SHAPE_ONLY: [&str; 2] = ["Shape", "Size"];

/// The inputs of `graph` that describe shapes.
pub(crate) fn inputs(graph: &GraphProto) -> BTreeSet<String> {
    let mut describing: BTreeSet<&str> = graph.node.iter().flat_map(positions).collect();
    // A node stands after those that it uses, so one walk back is enough.
    for node in graph.node.iter().rev() {
        let describes = |output: &String| describing.contains(output.as_str());
        let values = match node.op_type.as_str() {
            operator if SHAPE_ONLY.contains(&operator) => continue,
            _ if node.output.iter().any(describes) => node.input.iter(),
            _ => continue,
        };
        describing.extend(values.map(String::as_str).filter(|name| !name.is_empty()));
    }
    let names = graph.input.iter().map(|port| port.name.as_str());
    names
        .filter(|name| describing.contains(name))
        .map(str::to_owned)
        .collect()
}

fn positions(node: &NodeProto) -> Vec<&str> {
    // Before opset 10 (`Slice`) and 11 (`Resize`) a position may mean the same or
    // hold nothing; no opset puts data in one of these.
    let of_operator = POSITIONS.iter().find(|(name, _)| *name == node.op_type);
    let positions = of_operator.map_or(&[][..], |(_, positions)| positions);
    let names = positions.iter().filter_map(|&at| node.input.get(at));
    names
        .map(String::as_str)
        .filter(|name| !name.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use tract_onnx::pb::ValueInfoProto;

    use super::*;

    fn node(operator: &str, inputs: &[&str], output: &str) -> NodeProto {
        NodeProto {
            op_type: operator.to_owned(),
            input: inputs.iter().map(ToString::to_string).collect(),
            output: vec![output.to_owned()],
            ..NodeProto::default()
        }
    }

    fn graph(names: &[&str], nodes: Vec<NodeProto>) -> GraphProto {
        let port = |name: &&str| ValueInfoProto {
            name: (*name).to_owned(),
            ..ValueInfoProto::default()
        };
        GraphProto {
            input: names.iter().map(port).collect(),
            node: nodes,
            ..GraphProto::default()
        }
    }

    #[test]
    fn a_shape_is_found_through_the_nodes_before_it() {
        let nodes = vec![
            node("Concat", &["a", "b"], "shape"),
            node("Reshape", &["x", "shape"], "y"),
        ];
        let found = inputs(&graph(&["x", "a", "b"], nodes));
        assert_eq!(found, BTreeSet::from(["a".to_owned(), "b".to_owned()]));
    }

    #[test]
    fn data_whose_shape_alone_is_used_stays_free() {
        let nodes = vec![
            node("Shape", &["like"], "shape"),
            node("Reshape", &["x", "shape"], "y"),
        ];
        assert!(inputs(&graph(&["x", "like"], nodes)).is_empty());
    }
}
