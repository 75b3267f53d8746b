//! Revisions by name.
//!
//! A revision is an immutable plugin build with its settings and calibrator,
//! so its digest is its name. This module holds the name; the registry
//! computes it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

const PREFIX: &str = "sha256:";

/// Names a revision: the sha256 digest of everything that decides its answers.
///
/// Shown, parsed and serialised as `sha256:` and 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RevisionId([u8; 32]);

impl RevisionId {
    /// Names the revision that has this digest.
    #[must_use]
    pub const fn new(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// The digest itself.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first 12 hex digits, for tables and logs that people read.
    #[must_use]
    pub fn short(&self) -> String {
        self.digits()[..12]
            .iter()
            .copied()
            .map(char::from)
            .collect()
    }

    fn digits(&self) -> [u8; 64] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut digits = [0; 64];
        let (pairs, _) = digits.as_chunks_mut::<2>();
        for (pair, byte) in pairs.iter_mut().zip(self.0) {
            *pair = [byte >> 4, byte & 15].map(|half| DIGITS[usize::from(half)]);
        }
        digits
    }
}

impl fmt::Display for RevisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // In one piece: an answer names revisions many times, and formatting each byte by
        // itself costs more than the rest of naming it.
        let digits = self.digits();
        f.write_str(PREFIX)?;
        f.write_str(str::from_utf8(&digits).expect("hex digits are ASCII"))
    }
}

impl fmt::Debug for RevisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RevisionId({self})")
    }
}

impl Serialize for RevisionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RevisionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl FromStr for RevisionId {
    type Err = RevisionIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix(PREFIX).ok_or(RevisionIdError)?.as_bytes();
        let (pairs, rest) = digits.as_chunks::<2>();
        if pairs.len() != 32 || !rest.is_empty() {
            return Err(RevisionIdError);
        }
        let mut digest = [0; 32];
        for (byte, [high, low]) in digest.iter_mut().zip(pairs) {
            *byte = hex_digit(*high)? << 4 | hex_digit(*low)?;
        }
        Ok(Self(digest))
    }
}

/// The text is not the name of a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not a revision; write `sha256:` and 64 lower-case hex digits")]
pub struct RevisionIdError;

fn hex_digit(digit: u8) -> Result<u8, RevisionIdError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(RevisionIdError),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_reads_back_as_it_is_shown() {
        let revision = RevisionId::new(std::array::from_fn(|i| u8::try_from(i * 8).unwrap()));
        let shown = revision.to_string();
        assert_eq!(shown.len(), PREFIX.len() + 64);
        assert!(shown.starts_with("sha256:0008101820"));
        assert_eq!(shown.parse(), Ok(revision));
        assert_eq!(revision.short(), "000810182028");
        assert_eq!(
            serde_json::to_string(&revision).unwrap(),
            format!("\"{shown}\"")
        );
        assert_eq!(
            serde_json::from_str::<RevisionId>(&format!("\"{shown}\"")).unwrap(),
            revision
        );
    }

    #[test]
    fn only_a_whole_lower_case_digest_is_a_revision() {
        let digits = "ab".repeat(32);
        for text in [
            String::new(),
            digits.clone(),
            format!("sha256:{}", &digits[1..]),
            format!("sha256:{digits}0"),
            format!("sha256:{}", digits.to_uppercase()),
            format!("sha256:{}é", &digits[2..]),
        ] {
            assert_eq!(text.parse::<RevisionId>(), Err(RevisionIdError), "{text}");
        }
    }
}
