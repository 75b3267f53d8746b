//! Pins: keys for which a revision is named, whatever the rollout says.

use super::{DetectorLineup, Lineup};
use crate::excerpt::{NAME_CHARS, printable};
use crate::revision::RevisionId;

/// Most pins of one detector.
pub const MAX_PINS: usize = 256;
/// Most pins of a lineup.
pub const MAX_ALL_PINS: usize = 1024;

impl DetectorLineup {
    /// Every pin: its key, and who answers for it. Each of them is ready to answer.
    pub fn pins(&self) -> impl Iterator<Item = (&str, RevisionId)> {
        let pins = self.pins.iter();
        pins.map(|(key, revision)| (key.as_str(), *revision))
    }

    /// Who is named for this key.
    #[must_use]
    pub fn pin(&self, key: &str) -> Option<RevisionId> {
        // Most detectors have none.
        if self.pins.is_empty() {
            return None;
        }
        self.pins.get(key).copied()
    }

    /// Whether some key is pinned to a revision.
    #[must_use]
    pub fn is_pinned(&self, revision: RevisionId) -> bool {
        self.pins.values().any(|pinned| *pinned == revision)
    }

    /// The keys that are pinned to a revision, in words; none when there are none.
    pub(in crate::rollout) fn pins_in_words(&self, revision: RevisionId) -> Option<String> {
        let mut keys = self.pins().filter(|(_, pinned)| *pinned == revision);
        let (first, _) = keys.next()?;
        let first = printable(first, NAME_CHARS);
        Some(match keys.count() {
            0 => format!("`{first}`"),
            more => format!("`{first}` and {more} more"),
        })
    }
}

impl Lineup {
    /// How many pins there are, of all detectors.
    pub(in crate::rollout) fn n_pins(&self) -> usize {
        let detectors = self.detectors.values();
        detectors.map(|detector| detector.pins.len()).sum()
    }
}

#[cfg(test)]
mod tests;
