//! The recipe of the `spam-text` model: from labelled sets to four files.
//!
//! Reads top to bottom in [`train`]. Holds the order of the steps and the
//! choices that are this model's own; the arithmetic lives in its neighbours.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use spam_text::features::{BUCKETS, Features, extract};

use crate::{
    calibrate::{self, Calibrated, HeldOut},
    data::{self, Set, hex},
    figures::{self, Calibration, Figures, ModelFile, Recipe, SetFigures, Threshold},
    folds::{N_FOLDS, SALT, fold},
    metrics::{Confusion, auc, recall_at_fpr},
    model::{COST, DESCENT, Example, Model, NORM_POWER, WORD_EMPHASIS},
    onnx,
    reliability::{self, Reliability},
};

const SETS: [&str; 3] = ["sms-spam", "youtube-spam", "spamassassin"];
const LABEL: &str = "spam";
const FPR: f64 = 0.01;

/// Trains on the sets under `data` and writes the model, its calibrator, its
/// figures and the figures of its card into `out`.
pub(crate) fn train(data: &Path, out: &Path) -> Result<()> {
    let card_path = out.join("MODEL_CARD.md");
    let card = fs::read_to_string(&card_path).with_context(|| {
        format!(
            "cannot read {}; --out must name the plugin's folder, which holds its model card",
            card_path.display()
        )
    })?;
    let sets = SETS
        .iter()
        .map(|name| data::read(data, name))
        .collect::<Result<Vec<Set>>>()?;
    let samples = samples(&sets);

    let unseen = out_of_fold(&samples);
    let threshold = threshold(&unseen);
    let prevalence = calibrate::natural_prevalence(&unseen.truths);
    let calibrated = Calibrated::of(unseen.held_out(), prevalence)?;
    let reliability = Reliability::at(prevalence, &calibrated.probabilities, &unseen.truths);
    let table = &calibrated.table;
    let model = fit(&samples, |_| true);

    let encoded = onnx::encode(&model);
    let items: Vec<&Features> = samples.iter().map(|sample| &sample.features).collect();
    let furthest = onnx::verify(&encoded, &model, &items)?;
    eprintln!(
        "model.onnx agrees with the trainer on {} rows to {furthest:.1e}",
        items.len()
    );

    let figures = Figures {
        recipe: recipe(),
        threshold: Threshold {
            chosen_on: "out-of-fold scores of all sets: the greatest least F1 of any set",
            score: threshold,
            probability: table.probability(threshold as f32),
        },
        sets: set_figures(&sets, &samples, &unseen, &calibrated, threshold),
        calibration: Calibration {
            counted_on: "out-of-fold scores of all sets at their natural frequencies",
            prevalence,
            n_table_bins: table.bins().len(),
            n_positives: table.n_positives(),
            n_negatives: table.n_negatives(),
            n_bins: reliability::N_BINS,
            expected_calibration_error: reliability.error(),
        },
        model: ModelFile {
            n_bytes: encoded.len(),
            sha256: hex(&Sha256::digest(&encoded)),
        },
    };
    let write = |name: &str, bytes: &[u8]| {
        let path = out.join(name);
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
    };
    let card = figures::rewrite(&card, &figures.table())
        .with_context(|| format!("in {}", card_path.display()))?;
    write("model.onnx", &encoded)?;
    write(
        "calibrator.toml",
        calibrate::file(&calibrator_head(samples.len()), &[(LABEL, table)]).as_bytes(),
    )?;
    write(
        &reliability::file_name(LABEL),
        reliability.svg(LABEL).as_bytes(),
    )?;
    write("figures.json", figures.json()?.as_bytes())?;
    write("MODEL_CARD.md", card.as_bytes())?;
    eprint!("{}", figures.table());
    Ok(())
}

/// A row made ready.
struct Sample {
    set: usize,
    spam: bool,
    fold: usize,
    features: Features,
}

fn samples(sets: &[Set]) -> Vec<Sample> {
    let rows = sets
        .iter()
        .enumerate()
        .flat_map(|(set, Set { rows, .. })| rows.iter().map(move |row| (set, row)));
    rows.map(|(set, row)| Sample {
        set,
        spam: row.spam,
        fold: fold(&row.cluster),
        features: extract(&[&row.text]),
    })
    .collect()
}

/// Fits a model to the samples that `keep` keeps; each set and class weighs the same.
fn fit(samples: &[Sample], keep: impl Fn(&Sample) -> bool) -> Model {
    let examples: Vec<Example> = samples
        .iter()
        .filter(|sample| keep(sample))
        .map(|sample| Example {
            features: &sample.features,
            spam: sample.spam,
            group: 2 * sample.set + usize::from(sample.spam),
        })
        .collect();
    Model::fit(&examples)
}

/// Scores given by models that had not seen the row's cluster.
struct Unseen {
    scores: Vec<f64>,
    truths: Vec<bool>,
    sets: Vec<usize>,
    folds: Vec<usize>,
}

fn out_of_fold(samples: &[Sample]) -> Unseen {
    let models: Vec<Model> = (0..N_FOLDS)
        .map(|fold| fit(samples, |sample| sample.fold != fold))
        .collect();
    Unseen {
        scores: samples
            .iter()
            .map(|sample| models[sample.fold].score(&sample.features))
            .collect(),
        truths: samples.iter().map(|sample| sample.spam).collect(),
        sets: samples.iter().map(|sample| sample.set).collect(),
        folds: samples.iter().map(|sample| sample.fold).collect(),
    }
}

impl Unseen {
    fn held_out(&self) -> HeldOut<'_> {
        HeldOut {
            scores: &self.scores,
            truths: &self.truths,
            folds: &self.folds,
        }
    }

    /// Scores and truths of the rows that `keep` keeps, given set and fold.
    fn pick(&self, keep: impl Fn(usize, usize) -> bool) -> (Vec<f64>, Vec<bool>) {
        (0..self.scores.len())
            .filter(|&at| keep(self.sets[at], self.folds[at]))
            .map(|at| (self.scores[at], self.truths[at]))
            .unzip()
    }
}

/// The cut that serves the set it serves worst as well as any cut can.
fn threshold(unseen: &Unseen) -> f64 {
    threshold_over(unseen, |_| true)
}

/// The same, looking only at the folds that `keep` keeps.
fn threshold_over(unseen: &Unseen, keep: impl Fn(usize) -> bool) -> f64 {
    let sets: Vec<_> = (0..SETS.len())
        .map(|wanted| unseen.pick(|set, fold| set == wanted && keep(fold)))
        .collect();
    let least_f1 = |threshold: f64| {
        let f1 = |(scores, truths): &(Vec<f64>, Vec<bool>)| {
            Confusion::at(threshold, scores, truths).f1()
        };
        sets.iter().map(f1).fold(1.0, f64::min)
    };
    // Steps of 0.01 logits, far below what the rows can tell apart.
    let cuts = (-500..=500).map(|step| f64::from(step) / 100.0);
    let scored = cuts.map(|cut| (cut, least_f1(cut)));
    scored
        .fold(
            (0.0, -1.0),
            |best, next| if next.1 > best.1 { next } else { best },
        )
        .0
}

fn set_figures(
    sets: &[Set],
    samples: &[Sample],
    unseen: &Unseen,
    calibrated: &Calibrated,
    threshold: f64,
) -> Vec<SetFigures> {
    let cuts: Vec<f64> = (0..N_FOLDS)
        .map(|left_out| threshold_over(unseen, |fold| fold != left_out))
        .collect();
    let figures = |(wanted, set): (usize, &Set)| {
        let (scores, truths) = unseen.pick(|set, _| set == wanted);
        let counts = Confusion::at(threshold, &scores, &truths);
        let stranger = fit(samples, |sample| sample.set != wanted);
        let strange: Vec<f64> = samples
            .iter()
            .filter(|sample| sample.set == wanted)
            .map(|sample| stranger.score(&sample.features))
            .collect();
        SetFigures {
            name: set.name,
            sha256: set.sha256.clone(),
            n_rows: truths.len(),
            n_spam: truths.iter().filter(|&&spam| spam).count(),
            f1: counts.f1(),
            f1_cut_elsewhere: f1_cut_by_fold(unseen, wanted, &cuts),
            precision: counts.precision(),
            recall: counts.recall(),
            auc: auc(&scores, &truths),
            recall_at_fpr_1_percent: recall_at_fpr(FPR, &scores, &truths),
            auc_source_never_seen: auc(&strange, &truths),
            expected_calibration_error: calibration_error(unseen, calibrated, wanted),
        }
    };
    sets.iter().enumerate().map(figures).collect()
}

/// F1 of one set where every fold has a cut of its own.
fn f1_cut_by_fold(unseen: &Unseen, wanted: usize, cuts: &[f64]) -> f64 {
    let (mut above, mut truths) = (Vec::new(), Vec::new());
    for (fold_wanted, cut) in cuts.iter().enumerate() {
        let (scores, truths_here) = unseen.pick(|set, fold| set == wanted && fold == fold_wanted);
        above.extend(scores.iter().map(|score| score - cut));
        truths.extend(truths_here);
    }
    Confusion::at(0.0, &above, &truths).f1()
}

/// Calibration error of one set, at the frequencies that it has.
fn calibration_error(unseen: &Unseen, calibrated: &Calibrated, wanted: usize) -> f64 {
    let rows = calibrated.probabilities.iter().zip(&unseen.truths);
    let rows = rows.zip(&unseen.sets).filter(|(_, set)| **set == wanted);
    let (probabilities, truths): (Vec<f64>, Vec<bool>) = rows.map(|(row, _)| row).unzip();
    Reliability::natural(&probabilities, &truths).error()
}

fn recipe() -> Recipe {
    Recipe {
        name: "spam-text",
        n_folds: N_FOLDS,
        fold_salt: SALT,
        seed: DESCENT.seed,
        cost: COST,
        tolerance: DESCENT.tolerance,
        max_passes: DESCENT.max_passes,
        word_emphasis: WORD_EMPHASIS,
        norm_power: NORM_POWER,
        n_buckets: BUCKETS,
    }
}

fn calibrator_head(n_rows: usize) -> String {
    format!(
        "Counted on out-of-fold scores at natural frequencies, by `cargo xtask train spam-text`:\n\
         {n_rows} rows of {}.",
        SETS.join(", "),
    )
}
