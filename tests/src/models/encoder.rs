//! A sentence encoder as newer exporters write it: token types, positions counted by
//! `Range`, `-∞` for what a mask hides, GELU by tanh, and a vector of length 1.

use super::layers::Layers;
use super::{OPSET, Size};
use crate::devices::Array;
use crate::onnx::{Attribute, Dim, Writer};
use crate::random::Random;

const N_LAYERS: usize = 2;
const N_HEADS: usize = 4;
const WIDTH: usize = 384;
/// Positions that have an embedding.
const MAX_SEQUENCE: usize = 512;
/// What an export writes for a bool.
const BOOL: i64 = 9;
const FLOAT: i64 = 1;

pub(super) fn file(size: &Size) -> Vec<u8> {
    // The first operator set with Gelu.
    let mut writer = Writer::new(OPSET.max(20), 0xe9c0);
    let shape = [Dim::Name("batch"), Dim::Name("sequence")];
    let ids = writer.integer_input("input_ids", &shape);
    let mask = writer.integer_input("attention_mask", &shape);
    let types = writer.integer_input("token_type_ids", &shape);
    let layers = Layers {
        writer,
        width: WIDTH / size.narrowed_by,
        n_heads: N_HEADS,
    };
    let mut encoder = Encoder { layers };
    let mut x = encoder.embedded([&ids, &types], size.vocabulary);
    let bias = encoder.attention_bias(&mask);
    for _ in 0..N_LAYERS {
        x = encoder.layer(&x, &bias);
    }
    let mean = encoder.mean(&x, &mask);
    let y = encoder.unit(&mean);
    encoder.layers.writer.file(&[&y])
}

/// Pairs of texts of several lengths, padded to one.
pub(super) fn inputs(size: &Size, n_rows: usize) -> Vec<(String, Array)> {
    let (mut ids, mut mask, mut types) = (Vec::new(), Vec::new(), Vec::new());
    for row in 0..n_rows {
        let mut random = Random::new(row as u64 + 100);
        let n_tokens = size.sequence - (row * 3) % size.sequence;
        for position in 0..size.sequence {
            ids.push(random.below(size.vocabulary) as i64);
            mask.push(i64::from(position < n_tokens));
            types.push(i64::from(2 * position > n_tokens));
        }
    }
    let shape = [n_rows, size.sequence];
    [
        ("input_ids", ids),
        ("attention_mask", mask),
        ("token_type_ids", types),
    ]
    .map(|(name, values)| (name.to_owned(), Array::integers(&shape, &values)))
    .to_vec()
}

struct Encoder {
    layers: Layers,
}

impl Encoder {
    /// Token, type and position embeddings, normalised: `[batch, sequence, width]`.
    fn embedded(&mut self, [ids, types]: [&str; 2], vocabulary: usize) -> String {
        let writer = &mut self.layers.writer;
        let tokens = writer.drawn(&[vocabulary, self.layers.width], 0.0, 1.0);
        let tokens = writer.node("Gather", &[&tokens, ids], &[]);
        let kinds = writer.drawn(&[2, self.layers.width], 0.0, 0.3);
        let kinds = writer.node("Gather", &[&kinds, types], &[]);
        let shape = writer.node("Shape", &[ids], &[]);
        let one = writer.integer_array(&[], &[1]);
        let n_tokens = writer.node("Gather", &[&shape, &one], &[]);
        let zero = writer.integer_array(&[], &[0]);
        let positions = writer.node("Range", &[&zero, &n_tokens, &one], &[]);
        let first = writer.integers(&[0]);
        let positions = writer.node("Unsqueeze", &[&positions, &first], &[]);
        let table = writer.drawn(&[MAX_SEQUENCE, self.layers.width], 0.0, 0.3);
        let positions = writer.node("Gather", &[&table, &positions], &[]);
        let sum = writer.node("Add", &[&tokens, &kinds], &[]);
        let sum = writer.node("Add", &[&sum, &positions], &[]);
        self.layers.normalised(&sum)
    }

    /// Zero for a token that is seen and -∞ for one that is not: `[batch, 1, 1, sequence]`.
    fn attention_bias(&mut self, mask: &str) -> String {
        let writer = &mut self.layers.writer;
        let axes = writer.integers(&[1, 2]);
        let mask = writer.node("Unsqueeze", &[mask, &axes], &[]);
        let mask = writer.node("Cast", &[&mask], &[Attribute::Integer("to", BOOL)]);
        let (zero, never) = (writer.float(0.0), writer.float(f32::NEG_INFINITY));
        writer.node("Where", &[&mask, &zero, &never], &[])
    }

    fn layer(&mut self, x: &str, bias: &str) -> String {
        let attended = self.attended(x, bias);
        let layers = &mut self.layers;
        let width = layers.width;
        let x = layers.residual(x, &attended);
        let wide = layers.linear(&x, width, 4 * width);
        let approximate = Attribute::Text("approximate", "tanh");
        let wide = layers.writer.node("Gelu", &[&wide], &[approximate]);
        let narrow = layers.linear(&wide, 4 * width, width);
        layers.residual(&x, &narrow)
    }

    /// Half of the scale on each side of the product, as PyTorch exports it.
    fn attended(&mut self, x: &str, bias: &str) -> String {
        let layers = &mut self.layers;
        let [queries, keys] = [[0, 2, 1, 3], [0, 2, 3, 1]].map(|order| {
            let heads = layers.heads(x, &order);
            let root = (layers.head_width() as f32).powf(-0.25);
            let root = layers.writer.float(root);
            layers.writer.node("Mul", &[&heads, &root], &[])
        });
        let values = layers.heads(x, &[0, 2, 1, 3]);
        let writer = &mut layers.writer;
        let scores = writer.node("MatMul", &[&queries, &keys], &[]);
        let scores = writer.node("Add", &[&scores, bias], &[]);
        let shares = writer.node("Softmax", &[&scores], &[Attribute::Integer("axis", -1)]);
        let seen = writer.node("MatMul", &[&shares, &values], &[]);
        layers.joined(&seen)
    }

    /// The mean over the tokens that the mask keeps, which is repeated along them first:
    /// `[batch, width]`.
    fn mean(&mut self, x: &str, mask: &str) -> String {
        let writer = &mut self.layers.writer;
        let (last, tokens) = (writer.integers(&[-1]), writer.integers(&[1]));
        let mask = writer.node("Unsqueeze", &[mask, &last], &[]);
        let shape = writer.node("Shape", &[x], &[]);
        let mask = writer.node("Expand", &[&mask, &shape], &[]);
        let mask = writer.node("Cast", &[&mask], &[Attribute::Integer("to", FLOAT)]);
        let kept = writer.node("Mul", &[x, &mask], &[]);
        let keep = [Attribute::Integer("keepdims", 0)];
        let sum = writer.node("ReduceSum", &[&kept, &tokens], &keep);
        let n_kept = writer.node("ReduceSum", &[&mask, &tokens], &keep);
        let least = writer.float(1e-9);
        let n_kept = writer.node("Clip", &[&n_kept, &least], &[]);
        writer.node("Div", &[&sum, &n_kept], &[])
    }

    /// Divided by its length.
    fn unit(&mut self, x: &str) -> String {
        let writer = &mut self.layers.writer;
        let last = writer.integers(&[1]);
        let keep = [Attribute::Integer("keepdims", 1)];
        let length = writer.node("ReduceL2", &[x, &last], &keep);
        let least = writer.float(1e-12);
        let length = writer.node("Clip", &[&length, &least], &[]);
        let shape = writer.node("Shape", &[x], &[]);
        let length = writer.node("Expand", &[&length, &shape], &[]);
        writer.node("Div", &[x, &length], &[])
    }
}
