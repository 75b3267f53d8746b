//! Names of policies: lineups and records speak of a policy by what its file holds.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::revision::{RevisionId, RevisionIdError};

/// Names a policy by the sha256 of its file; written as a revision is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PolicyDigest(RevisionId);

impl PolicyDigest {
    /// Names the policy whose file is this text.
    #[must_use]
    pub fn of_text(text: &str) -> Self {
        Self(RevisionId::new(Sha256::digest(text).into()))
    }
}

impl FromStr for PolicyDigest {
    type Err = RevisionIdError;

    fn from_str(text: &str) -> Result<Self, RevisionIdError> {
        text.parse().map(Self)
    }
}

impl fmt::Display for PolicyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
