//! Where each bound stands: what was seen, and how sure it is that it is too much.

use serde::{Deserialize, Serialize};

use super::evidence::rate_evidence;
use super::tally::{N_ACTIONS, Tally};
use super::{Against, Bound, Failing, Guard, Rates, score};
use crate::policy::Action;

/// A bound with what is seen of it now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// Which, with the values of both sides.
    pub bound: Bound,
    /// How sure it is that more is seen than is borne, as a natural logarithm.
    pub ln_evidence: f64,
    /// How sure it must be.
    pub ln_enough: f64,
}

impl Guard {
    /// Every bound with where it stands.
    #[must_use]
    pub fn readings(&self) -> Vec<Reading> {
        let mut readings = Vec::new();
        for failing in [Failing::Faults, Failing::DeadlineMisses] {
            let (bound, ln_evidence, _) = self.failing(failing);
            readings.push(Reading {
                bound,
                ln_evidence,
                ln_enough: self.enough_failing(),
            });
        }
        readings.push(Reading {
            bound: self.latency_bound(),
            ln_evidence: self.latency_evidence(),
            ln_enough: self.enough(),
        });
        let (ln_evidence, action) = self.verdicts_evidence();
        readings.push(Reading {
            bound: self.verdicts_bound(action),
            ln_evidence,
            ln_enough: self.enough(),
        });
        readings.extend((0..self.watched.len()).map(|label| Reading {
            bound: self.scores_bound(label).0,
            ln_evidence: self.scores_evidence(label),
            ln_enough: self.enough_of_label(),
        }));
        readings
    }

    /// More failures than the rate that is borne *and* than the other arm has; or than
    /// anything excuses. Half of what the bound may spend goes to each.
    pub(super) fn too_much(&self, failing: Failing) -> Option<(Bound, f64)> {
        let (bound, evidence, is_passed) = self.failing(failing);
        is_passed.then_some((bound, evidence))
    }

    pub(super) fn too_slow(&self) -> Option<(Bound, f64)> {
        let evidence = self.latency_evidence();
        (evidence >= self.enough()).then(|| (self.latency_bound(), evidence))
    }

    pub(super) fn other_verdicts(&self) -> Option<(Bound, f64)> {
        let (evidence, action) = self.verdicts_evidence();
        (evidence >= self.enough()).then(|| (self.verdicts_bound(action), evidence))
    }

    /// A spread that is surely another one, and is another one by much.
    pub(super) fn other_scores(&self, label: usize) -> Option<(Bound, f64)> {
        let evidence = self.scores_evidence(label);
        if evidence < self.enough_of_label() {
            return None;
        }
        let (bound, is_great) = self.scores_bound(label);
        is_great.then_some((bound, evidence))
    }

    /// What is seen, the evidence, and whether the bound is passed.
    fn failing(&self, failing: Failing) -> (Bound, f64, bool) {
        let enough = self.enough_failing();
        let n = self.own.n_calls;
        let (own, other, rate) = match failing {
            Failing::Faults => (
                self.own.n_faults,
                self.other.n_faults,
                self.settings.fault_rate,
            ),
            Failing::DeadlineMisses => (
                self.own.n_missed,
                self.other.n_missed,
                self.settings.deadline_rate,
            ),
        };
        let (tolerated, excused) = match &self.against {
            Against::Other { tests, .. } => (rate, tests.failing(failing) < enough),
            Against::Baseline { tests } => (tests.tolerated(failing), false),
        };
        let ceiling = self.settings.ceiling;
        let beyond = rate_evidence(n, own, ceiling);
        let (tolerated, evidence) = if beyond >= enough {
            (ceiling, beyond)
        } else {
            (tolerated, rate_evidence(n, own, tolerated))
        };
        let is_passed = evidence >= enough && (!excused || beyond >= enough);
        let rate = |failures: u64, calls: u64| failures as f64 / calls as f64;
        let other_calls = self.other.n_calls;
        let rates = Rates {
            candidate: if n > 0 { rate(own, n) } else { 0.0 },
            other: (other_calls > 0).then(|| rate(other, other_calls)),
            tolerated,
        };
        let bound = match failing {
            Failing::Faults => Bound::Faults(rates),
            Failing::DeadlineMisses => Bound::DeadlineMisses(rates),
        };
        (bound, evidence, is_passed)
    }

    fn latency_evidence(&self) -> f64 {
        match &self.against {
            Against::Other { tests, .. } => tests.latency(),
            Against::Baseline { tests } => tests.latency(),
        }
    }

    fn latency_bound(&self) -> Bound {
        let quantile = |tally: &Tally, fraction| tally.quantile(fraction).map_or(0, |(us, _)| us);
        Bound::Latency {
            median_us: quantile(&self.own, 0.5),
            other_median_us: quantile(&self.other, 0.5),
            tail_us: quantile(&self.own, 0.9),
            other_tail_us: quantile(&self.other, 0.9),
            tolerated: self.slowdown(),
        }
    }

    /// And the action that tells most, by its place.
    fn verdicts_evidence(&self) -> (f64, usize) {
        match &self.against {
            Against::Other { tests, .. } => tests.verdicts(),
            Against::Baseline { tests } => tests.verdicts(),
        }
    }

    fn verdicts_bound(&self, action: usize) -> Bound {
        let action = action.min(N_ACTIONS - 1);
        let rate = |tally: &Tally| {
            let (n, hits) = tally.at_least(action);
            (n > 0).then(|| hits as f64 / n as f64)
        };
        Bound::Verdicts {
            at_least: Action::ALL[action],
            rates: Rates {
                candidate: rate(&self.own).unwrap_or(0.0),
                other: rate(&self.other),
                tolerated: self.verdict_odds(),
            },
        }
    }

    fn scores_evidence(&self, label: usize) -> f64 {
        match &self.against {
            Against::Other { tests, .. } => tests.scores(label),
            Against::Baseline { tests } => tests.scores(label),
        }
    }

    /// And whether it is past what is borne.
    fn scores_bound(&self, label: usize) -> (Bound, bool) {
        let index = score::stability_index(&self.own.scores[label], &self.other.scores[label]);
        let bound = Bound::ScoreDrift {
            label: self.watched[label].label.clone(),
            index,
            tolerated: self.settings.score_psi,
        };
        (bound, index > self.settings.score_psi)
    }

    fn enough_failing(&self) -> f64 {
        -(self.settings.per_bound() / 2.0).ln()
    }

    /// Each label spends its part.
    fn enough_of_label(&self) -> f64 {
        self.enough() + (self.watched.len() as f64).ln()
    }
}
