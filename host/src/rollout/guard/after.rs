//! A fresh live revision after the one before it: nobody answers beside it any more, so it
//! is compared with what was counted while the other was live.
//!
//! First each rate of the baseline gets a bound that it stays below but for a small chance;
//! then the fresh revision is held to that bound, times what is borne. Traffic that has
//! changed since then looks like the revision's doing, which blocks of neighbours rule out
//! for a canary and nothing rules out here: so much more is borne, and what is found is
//! grossly wrong.

use serde::{Deserialize, Serialize};

use super::evidence::{greatest_rate, ln_mean_exp, rate_evidence, with_odds};
use super::score::Watched;
use super::tally::{N_ACTIONS, Seen, Tally};
use super::{Failing, GuardSettings, beside::greatest};

/// Quantiles of the baseline's latency that a call may exceed.
const QUANTILES: [f64; 2] = [0.5, 0.9];

/// How often something happens, beside how often it may.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Cut {
    tolerated: f64,
    n: u64,
    hits: u64,
}

/// More of something, and less of it.
type Both = [Cut; 2];

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct After {
    faults: f64,
    missed: f64,
    /// Microseconds, and how many calls may take longer.
    latency: Vec<(u64, Cut)>,
    /// By action from `tag`: as strict or stricter, and milder.
    verdicts: Vec<Both>,
    /// By label, by inner edge: above it, and below it.
    scores: Vec<Vec<Both>>,
}

impl After {
    /// `alpha` is half of what one bound may spend: the other half is spent on the bounds
    /// of the baseline's own rates.
    pub(super) fn new(settings: &GuardSettings, alpha: f64, baseline: &Tally) -> Self {
        let failures = |count, rate: f64| {
            let greatest = greatest_rate(baseline.n_calls, count, alpha);
            // What the baseline does not know excuses nothing.
            if baseline.n_calls == 0 {
                rate
            } else {
                with_odds(greatest, settings.failure_odds).max(rate)
            }
        };
        let latency = QUANTILES.into_iter().filter_map(|quantile| {
            let (edge, longer) = baseline.quantile(quantile)?;
            let alpha = alpha / QUANTILES.len() as f64;
            let tolerated = greatest_rate(baseline.n_latencies(), longer, alpha);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "not negative, and a cast saturates"
            )]
            let edge = (edge as f64 * settings.baseline_slowdown) as u64;
            Some((edge, Cut::new(tolerated)))
        });
        let n_verdicts = 2.0 * (N_ACTIONS - 1) as f64;
        let verdicts = (1..N_ACTIONS).map(|action| {
            let (n, hits) = baseline.at_least(action);
            Cut::both(n, hits, settings.baseline_odds, alpha / n_verdicts)
        });
        let label_alpha = alpha / baseline.scores.len().max(1) as f64;
        let scores = baseline.scores.iter().map(|counts| {
            let n: u64 = counts.iter().sum();
            let edges = 1..counts.len();
            let alpha = label_alpha / (2 * edges.len()).max(1) as f64;
            let above = |edge: usize| counts[edge..].iter().sum();
            edges
                .map(|edge| Cut::both(n, above(edge), settings.baseline_odds, alpha))
                .collect()
        });
        Self {
            faults: failures(baseline.n_faults, settings.fault_rate),
            missed: failures(baseline.n_missed, settings.deadline_rate),
            latency: latency.collect(),
            verdicts: verdicts.collect(),
            scores: scores.collect(),
        }
    }

    pub(super) fn add(&mut self, seen: &Seen) {
        for (edge, cut) in &mut self.latency {
            cut.add(seen.took_us > *edge);
        }
        if let Some(action) = seen.action {
            for (below, both) in self.verdicts.iter_mut().enumerate() {
                Cut::add_both(both, usize::from(action) > below);
            }
        }
        for (edges, bin) in self.scores.iter_mut().zip(&seen.bins) {
            let Some(bin) = bin else { continue };
            for (below, both) in edges.iter_mut().enumerate() {
                Cut::add_both(both, usize::from(*bin) > below);
            }
        }
    }

    pub(super) fn tolerated(&self, failing: Failing) -> f64 {
        match failing {
            Failing::Faults => self.faults,
            Failing::DeadlineMisses => self.missed,
        }
    }

    pub(super) fn latency(&self) -> f64 {
        mean(self.latency.iter().map(|(_, cut)| cut))
    }

    /// And the action, by its place, that tells most.
    pub(super) fn verdicts(&self) -> (f64, usize) {
        let evidence = mean(self.verdicts.iter().flatten());
        (
            evidence,
            1 + greatest(self.verdicts.iter().map(|both| mean(both.iter()))),
        )
    }

    pub(super) fn scores(&self, label: usize) -> f64 {
        mean(self.scores[label].iter().flatten())
    }

    /// Whether the state fits what is watched.
    pub(super) fn fits(&self, watched: &[Watched]) -> bool {
        let n_edges = watched.iter().map(|watched| watched.bins.n_bins() - 1);
        let latency = self.latency.iter().map(|(_, cut)| cut);
        let cuts = latency.chain(self.verdicts.iter().flatten());
        let mut cuts = cuts.chain(self.scores.iter().flatten().flatten());
        self.verdicts.len() == N_ACTIONS - 1
            && self.scores.iter().map(Vec::len).eq(n_edges)
            && cuts.all(|cut| cut.hits <= cut.n)
    }
}

impl Cut {
    fn new(tolerated: f64) -> Self {
        Self {
            tolerated,
            n: 0,
            hits: 0,
        }
    }

    fn both(n: u64, hits: u64, odds: f64, alpha: f64) -> Both {
        let cut = |hits| Self::new(with_odds(greatest_rate(n, hits, alpha), odds));
        [cut(hits), cut(n - hits)]
    }

    fn add(&mut self, hit: bool) {
        self.n += 1;
        self.hits += u64::from(hit);
    }

    fn add_both(both: &mut Both, hit: bool) {
        let [more, less] = both;
        more.add(hit);
        less.add(!hit);
    }

    /// Whether it happens more often than it may; else every bet on that has lost.
    fn may_tell(&self) -> bool {
        self.hits as f64 > self.n as f64 * self.tolerated
    }

    fn evidence(&self) -> f64 {
        rate_evidence(self.n, self.hits, self.tolerated)
    }
}

/// The evidence of several tests that share one bet evenly, or nothing when it is less
/// than nothing: every call is looked at, and most show at once that no bet has won.
fn mean<'a>(cuts: impl Iterator<Item = &'a Cut> + Clone) -> f64 {
    if cuts.clone().any(Cut::may_tell) {
        ln_mean_exp(cuts.map(Cut::evidence))
    } else {
        0.0
    }
}
