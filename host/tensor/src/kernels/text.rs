//! The head of a shader: bindings, shapes, and functions that follow from them.

use std::fmt::{Display, Write as _};

use super::{Program, THREADS};
use crate::plan::{Element, Map, Place, Plan, Source, Step, Stored, Value, ValueId, View};

/// A shader in the making.
pub(super) struct Text<'a> {
    plan: &'a Plan,
    step: &'a Step,
    inputs: Vec<ValueId>,
    text: String,
    tells_faults: bool,
    knows_wide: bool,
}

impl<'a> Text<'a> {
    /// Declares what the step reads and writes, and `store(i, it)`, which finishes an
    /// element by the step's tail and writes it to the `i`th place of the output.
    pub(super) fn new(plan: &'a Plan, step: &'a Step) -> Self {
        let mut text = Self {
            plan,
            step,
            inputs: step.inputs(),
            text: String::new(),
            tells_faults: false,
            knows_wide: false,
        };
        let made = plan.value(step.output);
        let mut values = text.inputs.iter().map(|input| plan.value(*input));
        if made.stored == Stored::Half || values.any(|it| it.stored == Stored::Half) {
            text.enable("f16");
        }
        let out = stored(made);
        text.line("@group(0) @binding(0) var<uniform> part: vec4<u32>;");
        text.line(format_args!(
            "@group(0) @binding(1) var<storage, read_write> out: array<{out}>;"
        ));
        for (at, input) in text.inputs.clone().into_iter().enumerate() {
            let value = plan.value(input);
            // Ranges of the arena are bound for writing too: one buffer cannot be bound
            // both ways at once.
            let access = match value.place {
                Place::Arena(_) => "read_write",
                Place::Weight(_) => "read",
            };
            text.line(format_args!(
                "@group(0) @binding({}) var<storage, {access}> v{at}: array<{}>;",
                at + 2,
                stored(value)
            ));
        }
        if made.stored == Stored::Half {
            text.line(include_str!("halved.wgsl"));
        }
        let carried = computed(step.body.element());
        let finished = match &step.tail {
            None => "it",
            Some(tail) => {
                text.map("finish", tail, Some(carried));
                "finish(i, it)"
            }
        };
        let packed = packed(made, finished);
        text.line(format_args!(
            "fn store(i: u32, it: {carried}) {{ out[i] = {packed}; }}"
        ));
        text
    }

    /// Declares, before all else, that the shader is written with an extension.
    pub(super) fn enable(&mut self, extension: &str) {
        self.text.insert_str(0, &format!("enable {extension};\n"));
    }

    /// Whether a view's elements are stored as f16.
    pub(super) fn is_half(&self, view: &View) -> bool {
        self.plan.value(view.value).stored == Stored::Half
    }

    pub(super) fn line(&mut self, line: impl Display) {
        // Writing to a String does not fail.
        let _ = writeln!(self.text, "{line}");
    }

    /// `const NAME: u32 = value;`
    pub(super) fn size(&mut self, name: &str, value: impl Into<u64>) {
        let value: u64 = value.into();
        self.line(format_args!("const {name}: u32 = {value}u;"));
    }

    /// `const NAME: i32 = value;`
    pub(super) fn stride(&mut self, name: &str, value: i64) {
        self.line(format_args!("const {name}: i32 = {value};"));
    }

    fn binding(&self, value: ValueId) -> String {
        let at = self.inputs.iter().position(|input| *input == value);
        format!("v{}", at.expect("a step reads its inputs"))
    }

    /// The element at an offset, as it is computed with.
    fn loaded(&self, view: &View, at: &str) -> String {
        let from = format!("{}[{at}]", self.binding(view.value));
        match (view.element, self.plan.value(view.value).stored) {
            (_, Stored::Half) => format!("f32({from})"),
            (Element::Bool, Stored::Whole) => format!("{from} != 0u"),
            (_, Stored::Whole) => from,
        }
    }

    /// `fn name(i: u32) -> i32`, from a row-major index to a sum of strides.
    pub(super) fn offsets(&mut self, name: &str, shape: &[usize], strides: &[i64], offset: i64) {
        let body = offset_of(shape, strides, offset);
        self.line(format_args!("fn {name}(i: u32) -> i32 {{ {body} }}"));
    }

    /// `fn name(at: i32) -> T`, the element at an offset of a view's value.
    pub(super) fn element(&mut self, name: &str, view: &View) {
        let loaded = self.loaded(view, "at");
        let element = computed(view.element);
        self.line(format_args!(
            "fn {name}(at: i32) -> {element} {{ return {loaded}; }}"
        ));
    }

    /// `fn name(i: u32) -> T`, the `i`th element of a view, row-major.
    pub(super) fn reader(&mut self, name: &str, view: &View) {
        let at = format!("{name}_at");
        self.offsets(&at, &view.shape, &view.strides, view.offset);
        let loaded = self.loaded(view, &format!("{at}(i)"));
        let element = computed(view.element);
        self.line(format_args!(
            "fn {name}(i: u32) -> {element} {{ return {loaded}; }}"
        ));
    }

    /// `fn name(i: u32, it: carried) -> T`, an element-wise program; without `it` when
    /// nothing is carried.
    pub(super) fn map(&mut self, name: &str, map: &Map, carried: Option<&str>) {
        for (at, source) in map.sources.iter().enumerate() {
            if let Source::View(view) = source {
                self.reader(&format!("{name}_{at}"), view);
            }
        }
        super::map::write(self, name, map, carried);
    }

    /// Declares `fault()`, which ends the run with an error.
    pub(super) fn faults(&mut self) {
        self.tells_faults = true;
        let binding = self.inputs.len() + 2;
        self.line(format_args!(
            "@group(0) @binding({binding}) var<storage, read_write> faults: array<atomic<u32>>;\n\
             fn fault() {{ atomicMax(&faults[0], 1u); }}"
        ));
    }

    /// Declares `Index`, how an index is kept, and `narrow(index)`, the same as i32: a wide
    /// one is in reach only if its upper word is its sign's.
    pub(super) fn narrow(&mut self, element: Element) {
        self.line(match element {
            Element::I64 => {
                "alias Index = vec2<u32>;\n\
                 fn narrow(it: Index) -> i32 {\n\
                 \x20   let low = bitcast<i32>(it.x);\n\
                 \x20   return select(2147483647, low, it.y == select(0u, 0xffffffffu, low < 0));\n}"
            }
            _ => "alias Index = i32;\nfn narrow(it: Index) -> i32 { return it; }",
        });
    }

    /// Declares arithmetic of I64, once.
    pub(super) fn wide(&mut self) {
        if !std::mem::replace(&mut self.knows_wide, true) {
            self.line(include_str!("wide.wgsl"));
        }
    }

    /// A shader whose every thread stores `compute(i)` for one `i` below `n`.
    pub(super) fn per_element(mut self, n: usize, operations: u64) -> Program {
        self.size("N", n as u64);
        self.line(include_str!("element.wgsl"));
        let n_groups = (n as u64).div_ceil(THREADS);
        self.program(n_groups, operations.saturating_mul(THREADS))
    }

    /// The same where the `i`th element computed is stored at `out_at(i)`.
    pub(super) fn scattered(mut self, n: usize, operations: u64) -> Program {
        self.size("N", n as u64);
        self.line(include_str!("element.wgsl").replace("store(i,", "store(u32(out_at(i)),"));
        let n_groups = (n as u64).div_ceil(THREADS);
        self.program(n_groups, operations.saturating_mul(THREADS))
    }

    /// Ends the text.
    pub(super) fn program(self, n_groups: u64, group_operations: u64) -> Program {
        Program {
            source: self.text,
            inputs: self.inputs,
            n_groups,
            group_operations,
            tells_faults: self.tells_faults,
        }
    }

    /// Elements that the step stores.
    pub(super) fn n_stored(&self) -> usize {
        self.plan.value(self.step.output).n_elements
    }
}

/// How elements lie in a buffer.
fn stored(value: &Value) -> &'static str {
    match (value.element, value.stored) {
        (_, Stored::Half) => "f16",
        (Element::Bool, Stored::Whole) => "u32",
        (other, Stored::Whole) => computed(other),
    }
}

/// How they are computed with.
pub(super) fn computed(element: Element) -> &'static str {
    match element {
        Element::F32 => "f32",
        Element::I32 => "i32",
        Element::I64 => "vec2<u32>",
        Element::Bool => "bool",
    }
}

/// An expression as it lies in a buffer.
fn packed(value: &Value, expression: &str) -> String {
    match (value.element, value.stored) {
        (_, Stored::Half) => format!("halved({expression})"),
        (Element::Bool, Stored::Whole) => format!("select(0u, 1u, {expression})"),
        (_, Stored::Whole) => expression.to_owned(),
    }
}

/// Statements that return the offset of the row-major index `i`.
fn offset_of(shape: &[usize], strides: &[i64], offset: i64) -> String {
    // Dimensions of 1 say nothing; neighbours that lie in step are one.
    let mut merged: Vec<(usize, i64)> = Vec::new();
    let whole = |stride: i64, size: usize| stride.checked_mul(i64::try_from(size).ok()?);
    for (&size, &stride) in shape.iter().zip(strides).filter(|(size, _)| **size != 1) {
        match merged.last_mut() {
            Some((outer, step)) if Some(*step) == whole(stride, size) => {
                *outer = outer.saturating_mul(size);
                *step = stride;
            }
            _ => merged.push((size, stride)),
        }
    }
    let mut text = String::new();
    let mut sum = match offset {
        0 => Vec::new(),
        offset => vec![offset.to_string()],
    };
    for (at, (size, stride)) in merged.iter().enumerate().rev() {
        let outer = match at + 1 == merged.len() {
            true => "i".to_owned(),
            false => format!("d{}", at + 1),
        };
        let own = match at {
            0 => outer.clone(),
            _ => {
                let _ = write!(text, "let d{at} = {outer} / {}u; ", (*size).max(1));
                format!("{outer} % {}u", (*size).max(1))
            }
        };
        match stride {
            0 => {}
            1 => sum.push(format!("i32({own})")),
            stride => sum.push(format!("i32({own}) * {stride}")),
        }
    }
    let sum = if sum.is_empty() {
        "0".to_owned()
    } else {
        sum.join(" + ")
    };
    text + &format!("return {sum};")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_value_is_read_by_its_index() {
        assert_eq!(offset_of(&[4, 3, 5], &[15, 5, 1], 0), "return i32(i);");
    }

    #[test]
    fn a_transposed_value_takes_its_index_apart() {
        assert_eq!(
            offset_of(&[3, 4], &[1, 3], 2),
            "let d1 = i / 4u; return 2 + i32(i % 4u) * 3 + i32(d1);"
        );
    }

    #[test]
    fn a_broadcast_value_is_read_at_one_place() {
        assert_eq!(offset_of(&[7, 3], &[0, 0], 0), "return 0;");
    }
}
