//! The recipe of the `spam-text` model: from labelled sets to four files.
//!
//! Reads top to bottom in [`train`]. Holds the order of the steps and the
//! choices that are this model's own; the arithmetic lives in its neighbours.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use spam_text::features::{BUCKETS, Features};

use crate::{
    calibrate::{self, Calibrated, HeldOut},
    data::{Set, hex},
    evasion,
    figures::{self, Calibration, Figures, ModelFile, Recipe, SetFigures, Threshold},
    folds::{N_FOLDS, SALT},
    metrics::{Confusion, auc, recall_at_fpr},
    model::{COST, DESCENT, FURTHER_HAM, Model},
    onnx, parallel,
    reliability::{self, Reliability},
    samples::{COPY_EMPHASIS, MOST_FURTHER, SETS, Sample, Samples},
};

const LABEL: &str = "spam";
/// What F1 is asked of each set; the one cut is where the set that is furthest behind
/// its goal is least so.
const F1_GOALS: [f64; SETS.len()] = [0.955, 0.945, 0.960];
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
    let samples = Samples::read(data)?;
    let models = Models::fit(&samples);

    let unseen = Unseen::of(&samples, &models);
    let threshold = threshold(&unseen);
    let prevalence = calibrate::natural_prevalence(&unseen.truths);
    let calibrated = Calibrated::of(unseen.held_out(), prevalence)?;
    let reliability = Reliability::at(prevalence, &calibrated.probabilities, &unseen.truths);
    let table = &calibrated.table;
    let model = &models.shipped;

    let encoded = onnx::encode(model);
    let items: Vec<&Features> = samples
        .originals
        .iter()
        .map(|sample| &sample.features)
        .collect();
    let furthest = onnx::verify(&encoded, model, &items)?;
    eprintln!(
        "model.onnx agrees with the trainer on {} rows to {furthest:.1e}",
        items.len()
    );

    let figures = Figures {
        recipe: recipe(),
        threshold: Threshold {
            chosen_on: "out-of-fold scores of all sets: the greatest least gain of F1 over its goal",
            score: threshold,
            probability: table.probability(threshold as f32),
        },
        sets: set_figures(&samples, &models, &unseen, &calibrated, threshold),
        further_ham: further_ham(&samples),
        attacks: evasion::attacks(&samples, &models.folds, threshold),
        evidence: evasion::evidence(&samples, &models.folds, threshold),
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
        calibrate::file(&calibrator_head(samples.originals.len()), &[(LABEL, table)]).as_bytes(),
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

/// All models of one run.
struct Models {
    /// Of all rows: what the plugin ships.
    shipped: Model,
    /// Each without one fold.
    folds: Vec<Model>,
    /// Each without one labelled set.
    strangers: Vec<Model>,
}

impl Models {
    fn fit(samples: &Samples) -> Self {
        #[derive(Clone, Copy)]
        enum Without {
            Nothing,
            Fold(usize),
            Set(usize),
        }
        let plans: Vec<Without> = (0..N_FOLDS)
            .map(Without::Fold)
            .chain((0..SETS.len()).map(Without::Set))
            .chain([Without::Nothing])
            .collect();
        let mut models = parallel::map(&plans, |&without| {
            let keep = |sample: &Sample| match without {
                Without::Nothing => true,
                Without::Fold(fold) => sample.fold != fold,
                Without::Set(set) => sample.set != set,
            };
            Model::fit(&samples.examples(keep))
        });
        let shipped = models.pop().expect("one was fitted to all rows");
        let strangers = models.split_off(N_FOLDS);
        Self {
            shipped,
            folds: models,
            strangers,
        }
    }
}

/// Scores given by models that had not seen the row's cluster.
struct Unseen {
    scores: Vec<f64>,
    truths: Vec<bool>,
    sets: Vec<usize>,
    folds: Vec<usize>,
}

impl Unseen {
    fn of(samples: &Samples, models: &Models) -> Self {
        let samples = &samples.originals;
        Self {
            scores: samples
                .iter()
                .map(|sample| models.folds[sample.fold].score(&sample.features))
                .collect(),
            truths: samples.iter().map(|sample| sample.spam).collect(),
            sets: samples.iter().map(|sample| sample.set).collect(),
            folds: samples.iter().map(|sample| sample.fold).collect(),
        }
    }

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

/// The cut at which the set furthest behind its goal is least so.
fn threshold(unseen: &Unseen) -> f64 {
    threshold_over(unseen, |_| true)
}

/// The same, looking only at the folds that `keep` keeps.
fn threshold_over(unseen: &Unseen, keep: impl Fn(usize) -> bool) -> f64 {
    let sets: Vec<_> = (0..SETS.len())
        .map(|wanted| unseen.pick(|set, fold| set == wanted && keep(fold)))
        .collect();
    let least_gain = |threshold: f64| {
        let gain = |((scores, truths), goal): (&(Vec<f64>, Vec<bool>), f64)| {
            Confusion::at(threshold, scores, truths).f1() - goal
        };
        sets.iter().zip(F1_GOALS).map(gain).fold(1.0, f64::min)
    };
    // Steps of 0.01 logits, far below what the rows can tell apart.
    let cuts = (-500..=500).map(|step| f64::from(step) / 100.0);
    let scored = cuts.map(|cut| (cut, least_gain(cut)));
    scored
        .fold(
            (0.0, -2.0),
            |best, next| if next.1 > best.1 { next } else { best },
        )
        .0
}

fn set_figures(
    samples: &Samples,
    models: &Models,
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
        let here = samples
            .originals
            .iter()
            .filter(|sample| sample.set == wanted);
        let stranger = &models.strangers[wanted];
        let strange: Vec<f64> = here
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
    samples.sets[..SETS.len()]
        .iter()
        .enumerate()
        .map(figures)
        .collect()
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

fn further_ham(samples: &Samples) -> Vec<figures::FurtherHam> {
    let sets = samples.sets[SETS.len()..].iter();
    sets.map(|Set { name, rows, sha256 }| figures::FurtherHam {
        name,
        sha256: sha256.clone(),
        n_rows: rows.len(),
    })
    .collect()
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
        further_ham_cost: FURTHER_HAM,
        copy_emphasis: COPY_EMPHASIS,
        most_rows_of_further_ham: MOST_FURTHER,
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
