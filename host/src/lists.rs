//! Hot lists: keywords, domains and hashes that operators change while the host serves,
//! without a new package.
//!
//! They stand beside the policy on the street: whether an item is on a list is a fact that
//! a rule may ask for, as it asks for an attribute. Everything here is a function of an
//! item and of a list's text: no clock, no file, nothing that a detector said.
//!
//! A list is a text with one entry per line; a line that begins with `#` is a comment.
//!
//! | kind | an entry | an item is on the list when |
//! |---|---|---|
//! | `keywords` | words, as in `free money` | a text holds these words, whole and one after another, however they are cased, spaced and punctuated |
//! | `domains` | a domain or an address, as in `example.com` | a link leads to it or below it, or a text names it or what is below it |
//! | `hashes` | a sha256 in 64 hex digits | these are the bytes of an image, or of a part's text |

mod domains;
mod parse;
mod punycode;
mod set;
mod trie;
mod words;

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

pub use set::{Consulted, Found, Lists, ListsError};

use crate::revision::RevisionId;
use trie::Trie;

/// Most bytes of one list.
pub const MAX_BYTES: usize = 4 << 20;
/// Most entries of one list.
pub const MAX_ENTRIES: usize = 100_000;
/// Most characters of an entry.
pub const MAX_ENTRY_CHARS: usize = 300;
/// Most words of a keyword's entry.
pub const MAX_WORDS: usize = 16;
/// Most lists of a host.
pub const MAX_LISTS: usize = 32;
/// Most bytes of all lists of a host.
pub const MAX_ALL_BYTES: usize = 16 << 20;
/// Most characters of a list's name.
pub const MAX_NAME_CHARS: usize = 64;

/// What a list's entries are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Words of texts.
    Keywords,
    /// Where links and the URLs of texts lead.
    Domains,
    /// Images and texts by their sha256.
    Hashes,
}

/// One list, read and ready.
#[derive(Clone, PartialEq)]
pub struct List {
    kind: Kind,
    version: ListVersion,
    text: Arc<[u8]>,
    /// As they were written, for people.
    entries: Vec<Box<str>>,
    index: Index,
}

/// Where an entry is found by what it stands for.
#[derive(Clone, PartialEq)]
enum Index {
    Words(Trie),
    Domains(Trie),
    Hashes(HashMap<[u8; 32], u32>),
}

/// Names a list by the sha256 of its text, as `sha256sum` of its file does; written as a
/// revision is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ListVersion(RevisionId);

/// A list that was refused: `FILE:LINE: what; how to mend it`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{file}:{line}: {what}")]
pub struct ListError {
    /// The name that the list was read under.
    pub file: String,
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong there and how to mend it.
    pub what: String,
}

/// The word is no kind of list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("unknown kind of list; write keywords, domains or hashes")]
pub struct KindError;

impl List {
    /// Reads a list from the bytes of its file; `file` is only the name that messages use.
    /// An entry that comes twice counts once. No entry at all is a list too: it may stand
    /// in until there are some.
    ///
    /// # Errors
    ///
    /// The first mistake, with its line and how to mend it.
    pub fn parse(file: &str, kind: Kind, bytes: &[u8]) -> Result<Self, ListError> {
        parse::list(file, kind, bytes)
    }

    /// What its entries are.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Names it by its content.
    #[must_use]
    pub const fn version(&self) -> ListVersion {
        self.version
    }

    /// How many different entries it has.
    #[must_use]
    pub const fn n_entries(&self) -> usize {
        self.entries.len()
    }

    /// The bytes of the text that it was read from.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// An entry as it was written.
    fn entry(&self, number: u32) -> &str {
        &self.entries[number as usize]
    }
}

impl fmt::Debug for List {
    /// Not the entries: there may be a hundred thousand.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("List")
            .field("kind", &self.kind)
            .field("version", &self.version)
            .field("n_entries", &self.n_entries())
            .finish_non_exhaustive()
    }
}

impl Kind {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Keywords => "keywords",
            Self::Domains => "domains",
            Self::Hashes => "hashes",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = KindError;

    fn from_str(word: &str) -> Result<Self, KindError> {
        match word {
            "keywords" => Ok(Self::Keywords),
            "domains" => Ok(Self::Domains),
            "hashes" => Ok(Self::Hashes),
            _ => Err(KindError),
        }
    }
}

impl ListVersion {
    fn of(bytes: &[u8]) -> Self {
        Self(RevisionId::new(Sha256::digest(bytes).into()))
    }
}

impl fmt::Display for ListVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests;
