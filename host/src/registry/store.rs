//! The packages and policies of a state folder, each under the digest that names it.
//!
//! ```text
//! packages/HEX.tar    a packed package, by its revision
//! policies/HEX.toml   a file of rules, by its sha256
//! incoming/           packages that come
//! ```
//!
//! A file is written under another name, synced and renamed, so that what has its name is
//! whole. What no lineup names is left over from a crash, or not needed any more, and goes.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::layout::{Layout, Packed, Shape};
use super::package::hex;
use super::{FileError, PackageError, StateError};
use crate::engine::Limits;
use crate::revision::RevisionId;
use crate::rollout::PolicyDigest;

/// Far more than any host takes.
const MAX_COMPONENT_BYTES: usize = 1 << 30;

/// What keeps packages and policies beside a lineup.
#[derive(Debug)]
pub struct PackageStore {
    packages: PathBuf,
    policies: PathBuf,
    incoming: PathBuf,
}

impl PackageStore {
    /// The store of a state folder, made if it is missing. Take the state folder first: it
    /// holds the lock.
    pub fn open(state: &Path) -> Result<Self, StateError> {
        let store = Self {
            packages: state.join("packages"),
            policies: state.join("policies"),
            incoming: state.join("incoming"),
        };
        for folder in [&store.packages, &store.policies, &store.incoming] {
            super::cache::make_folder(folder).map_err(|error| StateError::Io {
                file: folder.clone(),
                what: "make the folder",
                error,
            })?;
        }
        // What was coming when the host ended.
        remove_others(&store.incoming, &BTreeSet::new()).map_err(|error| StateError::Io {
            file: store.incoming.clone(),
            what: "empty the folder",
            error,
        })?;
        Ok(store)
    }

    /// Where packages are put while they come.
    pub fn incoming(&self) -> &Path {
        &self.incoming
    }

    /// Where the package of a revision lies, whether it is there or not.
    pub fn package(&self, revision: RevisionId) -> PathBuf {
        self.packages
            .join(format!("{}.tar", hex(revision.as_bytes())))
    }

    /// Keeps the package at `package`, a plugin folder or a packed package, as that of
    /// `revision`. Blocking.
    pub fn keep(&self, package: &Path, revision: RevisionId) -> Result<(), PackageError> {
        let to = self.package(revision);
        if to.exists() {
            return Ok(());
        }
        // It was read within bounds before: here it is only carried over.
        let (limits, most) = (Limits::MAX, MAX_COMPONENT_BYTES);
        if Layout::is_at(package) {
            Layout::open(package, &[], &limits, most)?.write_tar(&to)?;
        } else {
            Packed::of(package, &limits, most)?.write(&to, Shape::Tar)?;
        }
        sync_folder(&self.packages).map_err(|error| refused(&self.packages, &error))
    }

    /// Keeps the text of a policy's file. Blocking.
    pub fn keep_policy(&self, text: &str) -> Result<PolicyDigest, PackageError> {
        let digest = PolicyDigest::of_text(text);
        let to = self.policy(digest);
        if !to.exists() {
            let new = to.with_extension("new");
            let write = || {
                let _ = fs::remove_file(&new);
                let mut file = File::create_new(&new)?;
                file.write_all(text.as_bytes())?;
                file.sync_all()?;
                fs::rename(&new, &to)?;
                sync_folder(&self.policies)
            };
            write().map_err(|error: io::Error| refused(&to, &error))?;
        }
        Ok(digest)
    }

    /// The text of a policy's file, when it is the one that `digest` names.
    pub fn read_policy(&self, digest: PolicyDigest) -> Result<String, PackageError> {
        let file = self.policy(digest);
        let text = fs::read_to_string(&file).map_err(|error| refused(&file, &error))?;
        match PolicyDigest::of_text(&text) == digest {
            true => Ok(text),
            false => Err(PackageError::File(FileError {
                file,
                what: "is not the policy that the lineup names; put it back as it was".to_owned(),
            })),
        }
    }

    /// Removes all but these.
    pub fn retain(&self, revisions: &BTreeSet<RevisionId>, policies: &BTreeSet<PolicyDigest>) {
        let packages: BTreeSet<PathBuf> = revisions
            .iter()
            .map(|revision| self.package(*revision))
            .collect();
        let policies = policies.iter().map(|policy| self.policy(*policy)).collect();
        for (folder, wanted) in [(&self.packages, packages), (&self.policies, policies)] {
            if let Err(error) = remove_others(folder, &wanted) {
                tracing::warn!(folder = %folder.display(), %error, "cannot be tidied");
            }
        }
    }

    fn policy(&self, digest: PolicyDigest) -> PathBuf {
        let name = digest.to_string().replace("sha256:", "");
        self.policies.join(format!("{name}.toml"))
    }
}

fn remove_others(folder: &Path, wanted: &BTreeSet<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if !wanted.contains(&path) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

#[cfg(unix)]
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Windows opens no folder as a file; renames are journaled by the file system.
#[cfg(not(unix))]
pub(super) fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

fn refused(file: &Path, error: &io::Error) -> PackageError {
    PackageError::File(FileError {
        file: file.to_owned(),
        what: error.to_string(),
    })
}
