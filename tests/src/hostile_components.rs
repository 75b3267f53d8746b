//! Components that are hostile to whoever reads or compiles them. None of them is
//! ever run, and none is a detector.

use std::fmt::Write as _;

use crate::guests::from_text;

/// Ten kilobytes that Cranelift compiles for minutes: loops within loops around many
/// locals, each of which every loop carries.
pub fn slow_to_compile() -> Vec<u8> {
    const N_LOOPS: usize = 300;
    const N_LOCALS: usize = 1000;
    let mut body =
        "(local".to_owned() + &" i32".repeat(N_LOCALS) + ") " + &"(loop ".repeat(N_LOOPS);
    for local in 0..N_LOCALS {
        write!(
            body,
            "(local.set {local} (i32.add (local.get {local}) (i32.const 1)))"
        )
        .expect("a string grows");
    }
    body.push_str(&"(br_if 0 (local.get 0)))".repeat(N_LOOPS));
    from_text(&format!("(component (core module (func {body})))"))
}

/// Component types within component types.
pub fn nested_types(depth: usize) -> Vec<u8> {
    // One type; each level is a component type (0x41) of one declaration, a type
    // (0x01). See component-model/Binary.md.
    let mut types = vec![1];
    for _ in 0..depth {
        types.extend([0x41, 1, 0x01]);
    }
    types.extend([0x41, 0]);
    with_section(7, &types)
}

/// Components within components.
pub fn nested_components(depth: usize) -> Vec<u8> {
    let mut component = PREAMBLE.to_vec();
    for _ in 0..depth {
        component = with_section(4, &component);
    }
    component
}

/// One function of blocks within blocks.
pub fn nested_blocks(depth: usize) -> Vec<u8> {
    let mut function = vec![0];
    function.extend([0x02, 0x40].repeat(depth));
    function.extend([0x0b].repeat(depth + 1));
    let mut code = vec![1];
    size(function.len(), &mut code);
    code.extend(function);
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    section(1, &[1, 0x60, 0, 0], &mut module);
    section(3, &[1, 0], &mut module);
    section(10, &code, &mut module);
    with_section(1, &module)
}

const PREAMBLE: &[u8] = b"\0asm\x0d\0\x01\0";

fn with_section(id: u8, body: &[u8]) -> Vec<u8> {
    let mut component = PREAMBLE.to_vec();
    section(id, body, &mut component);
    component
}

fn section(id: u8, body: &[u8], to: &mut Vec<u8>) {
    to.push(id);
    size(body.len(), to);
    to.extend(body);
}

/// LEB128, seven bits to the byte.
fn size(mut size: usize, to: &mut Vec<u8>) {
    while size > 0x7f {
        to.push((size & 0x7f) as u8 | 0x80);
        size >>= 7;
    }
    to.push(size as u8);
}
