//! How the probabilities of a label are spread, and how far two spreads lie apart.

use serde::{Deserialize, Serialize};

use crate::calibrator::Calibrator;
use crate::signal::{Label, Probability};

/// Most bins of one label.
pub const MAX_BINS: usize = 10;
/// Most labels that one guard watches.
pub const MAX_LABELS: usize = 32;

/// A label whose probabilities are watched, and the bins they are counted by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    /// The label.
    pub label: Label,
    /// The bins.
    pub bins: Bins,
}

/// Bins of probabilities: each from an edge, included, to the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bins {
    /// Rising inner edges, in billionths, so that a bin is found and kept exactly.
    edges: Vec<u32>,
}

const BILLION: f64 = 1e9;

impl Watched {
    /// Every label that a calibrator maps, up to [`MAX_LABELS`], by bins that its own
    /// tables make.
    #[must_use]
    pub fn all(calibrator: &Calibrator) -> Vec<Self> {
        let labels = calibrator.labels().take(MAX_LABELS);
        let watched = |label: &Label| Self {
            label: label.clone(),
            bins: Bins::of(calibrator, label),
        };
        labels.map(watched).collect()
    }
}

impl Bins {
    /// Bins between these rising edges, of which the first [`MAX_BINS`]` - 1` count.
    #[must_use]
    pub fn between(edges: impl IntoIterator<Item = Probability>) -> Self {
        let mut edges: Vec<u32> = edges.into_iter().map(billionths).collect();
        edges.retain(|edge| *edge > 0);
        edges.sort_unstable();
        edges.dedup();
        edges.truncate(MAX_BINS - 1);
        Self { edges }
    }

    /// Bins that would hold equal parts of the items that the label's table was counted
    /// from, at the table's prevalence: the live revision's table says where its scores
    /// lie. For a label without a table, ten of equal width.
    #[must_use]
    pub fn of(calibrator: &Calibrator, label: &Label) -> Self {
        let Some(table) = calibrator.table(label) else {
            let tenth = |tenths| Probability::new(f64::from(tenths) / 10.0).expect("below 1");
            return Self::between((1..10).map(tenth));
        };
        let (positives, negatives) = (table.n_positives() as f64, table.n_negatives() as f64);
        let mut edges = Vec::new();
        let mut mass = 0.0;
        for bin in table.bins() {
            mass += table.prevalence() * bin.positives as f64 / positives
                + (1.0 - table.prevalence()) * bin.negatives as f64 / negatives;
            let wanted = (edges.len() + 1) as f64 / MAX_BINS as f64;
            if mass >= wanted && edges.len() + 1 < MAX_BINS {
                let edge = calibrator.probability(label, bin.to);
                edges.push(edge.expect("the label has a table, its edges are finite").0);
            }
        }
        Self::between(edges)
    }

    pub(super) fn n_bins(&self) -> usize {
        self.edges.len() + 1
    }

    pub(super) fn of_probability(&self, probability: Probability) -> u8 {
        let billionths = billionths(probability);
        let bin = self.edges.partition_point(|edge| *edge <= billionths);
        u8::try_from(bin).expect("at most ten bins")
    }
}

fn billionths(probability: Probability) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole and within 0..=10⁹"
    )]
    let billionths = (probability.get() * BILLION).round() as u32;
    billionths
}

/// The population stability index of two counts over the same bins, less what chance alone
/// would make of it; 0 while there is nothing to compare.
///
/// Two samples of one population have an index of `(bins - 1) · (1/n + 1/m)` in the mean
/// (Yurdakul 2018, "Statistical Properties of Population Stability Index"). Half a count
/// more in every bin keeps an empty one finite.
pub(super) fn stability_index(one: &[u64], other: &[u64]) -> f64 {
    let (n, m): (u64, u64) = (one.iter().sum(), other.iter().sum());
    if n == 0 || m == 0 {
        return 0.0;
    }
    let (n, m, bins) = (n as f64, m as f64, one.len() as f64);
    let share = |count: u64, n: f64| (count as f64 + 0.5) / (n + 0.5 * bins);
    let apart: f64 = one
        .iter()
        .zip(other)
        .map(|(one, other)| (share(*one, n), share(*other, m)))
        .map(|(one, other)| (one - other) * (one / other).ln())
        .sum();
    (apart - (bins - 1.0) * (1.0 / n + 1.0 / m)).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probability(value: f64) -> Probability {
        Probability::new(value).unwrap()
    }

    #[test]
    fn a_probability_falls_into_the_bin_that_begins_at_or_below_it() {
        let bins = Bins::between([0.5, 0.1, 0.5, 0.0].map(probability));
        assert_eq!(bins.n_bins(), 3);
        for (value, bin) in [
            (0.0, 0),
            (0.099, 0),
            (0.1, 1),
            (0.49, 1),
            (0.5, 2),
            (1.0, 2),
        ] {
            assert_eq!(bins.of_probability(probability(value)), bin, "{value}");
        }
        assert_eq!(
            Bins::between((1..=40).map(|n| probability(f64::from(n) / 40.0))).n_bins(),
            10
        );
    }

    #[test]
    fn a_tables_bins_hold_equal_parts_of_its_items() {
        let counts = |n: u64| {
            (0..100)
                .map(|_| n.to_string())
                .collect::<Vec<_>>()
                .join(", ")
        };
        let edges = (0..=100)
            .map(|n| n.to_string())
            .collect::<Vec<_>>()
            .join(", ");
        // Positives lie in the upper half, so that probabilities rise.
        let positives = (0..100)
            .map(|n| if n < 50 { "1" } else { "9" })
            .collect::<Vec<_>>();
        let text = format!(
            "[[calibrator]]\nlabel = \"spam\"\nkind = \"table\"\nprevalence = 0.01\nscores = [{edges}]\npositives = [{}]\nnegatives = [{}]\n",
            positives.join(", "),
            counts(10),
        );
        let calibrator = Calibrator::parse("c.toml", &text).unwrap();
        let [watched] = &Watched::all(&calibrator)[..] else {
            panic!("one label")
        };
        assert!(watched.bins.n_bins() >= 2, "{watched:?}");
        let logistic =
            "[[calibrator]]\nlabel = \"spam\"\nkind = \"logistic\"\nslope = 1\nintercept = 0\n";
        let calibrator = Calibrator::parse("c.toml", logistic).unwrap();
        assert_eq!(Watched::all(&calibrator)[0].bins.n_bins(), 10);
    }

    #[test]
    fn the_index_of_alike_spreads_is_nothing_and_of_a_shift_is_great() {
        assert_eq!(
            stability_index(&[100, 200, 300], &[1_000, 2_000, 3_000]),
            0.0
        );
        assert_eq!(stability_index(&[0, 0], &[1, 1]), 0.0);
        // (0.5 − 0.2) ln(0.5/0.2) + (0.5 − 0.8) ln(0.5/0.8) = 0.4159.
        let index = stability_index(&[50_000, 50_000], &[20_000, 80_000]);
        assert!((index - 0.4159).abs() < 1e-3, "{index}");
    }
}
