//! Attention: two products with a softmax between them become one step.
//!
//! Looked for in the graph, where sizes are symbols, and never in steps: so a batch is
//! attended as its rows alone are. What stands between the first product and the softmax,
//! its scale and its masks, becomes a program over scores that are never kept.

use std::collections::{BTreeMap, HashMap, HashSet};

use tract_onnx::prelude::{DatumType, OutletId, TypedModel, TypedNode};
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::ops::logic::Iff;
use tract_onnx::tract_core::ops::nn::{Softmax, SoftmaxKind};

use super::Lowering;
use super::fold::is_read_once;
use crate::plan::view::{count, row_major};
use crate::plan::{Attend, AttendAxis, Body, Element, Map, Source, Uncovered, View, validate};

/// Nodes between a product and its softmax at most, and nodes looked at to find them.
const MAX_BETWEEN: usize = 24;
const MAX_LOOKED_AT: usize = 96;

/// Attention in a graph: its nodes by number.
#[derive(Debug, Clone)]
pub(super) struct Attention {
    product: usize,
    /// What is done to the product before the softmax, in order.
    between: Vec<usize>,
    /// The input of the second product that the softmax makes.
    weights: usize,
}

/// Every attention of a graph, by the node that ends it.
#[derive(Debug, Default)]
pub(super) struct Attentions {
    by_end: HashMap<usize, Attention>,
    /// Nodes whose value stands in no memory once it is one step.
    pub(super) within: HashSet<usize>,
}

pub(super) fn find(model: &TypedModel) -> Attentions {
    let mut all = Attentions::default();
    for node in model.nodes() {
        let Some((end, attention, within)) = found(model, node) else {
            continue;
        };
        all.by_end.insert(end, attention);
        all.within.extend(within);
    }
    all
}

/// The attention that has this softmax: the node that ends it, and those within.
fn found(model: &TypedModel, node: &TypedNode) -> Option<(usize, Attention, Vec<usize>)> {
    let softmax = node.op_as::<Softmax>()?;
    let is_plain = softmax.kind == SoftmaxKind::Softmax
        && softmax.axes.len() == 1
        && softmax.quant_output_dt.is_none()
        && node.outputs[0].fact.datum_type == DatumType::F32;
    if !is_plain {
        return None;
    }
    let rank = node.outputs[0].fact.rank();
    let mut looked_at = 0;
    let mut path = before(model, node.inputs[0], &mut looked_at)?;
    let product = path.pop()?;
    path.reverse();
    let mut within: Vec<usize> = path.clone();
    within.extend([product, node.id]);
    // What only changes dimensions may stand after the softmax, too.
    let mut outlet = OutletId::new(node.id, 0);
    let (end, weights) = loop {
        if !is_read_once(model, outlet) || within.len() > MAX_BETWEEN {
            return None;
        }
        let reader = model.node(outlet.node).outputs[outlet.slot].successors[0];
        let next = model.node(reader.node);
        if next.op_is::<EinSum>() {
            break (next.id, reader.slot);
        }
        if !is_merely_shaped(next) {
            return None;
        }
        within.push(next.id);
        outlet = OutletId::new(next.id, 0);
    };
    let (first, last) = (model.node(product), model.node(end));
    let is_product = |node: &TypedNode| {
        let sum = node.op_as::<EinSum>().filter(|sum| sum.q_params.is_none());
        let constants = node.inputs.iter();
        let mut constants = constants.filter(|input| model.node(input.node).op_is::<Const>());
        sum.is_some() && node.inputs.len() == 2 && constants.next().is_none()
    };
    if !is_product(first) || !is_product(last) {
        return None;
    }
    // Whatever happens to their dimensions on the way, the scores come back as they were.
    let made = &first.outputs[0].fact.shape;
    let read = &model.outlet_fact(outlet).ok()?.shape;
    if made.to_tvec() != read.to_tvec() {
        return None;
    }
    let attention = Attention {
        product,
        between: path,
        weights,
    };
    let axes = Axes::of(first, last, weights)?;
    let reshaped = within.iter().any(|&at| is_merely_shaped(model.node(at)));
    let is_over_keys = if reshaped {
        // Then dimensions have other numbers, and only a last one that is as long as the keys
        // is known to be them: elements stay in their order.
        softmax.axes[0] + 1 == rank
            && axes.key + 1 == made.rank()
            && node.outputs[0].fact.shape[rank - 1] == made[axes.key]
    } else {
        softmax.axes[0] == axes.key
    };
    is_over_keys.then_some((end, attention, within))
}

/// Nodes from `outlet` back to the product of two that it is made of, which is the last.
fn before(model: &TypedModel, outlet: OutletId, looked_at: &mut usize) -> Option<Vec<usize>> {
    *looked_at += 1;
    if *looked_at > MAX_LOOKED_AT || !is_read_once(model, outlet) || outlet.slot != 0 {
        return None;
    }
    let node = model.node(outlet.node);
    if node.op_is::<EinSum>() {
        return Some(vec![node.id]);
    }
    let all: &[usize] = if node.op_is::<ElementWiseOp>() || is_merely_shaped(node) {
        &[0]
    } else if node.op_as::<TypedBinOp>().is_some_and(|op| op.1.is_none()) {
        &[0, 1]
    } else if node.op_is::<Iff>() {
        &[1, 2]
    } else {
        return None;
    };
    let own = &node.outputs[0].fact.shape;
    for &input in all {
        let outlet = node.inputs[input];
        let is_as_large =
            is_merely_shaped(node) || model.outlet_fact(outlet).is_ok_and(|it| it.shape == *own);
        let is_float = node.outputs[0].fact.datum_type == DatumType::F32;
        if !is_as_large || !is_float {
            continue;
        }
        if let Some(mut path) = before(model, outlet, looked_at) {
            path.insert(0, node.id);
            return Some(path);
        }
    }
    None
}

/// Whether a node changes dimensions and moves nothing.
fn is_merely_shaped(node: &TypedNode) -> bool {
    let axis = node.op_as::<AxisOp>();
    axis.is_some_and(|axis| !matches!(axis, AxisOp::Move(..)))
}

/// What each dimension of two products means.
struct Axes {
    /// Letters of the first product: its inputs, which of them are queries, its output.
    first: [String; 2],
    scores: String,
    queries: usize,
    /// Letters of the second: weights, values, output.
    weights: String,
    values: String,
    out: String,
    /// Which dimension of the scores are keys.
    key: usize,
}

fn letters(node: &TypedNode) -> Option<([String; 2], String)> {
    let (inputs, outputs) = node.op_as::<EinSum>()?.axes.to_strs();
    let [a, b] = &inputs[..] else { return None };
    let once = |text: &str| {
        let mut seen = HashSet::new();
        text.chars().all(|letter| seen.insert(letter))
    };
    let all = [a, b, &outputs[0]];
    all.iter()
        .all(|text| once(text))
        .then(|| ([a.clone(), b.clone()], outputs[0].clone()))
}

impl Axes {
    /// None where the products are no attention.
    fn of(first: &TypedNode, last: &TypedNode, weights: usize) -> Option<Self> {
        let (inputs, scores) = letters(first)?;
        let ([a, b], out) = letters(last)?;
        let (weights, values) = if weights == 0 { (a, b) } else { (b, a) };
        // The dimensions of the scores, as both products call them.
        let pairs: Vec<(char, char)> = scores.chars().zip(weights.chars()).collect();
        let is_key = |(_, own): &&(char, char)| values.contains(*own) && !out.contains(*own);
        let mut keys = pairs.iter().filter(is_key);
        let (Some(&(key, own)), None) = (keys.next(), keys.next()) else {
            return None;
        };
        let queries = match [inputs[0].contains(key), inputs[1].contains(key)] {
            [false, true] => 0,
            [true, false] => 1,
            _ => return None,
        };
        let (q, k) = (&inputs[queries], &inputs[1 - queries]);
        // All other dimensions of the scores are of the output; the first product sums up
        // what both of its inputs have, and the second brings in only features.
        let rest = pairs.iter().filter(|(letter, _)| *letter != key);
        let is_kept = rest.clone().all(|(letter, own)| {
            out.contains(*own) && (q.contains(*letter) || k.contains(*letter))
        });
        let summed = |side: &str, other: &str| {
            let gone = |letter: &char| !scores.contains(*letter);
            side.chars().filter(gone).all(|it| other.contains(it))
        };
        let known = |letter: char| weights.contains(letter) || values.contains(letter);
        let features = values.chars().filter(|it| !weights.contains(*it));
        let brought = features.clone().all(|letter| out.contains(letter));
        let has_row = rest.clone().any(|(letter, own)| {
            q.contains(*letter) && !k.contains(*letter) && !values.contains(*own)
        });
        let fits = is_kept
            && summed(q, k)
            && summed(k, q)
            && brought
            && has_row
            && features.count() > 0
            && out.chars().all(known);
        let at = scores.chars().position(|letter| letter == key)?;
        debug_assert_eq!(weights.chars().nth(at), Some(own));
        fits.then_some(Self {
            first: inputs,
            scores,
            queries,
            weights,
            values,
            out,
            key: at,
        })
    }
}

/// The step of the attention that `node` ends; none where it ends none, or one that a step
/// cannot do: more masks than a step may read, scores in another order, keys that a thread
/// would go through for too long. Then what it is made of stays as it is.
pub(super) fn lower(to: &mut Lowering<'_>, node: &TypedNode) -> Result<Option<View>, Uncovered> {
    let Some(attention) = to.attentions.by_end.get(&node.id).cloned() else {
        return Ok(None);
    };
    let first = to.model.node(attention.product);
    let Some(axes) = Axes::of(first, node, attention.weights) else {
        return Ok(None);
    };
    let q = to.read(first, axes.queries)?;
    let k = to.read(first, 1 - axes.queries)?;
    let v = to.read(node, 1 - attention.weights)?;
    for view in [&q, &k, &v] {
        to.f32_only(node, view)?;
    }
    let scores_shape = to.shape(first, OutletId::new(first.id, 0))?;
    let shape = to.shape(node, OutletId::new(node.id, 0))?;
    let Some(scores) = scores(to, &attention) else {
        return Ok(None);
    };
    let walk = Walk {
        q: Seen::of(&q, &axes.first[axes.queries]),
        k: Seen::of(&k, &axes.first[1 - axes.queries]),
        v: Seen::of(&v, &axes.values),
        score: Seen::new(&axes.scores, &scores_shape, &row_major(&scores_shape)),
        out: Seen::new(&axes.out, &shape, &row_major(&shape)),
    };
    let mut body = Attend {
        q,
        k,
        v,
        batch: Vec::new(),
        rows: Vec::new(),
        keys: Vec::new(),
        depth: Vec::new(),
        features: Vec::new(),
        scores,
    };
    for (at, (letter, own)) in axes.scores.chars().zip(axes.weights.chars()).enumerate() {
        let axis = walk.axis(Some(letter), Some(own));
        let is_row = walk.k.get(letter).is_none() && walk.v.get(own).is_none();
        match (at == axes.key, is_row) {
            (true, _) => body.keys.push(axis),
            (false, true) => body.rows.push(axis),
            (false, false) => body.batch.push(axis),
        }
    }
    let summed = axes.first[axes.queries].chars();
    for letter in summed.filter(|letter| !axes.scores.contains(*letter)) {
        body.depth.push(walk.axis(Some(letter), None));
    }
    let brought = axes.out.chars();
    for letter in brought.filter(|letter| !axes.weights.contains(*letter)) {
        body.features.push(walk.axis(None, Some(letter)));
    }
    let n_keys: usize = body.keys.iter().map(|axis| axis.size).product();
    let body = Body::Attend(body);
    let is_taken = n_keys > 0
        && body.inputs().len() <= to.bounds.inputs
        && validate::fits(&to.plan, &body, count(&shape));
    match is_taken {
        true => to.step(node, body, &shape).map(Some),
        false => Ok(None),
    }
}

/// The program from a product to a score; `Some(None)` where there is nothing to do, `None`
/// where it is not told by the steps that were made of it.
fn scores(to: &Lowering<'_>, attention: &Attention) -> Option<Option<Map>> {
    let value = |node: usize| Some(to.views.get(&OutletId::new(node, 0))?.value);
    let mut program: Option<Map> = None;
    let mut before = value(attention.product)?;
    for &node in &attention.between {
        if is_merely_shaped(to.model.node(node)) {
            continue;
        }
        let made = value(node)?;
        // Steps stand in the order of what they make.
        let steps = &to.plan.steps;
        let step = steps.get(steps.partition_point(|step| step.output < made));
        let Body::Map(map) = &step.filter(|step| step.output == made)?.body else {
            return None;
        };
        let at = map.sources.iter().position(|it| it.is_all_of(before))?;
        program = Some(match &program {
            Some(first) => map.after(first, at),
            None => {
                let mut map = map.clone();
                map.sources[at] = Source::Carried(Element::F32);
                map
            }
        });
        before = made;
    }
    Some(program)
}

/// Sizes and strides of a value by the letters of its dimensions.
struct Seen(BTreeMap<char, (usize, i64)>);

impl Seen {
    fn new(letters: &str, shape: &[usize], strides: &[i64]) -> Self {
        let places = shape.iter().copied().zip(strides.iter().copied());
        Self(letters.chars().zip(places).collect())
    }

    fn of(view: &View, letters: &str) -> Self {
        Self::new(letters, &view.shape, &view.strides)
    }

    fn get(&self, letter: char) -> Option<(usize, i64)> {
        self.0.get(&letter).copied()
    }
}

/// What attention walks through: its inputs, its scores, its output.
struct Walk {
    q: Seen,
    k: Seen,
    v: Seen,
    score: Seen,
    out: Seen,
}

impl Walk {
    /// The dimension that the first product calls one letter and the second another. One of
    /// size 1 stands for any size.
    fn axis(&self, first: Option<char>, last: Option<char>) -> AttendAxis {
        let of = |seen: &Seen, letter: Option<char>| letter.and_then(|letter| seen.get(letter));
        let [q, k, score] = [&self.q, &self.k, &self.score].map(|seen| of(seen, first));
        let [v, out] = [&self.v, &self.out].map(|seen| of(seen, last));
        let sizes = [q, k, v, score, out].into_iter().flatten();
        let size = sizes.map(|(size, _)| size).find(|size| *size != 1);
        let size = size.unwrap_or(1);
        let stride = |side: Option<(usize, i64)>| match side {
            Some((own, stride)) if own == size => stride,
            _ => 0,
        };
        AttendAxis {
            size,
            q: stride(q),
            k: stride(k),
            v: stride(v),
            score: stride(score),
            out: stride(out),
        }
    }
}
