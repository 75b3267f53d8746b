//! Who makes each value of a graph, and that all can be made one after another.

use std::collections::HashMap;

use tract_onnx::pb::{GraphProto, NodeProto};

use crate::TensorError;

/// Nodes and weights of one graph at most. The importer compares each with those before
/// it, so time goes by the square; large language models have some ten thousand.
const MAX_NODES: usize = 32_768;

/// Checks that every value that is read is made, once, and none by itself.
pub(super) fn check_wiring(graph: &GraphProto) -> Result<(), TensorError> {
    let n_nodes = graph.node.len() + graph.initializer.len();
    if n_nodes > MAX_NODES {
        return Err(refused(
            format!("the graph has {n_nodes} nodes and weights, more than {MAX_NODES}"),
            "export it with loops folded, or split it",
        ));
    }
    if let Some(sparse) = graph.sparse_initializer.first() {
        let name = sparse.values.as_ref().map_or("", |values| &values.name);
        return Err(refused(
            format!("weight `{name}` is sparse"),
            "save the model with dense weights",
        ));
    }
    let makers = makers(graph)?;
    for node in &graph.node {
        let read = node.input.iter().filter(|name| !name.is_empty());
        if let Some(name) = { read }.find(|name| !makers.contains_key(name.as_str())) {
            return Err(refused(
                format!(
                    "{} reads `{name}`, which is no input, no weight and no node's output",
                    shown(node)
                ),
                "is a weight missing, or was the graph cut? export it again",
            ));
        }
    }
    for (at, output) in graph.output.iter().enumerate() {
        let name = &output.name;
        if !makers.contains_key(name.as_str()) {
            return Err(refused(
                format!("output `{name}` is made by no node"),
                "name a value that a node makes",
            ));
        }
        if graph.output[..at].iter().any(|other| other.name == *name) {
            return Err(refused(
                format!("output `{name}` is declared twice"),
                "give each output a name of its own",
            ));
        }
    }
    check_order(graph, &makers)
}

#[derive(Clone, Copy)]
enum Maker {
    Input,
    Weight,
    /// A node, by its place.
    Node(usize),
}

fn makers(graph: &GraphProto) -> Result<HashMap<&str, Maker>, TensorError> {
    let mut makers = HashMap::new();
    let inputs = graph.input.iter().map(|port| (&port.name, Maker::Input));
    for (name, maker) in inputs {
        add(&mut makers, graph, name, maker)?;
    }
    // A weight may stand for an input, as what it is unless the run says otherwise.
    let mut weights = HashMap::new();
    for weight in &graph.initializer {
        add(&mut weights, graph, &weight.name, Maker::Weight)?;
    }
    makers.extend(weights);
    let outputs = graph.node.iter().enumerate().flat_map(|(at, node)| {
        let names = node.output.iter().filter(|name| !name.is_empty());
        names.map(move |name| (name, Maker::Node(at)))
    });
    for (name, maker) in outputs {
        add(&mut makers, graph, name, maker)?;
    }
    Ok(makers)
}

fn add<'a>(
    makers: &mut HashMap<&'a str, Maker>,
    graph: &GraphProto,
    name: &'a str,
    maker: Maker,
) -> Result<(), TensorError> {
    let said = |maker: Maker| match maker {
        Maker::Input => "an input".to_owned(),
        Maker::Weight => "a weight".to_owned(),
        Maker::Node(at) => shown(&graph.node[at]),
    };
    match makers.insert(name, maker) {
        None => Ok(()),
        Some(other) => Err(refused(
            format!(
                "`{name}` is there twice: {} and {}",
                said(other),
                said(maker)
            ),
            "give each value a name of its own",
        )),
    }
}

/// A node that waits for itself: what is left when all that can be made is made.
fn check_order(graph: &GraphProto, makers: &HashMap<&str, Maker>) -> Result<(), TensorError> {
    let made_by = |name: &String| match makers.get(name.as_str()) {
        Some(Maker::Node(at)) => Some(*at),
        _ => None,
    };
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); graph.node.len()];
    let mut n_awaited = vec![0_usize; graph.node.len()];
    for (at, node) in graph.node.iter().enumerate() {
        for maker in node.input.iter().filter_map(made_by) {
            readers[maker].push(at);
            n_awaited[at] += 1;
        }
    }
    let is_ready = |n_awaited: &[usize], at: usize| n_awaited[at] == 0;
    let mut ready: Vec<usize> = (0..graph.node.len())
        .filter(|&at| is_ready(&n_awaited, at))
        .collect();
    while let Some(at) = ready.pop() {
        for &reader in &readers[at] {
            n_awaited[reader] -= 1;
            if is_ready(&n_awaited, reader) {
                ready.push(reader);
            }
        }
    }
    // What waits for a cycle waits too; back from it, one gets into the cycle.
    let Some(mut at) = n_awaited.iter().position(|&n| n > 0) else {
        return Ok(());
    };
    let mut is_seen = vec![false; graph.node.len()];
    while !std::mem::replace(&mut is_seen[at], true) {
        let makers = graph.node[at].input.iter().filter_map(made_by);
        at = { makers }
            .find(|&maker| n_awaited[maker] > 0)
            .expect("a node that waits does so for one that waits");
    }
    Err(refused(
        format!(
            "{} reads what is made of its own output: a cycle",
            shown(&graph.node[at])
        ),
        "unroll the loop before the export",
    ))
}

/// Node and operator, for messages.
pub(super) fn shown(node: &NodeProto) -> String {
    let first_output = || node.output.first().cloned().unwrap_or_default();
    let name = Some(node.name.clone()).filter(|name| !name.is_empty());
    let name = name.unwrap_or_else(first_output);
    format!("node `{name}` ({})", node.op_type)
}

fn refused(what: String, hint: &str) -> TensorError {
    TensorError::InvalidGraph {
        what,
        hint: hint.to_owned(),
    }
}
