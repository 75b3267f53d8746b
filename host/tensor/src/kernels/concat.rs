//! Values one after another.

use super::Program;
use super::text::{Text, computed};
use crate::plan::Concat;

pub(super) fn program(mut text: Text<'_>, it: &Concat) -> Program {
    let inner: usize = it.shape[it.axis + 1..].iter().product();
    let along = it.shape[it.axis];
    for (at, part) in it.parts.iter().enumerate() {
        text.reader(&format!("part_{at}"), part);
    }
    let element = computed(it.parts[0].element);
    text.line(format_args!("fn compute(i: u32) -> {element} {{"));
    text.line(format_args!("    let inner = i % {inner}u;"));
    text.line(format_args!("    let along = i / {inner}u % {along}u;"));
    text.line(format_args!("    let outer = i / {}u;", inner * along));
    let mut first = 0;
    for (at, part) in it.parts.iter().enumerate() {
        let size = part.shape[it.axis];
        let place = format!("(outer * {size}u + along - {first}u) * {inner}u + inner");
        let end = first + size;
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
