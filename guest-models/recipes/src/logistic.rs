//! Weighted logistic regression on sparse rows.
//!
//! Knows numbers only, neither texts nor labels by name. The same rows, costs
//! and seed give the same weights bit for bit.
//!
//! Dual coordinate descent: Yu, Huang & Lin 2011, "Dual coordinate descent
//! methods for logistic regression and maximum entropy models", Machine
//! Learning 85, doi:10.1007/s10994-010-5221-8.

use crate::folds::mix;

/// Sparse rows, one after the other.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rows {
    ends: Vec<usize>,
    ids: Vec<u32>,
    values: Vec<f32>,
}

impl Rows {
    pub(crate) fn push(&mut self, ids: &[u32], values: &[f32]) {
        assert_eq!(ids.len(), values.len(), "a row has one value for each id");
        self.ids.extend_from_slice(ids);
        self.values.extend_from_slice(values);
        self.ends.push(self.ids.len());
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    fn row(&self, at: usize) -> (&[u32], &[f32]) {
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        (
            &self.ids[start..self.ends[at]],
            &self.values[start..self.ends[at]],
        )
    }
}

/// What a row says, and how much an error on it costs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    pub positive: bool,
    pub cost: f64,
}

/// A fitted line: `score = weights · row + bias`.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub weights: Vec<f64>,
    pub bias: f64,
    pub n_passes: usize,
}

/// When to stop, and where chance begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Descent {
    pub seed: u64,
    /// Stops once no row is further than this from its optimum, in logits.
    pub tolerance: f64,
    pub max_passes: usize,
}

/// Minimises `½‖w‖² + ½b² + Σ cost · ln(1 + exp(−y · (w · x + b)))`.
///
/// `n_weights` bounds the ids. Rows of cost zero are passed over.
// Each row's dual variable is α = cost · σ(t). At the optimum t = −y · score,
// so a coordinate step solves t + y · score + ‖x‖² · (α(t) − α) = 0 for t.
pub(crate) fn fit(rows: &Rows, targets: &[Target], n_weights: usize, descent: Descent) -> Line {
    assert_eq!(rows.len(), targets.len(), "a row has one target");
    let mut line = Line {
        weights: vec![0.0; n_weights],
        bias: 0.0,
        n_passes: 0,
    };
    let mut order: Vec<usize> = (0..rows.len())
        .filter(|&at| targets[at].cost > 0.0)
        .collect();
    let mut duals = vec![START; rows.len()];
    let mut squares = vec![0.0; rows.len()];
    for &at in &order {
        let (ids, values) = rows.row(at);
        // The bias is the weight of a feature that is 1 in every row.
        squares[at] = 1.0
            + values
                .iter()
                .map(|&value| f64::from(value).powi(2))
                .sum::<f64>();
        line.add(
            ids,
            values,
            targets[at].sign() * targets[at].cost * sigmoid(START),
        );
    }
    let mut random = descent.seed;
    while line.n_passes < descent.max_passes {
        line.n_passes += 1;
        shuffle(&mut order, &mut random);
        let mut furthest = 0.0_f64;
        for &at in &order {
            let ((ids, values), Target { cost, .. }) = (rows.row(at), targets[at]);
            let sign = targets[at].sign();
            let margin = sign * line.score(ids, values);
            furthest = furthest.max((duals[at] + margin).abs());
            let dual = step(duals[at], margin, squares[at], cost);
            line.add(
                ids,
                values,
                sign * cost * (sigmoid(dual) - sigmoid(duals[at])),
            );
            duals[at] = dual;
        }
        if furthest < descent.tolerance {
            break;
        }
    }
    line
}

/// Where every dual variable begins, in logits: close to zero cost.
const START: f64 = -7.0;

/// Solves `t + margin + square · cost · (σ(t) − σ(before)) = 0`.
// The left side climbs at a slope of at least 1, so the root is bracketed by
// the extremes of σ; Newton's steps are halved back into the bracket.
fn step(before: f64, margin: f64, square: f64, cost: f64) -> f64 {
    let pull = square * cost;
    let alpha = sigmoid(before);
    let (mut low, mut high) = (-margin - pull * (1.0 - alpha), -margin + pull * alpha);
    let mut dual = before.clamp(low, high);
    for _ in 0..50 {
        let share = sigmoid(dual);
        let residual = dual + margin + pull * (share - alpha);
        if residual.abs() < 1e-9 {
            break;
        }
        if residual > 0.0 {
            high = dual;
        } else {
            low = dual;
        }
        dual -= residual / (1.0 + pull * share * (1.0 - share));
        if !(low..=high).contains(&dual) {
            dual = f64::midpoint(low, high);
        }
    }
    dual
}

impl Target {
    fn sign(self) -> f64 {
        if self.positive { 1.0 } else { -1.0 }
    }
}

impl Line {
    fn score(&self, ids: &[u32], values: &[f32]) -> f64 {
        let terms = ids
            .iter()
            .zip(values)
            .map(|(&id, &value)| self.weights[id as usize] * f64::from(value));
        self.bias + terms.sum::<f64>()
    }

    fn add(&mut self, ids: &[u32], values: &[f32], amount: f64) {
        for (&id, &value) in ids.iter().zip(values) {
            self.weights[id as usize] += amount * f64::from(value);
        }
        self.bias += amount;
    }
}

pub(crate) fn sigmoid(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}

/// Fisher and Yates, as in Knuth, The Art of Computer Programming 3.4.2.
fn shuffle(order: &mut [usize], random: &mut u64) {
    for last in (1..order.len()).rev() {
        *random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        order.swap(last, (mix(*random) % (last as u64 + 1)) as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DESCENT: Descent = Descent {
        seed: 1,
        tolerance: 1e-8,
        max_passes: 10_000,
    };

    fn fit_all(rows: &[(&[u32], &[f32])], targets: &[(bool, f64)]) -> Line {
        let mut sparse = Rows::default();
        rows.iter()
            .for_each(|(ids, values)| sparse.push(ids, values));
        let target = |&(positive, cost): &(bool, f64)| Target { positive, cost };
        let targets: Vec<Target> = targets.iter().map(target).collect();
        fit(&sparse, &targets, 3, DESCENT)
    }

    /// The loss's slope at the fit, which is zero at the minimum.
    fn slope(line: &Line, rows: &[(&[u32], &[f32])], targets: &[(bool, f64)]) -> Vec<f64> {
        let mut slope = line.weights.clone();
        slope.push(line.bias);
        for ((ids, values), &(positive, cost)) in rows.iter().zip(targets) {
            let sign = if positive { 1.0 } else { -1.0 };
            let pull = -sign * cost * sigmoid(-sign * line.score(ids, values));
            for (&id, &value) in ids.iter().zip(*values) {
                slope[id as usize] += pull * f64::from(value);
            }
            slope[line.weights.len()] += pull;
        }
        slope
    }

    #[test]
    fn the_fit_is_a_minimum_of_the_loss() {
        let rows: [(&[u32], &[f32]); 4] = [
            (&[0, 1], &[1.0, 0.5]),
            (&[1], &[2.0]),
            (&[0, 2], &[0.3, 0.3]),
            (&[2], &[1.0]),
        ];
        let targets = [(true, 1.0), (false, 8.0), (true, 30.0), (false, 0.5)];
        let line = fit_all(&rows, &targets);
        let slope = slope(&line, &rows, &targets);
        assert!(slope.iter().all(|slope| slope.abs() < 1e-5), "{slope:?}");
    }

    #[test]
    fn a_costlier_row_pulls_harder() {
        let rows: [(&[u32], &[f32]); 2] = [(&[0], &[1.0]), (&[0], &[1.0])];
        let line = fit_all(&rows, &[(true, 3.0), (false, 1.0)]);
        assert!(line.weights[0] > 0.0 && line.bias > 0.0);
    }

    #[test]
    fn a_row_without_cost_is_passed_over() {
        let rows: [(&[u32], &[f32]); 3] = [(&[0], &[1.0]), (&[1], &[1.0]), (&[2], &[1.0])];
        let line = fit_all(&rows, &[(true, 1.0), (false, 1.0), (true, 0.0)]);
        assert_eq!(line.weights[2], 0.0);
    }

    #[test]
    fn a_weight_that_no_row_names_stays_zero() {
        let rows: [(&[u32], &[f32]); 2] = [(&[0], &[1.0]), (&[1], &[1.0])];
        assert_eq!(fit_all(&rows, &[(true, 1.0), (false, 1.0)]).weights[2], 0.0);
    }
}
