//! What a count says of a rate, with a stated chance of being wrong.

/// The greatest rate that does not contradict `hits` among `n` rows by more than `nats`:
/// where Chernoff's bound on the chance of so few hits is still `exp(-nats)` (Chernoff
/// 1952, doi:10.1214/aoms/1177729330). Exact where there is no hit at all, and else on the
/// safe side; 1 for no rows.
///
/// ```
/// use trommel_calibration::greatest_rate;
///
/// // The rule of three: nothing in 1,000 is less than 3 in 1,000, with 95 % confidence.
/// let rate = greatest_rate(1_000, 0, (1.0_f64 / 0.05).ln());
/// assert!((rate - 0.003).abs() < 1e-4);
/// ```
#[must_use]
pub fn greatest_rate(n: u64, hits: u64, nats: f64) -> f64 {
    if n == 0 {
        return 1.0;
    }
    let rows = n as f64;
    let seen = hits as f64 / rows;
    let (mut low, mut high) = (seen, 1.0);
    // Halving 60 times reaches the last bit.
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if rows * divergence(seen, middle) <= nats {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// The least rate that does not contradict `hits` among `n` rows, likewise; 0 for no rows.
#[must_use]
pub fn least_rate(n: u64, hits: u64, nats: f64) -> f64 {
    1.0 - greatest_rate(n, n - hits, nats)
}

/// Of one rate from another, by Kullback and Leibler.
fn divergence(seen: f64, rate: f64) -> f64 {
    let part = |seen: f64, rate: f64| {
        if seen > 0.0 {
            seen * (seen / rate).ln()
        } else {
            0.0
        }
    };
    part(seen, rate) + part(1.0 - seen, 1.0 - rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NATS: f64 = 2.995_732_273_553_991; // 95 %

    #[test]
    fn without_a_hit_the_bound_is_exact() {
        // (1 - p)^n = 0.05.
        for n in [1, 10, 100, 100_000] {
            let exact = 1.0 - 0.05_f64.powf(1.0 / n as f64);
            let bound = greatest_rate(n, 0, NATS);
            assert!((bound - exact).abs() < 1e-9, "{bound} is not {exact}");
        }
    }

    #[test]
    fn a_bound_lies_beyond_what_was_seen_and_nears_it_with_rows() {
        let mut before = 1.0;
        for n in [20, 200, 2_000, 2_000_000, 1 << 53] {
            let bound = greatest_rate(n, n / 20, NATS);
            assert!(0.05 <= bound + 1e-12 && bound < before, "{bound} for {n}");
            before = bound;
            assert!(least_rate(n, n / 20, NATS) <= 0.05 + 1e-12);
        }
        assert!((before - 0.05).abs() < 1e-6);
        assert_eq!(
            (greatest_rate(0, 0, NATS), least_rate(0, 0, NATS)),
            (1.0, 0.0)
        );
        assert!((greatest_rate(5, 5, NATS) - 1.0).abs() < 1e-9);
    }

    /// The chance that the bound fails, summed over all outcomes of twelve rows.
    #[test]
    fn a_bound_fails_at_most_as_often_as_it_says() {
        for rate in [0.01, 0.1, 0.3, 0.5, 0.9] {
            let mut likelihood = (1.0_f64 - rate).powi(12);
            let mut fails = 0.0;
            for hits in 0..=12_u64 {
                if greatest_rate(12, hits, NATS) < rate {
                    fails += likelihood;
                }
                likelihood *= (12 - hits) as f64 / (hits + 1) as f64 * rate / (1.0 - rate);
            }
            assert!(fails <= 0.05, "{fails} at {rate}");
        }
    }
}
