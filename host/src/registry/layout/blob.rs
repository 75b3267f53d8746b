//! Blobs by their digest, and the descriptors that say what they must be.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::super::package::hex;

const PREFIX: &str = "sha256:";

/// sha256 of a blob: `sha256:` and 64 lower-case hex digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Digest(String);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(format!("{PREFIX}{}", hex(&Sha256::digest(bytes))))
    }

    /// The digest of all that `from` gives.
    pub(super) fn of_all(mut from: impl Read) -> io::Result<Self> {
        let mut hasher = Sha256::new();
        let mut some = vec![0; 64 << 10];
        loop {
            match from.read(&mut some)? {
                0 => return Ok(Self(format!("{PREFIX}{}", hex(&hasher.finalize())))),
                n_read => hasher.update(&some[..n_read]),
            }
        }
    }

    /// The 64 digits alone.
    pub fn hex(&self) -> &str {
        &self.0[PREFIX.len()..]
    }

    /// The file that holds the blob in a layout.
    pub(super) fn file(&self) -> String {
        format!("{BLOBS}{}", self.hex())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Digest {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.strip_prefix(PREFIX) {
            Some(digits) if is_hex(digits) => Ok(Self(text)),
            _ => Err("a digest is `sha256:` and 64 lower-case hex digits"),
        }
    }
}

/// Whether `digits` could be a sha256.
pub(super) fn is_hex(digits: &str) -> bool {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    digits.len() == 64 && digits.bytes().all(is_digit)
}

/// Where a layout keeps blobs.
pub(super) const BLOBS: &str = "blobs/sha256/";

/// The annotation that holds a layer's file name.
pub(super) const TITLE: &str = "org.opencontainers.image.title";

/// What a blob must be; the fields of an OCI descriptor that packages use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Descriptor {
    pub(super) media_type: String,
    pub(super) digest: Digest,
    pub(super) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) artifact_type: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) annotations: BTreeMap<String, String>,
}

impl Descriptor {
    pub(super) fn of(bytes: &[u8], media_type: &str) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: Digest::of(bytes),
            size: bytes.len() as u64,
            artifact_type: None,
            annotations: BTreeMap::new(),
        }
    }

    pub(super) fn annotated(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.to_owned(), value.to_owned());
        self
    }

    pub(super) fn of_type(mut self, artifact_type: &str) -> Self {
        self.artifact_type = Some(artifact_type.to_owned());
        self
    }

    /// Whether both mean one blob, whatever else they say of it.
    pub(super) fn names_same(&self, other: &Self) -> bool {
        (&self.media_type, &self.digest, self.size)
            == (&other.media_type, &other.digest, other.size)
    }
}
