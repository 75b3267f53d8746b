//! What this host took out by itself. A guard sees one host's traffic, so its abort is
//! this host's own: it holds until somebody has written another generation.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Lineup, Stage};
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
    /// Takes a revision out of `lineup`. What was taken out of another generation is
    /// forgotten.
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
