//! A value with an edge around it.

use super::Program;
use super::text::{Text, computed};
use crate::plan::view::row_major;
use crate::plan::{Element, Pad, PadMode};

pub(super) fn program(mut text: Text<'_>, it: &Pad) -> Program {
    text.element("x", &it.input);
    let element = computed(it.input.element);
    text.line(format_args!("fn compute(i: u32) -> {element} {{"));
    text.line(format_args!("    var at = {};", it.input.offset));
    let outer = row_major(&it.shape);
    for (axis, (&size, &before)) in it.input.shape.iter().zip(&it.before).enumerate() {
        let (all, stride) = (it.shape[axis], it.input.strides[axis]);
        let last = size as i64 - 1;
        text.line(format_args!(
            "    let d{axis} = i32(i / {}u % {}u) - {before};",
            outer[axis],
            all.max(1)
        ));
        let inside = match it.mode {
            PadMode::Constant(bits) => {
                text.line(format_args!(
                    "    if d{axis} < 0 || d{axis} > {last} {{ return {}; }}",
                    constant(it.input.element, bits)
                ));
                format!("d{axis}")
            }
            PadMode::Edge => format!("clamp(d{axis}, 0, {last})"),
            PadMode::Reflect => format!("({last} - abs({last} - abs(d{axis})))"),
        };
        text.line(format_args!("    at += {inside} * {stride};"));
    }
    text.line("    return x(at);\n}");
    let n = text.n_stored();
    text.per_element(n, 2 * it.shape.len() as u64)
}

fn constant(element: Element, bits: i32) -> String {
    let word = bits.cast_unsigned();
    match element {
        Element::F32 => format!("bitcast<f32>({word}u)"),
        Element::I32 => format!("bitcast<i32>({word}u)"),
        Element::I64 => {
            let upper = if bits < 0 { u32::MAX } else { 0 };
            format!("vec2<u32>({word}u, {upper}u)")
        }
        Element::Bool => (bits != 0).to_string(),
    }
}
