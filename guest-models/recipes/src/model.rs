//! The linear text model: tables of what each feature is worth.
//!
//! Stands between features and scores, in training and when its own scores are
//! compared with those of the exported graph. Knows no files.

use spam_text::features::{BUCKETS, Features, WORD_BUCKETS};

use crate::logistic::{self, Descent, Rows, Target};

/// How many times heavier words weigh than character runs, before the norm.
// A text has about three times as many distinct character runs as words, and
// the common norm would drown the words without this.
pub(crate) const WORD_EMPHASIS: f64 = 2.0;

/// The power of a row's length that the row is divided by.
// Scaled to length 1, three words of chat speak as loudly as a whole mail and
// no one cut fits both. A power below 1 lets a longer text be surer.
pub(crate) const NORM_POWER: f64 = 0.75;

/// Cost of an error on an average row; the inverse of regularisation.
pub(crate) const COST: f64 = 64.0;

pub(crate) const DESCENT: Descent = Descent {
    seed: 1,
    tolerance: 0.01,
    max_passes: 60,
};

/// `score = bias + Σ weight[id] · x / ‖x‖^¾` with `x = value · idf[id]`.
///
/// `idf`, `weight`: one for each bucket.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Model {
    pub idf: Vec<f32>,
    pub weight: Vec<f32>,
    pub bias: f32,
}

/// A row to learn from. Rows of each `group` together cost the same.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Example<'a> {
    pub features: &'a Features,
    pub spam: bool,
    pub group: usize,
}

impl Model {
    pub(crate) fn fit(examples: &[Example]) -> Self {
        let idf = idf(examples);
        let mut rows = Rows::default();
        for example in examples {
            rows.push(&example.features.ids, &scaled(&idf, example.features));
        }
        let line = logistic::fit(&rows, &targets(examples), BUCKETS as usize, DESCENT);
        Self {
            idf,
            weight: line.weights.iter().map(|&weight| weight as f32).collect(),
            bias: line.bias as f32,
        }
    }

    /// The logit of an item being spam; the bias alone if it has no features.
    pub(crate) fn score(&self, features: &Features) -> f64 {
        let scaled = scaled(&self.idf, features);
        let share = |(&id, &x): (&u32, &f32)| f64::from(self.weight[id as usize]) * f64::from(x);
        f64::from(self.bias) + features.ids.iter().zip(&scaled).map(share).sum::<f64>()
    }
}

/// How telling the presence of each bucket is.
// The root of the usual logarithm: with rows of three lengths in one model the
// plain one lets the rare character runs of a text speak too loudly.
fn idf(examples: &[Example]) -> Vec<f32> {
    let mut n_rows_with = vec![0_u32; BUCKETS as usize];
    for id in examples.iter().flat_map(|example| &example.features.ids) {
        n_rows_with[*id as usize] += 1;
    }
    let n_rows = examples.len() as f64;
    let idf = |(bucket, &n): (u32, &u32)| {
        let idf = (((1.0 + n_rows) / (1.0 + f64::from(n))).ln() + 1.0).sqrt();
        let emphasis = if WORD_BUCKETS.contains(&bucket) {
            WORD_EMPHASIS
        } else {
            1.0
        };
        (idf * emphasis) as f32
    };
    (0..BUCKETS).zip(&n_rows_with).map(idf).collect()
}

/// Values times idf, divided by a power of their length.
fn scaled(idf: &[f32], features: &Features) -> Vec<f32> {
    let terms = features.ids.iter().zip(&features.values);
    let mut scaled: Vec<f32> = terms
        .map(|(&id, &value)| value * idf[id as usize])
        .collect();
    let square: f64 = scaled.iter().map(|&x| f64::from(x).powi(2)).sum();
    let divisor = square.powf(NORM_POWER / 2.0) as f32;
    scaled.iter_mut().for_each(|x| *x /= divisor);
    scaled
}

/// Costs such that every group that has rows costs the same in all.
fn targets(examples: &[Example]) -> Vec<Target> {
    let n_groups = examples
        .iter()
        .map(|example| example.group + 1)
        .max()
        .unwrap_or(0);
    let mut sizes = vec![0.0; n_groups];
    for example in examples {
        sizes[example.group] += 1.0;
    }
    let n_filled = sizes.iter().filter(|&&size| size > 0.0).count() as f64;
    let target = |example: &Example| Target {
        positive: example.spam,
        cost: COST * examples.len() as f64 / (n_filled * sizes[example.group]),
    };
    examples.iter().map(target).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use spam_text::features::extract;

    fn fitted() -> Model {
        let (spam, ham) = (extract(&["win a prize now"]), extract(&["see you at home"]));
        Model::fit(&[
            Example {
                features: &spam,
                spam: true,
                group: 1,
            },
            Example {
                features: &ham,
                spam: false,
                group: 0,
            },
            Example {
                features: &ham,
                spam: false,
                group: 0,
            },
        ])
    }

    #[test]
    fn spam_scores_above_ham() {
        let model = fitted();
        assert!(model.score(&extract(&["a prize"])) > model.score(&extract(&["at home"])));
    }

    #[test]
    fn an_empty_text_scores_the_bias() {
        let model = fitted();
        assert_eq!(model.score(&extract(&[""])), f64::from(model.bias));
    }

    #[test]
    fn groups_cost_the_same_whatever_their_size() {
        let features = extract(&["tea"]);
        let example = |group| Example {
            features: &features,
            spam: group == 1,
            group,
        };
        let targets = targets(&[example(0), example(0), example(0), example(1)]);
        let ham: f64 = targets[..3].iter().map(|target| target.cost).sum();
        assert_eq!(ham, targets[3].cost);
    }

    #[test]
    fn fitting_twice_gives_the_same_bits() {
        assert_eq!(fitted(), fitted());
    }
}
