//! Evidence that may be looked at after every observation.
//!
//! Each test here plays against the hypothesis that all is well: it starts with a wealth
//! of 1 and bets so that, while the hypothesis holds, the wealth is not expected to grow.
//! By Ville's inequality (Ville 1939) the chance that it *ever* reaches `1 / alpha` is at
//! most `alpha`, at whichever moment one looks or stops; so looking often costs nothing.
//! Betting for and against means: Waudby-Smith & Ramdas 2024, doi:10.1093/jrsssb/qkad009;
//! looking at every moment in experiments: Johari et al. 2015, arXiv:1512.04922, who
//! average over alternatives as is done here. Logarithms of wealth throughout.

use serde::{Deserialize, Serialize};

use crate::calibrator;

/// What the odds of a hit are multiplied by in the alternatives that are bet on, one fifth
/// of the wealth on each.
const MULTIPLES: [f64; 5] = [1.5, 2.5, 5.0, 12.0, 40.0];

/// The logarithm of the mean of what these are logarithms of.
pub(super) fn ln_mean_exp(logarithms: impl Iterator<Item = f64> + Clone) -> f64 {
    let greatest = logarithms.clone().fold(f64::NEG_INFINITY, f64::max);
    let (mut sum, mut n) = (0.0, 0.0_f64);
    for logarithm in logarithms {
        sum += (logarithm - greatest).exp();
        n += 1.0;
    }
    greatest + (sum / n).ln()
}

/// The probability whose odds are `multiple` times those of `rate`.
pub(super) fn with_odds(rate: f64, multiple: f64) -> f64 {
    multiple * rate / (1.0 - rate + multiple * rate)
}

/// Tests whether hits are likelier in the candidate's arm than in the other, by whom they
/// fall on within blocks of neighbouring calls.
///
/// *Hypothesis*: within a block, calls were dealt to the arms by lot, and the odds of a hit
/// in the candidate's arm are at most `tolerated` times the other's. Given how many calls
/// and how many hits a block has, and how many of its calls are the candidate's, the hits
/// among these then follow Fisher's noncentral hypergeometric distribution (Fisher 1935).
/// Nothing else is assumed: rates, loads and kinds of items may drift and come in bursts,
/// as long as they do so for both arms alike. Conditioning block by block: Turner, Ly &
/// Grünwald 2024, doi:10.1016/j.jspi.2023.106116.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct OddsTest {
    tolerated: f64,
    wealth: [f64; MULTIPLES.len()],
}

/// One block as a table of two by two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) n_calls: u32,
    pub(super) n_candidate: u32,
    pub(super) n_hits: u32,
    pub(super) n_candidate_hits: u32,
}

impl OddsTest {
    pub(super) fn new(tolerated: f64) -> Self {
        Self {
            tolerated,
            wealth: [0.0; MULTIPLES.len()],
        }
    }

    pub(super) fn add(&mut self, table: Table) {
        let Some(under_hypothesis) = table.likelihood(self.tolerated) else {
            return;
        };
        for (wealth, multiple) in self.wealth.iter_mut().zip(MULTIPLES) {
            let bet = table.likelihood(self.tolerated * multiple);
            *wealth += (bet.expect("of the same table") / under_hypothesis).ln();
        }
    }

    /// The wealth of each bet.
    pub(super) fn bets(&self) -> impl Iterator<Item = f64> + Clone {
        self.wealth.iter().copied()
    }

    pub(super) fn evidence(&self) -> f64 {
        ln_mean_exp(self.bets())
    }
}

impl Table {
    /// The same block with misses for hits.
    pub(super) fn inverted(self) -> Self {
        Self {
            n_hits: self.n_calls - self.n_hits,
            n_candidate_hits: self.n_candidate - self.n_candidate_hits,
            ..self
        }
    }

    /// How likely the candidate's hits are when its odds are `odds` times the other's;
    /// none when they could not have been others.
    fn likelihood(self, odds: f64) -> Option<f64> {
        let Self {
            n_calls,
            n_candidate,
            n_hits,
            n_candidate_hits,
        } = self;
        let least = (n_candidate + n_hits).saturating_sub(n_calls);
        let most = n_candidate.min(n_hits);
        if least == most {
            return None;
        }
        // Each weight from the one before: blocks are small and odds bounded, so that
        // nothing overflows.
        let (mut weight, mut sum, mut observed) = (1.0, 0.0, 0.0);
        for hits in least..=most {
            sum += weight;
            if hits == n_candidate_hits {
                observed = weight;
            }
            let up = f64::from(n_hits - hits) * f64::from(n_candidate - hits);
            let down = f64::from(hits + 1) * f64::from(n_calls + hits + 1 - n_hits - n_candidate);
            weight *= odds * up / down;
        }
        Some(observed / sum)
    }
}

/// Evidence that hits among `n` calls are likelier than `tolerated`, a rate between 0 and
/// 1.
///
/// *Hypothesis*: whatever came before, the next call is a hit with a chance of at most
/// `tolerated`.
pub(super) fn rate_evidence(n: u64, hits: u64, tolerated: f64) -> f64 {
    if tolerated >= 1.0 {
        return 0.0;
    }
    let (hits, misses) = (hits as f64, (n - hits) as f64);
    ln_mean_exp(MULTIPLES.iter().map(|multiple| {
        let bet = with_odds(tolerated, *multiple);
        hits * (bet / tolerated).ln() + misses * ((1.0 - bet) / (1.0 - tolerated)).ln()
    }))
}

/// A rate that hits among `n` calls have at most, but for a chance of `alpha`, at whichever
/// moment the calls were counted.
///
/// The rates that a bet on every rate at once, by the prior of Krichevsky & Trofimov 1981
/// (doi:10.1109/TIT.1981.1056331), has not made `1 / alpha` of; it falls behind the best
/// single bet by a factor of `2 √n` at most.
pub(super) fn greatest_rate(n: u64, hits: u64, alpha: f64) -> f64 {
    let price = (2.0 * (n.max(1) as f64).sqrt()).ln();
    calibrator::greatest_rate(n, hits, (1.0 / alpha).ln() + price)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every outcome of a block, with how likely it is.
    fn outcomes(n_calls: u32, n_candidate: u32, n_hits: u32, odds: f64) -> Vec<(Table, f64)> {
        let hits = (n_candidate + n_hits).saturating_sub(n_calls)..=n_candidate.min(n_hits);
        let table = |n_candidate_hits| Table {
            n_calls,
            n_candidate,
            n_hits,
            n_candidate_hits,
        };
        let likely = |table: Table| (table, table.likelihood(odds).unwrap_or(1.0));
        hits.map(table).map(likely).collect()
    }

    #[test]
    fn a_bet_is_fair_at_the_edge_of_the_hypothesis_and_loses_within_it() {
        for (n_calls, n_candidate, n_hits) in [(20, 1, 2), (20, 10, 10), (20, 7, 19), (2, 1, 1)] {
            for (odds, greatest) in [(1.5, 1.0 + 1e-12), (1.0, 0.999_999), (0.3, 0.99)] {
                let outcomes = outcomes(n_calls, n_candidate, n_hits, odds);
                let sum: f64 = outcomes.iter().map(|(_, likelihood)| likelihood).sum();
                assert!((sum - 1.0).abs() < 1e-12);
                for bet in 0..MULTIPLES.len() {
                    let expected: f64 = outcomes
                        .iter()
                        .map(|(table, likelihood)| {
                            let mut test = OddsTest::new(1.5);
                            test.add(*table);
                            likelihood * test.wealth[bet].exp()
                        })
                        .sum();
                    assert!(expected <= greatest, "{expected} at odds {odds}");
                }
            }
        }
    }

    #[test]
    fn an_even_lot_is_the_plain_hypergeometric_distribution() {
        // Five of twenty are the candidate's, four of twenty are hits, two are both:
        // C(4, 2) · C(16, 3) / C(20, 5).
        let table = Table {
            n_calls: 20,
            n_candidate: 5,
            n_hits: 4,
            n_candidate_hits: 2,
        };
        let expected = 6.0 * 560.0 / 15_504.0;
        assert!((table.likelihood(1.0).unwrap() - expected).abs() < 1e-12);
        let inverted = table.inverted();
        assert!((inverted.likelihood(1.0).unwrap() - expected).abs() < 1e-12);
    }

    #[test]
    fn a_block_that_could_not_have_been_another_says_nothing() {
        let mut test = OddsTest::new(1.0);
        for (n_candidate, n_hits, n_candidate_hits) in
            [(0, 5, 0), (20, 5, 5), (7, 0, 0), (7, 20, 7)]
        {
            test.add(Table {
                n_calls: 20,
                n_candidate,
                n_hits,
                n_candidate_hits,
            });
        }
        assert_eq!(test, OddsTest::new(1.0));
    }

    #[test]
    fn a_rate_is_fair_game_at_the_tolerated_rate() {
        // The expectation over all outcomes of five calls.
        let choose = [1.0, 5.0, 10.0, 10.0, 5.0, 1.0];
        let expected: f64 = (0..=5_u64)
            .map(|hits| {
                let likelihood = 0.02_f64.powi(hits as i32) * 0.98_f64.powi(5 - hits as i32);
                choose[hits as usize] * likelihood * rate_evidence(5, hits, 0.02).exp()
            })
            .sum();
        assert!((expected - 1.0).abs() < 1e-9, "{expected}");
        assert!(rate_evidence(100, 20, 0.02) > 10.0);
        assert!(rate_evidence(1_000, 10, 0.02) < 0.0);
        assert_eq!(rate_evidence(9, 9, 1.0), 0.0);
    }

    #[test]
    fn the_greatest_rate_lies_above_what_was_seen_and_nears_it() {
        assert_eq!(greatest_rate(0, 0, 0.001), 1.0);
        let few = greatest_rate(100, 5, 0.001);
        let many = greatest_rate(100_000, 5_000, 0.001);
        assert!(0.05 < many && many < few && few < 0.3, "{many} {few}");
        assert!((many - 0.05).abs() < 0.005, "{many}");
        assert!((greatest_rate(50, 50, 0.001) - 1.0).abs() < 1e-9);
    }
}
