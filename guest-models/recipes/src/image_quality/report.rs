//! What one training run found, as JSON and as the card's tables.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::{
    Judged, VISIBLE,
    heads::{LABELS, LOW},
    measures::{correlation, rank_correlation, rise},
    samples::{LADDER_KINDS, Sample, Set},
};
use crate::{figures::round, metrics::auc};

/// A sample with its scores by models that saw nothing of its group.
pub(crate) struct Scored {
    pub sample: Sample,
    pub fold: usize,
    /// Of the labels but the first.
    pub reasons: [f64; 7],
    /// Of the first label, for originals.
    pub quality: Option<f64>,
}

/// From which probability `low-quality` is meant to be acted on.
const CUT: f64 = 0.5;

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    n_rated: usize,
    srocc: f64,
    plcc: f64,
    auc_low: f64,
    cut: f64,
    recall_at_cut: f64,
    false_positives_at_cut: f64,
    pristine_at_cut: f64,
    screenshots_at_cut: f64,
    ladders: Vec<Ladder>,
    screenshot_auc: f64,
    screenshot_auc_by_repository: BTreeMap<String, f64>,
    blank_auc: f64,
    calibration: Vec<Calibration>,
    /// Mean probability of each reason by what was done.
    confusion: Vec<(String, Vec<f64>)>,
}

#[derive(Debug, Serialize)]
struct Ladder {
    kind: &'static str,
    label: &'static str,
    share_rising: f64,
    share_rising_by_0_3: f64,
    median_rise: f64,
}

#[derive(Debug, Serialize)]
struct Calibration {
    label: &'static str,
    n_rows: usize,
    auc: f64,
    expected_calibration_error: f64,
}

impl Report {
    pub(crate) fn of(scored: &[Scored], calibrated: &[(&'static str, Judged)]) -> Self {
        let rated: Vec<(f64, f64)> = scored
            .iter()
            .filter(|row| row.sample.set == Set::Live)
            .filter_map(|row| Some((row.quality?, f64::from(row.sample.opinion?))))
            .collect();
        let (scores, opinions): (Vec<f64>, Vec<f64>) = rated.iter().copied().unzip();
        let good: Vec<f64> = scores.iter().map(|score| -score).collect();
        let low: Vec<bool> = opinions.iter().map(|&o| o < f64::from(LOW)).collect();
        let table = &calibrated[0].1.label.table;
        let taken = |score: f64| table.probability(score as f32) >= CUT;
        let share_of = |set: Set| {
            let rows = scored.iter().filter(|row| row.sample.set == set);
            let all: Vec<f64> = rows.filter_map(|row| row.quality).collect();
            share(all.iter().filter(|score| taken(**score)).count(), all.len())
        };
        let among = |wanted: bool| {
            let rows = calibrated[0].1.label.probabilities.iter().zip(&low);
            let all: Vec<f64> = rows
                .filter(|(_, low)| **low == wanted)
                .map(|(p, _)| *p)
                .collect();
            share(all.iter().filter(|p| **p >= CUT).count(), all.len())
        };
        Self {
            n_rated: rated.len(),
            srocc: round(rank_correlation(&good, &opinions)),
            plcc: round(correlation(&good, &opinions)),
            auc_low: round(auc(&scores, &low)),
            cut: CUT,
            recall_at_cut: among(true),
            false_positives_at_cut: among(false),
            pristine_at_cut: share_of(Set::Pristine),
            screenshots_at_cut: share_of(Set::Screenshot),
            ladders: ladders(scored, calibrated),
            screenshot_auc: screenshot_auc(scored, |_| true),
            screenshot_auc_by_repository: by_repository(scored),
            blank_auc: label_auc(scored, calibrated, 6),
            calibration: (0..LABELS.len())
                .map(|at| Calibration {
                    label: LABELS[at],
                    n_rows: calibrated[at].1.rows.len(),
                    auc: label_auc(scored, calibrated, at),
                    expected_calibration_error: round(calibrated[at].1.diagram.error()),
                })
                .collect(),
            confusion: confusion(scored, calibrated),
        }
    }

    pub(crate) fn table(&self, n_bytes: usize) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = write!(
            text,
            "| low-quality, {} photos of live-itw, blocks of 8 | |\n|---|--:|\n\
             | SROCC | {:.3} |\n| PLCC | {:.3} |\n| AUC, opinion below 40 | {:.3} |\n\
             | caught at probability {:.1} | {:.3} |\n| wrongly caught there | {:.3} |\n\
             | pristine photos judged low there | {:.3} |\n| screenshots judged low there | {:.3} |\n\n",
            self.n_rated,
            self.srocc,
            self.plcc,
            self.auc_low,
            self.cut,
            self.recall_at_cut,
            self.false_positives_at_cut,
            self.pristine_at_cut,
            self.screenshots_at_cut,
        );
        text += "| five strengths of | label | photos whose probability rises at each step | that rise by 0.3 or more | median rise |\n|---|---|--:|--:|--:|\n";
        for row in &self.ladders {
            let _ = writeln!(
                text,
                "| {} | {} | {:.3} | {:.3} | {:.3} |",
                row.kind, row.label, row.share_rising, row.share_rising_by_0_3, row.median_rise
            );
        }
        text += "\n| label | rows | AUC | calibration error |\n|---|--:|--:|--:|\n";
        for row in &self.calibration {
            let _ = writeln!(
                text,
                "| {} | {} | {:.3} | {:.3} |",
                row.label, row.n_rows, row.auc, row.expected_calibration_error
            );
        }
        let _ = write!(
            text,
            "\nScreenshots against photos: AUC {:.4}",
            self.screenshot_auc
        );
        for (repository, auc) in &self.screenshot_auc_by_repository {
            let _ = write!(text, ", {repository} {auc:.4}");
        }
        let _ = writeln!(
            text,
            ".\n\nMean probability of each reason, by what was done (strength 0.4 or more):\n\n| | {} |\n|---|{}",
            LABELS[1..].join(" | "),
            "--:|".repeat(7)
        );
        for (name, means) in &self.confusion {
            let means: Vec<String> = means.iter().map(|mean| format!("{mean:.2}")).collect();
            let _ = writeln!(text, "| {name} | {} |", means.join(" | "));
        }
        let _ = writeln!(text, "\n`model.onnx`: {n_bytes} bytes.");
        text
    }
}

fn share(part: usize, whole: usize) -> f64 {
    round(part as f64 / whole as f64)
}

/// Probability of every row that a label was calibrated on, by the table of
/// other folds.
fn probabilities(judged: &Judged) -> BTreeMap<usize, f64> {
    let rows = judged.rows.iter().copied();
    rows.zip(judged.label.probabilities.iter().copied())
        .collect()
}

fn ladders(scored: &[Scored], calibrated: &[(&'static str, Judged)]) -> Vec<Ladder> {
    let ladder = |kind: super::degrade::Kind| {
        let place = LABELS.iter().position(|label| *label == kind.label());
        let known = probabilities(&calibrated[place.expect("every kind has a label")].1);
        let mut photos: BTreeMap<&str, Vec<(f32, f64)>> = BTreeMap::new();
        for (at, row) in scored.iter().enumerate() {
            if let (true, Some((found, strength))) = (row.sample.on_ladder, row.sample.spoilt)
                && found == kind
            {
                photos
                    .entry(&row.sample.name)
                    .or_default()
                    .push((strength, known[&at]));
            }
        }
        let rises: Vec<(bool, f64)> = photos
            .into_values()
            .map(|mut steps| {
                steps.sort_by(|a, b| a.0.total_cmp(&b.0));
                rise(&steps.iter().map(|step| step.1).collect::<Vec<_>>())
            })
            .collect();
        let mut sizes: Vec<f64> = rises.iter().map(|rise| rise.1).collect();
        sizes.sort_by(f64::total_cmp);
        Ladder {
            kind: kind.name(),
            label: kind.label(),
            share_rising: share(rises.iter().filter(|rise| rise.0).count(), rises.len()),
            share_rising_by_0_3: share(
                sizes.iter().filter(|size| **size >= 0.3).count(),
                rises.len(),
            ),
            median_rise: round(sizes[sizes.len() / 2]),
        }
    };
    LADDER_KINDS.map(ladder).into()
}

fn label_auc(scored: &[Scored], calibrated: &[(&'static str, Judged)], at: usize) -> f64 {
    let (label, judged) = &calibrated[at];
    let scores: Vec<f64> = judged
        .rows
        .iter()
        .map(|&row| scored[row].score(at))
        .collect();
    let rows = judged.rows.iter();
    let truths: Vec<bool> = rows.filter_map(|&row| scored[row].truth(label)).collect();
    round(auc(&scores, &truths))
}

/// Whole screenshots of the groups that `keep` keeps, against original photos.
fn screenshot_auc(scored: &[Scored], keep: impl Fn(&str) -> bool) -> f64 {
    let (scores, truths): (Vec<f64>, Vec<bool>) = scored
        .iter()
        .filter(|row| row.sample.spoilt.is_none() && row.sample.cut == 0)
        .filter_map(|row| match row.sample.set {
            Set::Screenshot if keep(&row.sample.group) => Some((row.reasons[6], true)),
            Set::Live | Set::Pristine => Some((row.reasons[6], false)),
            _ => None,
        })
        .unzip();
    round(auc(&scores, &truths))
}

fn by_repository(scored: &[Scored]) -> BTreeMap<String, f64> {
    let rows = scored
        .iter()
        .filter(|row| row.sample.set == Set::Screenshot);
    let groups: Vec<&str> = rows.map(|row| row.sample.group.as_str()).collect();
    let each = groups.into_iter().map(|group| {
        let name = group.trim_start_matches("screenshots ").to_owned();
        (name, screenshot_auc(scored, |other| other == group))
    });
    each.collect()
}

fn confusion(scored: &[Scored], calibrated: &[(&'static str, Judged)]) -> Vec<(String, Vec<f64>)> {
    let what = |sample: &Sample| match sample.spoilt {
        Some((kind, strength)) if strength >= VISIBLE => Some(kind.name().to_owned()),
        Some(_) => None,
        None if sample.set == Set::Pristine => Some("pristine".to_owned()),
        None if sample.set == Set::Screenshot => Some("screenshot".to_owned()),
        None if sample.set == Set::Blank => Some("blank".to_owned()),
        None => None,
    };
    let mut sums: BTreeMap<String, (usize, Vec<f64>)> = BTreeMap::new();
    for row in scored {
        let Some(what) = what(&row.sample) else {
            continue;
        };
        let (n, sum) = sums.entry(what).or_insert_with(|| (0, vec![0.0; 7]));
        *n += 1;
        for (at, sum) in sum.iter_mut().enumerate() {
            let table = &calibrated[at + 1].1.label.table;
            *sum += table.probability(row.reasons[at] as f32);
        }
    }
    let means = sums
        .into_iter()
        .map(|(what, (n, sum))| (what, sum.iter().map(|sum| round(sum / n as f64)).collect()));
    means.collect()
}
