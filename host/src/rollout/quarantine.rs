//! Quarantine: a detector that keeps failing is left alone for a while.
//!
//! ```text
//! serving ──budget passed──► out ──backoff over──► probing ──answer──► serving
//!                             ▲                       │
//!                             └── longer backoff ─────┘ fault
//! ```
//!
//! The budget is a sum that a fault raises and an answer lowers (Page's cumulative sum:
//! Page 1954, doi:10.1093/biomet/41.1-2.100). It counts calls and not time, so a quiet
//! detector is not forgiven by waiting, nor a busy one condemned for being busy.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::Moment;
use crate::blame::Blame;

/// When a detector is left alone, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QuarantineSettings {
    /// Faults beyond the tolerated ones that are borne; the next one ends service.
    pub budget: u32,
    /// Answers that make up for one fault: with 9, a detector that fails less than one
    /// call in ten is never left alone for long.
    pub answers_per_fault: u32,
    /// How long it is left alone at first, in milliseconds. Each failed probe doubles it.
    pub first_backoff_ms: u64,
    /// The longest that it is left alone, in milliseconds.
    pub longest_backoff_ms: u64,
    /// How long a probe may take, in milliseconds; a later answer counts for nothing and
    /// another call may probe.
    pub probe_ms: u64,
    /// How long it must serve, in milliseconds, until the next backoff is the first again.
    pub forgiven_after_ms: u64,
}

impl Default for QuarantineSettings {
    fn default() -> Self {
        Self {
            budget: 10,
            answers_per_fault: 9,
            first_backoff_ms: 1_000,
            longest_backoff_ms: 300_000,
            probe_ms: 60_000,
            forgiven_after_ms: 600_000,
        }
    }
}

/// Whether one detector may be called: a state machine that is told how calls ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    settings: QuarantineSettings,
    state: State,
    /// Names the probe that decides, so that no other call does.
    n_probes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
enum State {
    Serving(Serving),
    Out(Out),
    Probing(Probing),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Serving {
    /// Faults, each worth `answers_per_fault`, less one for each answer.
    spent: u64,
    since: Moment,
    /// How long it was left alone last; nothing at first.
    last_backoff_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Out {
    until: Moment,
    backoff_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Probing {
    probe: u64,
    by: Moment,
    backoff_ms: u64,
}

/// Whether a call may go ahead. Kept by the caller until the call has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// As always.
    Call,
    /// It decides whether the detector serves again.
    Probe(Probe),
    /// The detector is left alone; the item is degraded.
    Refused {
        /// When one call may probe; the moment of asking while a probe is under way.
        until: Moment,
    },
}

/// Names one probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe(u64);

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With an answer.
    Answered,
    /// Without. Only [`Blame::Guest`] counts.
    Failed(Blame),
}

/// A change that is worth a log line and a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum QuarantineChange {
    /// It is left alone.
    Left {
        /// When one call may probe.
        until: Moment,
        /// How long that is, in milliseconds.
        backoff_ms: u64,
    },
    /// It serves again.
    Returned,
}

impl Quarantine {
    /// A detector that serves and has used up nothing of its budget.
    #[must_use]
    pub fn new(settings: QuarantineSettings, now: Moment) -> Self {
        let state = State::Serving(Serving {
            spent: 0,
            since: now,
            last_backoff_ms: 0,
        });
        Self {
            settings,
            state,
            n_probes: 0,
        }
    }

    /// Whether the detector may be called. A probe that is admitted is the only call
    /// until it has ended, or its time is over.
    pub fn admit(&mut self, now: Moment) -> Admission {
        let waiting = match &self.state {
            State::Serving(_) => return Admission::Call,
            State::Out(out) => out.refused(now).map_or(Ok(out.backoff_ms), Err),
            State::Probing(probing) => probing.refused(now).map_or(Ok(probing.backoff_ms), Err),
        };
        match waiting {
            Err(refused) => refused,
            Ok(backoff_ms) => {
                self.n_probes += 1;
                let by = now.after(Duration::from_millis(self.settings.probe_ms));
                self.state = State::Probing(Probing {
                    probe: self.n_probes,
                    by,
                    backoff_ms,
                });
                Admission::Probe(Probe(self.n_probes))
            }
        }
    }

    /// Learns how a call ended that was admitted so. Calls that were under way when the
    /// detector was left alone, and probes whose time was over, decide nothing.
    pub fn record(
        &mut self,
        admission: Admission,
        ended: Ended,
        now: Moment,
    ) -> Option<QuarantineChange> {
        let settings = self.settings;
        let next = match (&mut self.state, admission) {
            (State::Serving(serving), Admission::Call) => serving.record(ended, now, &settings),
            (State::Probing(probing), Admission::Probe(Probe(probe))) if probing.probe == probe => {
                Some(probing.record(ended, now, &settings))
            }
            _ => None,
        }?;
        let change = match &next {
            State::Serving(_) => Some(QuarantineChange::Returned),
            State::Out(out) if out.until > now => Some(QuarantineChange::Left {
                until: out.until,
                backoff_ms: out.backoff_ms,
            }),
            State::Out(_) | State::Probing(_) => None,
        };
        self.state = next;
        change
    }

    /// Whether the detector serves; neither one that is left alone nor one that is probed
    /// does.
    #[must_use]
    pub const fn is_serving(&self) -> bool {
        matches!(self.state, State::Serving(_))
    }
}

impl Serving {
    fn record(
        &mut self,
        ended: Ended,
        now: Moment,
        settings: &QuarantineSettings,
    ) -> Option<State> {
        // With 0 no fault would ever count.
        let worth = u64::from(settings.answers_per_fault.max(1));
        match ended {
            Ended::Failed(Blame::Host | Blame::Caller) => return None,
            Ended::Answered => {
                self.spent = self.spent.saturating_sub(1);
                return None;
            }
            Ended::Failed(Blame::Guest) => self.spent += worth,
        }
        if self.spent <= worth * u64::from(settings.budget) {
            return None;
        }
        let served = now.since(self.since);
        let is_forgiven = served >= Duration::from_millis(settings.forgiven_after_ms);
        let last = if is_forgiven { 0 } else { self.last_backoff_ms };
        Some(State::Out(Out::begin(longer(last, settings), now)))
    }
}

impl Out {
    fn begin(backoff_ms: u64, now: Moment) -> Self {
        let until = now.after(Duration::from_millis(backoff_ms));
        Self { until, backoff_ms }
    }

    fn refused(&self, now: Moment) -> Option<Admission> {
        (now < self.until).then_some(Admission::Refused { until: self.until })
    }
}

impl Probing {
    fn refused(&self, now: Moment) -> Option<Admission> {
        (now < self.by).then_some(Admission::Refused { until: now })
    }

    fn record(&self, ended: Ended, now: Moment, settings: &QuarantineSettings) -> State {
        match ended {
            Ended::Answered => State::Serving(Serving {
                spent: 0,
                since: now,
                last_backoff_ms: self.backoff_ms,
            }),
            Ended::Failed(Blame::Guest) => {
                State::Out(Out::begin(longer(self.backoff_ms, settings), now))
            }
            // It tells nothing of the detector: the next call probes.
            Ended::Failed(Blame::Host | Blame::Caller) => State::Out(Out {
                until: now,
                backoff_ms: self.backoff_ms,
            }),
        }
    }
}

/// The backoff after one of `last`.
fn longer(last_ms: u64, settings: &QuarantineSettings) -> u64 {
    let doubled = last_ms.saturating_mul(2).max(settings.first_backoff_ms);
    doubled.min(settings.longest_backoff_ms.max(settings.first_backoff_ms))
}

#[cfg(test)]
mod tests;
