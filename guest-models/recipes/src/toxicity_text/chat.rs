//! How many ordinary messages the detector calls toxic, hateful or offensive.
//!
//! Measures only, by models that had not seen the rows. Nobody judged these messages and some
//! of them curse, so what is counted is how many are called so and not how many wrongly.

use serde::Serialize;
use toxicity_text::LABELS;
use trommel_calibration::Table;

use super::{
    model::{Model, Scores},
    samples::{CHAT, Samples, Source, TALK, Truth},
    unseen::{Cuts, Unseen},
};
use crate::{figures::rounded, parallel};

/// The probabilities at which shares are told.
pub(super) const PAST: [f64; 4] = [0.5, 0.8, 0.9, 0.95];

/// Of some rows, the shares whose probability of a label is so high.
#[derive(Debug, Serialize)]
pub(super) struct ChatFigures {
    pub rows: String,
    pub label: &'static str,
    pub n_rows: usize,
    pub shares: Vec<Share>,
    #[serde(serialize_with = "rounded")]
    pub share_past_cut: f64,
}

#[derive(Debug, Serialize, PartialEq)]
pub(super) struct Share {
    /// Inclusive.
    pub past_probability: f64,
    #[serde(serialize_with = "rounded")]
    pub share: f64,
}

/// Of the messages of each set and, to compare, of the comments; `models` are those of the
/// folds and `tables` those that the plugin ships, in step with the labels.
pub(super) fn figures(
    samples: &Samples,
    models: &[Model],
    unseen: &Unseen,
    tables: &[&Table],
    cuts: Cuts,
) -> Vec<ChatFigures> {
    let scores: Vec<Scores> = parallel::map(&samples.chat, |sample| {
        models[sample.fold].score(&sample.words, &sample.features)
    });
    let of = |rows: String, label: usize, scores: Vec<f64>| ChatFigures {
        rows,
        label: LABELS[label],
        n_rows: scores.len(),
        shares: shares(tables[label], &scores),
        share_past_cut: share(&scores, |score| score >= cuts.of_label(label)),
    };
    let mut figures = Vec::new();
    for (set, name) in CHAT.into_iter().enumerate() {
        for label in 0..LABELS.len() {
            let rows = samples.chat.iter().zip(&scores);
            let rows = rows.filter(|(sample, _)| sample.source == Source::Chat(set));
            let scores = rows.map(|(_, scores)| scores[label]).collect();
            figures.push(of(format!("{name}, no spam"), label, scores));
        }
    }
    for (toxic, kind) in [(false, "not toxic"), (true, "toxic")] {
        let rows = unseen.truths.iter().zip(&unseen.scores);
        let rows = rows.filter(|(truth, _)| **truth == Truth::Talk { toxic });
        let scores = rows.map(|(_, scores)| scores[0]).collect();
        figures.push(of(format!("{TALK}, {kind}"), 0, scores));
    }
    figures
}

fn shares(table: &Table, scores: &[f64]) -> Vec<Share> {
    let past = |past_probability: f64| Share {
        past_probability,
        share: share(scores, |score| {
            table.probability(score as f32) >= past_probability
        }),
    };
    PAST.into_iter().map(past).collect()
}

/// Of no scores none.
fn share(scores: &[f64], is_past: impl Fn(f64) -> bool) -> f64 {
    let n_past = scores.iter().filter(|score| is_past(**score)).count();
    n_past as f64 / scores.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_those_of_the_calibrated_probabilities() {
        // Of the lower bin's rows few are positive, of the upper one's nearly all.
        let table = Table::new(&[-2.0, 0.0, 2.0], vec![1, 99], vec![99, 1], 0.5).unwrap();
        let scores = [-2.0, -1.0, 1.0, 2.0];
        let n_past = |past: f64| {
            let is_past = |score: &&f64| table.probability(**score as f32) >= past;
            scores.iter().filter(is_past).count()
        };
        assert_eq!((n_past(0.5), n_past(0.95)), (2, 2));
        let found: Vec<f64> = shares(&table, &scores)
            .iter()
            .map(|one| one.share)
            .collect();
        assert_eq!(found, [0.5; 4]);
        assert!(shares(&table, &[]).iter().all(|one| one.share == 0.0));
    }
}
