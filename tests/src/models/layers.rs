//! What encoders are made of, node by node.

use crate::onnx::{Attribute, Writer};

/// A file that is being written, of an encoder whose tokens are `width` wide.
pub(super) struct Layers {
    pub(super) writer: Writer,
    pub(super) width: usize,
    pub(super) n_heads: usize,
}

impl Layers {
    /// Width of one head.
    pub(super) fn head_width(&self) -> usize {
        self.width / self.n_heads
    }

    /// A projection of `x`, split into heads and transposed from
    /// `[batch, sequence, head, width of a head]`.
    pub(super) fn heads(&mut self, x: &str, order: &[i64]) -> String {
        let projected = self.linear(x, self.width, self.width);
        let (n_heads, width) = (self.n_heads as i64, self.head_width() as i64);
        let shape = self.writer.integers(&[0, 0, n_heads, width]);
        let split = self.writer.node("Reshape", &[&projected, &shape], &[]);
        let order = Attribute::Integers("perm", order);
        self.writer.node("Transpose", &[&split], &[order])
    }

    /// What all heads have seen, `[batch, head, sequence, width of a head]`, side by side and
    /// projected.
    pub(super) fn joined(&mut self, seen: &str) -> String {
        let order = Attribute::Integers("perm", &[0, 2, 1, 3]);
        let seen = self.writer.node("Transpose", &[seen], &[order]);
        let shape = self.writer.integers(&[0, 0, self.width as i64]);
        let seen = self.writer.node("Reshape", &[&seen, &shape], &[]);
        self.linear(&seen, self.width, self.width)
    }

    /// A product with a weight `[n_in, n_out]`, and a bias.
    pub(super) fn linear(&mut self, x: &str, n_in: usize, n_out: usize) -> String {
        let writer = &mut self.writer;
        let weight = writer.drawn(&[n_in, n_out], 0.0, (n_in as f32).sqrt().recip());
        let bias = writer.drawn(&[n_out], 0.0, 0.1);
        let product = writer.node("MatMul", &[x, &weight], &[]);
        writer.node("Add", &[&bias, &product], &[])
    }

    /// The sum of a layer's input and what it made, normalised.
    pub(super) fn residual(&mut self, x: &str, made: &str) -> String {
        let sum = self.writer.node("Add", &[x, made], &[]);
        self.normalised(&sum)
    }

    /// Each token of mean 0 and variance 1, scaled and moved.
    pub(super) fn normalised(&mut self, x: &str) -> String {
        let writer = &mut self.writer;
        let scale = writer.drawn(&[self.width], 1.0, 0.1);
        let bias = writer.drawn(&[self.width], 0.0, 0.1);
        let attributes = [
            Attribute::Integer("axis", -1),
            Attribute::Float("epsilon", 1e-12),
        ];
        writer.node("LayerNormalization", &[x, &scale, &bias], &attributes)
    }
}
