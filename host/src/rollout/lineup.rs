//! The lineup: which revisions are wanted, at which stage and share. Declarative: hosts
//! that hold the same lineup do the same, and what led to it is the journal's matter.

mod parse;
mod pins;
mod text;

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

pub(super) use parse::word;
pub use pins::{MAX_ALL_PINS, MAX_PINS};

use super::{Refusal, Share};
use crate::excerpt::{NAME_CHARS, printable};
use crate::policy::PolicyDigest;
use crate::revision::RevisionId;
use crate::signal::DetectorId;

/// Most bytes that a lineup's file may have: the longest that the bounds below allow, since
/// else a verb could lead to a lineup that no file may hold.
pub const MAX_BYTES: usize = 2 << 20;
/// Most detectors of one lineup.
pub const MAX_DETECTORS: usize = 256;
/// Most revisions of one detector, the retired ones included.
pub const MAX_REVISIONS: usize = 16;
/// Most characters of a detector's name, of a pin's key and of the salt.
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
    /// Keys for which a revision is named, each of them ready.
    pub(super) pins: BTreeMap<String, RevisionId>,
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
    /// Ready to answer, and asked only for keys that are pinned to it.
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
    /// Answers for every key that no canary answers for and that is pinned to no other.
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
        parse::word("`salt`", salt).map_err(in_a_new_one)?;
        Ok(Self {
            generation: 1,
            salt: salt.to_owned(),
            policy: None,
            detectors: BTreeMap::new(),
        })
    }

    /// The first lineup of a host that was given its detectors: generation 1, and each
    /// revision live.
    ///
    /// # Errors
    ///
    /// As [`Lineup::new`]; a name that no file could hold, one that comes twice, and more
    /// than [`MAX_DETECTORS`].
    pub fn of_live(
        salt: &str,
        live: impl IntoIterator<Item = (DetectorId, RevisionId)>,
    ) -> Result<Self, LineupError> {
        let mut lineup = Self::new(salt)?;
        for (id, revision) in live {
            parse::word("a detector's name", id.as_str()).map_err(in_a_new_one)?;
            let stage = Stage::Live;
            let detector = DetectorLineup {
                revisions: vec![Staged { revision, stage }],
                ..DetectorLineup::default()
            };
            let shown = printable(id.as_str(), NAME_CHARS);
            if lineup.detectors.insert(id, detector).is_some() {
                let what = format!("detector `{shown}` is here twice; leave one out");
                return Err(in_a_new_one(what));
            }
            if lineup.detectors.len() > MAX_DETECTORS {
                let what =
                    format!("more than {MAX_DETECTORS} detectors; give some to another host");
                return Err(in_a_new_one(what));
            }
        }
        Ok(lineup)
    }

    /// The lineup of the next generation, with this policy and else the same. That also
    /// when the policy is the one that it had: whoever writes a lineup means it.
    ///
    /// # Errors
    ///
    /// The generation is the last there is.
    pub fn with_policy(&self, policy: Option<PolicyDigest>) -> Result<Self, Refusal> {
        let mut next = self.next_generation()?;
        next.policy = policy;
        Ok(next)
    }

    /// The same, of the next generation.
    pub(super) fn next_generation(&self) -> Result<Self, Refusal> {
        let generation = self.generation + 1;
        // A file holds it as TOML's integer.
        if i64::try_from(generation).is_err() {
            return Err(Refusal::LastGeneration {
                generation: self.generation,
            });
        }
        Ok(Self {
            generation,
            ..self.clone()
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

/// A mistake in what becomes a lineup without a file.
fn in_a_new_one(what: String) -> LineupError {
    LineupError {
        file: "a new lineup".to_owned(),
        line: 1,
        what,
    }
}

impl fmt::Display for LineupDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
pub(in crate::rollout) mod tests;
