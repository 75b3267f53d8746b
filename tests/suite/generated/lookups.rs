//! Operators that find elements by indices or by size, running sums, attention, and
//! transposed convolutions.

use trommel_tests::onnx::Attribute;

use super::chain::{Chain, SIZES, Value};

/// Where the largest along an axis stands, that axis kept.
fn places(chain: &mut Chain, axis: usize) -> Option<(String, String)> {
    if !chain.x.is_exact {
        return None;
    }
    let x = chain.floats()?;
    let said = chain.said(axis);
    let attributes = [
        Attribute::Integer("axis", said),
        Attribute::Integer("keepdims", 1),
    ];
    let operator = chain.choose(&["ArgMax", "ArgMin"]);
    let places = chain.writer.node(operator, &[&x], &attributes);
    Some((x, places))
}

pub(super) fn gather_elements(chain: &mut Chain) -> Option<Value> {
    let axis = chain.axis()?;
    let (x, places) = places(chain, axis)?;
    let said = Attribute::Integer("axis", chain.said(axis));
    let name = chain.writer.node("GatherElements", &[&x, &places], &[said]);
    let mut shape = chain.x.shape.clone();
    shape[axis] = 1;
    Some(chain.moved(name, shape))
}

/// The first element along an axis, put in where the largest stands or added to it.
pub(super) fn scatter_elements(chain: &mut Chain) -> Option<Value> {
    let axis = chain.axis()?;
    let (x, places) = places(chain, axis)?;
    let (zero, one) = (chain.writer.integers(&[0]), chain.writer.integers(&[1]));
    let along = chain.writer.integers(&[axis as i64 + 1]);
    let inputs = [&*x, &zero, &one, &along];
    let first = chain.writer.node("Slice", &inputs, &[]);
    let reduction = chain.choose(&["none", "add", "max"]);
    let attributes = [
        Attribute::Integer("axis", chain.said(axis)),
        Attribute::Text("reduction", reduction),
    ];
    let inputs = [&*x, &places, &first];
    let name = chain.writer.node("ScatterElements", &inputs, &attributes);
    Some(Value {
        scale: 2.0 * chain.x.scale,
        ..chain.moved(name, chain.x.shape.clone())
    })
}

/// The largest or smallest along an axis, or where they stand.
pub(super) fn top_k(chain: &mut Chain) -> Option<Value> {
    if !chain.x.is_exact {
        return None;
    }
    let x = chain.floats()?;
    let axis = chain.axis()?;
    let mut shape = chain.x.shape.clone();
    shape[axis] = 1 + chain.random.below(shape[axis]);
    let k = chain.writer.integers(&[shape[axis] as i64]);
    let attributes = [
        Attribute::Integer("axis", chain.said(axis)),
        Attribute::Integer("largest", i64::from(chain.once_in(2))),
    ];
    let made = chain.writer.nodes("TopK", &[&x, &k], &attributes, 2);
    let is_integer = chain.once_in(2);
    let [values, places] = &made[..] else {
        unreachable!("TopK has two outputs");
    };
    let name = if is_integer { places } else { values };
    let value = chain.moved(name.clone(), shape);
    Some(Value {
        is_integer,
        scale: if is_integer { 17.0 } else { value.scale },
        ..value
    })
}

pub(super) fn cum_sum(chain: &mut Chain) -> Option<Value> {
    let axis = chain.axis()?;
    let x = chain.tame(64.0)?;
    let along = chain.said(axis);
    let along = chain.writer.integer_array(&[], &[along]);
    let attributes = [
        Attribute::Integer("exclusive", i64::from(chain.once_in(2))),
        Attribute::Integer("reverse", i64::from(chain.once_in(2))),
    ];
    let name = chain.writer.node("CumSum", &[&x, &along], &attributes);
    let n = chain.x.shape[axis] as f32;
    Some(chain.made(name, chain.x.shape.clone(), n * chain.x.scale.min(64.0)))
}

/// A triangle of each matrix, its edge moved by up to two.
pub(super) fn trilu(chain: &mut Chain) -> Option<Value> {
    if chain.x.shape.len() < 2 {
        return None;
    }
    let x = chain.x.name.clone();
    let by = chain.random.below(5) as i64 - 2;
    let by = chain.writer.integer_array(&[], &[by]);
    let upper = Attribute::Integer("upper", i64::from(chain.once_in(2)));
    let name = chain.writer.node("Trilu", &[&x, &by], &[upper]);
    Some(chain.moved(name, chain.x.shape.clone()))
}

/// `x` `[batch, …, m, k]` attending to itself, masked by a constant or not.
pub(super) fn attention(chain: &mut Chain) -> Option<Value> {
    let rank = chain.x.shape.len();
    if rank < 2 {
        return None;
    }
    chain.factor()?;
    let x = chain.tame(4.0)?;
    let (m, k) = (chain.x.shape[rank - 2], chain.x.shape[rank - 1]);
    let mut order: Vec<i64> = (0..=rank as i64).collect();
    order.swap(rank, rank - 1);
    let order = Attribute::Integers("perm", &order);
    let turned = chain.writer.node("Transpose", &[&x], &[order]);
    let mut scores = chain.writer.node("MatMul", &[&x, &turned], &[]);
    let scale = chain.writer.float(0.25 / (k as f32).sqrt());
    scores = chain.writer.node("Mul", &[&scores, &scale], &[]);
    if chain.once_in(2) {
        let hidden = |at: usize| at % m > at / m;
        let mask: Vec<f32> = (0..m * m)
            .map(|at| if hidden(at) { -10_000.0 } else { 0.0 })
            .collect();
        let mask = chain.writer.floats(&[m, m], &mask);
        scores = chain.writer.node("Add", &[&scores, &mask], &[]);
    }
    let last = Attribute::Integer("axis", -1);
    let weights = chain.writer.node("Softmax", &[&scores], &[last]);
    chain.has_odd_sum = true;
    let name = chain.writer.node("MatMul", &[&weights, &x], &[]);
    Some(chain.made(name, chain.x.shape.clone(), chain.x.scale.min(4.0)))
}

/// Over one or two axes, in groups or not.
pub(super) fn conv_transpose(chain: &mut Chain) -> Option<Value> {
    let (channels, sizes) = match &chain.x.shape[..] {
        [channels, sizes @ ..] if matches!(sizes.len(), 1 | 2) => (*channels, sizes.to_vec()),
        _ => return None,
    };
    let x = chain.factor()?;
    let divisors: Vec<usize> = (1..=channels).filter(|n| channels % n == 0).collect();
    let groups = chain.choose(&divisors);
    let per_group = chain.choose(&SIZES[..5]);
    let (mut dims, mut shape) = (vec![channels, per_group], vec![groups * per_group]);
    let (mut strides, mut dilations, mut before, mut after) = (vec![], vec![], vec![], vec![]);
    for size in sizes {
        let kernel = 1 + chain.random.below(3);
        let (stride, dilation) = (1 + chain.random.below(3), 1 + chain.random.below(2));
        let pads = [0, 1].map(|_| chain.random.below(kernel));
        let whole = (size - 1) * stride + (kernel - 1) * dilation + 1;
        // Nothing is left where padding takes all away.
        let pads = if pads[0] + pads[1] < whole {
            pads
        } else {
            [0, 0]
        };
        dims.push(kernel);
        shape.push(whole - pads[0] - pads[1]);
        strides.push(stride as i64);
        dilations.push(dilation as i64);
        before.push(pads[0] as i64);
        after.push(pads[1] as i64);
    }
    before.extend(after);
    let fan_in = (channels / groups * dims[2..].iter().product::<usize>()) as f32;
    let weight = chain.writer.drawn(&dims, 0.0, fan_in.sqrt().recip());
    let mut inputs = vec![x, weight];
    if chain.once_in(2) {
        inputs.push(chain.writer.drawn(&[groups * per_group], 0.0, 1.0));
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let attributes = [
        Attribute::Integers("strides", &strides),
        Attribute::Integers("dilations", &dilations),
        Attribute::Integers("pads", &before),
        Attribute::Integer("group", groups as i64),
    ];
    let name = chain.writer.node("ConvTranspose", &inputs, &attributes);
    Some(chain.made(name, shape, 2.0 * chain.x.scale + 2.0))
}
