//! Shares of traffic.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

/// How many keys of all: exact, in millionths, from nobody to everybody.
///
/// Written and shown as a decimal fraction of at most six places, such as `0.05`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Share(u32);

/// The number is no share.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{written} is no share; give a fraction from 0 to 1 with at most six decimal places")]
pub struct ShareError {
    /// What was written.
    pub written: String,
}

impl Share {
    /// Millionths in the whole.
    pub const MILLION: u32 = 1_000_000;
    /// Nobody.
    pub const NONE: Self = Self(0);
    /// Everybody.
    pub const WHOLE: Self = Self(Self::MILLION);

    /// So many millionths; none above the whole.
    #[must_use]
    pub const fn from_millionths(millionths: u32) -> Option<Self> {
        if millionths <= Self::MILLION {
            Some(Self(millionths))
        } else {
            None
        }
    }

    /// Takes a fraction that has at most six decimal places.
    ///
    /// # Errors
    ///
    /// Every other number: a share is never rounded into place.
    pub fn from_fraction(fraction: f64) -> Result<Self, ShareError> {
        let refused = || ShareError {
            written: fraction.to_string(),
        };
        if !(0.0..=1.0).contains(&fraction) {
            return Err(refused());
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "whole and within 0..=10⁶"
        )]
        let millionths = (fraction * f64::from(Self::MILLION)).round() as u32;
        // The quotient is rounded once, as the written number was when it was read: they
        // are equal exactly when the number was written with six places or fewer.
        if f64::from(millionths) / f64::from(Self::MILLION) == fraction {
            Ok(Self(millionths))
        } else {
            Err(refused())
        }
    }

    /// How many millionths.
    #[must_use]
    pub const fn millionths(self) -> u32 {
        self.0
    }

    /// Both together; none above the whole.
    #[must_use]
    pub const fn plus(self, other: Self) -> Option<Self> {
        Self::from_millionths(self.0 + other.0)
    }

    /// What is left of the whole.
    #[must_use]
    pub const fn rest(self) -> Self {
        Self(Self::MILLION - self.0)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, places) = (self.0 / Self::MILLION, self.0 % Self::MILLION);
        if places == 0 {
            return write!(f, "{whole}");
        }
        write!(
            f,
            "{whole}.{}",
            format!("{places:06}").trim_end_matches('0')
        )
    }
}

impl FromStr for Share {
    type Err = ShareError;

    fn from_str(text: &str) -> Result<Self, ShareError> {
        let fraction = text.parse().map_err(|_| ShareError {
            written: format!("`{}`", text.escape_default()),
        })?;
        Self::from_fraction(fraction)
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(f64::from(self.0) / f64::from(Self::MILLION))
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fraction = f64::deserialize(deserializer)?;
        Self::from_fraction(fraction).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_share_reads_back_as_it_is_shown() {
        for millionths in (0..=Share::MILLION)
            .step_by(997)
            .chain([1, 999_999, 1_000_000])
        {
            let share = Share::from_millionths(millionths).unwrap();
            assert_eq!(share.to_string().parse(), Ok(share));
            let json = serde_json::to_string(&share).unwrap();
            assert_eq!(serde_json::from_str::<Share>(&json).unwrap(), share);
        }
        assert_eq!(Share::from_millionths(50_000).unwrap().to_string(), "0.05");
        assert_eq!(Share::WHOLE.to_string(), "1");
        assert_eq!(Share::NONE.to_string(), "0");
    }

    #[test]
    fn what_is_no_exact_fraction_of_the_whole_is_refused() {
        for fraction in [
            -0.1,
            1.000_001,
            0.000_000_5,
            0.123_456_7,
            f64::NAN,
            f64::INFINITY,
        ] {
            assert!(Share::from_fraction(fraction).is_err(), "{fraction}");
        }
        assert!("5%".parse::<Share>().is_err());
        assert_eq!(Share::from_millionths(1_000_001), None);
        assert_eq!(Share::WHOLE.plus(Share::from_millionths(1).unwrap()), None);
    }
}
