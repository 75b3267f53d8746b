//! The split: who answers for a key. A pure function of salt, detector, key and shares,
//! so that fifty hosts with one lineup split alike and agree tomorrow with today.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{End, Lineup, LocalAborts, Share};
use crate::revision::RevisionId;
use crate::signal::DetectorId;

/// Hashed before all else: another way to split would have another word here, so that no
/// two ways agree by half.
const DOMAIN: &[u8] = b"trommel split 1";

/// Where a key stands among all, in millionths: from 0 up to, not including, 1,000,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(u32);

/// Who answers for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// Whose signals the policy sees.
    pub revision: RevisionId,
    /// Which arm that is.
    pub arm: Arm,
    /// Who answers within the rest of the deadline when a canary fails; none for the live
    /// arm.
    pub fallback: Option<RevisionId>,
}

/// On which side of a comparison an answer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arm {
    /// The live revision.
    Live,
    /// A canary.
    Canary,
    /// Neither: the revision was named, by a pin of the lineup or by the caller, not drawn,
    /// and the guard is told nothing.
    Pinned,
}

impl Arm {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Canary => "canary",
            Self::Pinned => "pinned",
        }
    }
}

impl Position {
    /// Where `key` stands for `detector`. Detectors draw their keys independently, and
    /// so do salts.
    ///
    /// The first eight bytes, as a big-endian number, of the sha256 of a word for this
    /// scheme, salt, detector and key, each but the key after its length in bytes as eight
    /// little-endian bytes; scaled to millionths.
    #[must_use]
    pub fn of(salt: &str, detector: &DetectorId, key: &str) -> Self {
        let mut hasher = Sha256::new();
        for part in [DOMAIN, salt.as_bytes(), detector.as_str().as_bytes()] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        hasher.update(key);
        let digest = hasher.finalize();
        let first = u64::from_be_bytes(digest[..8].try_into().expect("a digest has 32 bytes"));
        let scaled = (u128::from(first) * u128::from(Share::MILLION)) >> 64;
        Self(u32::try_from(scaled).expect("below a million"))
    }

    /// The millionths.
    #[must_use]
    pub const fn millionths(self) -> u32 {
        self.0
    }

    /// Whether a share that is taken from this end holds it.
    #[must_use]
    pub const fn is_within(self, share: Share, end: End) -> bool {
        match end {
            End::Low => self.0 < share.millionths(),
            End::High => self.0 >= share.rest().millionths(),
        }
    }
}

impl Assignment {
    fn pinned(revision: RevisionId) -> Self {
        Self {
            revision,
            arm: Arm::Pinned,
            fallback: None,
        }
    }
}

impl Lineup {
    /// Who answers for `key`, the item's id or what the caller gives in its place; none
    /// when nobody is live.
    ///
    /// What this host has taken out by itself does not answer, unless the key is pinned to
    /// it: a guard's doubt is about traffic, a pin is somebody's word. For the same reason
    /// nobody answers in place of a pinned revision that fails.
    #[must_use]
    pub fn assign(
        &self,
        detector: &DetectorId,
        key: &str,
        local: &LocalAborts,
    ) -> Option<Assignment> {
        let stages = self.detectors.get(detector)?;
        if let Some(revision) = stages.pin(key) {
            return Some(Assignment::pinned(revision));
        }
        let live = local.live(self, detector)?;
        let position = || Position::of(&self.salt, detector, key);
        let mut canaries = stages.canaries().peekable();
        // Most detectors have none, and then nothing is hashed.
        if let Some(position) = canaries.peek().is_some().then(position) {
            let taken = canaries.find(|(_, share, end)| position.is_within(*share, *end));
            if let Some((canary, ..)) = taken
                && canary != live
                && !local.is_out(self, detector, canary)
            {
                return Some(Assignment {
                    revision: canary,
                    arm: Arm::Canary,
                    fallback: Some(live),
                });
            }
        }
        Some(Assignment {
            revision: live,
            arm: Arm::Live,
            fallback: None,
        })
    }

    /// Who answers when the caller names the revision, whatever rollout and pins say; none
    /// unless it is ready.
    #[must_use]
    pub fn pinned(&self, detector: &DetectorId, revision: RevisionId) -> Option<Assignment> {
        let stages = self.detectors.get(detector)?;
        stages.ready().find(|ready| *ready == revision)?;
        Some(Assignment::pinned(revision))
    }

    /// Who is asked after the answer is decided, less what this host has taken out.
    pub fn shadows(
        &self,
        detector: &DetectorId,
        local: &LocalAborts,
    ) -> impl Iterator<Item = RevisionId> {
        let shadows = self
            .detectors
            .get(detector)
            .into_iter()
            .flat_map(|stages| stages.shadows());
        shadows.filter(|shadow| !local.is_out(self, detector, *shadow))
    }
}

#[cfg(test)]
mod tests;
