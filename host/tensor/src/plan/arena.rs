//! Liveness: values that never live together share bytes.

use super::{Bounds, Place, Plan, Uncovered, Value};

/// Gives every value of the arena its offset. Values that live at once never overlap;
/// inputs live from before the first step, outputs until after the last.
pub(super) fn place(plan: &mut Plan, bounds: &Bounds) -> Result<(), Uncovered> {
    let lives = lives(plan);
    // The largest first, each at the lowest offset that is free for all its life:
    // simple, and within a few percent of the best for networks (Pisarchyk, Lee 2020).
    let mut order: Vec<usize> = (0..plan.values.len())
        .filter(|&at| matches!(plan.values[at].place, Place::Arena(_)) && lives[at].is_some())
        .collect();
    order.sort_by_key(|&at| (std::cmp::Reverse(plan.values[at].n_bytes()), at));
    let mut placed: Vec<Placed> = Vec::with_capacity(order.len());
    for at in order {
        let value = &plan.values[at];
        let n_bytes = room(value, bounds);
        let (first, last) = lives[at].expect("filtered above");
        let mut offset = 0;
        let mut together: Vec<&Placed> = placed
            .iter()
            .filter(|other| other.first <= last && first <= other.last)
            .collect();
        together.sort_by_key(|other| other.offset);
        for other in together {
            if offset + n_bytes <= other.offset {
                break;
            }
            offset = offset.max(other.offset + other.n_bytes);
        }
        plan.values[at].place = Place::Arena(offset);
        plan.arena_bytes = plan.arena_bytes.max(offset + n_bytes);
        placed.push(Placed {
            first,
            last,
            offset,
            n_bytes,
        });
    }
    if plan.arena_bytes > bounds.arena_bytes {
        return Err(uncovered(format!(
            "{} bytes at once, where a run may hold {}",
            plan.arena_bytes, bounds.arena_bytes
        )));
    }
    Ok(())
}

struct Placed {
    first: usize,
    last: usize,
    offset: u64,
    n_bytes: u64,
}

fn room(value: &Value, bounds: &Bounds) -> u64 {
    value.n_bytes().next_multiple_of(bounds.alignment)
}

fn uncovered(why: String) -> Uncovered {
    Uncovered {
        node: String::new(),
        operator: "the whole model".to_owned(),
        why,
    }
}

/// First and last step of each value; none for one that nobody makes or reads.
fn lives(plan: &Plan) -> Vec<Option<(usize, usize)>> {
    let mut lives: Vec<Option<(usize, usize)>> = vec![None; plan.values.len()];
    let mut touch = |value: usize, step: usize| {
        let (first, last) = lives[value].unwrap_or((step, step));
        lives[value] = Some((first.min(step), last.max(step)));
    };
    for input in &plan.inputs {
        touch(input.value.0, 0);
    }
    // Step numbers start at 1, so that inputs stand before all of them.
    for (at, step) in plan.steps.iter().enumerate() {
        touch(step.output.0, at + 1);
        for input in step.inputs() {
            touch(input.0, at + 1);
        }
    }
    for output in &plan.outputs {
        touch(output.value.0, plan.steps.len() + 1);
    }
    lives
}
