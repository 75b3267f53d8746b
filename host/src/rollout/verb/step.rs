//! One detector's step: what each verb asks for, and what it does to the stages.

use super::{Refusal, Verb, word};
use crate::excerpt::{NAME_CHARS, printable};
use crate::revision::RevisionId;
use crate::rollout::{DetectorLineup, End, MAX_PINS, MAX_REVISIONS, Share, Stage, Staged};

/// One detector's part while a verb changes it.
pub(super) struct Step {
    /// Fit to be shown.
    pub(super) name: String,
    pub(super) detector: DetectorLineup,
}

impl Step {
    pub(super) fn take(&mut self, verb: &Verb) -> Result<(), Refusal> {
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
            Verb::Pin { revision, key, .. } => self.pin(*revision, key),
            Verb::Unpin { key, .. } => self.unpin(key),
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
                self.leave(older);
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
        self.leave(live);
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
            Stage::Shadow | Stage::Canary { .. } => self.put_away(revision),
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
            Stage::Loaded | Stage::Retired => self.put_away(revision),
        }
    }

    fn pin(&mut self, revision: RevisionId, key: &str) -> Result<(), Refusal> {
        word("a pin's key", key).map_err(|what| Refusal::PinKey { what })?;
        self.ready(revision)?;
        let pinned = self.detector.pin(key);
        if pinned == Some(revision) {
            return Err(Refusal::PinnedAlready {
                detector: self.name.clone(),
                revision: revision.short(),
                key: printable(key, NAME_CHARS),
            });
        }
        if pinned.is_none() && self.detector.pins.len() == MAX_PINS {
            return Err(Refusal::TooManyPins {
                detector: self.name.clone(),
            });
        }
        self.detector.pins.insert(key.to_owned(), revision);
        Ok(())
    }

    fn unpin(&mut self, key: &str) -> Result<(), Refusal> {
        let unpinned = self.detector.pins.remove(key);
        unpinned.map(|_| ()).ok_or_else(|| Refusal::NotPinned {
            detector: self.name.clone(),
            key: printable(key, NAME_CHARS),
        })
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

    /// Retires a revision that nobody can go back to from now on, unless a key is pinned to
    /// it.
    fn put_away(&mut self, revision: RevisionId) -> Result<(), Refusal> {
        if let Some(keys) = self.detector.pins_in_words(revision) {
            return Err(Refusal::Pinned {
                detector: self.name.clone(),
                revision: revision.short(),
                keys,
            });
        }
        self.set(revision, Stage::Retired);
        self.detector.previous = self
            .detector
            .previous
            .filter(|previous| *previous != revision);
        Ok(())
    }

    /// Retires a revision that another has taken the place of. While a key is pinned to it,
    /// it stays loaded instead: what is promoted or rolled back does not wait for pins.
    fn leave(&mut self, revision: RevisionId) {
        let stage = match self.detector.is_pinned(revision) {
            true => Stage::Loaded,
            false => Stage::Retired,
        };
        self.set(revision, stage);
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
