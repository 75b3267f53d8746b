//! Attention in one pass: scores of a tile of queries and a tile of keys at a time, with a
//! running maximum and sum, so that the scores of a long text stand nowhere.
//!
//! The order of all sums follows from the sizes of one text, never from how many texts or
//! heads there are (Milakov & Gimelshein 2018, arXiv:1805.02867; Dao et al. 2022,
//! arXiv:2205.14135).

use super::Program;
use super::text::Text;
use crate::plan::view::count;
use crate::plan::{Attend, AttendAxis, Element, Function2, Map, Node, Source};

/// Queries of a group, and keys that it looks at in turn: four of each for a thread.
const TILE: u64 = 32;

/// Of the axis that queries and keys are compared over, at a time.
const CHUNK: u64 = 16;

/// Keys whose values are loaded together.
const VALUES: u64 = 8;

/// Masks and scores are held within this: a shader may assume that infinities never occur,
/// and what a mask hides counts as nothing long before. The sum of some thirty of them can
/// still be counted.
const FAR: f32 = 1e37;

pub(super) fn program(mut text: Text<'_>, it: &Attend) -> Program {
    let shape = |axes: &[AttendAxis]| -> Vec<usize> { axes.iter().map(|axis| axis.size).collect() };
    for (name, axes, of) in walks(it) {
        let strides: Vec<i64> = axes.iter().map(of).collect();
        text.offsets(name, &shape(axes), &strides, 0);
    }
    for (name, first, view) in [
        ("q", "Q_FIRST", &it.q),
        ("k", "K_FIRST", &it.k),
        ("v", "V_FIRST", &it.v),
    ] {
        text.element(name, view);
        text.stride(first, view.offset);
    }
    match &it.scores {
        Some(scores) => text.map("score", &held(scores), Some("f32")),
        None => text.line("fn score(i: u32, it: f32) -> f32 { return it; }"),
    }
    let n = |axes: &[AttendAxis]| count(shape(axes)) as u64;
    let (rows, keys, depth, features) = (n(&it.rows), n(&it.keys), n(&it.depth), n(&it.features));
    // By the width of a head alone.
    let feature_tile = match features {
        0..=32 => 32,
        33..=64 => 64,
        _ => 128,
    };
    let row_tiles = rows.div_ceil(TILE);
    let feature_tiles = features.div_ceil(feature_tile);
    for (name, size) in [
        ("N_ROWS", rows),
        ("N_KEYS", keys),
        ("N_DEPTH", depth),
        ("N_FEATURES", features),
        ("N_ROW_TILES", row_tiles.max(1)),
        ("N_FEATURE_TILES", feature_tiles.max(1)),
        ("TILE", TILE),
        ("CHUNK", CHUNK),
        ("VALUES", VALUES),
        ("FEATURE_TILE", feature_tile),
        ("THREAD_FEATURES", feature_tile / 8),
    ] {
        text.size(name, size);
    }
    text.line(format_args!("const FAR: f32 = {FAR:e};"));
    text.line(include_str!("attend.wgsl"));
    let n_groups = n(&it.batch)
        .saturating_mul(row_tiles)
        .saturating_mul(feature_tiles);
    let n_nodes = it.scores.as_ref().map_or(1, |scores| scores.nodes.len());
    let each = depth
        .saturating_add(feature_tile)
        .saturating_add(n_nodes as u64);
    let operations = keys
        .div_ceil(TILE)
        .saturating_mul(2 * TILE * TILE)
        .saturating_mul(each);
    text.program(n_groups, operations)
}

/// A function of the text, the index that it takes apart, and the stride it sums.
type Walk<'a> = (&'static str, &'a [AttendAxis], fn(&AttendAxis) -> i64);

fn walks(it: &Attend) -> [Walk<'_>; 15] {
    [
        ("q_batch", &it.batch, |axis| axis.q),
        ("k_batch", &it.batch, |axis| axis.k),
        ("v_batch", &it.batch, |axis| axis.v),
        ("score_batch", &it.batch, |axis| axis.score),
        ("out_batch", &it.batch, |axis| axis.out),
        ("q_rows", &it.rows, |axis| axis.q),
        ("score_rows", &it.rows, |axis| axis.score),
        ("out_rows", &it.rows, |axis| axis.out),
        ("k_keys", &it.keys, |axis| axis.k),
        ("v_keys", &it.keys, |axis| axis.v),
        ("score_keys", &it.keys, |axis| axis.score),
        ("q_depth", &it.depth, |axis| axis.q),
        ("k_depth", &it.depth, |axis| axis.k),
        ("v_features", &it.features, |axis| axis.v),
        ("out_features", &it.features, |axis| axis.out),
    ]
}

/// A program over scores that meets no infinity: what it reads beside the product, and its
/// numbers, are held within [`FAR`].
fn held(scores: &Map) -> Map {
    let mut nodes: Vec<(Node, Element)> = Vec::with_capacity(scores.nodes.len());
    let mut places: Vec<usize> = Vec::with_capacity(scores.nodes.len());
    for &(node, element) in &scores.nodes {
        let at = |place: usize| places[place];
        let renumbered = match node {
            Node::F32(x) => Node::F32(x.clamp(-FAR, FAR)),
            Node::Source(_) | Node::I32(_) | Node::Index { .. } => node,
            Node::Apply(function, a) => Node::Apply(function, at(a)),
            Node::Combine(function, a, b) => Node::Combine(function, at(a), at(b)),
            Node::Select(c, a, b) => Node::Select(at(c), at(a), at(b)),
            Node::Cast(a) => Node::Cast(at(a)),
        };
        nodes.push((renumbered, element));
        let is_read = matches!(node, Node::Source(source)
            if matches!(scores.sources[source], Source::View(_)));
        if is_read && element == Element::F32 {
            for (bound, function) in [(-FAR, Function2::Max), (FAR, Function2::Min)] {
                let value = nodes.len() - 1;
                nodes.push((Node::F32(bound), Element::F32));
                let bounded = Node::Combine(function, value, value + 1);
                nodes.push((bounded, Element::F32));
            }
        }
        places.push(nodes.len() - 1);
    }
    Map {
        nodes,
        ..scores.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Function1, ValueId, View};

    #[test]
    fn what_scores_read_is_bounded_and_what_is_carried_is_not() {
        let mask = View::whole(ValueId(0), Element::F32, &[4]);
        let scores = Map {
            shape: vec![4],
            sources: vec![Source::Carried(Element::F32), Source::View(mask)],
            nodes: vec![
                (Node::Source(0), Element::F32),
                (Node::Source(1), Element::F32),
                (Node::Combine(Function2::Add, 0, 1), Element::F32),
                (Node::Apply(Function1::Tanh, 2), Element::F32),
            ],
        };
        let held = held(&scores);
        let nodes: Vec<Node> = held.nodes.iter().map(|(node, _)| *node).collect();
        assert_eq!(
            nodes,
            [
                Node::Source(0),
                Node::Source(1),
                Node::F32(-FAR),
                Node::Combine(Function2::Max, 1, 2),
                Node::F32(FAR),
                Node::Combine(Function2::Min, 3, 4),
                Node::Combine(Function2::Add, 0, 5),
                Node::Apply(Function1::Tanh, 6),
            ]
        );
    }
}
