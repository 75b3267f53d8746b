//! Weighted logistic regression on sparse rows.
//!
//! Knows rows of numbers only, neither texts nor labels by name. The same rows, costs
//! and seed give the same weights bit for bit.
//!
//! Dual coordinate descent: Yu, Huang & Lin 2011, "Dual coordinate descent
//! methods for logistic regression and maximum entropy models", Machine
//! Learning 85, doi:10.1007/s10994-010-5221-8.

use crate::folds::mix;

/// The numbers of a row that are not 0: distinct ids, and as many values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row<'a> {
    pub ids: &'a [u32],
    pub values: &'a [f32],
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
    /// For rows as they are: the scales are multiplied into them.
    pub weights: Vec<f32>,
    pub bias: f64,
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
/// `x` is a row, each value multiplied by the scale of its id; `scales` bounds the
/// ids. Rows of cost zero are passed over. A row that is close to its optimum
/// is left out of the next two passes.
// Each row's dual variable is α = cost · σ(t). At the optimum t = −y · score,
// so a coordinate step solves t + y · score + ‖x‖² · (α(t) − α) = 0 for t.
pub(crate) fn fit(rows: &[Row<'_>], scales: &[f32], targets: &[Target], descent: Descent) -> Line {
    assert_eq!(rows.len(), targets.len(), "a row has one target");
    let mut state = State {
        terms: scales
            .iter()
            .map(|&scale| Term { scale, weight: 0.0 })
            .collect(),
        bias: 0.0,
    };
    let mut order: Vec<usize> = (0..rows.len())
        .filter(|&at| targets[at].cost > 0.0)
        .collect();
    let mut duals = vec![START; rows.len()];
    let mut rests = vec![0_u8; rows.len()];
    let squares: Vec<f64> = rows.iter().map(|&row| state.square(row)).collect();
    for &at in &order {
        let amount = targets[at].sign() * targets[at].cost * sigmoid(START);
        state.add(rows[at], amount);
    }
    let mut random = descent.seed;
    for _ in 0..descent.max_passes {
        shuffle(&mut order, &mut random);
        let mut furthest = 0.0_f64;
        for &at in &order {
            if rests[at] > 0 {
                rests[at] -= 1;
                continue;
            }
            let (row, Target { cost, .. }) = (rows[at], targets[at]);
            let sign = targets[at].sign();
            let margin = sign * state.score(row);
            let distance = (duals[at] + margin).abs();
            furthest = furthest.max(distance);
            if distance < descent.tolerance * 0.3 {
                rests[at] = 2;
                continue;
            }
            let dual = step(duals[at], margin, squares[at], cost);
            state.add(row, sign * cost * (sigmoid(dual) - sigmoid(duals[at])));
            duals[at] = dual;
        }
        if furthest < descent.tolerance {
            break;
        }
    }
    Line {
        weights: state
            .terms
            .iter()
            .map(|term| term.weight * term.scale)
            .collect(),
        bias: state.bias,
    }
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
        if residual.abs() < 1e-6 {
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

/// The line while it is fitted. Scale and weight lie side by side, for each step
/// needs both of places far apart.
struct State {
    terms: Vec<Term>,
    bias: f64,
}

#[derive(Clone, Copy)]
struct Term {
    scale: f32,
    weight: f32,
}

impl State {
    fn score(&self, row: Row<'_>) -> f64 {
        let share = |(&id, &value): (&u32, &f32)| {
            let Term { scale, weight } = self.terms[id as usize];
            weight * scale * value
        };
        self.bias + f64::from(row.ids.iter().zip(row.values).map(share).sum::<f32>())
    }

    fn add(&mut self, row: Row<'_>, amount: f64) {
        let scaled = amount as f32;
        for (&id, &value) in row.ids.iter().zip(row.values) {
            let term = &mut self.terms[id as usize];
            term.weight += scaled * term.scale * value;
        }
        self.bias += amount;
    }

    /// Squared length, the bias being the weight of a feature that is 1 in every row.
    fn square(&self, row: Row<'_>) -> f64 {
        let terms = row.ids.iter().zip(row.values);
        let square =
            |(&id, &value): (&u32, &f32)| f64::from(self.terms[id as usize].scale * value).powi(2);
        1.0 + terms.map(square).sum::<f64>()
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
        tolerance: 1e-5,
        max_passes: 1_000,
    };

    fn fit_all(rows: &[(&[u32], &[f32])], targets: &[(bool, f64)]) -> Line {
        let rows = rows.iter().map(|&(ids, values)| Row { ids, values });
        let rows: Vec<Row<'_>> = rows.collect();
        let target = |&(positive, cost): &(bool, f64)| Target { positive, cost };
        let targets: Vec<Target> = targets.iter().map(target).collect();
        fit(&rows, &[1.0; 3], &targets, DESCENT)
    }

    /// The loss's slope at the fit, which is zero at the minimum.
    fn slope(line: &Line, rows: &[(&[u32], &[f32])], targets: &[(bool, f64)]) -> Vec<f64> {
        let mut slope: Vec<f64> = line.weights.iter().copied().map(f64::from).collect();
        slope.push(line.bias);
        for ((ids, values), &(positive, cost)) in rows.iter().zip(targets) {
            let terms = ids.iter().zip(*values);
            let share = |(&id, &value): (&u32, &f32)| f64::from(line.weights[id as usize] * value);
            let score = line.bias + terms.map(share).sum::<f64>();
            let sign = if positive { 1.0 } else { -1.0 };
            let pull = -sign * cost * sigmoid(-sign * score);
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
        assert!(slope.iter().all(|slope| slope.abs() < 1e-3), "{slope:?}");
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
