//! From scores to probabilities.
//!
//! Pure. Fits one slope and one intercept; never touches the model itself.
//!
//! Platt 1999, "Probabilistic Outputs for Support Vector Machines"; fitted by
//! Newton's method with halved steps as Lin, Lin & Weng 2007 advise, "A note on
//! Platt's probabilistic outputs for support vector machines", Machine Learning
//! 68, doi:10.1007/s10994-007-5018-6.

use crate::logistic::sigmoid;

/// `probability = 1 / (1 + exp(−(slope · score + intercept)))`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Calibrator {
    pub slope: f64,
    pub intercept: f64,
}

impl Calibrator {
    pub(crate) fn probability(self, score: f64) -> f64 {
        sigmoid(self.slope * score + self.intercept)
    }

    /// Fits the likeliest calibrator for the scores at the frequencies found.
    pub(crate) fn fit(scores: &[f64], truths: &[bool]) -> Self {
        let hopes = hopes(truths);
        let mut calibrator = Self {
            slope: 1.0,
            intercept: 0.0,
        };
        let mut loss = calibrator.loss(scores, &hopes);
        for _ in 0..100 {
            let direction = calibrator.newton(scores, &hopes);
            let better = (0..40)
                .map(|n_halvings| calibrator.moved(direction, 0.5_f64.powi(n_halvings)))
                .find(|moved| moved.loss(scores, &hopes) < loss);
            let Some(better) = better else { break };
            calibrator = better;
            loss = calibrator.loss(scores, &hopes);
        }
        calibrator
    }

    fn moved(self, direction: [f64; 2], share: f64) -> Self {
        Self {
            slope: self.slope + share * direction[0],
            intercept: self.intercept + share * direction[1],
        }
    }

    /// Cross entropy in nats, over all rows.
    fn loss(self, scores: &[f64], hopes: &[f64]) -> f64 {
        let row = |(score, hope): (&f64, &f64)| {
            let logit = self.slope * score + self.intercept;
            // ln(1 + exp(logit)) without overflow.
            logit.max(0.0) + (-logit.abs()).exp().ln_1p() - hope * logit
        };
        scores.iter().zip(hopes).map(row).sum()
    }

    /// The step to the minimum of the loss's second-order expansion.
    fn newton(self, scores: &[f64], hopes: &[f64]) -> [f64; 2] {
        let (mut slope, mut intercept) = (0.0, 0.0);
        // The ridge keeps the matrix invertible when all scores are equal.
        let (mut ss, mut si, mut ii) = (1e-12, 0.0, 1e-12);
        for (&score, &hope) in scores.iter().zip(hopes) {
            let probability = self.probability(score);
            let (gap, bend) = (probability - hope, probability * (1.0 - probability));
            slope += gap * score;
            intercept += gap;
            ss += bend * score * score;
            si += bend * score;
            ii += bend;
        }
        let determinant = ss * ii - si * si;
        [
            (si * intercept - ii * slope) / determinant,
            (si * slope - ss * intercept) / determinant,
        ]
    }
}

/// Targets drawn in from 0 and 1 as if one more row of each kind had been seen.
fn hopes(truths: &[bool]) -> Vec<f64> {
    let n_positive = truths.iter().filter(|&&truth| truth).count() as f64;
    let n_negative = truths.len() as f64 - n_positive;
    let hope = |&truth: &bool| {
        if truth {
            (n_positive + 1.0) / (n_positive + 2.0)
        } else {
            1.0 / (n_negative + 2.0)
        }
    };
    truths.iter().map(hope).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_a_sample_was_drawn_from_is_found_again() {
        let truth = Calibrator {
            slope: 2.0,
            intercept: -0.5,
        };
        let (mut scores, mut truths) = (Vec::new(), Vec::new());
        for step in -20_i32..=20 {
            let score = f64::from(step) / 10.0;
            let n_positive = (truth.probability(score) * 1_000.0).round() as usize;
            scores.extend([score; 1_000]);
            truths.extend((0..1_000).map(|row| row < n_positive));
        }
        let found = Calibrator::fit(&scores, &truths);
        assert!(
            (found.slope - 2.0).abs() < 0.01 && (found.intercept + 0.5).abs() < 0.01,
            "{found:?}"
        );
    }

    #[test]
    fn separable_scores_give_a_finite_slope() {
        let found = Calibrator::fit(&[-1.0, -2.0, 1.0, 2.0], &[false, false, true, true]);
        assert!(found.slope.is_finite() && found.slope > 0.0, "{found:?}");
    }

    #[test]
    fn equal_scores_give_their_base_rate() {
        let found = Calibrator::fit(&[0.0; 4], &[true, false, false, false]);
        // Targets are 2/3 once and 1/5 three times.
        assert!(
            (found.probability(0.0) - (2.0 / 3.0 + 0.6) / 4.0).abs() < 1e-6,
            "{found:?}"
        );
    }
}
