//! Hot lists as the command line and the configuration name them.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Context as _;
use trommel::lists::{Kind, List, MAX_BYTES};

/// A list in a file.
#[derive(Debug, Clone)]
pub(super) struct ListFile {
    /// What rules call it.
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) file: PathBuf,
}

impl ListFile {
    pub(super) fn read(&self) -> anyhow::Result<List> {
        let shown = self.file.display().to_string();
        let bytes = bytes(&self.file).with_context(|| format!("list {shown} cannot be read"))?;
        Ok(List::parse(&shown, self.kind, &bytes)?)
    }
}

/// One byte more than may be is enough to be told so.
fn bytes(file: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let most = MAX_BYTES as u64 + 1;
    std::fs::File::open(file)?
        .take(most)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl FromStr for ListFile {
    type Err = String;

    /// `NAME=KIND:FILE`.
    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('=');
        let parts = parts.and_then(|(name, rest)| Some((name, rest.split_once(':')?)));
        let (name, (kind, file)) = parts.ok_or("write NAME=KIND:FILE")?;
        Ok(Self {
            name: name.to_owned(),
            kind: kind.parse().map_err(|error| format!("{error}"))?,
            file: file.into(),
        })
    }
}
