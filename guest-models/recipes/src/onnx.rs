//! The model as an ONNX graph, and the proof that the graph says the same.
//!
//! Writes and runs graphs; never trains.
//!
//! Inputs: `ids` int64 `[batch, features]`, `values` float32 `[batch,
//! features]`, where a value of 0 is padding. Outputs: `score` float32
//! `[batch]`, `contributions` float32 `[batch, features]`; a row's
//! contributions and the bias sum to its score. No op mixes rows.

use anyhow::{Result, ensure};
use spam_text::features::Features;
use tract_onnx::{
    pb::{GraphProto, NodeProto, tensor_proto::DataType},
    prelude::{Framework, InferenceModelExt, IntoRunnable, Tensor, tvec},
};

use crate::{
    model::Model,
    proto::{self, Axis, Version, floats, integer, list, node, port},
};

const VERSION: Version = Version { ir: 7, opset: 13 };

/// The model's bytes; the same model gives the same bytes.
pub(crate) fn encode(model: &Model) -> Vec<u8> {
    let (batch, features) = (Axis::Named("batch"), Axis::Named("features"));
    let graph = GraphProto {
        name: "spam-text".into(),
        node: nodes(),
        initializer: vec![
            floats("weight", &[model.weight.len()], &model.weight),
            floats("bias", &[1], &[model.bias]),
            list("across", &[1]),
        ],
        input: vec![
            port("ids", DataType::Int64, &[batch, features]),
            port("values", DataType::Float, &[batch, features]),
        ],
        output: vec![
            port("score", DataType::Float, &[batch]),
            port("contributions", DataType::Float, &[batch, features]),
        ],
        ..GraphProto::default()
    };
    proto::model(graph, VERSION)
}

fn nodes() -> Vec<NodeProto> {
    vec![
        node(
            "Gather",
            &["weight", "ids"],
            "weight_here",
            vec![integer("axis", 0)],
        ),
        node("Mul", &["values", "weight_here"], "contributions", vec![]),
        node(
            "ReduceSum",
            &["contributions", "across"],
            "sum",
            vec![integer("keepdims", 0)],
        ),
        node("Add", &["sum", "bias"], "score", vec![]),
    ]
}

/// What the graph answered for one row; `contributions` as long as its padded row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub score: f32,
    pub contributions: Vec<f32>,
}

/// Runs the encoded graph with tract on batches of items.
///
/// Rows of a batch are padded to the longest of them and `n_padding` beyond.
pub(crate) fn run(
    encoded: &[u8],
    batches: &[&[&Features]],
    n_padding: usize,
) -> Result<Vec<Answer>> {
    let plan = tract_onnx::onnx()
        .model_for_read(&mut &*encoded)?
        .into_optimized()?
        .into_runnable()?;
    let mut answers = Vec::new();
    for batch in batches {
        let width = n_padding + batch.iter().map(|row| row.ids.len()).max().unwrap_or(0);
        let mut ids = vec![0_i64; batch.len() * width];
        let mut values = vec![0.0_f32; batch.len() * width];
        for (row, features) in batch.iter().enumerate() {
            let at = row * width;
            for (slot, &id) in ids[at..].iter_mut().zip(&features.ids) {
                *slot = id.into();
            }
            values[at..at + features.values.len()].copy_from_slice(&features.values);
        }
        let shape = [batch.len(), width];
        let outputs = plan.run(tvec!(
            Tensor::from_shape(&shape, &ids)?.into(),
            Tensor::from_shape(&shape, &values)?.into(),
        ))?;
        let scores = outputs[0].to_plain_array_view::<f32>()?;
        let contributions = outputs[1].to_plain_array_view::<f32>()?;
        let contributions: Vec<f32> = contributions.iter().copied().collect();
        for (row, &score) in scores.iter().enumerate() {
            let contributions = contributions[row * width..][..width].to_vec();
            answers.push(Answer {
                score,
                contributions,
            });
        }
    }
    Ok(answers)
}

/// The greatest distance allowed between the graph's scores and the trainer's.
// Ten thousand features of a mail, summed in f32 there and in f64 here.
pub(crate) const TOLERANCE: f64 = 5e-4;

/// Fails unless the graph gives every item the model's own score, with
/// contributions that sum to it.
pub(crate) fn verify(encoded: &[u8], model: &Model, items: &[&Features]) -> Result<f64> {
    let batches: Vec<&[&Features]> = items.chunks(32).collect();
    let mut furthest = 0.0_f64;
    for (at, (answer, features)) in run(encoded, &batches, 3)?.iter().zip(items).enumerate() {
        let own = model.score(features);
        let sum: f64 = answer.contributions.iter().copied().map(f64::from).sum();
        for found in [f64::from(answer.score), sum + f64::from(model.bias)] {
            ensure!(
                (found - own).abs() <= TOLERANCE,
                "row {at} scores {found} in model.onnx and {own} in the trainer; \
                 the graph in onnx.rs no longer computes what model.rs does"
            );
            furthest = furthest.max((found - own).abs());
        }
    }
    Ok(furthest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> Model {
        Model {
            weight: vec![5.0, 0.5, -1.0],
            bias: 0.25,
        }
    }

    fn row(ids: &[u32]) -> Features {
        Features {
            ids: ids.to_vec(),
            values: vec![1.0; ids.len()],
        }
    }

    #[test]
    fn the_graph_computes_what_can_be_computed_by_hand() {
        let features = Features {
            ids: vec![0, 1, 2],
            values: vec![0.5, 2.0, 1.0],
        };
        let answers = run(&encode(&model()), &[&[&features]], 0).unwrap();
        assert_eq!(answers[0].contributions, [2.5, 1.0, -1.0]);
        assert_eq!(answers[0].score, 2.75);
    }

    #[test]
    fn an_empty_row_scores_the_bias() {
        let answers = run(&encode(&model()), &[&[&row(&[])]], 2).unwrap();
        assert_eq!(
            answers[0],
            Answer {
                score: 0.25,
                contributions: vec![0.0; 2]
            }
        );
    }

    /// Tables without a pattern, long enough for sums to be split.
    fn long_model() -> Model {
        let wave = |step: f32| (0..3_000).map(move |at| (at as f32 * step).sin());
        Model {
            weight: wave(1.3).collect(),
            bias: 0.25,
        }
    }

    #[test]
    fn padding_changes_no_bit() {
        let encoded = encode(&long_model());
        for n_features in [1, 3, 100, 2_999] {
            let row = row(&(0..n_features).collect::<Vec<u32>>());
            let alone = run(&encoded, &[&[&row]], 0).unwrap();
            for n_padding in [1, 5, 64, 1_000] {
                let padded = run(&encoded, &[&[&row]], n_padding).unwrap();
                let seen = &padded[0].contributions[..n_features as usize];
                assert_eq!(padded[0].score.to_bits(), alone[0].score.to_bits());
                assert_eq!(seen, alone[0].contributions);
            }
        }
    }

    #[test]
    fn a_row_scores_the_same_alone_and_in_a_batch() {
        let encoded = encode(&model());
        let rows = [row(&[0, 2]), row(&[1]), row(&[0, 1, 2])];
        let together = run(&encoded, &[&[&rows[0], &rows[1], &rows[2]]], 0).unwrap();
        for (row, together) in rows.iter().zip(together) {
            let alone = run(&encoded, &[&[row]], 0).unwrap();
            assert_eq!(alone[0].score, together.score);
        }
    }

    #[test]
    fn a_graph_that_says_otherwise_is_refused() {
        let other = Model {
            bias: 0.5,
            ..model()
        };
        let error = verify(&encode(&other), &model(), &[&row(&[1])]).unwrap_err();
        assert!(error.to_string().contains("row 0"), "{error}");
    }
}
