//! The figures of a training run, as JSON and as the model card's table.
//!
//! Formats only; measures nothing. The same figures give the same bytes.

use anyhow::{Context, Result, ensure};
use serde::{Serialize, Serializer};

use crate::evasion::{AttackFigures, EvidenceFigures};

/// Everything one training run found, and what it takes to find it again.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    pub recipe: Recipe,
    pub threshold: Threshold,
    pub sets: Vec<SetFigures>,
    pub further_ham: Vec<FurtherHam>,
    pub attacks: Vec<AttackFigures>,
    pub evidence: EvidenceFigures,
    pub calibration: Calibration,
    pub model: ModelFile,
}

#[derive(Debug, Serialize)]
pub(crate) struct Recipe {
    pub name: &'static str,
    pub n_folds: usize,
    pub fold_salt: &'static str,
    pub seed: u64,
    pub cost: f64,
    pub tolerance: f64,
    pub max_passes: usize,
    pub further_ham_cost: f64,
    pub copy_emphasis: f64,
    pub most_rows_of_further_ham: usize,
    pub n_buckets: u32,
}

/// The one cut for all sets.
#[derive(Debug, Serialize)]
pub(crate) struct Threshold {
    pub chosen_on: &'static str,
    #[serde(serialize_with = "rounded")]
    pub score: f64,
    #[serde(serialize_with = "rounded")]
    pub probability: f64,
}

/// Figures of one set; all on scores of rows the scoring model had not seen.
#[derive(Debug, Serialize)]
pub(crate) struct SetFigures {
    pub name: &'static str,
    pub sha256: String,
    pub n_rows: usize,
    pub n_spam: usize,
    #[serde(serialize_with = "rounded")]
    pub f1: f64,
    /// With the cut for each fold chosen on the other folds.
    #[serde(serialize_with = "rounded")]
    pub f1_cut_elsewhere: f64,
    #[serde(serialize_with = "rounded")]
    pub precision: f64,
    #[serde(serialize_with = "rounded")]
    pub recall: f64,
    #[serde(serialize_with = "rounded")]
    pub auc: f64,
    #[serde(serialize_with = "rounded")]
    pub recall_at_fpr_1_percent: f64,
    /// Of a model trained on the other sets only.
    #[serde(serialize_with = "rounded")]
    pub auc_source_never_seen: f64,
    /// With the table for each fold counted on the other folds.
    #[serde(serialize_with = "rounded")]
    pub expected_calibration_error: f64,
}

/// A set whose rows are learnt as ham and tried on nothing.
#[derive(Debug, Serialize)]
pub(crate) struct FurtherHam {
    pub name: &'static str,
    pub sha256: String,
    pub n_rows: usize,
}

#[derive(Debug, Serialize)]
pub(crate) struct Calibration {
    pub counted_on: &'static str,
    #[serde(serialize_with = "rounded")]
    pub prevalence: f64,
    pub n_table_bins: usize,
    pub n_positives: u64,
    pub n_negatives: u64,
    /// Bins of the calibration error.
    pub n_bins: usize,
    #[serde(serialize_with = "rounded")]
    pub expected_calibration_error: f64,
}

#[derive(Debug, Serialize)]
pub(crate) struct ModelFile {
    pub n_bytes: usize,
    pub sha256: String,
}

// More digits than the rows can bear would only differ between machines.
pub(crate) fn rounded<S: Serializer>(figure: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(round(*figure))
}

/// To six decimals.
pub(crate) fn round(figure: f64) -> f64 {
    (figure * 1e6).round() / 1e6
}

impl Figures {
    pub(crate) fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// The part of the model card that a machine writes.
    pub(crate) fn table(&self) -> String {
        let mut table = String::from(
            "| set | rows | spam | F1 | F1, cut chosen elsewhere | precision | recall | AUC \
             | recall at FPR 1 % | AUC, source never seen | calibration error |\n\
             |---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
        );
        for set in &self.sets {
            table += &format!(
                "| {} | {} | {} | {:.3} | {:.3} | {:.3} | {:.3} | {:.3} | {:.3} | {:.3} | {:.3} |\n",
                set.name,
                set.n_rows,
                set.n_spam,
                set.f1,
                set.f1_cut_elsewhere,
                set.precision,
                set.recall,
                set.auc,
                set.recall_at_fpr_1_percent,
                set.auc_source_never_seen,
                set.expected_calibration_error,
            );
        }
        table + &self.summary() + &self.robustness()
    }

    fn summary(&self) -> String {
        format!(
            "\nThreshold: score {:.2}, which is probability {:.3}. Calibration table: {} bins, \
             {} positive and {} negative rows, prevalence {:.4}; expected calibration error over \
             all rows {:.3} ({} bins). `model.onnx`: {} bytes.\n",
            self.threshold.score,
            self.threshold.probability,
            self.calibration.n_table_bins,
            self.calibration.n_positives,
            self.calibration.n_negatives,
            self.calibration.prevalence,
            self.calibration.expected_calibration_error,
            self.calibration.n_bins,
            self.model.n_bytes,
        )
    }

    fn robustness(&self) -> String {
        let mut table = String::from(
            "\n| attack | set | recall lost, points | attacked ham: false positives gained, points |\n\
             |---|---|--:|--:|\n",
        );
        for row in &self.attacks {
            table += &format!(
                "| {} | {} | {:.1} | {:+.1} |\n",
                row.attack, row.set, row.recall_lost_points, row.false_positives_gained_points,
            );
        }
        table
            + &format!(
                "\nEvidence of the {} flagged rows: for {:.1} % deleting it lowers the score more \
                 than deleting as much elsewhere; of a text over 200 characters at most {:.0} % \
                 is shown.\n",
                self.evidence.n_flagged,
                100.0 * self.evidence.share_true,
                100.0 * self.evidence.largest_share_shown,
            )
    }
}

const BEGIN: &str = "<!-- figures:begin -->";
const END: &str = "<!-- figures:end -->";

/// The card with `table` between its two markers.
pub(crate) fn rewrite(card: &str, table: &str) -> Result<String> {
    let missing = || format!("the card needs a line `{BEGIN}` and after it a line `{END}`");
    let (before, rest) = card.split_once(BEGIN).with_context(missing)?;
    let (_, after) = rest.split_once(END).with_context(missing)?;
    ensure!(
        !after.contains(BEGIN),
        "the card holds two blocks of figures; keep one"
    );
    Ok(format!("{before}{BEGIN}\n\n{table}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_between_the_markers_is_rewritten() {
        let card = format!("# Card\n{BEGIN}\nold\n{END}\nend\n");
        let new = rewrite(&card, "new\n").unwrap();
        assert_eq!(new, format!("# Card\n{BEGIN}\n\nnew\n\n{END}\nend\n"));
    }

    #[test]
    fn rewriting_twice_changes_nothing_more() {
        let once = rewrite(&format!("{BEGIN}{END}"), "new\n").unwrap();
        assert_eq!(rewrite(&once, "new\n").unwrap(), once);
    }

    #[test]
    fn a_card_without_markers_is_refused() {
        let error = rewrite("# Card", "new").unwrap_err();
        assert!(error.to_string().contains(BEGIN), "{error}");
    }
}
