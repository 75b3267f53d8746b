//! The recipe of the `toxicity-text` model: from labelled sets to its files.
//!
//! Reads top to bottom in [`train`]. Holds the order of the steps; what a row teaches stands
//! in [`samples`], what our own sentences are in [`sentences`], the model in [`model`].

mod adam;
mod chat;
mod encoder;
mod layers;
mod model;
mod onnx;
mod pieces;
mod probes;
mod report;
mod robustness;
mod samples;
mod sentences;
mod unseen;

use std::{fs, path::Path};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use toxicity_text::LABELS;
use trommel_calibration::Table;

use self::{
    model::Model,
    probes::Probes,
    report::{LabelFigures, Report, SetFigures},
    samples::{Read, Sample, Samples, Source},
    unseen::{Cuts, Unseen},
};
use crate::{
    calibrate::{self, Calibrated, natural_prevalence},
    data::hex,
    figures::{self, ModelFile},
    folds::N_FOLDS,
    parallel,
    reliability::{Reliability, file_name},
};

/// Trains on the sets under `data` and writes the model, its vocabulary, its calibrator, its
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
    let (shipped, folds) = fit(&samples);
    let unseen = Unseen::of(&samples, &folds);
    let cuts = Cuts::of(&unseen, |_| true);
    let judged = calibrated(&unseen)?;
    let probes = Probes::of(data, &samples, &shipped, cuts)?;

    let encoded = onnx::encode(&shipped);
    verify(&encoded, &shipped, &samples)?;
    let (tweets, talk) = unseen::figures(&unseen, cuts);
    let tables: Vec<&Table> = judged
        .iter()
        .map(|judged| &judged.calibrated.table)
        .collect();
    let is_sentence =
        |sample: &&Sample| matches!(sample.source, Source::Made(_)) && !sample.is_copy;
    let report = Report {
        sets: sets(&samples.sets, &probes.read),
        n_sentences: samples.others.iter().filter(is_sentence).count(),
        n_pieces: shipped.pieces.vocabulary().n_pieces(),
        cuts,
        labels: label_figures(&judged, cuts),
        tweets,
        talk,
        chat: chat::figures(&samples, &folds, &unseen, &tables, cuts),
        hatecheck: probes.hatecheck,
        fairness: probes.fairness,
        attacks: robustness::attacks(&samples, &folds, &unseen, cuts),
        evidence: robustness::evidence(&samples, &folds, &unseen, cuts),
        model: ModelFile {
            n_bytes: encoded.len(),
            sha256: hex(&Sha256::digest(&encoded)),
        },
    };

    let write = |name: &str, bytes: &[u8]| {
        let path = out.join(name);
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
    };
    fs::create_dir_all(out.join("src"))?;
    let table = report.table();
    let card =
        figures::rewrite(&card, &table).with_context(|| format!("in {}", card_path.display()))?;
    write("model.onnx", &encoded)?;
    write("src/vocabulary.txt", shipped.pieces.lines.as_bytes())?;
    let tables: Vec<_> = judged
        .iter()
        .map(|judged| judged.label)
        .zip(tables)
        .collect();
    write(
        "calibrator.toml",
        calibrate::file(CALIBRATOR_HEAD, &tables).as_bytes(),
    )?;
    for judged in &judged {
        write(
            &file_name(judged.label),
            judged.diagram.svg(judged.label).as_bytes(),
        )?;
    }
    write("figures.json", report.json()?.as_bytes())?;
    write("MODEL_CARD.md", card.as_bytes())?;
    eprint!("{table}");
    Ok(())
}

const CALIBRATOR_HEAD: &str = "Counted on out-of-fold scores by `cargo xtask train toxicity-text`.\n\
    toxic: the comments of wiki-toxicity; hate and offensive: the tweets of davidson-tweets.\n\
    hate is told at the prevalence among the tweets, which were collected by words of a lexicon of\n\
    hate speech; offensive at that of toxic, which is an assumption: the tweets were\n\
    collected by words that give offence.";

/// What is shipped, of all rows; then the models that each lack one fold.
fn fit(samples: &Samples) -> (Model, Vec<Model>) {
    let plans: Vec<Option<usize>> = (0..N_FOLDS).map(Some).chain([None]).collect();
    let mut models = parallel::map(&plans, |&left_out| {
        let model = Model::fit(&samples.without(left_out));
        match left_out {
            Some(fold) => eprintln!("fitted without fold {fold}"),
            None => eprintln!("fitted to all"),
        }
        model
    });
    let shipped = models.pop().expect("one was fitted to all rows");
    (shipped, models)
}

/// Fails unless the graph says what the trainer does, of all sorts of rows.
fn verify(encoded: &[u8], model: &Model, samples: &Samples) -> Result<()> {
    let all = samples.originals.iter().chain(&samples.others);
    let all = all.chain(&samples.chat);
    let some: Vec<&Sample> = all.step_by(17).collect();
    let furthest = onnx::verify(encoded, model, &some)?;
    eprintln!(
        "model.onnx agrees with the trainer on {} rows to {furthest:.1e}",
        some.len()
    );
    Ok(())
}

/// A label's calibration and how true it is.
struct Judged {
    label: &'static str,
    calibrated: Calibrated,
    diagram: Reliability,
}

fn calibrated(unseen: &Unseen) -> Result<Vec<Judged>> {
    let toxic = natural_prevalence(&unseen.rows_of(0).truths);
    let each = LABELS.iter().enumerate().map(|(at, &label)| {
        let rows = unseen.rows_of(at);
        let prevalence = match label {
            "hate" => natural_prevalence(&rows.truths),
            _ => toxic,
        };
        let calibrated =
            Calibrated::of(rows.held_out(), prevalence).with_context(|| format!("of {label}"))?;
        let diagram = Reliability::at(prevalence, &calibrated.probabilities, &rows.truths);
        Ok(Judged {
            label,
            calibrated,
            diagram,
        })
    });
    each.collect()
}

fn label_figures(judged: &[Judged], cuts: Cuts) -> Vec<LabelFigures> {
    let figures = |(at, judged): (usize, &Judged)| {
        let table = &judged.calibrated.table;
        LabelFigures {
            label: judged.label,
            cut_score: cuts.of_label(at),
            cut_probability: table.probability(cuts.of_label(at) as f32),
            prevalence: table.prevalence(),
            n_table_bins: table.bins().len(),
            n_positives: table.n_positives(),
            n_negatives: table.n_negatives(),
            expected_calibration_error: judged.diagram.error(),
        }
    };
    judged.iter().enumerate().map(figures).collect()
}

fn sets(learnt: &[Read], probes: &[Read]) -> Vec<SetFigures> {
    let figures = |is_learnt_from: bool| {
        move |Read {
                  name,
                  sha256,
                  n_rows,
              }: &Read| SetFigures {
            name,
            sha256: sha256.clone(),
            n_rows: *n_rows,
            is_learnt_from,
        }
    };
    learnt
        .iter()
        .map(figures(true))
        .chain(probes.iter().map(figures(false)))
        .collect()
}
