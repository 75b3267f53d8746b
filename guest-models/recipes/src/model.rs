//! The linear text model: one table of what each feature is worth.
//!
//! Stands between features and scores, in training and when its own scores are
//! compared with those of the exported graph. Knows no files.

use spam_text::features::{BUCKETS, Features};

use crate::logistic::{self, Descent, Row, Target};

/// Cost of an error on an average row; the inverse of regularisation.
pub(crate) const COST: f64 = 4.0;

/// What all rows of further ham together cost, where each class of each set costs 1.
pub(crate) const FURTHER_HAM: f64 = 1.0;

pub(crate) const DESCENT: Descent = Descent {
    seed: 1,
    tolerance: 0.1,
    max_passes: 20,
};

/// `score = bias + Σ weight[id] · value`.
///
/// `weight`: one for each bucket, the idf multiplied into it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Model {
    pub weight: Vec<f32>,
    pub bias: f32,
}

/// Rows that together cost what a class of a set costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Group {
    /// One class of one labelled set.
    Class { set: usize, spam: bool },
    /// One lot of a set of further ham; all of those share one class's cost.
    Further { set: usize, lot: usize },
}

/// A row to learn from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Example<'a> {
    pub features: &'a Features,
    pub spam: bool,
    pub group: Group,
    /// Its share among the rows of its group, as a factor.
    pub emphasis: f64,
}

impl Model {
    pub(crate) fn fit(examples: &[Example]) -> Self {
        let idf = idf(examples);
        let features = examples.iter().map(|example| example.features);
        let rows: Vec<Row<'_>> = features
            .map(|Features { ids, values }| Row { ids, values })
            .collect();
        let line = logistic::fit(&rows, &idf, &targets(examples), DESCENT);
        Self {
            weight: line.weights,
            bias: line.bias as f32,
        }
    }

    /// The logit of an item being spam; the bias alone if it has no features.
    pub(crate) fn score(&self, features: &Features) -> f64 {
        f64::from(self.bias) + self.contributions(features).sum::<f64>()
    }

    /// Each feature's share of the score.
    pub(crate) fn contributions(&self, features: &Features) -> impl Iterator<Item = f64> {
        let terms = features.ids.iter().zip(&features.values);
        terms.map(|(&id, &value)| f64::from(self.weight[id as usize] * value))
    }
}

/// What every feature is multiplied with while fitting: the lower, the more the bias says.
const SCALE: f64 = 0.9;

/// How telling the presence of each bucket is, one for each.
fn idf(examples: &[Example]) -> Vec<f32> {
    let mut n_rows_with = vec![0_u32; BUCKETS as usize];
    for id in examples.iter().flat_map(|example| &example.features.ids) {
        n_rows_with[*id as usize] += 1;
    }
    let n_rows = examples.len() as f64;
    let idf = |&n: &u32| (SCALE * (((1.0 + n_rows) / (1.0 + f64::from(n))).ln() + 1.0)) as f32;
    n_rows_with.iter().map(idf).collect()
}

/// Costs such that every class of a set costs the same in all, and all further
/// ham [`FURTHER_HAM`] times that.
fn targets(examples: &[Example]) -> Vec<Target> {
    let mut sizes = std::collections::BTreeMap::new();
    for example in examples {
        *sizes.entry(example.group).or_insert(0.0) += example.emphasis;
    }
    let is_class = |group: &Group| matches!(group, Group::Class { .. });
    let n_classes = sizes.keys().filter(|group| is_class(group)).count() as f64;
    let n_further = sizes.len() as f64 - n_classes;
    let n_labelled = examples
        .iter()
        .filter(|example| is_class(&example.group))
        .count() as f64;
    let target = |example: &Example| {
        let share = match example.group {
            Group::Class { .. } => 1.0,
            Group::Further { .. } => FURTHER_HAM / n_further,
        };
        let group = share * COST * n_labelled / n_classes;
        Target {
            positive: example.spam,
            cost: group * example.emphasis / sizes[&example.group],
        }
    };
    examples.iter().map(target).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use spam_text::{features, normalise::Normalised};

    fn extract(text: &str) -> Features {
        features::extract(&Normalised::of(&[text]))
    }

    fn example(features: &Features, spam: bool) -> Example<'_> {
        Example {
            features,
            spam,
            group: Group::Class { set: 0, spam },
            emphasis: 1.0,
        }
    }

    fn fitted() -> Model {
        let (spam, ham) = (extract("win a prize now"), extract("see you at home"));
        Model::fit(&[
            example(&spam, true),
            example(&ham, false),
            example(&ham, false),
        ])
    }

    #[test]
    fn spam_scores_above_ham() {
        let model = fitted();
        assert!(model.score(&extract("a prize")) > model.score(&extract("at home")));
    }

    #[test]
    fn an_empty_text_scores_the_bias() {
        let model = fitted();
        assert_eq!(model.score(&extract("")), f64::from(model.bias));
    }

    #[test]
    fn classes_cost_the_same_whatever_their_size() {
        let features = extract("tea");
        let (ham, spam) = (example(&features, false), example(&features, true));
        let further = Example {
            group: Group::Further { set: 3, lot: 0 },
            ..ham
        };
        let targets = targets(&[ham, ham, ham, spam, further]);
        let cost = |targets: &[Target]| targets.iter().map(|target| target.cost).sum::<f64>();
        assert!((cost(&targets[..3]) - targets[3].cost).abs() < 1e-9);
        assert!((cost(&targets[4..]) - FURTHER_HAM * targets[3].cost).abs() < 1e-9);
    }

    #[test]
    fn fitting_twice_gives_the_same_bits() {
        assert_eq!(fitted(), fitted());
    }
}
