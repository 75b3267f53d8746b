//! What a guard says when a bound is passed: which, with the numbers.

use core::time::Duration;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::excerpt::{NAME_CHARS, printable};
use crate::policy::Action;
use crate::signal::Label;

/// A bound that a revision has passed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Breach {
    /// Which, with what was seen.
    pub bound: Bound,
    /// Calls of the revision that count, up to here: the delay in calls.
    pub n_candidate: u64,
    /// Calls of the other arm, or of the baseline, that count.
    pub n_other: u64,
    /// Since the first call of the revision: the delay in time.
    pub after: Duration,
    /// What a bet against "all is well" has grown to: 1,000 means that a revision which
    /// is as it should be gets this far once in 1,000 rollouts. As a natural logarithm.
    pub ln_evidence: f64,
}

/// The bounds that a guard holds a revision to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "bound", rename_all = "kebab-case")]
pub enum Bound {
    /// It failed.
    Faults(Rates),
    /// It was still computing at the deadline.
    DeadlineMisses(Rates),
    /// It is slow beside the other arm.
    Latency {
        /// Its median, in microseconds, to a fifth.
        median_us: u64,
        /// The other's, likewise.
        other_median_us: u64,
        /// Its 90th percentile, in microseconds, to a fifth.
        tail_us: u64,
        /// The other's, likewise.
        other_tail_us: u64,
        /// How many times as long is borne.
        tolerated: f64,
    },
    /// It makes verdicts stricter or milder.
    Verdicts {
        /// Verdicts as strict as this one, or stricter, are counted.
        at_least: Action,
        /// How many of the revision's, and of the other's.
        rates: Rates,
    },
    /// A label's probabilities are spread otherwise.
    ScoreDrift {
        /// The label.
        label: Label,
        /// The population stability index.
        index: f64,
        /// What is borne.
        tolerated: f64,
    },
}

/// Rates of the two sides.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// The revision's.
    pub candidate: f64,
    /// The other arm's or the baseline's; none when there is neither.
    pub other: Option<f64>,
    /// What is borne: a rate for failures, a factor of the odds for verdicts.
    pub tolerated: f64,
}

impl Bound {
    /// Its name in logs, metrics and events.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Faults(_) => "faults",
            Self::DeadlineMisses(_) => "deadline-misses",
            Self::Latency { .. } => "latency",
            Self::Verdicts { .. } => "verdicts",
            Self::ScoreDrift { .. } => "score-drift",
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Faults(rates) => write!(
                f,
                "{} of its calls fail{}",
                percent(rates.candidate),
                beside(rates)
            ),
            Self::DeadlineMisses(rates) => write!(
                f,
                "{} of its calls compute past their deadline{}",
                percent(rates.candidate),
                beside(rates)
            ),
            Self::Latency {
                median_us,
                other_median_us,
                tail_us,
                other_tail_us,
                tolerated,
            } => {
                write!(
                    f,
                    "its calls take {} (median) and {} (90 %), the other's {} and {}; {tolerated} times is borne",
                    millis(*median_us),
                    millis(*tail_us),
                    millis(*other_median_us),
                    millis(*other_tail_us),
                )
            }
            Self::Verdicts { at_least, rates } => write!(
                f,
                "{} of its verdicts are {at_least} or stricter, {} of the other's; odds of {} times are borne",
                percent(rates.candidate),
                percent(rates.other.unwrap_or(0.0)),
                rates.tolerated,
            ),
            Self::ScoreDrift {
                label,
                index,
                tolerated,
            } => write!(
                f,
                "the probabilities of `{}` are spread otherwise, by an index of {index:.3}; {tolerated} is borne",
                printable(label.as_str(), NAME_CHARS),
            ),
        }
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}; seen after {} calls in {:.1?}, beside {}",
            self.bound.name(),
            self.bound,
            self.n_candidate,
            self.after,
            self.n_other
        )
    }
}

fn beside(rates: &Rates) -> String {
    let other = rates
        .other
        .map(|other| format!(", {} of the other's", percent(other)));
    format!(
        "{}; {} is borne",
        other.unwrap_or_default(),
        percent(rates.tolerated)
    )
}

fn percent(rate: f64) -> String {
    format!("{:.2} %", 100.0 * rate)
}

fn millis(micros: u64) -> String {
    format!("{:.1} ms", micros as f64 / 1000.0)
}
