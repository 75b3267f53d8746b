//! The packages and policies of a state folder, each under the digest that names it.
//!
//! ```text
//! packages/HEX.tar    a packed package, by its revision
//! settings/HEX.json   what the revision was rolled out with, where that is not the defaults
//! policies/HEX.toml   a file of rules, by its sha256
//! incoming/           packages that come
//! ```
//!
//! A file is written under another name, synced and renamed, so that what has its name is
//! whole. What no lineup names is left over from a crash, or not needed any more, and goes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use super::layout::{Layout, Packed, Shape};
use super::package::hex;
use super::{FileError, PackageError, SettingValue, Settings, StateError, spelled};
use crate::engine::Limits;
use crate::revision::RevisionId;
use crate::rollout::PolicyDigest;

/// Far more than any host takes.
const MAX_COMPONENT_BYTES: usize = 1 << 30;

/// Bytes of the longest file of settings that is read.
const MAX_SETTINGS_BYTES: u64 = 16 << 20;

/// What keeps packages and policies beside a lineup.
#[derive(Debug)]
pub struct PackageStore {
    packages: PathBuf,
    settings: PathBuf,
    policies: PathBuf,
    incoming: PathBuf,
}

impl PackageStore {
    /// The store of a state folder, made if it is missing. Take the state folder first: it
    /// holds the lock.
    pub fn open(state: &Path) -> Result<Self, StateError> {
        let store = Self {
            packages: state.join("packages"),
            settings: state.join("settings"),
            policies: state.join("policies"),
            incoming: state.join("incoming"),
        };
        let folders = [
            &store.packages,
            &store.settings,
            &store.policies,
            &store.incoming,
        ];
        for folder in folders {
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
    /// `revision`, with the settings that make it that. Blocking.
    pub fn keep(
        &self,
        package: &Path,
        revision: RevisionId,
        settings: &Settings,
    ) -> Result<(), PackageError> {
        if !settings.is_empty() {
            let to = self.settings_file(revision);
            let json = serde_json::to_vec(&spelled(settings)).map_err(io::Error::other);
            let written = json.and_then(|json| write(&to, &self.settings, &json));
            written.map_err(|error| refused(&to, &error))?;
        }
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

    /// What a revision was rolled out with, each value as the contract spells it; none where
    /// that is the defaults. Whether it is still what it was, the revision's name tells.
    pub fn settings(&self, revision: RevisionId) -> Result<Settings, PackageError> {
        let file = self.settings_file(revision);
        let read = || -> io::Result<BTreeMap<String, String>> {
            let mut bytes = Vec::new();
            let opened = File::open(&file)?;
            opened.take(MAX_SETTINGS_BYTES).read_to_end(&mut bytes)?;
            serde_json::from_slice(&bytes).map_err(io::Error::other)
        };
        match read() {
            Ok(texts) => {
                let texts = texts.into_iter();
                Ok(texts
                    .map(|(key, text)| (key, SettingValue::Text(text)))
                    .collect())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Settings::new()),
            Err(error) => Err(refused(&file, &error)),
        }
    }

    /// Keeps the text of a policy's file. Blocking.
    pub fn keep_policy(&self, text: &str) -> Result<PolicyDigest, PackageError> {
        let digest = PolicyDigest::of_text(text);
        let to = self.policy(digest);
        if !to.exists() {
            let written = write(&to, &self.policies, text.as_bytes());
            written.map_err(|error| refused(&to, &error))?;
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
        let settings = revisions.iter();
        let settings = settings.map(|revision| self.settings_file(*revision));
        let policies = policies.iter().map(|policy| self.policy(*policy)).collect();
        for (folder, wanted) in [
            (&self.packages, packages),
            (&self.settings, settings.collect()),
            (&self.policies, policies),
        ] {
            if let Err(error) = remove_others(folder, &wanted) {
                tracing::warn!(folder = %folder.display(), %error, "cannot be tidied");
            }
        }
    }

    fn settings_file(&self, revision: RevisionId) -> PathBuf {
        let name = hex(revision.as_bytes());
        self.settings.join(format!("{name}.json"))
    }

    fn policy(&self, digest: PolicyDigest) -> PathBuf {
        let name = digest.to_string().replace("sha256:", "");
        self.policies.join(format!("{name}.toml"))
    }
}

/// Writes a file under another name and renames it, so that what has its name is whole.
fn write(to: &Path, folder: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = to.with_extension("new");
    let _ = fs::remove_file(&new);
    let mut file = File::create_new(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, to)?;
    sync_folder(folder)
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
