//! The map that a table's counts make: a logit for every score.
//!
//! Four steps, each pure:
//!
//! 1. Every bin gets half a row more of each class (Krichevsky & Trofimov 1981,
//!    doi:10.1109/TIT.1981.1056331): Jeffreys' prior for how a class spreads over
//!    bins. So a bin without rows of one class is sure up to what its rows can
//!    bear, and not beyond.
//! 2. Neighbours whose likelihood ratios do not rise are pooled, until all rise
//!    (pool adjacent violators: Ayer et al. 1955, doi:10.1214/aoms/1177728423).
//! 3. The centres of the pools are joined by straight lines **in logits**. There a
//!    score that is a log-odds already is one straight line, so few bins describe
//!    it; and 0.999 and 0.9999 stay as far apart as they are to a rollout that
//!    compares tails, where lines between probabilities would end in a corner.
//! 4. Beyond the outermost centres the line goes on with the mean slope of the
//!    whole and bends towards a bound: what a bin could say at most that held all
//!    rows of one class and none of the other.

/// Half rows that are added to each class in each bin; counts here are halves, so
/// that ratios are compared without rounding.
const PRIOR_HALVES: u128 = 1;

/// A continuous map that never falls, and rises between the outermost knots.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Curve {
    /// Rise in both coordinates; at least one.
    knots: Vec<Knot>,
    /// Logits per score beyond the outermost knots; 0 for a single knot.
    slope: f64,
    least: f64,
    most: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Knot {
    score: f64,
    logit: f64,
}

/// Neighbouring bins taken together; counts in halves of rows.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Pool {
    positives: u128,
    negatives: u128,
    /// Share of all positives plus share of all negatives: no matter at which rate
    /// a class was sampled.
    mass: f64,
    /// Mean of the bins' centres by their masses.
    centre: f64,
}

impl Curve {
    /// Counts are one per bin, at most 2^53 in all and at least 1 of each class;
    /// `edges` rise; `prevalence` lies between 0 and 1.
    pub(crate) fn through(
        edges: &[f32],
        positives: &[u64],
        negatives: &[u64],
        prevalence: f64,
    ) -> Self {
        let halves = |counts: &[u64]| -> Vec<u128> {
            let with_prior = |&count: &u64| 2 * u128::from(count) + PRIOR_HALVES;
            counts.iter().map(with_prior).collect()
        };
        let (positives, negatives) = (halves(positives), halves(negatives));
        let all_positives = positives.iter().sum::<u128>() as f64;
        let all_negatives = negatives.iter().sum::<u128>() as f64;
        let pools = pooled((0..positives.len()).map(|at| Pool {
            positives: positives[at],
            negatives: negatives[at],
            mass: positives[at] as f64 / all_positives + negatives[at] as f64 / all_negatives,
            centre: f64::midpoint(edges[at].into(), edges[at + 1].into()),
        }));
        let logit_at = |share_of_positives: f64, share_of_negatives: f64| {
            // Logarithms one by one: the quotient of the smallest shares would be lost.
            prevalence.ln() - (-prevalence).ln_1p() + share_of_positives.ln()
                - share_of_negatives.ln()
        };
        let knots: Vec<Knot> = pools
            .iter()
            .map(|pool| Knot {
                score: pool.centre,
                logit: logit_at(
                    pool.positives as f64 / all_positives,
                    pool.negatives as f64 / all_negatives,
                ),
            })
            .collect();
        let (first, last) = (knots[0], knots[knots.len() - 1]);
        let slope = if first.score < last.score {
            (last.logit - first.logit) / (last.score - first.score)
        } else {
            0.0
        };
        let prior = PRIOR_HALVES as f64;
        Self {
            knots,
            slope,
            least: logit_at(prior / all_positives, 1.0),
            most: logit_at(1.0, prior / all_negatives),
        }
    }

    /// The log-odds of a finite score; finite, and never less for a higher score.
    pub(crate) fn logit(&self, score: f64) -> f64 {
        let above = self.knots.partition_point(|knot| knot.score <= score);
        let (first, last) = (self.knots[0], self.knots[self.knots.len() - 1]);
        if above == 0 {
            let room = first.logit - self.least;
            return first.logit - bent(self.slope * (first.score - score), room);
        }
        if above == self.knots.len() {
            let room = self.most - last.logit;
            return last.logit + bent(self.slope * (score - last.score), room);
        }
        let (left, right) = (self.knots[above - 1], self.knots[above]);
        let slope = (right.logit - left.logit) / (right.score - left.score);
        // A rounded slope may lead past the next knot by its last bit.
        (left.logit + slope * (score - left.score)).min(right.logit)
    }
}

/// `step` while it is small beside `room`, and less and less further on: never
/// more than `room`. Written so that rounding keeps it from falling.
fn bent(step: f64, room: f64) -> f64 {
    if room > 0.0 {
        room * (1.0 - 1.0 / (1.0 + step / room))
    } else {
        0.0
    }
}

/// Pools whose ratios of positives to negatives rise strictly.
fn pooled(bins: impl Iterator<Item = Pool>) -> Vec<Pool> {
    let mut pools: Vec<Pool> = Vec::new();
    for mut pool in bins {
        while let Some(below) = pools.pop_if(|below| !rises(below, &pool)) {
            pool = join(below, pool);
        }
        pools.push(pool);
    }
    pools
}

/// Whether the second has the higher share of positives. Halves of at most 2^53
/// rows: the products stay below 2^112.
fn rises(below: &Pool, above: &Pool) -> bool {
    below.positives * above.negatives < above.positives * below.negatives
}

fn join(below: Pool, above: Pool) -> Pool {
    let mass = below.mass + above.mass;
    Pool {
        positives: below.positives + above.positives,
        negatives: below.negatives + above.negatives,
        mass,
        centre: below.centre + above.mass / mass * (above.centre - below.centre),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Table;

    /// Any valid table, awkward ones included.
    fn tables() -> impl Strategy<Value = Table> {
        let edge = prop_oneof![
            -8.0..8.0_f32,
            any::<f32>().prop_filter("finite", |edge| edge.is_finite())
        ];
        let count = prop_oneof![4 => 0..40_u64, 1 => 0..1_u64 << 40];
        (2..40_usize)
            .prop_flat_map(move |n_edges| {
                (
                    proptest::collection::btree_set(edge.clone().prop_map(ordered), n_edges),
                    proptest::collection::vec((count.clone(), count.clone()), n_edges),
                    1e-6..0.999_999_f64,
                )
            })
            .prop_filter_map("two classes", |(edges, counts, prevalence)| {
                let edges: Vec<f64> = edges
                    .into_iter()
                    .map(|edge| f64::from(unordered(edge)))
                    .collect();
                let n_bins = edges.len() - 1;
                let (positives, negatives) = counts.into_iter().take(n_bins).unzip();
                Table::new(&edges, positives, negatives, prevalence).ok()
            })
    }

    /// A float as an integer of the same order.
    fn ordered(edge: f32) -> i32 {
        let bits = edge.to_bits().cast_signed();
        if bits < 0 {
            i32::MIN.wrapping_sub(bits)
        } else {
            bits
        }
    }

    fn unordered(bits: i32) -> f32 {
        let bits = if bits < 0 {
            i32::MIN.wrapping_sub(bits)
        } else {
            bits
        };
        f32::from_bits(bits.cast_unsigned())
    }

    /// Scores of interest: the edges, their neighbours, what lies far outside, and `more`.
    fn scores(table: &Table, more: Vec<f32>) -> Vec<f32> {
        let mut scores = more;
        for edge in table.edges() {
            scores.extend([*edge, edge.next_up(), edge.next_down()]);
        }
        for pair in table.edges().windows(2) {
            let centre = f32::midpoint(pair[0], pair[1]);
            scores.extend([centre, centre.next_up(), centre.next_down()]);
        }
        scores.extend([f32::MIN, -1e9, -20.0, 0.0, 20.0, 1e9, f32::MAX]);
        scores.retain(|score| score.is_finite());
        scores.sort_by(f32::total_cmp);
        scores
    }

    fn finite() -> impl Strategy<Value = Vec<f32>> {
        proptest::collection::vec(prop_oneof![-10.0..10.0_f32, any::<f32>()], 0..30)
    }

    proptest! {
        #[test]
        fn a_higher_score_is_never_less_likely(table in tables(), more in finite()) {
            let probabilities: Vec<f64> =
                scores(&table, more).into_iter().map(|score| table.probability(score)).collect();
            prop_assert!(probabilities.iter().all(|probability| (0.0..=1.0).contains(probability)));
            prop_assert!(probabilities.is_sorted(), "{probabilities:?}");
        }

        #[test]
        fn pooling_pools_strictly_and_once(table in tables()) {
            let pools = pooled(table.bins().map(|bin| Pool {
                positives: 2 * u128::from(bin.positives) + 1,
                negatives: 2 * u128::from(bin.negatives) + 1,
                mass: 1.0 + bin.negatives as f64,
                centre: f64::midpoint(bin.from.into(), bin.to.into()),
            }));
            prop_assert!(pools.windows(2).all(|pair| rises(&pair[0], &pair[1])));
            prop_assert!(pools.windows(2).all(|pair| pair[0].centre < pair[1].centre));
            prop_assert_eq!(pooled(pools.iter().copied()), pools);
        }

        #[test]
        fn how_often_a_class_was_sampled_does_not_matter(
            counts in proptest::collection::vec((10..400_u64, 10..400_u64), 2..20),
            rate in 2..50_u64,
            share in 0.0..1.0_f32,
        ) {
            // Ratios so close that the prior decides which is higher pool or not.
            let ratio = |count: &(u64, u64)| count.0 as f64 / count.1 as f64;
            let far = |a: &(u64, u64), b: &(u64, u64)| (ratio(a) / ratio(b)).ln().abs() > 1e-3;
            prop_assume!(counts.windows(2).all(|pair| far(&pair[0], &pair[1])));
            // So many rows that the prior's halves do not show.
            let many = |times: u64, class: fn(&(u64, u64)) -> u64| -> Vec<u64> {
                counts.iter().map(|count| class(count) * 10_000_000 * times).collect()
            };
            let edges: Vec<f64> = (0_u8..).take(counts.len() + 1).map(f64::from).collect();
            let table = |times| {
                Table::new(&edges, many(1, |c| c.0), many(times, |c| c.1), 0.2).unwrap()
            };
            let (once, often) = (table(1), table(rate));
            prop_assume!(once.curve().knots.len() == often.curve().knots.len());
            let knots = &once.curve().knots;
            // Beyond the outermost knots more rows do say more: the bound rises.
            let (first, last) = (knots[0].score as f32, knots[knots.len() - 1].score as f32);
            let score = first + share * (last - first);
            let (once, often) = (once.probability(score), often.probability(score));
            prop_assert!((once - often).abs() < 1e-5, "{once} and {often}");
        }
    }

    #[test]
    fn a_bins_probability_is_bayes_rule_at_the_prevalence() {
        let table = Table::new(
            &[0.0, 1.0, 2.0],
            vec![100_000, 900_000],
            vec![600_000, 400_000],
            0.25,
        )
        .unwrap();
        // 0.25·0.1 / (0.25·0.1 + 0.75·0.6) and 0.25·0.9 / (0.25·0.9 + 0.75·0.4).
        for (score, expected) in [(0.5, 0.025 / 0.475), (1.5, 0.225 / 0.525)] {
            let found = table.probability(score);
            assert!((found - expected).abs() < 1e-5, "{found}");
        }
    }

    #[test]
    fn a_bin_without_one_class_is_only_as_sure_as_its_rows() {
        let sure = |n_rows: u64| {
            let table = Table::new(&[0.0, 1.0, 2.0], vec![0, n_rows], vec![n_rows, 0], 0.5);
            table.unwrap().probability(1.5)
        };
        // (n + ½) / (n + 1): Jeffreys' estimate.
        for n_rows in [1, 10, 1_000] {
            let expected = (n_rows as f64 + 0.5) / (n_rows as f64 + 1.0);
            assert!((sure(n_rows) - expected).abs() < 1e-12, "{}", sure(n_rows));
        }
    }

    #[test]
    fn inside_and_beyond_the_bins_each_step_is_a_rise() {
        // The second and third bin are pooled, and yet no plateau is left.
        let table = Table::new(
            &[0.0, 1.0, 2.0, 3.0, 4.0],
            vec![1, 20, 10, 40],
            vec![90, 30, 30, 2],
            0.3,
        )
        .unwrap();
        let probabilities: Vec<f64> = (-80..=120)
            .map(|step| table.probability(step as f32 / 10.0))
            .collect();
        assert!(
            probabilities.windows(2).all(|pair| pair[0] < pair[1]),
            "{probabilities:?}"
        );
    }

    #[test]
    fn no_score_is_surer_than_all_rows_could_make_it() {
        let table = Table::new(&[0.0, 1.0, 2.0], vec![2, 38], vec![57, 3], 0.5).unwrap();
        // All of one class and none of the other: 2 · (rows of the other + 1) to 1.
        let (least, most) = (1.0 / 83.0, 122.0 / 123.0);
        let (low, high) = (table.probability(f32::MIN), table.probability(f32::MAX));
        assert!(
            (low - least).abs() < 1e-9 && (high - most).abs() < 1e-9,
            "{low} {high}"
        );
    }

    #[test]
    fn scores_that_rank_backwards_say_no_more_than_the_prevalence() {
        let table = Table::new(&[0.0, 1.0, 2.0], vec![9, 1], vec![1, 9], 0.2).unwrap();
        for score in [-5.0, 0.5, 1.0, 1.5, 9.0] {
            assert!((table.probability(score) - 0.2).abs() < 1e-12);
        }
    }

    #[test]
    fn the_greatest_counts_and_edges_make_a_curve_too() {
        let rows = crate::MAX_ROWS;
        let edges = [
            f32::MIN.into(),
            0.0,
            f64::from(f32::MIN_POSITIVE),
            f32::MAX.into(),
        ];
        let table = Table::new(&edges, vec![0, 0, rows], vec![rows, 0, 0], 1e-300).unwrap();
        let found: Vec<f64> = [f32::MIN, -1.0, 0.0, 1e-40, 1.0, f32::MAX]
            .map(|score| table.probability(score))
            .to_vec();
        assert!(
            found.is_sorted() && found.iter().all(|p| (0.0..=1.0).contains(p)),
            "{found:?}"
        );
    }
}
