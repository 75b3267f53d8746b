//! Cuts that keep a promise: the mildest threshold at which a rate stays on its side of a
//! bound, as far as the counted rows can tell.

use thiserror::Error;

use crate::{Table, greatest_rate, least_rate};

/// What a cut must keep. Rates are between 0 and 1, neither of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    /// Of the negatives, at most this share reaches the cut.
    FalsePositiveRate {
        /// The share.
        at_most: f64,
    },
    /// Of what reaches the cut, at least this share is positive, where this share of all is.
    Precision {
        /// The share of what reaches the cut.
        at_least: f64,
        /// The share of all.
        prevalence: f64,
    },
}

/// A threshold that keeps a target.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cut {
    /// The least score that reaches it.
    pub score: f32,
    /// The probability of that score: `probability >= cut` is `score >= cut`.
    pub probability: f64,
    /// The rate that the target speaks of, at worst.
    pub bound: f64,
}

/// No cut keeps the target.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
#[error(
    "no cut keeps it: with 95 % confidence the best is {} {} {best:.4}, from {n_positives} positives and {n_negatives} negatives",
    target.name(), target.sign()
)]
pub struct OutOfReach {
    /// What was asked for.
    pub target: Target,
    /// The best that any cut keeps.
    pub best: f64,
    /// Positives that were counted.
    pub n_positives: u64,
    /// Negatives that were counted.
    pub n_negatives: u64,
}

/// One chance in this many that a bound is wrong.
const WRONG_ONCE_IN: f64 = 20.0;

impl Target {
    /// Its name in a policy.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::FalsePositiveRate { .. } => "fpr",
            Self::Precision { .. } => "precision",
        }
    }

    const fn sign(&self) -> &'static str {
        match self {
            Self::FalsePositiveRate { .. } => "<=",
            Self::Precision { .. } => ">=",
        }
    }

    /// The rate at worst, when so many of all positives and negatives reach a cut.
    fn bound(&self, positives: (u64, u64), negatives: (u64, u64)) -> f64 {
        match self {
            Self::FalsePositiveRate { .. } => {
                greatest_rate(negatives.1, negatives.0, WRONG_ONCE_IN.ln())
            }
            // Each of two rates may be wrong half as often.
            Self::Precision { prevalence, .. } => {
                let nats = (2.0 * WRONG_ONCE_IN).ln();
                let found = prevalence * least_rate(positives.1, positives.0, nats);
                let mistaken = (1.0 - prevalence) * greatest_rate(negatives.1, negatives.0, nats);
                found / (found + mistaken)
            }
        }
    }

    fn is_kept_by(&self, bound: f64) -> bool {
        match self {
            Self::FalsePositiveRate { at_most } => bound <= *at_most,
            Self::Precision { at_least, .. } => bound >= *at_least,
        }
    }
}

impl Table {
    /// The mildest cut that keeps the target with 95 % confidence: at an edge of a bin, for
    /// within a bin nobody has counted.
    ///
    /// Each cut's confidence is its own. A false positive rate never rises with the cut, so
    /// that to choose the mildest costs nothing (fixed sequence testing: Angelopoulos et al.
    /// 2021, arXiv:2110.01052); precision rises wherever likelihood ratios do.
    ///
    /// # Errors
    ///
    /// The best that any cut keeps, where none keeps the target: rows are too few, or the
    /// scores do not tell the classes apart so well.
    pub fn cut(&self, target: Target) -> Result<Cut, OutOfReach> {
        let (n_positives, n_negatives) = (self.n_positives(), self.n_negatives());
        let (mut positives, mut negatives) = (0, 0);
        let mut mildest = None;
        let mut best: Option<f64> = None;
        // From the strictest cut down: what lies above a cut reaches it.
        for bin in self.bins().rev() {
            positives += bin.positives;
            negatives += bin.negatives;
            let probability = self.probability(bin.from);
            // Where the map is flat, a probability does not tell the edge from below it.
            if self.probability(bin.from.next_down()) >= probability {
                continue;
            }
            let bound = target.bound((positives, n_positives), (negatives, n_negatives));
            if target.is_kept_by(bound) {
                mildest = Some(Cut {
                    score: bin.from,
                    probability,
                    bound,
                });
            }
            best = Some(match (best, target) {
                (None, _) => bound,
                (Some(best), Target::FalsePositiveRate { .. }) => best.min(bound),
                (Some(best), Target::Precision { .. }) => best.max(bound),
            });
        }
        mildest.ok_or(OutOfReach {
            target,
            // With a flat map there is no cut, and everything is reached.
            best: best.unwrap_or(match target {
                Target::FalsePositiveRate { .. } => 1.0,
                Target::Precision { prevalence, .. } => prevalence,
            }),
            n_positives,
            n_negatives,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten bins; 10,000 negatives that thin out upwards, 1,000 positives that thicken.
    fn table() -> Table {
        let edges: Vec<f64> = (0..=10).map(f64::from).collect();
        let negatives = vec![5_000, 2_500, 1_250, 625, 312, 156, 87, 40, 20, 10];
        let positives = vec![5, 10, 20, 40, 60, 90, 125, 150, 200, 300];
        Table::new(&edges, positives, negatives, 0.1).unwrap()
    }

    #[test]
    fn the_mildest_cut_that_keeps_a_false_positive_rate_is_found() {
        // From score 7 on there are 70 of 10,000 negatives, from 6 on 157.
        let cut = table()
            .cut(Target::FalsePositiveRate { at_most: 0.01 })
            .unwrap();
        assert_eq!(cut.score, 7.0);
        assert!(0.007 < cut.bound && cut.bound < 0.01, "{cut:?}");
        assert_eq!(cut.probability, table().probability(7.0));
        let wide = table()
            .cut(Target::FalsePositiveRate { at_most: 0.02 })
            .unwrap();
        assert_eq!(wide.score, 6.0);
    }

    #[test]
    fn what_the_rows_cannot_bear_out_is_out_of_reach() {
        // 10 of 10,000 reach the strictest cut: 0.1 %, and at worst 0.2 %.
        let error = table()
            .cut(Target::FalsePositiveRate { at_most: 0.001 })
            .unwrap_err();
        assert!(0.001 < error.best && error.best < 0.0025, "{error}");
        assert!(
            error.to_string().contains("the best is fpr <= 0.00"),
            "{error}"
        );
        let best = Target::FalsePositiveRate {
            at_most: error.best,
        };
        assert_eq!(table().cut(best).unwrap().score, 9.0);
    }

    #[test]
    fn precision_depends_on_the_prevalence_that_is_stated() {
        let precision = |prevalence| {
            table().cut(Target::Precision {
                at_least: 0.9,
                prevalence,
            })
        };
        let (often, seldom) = (precision(0.5).unwrap(), precision(0.1).unwrap());
        assert!(
            often.score < seldom.score && seldom.bound >= 0.9,
            "{often:?} {seldom:?}"
        );
        let error = precision(0.001).unwrap_err();
        assert!(error.best < 0.9);
        assert!(
            error.to_string().contains("the best is precision >= 0."),
            "{error}"
        );
    }

    #[test]
    fn a_map_that_is_flat_has_no_cut() {
        let flat = Table::new(&[0.0, 1.0], vec![10], vec![10], 0.5).unwrap();
        let error = flat
            .cut(Target::FalsePositiveRate { at_most: 0.9 })
            .unwrap_err();
        assert_eq!(error.best, 1.0);
    }

    #[test]
    fn no_score_below_a_cut_reaches_its_probability() {
        let table = table();
        for percent in 1..90 {
            let target = Target::FalsePositiveRate {
                at_most: f64::from(percent) / 100.0,
            };
            let Ok(cut) = table.cut(target) else { continue };
            assert!(table.probability(cut.score.next_down()) < cut.probability);
            assert!(table.probability(cut.score) >= cut.probability);
        }
    }
}
