//! The lineup: which revisions are wanted, at which stage and share. Declarative: hosts
//! that hold the same lineup do the same, and what led to it is the journal's matter.

mod parse;
mod text;

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

pub(super) use parse::word;

use super::Share;
use crate::policy::PolicyDigest;
use crate::revision::RevisionId;
use crate::signal::DetectorId;

/// Most bytes that a lineup's file may have.
pub const MAX_BYTES: usize = 1 << 20;
/// Most detectors of one lineup.
pub const MAX_DETECTORS: usize = 256;
/// Most revisions of one detector, the retired ones included.
pub const MAX_REVISIONS: usize = 16;
/// Most characters of a detector's name and of the salt.
pub const MAX_WORD_CHARS: usize = 200;

/// Which revisions are wanted, at which stage and share.
///
/// Always valid: it is read whole by [`Lineup::parse`] and changed only by a
/// [`Verb`](super::Verb), which gives another lineup of the next generation.
///
/// ```
/// use trommel::rollout::{Lineup, Stage};
///
/// let live = format!("sha256:{}", "ab".repeat(32));
/// let lineup = Lineup::parse("lineup.toml", &format!(r#"
///     generation = 1
///     salt = "spring"
///
///     [[detector]]
///     id = "spam-text"
///
///     [[detector.revision]]
///     revision = "{live}"
///     stage = "live"
/// "#))?;
/// let spam = lineup.detector("spam-text").expect("it is there");
/// assert_eq!(spam.live().map(|live| live.to_string()), Some(live));
/// # Ok::<(), trommel::rollout::LineupError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lineup {
    pub(super) generation: u64,
    pub(super) salt: String,
    pub(super) policy: Option<PolicyDigest>,
    pub(super) detectors: BTreeMap<DetectorId, DetectorLineup>,
}

/// One detector's part of a lineup.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DetectorLineup {
    /// Oldest first; a revision that is retired goes to the end.
    pub(super) revisions: Vec<Staged>,
    /// Who was live before the one that is.
    pub(super) previous: Option<RevisionId>,
}

/// A revision and how far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Staged {
    /// The revision.
    pub revision: RevisionId,
    /// How far it has come.
    pub stage: Stage,
}

/// How far a revision has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "kebab-case")]
pub enum Stage {
    /// Ready to answer, and asked only when it is pinned.
    Loaded,
    /// Asked after the answer is decided; its verdict is compared and goes nowhere.
    Shadow,
    /// Answers for a share of keys.
    Canary {
        /// How many of all keys.
        share: Share,
        /// From which end of all positions they are taken.
        #[serde(default, skip_serializing_if = "End::is_low")]
        end: End,
    },
    /// Answers for every key that no canary answers for.
    Live,
    /// Was here. Its code and weights need not be kept.
    Retired,
}

/// From which end of all positions a canary takes its keys. Two canaries at two ends may
/// both grow, and neither ever takes a key from the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// Positions from the first upwards.
    #[default]
    Low,
    /// Positions from the last downwards.
    High,
}

/// Names a lineup by the sha256 of its text; written as a revision is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LineupDigest(RevisionId);

/// A lineup that was refused: `FILE:LINE: what; how to mend it`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{file}:{line}: {what}")]
pub struct LineupError {
    /// The name that the lineup was read under.
    pub file: String,
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong there and how to mend it.
    pub what: String,
}

impl Lineup {
    /// The first lineup: generation 1, and no detector.
    ///
    /// # Errors
    ///
    /// A salt that is blank, longer than [`MAX_WORD_CHARS`], or holds a control character.
    pub fn new(salt: &str) -> Result<Self, LineupError> {
        parse::word("`salt`", salt).map_err(|what| LineupError {
            file: "a new lineup".to_owned(),
            line: 1,
            what,
        })?;
        Ok(Self {
            generation: 1,
            salt: salt.to_owned(),
            policy: None,
            detectors: BTreeMap::new(),
        })
    }

    /// Reads a lineup from the text of its file; `file` is only the name that messages
    /// use. `docs/rollout.md` lists the keys.
    ///
    /// # Errors
    ///
    /// The first mistake, with its line and how to mend it.
    pub fn parse(file: &str, text: &str) -> Result<Self, LineupError> {
        parse::lineup(file, text)
    }

    /// The text that reads back as this lineup. Equal lineups have equal texts.
    #[must_use]
    pub fn text(&self) -> String {
        text::of(self)
    }

    /// Names this lineup by its content.
    #[must_use]
    pub fn digest(&self) -> LineupDigest {
        LineupDigest::of_text(&self.text())
    }

    /// Which of the lineups that were wanted one after another this is; from 1.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// What is hashed with every key: another salt draws other keys for every canary.
    #[must_use]
    pub fn salt(&self) -> &str {
        &self.salt
    }

    /// The policy that was rolled out with it, where the lineup says so.
    #[must_use]
    pub const fn policy(&self) -> Option<PolicyDigest> {
        self.policy
    }

    /// Every detector, by name.
    pub fn detectors(&self) -> impl Iterator<Item = (&DetectorId, &DetectorLineup)> {
        self.detectors.iter()
    }

    /// One detector's part.
    #[must_use]
    pub fn detector(&self, id: &str) -> Option<&DetectorLineup> {
        self.detectors.get(id)
    }
}

impl DetectorLineup {
    /// Its revisions, oldest first, the retired ones last.
    #[must_use]
    pub fn revisions(&self) -> &[Staged] {
        &self.revisions
    }

    /// How far a revision has come.
    #[must_use]
    pub fn stage(&self, revision: RevisionId) -> Option<Stage> {
        let staged = self.revisions.iter();
        let mut staged = staged.filter(|staged| staged.revision == revision);
        staged.next().map(|staged| staged.stage)
    }

    /// Who answers for every key that no canary answers for.
    #[must_use]
    pub fn live(&self) -> Option<RevisionId> {
        self.at(|stage| stage == Stage::Live).next()
    }

    /// Who was live before and is still loaded: who answers after a rollback.
    #[must_use]
    pub const fn previous(&self) -> Option<RevisionId> {
        self.previous
    }

    /// Every canary with its share and end.
    pub fn canaries(&self) -> impl Iterator<Item = (RevisionId, Share, End)> {
        self.revisions
            .iter()
            .filter_map(|staged| match staged.stage {
                Stage::Canary { share, end } => Some((staged.revision, share, end)),
                _ => None,
            })
    }

    /// Who is asked after the answer is decided.
    pub fn shadows(&self) -> impl Iterator<Item = RevisionId> {
        self.at(|stage| stage == Stage::Shadow)
    }

    /// Who must be ready to answer: all but the retired.
    pub fn ready(&self) -> impl Iterator<Item = RevisionId> {
        self.at(|stage| stage != Stage::Retired)
    }

    fn at(&self, wanted: impl Fn(Stage) -> bool) -> impl Iterator<Item = RevisionId> {
        let staged = self.revisions.iter();
        let staged = staged.filter(move |staged| wanted(staged.stage));
        staged.map(|staged| staged.revision)
    }
}

impl Stage {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Loaded => "loaded",
            Self::Shadow => "shadow",
            Self::Canary { .. } => "canary",
            Self::Live => "live",
            Self::Retired => "retired",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl End {
    fn is_low(&self) -> bool {
        *self == Self::Low
    }
}

impl LineupDigest {
    /// Names the lineup whose file is this text.
    #[must_use]
    pub fn of_text(text: &str) -> Self {
        Self(RevisionId::new(Sha256::digest(text).into()))
    }
}

impl fmt::Display for LineupDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
pub(in crate::rollout) mod tests;
