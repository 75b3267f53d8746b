//! What each family's kernel reads and stores, by its sizes alone.

use super::super::view::{count, row_major};
use super::super::{
    Axis, Body, Concat, Contract, Convolve, Element, Gather, Map, Node, Pad, PadMode, Place, Plan,
    Pool, Reduce, Reducer, Resize, Row, Source, Spatial, View,
};
use super::{Checked, MAX_IN_TURN, MAX_NUMBER, fill, lookups, transformer, within};

/// Threads that a group shares a long reduction or a row among.
pub(super) const THREADS: usize = 64;

/// The body of a step whose output has `n` elements. Its views lie within their values.
pub(super) fn check(plan: &Plan, body: &Body, n: usize) -> Checked {
    match body {
        Body::Map(it) => map(it, n, None),
        Body::Contract(it) => contract(plan, it, n),
        Body::Convolve(it) => convolve(it, n),
        Body::Reduce(it) => reduce(it, n),
        Body::Row(it) => row(it, n),
        Body::Pool(it) => pool(it, n),
        Body::Gather(it) => gather(it, n),
        Body::Concat(it) => concat(it, n),
        Body::Pad(it) => pad(it, n),
        Body::Resize(it) => resize(plan, it, n),
        Body::Attend(it) => transformer::attend(plan, it, n),
        Body::Deconvolve(it) => transformer::deconvolve(it, n),
        Body::Pick(it) => lookups::pick(plan, it, n),
        Body::Scatter(it) => lookups::scatter(plan, it, n),
        Body::Scan(it) => lookups::scan(it, n),
        Body::Top(it) => lookups::top(it, n),
    }
}

pub(super) fn held(holds: bool, what: &str) -> Checked {
    match holds {
        true => Ok(()),
        false => Err(what.to_owned()),
    }
}

pub(super) fn in_turn(n: usize) -> Checked {
    match n <= MAX_IN_TURN {
        true => Ok(()),
        false => Err(format!(
            "a thread goes through {n} elements, where it may through {MAX_IN_TURN}"
        )),
    }
}

pub(super) fn dimensions<'a>(
    shape: &'a [usize],
    strides: &'a [i64],
) -> impl Iterator<Item = (usize, i64)> {
    shape.iter().copied().zip(strides.iter().copied())
}

/// An element of each source for each of `n`, in their order.
pub(super) fn map(it: &Map, n: usize, carried: Option<Element>) -> Checked {
    held(count(&it.shape) == n, "its program makes another number")?;
    for source in &it.sources {
        let fits = match source {
            Source::View(view) => view.n_elements() == n,
            Source::Carried(element) => Some(*element) == carried,
        };
        held(fits, "a source of its program has another size")?;
    }
    held(!it.nodes.is_empty(), "its program is empty")?;
    for (at, (node, _)) in it.nodes.iter().enumerate() {
        let known = match node {
            Node::Source(source) => *source < it.sources.len(),
            Node::Index { stride, size } => {
                [*stride, *size].iter().all(|it| *it as u64 <= MAX_NUMBER)
            }
            node => node.arguments().all(|argument| argument < at),
        };
        held(known, "its program reads what is not computed yet")?;
    }
    Ok(())
}

fn contract(plan: &Plan, it: &Contract, n: usize) -> Checked {
    let made = || it.batch.iter().chain(&it.rows).chain(&it.columns);
    let read = || made().chain(&it.inner);
    let along = |of: fn(&Axis) -> i64| read().map(move |axis| (axis.size, of(axis)));
    within(plan, it.a.value, it.a.offset, along(|axis| axis.a))?;
    within(plan, it.b.value, it.b.offset, along(|axis| axis.b))?;
    if let Some(bias) = &it.bias {
        let along = made().map(|axis| (axis.size, axis.bias));
        within(plan, bias.value, bias.offset, along)?;
    }
    let filled = fill(made().map(|axis| (axis.size, axis.out)), n);
    held(filled, "its products do not fill its output")?;
    in_turn(count(it.inner.iter().map(|axis| axis.size)))
}

fn convolve(it: &Convolve, n: usize) -> Checked {
    let all = Channels {
        input: &it.input,
        kernel: &it.kernel,
        bias: it.bias.as_ref(),
        spatial: &it.spatial,
        out: &it.out,
    };
    channels(&all, n)?;
    windows(&it.spatial, &it.input.shape[3..])
}

/// What a convolution goes over, be it transposed or not.
pub(super) struct Channels<'a> {
    pub(super) input: &'a View,
    pub(super) kernel: &'a View,
    pub(super) bias: Option<&'a View>,
    pub(super) spatial: &'a [Spatial],
    pub(super) out: &'a [i64],
}

/// Whether input, kernel, bias and output are of the same channels and windows. Where a
/// window lies in the input is each kernel's own.
pub(super) fn channels(it: &Channels<'_>, n: usize) -> Checked {
    let rank = it.spatial.len();
    let ranks = [it.input.shape.len(), it.kernel.shape.len(), it.out.len()];
    held(
        (1..=3).contains(&rank) && ranks.iter().all(|it| *it == rank + 3),
        "its dimensions do not match",
    )?;
    let (input, kernel) = (&it.input.shape, &it.kernel.shape);
    held(
        input[1] == kernel[0] && input[2] == kernel[2],
        "its kernel is made for other channels",
    )?;
    let sizes = it.spatial.iter().map(|axis| axis.kernel);
    held(
        sizes.eq(kernel[3..].iter().copied()),
        "its kernel is not its window",
    )?;
    let bias = it.bias.map(View::n_elements);
    held(
        bias.is_none_or(|bias| bias == count(&kernel[..2])),
        "its bias is made for other channels",
    )?;
    in_turn(count(&kernel[2..]))?;
    let made = [input[0], kernel[0], kernel[1]].into_iter();
    let made = made.chain(it.spatial.iter().map(|axis| axis.output));
    let filled = fill(made.zip(it.out.iter().copied()), n);
    held(filled, "its channels do not fill its output")
}

/// Windows over an input of these sizes: places of either sign are counted in 32 bits, and
/// kernels look whether one is within.
fn windows(spatial: &[Spatial], input: &[usize]) -> Checked {
    for (axis, &size) in spatial.iter().zip(input) {
        held(axis.input == size, "its windows are over another input")?;
        let last = |n: usize, step: usize| (n as u128).saturating_sub(1) * step as u128;
        let reach = last(axis.output, axis.stride);
        let reach = reach.saturating_add(last(axis.kernel, axis.dilation));
        let numbers = [axis.stride, axis.dilation, axis.before, axis.padded];
        let counted = reach <= u128::from(MAX_NUMBER)
            && numbers.iter().all(|number| *number as u64 <= MAX_NUMBER);
        held(counted, "its windows reach beyond counting")?;
    }
    held(
        spatial.len() == input.len(),
        "its windows have another rank",
    )
}

fn reduce(it: &Reduce, n: usize) -> Checked {
    held(
        it.n_kept <= it.input.shape.len(),
        "it keeps more than there is",
    )?;
    let (kept, reduced) = it.input.shape.split_at(it.n_kept);
    held(count(kept) == n, "it reduces to another number")?;
    held(n == 0 || count(reduced) > 0, "it reduces nothing")?;
    let is_shared = it.input.element != Element::Bool && !matches!(it.reducer, Reducer::Place(_));
    in_turn(count(reduced) / if is_shared { THREADS } else { 1 })
}

fn row(it: &Row, n: usize) -> Checked {
    let rank = it.input.shape.len();
    held(
        it.n_kept <= rank && it.out.len() == rank,
        "its dimensions do not match",
    )?;
    let filled = fill(dimensions(&it.input.shape, &it.out), n);
    held(filled, "its rows do not fill its output")?;
    in_turn(count(&it.input.shape[it.n_kept..]) / THREADS)
}

fn pool(it: &Pool, n: usize) -> Checked {
    let rank = it.spatial.len();
    held(
        (1..=3).contains(&rank) && it.input.shape.len() == rank + 2 && it.out.len() == rank + 2,
        "its dimensions do not match",
    )?;
    windows(&it.spatial, &it.input.shape[2..])?;
    in_turn(count(it.spatial.iter().map(|axis| axis.kernel)))?;
    let made = it.input.shape[..2].iter().copied();
    let made = made.chain(it.spatial.iter().map(|axis| axis.output));
    let filled = fill(made.zip(it.out.iter().copied()), n);
    held(filled, "its windows do not fill its output")
}

/// An index is clamped to the axis, which has an element then.
fn gather(it: &Gather, n: usize) -> Checked {
    held(it.axis < it.data.shape.len(), "it has no such axis")?;
    let mut made = it.data.shape.clone();
    let along = std::mem::replace(&mut made[it.axis], it.indices.n_elements());
    held(count(&made) == n, "it gathers another number")?;
    held(n == 0 || along > 0, "it gathers of nothing")?;
    let counts = matches!(it.indices.element, Element::I32 | Element::I64);
    held(counts, "its indices are no integers")
}

fn concat(it: &Concat, n: usize) -> Checked {
    held(it.axis < it.shape.len(), "it has no such axis")?;
    held(count(&it.shape) == n, "its parts make another number")?;
    let mut along = 0_usize;
    for part in &it.parts {
        let mut shape = part.shape.clone();
        held(shape.len() == it.shape.len(), "a part has another rank")?;
        along = along.saturating_add(shape[it.axis]);
        shape[it.axis] = it.shape[it.axis];
        held(shape == it.shape, "a part has another size")?;
        let same = part.element == it.parts[0].element;
        held(same, "a part has another element type")?;
    }
    held(
        !it.parts.is_empty() && along == it.shape[it.axis],
        "its parts do not fill its output",
    )
}

fn pad(it: &Pad, n: usize) -> Checked {
    let rank = it.shape.len();
    held(
        it.input.shape.len() == rank && it.before.len() == rank,
        "its dimensions do not match",
    )?;
    held(count(&it.shape) == n, "it pads to another number")?;
    for ((&all, &size), &before) in it.shape.iter().zip(&it.input.shape).zip(&it.before) {
        let after = before.checked_add(size).and_then(|it| all.checked_sub(it));
        let Some(after) = after else {
            return Err("it pads by less than nothing".to_owned());
        };
        let folds = match it.mode {
            PadMode::Constant(_) => true,
            PadMode::Reflect => before.max(after) < size,
            PadMode::Edge => size > 0,
        };
        held(folds || n == 0, "it pads by more than it has")?;
        // A stride between places of the output is counted, too.
        held(all as u64 <= MAX_NUMBER, "it pads beyond counting")?;
    }
    held(
        row_major(&it.shape)
            .iter()
            .all(|stride| stride.unsigned_abs() <= MAX_NUMBER),
        "it pads beyond counting",
    )
}

fn resize(plan: &Plan, it: &Resize, n: usize) -> Checked {
    let along = &it.along;
    held(along.axis < it.shape.len(), "it has no such axis")?;
    let mut shape = it.input.shape.clone();
    held(shape.len() == it.shape.len(), "its dimensions do not match")?;
    let size = std::mem::replace(&mut shape[along.axis], it.shape[along.axis]);
    held(
        shape == it.shape && count(&shape) == n,
        "it makes another number",
    )?;
    in_turn(along.window)?;
    let table = it.shape[along.axis].saturating_mul(along.window);
    let is_table = |view: &View| view.n_elements() == table;
    held(
        is_table(&along.places) && is_table(&along.weights) && along.places.is_plain(),
        "its tables have another size",
    )?;
    let value = plan.value(along.places.value);
    let Place::Weight(weight) = value.place else {
        return Err("its places are not known before the run".to_owned());
    };
    let (places, _) = plan.weights[weight].bytes.as_chunks::<4>();
    let mut places = places.iter().map(|place| i32::from_le_bytes(*place));
    let inside = places.all(|place| usize::try_from(place).is_ok_and(|place| place < size));
    held(
        inside && value.element == Element::I32,
        "a place of its table lies outside",
    )
}
