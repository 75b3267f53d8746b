//! Elements that indices name one by one, by one axis or by several.

use super::Program;
use super::text::{Text, computed};
use crate::plan::Pick;

pub(super) fn program(mut text: Text<'_>, it: &Pick) -> Program {
    text.faults();
    text.element("index", &it.indices);
    text.narrow(it.indices.element);
    text.element("x", &it.data);
    text.offsets("x_at", &it.shape, &it.along_data, it.data.offset);
    text.offsets("index_at", &it.shape, &it.along_indices, it.indices.offset);
    text.line(include_str!("pick.wgsl"));
    let element = computed(it.data.element);
    text.line(format_args!("fn compute(i: u32) -> {element} {{"));
    text.line("    let first = index_at(i);\n    var at = x_at(i);");
    for (number, looked) in it.looked.iter().enumerate() {
        text.line(format_args!(
            "    at += within(narrow(index(first + {number} * {})), {}) * {};",
            it.step, looked.size, looked.stride
        ));
    }
    text.line("    return x(at);\n}");
    let n = text.n_stored();
    text.per_element(n, 4 * it.looked.len() as u64)
}
