//! What looks elements up, by indices or by their size: every offset lies within its value,
//! whatever the indices say.

use super::super::view::{count, row_major};
use super::super::{Element, MAX_TOP, Pick, Plan, Scan, Scatter, Top, Update, View};
use super::bodies::{THREADS, dimensions, held, in_turn};
use super::{Checked, MAX_NUMBER, fill, within};

fn indices(view: &View) -> Checked {
    let counts = matches!(view.element, Element::I32 | Element::I64);
    held(counts, "its indices are no integers")
}

/// An index is clamped to its axis, which has an element then.
pub(super) fn pick(plan: &Plan, it: &Pick, n: usize) -> Checked {
    indices(&it.indices)?;
    held(count(&it.shape) == n, "it picks another number")?;
    let rank = it.shape.len();
    held(
        it.along_data.len() == rank && it.along_indices.len() == rank,
        "its dimensions do not match",
    )?;
    if n == 0 {
        return Ok(());
    }
    held(
        it.looked.iter().all(|axis| axis.size > 0),
        "it picks of nothing",
    )?;
    let looked = it.looked.iter().map(|axis| (axis.size, axis.stride));
    let along = dimensions(&it.shape, &it.along_data);
    within(plan, it.data.value, it.data.offset, along.chain(looked))?;
    let along = dimensions(&it.shape, &it.along_indices);
    let all = along.chain([(it.looked.len(), it.step)]);
    within(plan, it.indices.value, it.indices.offset, all)
}

/// Indices are compared, never used as an offset.
pub(super) fn scatter(plan: &Plan, it: &Scatter, n: usize) -> Checked {
    indices(&it.indices)?;
    let shape = &it.data.shape;
    let rank = shape.len();
    held(count(shape) == n, "it makes another number")?;
    held(
        it.data.element == it.updates.element,
        "its updates are of another element type",
    )?;
    held(
        it.update == Update::Replace || it.data.element != Element::Bool,
        "truth values are not summed",
    )?;
    held(
        it.named.iter().all(|axis| *axis < rank),
        "it has no such axis",
    )?;
    let places = [
        it.reached.len(),
        it.place_indices.len(),
        it.place_updates.len(),
    ];
    let fits = places.iter().all(|it| *it == rank)
        && it.reached.iter().zip(shape).all(|(n, size)| n <= size)
        && it.candidates.len() == it.candidate_indices.len()
        && it.candidates.len() == it.candidate_updates.len();
    held(fits, "its dimensions do not match")?;
    let n_candidates = count(&it.candidates);
    in_turn(n_candidates.saturating_mul(it.named.len().max(1)))?;
    if n == 0 || n_candidates == 0 {
        return Ok(());
    }
    let along = |place, candidate| {
        dimensions(&it.reached, place).chain(dimensions(&it.candidates, candidate))
    };
    let of_indices = along(&it.place_indices, &it.candidate_indices);
    let of_indices = of_indices.chain([(it.named.len(), it.step)]);
    within(plan, it.indices.value, it.indices.offset, of_indices)?;
    let of_updates = along(&it.place_updates, &it.candidate_updates);
    within(plan, it.updates.value, it.updates.offset, of_updates)?;
    held(
        row_major(shape)
            .iter()
            .all(|stride| stride.unsigned_abs() <= MAX_NUMBER),
        "its places are beyond counting",
    )
}

pub(super) fn scan(it: &Scan, n: usize) -> Checked {
    held(
        it.input.shape.len() == it.out.len(),
        "its dimensions do not match",
    )?;
    let Some(along) = it.input.shape.last() else {
        return Err("it has no axis".to_owned());
    };
    held(
        it.input.element != Element::Bool,
        "truth values are not summed",
    )?;
    let filled = fill(dimensions(&it.input.shape, &it.out), n);
    held(filled, "its sums do not fill its output")?;
    in_turn(*along)
}

pub(super) fn top(it: &Top, n: usize) -> Checked {
    let Some((along, kept)) = it.input.shape.split_last() else {
        return Err("it has no axis".to_owned());
    };
    held(
        it.input.element != Element::Bool,
        "there is no order of its elements",
    )?;
    held(
        it.n <= *along && it.n <= MAX_TOP && it.input.shape.len() == it.out.len(),
        "it looks for more than there is",
    )?;
    let made = kept.iter().copied().chain([it.n]);
    let filled = fill(made.zip(it.out.iter().copied()), n);
    held(filled, "its places do not fill its output")?;
    in_turn((along / THREADS).saturating_add(1).saturating_mul(it.n))
}

#[cfg(test)]
mod tests {
    use super::super::super::{Looked, Place, Stored, Value, ValueId};
    use super::super::whole::all_refused;
    use super::*;

    /// Values 0 of f32 and 1 of i64, 12 elements each.
    fn plan() -> Plan {
        let value = |element| Value {
            element,
            stored: Stored::Whole,
            n_elements: 12,
            place: Place::Arena(0),
        };
        Plan {
            values: vec![value(Element::F32), value(Element::I64)],
            weights: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            steps: Vec::new(),
            arena_bytes: 0,
        }
    }

    fn floats(shape: &[usize]) -> View {
        View::whole(ValueId(0), Element::F32, shape)
    }

    fn integers(shape: &[usize]) -> View {
        View::whole(ValueId(1), Element::I64, shape)
    }

    #[test]
    fn what_is_picked_from_beyond_its_own_is_refused() {
        let whole = Pick {
            data: floats(&[3, 4]),
            indices: integers(&[3, 4]),
            shape: vec![3, 4],
            along_data: vec![4, 0],
            along_indices: vec![4, 1],
            looked: vec![Looked { size: 4, stride: 1 }],
            step: 0,
        };
        let plan = plan();
        all_refused(
            &whole,
            |it| pick(&plan, it, 12),
            &[
                (|it| it.shape[1] = 5, "another number"),
                (|it| it.looked[0].size = 5, "from 0 to 12 of %0"),
                (|it| it.looked[0].size = 0, "of nothing"),
                (|it| it.along_data[1] = 1, "from 0 to 14 of %0"),
                (|it| it.along_indices[0] = 5, "from 0 to 13 of %1"),
                (|it| it.along_indices.truncate(1), "do not match"),
                (|it| it.indices.element = Element::F32, "no integers"),
                (
                    |it| {
                        it.step = 1;
                        it.looked.push(Looked { size: 1, stride: 0 });
                    },
                    "from 0 to 12 of %1",
                ),
            ],
        );
    }

    #[test]
    fn updates_beyond_their_own_are_refused() {
        let whole = Scatter {
            data: floats(&[3, 4]),
            indices: integers(&[3, 4]),
            updates: floats(&[3, 4]),
            update: Update::Sum,
            wraps: true,
            named: vec![1],
            step: 0,
            reached: vec![3, 4],
            place_indices: vec![4, 0],
            place_updates: vec![4, 0],
            candidates: vec![4],
            candidate_indices: vec![1],
            candidate_updates: vec![1],
        };
        let plan = plan();
        all_refused(
            &whole,
            |it| scatter(&plan, it, 12),
            &[
                (|it| it.data.shape[0] = 4, "another number"),
                (|it| it.candidates[0] = 5, "from 0 to 12 of %1"),
                (|it| it.candidate_updates[0] = 2, "from 0 to 14 of %0"),
                (|it| it.place_indices[1] = 1, "from 0 to 14 of %1"),
                (|it| it.reached[0] = 4, "do not match"),
                (|it| it.named[0] = 2, "no such axis"),
                (|it| it.candidates[0] = 1 << 21, "a thread goes through"),
                (
                    |it| it.updates.element = Element::I32,
                    "another element type",
                ),
            ],
        );
    }

    #[test]
    fn sums_and_orders_beyond_their_own_are_refused() {
        let whole = Scan {
            input: floats(&[3, 4]),
            exclusive: false,
            reverse: false,
            out: vec![4, 1],
        };
        all_refused(
            &whole,
            |it| scan(it, 12),
            &[
                (|it| it.out[1] = 2, "do not fill"),
                (|it| it.out.truncate(1), "do not match"),
                (|it| it.input.element = Element::Bool, "not summed"),
            ],
        );
        let whole = Top {
            input: floats(&[3, 4]),
            n: 2,
            largest: true,
            out: vec![2, 1],
        };
        all_refused(
            &whole,
            |it| top(it, 6),
            &[
                (|it| it.n = 5, "more than there is"),
                (|it| it.out[0] = 1, "do not fill"),
                (|it| it.input.element = Element::Bool, "no order"),
                (
                    |it| (it.n, it.input.shape[1]) = (1025, 2000),
                    "more than there is",
                ),
            ],
        );
    }
}
