//! What the shipped model makes of the probes: HateCheck's cases, and sentences that differ
//! in the group they name.
//!
//! Measures only. Nothing is learnt from a probe and no threshold is fitted to one, but what
//! was measured here was in view when settings were chosen, among them the share of comments
//! that the cut of `toxic` may wrong. Who wrote our own sentences had not read the probes' texts.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::Result;
use serde::{Deserialize, Serialize};
use toxicity_text::{features, terms, words::Words};

use super::{
    model::{Model, Scores},
    samples::{Read, Samples, Source, lines, words},
    unseen::Cuts,
};
use crate::{
    figures::rounded,
    metrics::{Confusion, auc},
    parallel,
};

pub(super) const HATECHECK: &str = "hatecheck";
pub(super) const MADLIBS: &str = "bias-madlibs";

#[derive(Deserialize)]
struct Line {
    text: String,
    label: String,
    functionality: Option<String>,
}

/// A probe's row with what the model says of it.
struct Row {
    line: Line,
    words: Words,
    scores: Scores,
}

#[derive(Debug, Serialize)]
pub(super) struct HateCheckFigures {
    #[serde(serialize_with = "rounded")]
    pub accuracy: f64,
    #[serde(serialize_with = "rounded")]
    pub accuracy_hateful: f64,
    #[serde(serialize_with = "rounded")]
    pub accuracy_not_hateful: f64,
    #[serde(serialize_with = "rounded")]
    pub auc: f64,
    /// Cases that are read the same as a sentence of ours, and the accuracy on all others.
    pub n_like_a_sentence: usize,
    #[serde(serialize_with = "rounded")]
    pub accuracy_of_others: f64,
    pub functionalities: Vec<Functionality>,
}

#[derive(Debug, Serialize)]
pub(super) struct Functionality {
    pub name: String,
    pub n_cases: usize,
    #[serde(serialize_with = "rounded")]
    pub accuracy: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct FairnessFigures {
    #[serde(serialize_with = "rounded")]
    pub auc: f64,
    #[serde(serialize_with = "rounded")]
    pub false_positive_rate: f64,
    #[serde(serialize_with = "rounded")]
    pub recall: f64,
    /// The highest rate of any term less the lowest.
    #[serde(serialize_with = "rounded")]
    pub false_positive_spread: f64,
    pub n_like_a_sentence: usize,
    pub terms: Vec<Term>,
}

/// Rows that name a term and are not toxic.
#[derive(Debug, Serialize)]
pub(super) struct Term {
    pub term: String,
    pub n_rows: usize,
    #[serde(serialize_with = "rounded")]
    pub false_positive_rate: f64,
}

/// A term with fewer rows that are not toxic is left out.
const LEAST_ROWS: usize = 15;

pub(super) struct Probes {
    pub hatecheck: HateCheckFigures,
    pub fairness: FairnessFigures,
    pub read: Vec<Read>,
}

impl Probes {
    pub(super) fn of(data: &Path, samples: &Samples, model: &Model, cuts: Cuts) -> Result<Self> {
        let made = samples
            .others
            .iter()
            .filter(|sample| matches!(sample.source, Source::Made(_)));
        let made: BTreeSet<String> = made.map(|sample| spelt(&sample.words)).collect();
        let (hatecheck, hatecheck_read) = rows(data, HATECHECK, model)?;
        let (madlibs, madlibs_read) = rows(data, MADLIBS, model)?;
        Ok(Self {
            hatecheck: hatecheck_figures(&hatecheck, cuts, &made),
            fairness: fairness_figures(&madlibs, cuts, &made),
            read: vec![hatecheck_read, madlibs_read],
        })
    }
}

fn rows(data: &Path, name: &'static str, model: &Model) -> Result<(Vec<Row>, Read)> {
    let (lines, read) = lines::<Line>(data, name)?;
    let scored = parallel::map(&lines, |line| {
        let words = words(&line.text);
        let scores = model.score(&words, &features::extract(&words));
        (words, scores)
    });
    let rows = lines.into_iter().zip(scored);
    let rows = rows.map(|(line, (words, scores))| Row {
        line,
        words,
        scores,
    });
    Ok((rows.collect(), read))
}

/// A text as it is read, letters and numbers alone.
fn spelt(words: &Words) -> String {
    let words = words.iter().map(|(_, word)| word);
    let words = words.filter(|word| word.chars().any(|c| c.is_alphanumeric() || c == '\u{1}'));
    words.collect::<Vec<_>>().join(" ")
}

fn hatecheck_figures(rows: &[Row], cuts: Cuts, made: &BTreeSet<String>) -> HateCheckFigures {
    let is_hateful = |row: &Row| row.line.label == "hateful";
    let is_right = |row: &Row| (row.scores[1] >= cuts.hate) == is_hateful(row);
    let accuracy = |rows: &[&Row]| {
        rows.iter().filter(|row| is_right(row)).count() as f64 / rows.len().max(1) as f64
    };
    let pick = |keep: &dyn Fn(&Row) -> bool| -> Vec<&Row> {
        rows.iter().filter(|row| keep(row)).collect()
    };
    let mut by_name: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        by_name
            .entry(row.line.functionality.as_deref().unwrap_or(""))
            .or_default()
            .push(row);
    }
    let scores: Vec<f64> = rows.iter().map(|row| row.scores[1]).collect();
    let truths: Vec<bool> = rows.iter().map(is_hateful).collect();
    let is_like = |row: &Row| made.contains(&spelt(&row.words));
    HateCheckFigures {
        accuracy: accuracy(&pick(&|_| true)),
        accuracy_hateful: accuracy(&pick(&is_hateful)),
        accuracy_not_hateful: accuracy(&pick(&|row| !is_hateful(row))),
        auc: auc(&scores, &truths),
        n_like_a_sentence: pick(&is_like).len(),
        accuracy_of_others: accuracy(&pick(&|row| !is_like(row))),
        functionalities: by_name
            .into_iter()
            .map(|(name, rows)| Functionality {
                name: name.to_owned(),
                n_cases: rows.len(),
                accuracy: accuracy(&rows),
            })
            .collect(),
    }
}

fn fairness_figures(rows: &[Row], cuts: Cuts, made: &BTreeSet<String>) -> FairnessFigures {
    let scores: Vec<f64> = rows.iter().map(|row| row.scores[0]).collect();
    let truths: Vec<bool> = rows.iter().map(|row| row.line.label == "toxic").collect();
    let counts = Confusion::at(cuts.toxic, &scores, &truths);
    let known: BTreeSet<&str> = terms::terms().collect();
    let mut by_term: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for (row, score) in rows
        .iter()
        .zip(&scores)
        .filter(|(row, _)| row.line.label != "toxic")
    {
        let text = row.line.text.to_lowercase();
        for word in text
            .split(|c: char| !c.is_alphanumeric())
            .filter(|word| known.contains(word))
        {
            let (n_rows, n_wronged) = by_term.entry(word.to_owned()).or_default();
            *n_rows += 1;
            *n_wronged += usize::from(*score >= cuts.toxic);
        }
    }
    let terms: Vec<Term> = by_term
        .into_iter()
        .filter(|(_, (n_rows, _))| *n_rows >= LEAST_ROWS)
        .map(|(term, (n_rows, n_wronged))| Term {
            term,
            n_rows,
            false_positive_rate: n_wronged as f64 / n_rows as f64,
        })
        .collect();
    let rates = terms.iter().map(|term| term.false_positive_rate);
    let spread = rates.clone().fold(0.0, f64::max) - rates.fold(1.0, f64::min);
    FairnessFigures {
        auc: auc(&scores, &truths),
        false_positive_rate: counts.wronged as f64 / (counts.wronged + counts.passed) as f64,
        recall: counts.recall(),
        false_positive_spread: spread,
        n_like_a_sentence: rows
            .iter()
            .filter(|row| made.contains(&spelt(&row.words)))
            .count(),
        terms,
    }
}
