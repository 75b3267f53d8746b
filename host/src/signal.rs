//! Signals: what detectors say about an item.
//!
//! A signal stands between the engine, which collects it, and the policy,
//! which judges it. It never holds a judgement of its own.

use std::{borrow::Borrow, fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::revision::RevisionId;

/// One detector's finding of one label in one item.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Signal {
    /// Who says so.
    pub detector: DetectorId,
    /// Which build of it.
    pub revision: RevisionId,
    /// What it found.
    pub label: Label,
    /// The plugin's raw answer: finite, higher means more, no fixed scale.
    pub score: f32,
    /// The calibrated answer, which thresholds cut.
    pub probability: Probability,
    /// Which map made the probability of the score.
    pub calibrator: CalibratorVersion,
    /// What a person is shown as the reason; may be empty.
    pub evidence: Vec<Evidence>,
}

/// What a person is shown as the reason for a signal.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Evidence {
    /// Bytes `start..end` of a text part, as UTF-8 offsets into the part as
    /// given.
    Span {
        /// Which part of the item.
        part: u32,
        /// First byte.
        start: u32,
        /// One past the last byte.
        end: u32,
    },
    /// A rectangle of an image part; fractions `0..=1`, origin top left.
    Region {
        /// Which part of the item.
        part: u32,
        /// Left edge.
        x: f32,
        /// Top edge.
        y: f32,
        /// Width.
        width: f32,
        /// Height.
        height: f32,
    },
    /// Words.
    Note {
        /// The words.
        text: String,
    },
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// Cheap to clone; shown and serialised as the bare word.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes the word as it is.
            #[must_use]
            pub fn new(name: impl Into<Arc<str>>) -> Self {
                Self(name.into())
            }

            /// The word.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:?})"), &*self.0)
            }
        }

        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                Self::new(name)
            }
        }

        // Sets and maps of these are searched by plain text.
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer).map(Self::new)
            }
        }
    };
}

name! {
    /// Names a detector, whichever of its revisions answers.
    DetectorId
}

name! {
    /// Names a class in the taxonomy, such as `spam` or `self-harm/intent`.
    Label
}

/// How likely a label is true of an item, after calibration: `0..=1`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize)]
pub struct Probability(f64);

impl Probability {
    /// Takes a finite number from 0 to 1, both included.
    ///
    /// # Errors
    ///
    /// Everything else is refused, NaN included: it is never rounded into
    /// place.
    pub fn new(value: f64) -> Result<Self, ProbabilityError> {
        if (0.0..=1.0).contains(&value) {
            Ok(Self(value))
        } else {
            Err(ProbabilityError { value })
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl fmt::Display for Probability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Names the map from one label's scores to its probabilities, by its content.
///
/// Two maps of one version say the same of every score, whichever revision they
/// came with. Shown and serialised as 12 lower-case hex digits, as
/// [`RevisionId::short`] shows a revision: the revision stands beside it, and its
/// digest covers the whole calibrator.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CalibratorVersion([u8; 6]);

impl CalibratorVersion {
    /// Names the map whose canonical form has this sha256 digest.
    #[must_use]
    pub fn of_digest(digest: [u8; 32]) -> Self {
        Self(std::array::from_fn(|at| digest[at]))
    }
}

impl fmt::Display for CalibratorVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for CalibratorVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CalibratorVersion({self})")
    }
}

impl Serialize for CalibratorVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The number is no probability.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
#[error("{value} is no probability; give a number from 0 to 1")]
pub struct ProbabilityError {
    /// The number that was refused.
    pub value: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probability_lies_between_0_and_1() {
        for value in [0.0, 0.5, 1.0] {
            assert_eq!(Probability::new(value).map(Probability::get), Ok(value));
        }
        for value in [-0.1, 1.000_001, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(Probability::new(value).is_err(), "{value}");
        }
    }

    #[test]
    fn a_signal_is_written_with_plain_names() {
        let signal = Signal {
            detector: "spam-text".into(),
            revision: RevisionId::new([0xab; 32]),
            label: "spam".into(),
            score: 2.5,
            probability: Probability::new(0.75).unwrap(),
            calibrator: CalibratorVersion::of_digest([0x0c; 32]),
            evidence: vec![
                Evidence::Span {
                    part: 0,
                    start: 4,
                    end: 9,
                },
                Evidence::Note {
                    text: "a link".into(),
                },
            ],
        };
        let revision = format!("sha256:{}", "ab".repeat(32));
        assert_eq!(
            serde_json::to_value(&signal).unwrap(),
            serde_json::json!({
                "detector": "spam-text",
                "revision": revision,
                "label": "spam",
                "score": 2.5,
                "probability": 0.75,
                "calibrator": "0c0c0c0c0c0c",
                "evidence": [
                    { "kind": "span", "part": 0, "start": 4, "end": 9 },
                    { "kind": "note", "text": "a link" },
                ],
            })
        );
    }
}
