//! The hot lists and switched labels of a state folder.
//!
//! ```text
//! lists/NAME.KIND   a list's text
//! killed.json       the labels that are switched off
//! ```
//!
//! A file is written under another name, synced and renamed, so that what has its name is
//! whole.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use super::StateError;
use super::store::sync_folder;
use crate::lists::{Kind, List, ListError, MAX_BYTES};
use crate::signal::Label;

/// Bytes of the longest file of switches that is read.
const MAX_KILLED_BYTES: u64 = 4 << 20;

/// What keeps hot lists and switches. Whoever calls it sees that calls come one after
/// another.
#[derive(Debug)]
pub struct HotStore {
    state: PathBuf,
    lists: PathBuf,
}

/// Why what was kept cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HotStoreError {
    /// A file cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// A list was changed by somebody else.
    #[error(transparent)]
    List(#[from] ListError),
}

impl HotStore {
    /// The store of a state folder, made if it is missing. Take the state folder first: it
    /// holds the lock.
    pub fn open(state: &Path) -> Result<Self, StateError> {
        let lists = state.join("lists");
        super::cache::make_folder(&lists).map_err(failed("make the folder", &lists))?;
        let state = state.to_owned();
        Ok(Self { state, lists })
    }

    /// Every list that is kept, by name.
    pub fn lists(&self) -> Result<Vec<(String, List)>, HotStoreError> {
        let read = || fs::read_dir(&self.lists)?.collect::<io::Result<Vec<_>>>();
        let entries = read().map_err(failed("read the folder", &self.lists))?;
        let mut lists = Vec::new();
        for entry in entries {
            let path = entry.path();
            let name = path.file_stem().and_then(|name| name.to_str());
            let kind = path
                .extension()
                .and_then(|kind| kind.to_str()?.parse().ok());
            // What a crash left half-written has no kind.
            let Some((name, kind)) = name.zip::<Kind>(kind) else {
                continue;
            };
            let bytes = read_bounded(&path, MAX_BYTES as u64);
            let bytes = bytes.map_err(failed("read the list", &path))?;
            let list = List::parse(&path.display().to_string(), kind, &bytes)?;
            lists.push((name.to_owned(), list));
        }
        Ok(lists)
    }

    /// Keeps a list under its name. Blocking.
    pub fn keep_list(&self, name: &str, list: &List) -> Result<(), StateError> {
        let file = self.list(name, list.kind());
        write(&file, &self.lists, list.text()).map_err(failed("write the list", &file))
    }

    /// Forgets a list. Blocking.
    pub fn forget_list(&self, name: &str, kind: Kind) -> Result<(), StateError> {
        let file = self.list(name, kind);
        let removed = match fs::remove_file(&file) {
            // It was given by the configuration.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.and_then(|()| sync_folder(&self.lists)),
        };
        removed.map_err(failed("remove the list", &file))
    }

    /// The labels that are switched off; none where nobody has switched any.
    pub fn killed(&self) -> Result<Option<BTreeSet<Label>>, StateError> {
        let file = self.switches();
        let bytes = match read_bounded(&file, MAX_KILLED_BYTES) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(failed("read the file", &file))?,
        };
        let killed = serde_json::from_slice(&bytes).map_err(io::Error::other);
        killed
            .map(Some)
            .map_err(failed("understand the file", &file))
    }

    /// Keeps the labels that are switched off. Blocking.
    pub fn keep_killed(&self, killed: &BTreeSet<Label>) -> Result<(), StateError> {
        let file = self.switches();
        let json = serde_json::to_vec(killed).map_err(io::Error::other);
        let written = json.and_then(|json| write(&file, &self.state, &json));
        written.map_err(failed("write the file", &file))
    }

    fn list(&self, name: &str, kind: Kind) -> PathBuf {
        // A list's name has no dot and no slash.
        self.lists.join(format!("{name}.{kind}"))
    }

    fn switches(&self) -> PathBuf {
        self.state.join("killed.json")
    }
}

fn failed<'a>(what: &'static str, file: &'a Path) -> impl FnOnce(io::Error) -> StateError + 'a {
    move |error| StateError::Io {
        file: file.to_owned(),
        what,
        error,
    }
}

/// One byte more than may be is enough for whoever reads them to refuse.
fn read_bounded(file: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)?.take(most + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn write(file: &Path, folder: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = file.with_extension("new");
    let mut out = File::create(&new)?;
    out.write_all(bytes)?;
    out.sync_all()?;
    fs::rename(&new, file)?;
    sync_folder(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_there_after_a_restart_and_half_a_file_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let open = || HotStore::open(folder.path()).unwrap();
        assert!(open().lists().unwrap().is_empty());
        assert_eq!(open().killed().unwrap(), None);
        let list = |text: &str| List::parse("l", Kind::Domains, text.as_bytes()).unwrap();
        open().keep_list("bad", &list("a.example")).unwrap();
        open().keep_list("bad", &list("b.example\n")).unwrap();
        fs::write(folder.path().join("lists/half.new"), "c.exa").unwrap();
        let kept = open().lists().unwrap();
        assert_eq!(kept, [("bad".to_owned(), list("b.example\n"))]);
        open().forget_list("bad", Kind::Domains).unwrap();
        open().forget_list("bad", Kind::Domains).unwrap();
        assert!(open().lists().unwrap().is_empty());
        let killed = BTreeSet::from([Label::from("spam")]);
        open().keep_killed(&killed).unwrap();
        assert_eq!(open().killed().unwrap(), Some(killed));
    }

    #[test]
    fn a_list_that_somebody_damaged_is_refused_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let store = HotStore::open(folder.path()).unwrap();
        fs::write(folder.path().join("lists/bad.domains"), "a.example\n?\n").unwrap();
        let error = store.lists().unwrap_err().to_string();
        assert!(error.contains("bad.domains:2: `?` is no domain"), "{error}");
    }
}
