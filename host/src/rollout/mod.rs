//! The rollout: which revision of a detector answers for whom, and who is taken out.
//!
//! Everything here is a decision and nothing an action. A decision is a function of a
//! state, what is observed and the time, which is given in as a [`Moment`]: no clock, no
//! file, no thread. `registry` keeps what must survive, `pipeline` asks.
//!
//! | question | answered by |
//! |---|---|
//! | what is wanted | [`Lineup`], one TOML file |
//! | what comes next | a [`Verb`] applied to a lineup |
//! | who answers for this key | [`Lineup::assign`] |
//! | is the new revision worse | [`guard::Guard`] |
//! | is the new revision different | [`shadow::Comparison`] |
//! | may a failing detector be called | [`quarantine::Quarantine`] |
//! | what happened | [`journal`] |

pub mod guard;
pub mod journal;
mod lineup;
mod local;
mod moment;
pub mod quarantine;
pub mod shadow;
mod share;
mod split;
mod verb;

pub use lineup::{
    DetectorLineup, End, Lineup, LineupDigest, LineupError, MAX_ALL_PINS, MAX_BYTES, MAX_DETECTORS,
    MAX_PINS, MAX_REVISIONS, MAX_WORD_CHARS, Stage, Staged,
};
pub use local::{Effect, LocalAborts};
pub use moment::Moment;
pub use share::{Share, ShareError};
pub use split::{Arm, Assignment, Position};
pub use verb::{Change, PinChange, Refusal, Transition, Verb};

pub use crate::policy::PolicyDigest;
