//! Element-wise programs: what is computed of elements that stand in one place.

use super::{Element, View};

/// One element of each source to one element, by nodes in order; the last is the answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Map {
    /// What it makes, row-major.
    pub(crate) shape: Vec<usize>,
    pub(crate) sources: Vec<Source>,
    pub(crate) nodes: Vec<(Node, Element)>,
}

/// Where an element comes from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Source {
    /// A value, seen with the map's shape.
    View(View),
    /// What the step before the map has just made in this place.
    Carried(Element),
}

/// Takes the answers of earlier nodes, by their place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Node {
    Source(usize),
    F32(f32),
    I32(i32),
    /// Where the element stands along a dimension, as I32: its row-major index divided by
    /// `stride`, less all that is a whole number of `size`.
    Index {
        stride: usize,
        size: usize,
    },
    Apply(Function1, usize),
    Combine(Function2, usize, usize),
    /// The second where the first holds, else the third.
    Select(usize, usize, usize),
    /// To the node's element type.
    Cast(usize),
}

impl Node {
    /// The nodes that it takes.
    pub(crate) fn arguments(self) -> impl Iterator<Item = usize> {
        let (a, b, c) = match self {
            Self::Source(_) | Self::F32(_) | Self::I32(_) | Self::Index { .. } => {
                (None, None, None)
            }
            Self::Apply(_, a) | Self::Cast(a) => (Some(a), None, None),
            Self::Combine(_, a, b) => (Some(a), Some(b), None),
            Self::Select(a, b, c) => (Some(a), Some(b), Some(c)),
        };
        [a, b, c].into_iter().flatten()
    }
}

/// Functions of one number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Function1 {
    Abs,
    Negate,
    Sign,
    Floor,
    Ceil,
    Round,
    RoundHalfEven,
    Sqrt,
    ReciprocalSqrt,
    Reciprocal,
    Square,
    Exp,
    Log,
    Sin,
    Cos,
    Tan,
    Asin,
    Acos,
    Atan,
    Sinh,
    Cosh,
    Asinh,
    Acosh,
    Atanh,
    Tanh,
    Sigmoid,
    Erf,
    GeluErf,
    GeluTanh,
    Silu,
    HardSwish,
    LeakyRelu(f32),
    PowerOf(f32),
    Not,
}

/// Functions of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function2 {
    Add,
    Subtract,
    Multiply,
    Divide,
    Min,
    Max,
    Power,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    And,
    Or,
    Xor,
}

impl Function2 {
    /// Whether it answers a truth value.
    pub(crate) fn compares(self) -> bool {
        !matches!(
            self,
            Self::Add
                | Self::Subtract
                | Self::Multiply
                | Self::Divide
                | Self::Min
                | Self::Max
                | Self::Power
        )
    }
}

impl Map {
    /// Copies a view.
    pub(crate) fn copy(view: View) -> Self {
        Self {
            shape: view.shape.clone(),
            nodes: vec![(Node::Source(0), view.element)],
            sources: vec![Source::View(view)],
        }
    }

    /// What it answers.
    pub(crate) fn element(&self) -> Element {
        self.nodes.last().expect("a map has a node").1
    }

    pub(crate) fn views(&self) -> impl Iterator<Item = &View> {
        self.sources.iter().filter_map(|source| match source {
            Source::View(view) => Some(view),
            Source::Carried(_) => None,
        })
    }

    /// This map with what `first` computes in the place of source `at`.
    pub(crate) fn after(&self, first: &Self, at: usize) -> Self {
        let mut sources = first.sources.clone();
        let mut nodes = first.nodes.clone();
        let computed = nodes.len() - 1;
        let mut place = Vec::with_capacity(self.sources.len());
        for (index, source) in self.sources.iter().enumerate() {
            let same = sources.iter().position(|known| known == source);
            place.push(match same {
                _ if index == at => usize::MAX,
                Some(same) => same,
                None => {
                    sources.push(source.clone());
                    sources.len() - 1
                }
            });
        }
        let mut renumbered: Vec<usize> = Vec::with_capacity(self.nodes.len());
        for &(node, element) in &self.nodes {
            let number = |at: usize| renumbered[at];
            let node = match node {
                Node::Source(source) if source == at => {
                    renumbered.push(computed);
                    continue;
                }
                Node::Source(source) => Node::Source(place[source]),
                Node::F32(_) | Node::I32(_) | Node::Index { .. } => node,
                Node::Apply(function, a) => Node::Apply(function, number(a)),
                Node::Combine(function, a, b) => Node::Combine(function, number(a), number(b)),
                Node::Select(c, a, b) => Node::Select(number(c), number(a), number(b)),
                Node::Cast(a) => Node::Cast(number(a)),
            };
            nodes.push((node, element));
            renumbered.push(nodes.len() - 1);
        }
        // The answer is the last node, also where this map was a mere copy.
        Self {
            shape: self.shape.clone(),
            sources,
            nodes,
        }
    }
}
