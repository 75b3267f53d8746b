//! From the scores of held-out rows to a calibration table per label.
//!
//! Pure, and of no label in particular. It counts and chooses bins; what a table
//! says of a score is `trommel-calibration`'s, which the host applies too.

use std::fmt::{Debug, Write as _};

use anyhow::{Context, Result, ensure};
use trommel_calibration::{Bin, Table};

/// One label's rows, each scored by a model that had seen neither it nor its
/// near-duplicates. The three run in step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeldOut<'a> {
    pub scores: &'a [f64],
    pub truths: &'a [bool],
    /// Which rows were held out together.
    pub folds: &'a [usize],
}

/// What calibration made of one label.
#[derive(Debug)]
pub(crate) struct Calibrated {
    /// Counted on all rows: what the plugin ships.
    pub table: Table,
    /// Of each row, by a table that was counted on the other folds alone.
    pub probabilities: Vec<f64>,
}

impl Calibrated {
    /// Counts one label's table and tries it on rows that it did not count.
    ///
    /// `prevalence` is the share of positives at which probabilities are told;
    /// [`natural_prevalence`] is that of the rows.
    ///
    /// # Errors
    ///
    /// When the rows, or those outside some fold, are all of one class.
    pub(crate) fn of(rows: HeldOut<'_>, prevalence: f64) -> Result<Self> {
        let n_folds = rows.folds.iter().max().map_or(0, |fold| fold + 1);
        let outside = |left_out: usize| {
            let (mut scores, mut truths) = (Vec::new(), Vec::new());
            for (at, &fold) in rows.folds.iter().enumerate() {
                if fold != left_out {
                    scores.push(rows.scores[at]);
                    truths.push(rows.truths[at]);
                }
            }
            count(&scores, &truths, prevalence)
                .with_context(|| format!("with fold {left_out} left out"))
        };
        let tables = (0..n_folds).map(outside).collect::<Result<Vec<_>>>()?;
        let scored = rows.scores.iter().zip(rows.folds);
        Ok(Self {
            table: count(rows.scores, rows.truths, prevalence)?,
            probabilities: scored
                .map(|(&score, &fold)| tables[fold].probability(score as f32))
                .collect(),
        })
    }
}

/// The share of positive rows, to four decimals.
pub(crate) fn natural_prevalence(truths: &[bool]) -> f64 {
    let n_positives = truths.iter().filter(|&&truth| truth).count();
    (n_positives as f64 / truths.len() as f64 * 1e4).round() / 1e4
}

/// The text of a calibrator file: `head` as its comment, then a table per label.
pub(crate) fn file(head: &str, tables: &[(&str, &Table)]) -> String {
    let mut text: String = head.lines().map(|line| format!("# {line}\n")).collect();
    for (label, table) in tables {
        let counts = |class: fn(Bin) -> u64| list(&table.bins().map(class).collect::<Vec<_>>());
        // Writing to a String does not fail.
        let _ = write!(
            text,
            "\n[[calibrator]]\nlabel = {label:?}\nkind = \"table\"\nprevalence = {:?}\nscores = {}\npositives = {}\nnegatives = {}\n",
            table.prevalence(),
            list(table.edges()),
            counts(|bin| bin.positives),
            counts(|bin| bin.negatives),
        );
    }
    text
}

/// A TOML list, ten numbers to a line.
fn list<T: Debug>(numbers: &[T]) -> String {
    let line = |numbers: &[T]| {
        let numbers = numbers.iter().map(|number| format!("{number:?}"));
        format!("  {},\n", numbers.collect::<Vec<_>>().join(", "))
    };
    format!("[\n{}]", numbers.chunks(10).map(line).collect::<String>())
}

/// Rows of the rarer class that a bin should hold on average, and how many bins
/// there are at the least and most: fewer rows would count noise, more bins would
/// say nothing more.
const ROWS_PER_BIN: usize = 25;
const LEAST_BINS: usize = 10;
const MOST_BINS: usize = 40;

/// Counts rows into bins that hold the same weight, where both classes weigh the
/// same in all: bins of equal numbers of rows would leave a rare class in one or
/// two of them, and the cuts that policies ask for lie there.
fn count(scores: &[f64], truths: &[bool], prevalence: f64) -> Result<Table> {
    // As f32, for such are the scores that the host sees.
    let scores = scores.iter().map(|&score| score as f32);
    let mut rows: Vec<(f32, bool)> = scores.zip(truths.iter().copied()).collect();
    rows.sort_by(|a, b| a.0.total_cmp(&b.0));
    let n_positives = rows.iter().filter(|row| row.1).count();
    let n_negatives = rows.len() - n_positives;
    ensure!(
        n_positives > 0 && n_negatives > 0,
        "{n_positives} positive and {n_negatives} negative rows; nothing is calibrated without both"
    );
    let rarer = n_positives.min(n_negatives);
    let n_bins = (rarer / ROWS_PER_BIN).clamp(LEAST_BINS, MOST_BINS);
    let cuts = cuts(&rows, n_bins, n_positives, n_negatives);
    let bounds: Vec<usize> = [&[0], &cuts[..], &[rows.len()]].concat();
    let bins = bounds.windows(2).map(|pair| &rows[pair[0]..pair[1]]);
    let (positives, negatives) = bins
        .map(|bin| {
            let n_positives = bin.iter().filter(|row| row.1).count();
            (n_positives as u64, (bin.len() - n_positives) as u64)
        })
        .unzip();
    let edges: Vec<f64> = edges(&rows, &cuts).into_iter().map(f64::from).collect();
    Ok(Table::new(&edges, positives, negatives, prevalence)?)
}

/// Where a bin begins that is not the first; never between rows of one score.
fn cuts(rows: &[(f32, bool)], n_bins: usize, n_positives: usize, n_negatives: usize) -> Vec<usize> {
    let mut cuts = Vec::new();
    // Each row weighs as many as the other class has rows, so that sums are whole.
    let total = 2 * n_positives as u128 * n_negatives as u128;
    let (mut weight, mut wanted) = (0_u128, 1_u128);
    for (at, pair) in rows.windows(2).enumerate() {
        weight += if pair[0].1 { n_negatives } else { n_positives } as u128;
        if weight * n_bins as u128 >= wanted * total && pair[0].0 < pair[1].0 {
            cuts.push(at + 1);
            wanted = weight * n_bins as u128 / total + 1;
        }
    }
    cuts
}

/// One edge at each cut, and two outermost ones that put the median row of the
/// first and of the last bin at its centre, where the table is most right.
fn edges(rows: &[(f32, bool)], cuts: &[usize]) -> Vec<f32> {
    let (Some(&first), Some(&last)) = (cuts.first(), cuts.last()) else {
        return vec![rows[0].0, rows[0].0.next_up()];
    };
    let inner: Vec<f32> = cuts
        .iter()
        .map(|&at| between(rows[at - 1].0, rows[at].0))
        .collect();
    let mirrored = |edge: f32, rows: &[(f32, bool)]| {
        let far = 2.0 * f64::from(rows[rows.len() / 2].0) - f64::from(edge);
        ((far * 1e4).round() / 1e4) as f32
    };
    let (least, most) = (inner[0], inner[inner.len() - 1]);
    let begin = mirrored(least, &rows[..first]).min(least.next_down());
    let end = mirrored(most, &rows[last..]).max(most.next_up());
    [&[begin], &inner[..], &[end]].concat()
}

/// The number with the fewest decimals above `lower` and not above `upper`.
fn between(lower: f32, upper: f32) -> f32 {
    let middle = f64::midpoint(lower.into(), upper.into());
    let rounded = (0..9).map(|n_decimals| {
        let scale = 10_f64.powi(n_decimals);
        ((middle * scale).round() / scale) as f32
    });
    let mut fitting = rounded.filter(|&edge| lower < edge && edge <= upper);
    fitting.next().unwrap_or(upper)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{folds::mix, logistic::sigmoid, reliability::Reliability};

    /// Rows whose truths are as likely as `sigmoid(slope · score + intercept)` says.
    fn drawn(n_rows: u64, slope: f64, intercept: f64) -> (Vec<f64>, Vec<bool>, Vec<usize>) {
        let unit = |seed: u64| mix(seed) as f64 / u64::MAX as f64;
        let row = |at: u64| {
            let score = 8.0 * unit(3 * at) - 4.0;
            let truth = unit(3 * at + 1) < sigmoid(slope * score + intercept);
            (score, (truth, (unit(3 * at + 2) * 5.0) as usize % 5))
        };
        let (scores, rest): (Vec<f64>, Vec<(bool, usize)>) = (1..=n_rows).map(row).unzip();
        let (truths, folds) = rest.into_iter().unzip();
        (scores, truths, folds)
    }

    #[test]
    fn the_curve_a_sample_was_drawn_from_is_found_again() {
        let (scores, truths, folds) = drawn(20_000, 1.5, -0.5);
        let rows = HeldOut {
            scores: &scores,
            truths: &truths,
            folds: &folds,
        };
        let found = Calibrated::of(rows, natural_prevalence(&truths)).unwrap();
        for step in -30_i8..=30 {
            let score = f64::from(step) / 10.0;
            let (said, true_one) = (
                found.table.probability(score as f32),
                sigmoid(1.5 * score - 0.5),
            );
            assert!(
                (said - true_one).abs() < 0.04,
                "{score}: {said}, {true_one}"
            );
        }
        let error = Reliability::natural(&found.probabilities, &truths).error();
        assert!(error < 0.015, "{error}");
    }

    #[test]
    fn every_row_is_counted_once_and_bins_weigh_alike() {
        let (scores, truths, _) = drawn(20_000, 1.0, -3.0);
        let table = count(&scores, &truths, 0.1).unwrap();
        let n_positives = truths.iter().filter(|&&truth| truth).count() as u64;
        assert_eq!(table.n_positives(), n_positives);
        assert_eq!(table.n_negatives(), 20_000 - n_positives);
        assert_eq!(table.bins().len(), 40);
        for bin in table.bins() {
            let weight = bin.positives as f64 / n_positives as f64
                + bin.negatives as f64 / (20_000 - n_positives) as f64;
            assert!((weight - 0.05).abs() < 0.003, "{bin:?}");
        }
        for (at, bin) in table.bins().enumerate() {
            let (first, last) = (at == 0, at == 39);
            let within = |score: f64| {
                (first || bin.from <= score as f32) && (last || (score as f32) < bin.to)
            };
            let n_rows = scores.iter().filter(|score| within(**score)).count() as u64;
            assert_eq!(n_rows, bin.positives + bin.negatives, "{bin:?}");
        }
    }

    #[test]
    fn rows_of_one_score_stay_in_one_bin() {
        let scores: Vec<f64> = (0..1_000).map(|at| f64::from(at / 400)).collect();
        let truths: Vec<bool> = (0..1_000).map(|at| at % 3 == 0 || at > 800).collect();
        let table = count(&scores, &truths, 0.5).unwrap();
        let n_rows: Vec<u64> = table
            .bins()
            .map(|bin| bin.positives + bin.negatives)
            .collect();
        assert_eq!(n_rows, [400, 400, 200]);
        let same = count(&[1.5; 4], &[true, false, false, false], 0.25).unwrap();
        assert!((same.probability(7.0) - 0.25).abs() < 1e-12);
    }

    #[test]
    fn rows_of_one_class_are_refused() {
        let error = count(&[1.0, 2.0], &[true, true], 0.5).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("2 positive and 0 negative rows")
        );
        let rows = HeldOut {
            scores: &[1.0, 2.0, 3.0],
            truths: &[true, false, false],
            folds: &[0, 1, 1],
        };
        let error = Calibrated::of(rows, 0.5).unwrap_err();
        assert_eq!(error.to_string(), "with fold 0 left out");
    }

    #[test]
    fn an_edge_is_short_and_parts_its_neighbours() {
        assert_eq!(between(1.23, 4.56), 3.0);
        assert_eq!(between(0.1201, 0.1251), 0.123);
        assert_eq!(between(0.0, 0.4), 0.2);
        let (lower, upper) = (1.0_f32, 1.0_f32.next_up());
        assert_eq!(between(lower, upper), upper);
        assert_eq!(between(-2.0, -1.0), -1.5);
    }

    #[test]
    fn a_file_holds_its_comment_and_a_table_per_label() {
        let table = Table::new(&[-1.5, 0.0, 2.0], vec![1, 9], vec![6, 4], 0.25).unwrap();
        let text = file(
            "Two labels.\nBy hand.",
            &[("blur", &table), ("low/noise", &table)],
        );
        let one = |label: &str| {
            format!(
                "\n[[calibrator]]\nlabel = \"{label}\"\nkind = \"table\"\nprevalence = 0.25\nscores = [\n  -1.5, 0.0, 2.0,\n]\npositives = [\n  1, 9,\n]\nnegatives = [\n  6, 4,\n]\n"
            )
        };
        let expected = format!(
            "# Two labels.\n# By hand.\n{}{}",
            one("blur"),
            one("low/noise")
        );
        assert_eq!(text, expected);
    }
}
