//! The guard: watches a canary, or a revision that has just become live, and says when it
//! is worse than it may be.
//!
//! Five bounds share one small chance of a false abort, which holds however long and
//! however often one looks (see `evidence.rs` for why). A canary is compared with the live
//! revision call by call (`beside.rs`), a fresh live revision with what the one before it
//! was like (`after.rs`). Only the guest's own failures count.

mod after;
mod beside;
mod breach;
mod evidence;
mod observation;
mod reading;
mod score;
mod settings;
mod tally;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use breach::{Bound, Breach, Rates};
pub use observation::{Answer, Observation, Outcome};
pub use reading::Reading;
pub use score::{Bins, MAX_BINS, MAX_LABELS, Watched};
pub use settings::{GuardSettings, GuardSettingsError};
pub use tally::Baseline;

use super::{Arm, Moment};
use crate::revision::RevisionId;
use after::After;
use beside::Beside;
use tally::{Kind, Seen, Tally};

/// Watches one revision while it is a canary, or while it is freshly live.
///
/// Holds some tens of kilobytes at most, whatever it is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Guard {
    settings: GuardSettings,
    watched: Vec<Watched>,
    candidate: RevisionId,
    own: Tally,
    other: Tally,
    against: Against,
    began: Option<Moment>,
    breach: Option<Breach>,
}

/// What the candidate is compared with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "against", rename_all = "kebab-case")]
enum Against {
    /// A revision that answers at the same time.
    Other {
        other: RevisionId,
        tests: Box<Beside>,
    },
    /// What was counted before.
    Baseline { tests: Box<After> },
}

/// Where a guarded revision stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is watched.
    Watched,
    /// It has answered long enough, and often enough, without passing a bound: the guard of
    /// a fresh live revision may go, and so may its control. A canary may be promoted.
    Settled,
    /// It has passed a bound.
    Breached,
}

/// Two ways to give no answer, each with a bound of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failing {
    Faults,
    DeadlineMisses,
}

/// A guard's state that does not hold together.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the guard's state {what}; begin with a new guard")]
pub struct GuardStateError {
    what: String,
}

impl Guard {
    /// Watches `candidate` beside `other`, which answers at the same time for other keys: a
    /// canary beside the live revision, or a fresh live revision beside the one before it
    /// that was kept as a control. `watched` are the labels and bins of `other`; labels past
    /// [`MAX_LABELS`] are left out.
    ///
    /// # Errors
    ///
    /// A setting that cannot be meant.
    pub fn beside(
        settings: GuardSettings,
        candidate: RevisionId,
        other: RevisionId,
        mut watched: Vec<Watched>,
    ) -> Result<Self, GuardSettingsError> {
        settings.check()?;
        watched.truncate(MAX_LABELS);
        let tests = Box::new(Beside::new(&settings, &watched));
        Ok(Self {
            settings,
            candidate,
            own: Tally::new(&watched),
            other: Tally::new(&watched),
            against: Against::Other { other, tests },
            watched,
            began: None,
            breach: None,
        })
    }

    /// Watches a revision that has just become live and has nobody beside it, after another
    /// one. What traffic does by itself looks like its doing, so only what is grossly wrong
    /// is found: where that is not enough, keep a control.
    ///
    /// # Errors
    ///
    /// A setting that cannot be meant.
    pub fn after(
        settings: GuardSettings,
        live: RevisionId,
        baseline: Baseline,
    ) -> Result<Self, GuardSettingsError> {
        settings.check()?;
        let Baseline { watched, tally } = baseline;
        let tests = Box::new(After::new(&settings, settings.per_bound() / 2.0, &tally));
        Ok(Self {
            settings,
            candidate: live,
            own: Tally::new(&watched),
            other: tally,
            against: Against::Baseline { tests },
            watched,
            began: None,
            breach: None,
        })
    }

    /// Takes a state that was kept as JSON.
    ///
    /// # Errors
    ///
    /// What is no state of this version, or contradicts itself.
    pub fn from_json(json: &str) -> Result<Self, GuardStateError> {
        let wrong = |what: String| GuardStateError { what };
        let guard: Self = serde_json::from_str(json)
            .map_err(|error| wrong(format!("cannot be read: {error}")))?;
        guard
            .settings
            .check()
            .map_err(|error| wrong(error.to_string()))?;
        let tests_fit = match &guard.against {
            Against::Other { tests, .. } => tests.fits(&guard.watched),
            Against::Baseline { tests } => tests.fits(&guard.watched),
        };
        let few_bins = |watched: &Watched| watched.bins.n_bins() <= MAX_BINS;
        let fits = guard.watched.len() <= MAX_LABELS
            && guard.watched.iter().all(few_bins)
            && tests_fit
            && guard.own.fits(&guard.watched)
            && guard.other.fits(&guard.watched);
        if fits {
            Ok(guard)
        } else {
            Err(wrong("contradicts itself".to_owned()))
        }
    }

    /// Takes one call that has ended, and says so when that makes a bound be passed: once,
    /// and nothing after it. Calls of other revisions, and pinned ones, are passed over.
    pub fn observe(&mut self, observation: &Observation<'_>, now: Moment) -> Option<Breach> {
        let of_candidate = self.side(observation)?;
        let kind = Kind::of(&observation.outcome);
        let seen = match &observation.outcome {
            Outcome::Answered(answer) => Some(Seen::of(answer, &self.watched)),
            Outcome::Failed { .. } => None,
        };
        let tally = if of_candidate {
            &mut self.own
        } else {
            &mut self.other
        };
        tally.add(kind, seen.as_ref());
        if kind == Kind::OfOthers || self.breach.is_some() {
            return None;
        }
        if of_candidate {
            self.began.get_or_insert(now);
        }
        let to_be_looked_at = match &mut self.against {
            Against::Other { tests, .. } => tests.add(of_candidate, kind, seen),
            Against::Baseline { tests } => {
                if let Some(seen) = &seen {
                    tests.add(seen);
                }
                true
            }
        };
        // Between blocks nothing but the candidate's own failures adds up.
        let failed = of_candidate && kind != Kind::Answered;
        if !to_be_looked_at && !failed {
            return None;
        }
        let (bound, ln_evidence) = self.passed()?;
        let breach = Breach {
            bound,
            n_candidate: self.own.n_calls,
            n_other: self.other.n_calls,
            after: now.since(self.began.unwrap_or(now)),
            ln_evidence,
        };
        self.breach = Some(breach.clone());
        Some(breach)
    }

    /// To be told when the canary's share changes: calls that are taken together must have
    /// been dealt by one share.
    pub fn share_changed(&mut self) {
        if let Against::Other { tests, .. } = &mut self.against {
            tests.begin_anew();
        }
    }

    /// Whom it watches.
    #[must_use]
    pub const fn candidate(&self) -> RevisionId {
        self.candidate
    }

    /// The breach, once there was one.
    #[must_use]
    pub const fn breach(&self) -> Option<&Breach> {
        self.breach.as_ref()
    }

    /// Where the revision stands.
    #[must_use]
    pub fn standing(&self, now: Moment) -> Standing {
        let baked = |began| now.since(began) >= self.settings.bake();
        if self.breach.is_some() {
            Standing::Breached
        } else if self.own.n_calls >= self.settings.bake_calls && self.began.is_some_and(baked) {
            Standing::Settled
        } else {
            Standing::Watched
        }
    }

    /// Calls of the candidate, and of the other side, that count; and calls that the host
    /// or the caller failed, which do not.
    #[must_use]
    pub const fn n_calls(&self) -> (u64, u64, u64) {
        let of_others = self.own.n_of_others + self.other.n_of_others;
        (self.own.n_calls, self.other.n_calls, of_others)
    }

    /// What the live revision was like: what a canary that is promoted is compared with
    /// from then on.
    #[must_use]
    pub fn baseline(&self) -> Baseline {
        let tally = match &self.against {
            Against::Other { .. } => &self.other,
            Against::Baseline { .. } => &self.own,
        };
        Baseline {
            watched: self.watched.clone(),
            tally: tally.clone(),
        }
    }

    /// Whether it is the candidate's call; none when it is nobody's here.
    fn side(&self, observation: &Observation<'_>) -> Option<bool> {
        let drawn = observation.arm != Arm::Pinned;
        let is_candidate = observation.revision == self.candidate;
        match &self.against {
            _ if !drawn => None,
            _ if is_candidate => Some(true),
            Against::Other { other, .. } if observation.revision == *other => Some(false),
            _ => None,
        }
    }

    /// The first bound that is passed, with its evidence.
    fn passed(&self) -> Option<(Bound, f64)> {
        let failing = [Failing::Faults, Failing::DeadlineMisses].into_iter();
        let failing = failing.filter_map(|failing| self.too_much(failing)).next();
        failing
            .or_else(|| self.too_slow())
            .or_else(|| self.other_verdicts())
            .or_else(|| (0..self.watched.len()).find_map(|label| self.other_scores(label)))
    }

    fn slowdown(&self) -> f64 {
        match &self.against {
            Against::Other { .. } => self.settings.slowdown,
            Against::Baseline { .. } => self.settings.baseline_slowdown,
        }
    }

    fn verdict_odds(&self) -> f64 {
        match &self.against {
            Against::Other { .. } => self.settings.verdict_odds,
            Against::Baseline { .. } => self.settings.baseline_odds,
        }
    }

    /// The evidence that a comparison needs. After a baseline, half is spent on the
    /// baseline's own rates.
    fn enough(&self) -> f64 {
        match &self.against {
            Against::Other { .. } => -self.settings.per_bound().ln(),
            Against::Baseline { .. } => -(self.settings.per_bound() / 2.0).ln(),
        }
    }
}
