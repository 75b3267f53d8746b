//! Words of others in a record: kept, hashed or left out, and never longer than a bound.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::Redaction;
use crate::excerpt::printable;

/// Bytes of a foreign word that is kept as it is; a longer one is hashed.
pub(super) const MAX_WORD_BYTES: usize = 512;
/// Characters of a note or a reason that are kept.
pub(super) const MAX_NOTE_CHARS: usize = 500;

/// A text that an item or a plugin chose, as a record holds it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum RecordedText {
    /// As it was.
    Kept(String),
    /// Its sha256, in lower-case hex digits: because the settings ask for that, or since
    /// it was too long.
    Hashed {
        /// The digest.
        sha256: String,
    },
}

impl RecordedText {
    /// A word that stands for something and may be looked for later: an id, a value.
    /// None where the settings leave it out.
    pub(super) fn word(text: &str, redaction: Redaction) -> Option<Self> {
        match redaction {
            Redaction::Keep if text.len() <= MAX_WORD_BYTES => Some(Self::Kept(text.to_owned())),
            Redaction::Keep | Redaction::Hash => Some(Self::hashed(text)),
            Redaction::Omit => None,
        }
    }

    /// Words for people: their beginning, on one line.
    pub(super) fn note(text: &str, redaction: Redaction) -> Option<Self> {
        match redaction {
            Redaction::Keep => Some(Self::Kept(printable(text, MAX_NOTE_CHARS))),
            Redaction::Hash => Some(Self::hashed(text)),
            Redaction::Omit => None,
        }
    }

    /// The hashed form.
    #[must_use]
    pub fn hashed(text: &str) -> Self {
        let digest = Sha256::digest(text);
        let digits = digest.iter().map(|byte| format!("{byte:02x}"));
        Self::Hashed {
            sha256: digits.collect(),
        }
    }

    /// Whether this is what a record may hold of `text`.
    #[must_use]
    pub fn is_of(&self, text: &str) -> bool {
        match self {
            Self::Kept(kept) => kept == text,
            Self::Hashed { .. } => *self == Self::hashed(text),
        }
    }

    /// What to show of it.
    #[must_use]
    pub fn shown(&self) -> &str {
        match self {
            Self::Kept(text) => text,
            Self::Hashed { sha256 } => sha256,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_kept_hashed_or_left_out() {
        let kept = RecordedText::word("id 7", Redaction::Keep).unwrap();
        assert_eq!(serde_json::to_string(&kept).unwrap(), r#""id 7""#);
        assert!(kept.is_of("id 7") && !kept.is_of("id 8"));
        let hashed = RecordedText::word("id 7", Redaction::Hash).unwrap();
        let json = serde_json::to_string(&hashed).unwrap();
        assert!(!json.contains("id 7") && hashed.is_of("id 7") && !hashed.is_of("id 8"));
        assert_eq!(serde_json::from_str::<RecordedText>(&json).unwrap(), hashed);
        assert_eq!(RecordedText::word("id 7", Redaction::Omit), None);
    }

    #[test]
    fn what_is_too_long_is_hashed_or_cut() {
        let long = "é".repeat(MAX_WORD_BYTES);
        let word = RecordedText::word(&long, Redaction::Keep).unwrap();
        assert!(word.is_of(&long) && word.shown().len() == 64);
        let note = RecordedText::note(&long, Redaction::Keep).unwrap();
        assert_eq!(note.shown().chars().count(), MAX_NOTE_CHARS + 1);
    }
}
