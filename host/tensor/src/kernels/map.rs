//! Element-wise programs as expressions.

use super::Program;
use super::text::{Text, computed};
use crate::plan::{Element, Function1, Function2, Map, Node, Source};

pub(super) fn program(mut text: Text<'_>, map: &Map) -> Program {
    text.map("compute", map, None);
    let (n, operations) = (text.n_stored(), map.nodes.len() as u64);
    text.per_element(n, operations)
}

/// Writes the function `name`; sources are read by `name_0`, `name_1` and so on.
pub(super) fn write(text: &mut Text<'_>, name: &str, map: &Map, carried: Option<&str>) {
    let uses = |function: Function1| {
        let mut nodes = map.nodes.iter();
        nodes.any(|(node, _)| matches!(node, Node::Apply(used, _) if *used == function))
    };
    if uses(Function1::Erf) || uses(Function1::GeluErf) {
        text.line(format_args!(
            "{}",
            include_str!("erf.wgsl").replace("erf(", &format!("{name}_erf("))
        ));
    }
    let powers = |(node, _): &(Node, Element)| {
        matches!(
            node,
            Node::Combine(Function2::Power, ..) | Node::Apply(Function1::PowerOf(_), _)
        )
    };
    if map.nodes.iter().any(powers) {
        let power = include_str!("power.wgsl").replace("power(", &format!("{name}_power("));
        text.line(power);
    }
    let casts = |from: Element, to: Element| {
        let is_from = |at: usize| map.nodes[at].1 == from;
        let mut nodes = map.nodes.iter();
        nodes
            .any(|(node, element)| matches!(node, Node::Cast(at) if is_from(*at)) && *element == to)
    };
    if casts(Element::F32, Element::I64) {
        let widened = include_str!("widened.wgsl").replace("widened(", &format!("{name}_widened("));
        text.line(widened);
    }
    if casts(Element::I64, Element::F32) {
        let narrowed = include_str!("narrowed.wgsl");
        text.line(narrowed.replace("narrowed(", &format!("{name}_narrowed(")));
    }
    let is_wide = |(node, _): &(Node, Element)| match *node {
        Node::Combine(function, a, _) => {
            map.nodes[a].1 == Element::I64
                && !matches!(function, Function2::Equal | Function2::NotEqual)
        }
        Node::Apply(_, a) => map.nodes[a].1 == Element::I64,
        _ => false,
    };
    if map.nodes.iter().any(is_wide) {
        text.wide();
    }
    let argument = carried.map_or(String::new(), |carried| format!(", it: {carried}"));
    text.line(format_args!(
        "fn {name}(i: u32{argument}) -> {} {{",
        computed(map.element())
    ));
    for (at, (node, element)) in map.nodes.iter().enumerate() {
        let of = |at: usize| format!("n{at}");
        let element_of = |at: usize| map.nodes[at].1;
        let expression = match *node {
            Node::Source(source) => match &map.sources[source] {
                Source::View(_) => format!("{name}_{source}(i)"),
                Source::Carried(_) => "it".to_owned(),
            },
            Node::F32(x) => literal(x),
            Node::I32(i32::MIN) => "i32(-2147483647 - 1)".to_owned(),
            Node::I32(x) => format!("i32({x})"),
            Node::Index { stride, size } => {
                format!("i32(i / {}u % {}u)", stride.max(1), size.max(1))
            }
            Node::Apply(function, a) => apply(name, function, &of(a), element_of(a)),
            Node::Combine(function, a, b) => combine(name, function, &of(a), &of(b), element_of(a)),
            Node::Select(c, a, b) => format!("select(n{b}, n{a}, n{c})"),
            Node::Cast(a) => cast(name, &of(a), element_of(a), *element),
        };
        text.line(format_args!("    let n{at} = {expression};"));
    }
    text.line(format_args!("    return n{};\n}}", map.nodes.len() - 1));
}

/// A finite number, exactly.
pub(super) fn literal(x: f32) -> String {
    format!("bitcast<f32>({}u)", x.to_bits())
}

fn apply(name: &str, function: Function1, x: &str, element: Element) -> String {
    match function {
        Function1::Negate if element == Element::I64 => format!("wide_negated({x})"),
        Function1::Abs => format!("abs({x})"),
        Function1::Negate => format!("-{x}"),
        Function1::Sign => format!("sign({x})"),
        Function1::Floor => format!("floor({x})"),
        Function1::Ceil => format!("ceil({x})"),
        Function1::Round => format!("(sign({x}) * floor(abs({x}) + 0.5))"),
        Function1::RoundHalfEven => format!("round({x})"),
        Function1::Sqrt => format!("sqrt({x})"),
        Function1::ReciprocalSqrt => format!("(1.0 / sqrt({x}))"),
        Function1::Reciprocal => format!("(1.0 / {x})"),
        Function1::Square => format!("({x} * {x})"),
        Function1::Exp => format!("exp({x})"),
        Function1::Log => format!("log({x})"),
        Function1::Sin => format!("sin({x})"),
        Function1::Cos => format!("cos({x})"),
        Function1::Tan => format!("tan({x})"),
        Function1::Asin => format!("asin({x})"),
        Function1::Acos => format!("acos({x})"),
        Function1::Atan => format!("atan({x})"),
        Function1::Sinh => format!("sinh({x})"),
        Function1::Cosh => format!("cosh({x})"),
        // From the definition: the built-in ones lose their sign or overflow on some drivers.
        Function1::Asinh => {
            format!("(sign({x}) * log(abs({x}) + sqrt({x} * {x} + 1.0)))")
        }
        Function1::Acosh => format!("log({x} + sqrt({x} * {x} - 1.0))"),
        Function1::Atanh => format!("(0.5 * log((1.0 + {x}) / (1.0 - {x})))"),
        // Beyond 15 it is 1 to the last bit, and exp would overflow.
        Function1::Tanh => format!("tanh(clamp({x}, -15.0, 15.0))"),
        Function1::Sigmoid => format!("(1.0 / (1.0 + exp(-clamp({x}, -80.0, 80.0))))"),
        Function1::Erf => format!("{name}_erf({x})"),
        Function1::GeluErf => {
            format!("(0.5 * {x} * (1.0 + {name}_erf({x} * 0.70710678118654752)))")
        }
        Function1::GeluTanh => format!(
            "(0.5 * {x} * (1.0 + tanh(clamp(0.7978845608028654 * ({x} + 0.044715 * {x} * {x} * {x}), -15.0, 15.0))))"
        ),
        Function1::Silu => format!("({x} / (1.0 + exp(-clamp({x}, -80.0, 80.0))))"),
        Function1::HardSwish => format!("({x} * clamp({x} / 6.0 + 0.5, 0.0, 1.0))"),
        Function1::LeakyRelu(slope) => {
            format!("select({x} * {}, {x}, {x} > 0.0)", literal(slope))
        }
        Function1::PowerOf(exponent) => format!("{name}_power({x}, {})", literal(exponent)),
        Function1::Not => format!("!{x}"),
    }
}

fn combine(name: &str, function: Function2, a: &str, b: &str, element: Element) -> String {
    let wide = element == Element::I64;
    match function {
        Function2::Add if wide => format!("wide_add({a}, {b})"),
        Function2::Subtract if wide => format!("wide_add({a}, wide_negated({b}))"),
        Function2::Multiply if wide => format!("wide_multiply({a}, {b})"),
        Function2::Min if wide => format!("select({a}, {b}, wide_less({b}, {a}))"),
        Function2::Max if wide => format!("select({a}, {b}, wide_less({a}, {b}))"),
        Function2::Less if wide => format!("wide_less({a}, {b})"),
        Function2::LessEqual if wide => format!("!wide_less({b}, {a})"),
        Function2::Greater if wide => format!("wide_less({b}, {a})"),
        Function2::GreaterEqual if wide => format!("!wide_less({a}, {b})"),
        Function2::Add => format!("{a} + {b}"),
        Function2::Subtract => format!("{a} - {b}"),
        Function2::Multiply => format!("{a} * {b}"),
        Function2::Divide => format!("{a} / {b}"),
        Function2::Min => format!("min({a}, {b})"),
        Function2::Max => format!("max({a}, {b})"),
        Function2::Power => format!("{name}_power({a}, {b})"),
        Function2::Equal if wide => format!("all({a} == {b})"),
        Function2::NotEqual if wide => format!("any({a} != {b})"),
        Function2::Equal => format!("{a} == {b}"),
        Function2::NotEqual => format!("{a} != {b}"),
        Function2::Less => format!("{a} < {b}"),
        Function2::LessEqual => format!("{a} <= {b}"),
        Function2::Greater => format!("{a} > {b}"),
        Function2::GreaterEqual => format!("{a} >= {b}"),
        Function2::And => format!("({a} && {b})"),
        Function2::Or => format!("({a} || {b})"),
        Function2::Xor => format!("{a} != {b}"),
    }
}

fn cast(name: &str, x: &str, from: Element, to: Element) -> String {
    match (from, to) {
        (Element::I64, Element::F32) => format!("{name}_narrowed({x})"),
        (Element::I64, Element::I32) => format!("bitcast<i32>({x}.x)"),
        (Element::I64, Element::Bool) => format!("any({x} != vec2<u32>())"),
        (Element::I32, Element::I64) => {
            format!("vec2<u32>(bitcast<u32>({x}), select(0u, 0xffffffffu, {x} < 0))")
        }
        (Element::Bool, Element::I64) => format!("vec2<u32>(select(0u, 1u, {x}), 0u)"),
        (_, Element::F32) => format!("f32({x})"),
        (_, Element::I32) => format!("i32({x})"),
        (_, Element::Bool) => format!("bool({x})"),
        (Element::F32, Element::I64) => format!("{name}_widened({x})"),
        (Element::I64, Element::I64) => x.to_owned(),
    }
}
