//! The model as an ONNX graph, and the proof that the graph says the same.
//!
//! Inputs: `pieces` int64 `[batch, sequence]` and `mask` float32 `[batch, sequence]`, 1 for a
//! piece and 0 for padding; `ids` int64 `[batch, features]` and `values` float32 `[batch,
//! features]`, where a value of 0 is padding. Output: `scores` float32 `[batch, 3]`, logits
//! of `toxic`, `hate`, `offensive`. No operator mixes rows.

use anyhow::{Result, ensure};
use tract_onnx::{
    pb::{AttributeProto, GraphProto, NodeProto, TensorProto, tensor_proto::DataType},
    prelude::{Framework, InferenceModelExt, IntoRunnable, Tensor, tvec},
};

use super::{
    encoder::{N_HEADS, N_LABELS, WIDTH},
    layers::{Dense, EPSILON, Norm, Slot},
    model::Model,
    samples::Sample,
};
use crate::proto::{self, Axis, Version, float, integer, integers, port};

const VERSION: Version = Version { ir: 8, opset: 17 };

/// What is added where nothing shall be seen: far below every number that occurs there, and
/// finite, since a shader may take for granted that infinities never occur.
const HIDDEN: f32 = -10_000.0;

/// The model's bytes; the same model gives the same bytes.
pub(super) fn encode(model: &Model) -> Vec<u8> {
    let mut graph = Writer {
        weights: &model.encoder.weights,
        nodes: Vec::new(),
        initializers: Vec::new(),
    };
    let encoded = graph.encoder(model);
    let linear = graph.linear(model);
    graph.named("Add", &[&encoded, &linear], "scores", vec![]);
    let [batch, sequence, features] = ["batch", "sequence", "features"].map(Axis::Named);
    let graph = GraphProto {
        name: "toxicity-text".into(),
        node: graph.nodes,
        initializer: graph.initializers,
        input: vec![
            port("pieces", DataType::Int64, &[batch, sequence]),
            port("mask", DataType::Float, &[batch, sequence]),
            port("ids", DataType::Int64, &[batch, features]),
            port("values", DataType::Float, &[batch, features]),
        ],
        output: vec![port(
            "scores",
            DataType::Float,
            &[batch, Axis::Sized(N_LABELS)],
        )],
        ..GraphProto::default()
    };
    proto::model(graph, VERSION)
}

struct Writer<'a> {
    weights: &'a [f32],
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
}

impl Writer<'_> {
    fn encoder(&mut self, model: &Model) -> String {
        let layout = model.encoder.layout;
        let last = self.integers(&[2]);
        let mask = self.node("Unsqueeze", &["mask", &last], vec![]);
        let hidden = self.hidden();
        let vectors = self.slot(layout.vectors);
        let x = self.node("Gather", &[&vectors, "pieces"], vec![]);
        let x = self.node("Mul", &[&x, &mask], vec![]);
        let gated = self.gated(&x, layout.conv);
        let x = self.node("Add", &[&x, &gated], vec![]);
        let x = self.normed(&x, layout.after_conv);
        let mixed = self.attended(&x, layout.qkv, &hidden);
        let mixed = self.dense(&mixed, layout.mix);
        let x = self.node("Add", &[&x, &mixed], vec![]);
        let x = self.normed(&x, layout.after_mix);
        let inner = self.dense(&x, layout.widen);
        let inner = self.node("Relu", &[&inner], vec![]);
        let inner = self.dense(&inner, layout.narrow);
        let x = self.node("Add", &[&x, &inner], vec![]);
        let x = self.normed(&x, layout.after_narrow);
        let pooled = self.pooled(&x, &mask);
        self.dense(&pooled, layout.head)
    }

    /// `[batch, sequence]`: 0 for a piece, [`HIDDEN`] for padding.
    fn hidden(&mut self) -> String {
        let (one, least) = (self.floats(&[1], &[1.0]), self.floats(&[1], &[-HIDDEN]));
        let hidden = self.node("Sub", &["mask", &one], vec![]);
        self.node("Mul", &[&hidden, &least], vec![])
    }

    /// The convolution over each piece and its neighbours, and its gate. Padding is zeros, as
    /// what lies beyond either end.
    fn gated(&mut self, x: &str, conv: Dense) -> String {
        let width = self.integers(&[0, 1, 0, 0, 1, 0]);
        let padded = self.node("Pad", &[x, &width], vec![]);
        let axis = self.integers(&[1]);
        // From where and to where, counted from the end: the window slides by one.
        let parts = [(0_i64, -2_i64), (1, -1), (2, i64::MAX)].map(|(from, to)| {
            let (from, to) = (self.integers(&[from]), self.integers(&[to]));
            self.node("Slice", &[&padded, &from, &to, &axis], vec![])
        });
        let [before, here, after] = &parts;
        let wide = self.node("Concat", &[before, here, after], vec![integer("axis", 2)]);
        let gates = self.dense(&wide, conv);
        let [value, open] = [0, 1].map(|half| self.columns(&gates, half, WIDTH));
        let open = self.node("Sigmoid", &[&open], vec![]);
        self.node("Mul", &[&value, &open], vec![])
    }

    fn attended(&mut self, x: &str, qkv: Dense, hidden: &str) -> String {
        let all = self.dense(x, qkv);
        let axes = self.integers(&[1, 2]);
        let hidden = self.node("Unsqueeze", &[hidden, &axes], vec![]);
        let orders: [&[i64]; 3] = [&[0, 2, 1, 3], &[0, 2, 3, 1], &[0, 2, 1, 3]];
        let parts = [0, 1, 2].map(|which| {
            let part = self.columns(&all, which, WIDTH);
            let shape = self.integers(&[0, 0, N_HEADS as i64, (WIDTH / N_HEADS) as i64]);
            let part = self.node("Reshape", &[&part, &shape], vec![]);
            self.node("Transpose", &[&part], vec![integers("perm", orders[which])])
        });
        let [queries, keys, values] = &parts;
        let looks = self.node("MatMul", &[queries, keys], vec![]);
        let factor = self.floats(&[1], &[1.0 / ((WIDTH / N_HEADS) as f32).sqrt()]);
        let looks = self.node("Mul", &[&looks, &factor], vec![]);
        let looks = self.node("Add", &[&looks, &hidden], vec![]);
        let looks = self.node("Softmax", &[&looks], vec![integer("axis", -1)]);
        let seen = self.node("MatMul", &[&looks, values], vec![]);
        let seen = self.node("Transpose", &[&seen], vec![integers("perm", &[0, 2, 1, 3])]);
        let shape = self.integers(&[0, 0, WIDTH as i64]);
        self.node("Reshape", &[&seen, &shape], vec![])
    }

    /// `[batch, 2 · WIDTH]`: the largest of each column, and the mean.
    fn pooled(&mut self, x: &str, mask: &str) -> String {
        let (one, least) = (self.floats(&[1], &[1.0]), self.floats(&[1], &[-HIDDEN]));
        let axis = self.integers(&[1]);
        let unseen = self.node("Sub", &[mask, &one], vec![]);
        let unseen = self.node("Mul", &[&unseen, &least], vec![]);
        let seen = self.node("Add", &[x, &unseen], vec![]);
        let most = self.node(
            "ReduceMax",
            &[&seen],
            vec![integers("axes", &[1]), integer("keepdims", 0)],
        );
        let seen = self.node("Mul", &[x, mask], vec![]);
        let sum = self.node("ReduceSum", &[&seen, &axis], vec![integer("keepdims", 0)]);
        let n_pieces = self.node("ReduceSum", &[mask, &axis], vec![integer("keepdims", 0)]);
        let mean = self.node("Div", &[&sum, &n_pieces], vec![]);
        self.node("Concat", &[&most, &mean], vec![integer("axis", 1)])
    }

    fn linear(&mut self, model: &Model) -> String {
        let table = self.floats(&[model.linear.len(), N_LABELS], model.linear.as_flattened());
        let bias = self.floats(&[N_LABELS], &model.bias);
        let (last, axis) = (self.integers(&[2]), self.integers(&[1]));
        let worth = self.node("Gather", &[&table, "ids"], vec![]);
        let values = self.node("Unsqueeze", &["values", &last], vec![]);
        let shares = self.node("Mul", &[&worth, &values], vec![]);
        let sum = self.node("ReduceSum", &[&shares, &axis], vec![integer("keepdims", 0)]);
        self.node("Add", &[&sum, &bias], vec![])
    }

    fn dense(&mut self, x: &str, dense: Dense) -> String {
        let (weight, bias) = (self.slot(dense.weight), self.row(dense.bias));
        let product = self.node("MatMul", &[x, &weight], vec![]);
        self.node("Add", &[&product, &bias], vec![])
    }

    fn normed(&mut self, x: &str, norm: Norm) -> String {
        let (scale, shift) = (self.row(norm.scale), self.row(norm.shift));
        self.node(
            "LayerNormalization",
            &[x, &scale, &shift],
            vec![integer("axis", -1), float("epsilon", EPSILON)],
        )
    }

    /// The columns of one of several parts that lie side by side, `width` in each.
    fn columns(&mut self, x: &str, part: usize, width: usize) -> String {
        let from = self.integers(&[(part * width) as i64]);
        let to = self.integers(&[((part + 1) * width) as i64]);
        let axis = self.integers(&[2]);
        self.node("Slice", &[x, &from, &to, &axis], vec![])
    }

    fn slot(&mut self, slot: Slot) -> String {
        self.floats(&[slot.rows, slot.cols], slot.of(self.weights))
    }

    fn row(&mut self, slot: Slot) -> String {
        self.floats(&[slot.cols], slot.of(self.weights))
    }

    fn node(&mut self, op: &str, inputs: &[&str], attributes: Vec<AttributeProto>) -> String {
        let output = format!("v{}", self.nodes.len());
        self.named(op, inputs, &output, attributes);
        output
    }

    fn named(&mut self, op: &str, inputs: &[&str], output: &str, attributes: Vec<AttributeProto>) {
        self.nodes.push(proto::node(op, inputs, output, attributes));
    }

    fn floats(&mut self, dims: &[usize], data: &[f32]) -> String {
        let name = self.next_weight();
        self.initializers.push(proto::floats(&name, dims, data));
        name
    }

    fn integers(&mut self, data: &[i64]) -> String {
        let name = self.next_weight();
        self.initializers.push(proto::list(&name, data));
        name
    }

    fn next_weight(&self) -> String {
        format!("w{}", self.initializers.len())
    }
}

/// A row as the graph takes it.
#[derive(Debug, Clone)]
pub(super) struct Row<'a> {
    pub pieces: Vec<u32>,
    pub ids: &'a [u32],
    pub values: &'a [f32],
}

/// Runs the encoded graph with tract on batches of rows, padded to the longest of a batch
/// and `n_padding` beyond.
pub(super) fn run(
    encoded: &[u8],
    batches: &[&[Row<'_>]],
    n_padding: usize,
) -> Result<Vec<[f32; N_LABELS]>> {
    let plan = tract_onnx::onnx()
        .model_for_read(&mut &*encoded)?
        .into_optimized()?
        .into_runnable()?;
    let mut answers = Vec::new();
    for batch in batches {
        let longest = |length: fn(&Row<'_>) -> usize| {
            n_padding + batch.iter().map(length).fold(1, usize::max)
        };
        let (n_pieces, n_features) = (
            longest(|row| row.pieces.len()),
            longest(|row| row.ids.len()),
        );
        let (mut pieces, mut mask) = (
            vec![0_i64; batch.len() * n_pieces],
            vec![0.0_f32; batch.len() * n_pieces],
        );
        let (mut ids, mut values) = (
            vec![0_i64; batch.len() * n_features],
            vec![0.0_f32; batch.len() * n_features],
        );
        for (at, row) in batch.iter().enumerate() {
            for (slot, &piece) in row.pieces.iter().enumerate() {
                pieces[at * n_pieces + slot] = piece.into();
                mask[at * n_pieces + slot] = 1.0;
            }
            // As the plugin does: a row without pieces has one that is padding.
            mask[at * n_pieces] = 1.0;
            for (slot, (&id, &value)) in row.ids.iter().zip(row.values).enumerate() {
                ids[at * n_features + slot] = id.into();
                values[at * n_features + slot] = value;
            }
        }
        let (of_pieces, of_features) = ([batch.len(), n_pieces], [batch.len(), n_features]);
        let outputs = plan.run(tvec!(
            Tensor::from_shape(&of_pieces, &pieces)?.into(),
            Tensor::from_shape(&of_pieces, &mask)?.into(),
            Tensor::from_shape(&of_features, &ids)?.into(),
            Tensor::from_shape(&of_features, &values)?.into(),
        ))?;
        let scores = outputs[0].to_plain_array_view::<f32>()?;
        for row in scores.rows() {
            answers.push(std::array::from_fn(|label| row[label]));
        }
    }
    Ok(answers)
}

/// The greatest distance allowed between the graph's scores and the trainer's.
const TOLERANCE: f64 = 1e-3;

/// Fails unless the graph gives every sample the model's own scores; how far they are apart.
pub(super) fn verify(encoded: &[u8], model: &Model, samples: &[&Sample]) -> Result<f64> {
    let vocabulary = model.pieces.vocabulary();
    let rows: Vec<Row<'_>> = samples
        .iter()
        .map(|sample| Row {
            pieces: vocabulary.encode(&sample.words),
            ids: &sample.features.ids,
            values: &sample.features.values,
        })
        .collect();
    let batches: Vec<&[Row<'_>]> = rows.chunks(16).collect();
    let mut furthest = 0.0_f64;
    for (at, (found, sample)) in run(encoded, &batches, 3)?.iter().zip(samples).enumerate() {
        for (found, own) in found
            .iter()
            .zip(model.score(&sample.words, &sample.features))
        {
            let apart = (f64::from(*found) - own).abs();
            ensure!(
                apart <= TOLERANCE,
                "row {at} scores {found} in model.onnx and {own} in the trainer; \
                 the graph in onnx.rs no longer computes what model.rs does"
            );
            furthest = furthest.max(apart);
        }
    }
    Ok(furthest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toxicity_text::samples::words;
    use toxicity_text::features;

    const TEXTS: [&str; 4] = [
        "you are a fool",
        "see you at the station tomorrow, bring the blue bag",
        "fool",
        "the fool stands at the station again and again and again, and nobody is there to see",
    ];

    fn samples() -> Vec<Sample> {
        let sample = |(at, text): (usize, &&str)| {
            let words = words(text);
            Sample {
                source: crate::toxicity_text::samples::Source::Tweet,
                truth: crate::toxicity_text::samples::Truth::Made,
                labels: [Some((at % 2) as f32); N_LABELS],
                fold: 0,
                text: (*text).to_owned(),
                features: features::extract(&words),
                words,
                is_copy: false,
            }
        };
        TEXTS.iter().enumerate().map(sample).collect()
    }

    #[test]
    fn the_graph_says_what_the_trainer_says_alone_padded_and_among_others() {
        let samples = samples();
        let samples: Vec<&Sample> = samples.iter().collect();
        let model = Model::fit(&samples);
        let encoded = encode(&model);
        // The rows of a batch are padded to the longest.
        assert!(verify(&encoded, &model, &samples).unwrap() < 1e-4);
        let vocabulary = model.pieces.vocabulary();
        for sample in samples {
            let row = [Row {
                pieces: vocabulary.encode(&sample.words),
                ids: &sample.features.ids,
                values: &sample.features.values,
            }];
            let alone = run(&encoded, &[&row], 0).unwrap()[0];
            let padded = run(&encoded, &[&row], 9).unwrap()[0];
            assert!(alone.iter().zip(padded).all(|(a, b)| (a - b).abs() < 1e-5));
        }
    }

    #[test]
    fn a_graph_that_says_otherwise_is_refused() {
        let samples = samples();
        let samples: Vec<&Sample> = samples.iter().collect();
        let mut model = Model::fit(&samples);
        let encoded = encode(&model);
        model.bias[1] += 1.0;
        let error = verify(&encoded, &model, &samples).unwrap_err();
        assert!(error.to_string().contains("row 0"), "{error}");
    }
}
