//! Least squares: in the features, and in distances between them.
//!
//! Pure. All in f64; what the graph holds is rounded from it.

use anyhow::Result;
use ndarray::Array2;

use super::solve::cholesky_solve;

/// Brings features to mean 0 and deviation 1, and cuts what lies far out.
#[derive(Debug, Clone)]
pub(crate) struct Scaler {
    pub mean: Vec<f64>,
    pub deviation: Vec<f64>,
    /// Standard deviations that a scaled feature may lie from the mean.
    pub reach: f64,
}

impl Scaler {
    /// Measured on the rows given; at least one.
    pub(crate) fn of(rows: &[&[f32]], reach: f64) -> Self {
        let n = rows.len() as f64;
        let width = rows[0].len();
        let mut mean = vec![0.0; width];
        for row in rows {
            for (mean, &x) in mean.iter_mut().zip(*row) {
                *mean += f64::from(x) / n;
            }
        }
        let mut deviation = vec![0.0; width];
        for row in rows {
            for ((square, mean), &x) in deviation.iter_mut().zip(&mean).zip(*row) {
                *square += (f64::from(x) - mean).powi(2) / n;
            }
        }
        for square in &mut deviation {
            *square = square.sqrt() + 1e-6;
        }
        Self {
            mean,
            deviation,
            reach,
        }
    }

    pub(crate) fn scale(&self, row: &[f32]) -> Vec<f64> {
        let places = self.mean.iter().zip(&self.deviation);
        let scaled = row.iter().zip(places).map(|(&x, (mean, deviation))| {
            ((f64::from(x) - mean) / deviation).clamp(-self.reach, self.reach)
        });
        scaled.collect()
    }

    fn matrix(&self, rows: &[&[f32]]) -> Array2<f64> {
        let all: Vec<f64> = rows.iter().flat_map(|row| self.scale(row)).collect();
        Array2::from_shape_vec((rows.len(), self.mean.len()), all).expect("rows of one width")
    }
}

/// Several linear maps of the same features.
#[derive(Debug, Clone)]
pub(crate) struct Ridge {
    pub scaler: Scaler,
    /// `[features, targets]`.
    pub weight: Array2<f64>,
    pub bias: Vec<f64>,
}

impl Ridge {
    /// Fits `targets`, `[rows, targets]`; `penalty` is in units of the rows'
    /// mean square.
    pub(crate) fn fit(
        rows: &[&[f32]],
        targets: &Array2<f64>,
        penalty: f64,
        reach: f64,
    ) -> Result<Self> {
        let scaler = Scaler::of(rows, reach);
        let x = scaler.matrix(rows);
        let n = rows.len() as f64;
        let bias: Vec<f64> = targets.columns().into_iter().map(|c| c.sum() / n).collect();
        let mut centred = targets.clone();
        for (mut column, bias) in centred.columns_mut().into_iter().zip(&bias) {
            column -= *bias;
        }
        let mut gram = x.t().dot(&x) / n;
        gram.diag_mut().iter_mut().for_each(|x| *x += penalty);
        let weight = cholesky_solve(gram, &(x.t().dot(&centred) / n))?;
        Ok(Self {
            scaler,
            weight,
            bias,
        })
    }

    pub(crate) fn predict(&self, row: &[f32]) -> Vec<f64> {
        let x = self.scaler.scale(row);
        let columns = self.weight.columns().into_iter().zip(&self.bias);
        let answer = columns.map(|(weight, bias)| {
            let products = weight.iter().zip(&x).map(|(weight, x)| weight * x);
            bias + products.sum::<f64>()
        });
        answer.collect()
    }
}

/// Ridge regression in a bell-shaped kernel of the distance between rows.
#[derive(Debug, Clone)]
pub(crate) struct KernelRidge {
    pub scaler: Scaler,
    /// What each scaled feature is multiplied by before distances are taken.
    pub emphasis: Vec<f64>,
    /// Rows of the training set, scaled and multiplied, `[rows, features]`.
    pub support: Array2<f64>,
    pub weight: Vec<f64>,
    pub bias: f64,
}

impl KernelRidge {
    /// Fits `targets`; `emphasis` weighs features against each other and holds
    /// the kernel's width: `k(a, b) = exp(-|a − b|²)`.
    pub(crate) fn fit(
        rows: &[&[f32]],
        targets: &[f64],
        emphasis: &[f64],
        penalty: f64,
        reach: f64,
    ) -> Result<Self> {
        let scaler = Scaler::of(rows, reach);
        let mut support = scaler.matrix(rows);
        for (mut column, emphasis) in support.columns_mut().into_iter().zip(emphasis) {
            column *= *emphasis;
        }
        let bias = targets.iter().sum::<f64>() / targets.len() as f64;
        let products = support.dot(&support.t());
        let kernel = Array2::from_shape_fn(products.dim(), |(a, b)| {
            let square = products[(a, a)] + products[(b, b)] - 2.0 * products[(a, b)];
            (-square.max(0.0)).exp() + if a == b { penalty } else { 0.0 }
        });
        let right = Array2::from_shape_fn((targets.len(), 1), |(at, _)| targets[at] - bias);
        let weight = cholesky_solve(kernel, &right)?;
        Ok(Self {
            scaler,
            emphasis: emphasis.to_vec(),
            support,
            weight: weight.iter().copied().collect(),
            bias,
        })
    }

    pub(crate) fn predict(&self, row: &[f32]) -> f64 {
        let scaled = self.scaler.scale(row);
        let x: Vec<f64> = scaled
            .iter()
            .zip(&self.emphasis)
            .map(|(x, e)| x * e)
            .collect();
        let distance = |support: ndarray::ArrayView1<'_, f64>| -> f64 {
            support.iter().zip(&x).map(|(a, b)| (a - b).powi(2)).sum()
        };
        let square: Vec<f64> = self.support.rows().into_iter().map(distance).collect();
        let kernel = square.iter().zip(&self.weight);
        self.bias
            + kernel
                .map(|(square, weight)| weight * (-square).exp())
                .sum::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Vec<f32>> {
        let row = |at: usize| {
            let at = at as f32;
            vec![(at * 0.37).sin(), (at * 0.91).cos(), (at * 1.7).sin()]
        };
        (0..60).map(row).collect()
    }

    #[test]
    fn a_linear_law_is_found_again() {
        let rows = rows();
        let law = |row: &[f32]| 2.0 * f64::from(row[0]) - f64::from(row[2]) + 3.0;
        let targets = Array2::from_shape_fn((60, 1), |(at, _)| law(&rows[at]));
        let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        let ridge = Ridge::fit(&rows, &targets, 1e-6, 10.0).unwrap();
        for row in rows {
            assert!((ridge.predict(row)[0] - law(row)).abs() < 1e-3);
        }
    }

    #[test]
    fn a_bent_law_is_found_between_the_rows_it_was_told_at() {
        let rows = rows();
        let law = |row: &[f32]| f64::from(row[0] * row[1]);
        let targets: Vec<f64> = rows.iter().map(|row| law(row)).collect();
        let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        let fitted = KernelRidge::fit(&rows[..50], &targets[..50], &[0.5; 3], 1e-4, 10.0).unwrap();
        for row in &rows[50..] {
            assert!((fitted.predict(row) - law(row)).abs() < 0.1);
        }
    }
}
