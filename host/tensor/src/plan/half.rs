//! Which values are stored as f16: large weights whose numbers fit, and what lies between
//! a graph's inputs and outputs. What is computed stays f32, so no step knows of it.
//!
//! Nothing here looks at how many rows there are: a row is stored alike in any batch.

use std::sync::Arc;

use tract_onnx::prelude::f16;

use super::{Body, Element, Map, Node, Place, Plan, Reducer, Step, Stored, ValueId, View, Weight};

/// Elements that a weight has at least: a bias or a scale takes next to nothing, and its
/// error would be that of a whole channel.
const MIN_ELEMENTS: usize = 1024;

/// How much of a weight's norm may be lost. Rounding alone loses a third of it.
const MAX_LOST: f64 = 1.0 / 1024.0;

/// The largest number of f16.
const LARGEST: f32 = 65_504.0;

/// The least that f16 holds with all of its bits. What is smaller counts as lost: drivers
/// may take it for zero.
const LEAST: f32 = 6.103_515_6e-5;

/// Stores all as f16 that may be.
pub(super) fn halve(plan: &mut Plan) {
    let whole = whole(plan);
    let mut makes: Vec<bool> = vec![false; plan.values.len()];
    for step in &plan.steps {
        makes[step.output.0] = true;
    }
    for at in 0..plan.values.len() {
        let value = &plan.values[at];
        if whole[at] || value.element != Element::F32 {
            continue;
        }
        match value.place {
            Place::Arena(_) if makes[at] => plan.values[at].stored = Stored::Half,
            Place::Weight(weight) if value.n_elements >= MIN_ELEMENTS => {
                if let Some(bytes) = halved(&plan.weights[weight].bytes) {
                    plan.weights[weight] = Weight { bytes };
                    plan.values[at].stored = Stored::Half;
                }
            }
            Place::Arena(_) | Place::Weight(_) => {}
        }
    }
}

/// Values that stay as they are computed with, by their place in the plan.
fn whole(plan: &Plan) -> Vec<bool> {
    let mut whole = vec![false; plan.values.len()];
    let mut keep = |id: ValueId| whole[id.0] = true;
    for port in plan.inputs.iter().chain(&plan.outputs) {
        keep(port.value);
    }
    let mut is_mapped = vec![false; plan.values.len()];
    for step in &plan.steps {
        kept_of(step).for_each(|view| keep(view.value));
        // Sums of many are beyond f16 first, and there are few of them. So are squares that
        // a program makes for a sum.
        let summed = match &step.body {
            Body::Reduce(it) => Some(it.input.value),
            Body::Scan(it) => Some(it.input.value),
            _ => None,
        };
        if let Some(summed) = summed {
            keep(step.output);
            if is_mapped[summed.0] {
                keep(summed);
            }
        }
        is_mapped[step.output.0] = matches!(step.body, Body::Map(_));
    }
    // One buffer is not stored in two ways.
    let mut holders = vec![0; plan.weights.len()];
    let weights = plan.values.iter().map(|value| match value.place {
        Place::Weight(weight) => Some(weight),
        Place::Arena(_) => None,
    });
    let weights: Vec<Option<usize>> = weights.collect();
    for weight in weights.iter().flatten() {
        holders[*weight] += 1;
    }
    for (at, weight) in weights.iter().enumerate() {
        whole[at] |= weight.is_some_and(|weight| holders[weight] > 1);
    }
    whole
}

/// What a step reads that stays whole: biases, which each channel's sum begins with; masks
/// of an attention, which are far larger than any score; tables of a resampling; and what
/// becomes a place or an integer, which is off by one or it is not.
fn kept_of(step: &Step) -> impl Iterator<Item = &View> {
    let views: Vec<&View> = match &step.body {
        Body::Contract(it) => it.bias.iter().collect(),
        Body::Convolve(it) => it.bias.iter().collect(),
        Body::Deconvolve(it) => vec![&it.bias],
        Body::Attend(it) => it.scores.iter().flat_map(Map::views).collect(),
        Body::Resize(it) => vec![&it.along.weights],
        Body::Top(it) => vec![&it.input],
        Body::Reduce(it) if matches!(it.reducer, Reducer::Place(_)) => vec![&it.input],
        Body::Map(map) if counts(map) => map.views().collect(),
        _ => Vec::new(),
    };
    let tail = step.tail.iter().filter(|tail| counts(tail));
    views.into_iter().chain(tail.flat_map(Map::views))
}

/// Whether a program makes integers of floats.
fn counts(map: &Map) -> bool {
    map.nodes.iter().any(|(node, element)| match node {
        Node::Cast(from) => {
            map.nodes[*from].1 == Element::F32 && matches!(element, Element::I32 | Element::I64)
        }
        _ => false,
    })
}

/// Elements of f32 as f16, in whole words; none where some do not fit or too much is lost.
pub(crate) fn halved(bytes: &[u8]) -> Option<Arc<[u8]>> {
    let (words, _) = bytes.as_chunks::<4>();
    let numbers = || words.iter().map(|word| f32::from_le_bytes(*word));
    let (mut lost, mut all) = (0.0_f64, 0.0_f64);
    let mut halves = Vec::with_capacity(words.len().next_multiple_of(2) * 2);
    for x in numbers() {
        // Written so that what is no number does not fit.
        let fits = x.abs() <= LARGEST;
        if !fits {
            return None;
        }
        let half = f16::from_f32(x);
        let kept = if x.abs() < LEAST { 0.0 } else { half.to_f32() };
        lost += (f64::from(x) - f64::from(kept)).powi(2);
        all += f64::from(x).powi(2);
        halves.extend_from_slice(&half.to_le_bytes());
    }
    if lost.sqrt() > MAX_LOST * all.sqrt() {
        return None;
    }
    halves.resize(halves.len().next_multiple_of(4), 0);
    Some(halves.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(numbers: &[f32]) -> Vec<u8> {
        numbers.iter().flat_map(|x| x.to_le_bytes()).collect()
    }

    #[test]
    fn numbers_are_rounded_and_fill_whole_words() {
        let made = halved(&bytes(&[1.0, -2.0, 0.1])).unwrap();
        assert_eq!(*made, [0x00, 0x3c, 0x00, 0xc0, 0x66, 0x2e, 0, 0]);
        assert_eq!(
            *halved(&bytes(&[65_504.0, 0.0])).unwrap(),
            [0xff, 0x7b, 0, 0]
        );
        assert!(halved(&[]).unwrap().is_empty());
    }

    #[test]
    fn what_does_not_fit_stays_whole() {
        for x in [65_505.0, -1e30, f32::INFINITY, f32::NAN] {
            assert_eq!(halved(&bytes(&[1.0, x])), None, "{x}");
        }
    }

    #[test]
    fn what_would_be_lost_below_the_least_stays_whole() {
        assert_eq!(halved(&bytes(&[1e-6; 8])), None);
        assert_eq!(halved(&bytes(&[3e-8, -3e-8])), None);
        // Beside larger ones nobody misses it.
        assert!(halved(&bytes(&[1.0, 1e-6])).is_some());
        assert!(halved(&bytes(&[0.0; 8])).is_some());
    }
}
