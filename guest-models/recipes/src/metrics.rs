//! Figures of merit: scores and truths in, one number out. Pure.

/// What a cut made of the rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Confusion {
    pub caught: usize,
    pub missed: usize,
    pub wronged: usize,
    pub passed: usize,
}

impl Confusion {
    /// Counts rows whose score is `threshold` or more as taken for positive.
    pub(crate) fn at(threshold: f64, scores: &[f64], truths: &[bool]) -> Self {
        let mut counts = Self::default();
        for (&score, &truth) in scores.iter().zip(truths) {
            *match (score >= threshold, truth) {
                (true, true) => &mut counts.caught,
                (false, true) => &mut counts.missed,
                (true, false) => &mut counts.wronged,
                (false, false) => &mut counts.passed,
            } += 1;
        }
        counts
    }

    /// Of the rows taken for positive, how many are; 0 if none was taken.
    pub(crate) fn precision(self) -> f64 {
        share(self.caught, self.caught + self.wronged)
    }

    /// Of the positive rows, how many were taken; 0 if there are none.
    pub(crate) fn recall(self) -> f64 {
        share(self.caught, self.caught + self.missed)
    }

    /// Harmonic mean of precision and recall.
    pub(crate) fn f1(self) -> f64 {
        share(
            2 * self.caught,
            2 * self.caught + self.wronged + self.missed,
        )
    }
}

fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

/// How often a positive row outranks a negative one; a tie counts half.
///
/// NaN if either kind is missing.
pub(crate) fn auc(scores: &[f64], truths: &[bool]) -> f64 {
    let mut won = 0.0;
    let (mut n_positive, mut n_negative) = (0.0, 0.0);
    for tie in ties(scores, truths).into_iter().rev() {
        won += tie.positive as f64 * (n_negative + tie.negative as f64 / 2.0);
        n_positive += tie.positive as f64;
        n_negative += tie.negative as f64;
    }
    won / (n_positive * n_negative)
}

/// The highest recall of any cut that wrongs at most `fpr` of the negative rows.
pub(crate) fn recall_at_fpr(fpr: f64, scores: &[f64], truths: &[bool]) -> f64 {
    let n_positive = truths.iter().filter(|&&truth| truth).count();
    let allowed = fpr * (truths.len() - n_positive) as f64;
    let (mut caught, mut wronged) = (0, 0);
    for tie in ties(scores, truths) {
        wronged += tie.negative;
        if wronged as f64 > allowed {
            break;
        }
        caught += tie.positive;
    }
    share(caught, n_positive)
}

/// Rows of one score.
struct Tie {
    positive: usize,
    negative: usize,
}

/// Rows grouped by score, the highest first.
fn ties(scores: &[f64], truths: &[bool]) -> Vec<Tie> {
    let mut ranked: Vec<(f64, bool)> = scores.iter().copied().zip(truths.iter().copied()).collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
    let tie = |rows: &[(f64, bool)]| {
        let positive = rows.iter().filter(|row| row.1).count();
        Tie {
            positive,
            negative: rows.len() - positive,
        }
    };
    ranked.chunk_by(|a, b| a.0 == b.0).map(tie).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCORES: [f64; 6] = [0.9, 0.8, 0.8, 0.4, 0.3, 0.1];
    const TRUTHS: [bool; 6] = [true, true, false, true, false, false];

    fn check(found: f64, expected: f64) {
        assert!(
            (found - expected).abs() < 1e-12,
            "{found} is not {expected}"
        );
    }

    #[test]
    fn a_cut_is_counted_inclusively() {
        let counts = Confusion::at(0.8, &SCORES, &TRUTHS);
        assert_eq!(
            counts,
            Confusion {
                caught: 2,
                missed: 1,
                wronged: 1,
                passed: 2
            }
        );
        check(counts.precision(), 2.0 / 3.0);
        check(counts.recall(), 2.0 / 3.0);
        check(counts.f1(), 2.0 / 3.0);
    }

    #[test]
    fn f1_is_the_harmonic_mean() {
        let counts = Confusion {
            caught: 1,
            missed: 3,
            wronged: 0,
            passed: 9,
        };
        check(counts.f1(), 2.0 * 1.0 * 0.25 / 1.25);
    }

    #[test]
    fn a_cut_that_takes_nothing_has_no_precision() {
        check(Confusion::at(2.0, &SCORES, &TRUTHS).precision(), 0.0);
    }

    #[test]
    fn auc_counts_pairs_and_half_ties() {
        // Of nine pairs: 0.9 wins three, 0.8 wins two and ties one, 0.4 wins two.
        check(auc(&SCORES, &TRUTHS), 7.5 / 9.0);
    }

    #[test]
    fn auc_of_equal_scores_is_a_half() {
        check(auc(&[1.0; 6], &TRUTHS), 0.5);
    }

    #[test]
    fn recall_at_fpr_takes_whole_ties_only() {
        check(recall_at_fpr(0.0, &SCORES, &TRUTHS), 1.0 / 3.0);
        check(recall_at_fpr(0.34, &SCORES, &TRUTHS), 1.0);
    }
}
