//! Whose fault a failure is. A noun of its own: the engine lays blame, a rollout's
//! guard counts by it, and neither knows the other.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Who a failure belongs to. Status codes map from it, and a rollout's guard
/// counts only [`Blame::Guest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Blame {
    /// The plugin.
    Guest,
    /// Whoever sent the item.
    Caller,
    /// This host or its devices.
    Host,
}

impl fmt::Display for Blame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Blame {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::Caller => "caller",
            Self::Host => "host",
        }
    }
}
