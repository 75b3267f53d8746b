//! The model: a linear half over hashed features and an encoder over pieces, whose logits
//! are averaged. Fits both; knows no files.

use toxicity_text::{
    features::{BUCKETS, Features},
    words::Words,
};

use super::{
    encoder::{Encoder, Lesson, N_LABELS, Schooling},
    pieces::Pieces,
    samples::{Sample, Source},
};
use crate::logistic::{self, Descent, Row, Target};

/// Logits of `toxic`, `hate`, `offensive`.
pub(super) type Scores = [f64; N_LABELS];

/// What the linear half has of each label's score; the encoder has the rest.
const LINEAR_SHARE: [f32; N_LABELS] = [0.4, 0.6, 0.6];

const SCHOOLING: Schooling = Schooling {
    seed: 5,
    n_epochs: 5,
    batch: 32,
    rate: 1.5e-3,
    forget: 0.05,
    drop: 0.2,
    decay: 0.01,
};

const DESCENT: Descent = Descent {
    seed: 1,
    tolerance: 0.1,
    max_passes: 12,
};

/// What an error of the linear half costs on an average row; the inverse of regularisation.
const COST: f64 = 0.5;

/// What an error on a row costs, label by label. Tweets say little about what is toxic in a
/// discussion, and comments are few.
const TWEET: [f32; N_LABELS] = [0.15, 1.0, 1.0];
const TALK: [f32; N_LABELS] = [6.0, 1.0, 1.0];
const COPY: f32 = 0.5;

/// What the linear half makes of a sentence of ours, beside the encoder. Sums of words cannot
/// say "not" or "whom"; a half that is made to try forgets what it knew of tweets.
const MADE: [f32; N_LABELS] = [0.6, 0.2, 0.2];

/// How much more a tweet costs the linear half that is hate.
const RARE: f64 = 3.0;

/// Rows that every feature is counted in beforehand, on both sides.
const SMOOTHING: f64 = 2.0;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Model {
    pub pieces: Pieces,
    pub encoder: Encoder,
    /// What each bucket is worth, label by label.
    pub linear: Vec<[f32; N_LABELS]>,
    pub bias: [f32; N_LABELS],
}

impl Model {
    pub(super) fn fit(samples: &[&Sample]) -> Self {
        let plain = samples.iter().filter(|sample| !sample.is_copy);
        let pieces = Pieces::of(plain.map(|sample| &sample.words));
        let vocabulary = pieces.vocabulary();
        let encoded: Vec<Vec<u32>> = samples
            .iter()
            .map(|s| vocabulary.encode(&s.words))
            .collect();
        let lessons: Vec<Lesson<'_>> = samples
            .iter()
            .zip(&encoded)
            .filter(|(_, pieces)| !pieces.is_empty())
            .map(|(sample, pieces)| Lesson {
                pieces,
                labels: sample.labels,
                weights: weights(sample),
            })
            .collect();
        let mut encoder = Encoder::fit(&lessons, vocabulary.n_pieces(), SCHOOLING);
        encoder.scale(LINEAR_SHARE.map(|share| 1.0 - share));
        let mut model = Self {
            pieces,
            encoder,
            linear: vec![[0.0; N_LABELS]; BUCKETS as usize],
            bias: [0.0; N_LABELS],
        };
        for label in 0..N_LABELS {
            model.fit_linear(samples, label);
        }
        model
    }

    /// Logistic regression whose features are scaled by how much more often they stand on one
    /// side than on the other: Wang & Manning 2012, "Baselines and Bigrams", ACL.
    fn fit_linear(&mut self, samples: &[&Sample], label: usize) {
        let (mut rows, mut targets) = (Vec::new(), Vec::new());
        for sample in samples {
            // A tweet is what most of its coders say.
            let Some(positive) = sample.labels[label].map(|share| share > 0.5) else {
                continue;
            };
            rows.push(Row {
                ids: &sample.features.ids,
                values: &sample.features.values,
            });
            let rare = if positive && label == 1 { RARE } else { 1.0 };
            let cost = COST * rare * cost(sample, label);
            targets.push(Target { positive, cost });
        }
        let line = logistic::fit(&rows, &contrasts(&rows, &targets), &targets, DESCENT);
        self.bias[label] = line.bias as f32 * LINEAR_SHARE[label];
        for (worth, weight) in self.linear.iter_mut().zip(line.weights) {
            worth[label] = weight * LINEAR_SHARE[label];
        }
    }

    pub(super) fn score(&self, words: &Words, features: &Features) -> Scores {
        let pieces = self.pieces.vocabulary().encode(words);
        let mut scores = self.encoder.score(&pieces).map(f64::from);
        for (score, bias) in scores.iter_mut().zip(self.bias) {
            *score += f64::from(bias);
        }
        for (&id, &value) in features.ids.iter().zip(&features.values) {
            for (score, worth) in scores.iter_mut().zip(self.linear[id as usize]) {
                *score += f64::from(worth * value);
            }
        }
        scores
    }
}

/// What an error on each label of a row costs.
fn weights(sample: &Sample) -> [f32; N_LABELS] {
    let of_source = match sample.source {
        Source::Tweet => TWEET,
        Source::Talk => TALK,
        Source::Made(_) => [1.0; N_LABELS],
    };
    of_source.map(|weight| weight * if sample.is_copy { COPY } else { 1.0 })
}

fn cost(sample: &Sample, label: usize) -> f64 {
    let made = match sample.source {
        Source::Made(_) => MADE[label],
        _ => 1.0,
    };
    f64::from(weights(sample)[label] * made)
}

/// For each bucket the logarithm of how much more of one side's cost lies on it than of the
/// other's, without its sign.
fn contrasts(rows: &[Row<'_>], targets: &[Target]) -> Vec<f32> {
    let mut sums = vec![[SMOOTHING; 2]; BUCKETS as usize];
    let mut totals = [SMOOTHING; 2];
    let mean = targets.iter().map(|target| target.cost).sum::<f64>() / targets.len() as f64;
    for (row, target) in rows.iter().zip(targets) {
        let side = usize::from(target.positive);
        totals[side] += target.cost / mean;
        for &id in row.ids {
            sums[id as usize][side] += target.cost / mean;
        }
    }
    let contrast =
        |sums: &[f64; 2]| ((sums[1] / totals[1]) / (sums[0] / totals[0])).ln().abs() as f32;
    sums.iter().map(contrast).collect()
}
