//! What an operator, or a guard, does to a lineup. Each verb is a function from a lineup
//! to the one of the next generation; a refusal changes nothing and says the way out.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::lineup::word;
use super::{DetectorLineup, End, Lineup, MAX_DETECTORS, MAX_REVISIONS, Share, Stage, Staged};
use crate::excerpt::{NAME_CHARS, printable};
use crate::revision::RevisionId;
use crate::signal::DetectorId;

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
    /// that is retired.
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
    /// Who was live before answers again, and who is live is retired.
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

/// Why a verb was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
#[expect(
    missing_docs,
    reason = "the message of each variant is its documentation"
)]
pub enum Refusal {
    #[error("the lineup has no detector `{detector}`; load a revision of it first")]
    UnknownDetector { detector: String },
    #[error("detector `{detector}` has no revision {revision}; load it first")]
    UnknownRevision { detector: String, revision: String },
    #[error("revision {revision} of `{detector}` is retired; load it first")]
    Retired { detector: String, revision: String },
    #[error("revision {revision} of `{detector}` is {stage} already; there is nothing to do")]
    NothingChanges {
        detector: String,
        revision: String,
        stage: String,
    },
    #[error(
        "revision {revision} of `{detector}` is live; promote another one or roll back, and it leaves that place"
    )]
    IsLive { detector: String, revision: String },
    #[error("revision {revision} of `{detector}` is only loaded; retire it instead")]
    OnlyLoaded { detector: String, revision: String },
    #[error("revision {revision} of `{detector}` is a {stage}; abort it instead")]
    StillTried {
        detector: String,
        revision: String,
        stage: String,
    },
    #[error("`{detector}` has no live revision to stand beside; promote one first")]
    NobodyLive { detector: String },
    #[error(
        "`{detector}` has no previous live revision that is still loaded; load the one to go back to and promote it"
    )]
    NoPrevious { detector: String },
    #[error(
        "no previous live revision of `{detector}` answers for a share; there is nothing to settle"
    )]
    NoControl { detector: String },
    #[error("`{detector}` has two canaries, {canaries}; abort one of them first")]
    TwoCanaries { detector: String, canaries: String },
    #[error(
        "a share of {wanted} does not fit beside the other canary of `{detector}`; give at most {room}"
    )]
    NoRoom {
        detector: String,
        wanted: Share,
        room: Share,
    },
    #[error("`{detector}` has {MAX_REVISIONS} revisions and none is retired; retire one first")]
    TooManyRevisions { detector: String },
    #[error("the lineup has {MAX_DETECTORS} detectors; give this one to another host")]
    TooManyDetectors,
    #[error("{what}")]
    DetectorName { what: String },
    #[error("generation {generation} is the last there is; write a lineup that begins anew")]
    LastGeneration { generation: u64 },
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
            | Self::Retire { detector, .. } => detector,
        }
    }

    /// The lineup of the next generation, and what is different in it.
    ///
    /// # Errors
    ///
    /// What stands in the way, and how to go on. `lineup` is what it was in any case.
    pub fn apply(&self, lineup: &Lineup) -> Result<(Lineup, Transition), Refusal> {
        let mut next = lineup.clone();
        // A file holds it as TOML's integer.
        let generation = lineup.generation + 1;
        if i64::try_from(generation).is_err() {
            return Err(Refusal::LastGeneration {
                generation: lineup.generation,
            });
        }
        next.generation = generation;
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
        let changes = changes(&before.unwrap_or_default(), &step.detector);
        next.detectors.insert(id.clone(), step.detector);
        let transition = Transition {
            generation,
            detector: id.clone(),
            changes,
        };
        Ok((next, transition))
    }
}

/// One detector's part while a verb changes it.
struct Step {
    /// Fit to be shown.
    name: String,
    detector: DetectorLineup,
}

impl Step {
    fn take(&mut self, verb: &Verb) -> Result<(), Refusal> {
        match verb {
            Verb::Load { revision, .. } => self.load(*revision),
            Verb::Shadow { revision, .. } => self.shadow(*revision),
            Verb::Canary {
                revision, share, ..
            } => self.canary(*revision, *share),
            Verb::Promote {
                revision, control, ..
            } => self.promote(*revision, *control),
            Verb::Settle { .. } => self.settle(),
            Verb::Rollback { .. } => self.rollback(),
            Verb::Abort { revision, .. } => self.abort(*revision),
            Verb::Retire { revision, .. } => self.retire(*revision),
        }
    }

    fn load(&mut self, revision: RevisionId) -> Result<(), Refusal> {
        match self.detector.stage(revision) {
            Some(Stage::Retired) => {}
            Some(stage) => return Err(self.nothing_changes(revision, stage)),
            None if self.detector.revisions.len() == MAX_REVISIONS => self.forget_one()?,
            None => {}
        }
        self.set(revision, Stage::Loaded);
        Ok(())
    }

    fn shadow(&mut self, revision: RevisionId) -> Result<(), Refusal> {
        match self.ready(revision)? {
            Stage::Live => Err(self.is_live(revision)),
            Stage::Shadow => Err(self.nothing_changes(revision, Stage::Shadow)),
            _ => {
                self.live()?;
                self.set(revision, Stage::Shadow);
                Ok(())
            }
        }
    }

    fn canary(&mut self, revision: RevisionId, share: Share) -> Result<(), Refusal> {
        let stage = self.ready(revision)?;
        if stage == Stage::Live {
            return Err(self.is_live(revision));
        }
        self.live()?;
        let free = self.room(revision, share)?;
        // One that is a canary already keeps its end, or its keys would move.
        let end = match stage {
            Stage::Canary { end, .. } => end,
            _ => free,
        };
        let wanted = Stage::Canary { share, end };
        if stage == wanted {
            return Err(self.nothing_changes(revision, stage));
        }
        self.set(revision, wanted);
        Ok(())
    }

    /// The end from which `revision` may take a share, beside the canaries that others are.
    fn room(&self, revision: RevisionId, share: Share) -> Result<End, Refusal> {
        let others = self.detector.canaries().filter(|other| other.0 != revision);
        let others: Vec<_> = others.collect();
        if let [one, two, ..] = others[..] {
            return Err(Refusal::TwoCanaries {
                detector: self.name.clone(),
                canaries: format!("{} and {}", one.0.short(), two.0.short()),
            });
        }
        let room = others.first().map_or(Share::WHOLE, |other| other.1.rest());
        if share > room {
            return Err(Refusal::NoRoom {
                detector: self.name.clone(),
                wanted: share,
                room,
            });
        }
        Ok(match others.first() {
            Some((_, _, End::Low)) => End::High,
            _ => End::Low,
        })
    }

    fn promote(&mut self, revision: RevisionId, control: Share) -> Result<(), Refusal> {
        if self.ready(revision)? == Stage::Live {
            return Err(self.nothing_changes(revision, Stage::Live));
        }
        if control > Share::NONE {
            self.live()?;
        }
        if let Some(live) = self.detector.live() {
            let stays = if control > Share::NONE {
                // The new one's own keys, if it was a canary, are free from now on.
                Stage::Canary {
                    share: control,
                    end: self.room(revision, control)?,
                }
            } else {
                Stage::Loaded
            };
            let older = self.detector.previous.replace(live);
            self.set(live, stays);
            let is_idle = |older: &RevisionId| self.detector.stage(*older) == Some(Stage::Loaded);
            if let Some(older) = older.filter(|older| *older != revision).filter(is_idle) {
                self.set(older, Stage::Retired);
            }
        } else {
            self.detector.previous = None;
        }
        self.set(revision, Stage::Live);
        Ok(())
    }

    fn settle(&mut self) -> Result<(), Refusal> {
        let previous = self.detector.previous;
        let is_control = |previous: &RevisionId| {
            matches!(self.detector.stage(*previous), Some(Stage::Canary { .. }))
        };
        let control = previous
            .filter(is_control)
            .ok_or_else(|| Refusal::NoControl {
                detector: self.name.clone(),
            })?;
        self.set(control, Stage::Loaded);
        Ok(())
    }

    fn rollback(&mut self) -> Result<(), Refusal> {
        let live = self.live()?;
        let previous = self
            .detector
            .previous
            .take()
            .ok_or_else(|| Refusal::NoPrevious {
                detector: self.name.clone(),
            })?;
        self.set(live, Stage::Retired);
        self.set(previous, Stage::Live);
        Ok(())
    }

    fn abort(&mut self, revision: RevisionId) -> Result<(), Refusal> {
        match self.ready(revision)? {
            Stage::Live => Err(self.is_live(revision)),
            Stage::Loaded | Stage::Retired => Err(Refusal::OnlyLoaded {
                detector: self.name.clone(),
                revision: revision.short(),
            }),
            Stage::Shadow | Stage::Canary { .. } => {
                self.put_away(revision);
                Ok(())
            }
        }
    }

    fn retire(&mut self, revision: RevisionId) -> Result<(), Refusal> {
        match self.ready(revision)? {
            Stage::Live => Err(self.is_live(revision)),
            stage @ (Stage::Shadow | Stage::Canary { .. }) => Err(Refusal::StillTried {
                detector: self.name.clone(),
                revision: revision.short(),
                stage: stage.to_string(),
            }),
            Stage::Loaded | Stage::Retired => {
                self.put_away(revision);
                Ok(())
            }
        }
    }

    /// The stage of a revision that could answer at once.
    fn ready(&self, revision: RevisionId) -> Result<Stage, Refusal> {
        let (detector, shown) = (self.name.clone(), revision.short());
        match self.detector.stage(revision) {
            Some(Stage::Retired) => Err(Refusal::Retired {
                detector,
                revision: shown,
            }),
            Some(stage) => Ok(stage),
            None => Err(Refusal::UnknownRevision {
                detector,
                revision: shown,
            }),
        }
    }

    fn live(&self) -> Result<RevisionId, Refusal> {
        let live = self.detector.live();
        live.ok_or_else(|| Refusal::NobodyLive {
            detector: self.name.clone(),
        })
    }

    /// Retires a revision that nobody can go back to from now on.
    fn put_away(&mut self, revision: RevisionId) {
        self.set(revision, Stage::Retired);
        self.detector.previous = self
            .detector
            .previous
            .filter(|previous| *previous != revision);
    }

    fn set(&mut self, revision: RevisionId, stage: Stage) {
        let revisions = &mut self.detector.revisions;
        let is_it = |staged: &Staged| staged.revision == revision;
        match revisions.iter().position(is_it) {
            // What comes or goes begins a new life at the end.
            Some(at) if stage == Stage::Retired || revisions[at].stage == Stage::Retired => {
                revisions.remove(at);
                revisions.push(Staged { revision, stage });
            }
            Some(at) => revisions[at].stage = stage,
            None => revisions.push(Staged { revision, stage }),
        }
        revisions.sort_by_key(|staged| staged.stage == Stage::Retired);
    }

    /// Makes room by forgetting who has been retired for longest.
    fn forget_one(&mut self) -> Result<(), Refusal> {
        let revisions = &mut self.detector.revisions;
        let retired = |staged: &Staged| staged.stage == Stage::Retired;
        let oldest = revisions.iter().position(retired);
        let oldest = oldest.ok_or_else(|| Refusal::TooManyRevisions {
            detector: self.name.clone(),
        })?;
        revisions.remove(oldest);
        Ok(())
    }

    fn nothing_changes(&self, revision: RevisionId, stage: Stage) -> Refusal {
        let stage = match stage {
            Stage::Canary { share, .. } => format!("a canary of {share}"),
            _ => stage.to_string(),
        };
        Refusal::NothingChanges {
            detector: self.name.clone(),
            revision: revision.short(),
            stage,
        }
    }

    fn is_live(&self, revision: RevisionId) -> Refusal {
        Refusal::IsLive {
            detector: self.name.clone(),
            revision: revision.short(),
        }
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
        Ok(())
    }
}

#[cfg(test)]
mod tests;
