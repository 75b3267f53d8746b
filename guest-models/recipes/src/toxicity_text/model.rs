//! The model: a linear half over hashed features and an encoder over pieces, whose logits are
//! added, each at its share. Fits both; knows no files.

use toxicity_text::{
    features::{BUCKETS, Features},
    vocabulary::PADDING,
    words::Words,
};

use super::{
    encoder::{Encoder, Lesson, N_LABELS, Schooling},
    pieces::Pieces,
    samples::{Sample, Source},
};
use crate::logistic::{self, Descent, Line, Row, Target};

/// Logits of `toxic`, `hate`, `offensive`.
pub(super) type Scores = [f64; N_LABELS];

/// What each label's score takes of each line of the linear half: of that of what is toxic, of
/// that of hate, of that of what offends.
const OF_LINES: [[f32; N_LABELS]; N_LABELS] = [[0.4, 0.0, 0.6], [0.0, 0.55, 0.0], [0.0, 0.0, 0.7]];

/// What each label's score takes of the encoder.
const OF_ENCODER: [f32; N_LABELS] = [0.4, 0.45, 0.3];

const SCHOOLING: Schooling = Schooling {
    seed: 5,
    n_epochs: 4,
    batch: 32,
    rate: 1.5e-3,
    forget: 0.05,
    drop: 0.2,
    decay: 0.01,
};

/// Of a longer text the encoder is taught the beginning, in pieces.
const MOST_PIECES: usize = 112;

/// How often the encoder is told that nothing is neither toxic nor hate nor offensive.
const N_BLANKS: usize = 100;

const DESCENT: Descent = Descent {
    seed: 1,
    tolerance: 0.1,
    max_passes: 12,
};

/// What an error on a row costs the encoder, label by label. Tweets say little about what is
/// toxic in a discussion, and comments are few.
const TWEET: [f32; N_LABELS] = [0.15, 1.0, 1.0];
const TALK: [f32; N_LABELS] = [6.0, 1.0, 1.0];
/// Nobody judged a message: it is taken for harmless and some are not.
const CHAT: [f32; N_LABELS] = [0.5, 0.3, 0.3];
const COPY: f32 = 0.5;

/// What an error on a row costs each line of the linear half; the inverse of regularisation.
/// Tweets only blur what the line of `toxic` learns from the comments.
const LINE_TWEET: [f64; N_LABELS] = [0.0, 1.0, 1.0];
const LINE_TALK: [f64; N_LABELS] = [8.0, 1.0, 1.0];
/// Only what calls messages toxic learns from them: the line of hate is no part of that.
const LINE_CHAT: [f64; N_LABELS] = [0.24, 0.0, 0.3];

/// Sums of words cannot say "not" or "whom": a line that is made to try forgets what it knew.
/// Without any sentence the line of `toxic` takes most short texts about groups for toxic.
const LINE_MADE: [f64; N_LABELS] = [0.16, 0.1, 0.1];

/// How much more a tweet costs the line of hate that is hate.
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
        let mut encoder = fit_encoder(samples, &pieces);
        encoder.scale(OF_ENCODER);
        let mut model = Self {
            pieces,
            encoder,
            linear: vec![[0.0; N_LABELS]; BUCKETS as usize],
            bias: [0.0; N_LABELS],
        };
        for at in 0..N_LABELS {
            let line = fit_line(samples, at);
            let shares = OF_LINES.map(|of_label| of_label[at]);
            for (bias, share) in model.bias.iter_mut().zip(shares) {
                *bias += line.bias as f32 * share;
            }
            for (worth, weight) in model.linear.iter_mut().zip(line.weights) {
                for (worth, share) in worth.iter_mut().zip(shares) {
                    *worth += weight * share;
                }
            }
        }
        model
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

fn fit_encoder(samples: &[&Sample], pieces: &Pieces) -> Encoder {
    let vocabulary = pieces.vocabulary();
    let encoded: Vec<Vec<u32>> = samples
        .iter()
        .map(|sample| {
            let mut pieces = vocabulary.encode(&sample.words);
            pieces.truncate(MOST_PIECES);
            pieces
        })
        .collect();
    let lessons = samples
        .iter()
        .zip(&encoded)
        .filter(|(_, pieces)| !pieces.is_empty());
    let mut lessons: Vec<Lesson<'_>> = lessons
        .map(|(sample, pieces)| Lesson {
            pieces,
            labels: sample.labels,
            weights: weights(sample),
        })
        .collect();
    // So the plugin packs a row without pieces.
    let blank = Lesson {
        pieces: &[PADDING],
        labels: [Some(0.0); N_LABELS],
        weights: [1.0; N_LABELS],
    };
    lessons.extend(std::iter::repeat_n(blank, N_BLANKS));
    Encoder::fit(&lessons, vocabulary.n_pieces(), SCHOOLING)
}

/// One line of the linear half: logistic regression on scaled features.
fn fit_line(samples: &[&Sample], label: usize) -> Line {
    let (mut rows, mut targets) = (Vec::new(), Vec::new());
    for sample in samples {
        // A tweet is what most of its coders say.
        let Some(positive) = sample.labels[label].map(|share| share > 0.5) else {
            continue;
        };
        let rare = if positive && label == 1 { RARE } else { 1.0 };
        let cost = rare * cost(sample, label);
        if cost > 0.0 {
            rows.push(Row {
                ids: &sample.features.ids,
                values: &sample.features.values,
            });
            targets.push(Target { positive, cost });
        }
    }
    let scales = match label {
        0 => rarities(samples),
        _ => contrasts(&rows, &targets),
    };
    logistic::fit(&rows, &scales, &targets, DESCENT)
}

/// What an error on each label of a row costs the encoder.
fn weights(sample: &Sample) -> [f32; N_LABELS] {
    let of_source = match sample.source {
        Source::Tweet => TWEET,
        Source::Talk => TALK,
        Source::Chat(_) => CHAT,
        Source::Made(_) => [1.0; N_LABELS],
    };
    of_source.map(|weight| weight * if sample.is_copy { COPY } else { 1.0 })
}

/// What it costs a line.
fn cost(sample: &Sample, label: usize) -> f64 {
    let of_source = match sample.source {
        Source::Tweet => LINE_TWEET,
        Source::Talk => LINE_TALK,
        Source::Chat(_) => LINE_CHAT,
        Source::Made(_) => LINE_MADE,
    };
    of_source[label] * if sample.is_copy { f64::from(COPY) } else { 1.0 }
}

/// For each bucket the logarithm of how few of the comments it stands in, as searches weigh
/// words: Spärck Jones 1972, doi:10.1108/eb026526. A few hundred rows have no better word.
// Sentences and messages, which are many more, would say what is rare in them instead.
fn rarities(samples: &[&Sample]) -> Vec<f32> {
    let is_comment = |sample: &&&Sample| sample.source == Source::Talk;
    let mut n_rows = vec![0_u32; BUCKETS as usize];
    let mut n_all = 0.0;
    for comment in samples.iter().filter(is_comment) {
        n_all += 1.0;
        for id in &comment.features.ids {
            n_rows[*id as usize] += 1;
        }
    }
    let rarity = |&n: &u32| (((1.0 + n_all) / (1.0 + f64::from(n))).ln() + 1.0) as f32;
    n_rows.iter().map(rarity).collect()
}

/// For each bucket the logarithm of how much more of one side's cost lies on it than of the
/// other's, without its sign: Wang & Manning 2012, "Baselines and Bigrams", ACL.
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
