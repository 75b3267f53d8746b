//! MiniLM: a BERT encoder of 6 layers, 12 heads and 384 wide, written node by node as
//! PyTorch exports it, masks and shapes included.

use super::layers::Layers;
use super::{OPSET, Size};
use crate::devices::Array;
use crate::onnx::{Attribute, Dim, Writer};
use crate::random::Random;

const N_LAYERS: usize = 6;
const N_HEADS: usize = 12;
const WIDTH: usize = 384;
/// Positions that have an embedding.
const MAX_SEQUENCE: usize = 512;
/// What is added to the score of a token that the mask hides. Not -∞, which a shader
/// may assume never occurs; e to the power of it is zero all the same.
const HIDDEN: f32 = -10_000.0;

pub(super) fn file(size: &Size) -> Vec<u8> {
    let mut writer = Writer::new(OPSET, 0x1a9);
    let shape = [Dim::Name("batch"), Dim::Name("sequence")];
    let ids = writer.integer_input("input_ids", &shape);
    let mask = writer.integer_input("attention_mask", &shape);
    let mask = writer.node("Cast", &[&mask], &[Attribute::Integer("to", 1)]);
    let layers = Layers {
        writer,
        width: WIDTH / size.narrowed_by,
        n_heads: N_HEADS,
    };
    let mut encoder = Encoder { layers };
    let mut x = encoder.embedded(&ids, size.vocabulary);
    let bias = encoder.attention_bias(&mask);
    for _ in 0..N_LAYERS {
        x = encoder.layer(&x, &bias);
    }
    let y = encoder.mean(&x, &mask);
    encoder.layers.writer.file(&[&y])
}

/// Texts of several lengths, padded to one.
pub(super) fn inputs(size: &Size, n_rows: usize) -> Vec<(String, Array)> {
    let (mut ids, mut mask) = (Vec::new(), Vec::new());
    for row in 0..n_rows {
        let mut random = Random::new(row as u64);
        let n_tokens = size.sequence - (row * 5) % size.sequence;
        for position in 0..size.sequence {
            ids.push(random.below(size.vocabulary) as i64);
            mask.push(i64::from(position < n_tokens));
        }
    }
    let shape = [n_rows, size.sequence];
    vec![
        ("input_ids".to_owned(), Array::integers(&shape, &ids)),
        ("attention_mask".to_owned(), Array::integers(&shape, &mask)),
    ]
}

struct Encoder {
    layers: Layers,
}

impl Encoder {
    /// Token and position embeddings, normalised: `[batch, sequence, width]`.
    fn embedded(&mut self, ids: &str, vocabulary: usize) -> String {
        let writer = &mut self.layers.writer;
        let tokens = writer.drawn(&[vocabulary, self.layers.width], 0.0, 1.0);
        let tokens = writer.node("Gather", &[&tokens, ids], &[]);
        let positions: Vec<i64> = (0..MAX_SEQUENCE as i64).collect();
        let positions = writer.integer_array(&[1, MAX_SEQUENCE], &positions);
        let shape = writer.node("Shape", &[ids], &[]);
        let (zero, one) = (writer.integers(&[0]), writer.integers(&[1]));
        let n_tokens = writer.node("Gather", &[&shape, &one], &[]);
        let positions = writer.node("Slice", &[&positions, &zero, &n_tokens, &one], &[]);
        let table = writer.drawn(&[MAX_SEQUENCE, self.layers.width], 0.0, 0.3);
        let positions = writer.node("Gather", &[&table, &positions], &[]);
        let sum = writer.node("Add", &[&tokens, &positions], &[]);
        self.layers.normalised(&sum)
    }

    /// Zero for a token that is seen and much less for one that is not:
    /// `[batch, 1, 1, sequence]`.
    fn attention_bias(&mut self, mask: &str) -> String {
        let writer = &mut self.layers.writer;
        let axes = writer.integers(&[1, 2]);
        let mask = writer.node("Unsqueeze", &[mask, &axes], &[]);
        let one = writer.float(1.0);
        let hidden = writer.node("Sub", &[&one, &mask], &[]);
        let least = writer.float(HIDDEN);
        writer.node("Mul", &[&hidden, &least], &[])
    }

    fn layer(&mut self, x: &str, bias: &str) -> String {
        let attended = self.attended(x, bias);
        let width = self.layers.width;
        let x = self.layers.residual(x, &attended);
        let wide = self.layers.linear(&x, width, 4 * width);
        let wide = self.gelu(&wide);
        let narrow = self.layers.linear(&wide, 4 * width, width);
        self.layers.residual(&x, &narrow)
    }

    fn attended(&mut self, x: &str, bias: &str) -> String {
        let layers = &mut self.layers;
        let queries = layers.heads(x, &[0, 2, 1, 3]);
        let keys = layers.heads(x, &[0, 2, 3, 1]);
        let values = layers.heads(x, &[0, 2, 1, 3]);
        let scale = (layers.head_width() as f32).sqrt();
        let writer = &mut layers.writer;
        let scores = writer.node("MatMul", &[&queries, &keys], &[]);
        let scale = writer.float(scale);
        let scores = writer.node("Div", &[&scores, &scale], &[]);
        let scores = writer.node("Add", &[&scores, bias], &[]);
        let shares = writer.node("Softmax", &[&scores], &[Attribute::Integer("axis", -1)]);
        let seen = writer.node("MatMul", &[&shares, &values], &[]);
        layers.joined(&seen)
    }

    /// x · (1 + erf(x / √2)) / 2, in the five nodes that PyTorch makes of it.
    fn gelu(&mut self, x: &str) -> String {
        let writer = &mut self.layers.writer;
        let root = writer.float(2.0_f32.sqrt());
        let erf = writer.node("Div", &[x, &root], &[]);
        let erf = writer.node("Erf", &[&erf], &[]);
        let (one, half) = (writer.float(1.0), writer.float(0.5));
        let sum = writer.node("Add", &[&erf, &one], &[]);
        let product = writer.node("Mul", &[x, &sum], &[]);
        writer.node("Mul", &[&product, &half], &[])
    }

    /// The mean over the tokens that the mask keeps: `[batch, width]`.
    fn mean(&mut self, x: &str, mask: &str) -> String {
        let writer = &mut self.layers.writer;
        let (last, tokens) = (writer.integers(&[-1]), writer.integers(&[1]));
        let mask = writer.node("Unsqueeze", &[mask, &last], &[]);
        let kept = writer.node("Mul", &[x, &mask], &[]);
        let keep = [Attribute::Integer("keepdims", 0)];
        let sum = writer.node("ReduceSum", &[&kept, &tokens], &keep);
        let n_kept = writer.node("ReduceSum", &[&mask, &tokens], &keep);
        let least = writer.float(1e-9);
        let n_kept = writer.node("Clip", &[&n_kept, &least], &[]);
        writer.node("Div", &[&sum, &n_kept], &[])
    }
}
