//! What the model withstands, and whether the evidence it shows is what moved the score.
//!
//! Measures only, by models that had not seen the rows. Nothing is learnt from what is made
//! here.

use serde::Serialize;
use toxicity_text::{
    evidence,
    features::{self, extract},
    words::Words,
};
use trommel_attacks::ATTACKS;

use super::{
    model::{Model, Scores},
    samples::{Sample, Samples, TALK, TWEETS, Truth, words},
    unseen::{Cuts, Unseen},
};
use crate::{
    evasion::{EvidenceFigures, SEED, trial},
    figures::rounded,
    parallel,
};

/// What one attack did to one label, in points of per cent.
#[derive(Debug, Serialize)]
pub(super) struct AttackFigures {
    pub attack: &'static str,
    pub set: &'static str,
    pub label: &'static str,
    /// Recall at the cut, less the recall when all positive rows are attacked.
    #[serde(serialize_with = "rounded")]
    pub recall_lost_points: f64,
    /// False positives when all other rows are attacked, less those when none is.
    #[serde(serialize_with = "rounded")]
    pub false_positives_gained_points: f64,
}

/// Which label is tried on which set.
const TRIED: [(&str, &str, usize); 3] = [
    (TALK, "toxic", 0),
    (TWEETS, "hate", 1),
    (TWEETS, "offensive", 2),
];

/// Attacks every row; `models` are those of the folds.
pub(super) fn attacks(
    samples: &Samples,
    models: &[Model],
    unseen: &Unseen,
    cuts: Cuts,
) -> Vec<AttackFigures> {
    let mut figures = Vec::new();
    for attack in ATTACKS {
        let attacked: Vec<Scores> = parallel::map(&samples.originals, |sample| {
            let words = words(&attack.on(&sample.text, SEED));
            models[sample.fold].score(&words, &extract(&words))
        });
        for (set, name, label) in TRIED {
            let points = |scores: &[Scores], wanted: bool| {
                let rows = scores.iter().zip(&samples.originals);
                let rows = rows.filter(|(_, sample)| sample.truth.of_label(label) == Some(wanted));
                let n_rows = rows.clone().count() as f64;
                let flagged = rows.filter(|(scores, _)| scores[label] >= cuts.of_label(label));
                100.0 * flagged.count() as f64 / n_rows
            };
            figures.push(AttackFigures {
                attack: attack.name,
                set,
                label: name,
                recall_lost_points: points(&unseen.scores, true) - points(&attacked, true),
                false_positives_gained_points: points(&attacked, false)
                    - points(&unseen.scores, false),
            });
        }
    }
    figures
}

/// Tries the evidence for `toxic` in comments and for `hate` in tweets.
pub(super) fn evidence(
    samples: &Samples,
    models: &[Model],
    unseen: &Unseen,
    cuts: Cuts,
) -> EvidenceFigures {
    let flagged: Vec<(&Sample, usize)> = samples
        .originals
        .iter()
        .zip(&unseen.scores)
        .filter_map(|(sample, scores)| {
            let label = usize::from(matches!(sample.truth, Truth::Tweet(_)));
            (scores[label] >= cuts.of_label(label)).then_some((sample, label))
        })
        .collect();
    let tried = parallel::map(&flagged, |&(sample, label)| {
        let model = &models[sample.fold];
        let score = |words: &Words| model.score(words, &features::extract(words))[label];
        let whole = score(&sample.words);
        let windows = evidence::windows(&sample.words);
        let losses: Vec<f32> = windows
            .iter()
            .map(|window| (whole - score(&sample.words.without(window.clone()))) as f32)
            .collect();
        let spans = evidence::spans(&[&sample.text], &sample.words, &windows, &losses);
        let spans: Vec<(usize, usize)> = spans.iter().map(|span| (span.start, span.end)).collect();
        trial(&sample.text, &spans, whole, |text| score(&words(text)))
    });
    EvidenceFigures::of(&tried)
}
