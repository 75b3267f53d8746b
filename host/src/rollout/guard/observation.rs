//! What a guard is told of one call.

use core::time::Duration;

use crate::blame::Blame;
use crate::policy::Action;
use crate::revision::RevisionId;
use crate::rollout::Arm;
use crate::signal::{Label, Probability};

/// One call that has ended, of either arm.
///
/// Tell every call of both arms, in the order in which they end: what is compared is
/// neighbours in time.
/// The answer of a live revision that steps in for a canary which failed was not drawn: do
/// not tell it, or the live arm gets all the items that are hard.
#[derive(Debug, Clone, Copy)]
pub struct Observation<'a> {
    /// Who was asked.
    pub revision: RevisionId,
    /// Why it was asked. What was pinned was not drawn, and is passed over.
    pub arm: Arm,
    /// How it ended.
    pub outcome: Outcome<'a>,
}

/// How a call ended.
#[derive(Debug, Clone, Copy)]
pub enum Outcome<'a> {
    /// With an answer.
    Answered(Answer<'a>),
    /// Without. Only what the guest is to blame for counts.
    Failed {
        /// Who is to blame.
        blame: Blame,
        /// Whether it was ended at its deadline.
        missed_deadline: bool,
    },
}

/// What a call answered.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// How long the call took. Leave out what the host spent on its own account, such as
    /// waiting for a place.
    pub took: Duration,
    /// What became of the item; none when nobody decided on it.
    pub action: Option<Action>,
    /// The calibrated answers.
    pub probabilities: &'a [(Label, Probability)],
}
