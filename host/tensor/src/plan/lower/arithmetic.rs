//! Element-wise operators: each becomes a program of few nodes; fusing comes later.

use tract_onnx::prelude::{DatumType, OutletId, TypedNode};
use tract_onnx::tract_core::ops::binary::{BinMiniOp, TypedBinOp};
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_core::ops::element_wise::{ElementWiseMiniOp, ElementWiseOp};
use tract_onnx::tract_core::ops::logic::{
    And, CompEq, CompGT, CompGTE, CompLT, CompLTE, CompNE, Iff, Not, Or, Xor,
};
use tract_onnx::tract_core::ops::{math, nn};

use super::{Lowering, element_of, uncovered};
use crate::plan::view::count;
use crate::plan::{Body, Element, Function1, Function2, Map, Node, Source, Uncovered, View};

pub(super) fn lower(to: &mut Lowering<'_>, node: &TypedNode) -> Result<Option<View>, Uncovered> {
    if let Some(op) = node.op_as::<ElementWiseOp>() {
        let Some(function) = function1(op.0.as_ref()) else {
            return Err(uncovered(node, "no kernel computes it"));
        };
        return apply(to, node, function).map(Some);
    }
    if let Some(op) = node.op_as::<TypedBinOp>() {
        let Some(function) = function2(op.0.as_ref()) else {
            return Err(uncovered(node, "no kernel computes it"));
        };
        return combine(to, node, function).map(Some);
    }
    if node.op_is::<Iff>() {
        return select(to, node).map(Some);
    }
    if let Some(op) = node.op_as::<Cast>() {
        return cast(to, node, op.to).map(Some);
    }
    Ok(None)
}

fn apply(to: &mut Lowering<'_>, node: &TypedNode, function: Function1) -> Result<View, Uncovered> {
    let input = to.read(node, 0)?;
    let fits = match input.element {
        Element::F32 => function != Function1::Not,
        Element::I32 => matches!(
            function,
            Function1::Abs | Function1::Negate | Function1::Sign
        ),
        Element::Bool => function == Function1::Not,
        Element::I64 => function == Function1::Negate,
    };
    if !fits {
        return Err(uncovered(node, format!("no kernel for {}", input.element)));
    }
    let mut program = Program::new(&input.shape);
    let element = input.element;
    let x = program.source(to, input);
    program.finish(to, node, Node::Apply(function, x), element)
}

fn combine(
    to: &mut Lowering<'_>,
    node: &TypedNode,
    function: Function2,
) -> Result<View, Uncovered> {
    let (a, b) = (to.read(node, 0)?, to.read(node, 1)?);
    let logical = matches!(function, Function2::And | Function2::Or | Function2::Xor);
    let exact = matches!(function, Function2::Equal | Function2::NotEqual);
    let fits = a.element == b.element
        && match a.element {
            Element::F32 => !logical,
            // Division by zero, overflow and powers differ from the CPU's.
            Element::I32 => !logical && !matches!(function, Function2::Divide | Function2::Power),
            Element::Bool => logical || exact,
            Element::I64 => !logical && !matches!(function, Function2::Divide | Function2::Power),
        };
    if !fits {
        return Err(uncovered(
            node,
            format!("no kernel for {} and {}", a.element, b.element),
        ));
    }
    let element = if function.compares() {
        Element::Bool
    } else {
        a.element
    };
    let shape = to.shape(node, OutletId::new(node.id, 0))?;
    let mut program = Program::new(&shape);
    let a = program.source(to, a.broadcast(&shape));
    let b = program.source(to, b.broadcast(&shape));
    program.finish(to, node, Node::Combine(function, a, b), element)
}

fn select(to: &mut Lowering<'_>, node: &TypedNode) -> Result<View, Uncovered> {
    let shape = to.shape(node, OutletId::new(node.id, 0))?;
    let views = [to.read(node, 0)?, to.read(node, 1)?, to.read(node, 2)?];
    let element = views[1].element;
    if views[0].element != Element::Bool || views[2].element != element {
        return Err(uncovered(node, "no kernel for these dtypes"));
    }
    let mut program = Program::new(&shape);
    let [c, a, b] = views.map(|view| program.source(to, view.broadcast(&shape)));
    program.finish(to, node, Node::Select(c, a, b), element)
}

fn cast(to: &mut Lowering<'_>, node: &TypedNode, into: DatumType) -> Result<View, Uncovered> {
    let input = to.read(node, 0)?;
    let element = element_of(node, into)?;
    if element == input.element {
        return Ok(input);
    }
    let mut program = Program::new(&input.shape);
    let x = program.source(to, input);
    program.finish(to, node, Node::Cast(x), element)
}

/// An element-wise step in the making.
pub(super) struct Program(Map);

impl Program {
    pub(super) fn new(shape: &[usize]) -> Self {
        Self(Map {
            shape: shape.to_vec(),
            sources: Vec::new(),
            nodes: Vec::new(),
        })
    }

    /// The place of a node that answers elements of `view`. A constant that is one
    /// number becomes part of the program.
    pub(super) fn source(&mut self, to: &Lowering<'_>, view: View) -> usize {
        let element = view.element;
        let node = literal(to, &view).unwrap_or_else(|| {
            let source = Source::View(view);
            let known = self.0.sources.iter().position(|known| *known == source);
            Node::Source(known.unwrap_or_else(|| {
                self.0.sources.push(source);
                self.0.sources.len() - 1
            }))
        });
        self.0.nodes.push((node, element));
        self.0.nodes.len() - 1
    }

    /// The place of one more node.
    pub(super) fn node(&mut self, node: Node, element: Element) -> usize {
        self.0.nodes.push((node, element));
        self.0.nodes.len() - 1
    }

    /// The place of a node that answers where an element stands along a dimension.
    pub(super) fn index(&mut self, axis: usize) -> usize {
        let node = Node::Index {
            stride: count(&self.0.shape[axis + 1..]),
            size: self.0.shape[axis],
        };
        self.node(node, Element::I32)
    }

    /// The place of a node that answers nothing: zero, or false.
    pub(super) fn zero(&mut self, element: Element) -> usize {
        match element {
            Element::F32 => self.node(Node::F32(0.0), element),
            Element::I32 => self.node(Node::I32(0), element),
            Element::I64 | Element::Bool => {
                let zero = self.node(Node::I32(0), Element::I32);
                self.node(Node::Cast(zero), element)
            }
        }
    }

    pub(super) fn finish(
        mut self,
        to: &mut Lowering<'_>,
        node: &TypedNode,
        last: Node,
        element: Element,
    ) -> Result<View, Uncovered> {
        self.0.nodes.push((last, element));
        let shape = self.0.shape.clone();
        to.step(node, Body::Map(self.0), &shape)
    }
}

fn literal(to: &Lowering<'_>, view: &View) -> Option<Node> {
    let value = to.plan.value(view.value);
    let super::Place::Weight(weight) = value.place else {
        return None;
    };
    if value.n_elements != 1 {
        return None;
    }
    let bytes = to.plan.weights[weight].bytes.first_chunk::<4>()?;
    match view.element {
        // A literal of WGSL is finite.
        Element::F32 => Some(f32::from_le_bytes(*bytes))
            .filter(|x| x.is_finite())
            .map(Node::F32),
        Element::I32 => Some(Node::I32(i32::from_le_bytes(*bytes))),
        Element::Bool | Element::I64 => None,
    }
}

fn function1(op: &dyn ElementWiseMiniOp) -> Option<Function1> {
    macro_rules! known {
        ($($op:path => $function:ident),* $(,)?) => {
            $(if op.is::<$op>() { return Some(Function1::$function); })*
        };
    }
    known!(
        math::Abs => Abs, math::Neg => Negate, math::Sign => Sign,
        math::Floor => Floor, math::Ceil => Ceil, math::Round => Round,
        math::RoundHalfToEven => RoundHalfEven, math::Sqrt => Sqrt, math::Rsqrt => ReciprocalSqrt,
        math::Recip => Reciprocal, math::Square => Square, math::Exp => Exp, math::Ln => Log,
        math::Sin => Sin, math::Cos => Cos, math::Tan => Tan, math::Asin => Asin,
        math::Acos => Acos, math::Atan => Atan, math::Sinh => Sinh, math::Cosh => Cosh,
        math::Asinh => Asinh, math::Acosh => Acosh, math::Atanh => Atanh, math::Tanh => Tanh,
        math::Erf => Erf, nn::Sigmoid => Sigmoid, nn::HardSwish => HardSwish,
        nn::gelu_exact::GeluExact => GeluErf, nn::silu::Silu => Silu, Not => Not,
    );
    if let Some(relu) = op.downcast_ref::<nn::LeakyRelu>() {
        return Some(Function1::LeakyRelu(relu.alpha));
    }
    if let Some(power) = op.downcast_ref::<math::PowConst>() {
        return Some(Function1::PowerOf(power.exponent));
    }
    let gelu = op.downcast_ref::<nn::gelu_approximate::GeluApproximate>()?;
    (!gelu.fast_impl).then_some(Function1::GeluTanh)
}

fn function2(op: &dyn BinMiniOp) -> Option<Function2> {
    macro_rules! known {
        ($($op:path => $function:ident),* $(,)?) => {
            $(if op.is::<$op>() { return Some(Function2::$function); })*
        };
    }
    known!(
        math::Add => Add, math::Sub => Subtract, math::Mul => Multiply, math::Div => Divide,
        math::Min => Min, math::Max => Max, math::Pow => Power, And => And, Or => Or, Xor => Xor,
        CompEq => Equal, CompNE => NotEqual, CompLT => Less, CompLTE => LessEqual,
        CompGT => Greater, CompGTE => GreaterEqual,
    );
    None
}
