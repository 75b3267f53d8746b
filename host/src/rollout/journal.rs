//! The journal: what happened to the lineup, one line of JSON per entry, each with a
//! checksum (`summed.rs`). Here is its form; `registry` writes it.
//!
//! ```text
//! {"sum":"0123456789abcdef","entry":{"at":1,"event":"lineup",…}}
//! ```

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::guard::Breach;
use super::quarantine::QuarantineChange;
use super::{Effect, LineupDigest, Moment, PolicyDigest, Transition, Verb};
use crate::revision::RevisionId;
use crate::signal::DetectorId;
use crate::summed;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When.
    pub at: Moment,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// What can happen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A lineup takes effect. The last entry of this kind says which lineup is confirmed.
    Lineup {
        /// Its generation.
        generation: u64,
        /// Its content.
        lineup: LineupDigest,
        /// Why there is a new one.
        cause: Cause,
    },
    /// This host took a revision out by itself.
    TakenOut {
        /// Effect of which generation.
        generation: u64,
        /// Whose revision.
        detector: DetectorId,
        /// Which.
        revision: RevisionId,
        /// What that came to.
        #[serde(flatten)]
        effect: Effect,
        /// Which bound it passed.
        breach: Breach,
    },
    /// A detector is left alone, or serves again.
    Quarantine {
        /// Which.
        detector: DetectorId,
        /// Which build of it.
        revision: RevisionId,
        /// What changed.
        #[serde(flatten)]
        change: QuarantineChange,
    },
}

/// Why there is a new lineup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "kebab-case")]
pub enum Cause {
    /// Somebody gave one whole.
    Given {
        /// Who, in words, such as the file that it came from.
        origin: String,
    },
    /// A file that the host watches gave one whole.
    File {
        /// Which.
        file: String,
    },
    /// Another policy decides.
    Policy {
        /// Which.
        policy: PolicyDigest,
    },
    /// A step was taken.
    Verb {
        /// Which.
        step: Verb,
        /// What it changed.
        transition: Transition,
    },
}

impl Cause {
    /// Whether a whole lineup was given, which says of every detector what is wanted.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        matches!(self, Self::Given { .. } | Self::File { .. })
    }

    /// Whether all that was there before is there still.
    #[must_use]
    pub const fn adds_only(&self) -> bool {
        match self {
            Self::Policy { .. } => true,
            Self::Verb { step, .. } => matches!(step, Verb::Load { .. }),
            Self::Given { .. } | Self::File { .. } => false,
        }
    }
}

/// What a journal's bytes hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// Every entry, in order.
    pub entries: Vec<Entry>,
    /// Bytes up to the end of the last entry. What is behind them was being written when
    /// the host ended, and never took effect.
    pub n_good_bytes: usize,
}

/// A journal that was damaged after it had been written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line} {what}; put the file back from a copy, or move it away to begin anew")]
pub struct JournalError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

/// What the content of a line is called.
const ENTRY: &str = "entry";

impl Decoded {
    /// The generation and the digest of the lineup that took effect last.
    #[must_use]
    pub fn confirmed(&self) -> Option<(u64, LineupDigest)> {
        self.entries
            .iter()
            .rev()
            .find_map(|entry| match &entry.event {
                Event::Lineup {
                    generation, lineup, ..
                } => Some((*generation, *lineup)),
                _ => None,
            })
    }
}

/// The line of an entry, its end included.
#[must_use]
#[expect(clippy::missing_panics_doc, reason = "a test shows that it does not")]
pub fn encode(entry: &Entry) -> String {
    let entry = serde_json::to_string(entry).expect("names and finite numbers are JSON");
    summed::line(ENTRY, &entry)
}

/// The entries of a journal, up to a tail that a crash may have left behind.
///
/// # Errors
///
/// A line that is no entry and is no tail either, for whole entries follow it; and an entry
/// that was written whole yet means nothing to this host.
pub fn decode(bytes: &[u8]) -> Result<Decoded, JournalError> {
    let mut decoded = Decoded {
        entries: Vec::new(),
        n_good_bytes: 0,
    };
    let mut damaged: Option<JournalError> = None;
    let mut at = 0;
    for (number, line) in (1..).zip(bytes.split_inclusive(|byte| *byte == b'\n')) {
        at += line.len();
        match (summed::json(ENTRY, line), &damaged) {
            (Some(_), Some(damaged)) => return Err(damaged.clone()),
            (None, Some(_)) => {}
            (None, None) => {
                let what = "is damaged, and whole entries follow it".to_owned();
                damaged = Some(JournalError { line: number, what });
            }
            (Some(text), None) => match serde_json::from_str(text) {
                Ok(entry) => {
                    decoded.entries.push(entry);
                    decoded.n_good_bytes = at;
                }
                Err(error) => {
                    let what =
                        format!("is whole but of another version ({error}), or was made by hand");
                    return Err(JournalError { line: number, what });
                }
            },
        }
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests;
