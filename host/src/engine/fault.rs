//! Why a detector gave no answer, and who is to blame.

use std::fmt;
use std::time::Duration;

pub use crate::blame::Blame;
use crate::excerpt::printable;

use super::bindings::trommel::detector::failures::Failure as RawFailure;

/// A typed failure that crosses the contract; see `wit/failures.wit`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// One of the contract's codes, or the plugin's own.
    pub code: String,
    /// What went wrong.
    pub what: String,
    /// Where; may be empty.
    pub place: String,
    /// How to mend it; may be empty.
    pub hint: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.what)?;
        if !self.place.is_empty() {
            write!(f, " ({})", self.place)?;
        }
        if !self.hint.is_empty() {
            write!(f, "; {}", self.hint)?;
        }
        Ok(())
    }
}

impl From<RawFailure> for Failure {
    /// Kept short: it goes into verdicts and logs, and a guest wrote it.
    fn from(raw: RawFailure) -> Self {
        let short = |text: String| printable(&text, 256);
        Self {
            code: short(raw.code),
            what: short(raw.what),
            place: short(raw.where_),
            hint: short(raw.hint),
        }
    }
}

/// Why one call gave no answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The guest was still computing when its time was up.
    #[error(
        "was still computing when its {budget:?} were up; do less per item or ask for a longer deadline"
    )]
    Spun {
        /// The time it had.
        budget: Duration,
    },
    /// Time was up before the guest had its fair share of a core.
    #[error(
        "got {ran:?} of a core within its {budget:?}; send the host less, or give the item more time"
    )]
    Starved {
        /// How long the guest ran, to the tick.
        ran: Duration,
        /// The time it had.
        budget: Duration,
    },
    /// Time was up while the guest waited for the host.
    #[error(
        "its {budget:?} were up while it waited for {waited_for}; send the host less, or give the item more time"
    )]
    TimedOut {
        /// What it waited for.
        waited_for: &'static str,
        /// The time it had.
        budget: Duration,
    },
    /// Time was up while the guest waited for one more run of a model, of far too
    /// many.
    #[error(
        "had run models {n_runs} times when its share of the device or its {budget:?} were up; run them on more rows at once, or ask for a longer deadline"
    )]
    RanOn {
        /// Runs that were answered.
        n_runs: u32,
        /// The time it had in all.
        budget: Duration,
    },
    /// The guest trapped.
    #[error("trapped: {reason}{}", said(.last_words))]
    Trapped {
        /// What the sandbox says of it.
        reason: String,
        /// The last line it logged as an error, such as a panic's message.
        last_words: Option<String>,
    },
    /// The guest wanted more memory or table than it may have.
    #[error("wants {wanted} {unit}, its limit is {limit}; hold less")]
    Grew {
        /// What it would have then.
        wanted: usize,
        /// What it may have.
        limit: usize,
        /// `bytes of memory` or `table elements`.
        unit: &'static str,
    },
    /// The guest wrote findings that break a promise of the contract.
    #[error("{0}")]
    BrokenPromise(String),
    /// The guest answered a failure of its own, or caused by what it asked for.
    #[error("declined, {0}")]
    Declined(Failure),
    /// The guest passed on a failure that the item caused, such as an image that
    /// does not decode.
    #[error("declined the item, {0}")]
    DeclinedItem(Failure),
    /// The guest passed on a failure of the host.
    #[error("could not go on, {0}")]
    PassedOn(Failure),
    /// Every place was taken until the deadline, or the pool had no slot.
    #[error("{0}; send less, or give the host more room")]
    Overloaded(String),
    /// The host failed.
    #[error("the host failed: {0}")]
    Host(String),
}

impl Fault {
    /// Who is to blame.
    pub fn blame(&self) -> Blame {
        match self {
            Self::Spun { .. }
            | Self::RanOn { .. }
            | Self::Trapped { .. }
            | Self::Grew { .. }
            | Self::BrokenPromise(_)
            | Self::Declined(_) => Blame::Guest,
            Self::DeclinedItem(_) => Blame::Caller,
            Self::Starved { .. }
            | Self::TimedOut { .. }
            | Self::PassedOn(_)
            | Self::Overloaded(_)
            | Self::Host(_) => Blame::Host,
        }
    }
}

fn said(last_words: &Option<String>) -> String {
    match last_words {
        Some(words) => format!(", after it said: {words}"),
        None => String::new(),
    }
}
