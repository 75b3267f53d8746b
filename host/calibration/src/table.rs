//! The counts themselves: checked once, then kept for whoever asks.

use thiserror::Error;

use crate::curve::Curve;

/// Most bins of a table.
pub const MAX_BINS: usize = 1024;

/// Most rows of one class in a table: every count up to it is exact as f64.
pub const MAX_ROWS: u64 = 1 << 53;

/// How many positive and negative rows that the model was not trained on fell
/// into each bin of the score.
///
/// A bin's probability follows from how much likelier a positive row is to fall
/// into it than a negative one, and from the prevalence. So the rows of a class
/// may have been sampled at any rate: what counts is how each class spreads over
/// the bins.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    edges: Vec<f32>,
    positives: Vec<u64>,
    negatives: Vec<u64>,
    prevalence: f64,
    curve: Curve,
}

/// One bin of a table: scores from `from` up to, without, `to`.
///
/// The first bin holds the scores below its `from` too, and the last one those
/// from its `to` on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bin {
    /// Least score.
    pub from: f32,
    /// The next bin's least score.
    pub to: f32,
    /// Rows that have the label.
    pub positives: u64,
    /// Rows that have it not.
    pub negatives: u64,
}

/// Why counts make no table.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum TableError {
    /// Too few edges, or more than there may be.
    #[error("`scores` has {n_edges} edges; give from 2 to {}, one more than there are bins", MAX_BINS + 1)]
    Edges {
        /// How many were given.
        n_edges: usize,
    },
    /// An edge that no score can reach.
    #[error("`scores` has the edge {edge}; give finite numbers that fit into an f32")]
    Edge {
        /// The edge.
        edge: f64,
    },
    /// Edges that do not rise, as f32.
    #[error("`scores` has {next} after {edge}; give edges that rise, also as f32")]
    Order {
        /// An edge.
        edge: f64,
        /// The one after it.
        next: f64,
    },
    /// Counts that are not one per bin.
    #[error("`{class}` has {n_counts} counts for {n_bins} bins; give one for each")]
    Length {
        /// `positives` or `negatives`.
        class: &'static str,
        /// How many were given.
        n_counts: usize,
        /// How many bins there are.
        n_bins: usize,
    },
    /// A class without rows.
    #[error("`{class}` counts no row; without rows of both classes nothing is calibrated")]
    Empty {
        /// `positives` or `negatives`.
        class: &'static str,
    },
    /// More rows than can be counted exactly.
    #[error("`{class}` counts more than {MAX_ROWS} rows; give fewer")]
    Rows {
        /// `positives` or `negatives`.
        class: &'static str,
    },
    /// A prevalence that leaves one class out.
    #[error("`prevalence` is {prevalence}; give a number between 0 and 1, neither of them")]
    Prevalence {
        /// The number.
        prevalence: f64,
    },
}

impl Table {
    /// Takes counts, one of each class for each of the bins between `edges`.
    ///
    /// `edges` are finite and rise as f32, for scores are f32. `prevalence` is the
    /// share of positives, 0 and 1 excluded, at which probabilities are told.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong, naming the key of a calibrator file that
    /// holds it.
    pub fn new(
        edges: &[f64],
        positives: Vec<u64>,
        negatives: Vec<u64>,
        prevalence: f64,
    ) -> Result<Self, TableError> {
        let edges = rising(edges)?;
        let n_bins = edges.len() - 1;
        counted("positives", &positives, n_bins)?;
        counted("negatives", &negatives, n_bins)?;
        if !(prevalence > 0.0 && prevalence < 1.0) {
            return Err(TableError::Prevalence { prevalence });
        }
        let curve = Curve::through(&edges, &positives, &negatives, prevalence);
        Ok(Self {
            edges,
            positives,
            negatives,
            prevalence,
            curve,
        })
    }

    /// How likely a row of this score is positive, at the table's prevalence:
    /// `0..=1`, and never less for a higher score. `score` is finite.
    #[must_use]
    pub fn probability(&self, score: f32) -> f64 {
        1.0 / (1.0 + (-self.curve.logit(f64::from(score))).exp())
    }

    #[cfg(test)]
    pub(crate) const fn curve(&self) -> &Curve {
        &self.curve
    }

    /// The share of positives at which probabilities are told, as the author
    /// stated it; the counts need not have it.
    #[must_use]
    pub const fn prevalence(&self) -> f64 {
        self.prevalence
    }

    /// The edges of the bins, rising; one more than there are bins.
    #[must_use]
    pub fn edges(&self) -> &[f32] {
        &self.edges
    }

    /// The bins with their counts as the author gave them, lowest scores first.
    pub fn bins(&self) -> impl DoubleEndedIterator<Item = Bin> + ExactSizeIterator {
        (0..self.positives.len()).map(|at| Bin {
            from: self.edges[at],
            to: self.edges[at + 1],
            positives: self.positives[at],
            negatives: self.negatives[at],
        })
    }

    /// Positive rows in all bins together; at least 1, at most [`MAX_ROWS`].
    #[must_use]
    pub fn n_positives(&self) -> u64 {
        self.positives.iter().sum()
    }

    /// Negative rows in all bins together; at least 1, at most [`MAX_ROWS`].
    #[must_use]
    pub fn n_negatives(&self) -> u64 {
        self.negatives.iter().sum()
    }
}

fn rising(edges: &[f64]) -> Result<Vec<f32>, TableError> {
    if !(2..=MAX_BINS + 1).contains(&edges.len()) {
        return Err(TableError::Edges {
            n_edges: edges.len(),
        });
    }
    // `+ 0.0` makes one zero of two, so that equal tables have equal bits.
    let narrowed: Vec<f32> = edges.iter().map(|&edge| edge as f32 + 0.0).collect();
    if let Some(at) = narrowed.iter().position(|edge| !edge.is_finite()) {
        return Err(TableError::Edge { edge: edges[at] });
    }
    if let Some(at) = narrowed.windows(2).position(|pair| pair[0] >= pair[1]) {
        return Err(TableError::Order {
            edge: edges[at],
            next: edges[at + 1],
        });
    }
    Ok(narrowed)
}

fn counted(class: &'static str, counts: &[u64], n_bins: usize) -> Result<(), TableError> {
    if counts.len() != n_bins {
        return Err(TableError::Length {
            class,
            n_counts: counts.len(),
            n_bins,
        });
    }
    let n_rows = counts
        .iter()
        .try_fold(0_u64, |n_rows, &count| n_rows.checked_add(count))
        .filter(|n_rows| *n_rows <= MAX_ROWS)
        .ok_or(TableError::Rows { class })?;
    if n_rows == 0 {
        return Err(TableError::Empty { class });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(edges: &[f64], positives: &[u64], negatives: &[u64], prevalence: f64) -> String {
        Table::new(edges, positives.to_vec(), negatives.to_vec(), prevalence)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn what_makes_no_table_is_refused_with_its_key() {
        let edges = [0.0, 1.0, 2.0];
        for (said, expected) in [
            (
                refused(&[0.0], &[], &[], 0.5),
                "`scores` has 1 edges; give from 2 to 1025",
            ),
            (
                refused(&[0.0; 1026], &[], &[], 0.5),
                "`scores` has 1026 edges",
            ),
            (refused(&[0.0, f64::NAN], &[1], &[1], 0.5), "the edge NaN"),
            (
                refused(&[0.0, 1e300], &[1], &[1], 0.5),
                "the edge 1000000000",
            ),
            (
                refused(&[1.0, 0.0], &[1], &[1], 0.5),
                "`scores` has 0 after 1",
            ),
            (
                refused(&[1.0, 1.000_000_001], &[1], &[1], 0.5),
                "`scores` has 1.000000001 after 1; give edges that rise, also as f32",
            ),
            (
                refused(&[-0.0, 0.0], &[1], &[1], 0.5),
                "`scores` has 0 after -0",
            ),
            (
                refused(&edges, &[1], &[1, 2], 0.5),
                "`positives` has 1 counts for 2 bins",
            ),
            (
                refused(&edges, &[1, 1], &[1], 0.5),
                "`negatives` has 1 counts for 2 bins",
            ),
            (
                refused(&edges, &[0, 0], &[1, 2], 0.5),
                "`positives` counts no row",
            ),
            (
                refused(&edges, &[1, 0], &[0, 0], 0.5),
                "`negatives` counts no row",
            ),
            (
                refused(&edges, &[MAX_ROWS, 1], &[1, 2], 0.5),
                "`positives` counts more than 9007199254740992 rows",
            ),
            (
                refused(&edges, &[1, 1], &[u64::MAX, 2], 0.5),
                "`negatives` counts more than",
            ),
            (
                refused(&edges, &[1, 1], &[1, 1], 0.0),
                "`prevalence` is 0; give",
            ),
            (
                refused(&edges, &[1, 1], &[1, 1], 1.0),
                "`prevalence` is 1; give",
            ),
            (
                refused(&edges, &[1, 1], &[1, 1], f64::NAN),
                "`prevalence` is NaN",
            ),
        ] {
            assert!(said.contains(expected), "{said}");
        }
    }

    #[test]
    fn the_counts_come_out_as_they_went_in() {
        let table = Table::new(&[-1.0, 0.0, 1.5], vec![1, 20], vec![30, 4], 0.1).unwrap();
        let bins: Vec<Bin> = table.bins().collect();
        assert_eq!(
            bins[1],
            Bin {
                from: 0.0,
                to: 1.5,
                positives: 20,
                negatives: 4
            }
        );
        assert_eq!((bins.len(), table.edges().len()), (2, 3));
        assert_eq!(
            (table.n_positives(), table.n_negatives(), table.prevalence()),
            (21, 34, 0.1)
        );
    }
}
