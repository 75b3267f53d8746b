//! The operators that a chain is made of: maps, arithmetic, sums. What moves elements
//! stands in `movement`, what looks through windows in `windows`, what looks elements up in
//! `lookups`.

use trommel_tests::onnx::Attribute;

use super::chain::{Chain, Operator, Value};
use super::{lookups, movement, windows};

const fn operator(name: &'static str, write: fn(&mut Chain) -> Option<Value>) -> Operator {
    Operator { name, write }
}

/// Each of them.
pub(super) const OPERATORS: &[Operator] = &[
    operator("Conv", windows::conv),
    operator("MaxPool", windows::max_pool),
    operator("AveragePool", windows::average_pool),
    operator("GlobalAveragePool", windows::global_average_pool),
    operator("Resize", windows::resize),
    operator("Gemm", gemm),
    operator("MatMul by a weight", matmul_weight),
    operator("MatMul by itself", matmul_itself),
    operator("Relu", |chain| exact_map(chain, "Relu")),
    operator("Clip", clip),
    operator("Sigmoid", |chain| squash(chain, "Sigmoid")),
    operator("Tanh", |chain| squash(chain, "Tanh")),
    operator("HardSigmoid", hard_sigmoid),
    operator("HardSwish", |chain| map(chain, "HardSwish")),
    operator("Elu", |chain| map_with_alpha(chain, "Elu")),
    operator("LeakyRelu", |chain| map_with_alpha(chain, "LeakyRelu")),
    operator("Softplus", softplus),
    operator("Erf", |chain| squash(chain, "Erf")),
    operator("Gelu", gelu),
    operator("Add a constant", |chain| with_constant(chain, "Add")),
    operator("Sub a constant", |chain| with_constant(chain, "Sub")),
    operator("Mul by a constant", |chain| with_constant(chain, "Mul")),
    operator("Div by a constant", |chain| with_constant(chain, "Div")),
    operator("Add an earlier value", |chain| with_earlier(chain, "Add")),
    operator("Sub an earlier value", |chain| with_earlier(chain, "Sub")),
    operator("Mul by an earlier value", |chain| {
        with_earlier(chain, "Mul")
    }),
    operator("Div by an earlier value", |chain| {
        with_earlier(chain, "Div")
    }),
    operator("Sqrt", |chain| within(chain, "Sqrt", (0.25, 4.0), 2.0)),
    operator("Exp", |chain| within(chain, "Exp", (-3.0, 3.0), 20.0)),
    operator("Log", |chain| within(chain, "Log", (0.25, 4.0), 2.0)),
    operator("Pow", pow),
    operator("Where", select),
    operator("ReduceSum", |chain| reduce(chain, "ReduceSum")),
    operator("ReduceMean", |chain| reduce(chain, "ReduceMean")),
    operator("ReduceMax", |chain| reduce(chain, "ReduceMax")),
    operator("ReduceMin", |chain| reduce(chain, "ReduceMin")),
    operator("Softmax", |chain| softmax(chain, "Softmax")),
    operator("LogSoftmax", |chain| softmax(chain, "LogSoftmax")),
    operator("ArgMax", arg_max),
    operator("BatchNormalization", batch_normalization),
    operator("LayerNormalization", layer_normalization),
    operator("Cast", cast),
    operator("GatherElements", lookups::gather_elements),
    operator("ScatterElements", lookups::scatter_elements),
    operator("TopK", lookups::top_k),
    operator("CumSum", lookups::cum_sum),
    operator("Trilu", lookups::trilu),
    operator("Attention by itself", lookups::attention),
    operator("ConvTranspose", lookups::conv_transpose),
    operator("Gather", movement::gather),
    operator("Slice", movement::slice),
    operator("Concat", movement::concat),
    operator("Split", movement::split),
    operator("Pad", movement::pad),
    operator("Reshape", movement::reshape),
    operator("Transpose", movement::transpose),
    operator("Squeeze", movement::squeeze),
    operator("Unsqueeze", movement::unsqueeze),
    operator("Flatten", movement::flatten),
    operator("Expand", movement::expand),
];

fn map(chain: &mut Chain, operator: &str) -> Option<Value> {
    let x = chain.floats()?;
    Some(chain.map(operator, &x, &[]))
}

/// A map that answers one of its inputs.
fn exact_map(chain: &mut Chain, operator: &str) -> Option<Value> {
    let is_exact = chain.x.is_exact;
    let value = map(chain, operator)?;
    Some(Value { is_exact, ..value })
}

/// A map to -1 to 1.
fn squash(chain: &mut Chain, operator: &str) -> Option<Value> {
    let value = map(chain, operator)?;
    Some(Value {
        scale: 1.0,
        ..value
    })
}

fn map_with_alpha(chain: &mut Chain, operator: &str) -> Option<Value> {
    let x = chain.floats()?;
    let alpha = Attribute::Float("alpha", chain.random.within(0.01, 0.9));
    Some(chain.map(operator, &x, &[alpha]))
}

/// The CPU's is infinite beyond 88, where e to the power of `x` is.
fn softplus(chain: &mut Chain) -> Option<Value> {
    let x = chain.tame(64.0)?;
    Some(chain.map("Softplus", &x, &[]))
}

fn hard_sigmoid(chain: &mut Chain) -> Option<Value> {
    let x = chain.floats()?;
    let alpha = Attribute::Float("alpha", chain.random.within(0.1, 0.5));
    let beta = Attribute::Float("beta", chain.random.within(0.3, 0.7));
    let value = chain.map("HardSigmoid", &x, &[alpha, beta]);
    Some(Value {
        scale: 1.0,
        ..value
    })
}

fn gelu(chain: &mut Chain) -> Option<Value> {
    let x = chain.floats()?;
    let approximate = chain.choose(&["none", "tanh"]);
    Some(chain.map("Gelu", &x, &[Attribute::Text("approximate", approximate)]))
}

/// Both bounds, the lower alone, or the upper alone.
fn clip(chain: &mut Chain) -> Option<Value> {
    let x = chain.floats()?;
    let (low, high) = (chain.writer.float(-0.7), chain.writer.float(1.1));
    let bounds: [&[&str]; 3] = [&[&x, &low, &high], &[&x, &low], &[&x, "", &high]];
    let bounds = bounds[chain.random.below(3)];
    let name = chain.writer.node("Clip", bounds, &[]);
    Some(chain.moved(name, chain.x.shape.clone()))
}

/// A map on the values where it is defined and gentle.
fn within(chain: &mut Chain, operator: &str, bounds: (f32, f32), scale: f32) -> Option<Value> {
    let x = chain.floats()?;
    let x = chain.cut(&x, bounds.0, bounds.1);
    let value = chain.map(operator, &x, &[]);
    Some(Value { scale, ..value })
}

fn pow(chain: &mut Chain) -> Option<Value> {
    let x = chain.floats()?;
    let exponent = chain.choose(&[2.0, 3.0, 0.5, -0.5, 1.7]);
    // A power that is no whole number is defined for what is above zero.
    let is_whole = exponent >= 2.0;
    let x = chain.cut(&x, if is_whole { -2.0 } else { 0.25 }, 2.0);
    let exponent = chain.writer.float(exponent);
    let name = chain.writer.node("Pow", &[&x, &exponent], &[]);
    Some(Value {
        scale: 8.0,
        is_exact: false,
        ..chain.moved(name, chain.x.shape.clone())
    })
}

/// `x` and a constant of its shape with some sizes 1 and some of the first left out,
/// in either order.
fn with_constant(chain: &mut Chain, operator: &str) -> Option<Value> {
    let x = chain.tame(64.0)?;
    let mut sizes = chain.x.shape.clone();
    for size in &mut sizes {
        if chain.once_in(2) {
            *size = 1;
        }
    }
    let n_left_out = chain.random.below(sizes.len() + 1);
    let sizes = &sizes[n_left_out..];
    let n = sizes.iter().product();
    let values: Vec<f32> = (0..n).map(|_| chain.random.within(0.5, 2.0)).collect();
    let constant = chain.writer.floats(sizes, &values);
    let is_reversed = chain.once_in(2);
    let name = if !is_reversed {
        chain.writer.node(operator, &[&x, &constant], &[])
    } else if operator == "Div" {
        let x = chain.cut(&x, 0.5, 4.0);
        chain.writer.node(operator, &[&constant, &x], &[])
    } else {
        chain.writer.node(operator, &[&constant, &x], &[])
    };
    Some(Value {
        scale: 2.0 * chain.x.scale.min(64.0) + 2.0,
        is_exact: false,
        ..chain.moved(name, chain.x.shape.clone())
    })
}

/// `x` and an earlier value that broadcasts with it.
fn with_earlier(chain: &mut Chain, operator: &str) -> Option<Value> {
    let fits = |other: &&Value| {
        !other.is_integer
            && other.shape.len() == chain.x.shape.len()
            && (other.shape.iter().zip(&chain.x.shape)).all(|(a, b)| a == b || *a == 1 || *b == 1)
    };
    let others: Vec<Value> = chain.earlier.iter().filter(fits).cloned().collect();
    let other = others.get(chain.random.below(others.len().max(1)))?.clone();
    let x = chain.tame(8.0)?;
    let y = match operator {
        "Div" => chain.cut(&other.name, 0.5, 4.0),
        _ if other.scale > 8.0 => chain.cut(&other.name, -8.0, 8.0),
        _ => other.name,
    };
    let name = chain.writer.node(operator, &[&x, &y], &[]);
    let sizes = chain.x.shape.iter().zip(&other.shape);
    let shape: Vec<usize> = sizes.map(|(a, b)| *a.max(b)).collect();
    Some(Value {
        scale: 64.0,
        is_exact: false,
        is_expanded: chain.x.is_expanded || other.is_expanded || shape != chain.x.shape,
        ..chain.moved(name, shape)
    })
}

/// Two matrices' product and a bias, with every setting that Gemm has but `transA`,
/// which would make columns of the batch.
fn gemm(chain: &mut Chain) -> Option<Value> {
    let &[n_in] = &chain.x.shape[..] else {
        return None;
    };
    let x = chain.factor()?;
    let n_out = chain.choose(&super::chain::SIZES);
    let is_transposed = chain.once_in(2);
    let dims = if is_transposed {
        [n_out, n_in]
    } else {
        [n_in, n_out]
    };
    let weight = chain.writer.drawn(&dims, 0.0, (n_in as f32).sqrt().recip());
    let mut inputs = vec![x, weight];
    match chain.random.below(4) {
        0 => {}
        1 => inputs.push(chain.writer.drawn(&[n_out], 0.0, 1.0)),
        2 => inputs.push(chain.writer.drawn(&[1, n_out], 0.0, 1.0)),
        _ => inputs.push(chain.writer.drawn(&[1], 0.0, 1.0)),
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let mut attributes = vec![Attribute::Integer("transB", i64::from(is_transposed))];
    if chain.once_in(2) {
        attributes.push(Attribute::Float("alpha", 0.7));
        attributes.push(Attribute::Float("beta", 1.3));
    }
    let name = chain.writer.node("Gemm", &inputs, &attributes);
    Some(chain.made(name, vec![n_out], 2.0 * chain.x.scale + 2.0))
}

/// `x` `[batch, …, k]` times `[k, n]`, or a matrix for each of what stands before.
fn matmul_weight(chain: &mut Chain) -> Option<Value> {
    let x = chain.factor()?;
    let mut shape = chain.x.shape.clone();
    let k = shape.pop()?;
    let n = chain.choose(&super::chain::SIZES);
    let mut dims = Vec::new();
    // The last of `shape` are rows; those before them may have matrices of their own.
    if let Some((_, stacked)) = shape.split_last() {
        for &size in stacked {
            let is_shared = chain.once_in(2);
            dims.push(if is_shared { 1 } else { size });
        }
        let n_left_out = chain.random.below(dims.len() + 1);
        dims.drain(..n_left_out);
    }
    dims.extend([k, n]);
    let weight = chain.writer.drawn(&dims, 0.0, (k as f32).sqrt().recip());
    let name = chain.writer.node("MatMul", &[&x, &weight], &[]);
    shape.push(n);
    Some(chain.made(name, shape, 2.0 * chain.x.scale))
}

/// `x` `[batch, …, m, k]` times its own transpose, as attention multiplies.
fn matmul_itself(chain: &mut Chain) -> Option<Value> {
    let rank = chain.x.shape.len();
    if rank < 2 {
        return None;
    }
    chain.factor()?;
    let x = chain.tame(8.0)?;
    let mut order: Vec<i64> = (0..=rank as i64).collect();
    order.swap(rank, rank - 1);
    let order = Attribute::Integers("perm", &order);
    let transposed = chain.writer.node("Transpose", &[&x], &[order]);
    let name = chain.writer.node("MatMul", &[&x, &transposed], &[]);
    let mut shape = chain.x.shape.clone();
    let k = shape[rank - 1];
    shape[rank - 1] = shape[rank - 2];
    Some(chain.made(name, shape, 8.0 * k as f32))
}

/// A comparison of `x` with a constant, choosing between `x` and another value.
fn select(chain: &mut Chain) -> Option<Value> {
    if !chain.x.is_exact {
        return None;
    }
    let x = chain.floats()?;
    let operator = chain.choose(&["Greater", "Less", "GreaterOrEqual", "LessOrEqual"]);
    let cut = chain.writer.float(0.1);
    let condition = chain.writer.node(operator, &[&x, &cut], &[]);
    let other = chain.writer.drawn(&[1], 0.0, 1.0);
    let choices = if chain.once_in(2) {
        [&x, &other]
    } else {
        [&other, &x]
    };
    let name = chain
        .writer
        .node("Where", &[&condition, choices[0], choices[1]], &[]);
    Some(chain.moved(name, chain.x.shape.clone()))
}

fn reduce(chain: &mut Chain, operator: &str) -> Option<Value> {
    let x = chain.floats()?;
    let first = chain.axis()?;
    let mut axes = vec![first];
    for axis in 0..chain.x.shape.len() {
        if axis != first && chain.once_in(3) {
            axes.push(axis);
        }
    }
    let keeps = chain.once_in(2);
    let said: Vec<i64> = axes.iter().map(|&axis| chain.said(axis)).collect();
    let said = chain.writer.integers(&said);
    let keep = Attribute::Integer("keepdims", i64::from(keeps));
    let name = chain.writer.node(operator, &[&x, &said], &[keep]);
    let n: usize = axes.iter().map(|&axis| chain.x.shape[axis]).product();
    let mut shape = chain.x.shape.clone();
    axes.sort_unstable();
    for &axis in axes.iter().rev() {
        if keeps {
            shape[axis] = 1;
        } else {
            shape.remove(axis);
        }
    }
    let picks = matches!(operator, "ReduceMax" | "ReduceMin");
    if picks {
        return Some(chain.moved(name, shape));
    }
    chain.has_odd_sum = true;
    let scale = if operator == "ReduceSum" {
        n as f32
    } else {
        1.0
    };
    Some(chain.made(name, shape, scale * chain.x.scale))
}

fn softmax(chain: &mut Chain, operator: &str) -> Option<Value> {
    let axis = chain.axis()?;
    let x = chain.tame(8.0)?;
    let axis = Attribute::Integer("axis", chain.said(axis));
    chain.has_odd_sum = true;
    let value = chain.map(operator, &x, &[axis]);
    let scale = if operator == "Softmax" { 1.0 } else { 24.0 };
    Some(Value { scale, ..value })
}

fn arg_max(chain: &mut Chain) -> Option<Value> {
    if !chain.x.is_exact {
        return None;
    }
    let x = chain.floats()?;
    let axis = chain.axis()?;
    let (keeps, takes_last) = (chain.once_in(2), chain.once_in(2));
    let attributes = [
        Attribute::Integer("axis", chain.said(axis)),
        Attribute::Integer("keepdims", i64::from(keeps)),
        Attribute::Integer("select_last_index", i64::from(takes_last)),
    ];
    let name = chain.writer.node("ArgMax", &[&x], &attributes);
    let mut shape = chain.x.shape.clone();
    if keeps {
        shape[axis] = 1;
    } else {
        shape.remove(axis);
    }
    Some(Value {
        is_integer: true,
        scale: 17.0,
        ..chain.moved(name, shape)
    })
}

fn batch_normalization(chain: &mut Chain) -> Option<Value> {
    let x = chain.floats()?;
    let &n = chain.x.shape.first()?;
    let settings = [(1.0, 0.3), (0.0, 1.0), (0.0, 0.5), (1.0, 0.2)];
    let [scale, bias, mean, variance] =
        settings.map(|(mean, deviation)| chain.writer.drawn(&[n], mean, deviation));
    let epsilon = Attribute::Float("epsilon", 1e-3);
    let inputs = [&*x, &scale, &bias, &mean, &variance];
    let name = chain.writer.node("BatchNormalization", &inputs, &[epsilon]);
    Some(chain.made(name, chain.x.shape.clone(), 2.0 * chain.x.scale + 2.0))
}

fn layer_normalization(chain: &mut Chain) -> Option<Value> {
    let axis = chain.axis()?;
    let x = chain.tame(64.0)?;
    let normalised = chain.x.shape[axis..].to_vec();
    let mut inputs = vec![x, chain.writer.drawn(&normalised, 1.0, 0.3)];
    if chain.once_in(2) {
        inputs.push(chain.writer.drawn(&normalised, 0.0, 1.0));
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    // Not smaller: of values that are all but equal it would make noise.
    let epsilon = Attribute::Float("epsilon", 1e-3);
    let axis = Attribute::Integer("axis", chain.said(axis));
    chain.has_odd_sum = true;
    let name = chain
        .writer
        .node("LayerNormalization", &inputs, &[axis, epsilon]);
    Some(chain.made(name, chain.x.shape.clone(), 4.0))
}

/// Integers to float32; floats to int64 and back, which cuts off the fraction.
fn cast(chain: &mut Chain) -> Option<Value> {
    const FLOAT: i64 = 1;
    const INT64: i64 = 7;
    if !chain.x.is_exact {
        return None;
    }
    let to = |dtype| [Attribute::Integer("to", dtype)];
    let mut name = chain.x.name.clone();
    if !chain.x.is_integer {
        name = chain.writer.node("Cast", &[&name], &to(INT64));
    }
    let name = chain.writer.node("Cast", &[&name], &to(FLOAT));
    Some(Value {
        is_integer: false,
        ..chain.moved(name, chain.x.shape.clone())
    })
}
