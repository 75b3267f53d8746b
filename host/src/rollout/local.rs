//! What this host took out by itself. A guard sees one host's traffic, so its abort is
//! this host's own: it holds until somebody has decided about that detector anew.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::journal::{Cause, Entry, Event};
use super::{Lineup, Stage, Verb};
use crate::revision::RevisionId;
use crate::signal::DetectorId;

/// The revisions that this host took out of one generation of the lineup.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LocalAborts {
    generation: u64,
    out: BTreeSet<(DetectorId, RevisionId)>,
}

/// What taking a revision out comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "effect", rename_all = "kebab-case")]
pub enum Effect {
    /// A canary or shadow is asked no more; the live revision answers for its keys.
    Aborted,
    /// The live revision is asked no more.
    RolledBack {
        /// Who was live before, and answers again.
        to: RevisionId,
    },
    /// It stays, for nobody else is there to answer; a person must look.
    Stays,
}

impl LocalAborts {
    /// Takes a revision out of `lineup`. What was taken out of another generation, and not
    /// carried into this one, is forgotten.
    pub fn take_out(
        &mut self,
        lineup: &Lineup,
        detector: &DetectorId,
        revision: RevisionId,
    ) -> Effect {
        if self.generation != lineup.generation() {
            *self = Self {
                generation: lineup.generation(),
                out: BTreeSet::new(),
            };
        }
        let Some(stages) = lineup.detectors.get(detector) else {
            return Effect::Stays;
        };
        let out = match stages.stage(revision) {
            Some(Stage::Shadow | Stage::Canary { .. }) => Effect::Aborted,
            Some(Stage::Live) => match stages.previous() {
                Some(to) if !self.is_out(lineup, detector, to) => Effect::RolledBack { to },
                _ => Effect::Stays,
            },
            Some(Stage::Loaded | Stage::Retired) | None => Effect::Stays,
        };
        if out != Effect::Stays {
            self.out.insert((detector.clone(), revision));
        }
        out
    }

    /// Goes on from one generation to another. What was taken out stays out of every
    /// detector whose revisions and stages are the same in both, and is forgotten for the
    /// others: a verb on one detector says nothing of another's canary, and so does a pin.
    ///
    /// What belongs to another generation than `from` is forgotten whole.
    pub fn carry(&mut self, from: &Lineup, to: &Lineup) {
        let is_of_from = self.generation == from.generation();
        self.out.retain(|(detector, _)| {
            let [from, to] = [from, to].map(|lineup| lineup.detectors.get(detector));
            let same = from.zip(to).is_some_and(|(from, to)| {
                from.revisions == to.revisions && from.previous == to.previous
            });
            is_of_from && same
        });
        self.generation = to.generation();
    }

    /// What a host took out of `lineup` before it was started again, as the journal has it.
    /// It follows the rule of [`Self::carry`].
    #[must_use]
    pub fn recovered(lineup: &Lineup, entries: &[Entry]) -> Self {
        let mut out: Vec<(&DetectorId, RevisionId)> = Vec::new();
        for entry in entries {
            match &entry.event {
                Event::TakenOut {
                    detector, revision, ..
                } => out.push((detector, *revision)),
                Event::Lineup { cause, .. } if cause.is_whole() => out.clear(),
                Event::Lineup {
                    cause: Cause::Verb { step, .. },
                    ..
                } if !matches!(step, Verb::Pin { .. } | Verb::Unpin { .. }) => {
                    out.retain(|(detector, _)| *detector != step.detector());
                }
                Event::Lineup { .. } | Event::Quarantine { .. } => {}
            }
        }
        let mut local = Self::default();
        for (detector, revision) in out {
            local.take_out(lineup, detector, revision);
        }
        local
    }

    /// Whether a revision was taken out of this very generation.
    #[must_use]
    pub fn is_out(&self, lineup: &Lineup, detector: &DetectorId, revision: RevisionId) -> bool {
        self.generation == lineup.generation()
            && !self.out.is_empty()
            && self.out.contains(&(detector.clone(), revision))
    }

    /// Who answers here as the live revision: the lineup's, or the one before when that
    /// was taken out.
    #[must_use]
    pub fn live(&self, lineup: &Lineup, detector: &DetectorId) -> Option<RevisionId> {
        let stages = lineup.detectors.get(detector)?;
        let live = stages.live()?;
        if self.is_out(lineup, detector, live) {
            // Taken out only when there was one to go back to.
            stages.previous().or(Some(live))
        } else {
            Some(live)
        }
    }

    /// What is taken out of the generation that it belongs to.
    pub fn iter(&self) -> impl Iterator<Item = &(DetectorId, RevisionId)> {
        self.out.iter()
    }

    /// The generation that it belongs to.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }
}

#[cfg(test)]
mod tests {
    use super::super::lineup::tests::digest;
    use super::*;
    use crate::rollout::Share;

    fn take(lineup: &Lineup, verb: &Verb) -> Lineup {
        verb.apply(lineup).unwrap().0
    }

    fn canary(detector: &str, revision: RevisionId, millionths: u32) -> Verb {
        Verb::Canary {
            detector: detector.into(),
            revision,
            share: Share::from_millionths(millionths).unwrap(),
        }
    }

    /// Two detectors, each with 1 live and 2 a canary.
    fn lineup() -> Lineup {
        let live = ["a", "b"].map(|id| (DetectorId::from(id), digest(1)));
        let mut lineup = Lineup::of_live("salt", live).unwrap();
        for id in ["a", "b"] {
            let load = Verb::Load {
                detector: id.into(),
                revision: digest(2),
            };
            lineup = take(&take(&lineup, &load), &canary(id, digest(2), 500_000));
        }
        lineup
    }

    fn out(local: &LocalAborts, lineup: &Lineup) -> [bool; 2] {
        ["a", "b"].map(|id| local.is_out(lineup, &id.into(), digest(2)))
    }

    #[test]
    fn a_verb_on_one_detector_leaves_what_was_taken_out_of_another() {
        let lineup = lineup();
        let mut local = LocalAborts::default();
        for id in ["a", "b"] {
            assert_eq!(
                local.take_out(&lineup, &id.into(), digest(2)),
                Effect::Aborted
            );
        }
        let next = take(&lineup, &canary("a", digest(2), 100_000));
        assert_eq!(out(&local, &next), [false, false]);
        local.carry(&lineup, &next);
        assert_eq!(out(&local, &next), [false, true]);
        assert_eq!(local.generation(), next.generation());
        // The next one to be taken out stands beside it.
        local.take_out(&next, &"a".into(), digest(2));
        assert_eq!(out(&local, &next), [true, true]);
    }

    #[test]
    fn neither_a_pin_nor_a_policy_brings_back_what_was_taken_out() {
        let lineup = lineup();
        let mut local = LocalAborts::default();
        local.take_out(&lineup, &"a".into(), digest(2));
        let pin = Verb::Pin {
            detector: "a".into(),
            revision: digest(1),
            key: "tenant-7".to_owned(),
        };
        let pinned = take(&lineup, &pin);
        local.carry(&lineup, &pinned);
        let next = pinned.with_policy(None).unwrap();
        local.carry(&pinned, &next);
        assert_eq!(out(&local, &next), [true, false]);
    }

    #[test]
    fn what_belongs_to_another_generation_is_not_carried() {
        let lineup = lineup();
        let mut local = LocalAborts::default();
        local.take_out(&lineup, &"a".into(), digest(2));
        let next = lineup.with_policy(None).unwrap();
        let last = next.with_policy(None).unwrap();
        local.carry(&next, &last);
        assert_eq!(out(&local, &last), [false, false]);
        assert_eq!(local.iter().count(), 0);
    }
}
