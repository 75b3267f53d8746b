//! Liveness: values that never live together share bytes.

use super::{Bounds, Place, Plan, Uncovered, Value};

/// Steps of a plan at most. Each is a launch or more, which a device bounds by as many, and
/// to find room for a value takes a look at all others.
const MAX_STEPS: usize = 1 << 16;

/// Gives every value of the arena its offset. Values that live at once never overlap;
/// inputs live from before the first step, outputs until after the last.
pub(super) fn place(plan: &mut Plan, bounds: &Bounds) -> Result<(), Uncovered> {
    if plan.steps.len() > MAX_STEPS {
        return Err(uncovered(format!(
            "{} steps, where a run may have {MAX_STEPS}",
            plan.steps.len()
        )));
    }
    let lives = lives(plan);
    // The largest first, each at the lowest offset that is free for all its life:
    // simple, and within a few percent of the best for networks (Pisarchyk, Lee 2020).
    let mut order: Vec<usize> = (0..plan.values.len())
        .filter(|&at| matches!(plan.values[at].place, Place::Arena(_)) && lives[at].is_some())
        .collect();
    order.sort_by_key(|&at| (std::cmp::Reverse(plan.values[at].n_bytes()), at));
    // In the order of their offsets.
    let mut placed: Vec<Placed> = Vec::with_capacity(order.len());
    for at in order {
        let value = &plan.values[at];
        let n_bytes = room(value, bounds);
        let (first, last) = lives[at].expect("filtered above");
        let mut offset = 0;
        let together = placed
            .iter()
            .filter(|other| other.first <= last && first <= other.last);
        for other in together {
            if offset + n_bytes <= other.offset {
                break;
            }
            offset = offset.max(other.offset + other.n_bytes);
        }
        plan.values[at].place = Place::Arena(offset);
        plan.arena_bytes = plan.arena_bytes.max(offset + n_bytes);
        let own = Placed {
            first,
            last,
            offset,
            n_bytes,
        };
        let after = placed.partition_point(|other| other.offset <= offset);
        placed.insert(after, own);
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

#[cfg(test)]
mod tests {
    use super::super::{Body, Element, Map, PlanPort, Step, Stored, ValueId, View};
    use super::*;

    const BOUNDS: Bounds = Bounds {
        alignment: 256,
        value_bytes: 1 << 30,
        arena_bytes: 1 << 30,
        inputs: 6,
        halves: false,
    };

    /// Copies of the input, all of which are outputs.
    fn copies(n: usize) -> Plan {
        let value = Value {
            element: Element::F32,
            stored: Stored::Whole,
            n_elements: 4,
            place: Place::Arena(0),
        };
        let port = |at: usize| PlanPort {
            value: ValueId(at),
            shape: vec![4],
        };
        let step = |at: usize| Step {
            name: format!("step {at}"),
            body: Body::Map(Map::copy(View::whole(ValueId(0), Element::F32, &[4]))),
            tail: None,
            output: ValueId(at),
        };
        Plan {
            values: vec![value; n + 1],
            weights: Vec::new(),
            inputs: vec![port(0)],
            outputs: (1..=n).map(port).collect(),
            steps: (1..=n).map(step).collect(),
            arena_bytes: 0,
        }
    }

    /// No clock is asked, yet to sort all others for each value would take long.
    #[test]
    fn values_that_are_all_alive_lie_one_after_another() {
        let n = 10_000;
        let mut plan = copies(n);
        place(&mut plan, &BOUNDS).unwrap();
        assert_eq!(plan.arena_bytes, 256 * (n as u64 + 1));
    }

    #[test]
    fn more_steps_than_a_run_may_launch_are_refused() {
        let error = place(&mut copies(MAX_STEPS + 1), &BOUNDS).unwrap_err();
        assert!(error.why.contains("65537 steps"), "{error}");
    }
}
