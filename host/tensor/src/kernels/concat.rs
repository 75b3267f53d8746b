//! Values one after another.

use super::Program;
use super::text::{Text, computed};
use crate::plan::Concat;
use crate::plan::view::count;

pub(super) fn program(mut text: Text<'_>, it: &Concat) -> Program {
    let inner = count(&it.shape[it.axis + 1..]);
    let along = it.shape[it.axis];
    for (at, part) in it.parts.iter().enumerate() {
        text.reader(&format!("part_{at}"), part);
    }
    let element = computed(it.parts[0].element);
    text.line(format_args!("fn compute(i: u32) -> {element} {{"));
    text.line(format_args!("    let inner = i % {inner}u;"));
    text.line(format_args!("    let along = i / {inner}u % {along}u;"));
    let both = inner.saturating_mul(along);
    text.line(format_args!("    let outer = i / {both}u;"));
    let mut first = 0_usize;
    for (at, part) in it.parts.iter().enumerate() {
        let size = part.shape[it.axis];
        let place = format!("(outer * {size}u + along - {first}u) * {inner}u + inner");
        let end = first.saturating_add(size);
        if at + 1 == it.parts.len() {
            text.line(format_args!("    return part_{at}({place});"));
        } else {
            text.line(format_args!(
                "    if along < {end}u {{ return part_{at}({place}); }}"
            ));
        }
        first = end;
    }
    text.line("}");
    let n = text.n_stored();
    text.per_element(n, 1)
}
