//! The figures of a training run, as JSON and as the model card's tables.
//!
//! Formats only; measures nothing. The same figures give the same bytes.

use std::fmt::Write as _;

use anyhow::Result;
use serde::Serialize;

use super::{
    chat::{ChatFigures, PAST},
    probes::{FairnessFigures, HateCheckFigures},
    robustness::AttackFigures,
    unseen::{Cuts, TalkFigures, TweetFigures},
};
use crate::{
    evasion::EvidenceFigures,
    figures::{ModelFile, rounded},
};

/// Everything one training run found.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub sets: Vec<SetFigures>,
    pub n_sentences: usize,
    pub n_pieces: usize,
    pub cuts: Cuts,
    pub labels: Vec<LabelFigures>,
    pub tweets: TweetFigures,
    pub talk: TalkFigures,
    pub chat: Vec<ChatFigures>,
    pub hatecheck: HateCheckFigures,
    pub fairness: FairnessFigures,
    pub attacks: Vec<AttackFigures>,
    pub evidence: EvidenceFigures,
    pub model: ModelFile,
}

#[derive(Debug, Serialize)]
pub(super) struct SetFigures {
    pub name: &'static str,
    pub sha256: String,
    pub n_rows: usize,
    /// Whether a model learns from it.
    pub is_learnt_from: bool,
}

/// A label's cut and calibration.
#[derive(Debug, Serialize)]
pub(super) struct LabelFigures {
    pub label: &'static str,
    #[serde(serialize_with = "rounded")]
    pub cut_score: f64,
    #[serde(serialize_with = "rounded")]
    pub cut_probability: f64,
    #[serde(serialize_with = "rounded")]
    pub prevalence: f64,
    pub n_table_bins: usize,
    pub n_positives: u64,
    pub n_negatives: u64,
    #[serde(serialize_with = "rounded")]
    pub expected_calibration_error: f64,
}

impl Report {
    pub(super) fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// The part of the model card that a machine writes.
    pub(super) fn table(&self) -> String {
        [
            self.goals(),
            self.known(),
            self.labels(),
            self.chat(),
            self.functionalities(),
            self.fairness(),
            self.robustness(),
        ]
        .concat()
    }

    fn goals(&self) -> String {
        let mut table = String::from("| goal | asked | reached | |\n|---|--:|--:|---|\n");
        let mut line = |what: &str, asked: f64, least: bool, reached: f64, met: &str| {
            let (sign, is_met) = if least {
                ("≥", reached >= asked)
            } else {
                ("≤", reached <= asked)
            };
            let met = if is_met { met } else { "missed" };
            // Writing to a String does not fail.
            let _ = writeln!(
                table,
                "| {what} | {sign} {asked:.2} | {reached:.3} | {met} |"
            );
        };
        line(
            "davidson-tweets, macro-F1",
            0.75,
            true,
            self.tweets.macro_f1,
            "met",
        );
        line(
            "wiki-toxicity, AUC of `toxic`",
            0.94,
            true,
            self.talk.auc,
            "met",
        );
        line(
            "HateCheck, accuracy of `hate`",
            0.65,
            true,
            self.hatecheck.accuracy,
            "met",
        );
        line(
            "bias-madlibs, spread of false positives of `toxic` over terms",
            0.10,
            false,
            self.fairness.false_positive_spread,
            // Our sentences have the patterns of its six templates.
            "met, in taught patterns",
        );
        table
    }

    fn known(&self) -> String {
        let (tweets, talk) = (&self.tweets, &self.talk);
        format!(
            "\ndavidson-tweets: F1 of hate {:.3}, offensive {:.3}, neither {:.3}; macro-F1 with cuts chosen on other \
             folds {:.3}; accuracy {:.3}; AUC of `hate` {:.3}, of `offensive` {:.3}, of `toxic` {:.3}.\n\
             wiki-toxicity: F1 {:.3} (cut chosen on other folds {:.3}), precision {:.3}, recall {:.3}.\n",
            tweets.f1_hate,
            tweets.f1_offensive,
            tweets.f1_neither,
            tweets.macro_f1_cuts_elsewhere,
            tweets.accuracy,
            tweets.auc_hate,
            tweets.auc_offensive,
            tweets.auc_toxic,
            talk.f1,
            talk.f1_cut_elsewhere,
            talk.precision,
            talk.recall,
        )
    }

    fn labels(&self) -> String {
        let mut table = String::from(
            "\n| label | cut: score | cut: probability | prevalence | positive rows | negative rows | calibration error |\n\
             |---|--:|--:|--:|--:|--:|--:|\n",
        );
        for label in &self.labels {
            let _ = writeln!(
                table,
                "| `{}` | {:.1} | {:.3} | {:.4} | {} | {} | {:.3} |",
                label.label,
                label.cut_score,
                label.cut_probability,
                label.prevalence,
                label.n_positives,
                label.n_negatives,
                label.expected_calibration_error,
            );
        }
        let _ = writeln!(
            table,
            "\nSentences of our own: {}. Pieces: {}. `model.onnx`: {} bytes.",
            self.n_sentences, self.n_pieces, self.model.n_bytes
        );
        table
    }

    fn chat(&self) -> String {
        let mut table = String::from("\n| rows | | label |");
        for past in PAST {
            let _ = write!(table, " past {past} |");
        }
        table += " past the cut |\n|---|--:|---|--:|--:|--:|--:|--:|\n";
        for one in &self.chat {
            let _ = write!(table, "| {} | {} | `{}` |", one.rows, one.n_rows, one.label);
            for share in &one.shares {
                let _ = write!(table, " {:.2} % |", 100.0 * share.share);
            }
            let _ = writeln!(table, " {:.2} % |", 100.0 * one.share_past_cut);
        }
        table
    }

    fn functionalities(&self) -> String {
        let found = &self.hatecheck;
        let mut table = format!(
            "\nHateCheck: accuracy {:.3}, of hateful cases {:.3}, of the others {:.3}; AUC {:.3}. {} cases are read the \
             same as a sentence of ours; without them accuracy is {:.3}.\n\n| functionality | cases | accuracy |\n|---|--:|--:|\n",
            found.accuracy,
            found.accuracy_hateful,
            found.accuracy_not_hateful,
            found.auc,
            found.n_like_a_sentence,
            found.accuracy_of_others,
        );
        for one in &found.functionalities {
            let _ = writeln!(
                table,
                "| {} | {} | {:.3} |",
                one.name, one.n_cases, one.accuracy
            );
        }
        table
    }

    fn fairness(&self) -> String {
        let found = &self.fairness;
        let mut table = format!(
            "\nbias-madlibs at the cut of `toxic`: false positives {:.1} %, spread over terms {:.3}, recall {:.1} %, AUC {:.3}; \
             {} rows are read the same as a sentence of ours.\n\n| term | rows that are not toxic | false positives |\n|---|--:|--:|\n",
            100.0 * found.false_positive_rate,
            found.false_positive_spread,
            100.0 * found.recall,
            found.auc,
            found.n_like_a_sentence,
        );
        for term in &found.terms {
            let _ = writeln!(
                table,
                "| {} | {} | {:.1} % |",
                term.term,
                term.n_rows,
                100.0 * term.false_positive_rate
            );
        }
        table
    }

    fn robustness(&self) -> String {
        let mut table = String::from(
            "\n| attack | set | label | recall lost, points | other rows attacked: false positives gained, points |\n\
             |---|---|---|--:|--:|\n",
        );
        for row in &self.attacks {
            let _ = writeln!(
                table,
                "| {} | {} | `{}` | {:.1} | {:+.1} |",
                row.attack,
                row.set,
                row.label,
                row.recall_lost_points,
                row.false_positives_gained_points,
            );
        }
        let _ = writeln!(
            table,
            "\nEvidence of the {} flagged rows (`toxic` in comments, `hate` in tweets): for {:.1} % deleting it lowers the \
             score more than deleting as much elsewhere; of a text over 200 characters at most {:.0} % is shown.",
            self.evidence.n_flagged,
            100.0 * self.evidence.share_true,
            100.0 * self.evidence.largest_share_shown,
        );
        table
    }
}
