//! Fewer steps for the same numbers: element-wise steps join each other, and become
//! the tail of whatever made their input.

use super::view::count;
use super::{Body, Bounds, Map, Plan, Source, Step, ValueId};

/// Nodes of one program at most: beyond that registers run out and nothing is won.
const MAX_NODES: usize = 48;

/// Joins each element-wise step to the one that makes its input, where it alone reads it.
pub(super) fn fuse(plan: &mut Plan, bounds: &Bounds) {
    let mut at = 0;
    while at < plan.steps.len() {
        if let Some(maker) = fusible(plan, at, bounds) {
            join(plan, maker, at);
            // The joined step stands where the later one stood.
            at -= 1;
        } else {
            at += 1;
        }
    }
}

/// The step and the source through which step `at` can be joined to it.
fn fusible(plan: &Plan, at: usize, bounds: &Bounds) -> Option<(usize, usize)> {
    let step = &plan.steps[at];
    let Body::Map(map) = &step.body else {
        return None;
    };
    if step.tail.is_some() {
        return None;
    }
    for (source, view) in map.sources.iter().enumerate() {
        let Source::View(view) = view else { continue };
        let value = view.value;
        let whole = plan.value(value).n_elements == count(&map.shape);
        if !whole || !map.sources[source].is_all_of(value) || !read_once(plan, at, value) {
            continue;
        }
        let Some(maker) = plan.steps[..at]
            .iter()
            .rposition(|made| made.output == value)
        else {
            continue;
        };
        let joined = joined(&plan.steps[maker], step, source);
        let small = joined
            .tail
            .as_ref()
            .is_none_or(|tail| tail.nodes.len() <= MAX_NODES)
            && !matches!(&joined.body, Body::Map(map) if map.nodes.len() > MAX_NODES);
        // The joined step stands at the later place: all that either reads is made by then.
        if small && joined.inputs().len() <= bounds.inputs {
            return Some((maker, source));
        }
    }
    None
}

/// Whether step `at` alone reads `value`, and through one source.
fn read_once(plan: &Plan, at: usize, value: ValueId) -> bool {
    let elsewhere = plan.steps.iter().enumerate();
    let elsewhere =
        elsewhere.filter(|(other, step)| *other != at && step.inputs().contains(&value));
    let Body::Map(map) = &plan.steps[at].body else {
        return false;
    };
    map.views().filter(|view| view.value == value).count() == 1
        && elsewhere.count() == 0
        && plan.outputs.iter().all(|output| output.value != value)
}

fn join(plan: &mut Plan, (maker, source): (usize, usize), at: usize) {
    let step = joined(&plan.steps[maker], &plan.steps[at], source);
    plan.steps[at] = step;
    plan.steps.remove(maker);
}

fn joined(maker: &Step, step: &Step, source: usize) -> Step {
    let Body::Map(map) = &step.body else {
        unreachable!("only element-wise steps are joined");
    };
    let (body, tail) = match (&maker.body, &maker.tail) {
        (Body::Map(first), None) => (Body::Map(map.after(first, source)), None),
        (_, Some(tail)) => (maker.body.clone(), Some(map.after(tail, source))),
        (body, None) => {
            let mut tail: Map = map.clone();
            tail.sources[source] = Source::Carried(body.element());
            (body.clone(), Some(tail))
        }
    };
    Step {
        name: step.name.clone(),
        body,
        tail,
        output: step.output,
    }
}
