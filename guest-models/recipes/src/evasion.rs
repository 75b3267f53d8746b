//! What the model withstands: every attack of `trommel-attacks` on every row, and
//! whether the evidence it shows is what moved the score.
//!
//! Measures only. No model ever learns from what is made here.

use serde::Serialize;
use spam_text::{evidence, features, normalise::Normalised};
use trommel_attacks::ATTACKS;

use crate::{
    augment::Random,
    figures::rounded,
    model::Model,
    parallel,
    samples::{SETS, Sample, Samples, extract},
};

/// The seed that texts are attacked with.
pub(crate) const SEED: u64 = 1;

/// What one attack did to one set, in points of per cent.
#[derive(Debug, Serialize)]
pub(crate) struct AttackFigures {
    pub attack: &'static str,
    pub set: &'static str,
    /// Recall at the threshold, less the recall when all spam is attacked.
    #[serde(serialize_with = "rounded")]
    pub recall_lost_points: f64,
    /// False positives when all ham is attacked, less those when none is.
    #[serde(serialize_with = "rounded")]
    pub false_positives_gained_points: f64,
}

/// Attacks every row of the labelled sets; `models` are those of the folds.
pub(crate) fn attacks(samples: &Samples, models: &[Model], threshold: f64) -> Vec<AttackFigures> {
    let is_flagged = |sample: &Sample, score: f64| (sample.set, sample.spam, score >= threshold);
    let plain = parallel::map(&samples.originals, |sample| {
        is_flagged(sample, models[sample.fold].score(&sample.features))
    });
    let mut figures = Vec::new();
    for attack in ATTACKS {
        let attacked = parallel::map(&samples.originals, |sample| {
            let text = attack.on(samples.text(sample), SEED);
            is_flagged(sample, models[sample.fold].score(&extract(&text)))
        });
        for (set, name) in SETS.iter().enumerate() {
            let points = |rows: &[(usize, bool, bool)], spam: bool| {
                let rows = rows.iter().filter(|row| row.0 == set && row.1 == spam);
                let n_rows = rows.clone().count() as f64;
                100.0 * rows.filter(|row| row.2).count() as f64 / n_rows
            };
            figures.push(AttackFigures {
                attack: attack.name,
                set: name,
                recall_lost_points: points(&plain, true) - points(&attacked, true),
                false_positives_gained_points: points(&attacked, false) - points(&plain, false),
            });
        }
    }
    figures
}

/// How true the evidence is.
#[derive(Debug, Serialize)]
pub(crate) struct EvidenceFigures {
    pub n_flagged: usize,
    /// Share of flagged items whose score falls more when the spans shown are
    /// deleted than, on average, when as much is deleted elsewhere at random.
    #[serde(serialize_with = "rounded")]
    pub share_true: f64,
    /// Of flagged texts over 200 characters, the largest share shown.
    #[serde(serialize_with = "rounded")]
    pub largest_share_shown: f64,
}

/// How often as much as the spans is deleted at random places.
const N_TRIALS: usize = 10;

/// Tries the evidence of all flagged rows, by models that had not seen them.
pub(crate) fn evidence(samples: &Samples, models: &[Model], threshold: f64) -> EvidenceFigures {
    let tried = parallel::map(&samples.originals, |sample| {
        let model = &models[sample.fold];
        let score = model.score(&sample.features);
        (score >= threshold).then(|| trial_of(samples.text(sample), model, score))
    });
    EvidenceFigures::of(&tried.into_iter().flatten().collect::<Vec<_>>())
}

impl EvidenceFigures {
    pub(crate) fn of(tried: &[Trial]) -> Self {
        let n_true = tried.iter().filter(|trial| trial.is_true).count();
        Self {
            n_flagged: tried.len(),
            share_true: n_true as f64 / tried.len().max(1) as f64,
            largest_share_shown: tried
                .iter()
                .map(|trial| trial.share_shown)
                .fold(0.0, f64::max),
        }
    }
}

/// What became of one row's evidence.
pub(crate) struct Trial {
    pub is_true: bool,
    /// 0 for texts of up to 200 characters.
    pub share_shown: f64,
}

fn trial_of(text: &str, model: &Model, score: f64) -> Trial {
    let normalised = Normalised::of(&[text]);
    let features = features::extract(&normalised);
    let contributions: Vec<f32> = model
        .contributions(&features)
        .map(|share| share as f32)
        .collect();
    let spans = evidence::spans(&[text], &normalised, &features.ids, &contributions);
    let spans: Vec<(usize, usize)> = spans.iter().map(|span| (span.start, span.end)).collect();
    trial(text, &spans, score, |text| model.score(&extract(text)))
}

/// Deletes the spans, given by their bytes, and as much elsewhere; `score` is the text's.
pub(crate) fn trial(
    text: &str,
    spans: &[(usize, usize)],
    score: f64,
    score_of: impl Fn(&str) -> f64,
) -> Trial {
    let chars: Vec<(usize, char)> = text.char_indices().collect();
    let at = |byte: usize| chars.partition_point(|&(at, _)| at < byte);
    let shown: Vec<(usize, usize)> = spans
        .iter()
        .map(|&(start, end)| (at(start), at(end) - at(start)))
        .collect();
    let n_shown: usize = shown.iter().map(|&(_, n_chars)| n_chars).sum();
    let without = |gaps: &[(usize, usize)]| {
        let is_left = |at: &usize| !gaps.iter().any(|&(from, n)| (from..from + n).contains(at));
        let left: String = (0..chars.len())
            .filter(is_left)
            .map(|at| chars[at].1)
            .collect();
        score_of(&left)
    };
    let mut random = Random::new(chars.len() as u64);
    let elsewhere: f64 = (0..N_TRIALS)
        .map(|_| {
            let gaps: Vec<(usize, usize)> = shown
                .iter()
                .map(|&(_, n_chars)| (random.below(chars.len() - n_chars + 1), n_chars))
                .collect();
            score - without(&gaps)
        })
        .sum();
    Trial {
        is_true: !shown.is_empty() && score - without(&shown) > elsewhere / N_TRIALS as f64,
        share_shown: if chars.len() > 200 {
            n_shown as f64 / chars.len() as f64
        } else {
            0.0
        },
    }
}
