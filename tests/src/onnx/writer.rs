//! A graph written node by node: values get names, weights are drawn.

use super::{Attribute, Builder, Dim};
use crate::random::Random;

/// Writes a graph. A value is known by its name, which says what made it.
#[derive(Debug)]
pub struct Writer {
    builder: Builder,
    random: Random,
    n_values: usize,
}

impl Writer {
    /// An empty graph for operator set `opset`, whose weights `seed` decides.
    pub fn new(opset: i64, seed: u64) -> Self {
        Self {
            builder: Builder::default().opset(opset),
            random: Random::new(seed),
            n_values: 0,
        }
    }

    /// A float32 input.
    pub fn input(&mut self, name: &str, shape: &[Dim]) -> String {
        self.change(|builder| builder.input(name, shape));
        name.to_owned()
    }

    /// An int64 input.
    pub fn integer_input(&mut self, name: &str, shape: &[Dim]) -> String {
        self.change(|builder| builder.integer_input(name, shape));
        name.to_owned()
    }

    /// A node's only output.
    pub fn node(
        &mut self,
        operator: &str,
        inputs: &[&str],
        attributes: &[Attribute<'_>],
    ) -> String {
        let name = self.name(operator);
        self.change(|builder| builder.node_with(operator, inputs, &[&name], attributes));
        name
    }

    /// A node's `n` outputs.
    pub fn nodes(
        &mut self,
        operator: &str,
        inputs: &[&str],
        attributes: &[Attribute<'_>],
        n: usize,
    ) -> Vec<String> {
        let names: Vec<String> = (0..n).map(|_| self.name(operator)).collect();
        let outputs: Vec<&str> = names.iter().map(String::as_str).collect();
        self.change(|builder| builder.node_with(operator, inputs, &outputs, attributes));
        names
    }

    /// Float32 weights drawn around `mean` with a standard deviation.
    pub fn drawn(&mut self, dims: &[usize], mean: f32, deviation: f32) -> String {
        let n = dims.iter().product();
        let values: Vec<f32> = (0..n)
            .map(|_| mean + deviation * self.random.unit_variance())
            .collect();
        self.floats(dims, &values)
    }

    /// Float32 weights as given.
    pub fn floats(&mut self, dims: &[usize], values: &[f32]) -> String {
        let name = self.name("weight");
        self.change(|builder| builder.weight(&name, &signed(dims), values));
        name
    }

    /// One float32 of no dimension.
    pub fn float(&mut self, value: f32) -> String {
        self.floats(&[], &[value])
    }

    /// A list of int64.
    pub fn integers(&mut self, values: &[i64]) -> String {
        self.integer_array(&[values.len()], values)
    }

    /// Int64s of any shape.
    pub fn integer_array(&mut self, dims: &[usize], values: &[i64]) -> String {
        let name = self.name("integers");
        self.change(|builder| builder.integers(&name, &signed(dims), values));
        name
    }

    /// Where the weights come from, for what a caller draws itself.
    pub fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    /// The same graph with a value called otherwise, for who asks for it by name.
    #[must_use]
    pub fn renamed(mut self, from: &str, to: &str) -> Self {
        self.change(|builder| builder.node("Identity", &[from], to));
        self
    }

    /// The file, with these values as outputs.
    pub fn file(self, outputs: &[&str]) -> Vec<u8> {
        outputs
            .iter()
            .fold(self.builder, |builder, output| builder.output(output))
            .file()
    }

    fn change(&mut self, change: impl FnOnce(Builder) -> Builder) {
        self.builder = change(std::mem::take(&mut self.builder));
    }

    fn name(&mut self, of: &str) -> String {
        self.n_values += 1;
        format!("{of}_{}", self.n_values)
    }
}

fn signed(dims: &[usize]) -> Vec<i64> {
    dims.iter()
        .map(|&size| i64::try_from(size).expect("a test's tensor is small"))
        .collect()
}
