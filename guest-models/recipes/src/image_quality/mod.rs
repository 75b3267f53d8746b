//! The recipe of the `image-quality` model: from labelled pictures to its files.
//!
//! Reads top to bottom in [`train`]. Holds the order of the steps and the
//! choices that are this model's own.

mod cache;
mod chance;
mod codebook;
mod degrade;
mod features;
mod heads;
mod linear;
mod made;
mod measures;
mod photo;
mod report;
mod samples;
mod solve;

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use self::{
    cache::{Measurer, on_all_cores},
    codebook::Codebook,
    features::SIDE,
    heads::{LABELS, LOW, Quality, Reasons},
    report::{Report, Scored},
    samples::{Sample, Set},
};
use crate::{
    calibrate::{self, Calibrated, HeldOut, natural_prevalence},
    figures,
    graph::Graph,
    reliability::{Reliability, file_name},
};

/// Parts of the cross-validation; groups are dealt to them by digest.
const N_FOLDS: usize = 10;

/// The share of pictures that a reason is taken to hold for, where the data
/// cannot say: it was made to hold for as many as we liked.
const PREVALENCE: f64 = 0.1;

/// Strength from which a degradation counts as there; what is weaker, a viewer
/// may well miss.
const VISIBLE: f32 = 0.4;

/// Trains on the sets under `data` and writes the model and what goes with it
/// into `out`. Features are remembered under `cache`.
pub(crate) fn train(data: &Path, out: &Path, cache: &Path) -> Result<()> {
    let card_path = out.join("MODEL_CARD.md");
    let card = fs::read_to_string(&card_path)
        .with_context(|| format!("cannot read {}", card_path.display()))?;
    let plan = samples::plan(data)?;
    eprintln!("{} pictures", plan.len());
    let base = base_features(data, &plan, cache)?;
    let codebook = learn_codebook(data, &plan)?;
    let all = all_features(data, &plan, &codebook, &base, cache)?;

    let scored = out_of_fold(&plan, &base, &all)?;
    let rows: Vec<(&Sample, &[f32])> = plan.iter().zip(base.rows()).collect();
    let known: Vec<_> = rows
        .into_iter()
        .filter(|(sample, _)| Reasons::known(sample))
        .collect();
    let reasons = Reasons::fit(&known)?;
    let rated = rated(&plan, &all);
    let quality = Quality::fit(&rated, &all.families)?;

    let encoded = encode(&codebook, &reasons, &quality);
    verify(data, &plan, &encoded, &reasons, &quality, &base, &all)?;
    let calibrated = calibrated(&scored)?;
    let report = Report::of(&scored, &calibrated);

    let write = |name: &str, bytes: &[u8]| {
        let path = out.join(name);
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
    };
    let tables: Vec<_> = calibrated
        .iter()
        .map(|(label, c)| (*label, &c.label.table))
        .collect();
    let head = "Counted on out-of-fold scores by `cargo xtask train image-quality`.\n\
                low-quality: opinions below 40 among the originals of live-itw-quality.\n\
                The others: made degradations, screenshots and blank pictures, at a\n\
                prevalence of 0.1 that is an assumption.";
    for (label, Judged { diagram, .. }) in &calibrated {
        write(&file_name(label), diagram.svg(label).as_bytes())?;
    }
    let table = report.table(encoded.len());
    write("model.onnx", &encoded)?;
    write("calibrator.toml", calibrate::file(head, &tables).as_bytes())?;
    let json = serde_json::json!({
        "figures": report,
        "model": {
            "n_bytes": encoded.len(),
            "sha256": crate::data::hex(&Sha256::digest(&encoded)),
        },
    });
    write(
        "figures.json",
        (serde_json::to_string_pretty(&json)? + "\n").as_bytes(),
    )?;
    write("MODEL_CARD.md", figures::rewrite(&card, &table)?.as_bytes())?;
    eprint!("{table}");
    Ok(())
}

/// Features of some samples; empty rows for the others.
struct Measured {
    rows: Vec<Vec<f32>>,
    families: Vec<(String, usize)>,
}

impl Measured {
    fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.rows.iter().map(Vec::as_slice)
    }
}

fn base_features(data: &Path, plan: &[Sample], cache: &Path) -> Result<Measured> {
    let mut graph = Graph::default();
    let pixels = graph.input("pixels", &[1, 3, SIDE, SIDE]);
    let measured = features::measure(&mut graph, &pixels);
    let n_features = measured.features.dim(1);
    graph.output("features", &measured.features);
    graph.output("maps", &measured.maps);
    let encoded = graph.encode("image-quality features");
    let measurer = Measurer::new(&encoded, n_features, cache)?;
    let rows = on_all_cores(plan.len(), |at| {
        measurer.features(&plan[at].photo(data)?.pixels()?)
    })?;
    Ok(Measured {
        rows,
        families: measured.families,
    })
}

/// Whether the opinion's model is trained on it or tried on it.
fn is_original(sample: &Sample) -> bool {
    sample.spoilt.is_none() && sample.cut == 0
}

fn learn_codebook(data: &Path, plan: &[Sample]) -> Result<Codebook> {
    let live: Vec<&Sample> = plan
        .iter()
        .filter(|sample| sample.set == Set::Live && is_original(sample))
        .collect();
    let pictures = on_all_cores(live.len(), |at| live[at].photo(data)?.pixels())?;
    Ok(Codebook::learn(&pictures, SIDE))
}

/// The base features of originals with the codebook's beside them.
fn all_features(
    data: &Path,
    plan: &[Sample],
    codebook: &Codebook,
    base: &Measured,
    cache: &Path,
) -> Result<Measured> {
    let mut graph = Graph::default();
    let pixels = graph.input("pixels", &[1, 3, SIDE, SIDE]);
    let measured = codebook.measure(&mut graph, &pixels);
    let n_features = measured.dim(1);
    graph.output("features", &measured);
    let encoded = graph.encode("image-quality codebook");
    let measurer = Measurer::new(&encoded, n_features, cache)?;
    let rows = on_all_cores(plan.len(), |at| {
        if !is_original(&plan[at]) {
            return Ok(Vec::new());
        }
        let own = measurer.features(&plan[at].photo(data)?.pixels()?)?;
        Ok([&base.rows[at][..], &own].concat())
    })?;
    let code = ("code".to_owned(), n_features);
    Ok(Measured {
        rows,
        families: [&base.families[..], &[code]].concat(),
    })
}

/// Samples with an opinion, said by people or taken for granted.
fn rated<'a>(plan: &'a [Sample], all: &'a Measured) -> Vec<(&'a Sample, &'a [f32])> {
    let rows = plan.iter().zip(all.rows());
    rows.filter(|(sample, _)| {
        is_original(sample) && matches!(sample.set, Set::Live | Set::Pristine)
    })
    .collect()
}

fn fold(sample: &Sample) -> usize {
    let digest = Sha256::digest(format!("image-quality-folds-v1|{}", sample.group));
    usize::from(digest[0]) % N_FOLDS
}

/// Every sample with scores by models that saw nothing of its group.
fn out_of_fold(plan: &[Sample], base: &Measured, all: &Measured) -> Result<Vec<Scored>> {
    let rated = rated(plan, all);
    let fitted = on_all_cores(N_FOLDS, |left_out| {
        let inside = |sample: &Sample| fold(sample) != left_out;
        let known: Vec<_> = plan
            .iter()
            .zip(base.rows())
            .filter(|(sample, _)| inside(sample) && Reasons::known(sample))
            .collect();
        let rated: Vec<_> = rated.iter().copied().filter(|(s, _)| inside(s)).collect();
        Ok((Reasons::fit(&known)?, Quality::fit(&rated, &all.families)?))
    })?;
    let scored = plan.iter().enumerate().map(|(at, sample)| {
        let fold = fold(sample);
        let (reasons, quality) = &fitted[fold];
        Scored {
            sample: sample.clone(),
            fold,
            reasons: reasons.scores(&base.rows[at]),
            quality: is_original(sample).then(|| quality.score(&all.rows[at])),
        }
    });
    Ok(scored.collect())
}

/// The whole model: `pixels` to `scores` and `maps`.
fn encode(codebook: &Codebook, reasons: &Reasons, quality: &Quality) -> Vec<u8> {
    let mut graph = Graph::default();
    let pixels = graph.input("pixels", &[1, 3, SIDE, SIDE]);
    let base = features::measure(&mut graph, &pixels);
    let code = codebook.measure(&mut graph, &pixels);
    let all = graph.concat(&[base.features.clone(), code], 1);
    let quality = quality.write(&mut graph, &all);
    let reasons = reasons.write(&mut graph, &base.features);
    let scores = graph.concat(&[quality, reasons], 1);
    graph.output("scores", &scores);
    graph.output("maps", &base.maps);
    graph.encode("image-quality")
}

/// Fails unless the graph says of some pictures what the trainer does.
fn verify(
    data: &Path,
    plan: &[Sample],
    encoded: &[u8],
    reasons: &Reasons,
    quality: &Quality,
    base: &Measured,
    all: &Measured,
) -> Result<()> {
    let folder = std::env::temp_dir();
    let measurer = Measurer::new(encoded, LABELS.len(), &folder)?;
    let originals: Vec<usize> = (0..plan.len())
        .filter(|&at| is_original(&plan[at]))
        .collect();
    let mut furthest = 0.0_f64;
    for &at in originals.iter().step_by(originals.len() / 12) {
        let found = measurer.compute(&plan[at].photo(data)?.pixels()?)?;
        let own = [
            &[quality.score(&all.rows[at])][..],
            &reasons.scores(&base.rows[at]),
        ]
        .concat();
        for ((found, own), label) in found.iter().zip(own).zip(LABELS) {
            let apart = (f64::from(*found) - own).abs();
            ensure!(
                apart < 2e-3,
                "{}: {label} scores {found} in model.onnx and {own} in the trainer",
                plan[at].name
            );
            furthest = furthest.max(apart);
        }
    }
    eprintln!("model.onnx agrees with the trainer to {furthest:.1e}");
    Ok(())
}

/// A label's calibration, on which of the samples, and how true it is.
pub(crate) struct Judged {
    label: Calibrated,
    rows: Vec<usize>,
    diagram: Reliability,
}

fn calibrated(scored: &[Scored]) -> Result<Vec<(&'static str, Judged)>> {
    let each = LABELS.iter().enumerate().map(|(at, &label)| {
        let rows: Vec<usize> = (0..scored.len())
            .filter(|&row| scored[row].truth(label).is_some())
            .collect();
        let scores: Vec<f64> = rows.iter().map(|&row| scored[row].score(at)).collect();
        let truths: Vec<bool> = rows
            .iter()
            .filter_map(|&row| scored[row].truth(label))
            .collect();
        let folds: Vec<usize> = rows.iter().map(|&row| scored[row].fold).collect();
        let prevalence = match at {
            0 => natural_prevalence(&truths),
            _ => PREVALENCE,
        };
        let held_out = HeldOut {
            scores: &scores,
            truths: &truths,
            folds: &folds,
        };
        let calibrated =
            Calibrated::of(held_out, prevalence).with_context(|| format!("of {label}"))?;
        let diagram = Reliability::at(prevalence, &calibrated.probabilities, &truths);
        let judged = Judged {
            label: calibrated,
            rows,
            diagram,
        };
        Ok((label, judged))
    });
    each.collect()
}

impl Scored {
    /// Whether the label holds; none where nobody knows, or where the label has
    /// no meaning.
    fn truth(&self, label: &str) -> Option<bool> {
        let sample = &self.sample;
        match label {
            "low-quality" => sample
                .opinion
                .filter(|_| sample.set == Set::Live)
                .map(|o| o < LOW),
            "blank" => Some(sample.set == Set::Blank),
            "screenshot" => Some(sample.set == Set::Screenshot),
            _ if !Reasons::known(sample) || sample.set == Set::Blank => None,
            _ => Some(
                sample
                    .spoilt
                    .is_some_and(|(kind, strength)| kind.label() == label && strength >= VISIBLE),
            ),
        }
    }

    /// By the label's place in [`LABELS`]; of an original, if it is the first.
    fn score(&self, at: usize) -> f64 {
        match at {
            0 => self.quality.expect("an original's quality is scored"),
            _ => self.reasons[at - 1],
        }
    }
}
