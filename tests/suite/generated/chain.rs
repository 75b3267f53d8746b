//! A chain of operators as proptest draws it, and the graph that it becomes.

use std::fmt;

use proptest::prelude::*;
use proptest::sample::select;
use trommel_tests::devices::Array;
use trommel_tests::onnx::{Attribute, Dim, Writer};
use trommel_tests::random::Random;

use super::operators::OPERATORS;

/// The first operator set with Gelu.
const OPSET: i64 = 20;

/// Sizes where a kernel goes wrong: one, small odd ones, and some beyond a vector's
/// length.
pub(super) const SIZES: [usize; 9] = [1, 2, 3, 4, 5, 7, 8, 13, 17];

/// What adds an operator to a chain, when it can follow what is there.
pub(super) type Write = fn(&mut Chain) -> Option<Value>;

/// An operator by the name that a failing test prints.
#[derive(Clone, Copy)]
pub(super) struct Operator {
    pub(super) name: &'static str,
    pub(super) write: Write,
}

impl fmt::Debug for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// What a graph reads.
#[derive(Debug, Clone)]
pub(super) enum Start {
    /// Float32, `[batch, sizes…]`.
    Floats(Vec<usize>),
    /// Int64 `[batch, n]`, looked up in a table of rows.
    Ids {
        n: usize,
        n_rows: usize,
        width: usize,
    },
}

/// A graph to be. The same recipe makes the same graph.
#[derive(Debug, Clone)]
pub(super) struct Recipe {
    start: Start,
    /// An operator that cannot follow gives way to the next in the list that can.
    steps: Vec<(Operator, u64)>,
    /// Whether a value on the way is an output too.
    shows_middle: bool,
}

/// Recipes of one to six operators.
pub(super) fn recipes() -> impl Strategy<Value = Recipe> {
    let size = || select(&SIZES[..]);
    let start = prop_oneof![
        4 => proptest::collection::vec(size(), 3).prop_map(Start::Floats),
        2 => proptest::collection::vec(size(), 1..=4).prop_map(Start::Floats),
        1 => (size(), size(), size()).prop_map(|(n, n_rows, width)| Start::Ids { n, n_rows, width }),
    ];
    let step = (select(OPERATORS), any::<u64>());
    let steps = proptest::collection::vec(step, 1..=6);
    (start, steps, any::<bool>()).prop_map(|(start, steps, shows_middle)| Recipe {
        start,
        steps,
        shows_middle,
    })
}

/// A value of the graph to be.
#[derive(Debug, Clone)]
pub(super) struct Value {
    pub(super) name: String,
    /// Sizes after the batch.
    pub(super) shape: Vec<usize>,
    /// About how large its elements become.
    pub(super) scale: f32,
    /// Whether every device that keeps to IEEE 754 has the very same elements. What
    /// leaps, such as a comparison, may follow such values only: else two right
    /// answers could be far apart.
    pub(super) is_exact: bool,
    /// Int64; float32 otherwise.
    pub(super) is_integer: bool,
    /// Whether it was made larger by repeating it and has only been moved or mapped
    /// since. A product may not follow: the importer pulls the repetition through it,
    /// and then gives up or never ends (tract 0.23.9: Expand of `[batch, 3, 7, 1]` to
    /// `[batch, 3, 7, 3]`, then MatMul by `[3, 4]`).
    pub(super) is_expanded: bool,
}

/// A graph being written.
pub(super) struct Chain {
    pub(super) writer: Writer,
    /// The last value.
    pub(super) x: Value,
    /// Values before it, the inputs among them.
    pub(super) earlier: Vec<Value>,
    /// What the operator being written draws its settings from.
    pub(super) random: Random,
    /// Whether a sum on the way runs over elements that no multiple of 8 divides into
    /// rows, where the CPU is known to depend on the batch.
    pub(super) has_odd_sum: bool,
}

/// A graph, and what to run it on.
pub(super) struct Case {
    pub(super) file: Vec<u8>,
    pub(super) inputs: Vec<(String, Array)>,
    /// See [`Chain::has_odd_sum`].
    pub(super) has_odd_sum: bool,
    /// What was written, with shapes, for whoever reads a failure.
    pub(super) story: String,
}

impl Recipe {
    /// The graph, and `n_rows` rows for it.
    pub(super) fn case(&self, n_rows: usize) -> Case {
        let mut chain = Chain::start(&self.start);
        let mut story = format!("{:?}", self.start);
        for (operator, seed) in &self.steps {
            let name = chain.step(operator, *seed);
            story += &format!(" → {name} {:?}", chain.x.shape);
        }
        let mut outputs = vec![chain.x.name.clone()];
        if self.shows_middle {
            let is_made = |value: &&Value| value.name != "x" && value.name != chain.x.name;
            let middle = chain.earlier.iter().rfind(is_made);
            outputs.extend(middle.map(|value| value.name.clone()));
        }
        let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
        Case {
            file: chain.writer.file(&outputs),
            inputs: vec![("x".to_owned(), self.start.rows(n_rows))],
            has_odd_sum: chain.has_odd_sum,
            story,
        }
    }
}

impl Start {
    fn rows(&self, n_rows: usize) -> Array {
        let mut random = Random::new(7);
        match self {
            Self::Floats(sizes) => {
                let shape: Vec<usize> = [n_rows].iter().chain(sizes).copied().collect();
                let n = shape.iter().product();
                let values: Vec<f32> = (0..n).map(|_| random.unit_variance()).collect();
                Array::floats(&shape, &values)
            }
            &Self::Ids { n, n_rows: m, .. } => {
                let ids: Vec<i64> = (0..n_rows * n).map(|_| random.below(m) as i64).collect();
                Array::integers(&[n_rows, n], &ids)
            }
        }
    }
}

impl Chain {
    fn start(start: &Start) -> Self {
        let mut writer = Writer::new(OPSET, 11);
        let dims = |sizes: &[usize]| -> Vec<Dim> {
            let sizes = sizes.iter().map(|&size| Dim::Size(size as i64));
            [Dim::Name("batch")].into_iter().chain(sizes).collect()
        };
        let value = |name: String, shape: &[usize]| Value {
            name,
            shape: shape.to_vec(),
            scale: 2.0,
            is_exact: true,
            is_integer: false,
            is_expanded: false,
        };
        let x = match start {
            Start::Floats(sizes) => value(writer.input("x", &dims(sizes)), sizes),
            &Start::Ids { n, n_rows, width } => {
                let ids = writer.integer_input("x", &dims(&[n]));
                let table = writer.drawn(&[n_rows, width], 0.0, 1.0);
                value(writer.node("Gather", &[&table, &ids], &[]), &[n, width])
            }
        };
        Self {
            writer,
            x,
            earlier: Vec::new(),
            random: Random::new(0),
            has_odd_sum: false,
        }
    }

    /// Writes the operator, or the next in the list that can follow, and answers which.
    fn step(&mut self, operator: &Operator, seed: u64) -> &'static str {
        let first = OPERATORS
            .iter()
            .position(|known| known.name == operator.name);
        let (before, after) = OPERATORS.split_at(first.expect("it was chosen from them"));
        for operator in after.iter().chain(before) {
            self.random = Random::new(seed);
            let x = self.x.clone();
            if let Some(value) = (operator.write)(self) {
                self.earlier.push(x);
                self.x = value;
                return operator.name;
            }
        }
        unreachable!("Flatten follows anything")
    }

    /// One of `choices`, drawn.
    pub(super) fn choose<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.random.below(choices.len())]
    }

    /// True once in `n`.
    pub(super) fn once_in(&mut self, n: usize) -> bool {
        self.random.below(n) == 0
    }

    /// An axis of `x` after the batch, if there is one, counted without the batch.
    pub(super) fn axis(&mut self) -> Option<usize> {
        let rank = self.x.shape.len();
        (rank > 0).then(|| self.random.below(rank))
    }

    /// `axis` as a file says it: the batch counted, or from the end.
    pub(super) fn said(&mut self, axis: usize) -> i64 {
        let rank = self.x.shape.len();
        if self.once_in(2) {
            axis as i64 + 1
        } else {
            axis as i64 - rank as i64
        }
    }

    /// `x`, when it is float32.
    pub(super) fn floats(&self) -> Option<String> {
        (!self.x.is_integer).then(|| self.x.name.clone())
    }

    /// `x`, float32 and within `-bound..=bound`: cut when it may be larger.
    pub(super) fn tame(&mut self, bound: f32) -> Option<String> {
        let x = self.floats()?;
        if self.x.scale <= bound {
            return Some(x);
        }
        Some(self.cut(&x, -bound, bound))
    }

    /// `x` cut to `low..=high`.
    pub(super) fn cut(&mut self, x: &str, low: f32, high: f32) -> String {
        let (low, high) = (self.writer.float(low), self.writer.float(high));
        self.writer.node("Clip", &[x, &low, &high], &[])
    }

    /// A node over `x` alone, of its shape, rounded in ways that devices may differ in.
    pub(super) fn map(&mut self, operator: &str, x: &str, attributes: &[Attribute<'_>]) -> Value {
        let name = self.writer.node(operator, &[x], attributes);
        Value {
            name,
            is_exact: false,
            ..self.x.clone()
        }
    }

    /// A value of another shape with elements like those of `x`.
    pub(super) fn moved(&self, name: String, shape: Vec<usize>) -> Value {
        Value {
            name,
            shape,
            ..self.x.clone()
        }
    }

    /// A computed value of another shape and scale.
    pub(super) fn made(&self, name: String, shape: Vec<usize>, scale: f32) -> Value {
        Value {
            name,
            shape,
            scale,
            is_exact: false,
            is_integer: false,
            is_expanded: false,
        }
    }

    /// `x`, when it can be multiplied: see [`Value::is_expanded`].
    pub(super) fn factor(&self) -> Option<String> {
        if self.x.is_expanded {
            None
        } else {
            self.floats()
        }
    }
}
