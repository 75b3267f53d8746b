//! Figures of merit for opinions and for rising probabilities. Pure.

/// Spearman's rank correlation; tied values share their mean rank.
pub(crate) fn rank_correlation(a: &[f64], b: &[f64]) -> f64 {
    correlation(&ranks(a), &ranks(b))
}

/// Pearson's correlation.
pub(crate) fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let product = |x: &[f64], mean_x: f64, y: &[f64], mean_y: f64| -> f64 {
        x.iter()
            .zip(y)
            .map(|(x, y)| (x - mean_x) * (y - mean_y))
            .sum()
    };
    let lengths = product(a, mean_a, a, mean_a) * product(b, mean_b, b, mean_b);
    product(a, mean_a, b, mean_b) / lengths.sqrt()
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut at = 0;
    while at < order.len() {
        let tied = order[at..]
            .iter()
            .take_while(|&&next| values[next] == values[order[at]]);
        let n = tied.count();
        for &next in &order[at..at + n] {
            ranks[next] = at as f64 + (n as f64 - 1.0) / 2.0;
        }
        at += n;
    }
    ranks
}

/// Whether each step is above the one before, and by how much the last is
/// above the first.
pub(crate) fn rise(steps: &[f64]) -> (bool, f64) {
    let rises = steps.windows(2).all(|pair| pair[0] < pair[1]);
    (rises, steps[steps.len() - 1] - steps[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_rising_map_keeps_the_rank_correlation() {
        let a = [1.0, 5.0, 2.0, 8.0];
        let b = a.map(f64::exp);
        assert!((rank_correlation(&a, &b) - 1.0).abs() < 1e-12);
        assert!(correlation(&a, &b) < 0.9);
    }

    #[test]
    fn ties_share_their_mean_rank() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 7.0]), [1.5, 0.0, 1.5, 3.0]);
        // By hand: covariance 4.5 of rank variances 4.5 and 5.
        let found = rank_correlation(&[3.0, 1.0, 3.0, 7.0], &[2.0, 1.0, 3.0, 4.0]);
        assert!((found - 4.5 / 22.5_f64.sqrt()).abs() < 1e-12, "{found}");
    }

    #[test]
    fn one_step_back_is_no_rise() {
        assert!(rise(&[0.1, 0.2, 0.4]).0);
        assert!(!rise(&[0.1, 0.4, 0.4]).0);
        assert!((rise(&[0.1, 0.4, 0.3]).1 - 0.2).abs() < 1e-12);
    }
}
