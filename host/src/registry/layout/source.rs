//! The files of a layout, in a folder or a tar file, by name and with bounds.
//!
//! Names are the few that a layout knows, so none leads anywhere else; links are
//! never followed, and nothing is unpacked.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use super::LayoutError;
use super::archive::{Extent, entries};
use super::blob::{BLOBS, Descriptor, Digest, is_hex};

/// Says which layout it is.
pub(super) const OCI_LAYOUT: &str = "oci-layout";

/// Names the manifests.
pub(super) const INDEX: &str = "index.json";

/// The folders of a layout.
pub(super) const FOLDERS: [&str; 2] = ["blobs", "blobs/sha256"];

/// Files that a layout has at most.
pub(super) const MAX_FILES: usize = 512;

/// A layout's files, not yet looked into.
#[derive(Debug)]
pub(super) struct Source {
    /// What the package was named by, for messages.
    pub(super) origin: String,
    /// Bytes of each file.
    lengths: BTreeMap<String, u64>,
    store: Store,
}

#[derive(Debug)]
enum Store {
    Folder(PathBuf),
    Tar(File, BTreeMap<String, Extent>),
}

impl Source {
    /// The layout in a folder, or in a tar file.
    pub(super) fn open(path: &Path) -> Result<Self, LayoutError> {
        let origin = path.display().to_string();
        let no_package = || LayoutError::NoPackage {
            path: origin.clone(),
        };
        // Through links: whoever names the package chose it.
        let metadata = fs::metadata(path).map_err(|_| no_package())?;
        if metadata.is_dir() {
            return Ok(Self {
                lengths: listed(path, &origin)?,
                store: Store::Folder(path.to_owned()),
                origin,
            });
        }
        if !metadata.is_file() {
            return Err(no_package());
        }
        let file = File::open(path).map_err(|error| unreadable(&origin, &error))?;
        let extents = entries(&file, &origin)?;
        Ok(Self {
            lengths: extents
                .iter()
                .map(|(name, extent)| (name.clone(), extent.size))
                .collect(),
            store: Store::Tar(file, extents),
            origin,
        })
    }

    /// The files' names.
    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.lengths.keys()
    }

    /// Where a file lies, as messages say it.
    pub(super) fn place(&self, name: &str) -> String {
        format!("{}/{name}", self.origin)
    }

    /// A file of at most `most` bytes, whatever they are.
    pub(super) fn read(&self, name: &str, most: u64) -> Result<Vec<u8>, LayoutError> {
        let place = self.place(name);
        let Some(length) = self.lengths.get(name).copied() else {
            return Err(LayoutError::Missing { place });
        };
        if length > most {
            return Err(LayoutError::TooLarge {
                place,
                given: length,
                most,
            });
        }
        self.read_exactly(name, length, &place)
    }

    /// The blob that `descriptor` names, when it is that and has at most `most`
    /// bytes. `role` is what messages call it.
    pub(super) fn blob(
        &self,
        descriptor: &Descriptor,
        role: &str,
        most: u64,
    ) -> Result<Vec<u8>, LayoutError> {
        let place = self.expected(descriptor, role, most)?;
        let bytes = self.read_exactly(&descriptor.digest.file(), descriptor.size, &place)?;
        check(descriptor, &Digest::of(&bytes), place)?;
        Ok(bytes)
    }

    /// As [`Source::blob`], and keeps none of it.
    pub(super) fn check_blob(
        &self,
        descriptor: &Descriptor,
        role: &str,
        most: u64,
    ) -> Result<(), LayoutError> {
        let place = self.expected(descriptor, role, most)?;
        let found = self
            .reader(&descriptor.digest.file(), descriptor.size)
            .and_then(Digest::of_all);
        check(
            descriptor,
            &found.map_err(|error| unreadable(&place, &error))?,
            place,
        )
    }

    /// Where the blob lies, when it has the size that it must have.
    fn expected(
        &self,
        descriptor: &Descriptor,
        role: &str,
        most: u64,
    ) -> Result<String, LayoutError> {
        let name = descriptor.digest.file();
        let place = format!("{role} ({})", self.place(&name));
        if descriptor.size > most {
            return Err(LayoutError::TooLarge {
                place,
                given: descriptor.size,
                most,
            });
        }
        match self.lengths.get(&name).copied() {
            None => Err(LayoutError::Missing { place }),
            Some(given) if given != descriptor.size => Err(LayoutError::Size {
                place,
                said: descriptor.size,
                given,
            }),
            Some(_) => Ok(place),
        }
    }

    fn read_exactly(&self, name: &str, length: u64, place: &str) -> Result<Vec<u8>, LayoutError> {
        let mut bytes = Vec::new();
        self.reader(name, length)
            .and_then(|mut file| file.read_to_end(&mut bytes))
            .map_err(|error| unreadable(place, &error))?;
        // It was looked at twice, and may have shrunk between.
        if bytes.len() as u64 != length {
            return Err(LayoutError::Size {
                place: place.to_owned(),
                said: length,
                given: bytes.len() as u64,
            });
        }
        Ok(bytes)
    }

    /// The first `length` bytes of a file that is listed.
    fn reader(&self, name: &str, length: u64) -> io::Result<Box<dyn Read + '_>> {
        match &self.store {
            Store::Folder(folder) => Ok(Box::new(File::open(folder.join(name))?.take(length))),
            Store::Tar(file, extents) => {
                let mut file = file;
                file.seek(SeekFrom::Start(extents[name].start))?;
                Ok(Box::new(file.take(length)))
            }
        }
    }

    /// The folder, when it is one: what is written there is written file by file.
    pub(super) fn folder(&self) -> Option<&Path> {
        match &self.store {
            Store::Folder(folder) => Some(folder),
            Store::Tar(..) => None,
        }
    }
}

fn check(descriptor: &Descriptor, given: &Digest, place: String) -> Result<(), LayoutError> {
    if *given == descriptor.digest {
        return Ok(());
    }
    Err(LayoutError::Digest {
        place,
        said: descriptor.digest.to_string(),
        given: given.to_string(),
    })
}

/// Whether a layout may hold a file of this name.
pub(super) fn is_known(name: &str) -> bool {
    name == OCI_LAYOUT || name == INDEX || name.strip_prefix(BLOBS).is_some_and(is_hex)
}

/// Every file of a folder with its length; what cannot be part of a layout is
/// refused.
fn listed(folder: &Path, origin: &str) -> Result<BTreeMap<String, u64>, LayoutError> {
    let mut lengths = BTreeMap::new();
    for prefix in ["", "blobs/", BLOBS] {
        let here = folder.join(prefix);
        let listing = match fs::read_dir(&here) {
            Ok(listing) => listing,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(unreadable(&here.display().to_string(), &error)),
        };
        for entry in listing {
            let entry = entry.map_err(|error| unreadable(origin, &error))?;
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            let place = format!("{origin}/{name}");
            // Not through links: a package holds its files itself.
            let metadata = entry
                .metadata()
                .map_err(|error| unreadable(&place, &error))?;
            if metadata.is_dir() && FOLDERS.contains(&name.as_str()) {
                continue;
            }
            if !is_known(&name) {
                return Err(LayoutError::Stray { place });
            }
            if !metadata.is_file() {
                return Err(LayoutError::Malformed {
                    place,
                    what: "is not a plain file; put the file itself there".to_owned(),
                });
            }
            lengths.insert(name, metadata.len());
            if lengths.len() > MAX_FILES {
                return Err(too_many(origin));
            }
        }
    }
    Ok(lengths)
}

pub(super) fn too_many(origin: &str) -> LayoutError {
    LayoutError::Malformed {
        place: origin.to_owned(),
        what: format!("holds more than {MAX_FILES} files; a layout holds one package"),
    }
}

pub(super) fn unreadable(place: &str, error: &io::Error) -> LayoutError {
    LayoutError::Unreadable {
        place: place.to_owned(),
        what: error.to_string(),
    }
}
