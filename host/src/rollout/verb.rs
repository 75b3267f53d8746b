//! What an operator, or a guard, does to a lineup. Each verb is a function from a lineup
//! to the one of the next generation; a refusal changes nothing and says the way out.

mod refusal;
mod step;

use std::fmt;

use serde::{Deserialize, Serialize};

use super::lineup::word;
pub use refusal::Refusal;

use super::{DetectorLineup, Lineup, MAX_ALL_PINS, MAX_DETECTORS, Share, Stage, Staged};
use crate::excerpt::{NAME_CHARS, printable};
use crate::revision::RevisionId;
use crate::signal::DetectorId;
use step::Step;

/// A step of a detector's rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the two names say what they hold in each")]
pub enum Verb {
    /// A new or retired revision becomes ready to answer. The caller has loaded it, and
    /// has seen its golden cases pass.
    Load {
        detector: DetectorId,
        revision: RevisionId,
    },
    /// A loaded revision, or a canary, is asked in the shadow of the live one.
    Shadow {
        detector: DetectorId,
        revision: RevisionId,
    },
    /// A loaded revision, or a shadow, answers for a share of keys; a canary's share
    /// becomes another.
    Canary {
        detector: DetectorId,
        revision: RevisionId,
        share: Share,
    },
    /// A revision that is ready answers for every key that no other canary answers for.
    /// Who was live stays loaded, so that it can be gone back to; who was live before
    /// that is retired, or stays loaded while a key is pinned to it.
    ///
    /// With a `control`, who was live keeps that share of keys, so that the new one can be
    /// watched beside it, until the detector is settled.
    Promote {
        detector: DetectorId,
        revision: RevisionId,
        #[serde(default, skip_serializing_if = "is_none")]
        control: Share,
    },
    /// The control answers no more, and stays loaded.
    Settle { detector: DetectorId },
    /// Who was live before answers again, and who is live is retired, or stays loaded while
    /// a key is pinned to it: a way back must not wait until pins are gone.
    Rollback { detector: DetectorId },
    /// A shadow or canary is retired: it was found wanting.
    Abort {
        detector: DetectorId,
        revision: RevisionId,
    },
    /// A loaded revision is retired: it is not needed any more.
    Retire {
        detector: DetectorId,
        revision: RevisionId,
    },
    /// A revision that is ready answers for one key, whatever the rollout says, and is not
    /// retired as long as it does.
    Pin {
        detector: DetectorId,
        revision: RevisionId,
        key: String,
    },
    /// The rollout says again who answers for a key.
    Unpin { detector: DetectorId, key: String },
}

/// What a verb changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// The generation that it led to.
    pub generation: u64,
    /// Whose revisions changed.
    pub detector: DetectorId,
    /// Every revision whose stage changed.
    pub changes: Vec<Change>,
    /// The pin that changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<PinChange>,
}

/// A key that is pinned otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinChange {
    /// Which.
    pub key: String,
    /// Who was named for it.
    pub from: Option<RevisionId>,
    /// Who is named for it.
    pub to: Option<RevisionId>,
}

/// A revision that came to another stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Which.
    pub revision: RevisionId,
    /// The stage that it had; none for one that is new.
    pub from: Option<Stage>,
    /// The stage that it has; none for one that is forgotten.
    pub to: Option<Stage>,
}

impl Verb {
    /// Whose revisions it changes.
    #[must_use]
    pub const fn detector(&self) -> &DetectorId {
        match self {
            Self::Load { detector, .. }
            | Self::Shadow { detector, .. }
            | Self::Canary { detector, .. }
            | Self::Promote { detector, .. }
            | Self::Settle { detector }
            | Self::Rollback { detector }
            | Self::Abort { detector, .. }
            | Self::Retire { detector, .. }
            | Self::Pin { detector, .. }
            | Self::Unpin { detector, .. } => detector,
        }
    }

    /// What it is called.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Load { .. } => "load",
            Self::Shadow { .. } => "shadow",
            Self::Canary { .. } => "canary",
            Self::Promote { .. } => "promote",
            Self::Settle { .. } => "settle",
            Self::Rollback { .. } => "rollback",
            Self::Abort { .. } => "abort",
            Self::Retire { .. } => "retire",
            Self::Pin { .. } => "pin",
            Self::Unpin { .. } => "unpin",
        }
    }

    /// The lineup of the next generation, and what is different in it.
    ///
    /// # Errors
    ///
    /// What stands in the way, and how to go on. `lineup` is what it was in any case.
    pub fn apply(&self, lineup: &Lineup) -> Result<(Lineup, Transition), Refusal> {
        let mut next = lineup.next_generation()?;
        let id = self.detector();
        let name = printable(id.as_str(), NAME_CHARS);
        let before = lineup.detectors.get(id).cloned();
        let after = match (&before, self) {
            (Some(before), _) => before.clone(),
            (None, Self::Load { .. }) => {
                word("a detector's name", id.as_str())
                    .map_err(|what| Refusal::DetectorName { what })?;
                if lineup.detectors.len() == MAX_DETECTORS {
                    return Err(Refusal::TooManyDetectors);
                }
                DetectorLineup::default()
            }
            (None, _) => return Err(Refusal::UnknownDetector { detector: name }),
        };
        let mut step = Step {
            name,
            detector: after,
        };
        step.take(self)?;
        let before = before.unwrap_or_default();
        let transition = Transition {
            generation: next.generation,
            detector: id.clone(),
            changes: changes(&before, &step.detector),
            pin: self.pin_change(&before, &step.detector),
        };
        next.detectors.insert(id.clone(), step.detector);
        if next.n_pins() > MAX_ALL_PINS {
            return Err(Refusal::TooManyPinsInAll);
        }
        Ok((next, transition))
    }

    fn pin_change(&self, before: &DetectorLineup, after: &DetectorLineup) -> Option<PinChange> {
        let (Self::Pin { key, .. } | Self::Unpin { key, .. }) = self else {
            return None;
        };
        Some(PinChange {
            key: key.clone(),
            from: before.pin(key),
            to: after.pin(key),
        })
    }
}

fn is_none(share: &Share) -> bool {
    *share == Share::NONE
}

/// Every revision whose stage differs, those that are forgotten included.
fn changes(before: &DetectorLineup, after: &DetectorLineup) -> Vec<Change> {
    let forgotten = before
        .revisions
        .iter()
        .filter(|staged| after.stage(staged.revision).is_none());
    let revisions = after.revisions.iter().chain(forgotten);
    let change = |staged: &Staged| Change {
        revision: staged.revision,
        from: before.stage(staged.revision),
        to: after.stage(staged.revision),
    };
    revisions
        .map(change)
        .filter(|change| change.from != change.to)
        .collect()
}

impl fmt::Display for Transition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = printable(self.detector.as_str(), NAME_CHARS);
        write!(f, "generation {}: `{name}`", self.generation)?;
        for (at, change) in self.changes.iter().enumerate() {
            let word = |stage: Option<Stage>, none| stage.map_or(none, Stage::as_str);
            let comma = if at == 0 { "" } else { "," };
            let (from, to) = (word(change.from, "new"), word(change.to, "forgotten"));
            write!(f, "{comma} {} {from} → {to}", change.revision.short())?;
            if let Some(Stage::Canary { share, .. }) = change.to {
                write!(f, " {share}")?;
            }
        }
        self.pin.as_ref().map_or(Ok(()), |pin| write!(f, " {pin}"))
    }
}

impl fmt::Display for PinChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = printable(&self.key, NAME_CHARS);
        let word = |revision: Option<RevisionId>| match revision {
            Some(revision) => revision.short(),
            None => "nobody".to_owned(),
        };
        write!(f, "pin `{key}` {} → {}", word(self.from), word(self.to))
    }
}

#[cfg(test)]
mod tests;
