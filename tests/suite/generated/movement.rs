//! Operators that move elements and compute none: they follow integers too.

use trommel_tests::onnx::Attribute;

use super::chain::{Chain, SIZES, Value};

/// Indices along an axis, from either end, as a list or as one that takes the axis away.
pub(super) fn gather(chain: &mut Chain) -> Option<Value> {
    let axis = chain.axis()?;
    let size = chain.x.shape[axis];
    let mut shape = chain.x.shape.clone();
    let index = |chain: &mut Chain| chain.random.below(2 * size) as i64 - size as i64;
    let indices = if chain.once_in(3) {
        let index = index(chain);
        shape.remove(axis);
        chain.writer.integer_array(&[], &[index])
    } else {
        shape[axis] = chain.choose(&SIZES);
        let indices: Vec<i64> = (0..shape[axis]).map(|_| index(chain)).collect();
        chain.writer.integers(&indices)
    };
    let axis = Attribute::Integer("axis", chain.said(axis));
    let x = chain.x.name.clone();
    let name = chain.writer.node("Gather", &[&x, &indices], &[axis]);
    Some(chain.moved(name, shape))
}

/// A stretch of one or two axes, in steps of one or two, its ends counted from either
/// side or beyond the end.
pub(super) fn slice(chain: &mut Chain) -> Option<Value> {
    let first = chain.axis()?;
    let second = chain.axis()?;
    let mut shape = chain.x.shape.clone();
    let mut axes = vec![first];
    axes.extend((second != first).then_some(second));
    let (mut starts, mut ends, mut steps, mut said) = (vec![], vec![], vec![], vec![]);
    for axis in axes {
        let size = shape[axis];
        let start = chain.random.below(size);
        let end = start + 1 + chain.random.below(size - start);
        let step = 1 + chain.random.below(2);
        shape[axis] = (end - start).div_ceil(step);
        let back = |at: usize| at as i64 - size as i64;
        starts.push(if chain.once_in(2) {
            start as i64
        } else {
            back(start)
        });
        ends.push(match (chain.once_in(2), end == size) {
            (true, true) => i64::MAX,
            (false, false) => back(end),
            _ => end as i64,
        });
        steps.push(step as i64);
        said.push(chain.said(axis));
    }
    let x = chain.x.name.clone();
    let [starts, ends, said, steps] =
        [starts, ends, said, steps].map(|list| chain.writer.integers(&list));
    let name = chain
        .writer
        .node("Slice", &[&x, &starts, &ends, &said, &steps], &[]);
    Some(chain.moved(name, shape))
}

/// `x` with itself or with what an earlier value has more of along an axis.
pub(super) fn concat(chain: &mut Chain) -> Option<Value> {
    let axis = chain.axis()?;
    let x = chain.x.clone();
    let fits = |other: &&Value| {
        let differs = |at: usize| at != axis && other.shape[at] != x.shape[at];
        other.is_integer == x.is_integer
            && other.shape.len() == x.shape.len()
            && !(0..x.shape.len()).any(differs)
    };
    let mut others: Vec<Value> = chain.earlier.iter().filter(fits).cloned().collect();
    others.push(x.clone());
    let other = others[chain.random.below(others.len())].clone();
    let mut parts = vec![&x, &other];
    if chain.once_in(2) {
        parts.swap(0, 1);
    }
    if chain.once_in(3) {
        parts.push(&x);
    }
    let mut shape = x.shape.clone();
    shape[axis] = parts.iter().map(|part| part.shape[axis]).sum();
    let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
    let axis = Attribute::Integer("axis", chain.said(axis));
    let name = chain.writer.node("Concat", &names, &[axis]);
    Some(Value {
        scale: x.scale.max(other.scale),
        is_exact: x.is_exact && other.is_exact,
        is_expanded: x.is_expanded || other.is_expanded,
        ..chain.moved(name, shape)
    })
}

/// Two or three unequal parts; the chain goes on with one, and may meet the others.
pub(super) fn split(chain: &mut Chain) -> Option<Value> {
    let axis = chain.axis()?;
    let size = chain.x.shape[axis];
    if size < 2 {
        return None;
    }
    let first = 1 + chain.random.below(size - 1);
    let mut sizes = vec![first, size - first];
    if size - first > 1 && chain.once_in(2) {
        sizes = vec![first, 1, size - first - 1];
    }
    let x = chain.x.name.clone();
    let said = Attribute::Integer("axis", chain.said(axis));
    let list: Vec<i64> = sizes.iter().map(|&size| size as i64).collect();
    let list = chain.writer.integers(&list);
    let names = chain
        .writer
        .nodes("Split", &[&x, &list], &[said], sizes.len());
    let mut parts: Vec<Value> = names
        .into_iter()
        .zip(sizes)
        .map(|(name, size)| {
            let mut shape = chain.x.shape.clone();
            shape[axis] = size;
            chain.moved(name, shape)
        })
        .collect();
    let chosen = parts.remove(chain.random.below(parts.len()));
    chain.earlier.extend(parts);
    Some(chosen)
}

/// Zeros or another constant, mirrored, or the edge once more, unevenly.
pub(super) fn pad(chain: &mut Chain) -> Option<Value> {
    let x = chain.floats()?;
    let rank = chain.x.shape.len();
    let mode = chain.choose(&["constant", "reflect", "edge"]);
    let (mut shape, mut before, mut after) = (chain.x.shape.clone(), vec![0], vec![0]);
    for size in &mut shape {
        let most = if mode == "reflect" {
            (*size - 1).min(2)
        } else {
            2
        };
        let (first, last) = (chain.random.below(most + 1), chain.random.below(most + 1));
        *size += first + last;
        before.push(first as i64);
        after.push(last as i64);
    }
    if rank == 0 {
        return None;
    }
    before.extend(after);
    let pads = chain.writer.integers(&before);
    let mut inputs = vec![x, pads];
    if mode == "constant" && chain.once_in(2) {
        inputs.push(chain.writer.float(0.3));
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let name = chain
        .writer
        .node("Pad", &inputs, &[Attribute::Text("mode", mode)]);
    Some(chain.moved(name, shape))
}

/// Two neighbouring axes become one, or one becomes two. The batch is said as "as it
/// is" or as "whatever is left".
pub(super) fn reshape(chain: &mut Chain) -> Option<Value> {
    let mut shape = chain.x.shape.clone();
    let axis = chain.axis()?;
    if axis + 1 < shape.len() && chain.once_in(2) {
        shape[axis] *= shape.remove(axis + 1);
    } else {
        let factor = (2..=shape[axis]).find(|factor| shape[axis].is_multiple_of(*factor));
        let factor = factor.unwrap_or(1);
        shape[axis] /= factor;
        shape.insert(axis + 1, factor);
    }
    let batch = chain.choose(&[0, -1]);
    let mut said: Vec<i64> = vec![batch];
    said.extend(shape.iter().map(|&size| size as i64));
    let (x, said) = (chain.x.name.clone(), chain.writer.integers(&said));
    let name = chain.writer.node("Reshape", &[&x, &said], &[]);
    Some(chain.moved(name, shape))
}

/// The axes after the batch, shuffled.
pub(super) fn transpose(chain: &mut Chain) -> Option<Value> {
    let rank = chain.x.shape.len();
    let mut axes: Vec<usize> = (0..rank).collect();
    for at in (1..rank).rev() {
        let with = chain.random.below(at + 1);
        axes.swap(at, with);
    }
    let mut order = vec![0];
    order.extend(axes.iter().map(|&axis| axis as i64 + 1));
    let shape = axes.iter().map(|&axis| chain.x.shape[axis]).collect();
    let x = chain.x.name.clone();
    let order = Attribute::Integers("perm", &order);
    let name = chain.writer.node("Transpose", &[&x], &[order]);
    Some(chain.moved(name, shape))
}

pub(super) fn squeeze(chain: &mut Chain) -> Option<Value> {
    let axis = chain.x.shape.iter().position(|&size| size == 1)?;
    let mut shape = chain.x.shape.clone();
    shape.remove(axis);
    let said = chain.said(axis);
    let (x, said) = (chain.x.name.clone(), chain.writer.integers(&[said]));
    let name = chain.writer.node("Squeeze", &[&x, &said], &[]);
    Some(chain.moved(name, shape))
}

pub(super) fn unsqueeze(chain: &mut Chain) -> Option<Value> {
    let mut shape = chain.x.shape.clone();
    // Beyond this no model goes, and six of these would.
    if shape.len() > 4 {
        return None;
    }
    let axis = chain.random.below(shape.len() + 1);
    shape.insert(axis, 1);
    let (x, said) = (
        chain.x.name.clone(),
        chain.writer.integers(&[axis as i64 + 1]),
    );
    let name = chain.writer.node("Unsqueeze", &[&x, &said], &[]);
    Some(chain.moved(name, shape))
}

pub(super) fn flatten(chain: &mut Chain) -> Option<Value> {
    let x = chain.x.name.clone();
    let axis = Attribute::Integer("axis", 1);
    let name = chain.writer.node("Flatten", &[&x], &[axis]);
    Some(chain.moved(name, vec![chain.x.shape.iter().product()]))
}

/// Axes of one repeated; the others said as they are or as 1, the batch as 1.
pub(super) fn expand(chain: &mut Chain) -> Option<Value> {
    let (mut shape, mut said) = (chain.x.shape.clone(), vec![1]);
    for size in &mut shape {
        if *size == 1 {
            *size = chain.choose(&SIZES);
            said.push(*size as i64);
        } else {
            let as_it_is = chain.once_in(2);
            said.push(if as_it_is { *size as i64 } else { 1 });
        }
    }
    let (x, said) = (chain.x.name.clone(), chain.writer.integers(&said));
    let name = chain.writer.node("Expand", &[&x, &said], &[]);
    Some(Value {
        is_expanded: chain.x.is_expanded || shape != chain.x.shape,
        ..chain.moved(name, shape)
    })
}
