//! Positive definite systems and symmetric eigenvectors. Pure.

use anyhow::{Result, ensure};
use ndarray::{Array2, s};

/// Rows that are handled together, so that most work is matrix products.
const BLOCK: usize = 64;

/// Solves `a · x = b` for symmetric, positive definite `a`.
pub(crate) fn cholesky_solve(mut a: Array2<f64>, b: &Array2<f64>) -> Result<Array2<f64>> {
    let n = a.nrows();
    for start in (0..n).step_by(BLOCK) {
        let end = (start + BLOCK).min(n);
        for row in start..n {
            for column in start..end.min(row + 1) {
                let sum: f64 = (start..column).map(|k| a[(row, k)] * a[(column, k)]).sum();
                let rest = a[(row, column)] - sum;
                if row == column {
                    ensure!(
                        rest > 0.0,
                        "the matrix is not positive definite; raise the penalty"
                    );
                    a[(row, column)] = rest.sqrt();
                } else {
                    a[(row, column)] = rest / a[(column, column)];
                }
            }
        }
        let panel = a.slice(s![end.., start..end]).to_owned();
        let mut below = a.slice_mut(s![end.., end..]);
        below -= &panel.dot(&panel.t());
    }
    let mut x = b.clone();
    for column in 0..x.ncols() {
        for row in 0..n {
            let sum: f64 = (0..row).map(|k| a[(row, k)] * x[(k, column)]).sum();
            x[(row, column)] = (x[(row, column)] - sum) / a[(row, row)];
        }
        for row in (0..n).rev() {
            let found = x[(row, column)] / a[(row, row)];
            x[(row, column)] = found;
            for k in 0..row {
                x[(k, column)] -= a[(row, k)] * found;
            }
        }
    }
    Ok(x)
}

/// Eigenvalues of a symmetric matrix and its eigenvectors as columns, by
/// Jacobi's rotations.
pub(crate) fn eigen(mut a: Array2<f64>) -> (Vec<f64>, Array2<f64>) {
    let n = a.nrows();
    let mut vectors = Array2::eye(n);
    for _ in 0..30 {
        for p in 0..n {
            for q in p + 1..n {
                if a[(p, q)].abs() < 1e-15 {
                    continue;
                }
                let ratio = (a[(q, q)] - a[(p, p)]) / (2.0 * a[(p, q)]);
                let tan = ratio.signum() / (ratio.abs() + (ratio * ratio + 1.0).sqrt());
                let cos = 1.0 / (tan * tan + 1.0).sqrt();
                let sin = tan * cos;
                for k in 0..n {
                    let (x, y) = (a[(k, p)], a[(k, q)]);
                    (a[(k, p)], a[(k, q)]) = (cos * x - sin * y, sin * x + cos * y);
                }
                for k in 0..n {
                    let (x, y) = (a[(p, k)], a[(q, k)]);
                    (a[(p, k)], a[(q, k)]) = (cos * x - sin * y, sin * x + cos * y);
                    let (x, y) = (vectors[(k, p)], vectors[(k, q)]);
                    (vectors[(k, p)], vectors[(k, q)]) = (cos * x - sin * y, sin * x + cos * y);
                }
            }
        }
    }
    (a.diag().to_vec(), vectors)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(n: usize) -> Array2<f64> {
        let x = Array2::from_shape_fn((n, n), |(a, b)| ((a * 7 + b * 13) as f64).sin());
        x.dot(&x.t()) + Array2::<f64>::eye(n)
    }

    #[test]
    fn a_solution_solves_across_blocks() {
        let a = spread(150);
        let b = Array2::from_shape_fn((150, 2), |(row, column)| (row + column) as f64);
        let x = cholesky_solve(a.clone(), &b).unwrap();
        let apart = (a.dot(&x) - b).mapv(f64::abs).sum();
        assert!(apart < 1e-6, "{apart}");
    }

    #[test]
    fn eigenvectors_rebuild_the_matrix() {
        let a = spread(20);
        let (values, vectors) = eigen(a.clone());
        let rebuilt =
            (&vectors * &Array2::from_shape_fn((1, 20), |(_, at)| values[at])).dot(&vectors.t());
        let apart = (a - rebuilt).mapv(f64::abs).sum();
        assert!(apart < 1e-8, "{apart}");
    }

    #[test]
    fn what_is_not_positive_definite_is_refused() {
        let a = Array2::from_diag(&ndarray::arr1(&[1.0, -1.0]));
        assert!(cholesky_solve(a, &Array2::zeros((2, 1))).is_err());
    }
}
