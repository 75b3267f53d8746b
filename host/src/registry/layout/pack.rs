//! Writes layouts: the same files give the same bytes, wherever and whenever.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use super::archive;
use super::blob::{Descriptor, TITLE};
use super::index::{
    DETECTOR_TYPE, EMPTY, INDEX_TYPE, Index, MANIFEST_TYPE, MAX_LAYERS, Manifest, OCI_LAYOUT_TEXT,
    REF_NAME, SIGNATURE_TYPE, fallback_tag, to_json,
};
use super::signature::{MAX_SIGNATURES, sign};
use super::source::{FOLDERS, INDEX, OCI_LAYOUT};
use super::{Digest, Layout, LayoutError, Stored};
use crate::engine::Limits;
use crate::registry::keys::PrivateKey;
use crate::registry::package::{FileKind, MANIFEST, read_file};
use crate::registry::{FileError, Package, PackageError};
use crate::signal::DetectorId;

/// How a layout lies on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A folder.
    Folder,
    /// One tar file.
    Tar,
}

/// A package that is packed and not yet written.
#[derive(Debug)]
pub struct Packed {
    /// The detector's name.
    pub id: DetectorId,
    /// The author's version of it.
    pub version: String,
    /// The digest of its manifest.
    pub digest: Digest,
    /// The layout's files by name.
    files: BTreeMap<String, Vec<u8>>,
}

impl Packed {
    /// Packs a plugin folder: what its manifest names and nothing else, read and checked
    /// as [`Package::read`] does.
    pub fn of(
        folder: &Path,
        max: &Limits,
        max_component_bytes: usize,
    ) -> Result<Self, PackageError> {
        let read = |name: &str, kind: FileKind| read_file(folder, name, kind, max_component_bytes);
        // What the loader asks for is what a package must hold.
        let asked = RefCell::new(BTreeMap::new());
        let origin = folder.display().to_string();
        let package = Package::from_files(&origin, max, |name, kind| {
            let bytes = read(name, kind)?;
            let mut asked = asked.borrow_mut();
            match asked.insert(name.to_owned(), (kind, bytes.clone())) {
                Some((before, _)) if before != kind => Err(FileError {
                    file: folder.join(name),
                    what: format!("{MANIFEST} names it for two purposes; make a copy for one"),
                }),
                _ => Ok(bytes.into()),
            }
        })?;
        let mut asked = asked.into_inner();
        if let Some(card) = &package.manifest.model_card
            && !asked.contains_key(card)
        {
            let bytes = read(card, FileKind::Text)?;
            asked.insert(card.clone(), (FileKind::Text, bytes));
        }
        if asked.len() > MAX_LAYERS {
            return Err(PackageError::File(FileError {
                file: folder.join(MANIFEST),
                what: format!(
                    "names {} files, at most {MAX_LAYERS} are packed; bring fewer",
                    asked.len()
                ),
            }));
        }
        let (digest, files) = layout(asked);
        Ok(Self {
            id: package.manifest.id,
            version: package.manifest.version,
            digest,
            files,
        })
    }

    /// Writes it to `to`, which must not be there yet, whole or not at all.
    pub fn write(&self, to: &Path, shape: Shape) -> Result<(), LayoutError> {
        if to.symlink_metadata().is_ok() {
            return Err(unwritable(
                to,
                "is there already; remove it, or give another name",
            ));
        }
        let new = beside(to).map_err(|error| unwritable(to, &error))?;
        let written = match shape {
            Shape::Folder => write_folder(&self.files, &new),
            Shape::Tar => write_tar(&self.files, &new),
        };
        let written = written.and_then(|()| fs::rename(&new, to));
        written.map_err(|error| {
            let _ = fs::remove_file(&new);
            let _ = fs::remove_dir_all(&new);
            unwritable(to, &error)
        })
    }
}

/// The layout of some files, and its manifest's digest.
fn layout(files: BTreeMap<String, (FileKind, Vec<u8>)>) -> (Digest, BTreeMap<String, Vec<u8>>) {
    // Apart from the names: what a reader wants first comes first.
    let rank = |kind: FileKind, name: &str| match kind {
        FileKind::Text if name == MANIFEST => 0,
        FileKind::Component => 1,
        FileKind::Model | FileKind::Tokenizer => 2,
        FileKind::Text | FileKind::Image => 3,
    };
    let mut ordered: Vec<_> = files.into_iter().collect();
    ordered.sort_by(|(a, (a_kind, _)), (b, (b_kind, _))| {
        (rank(*a_kind, a), a).cmp(&(rank(*b_kind, b), b))
    });
    let mut layers = Vec::with_capacity(ordered.len());
    let mut blobs = Vec::with_capacity(ordered.len());
    for (name, (kind, bytes)) in ordered {
        layers.push(Descriptor::of(&bytes, kind.media_type(&name)).annotated(TITLE, &name));
        blobs.push(bytes);
    }
    let manifest = to_json(&Manifest::of(DETECTOR_TYPE, layers, None));
    let package = Descriptor::of(&manifest, MANIFEST_TYPE);
    blobs.extend([manifest, EMPTY.to_vec()]);
    let mut files = with_digests(blobs);
    let (index, _) = index(&package, &[]);
    files.insert(INDEX.to_owned(), index);
    files.insert(OCI_LAYOUT.to_owned(), OCI_LAYOUT_TEXT.to_vec());
    (package.digest, files)
}

fn with_digests(blobs: Vec<Vec<u8>>) -> BTreeMap<String, Vec<u8>> {
    let named = |blob: Vec<u8>| (Digest::of(&blob).file(), blob);
    blobs.into_iter().map(named).collect()
}

/// `index.json`, and the index of referrers where there are some.
fn index(package: &Descriptor, signatures: &[Descriptor]) -> (Vec<u8>, Option<Vec<u8>>) {
    let package = package.clone().of_type(DETECTOR_TYPE);
    let tag = fallback_tag(&package.digest);
    let mut listed = vec![package];
    listed.extend_from_slice(signatures);
    if signatures.is_empty() {
        return (to_json(&Index::of(listed)), None);
    }
    let fallback = to_json(&Index::of(signatures.to_vec()));
    listed.push(Descriptor::of(&fallback, INDEX_TYPE).annotated(REF_NAME, &tag));
    (to_json(&Index::of(listed)), Some(fallback))
}

impl Layout {
    /// Signs it where it lies, once every layer is verified. False when this key has
    /// signed it before, and nothing was changed.
    pub fn sign(&self, key: &PrivateKey) -> Result<bool, LayoutError> {
        self.verify()?;
        let (envelope, manifest) = sign(&self.subject(), key);
        let signature = Descriptor::of(&manifest, MANIFEST_TYPE).of_type(SIGNATURE_TYPE);
        let is_same = |stored: &Stored| stored.manifest.digest == signature.digest;
        if self.signatures.iter().any(is_same) {
            return Ok(false);
        }
        if self.signatures.len() >= MAX_SIGNATURES {
            return Err(unwritable(
                Path::new(&self.source.origin),
                &format!("has {MAX_SIGNATURES} signatures, the most there may be"),
            ));
        }
        let bare = |stored: &Stored| Descriptor {
            annotations: BTreeMap::new(),
            ..stored.manifest.clone().of_type(SIGNATURE_TYPE)
        };
        let mut signatures: Vec<Descriptor> = self.signatures.iter().map(bare).collect();
        signatures.push(signature);
        signatures.sort_by(|a, b| a.digest.cmp(&b.digest));
        let (index, fallback) = index(&self.package.descriptor, &signatures);
        let mut new = vec![envelope, manifest];
        new.extend(fallback);
        let new = with_digests(new);
        // The index of referrers that this one takes the place of.
        let gone = self.fallback.as_ref().map(Digest::file);
        let gone = gone.filter(|name| !new.contains_key(name));
        match self.source.folder() {
            Some(folder) => update(folder, &new, &index, gone.as_deref()),
            None => self.rewrite(new, index, gone.as_deref())?,
        }
        .map_err(|error| unwritable(Path::new(&self.source.origin), &error))?;
        Ok(true)
    }

    /// Writes it to `to`, which must not be there yet, as one tar file with its
    /// signatures, whole or not at all. Its layers are not verified.
    pub fn write_tar(&self, to: &Path) -> Result<(), LayoutError> {
        let mut files = BTreeMap::new();
        for name in self.source.names() {
            files.insert(name.clone(), self.source.read(name, u64::MAX)?);
        }
        let write = || {
            let new = beside(to)?;
            let written = write_tar(&files, &new).and_then(|()| fs::rename(&new, to));
            if written.is_err() {
                let _ = fs::remove_file(&new);
            }
            written
        };
        write().map_err(|error| unwritable(to, &error))
    }

    /// The package as its signatures name it, whatever the index adds.
    fn subject(&self) -> Descriptor {
        Descriptor {
            artifact_type: None,
            annotations: BTreeMap::new(),
            ..self.package.descriptor.clone()
        }
    }

    /// The tar file anew, beside the old one and then in its place.
    fn rewrite(
        &self,
        new: BTreeMap<String, Vec<u8>>,
        index: Vec<u8>,
        gone: Option<&str>,
    ) -> Result<io::Result<()>, LayoutError> {
        let mut files = new;
        let kept = |name: &&String| Some(name.as_str()) != gone;
        for name in self.source.names().filter(kept) {
            files.insert(name.clone(), self.source.read(name, u64::MAX)?);
        }
        files.insert(INDEX.to_owned(), index);
        let to = Path::new(&self.source.origin);
        Ok(beside(to).and_then(|new| {
            let written = write_tar(&files, &new).and_then(|()| fs::rename(&new, to));
            if written.is_err() {
                let _ = fs::remove_file(&new);
            }
            written
        }))
    }
}

/// Blobs first, then the index that names them, and last what it names no more: cut
/// off in between, it holds at worst a file too many, which the next reader names.
fn update(
    folder: &Path,
    blobs: &BTreeMap<String, Vec<u8>>,
    index: &[u8],
    gone: Option<&str>,
) -> io::Result<()> {
    let index = [(INDEX, index)].into_iter();
    let blobs = blobs
        .iter()
        .map(|(name, blob)| (name.as_str(), blob.as_slice()));
    for (name, bytes) in blobs.chain(index) {
        // Beside the folder, in which no such file may lie.
        let new = beside(folder)?;
        let written = write_file(&new, bytes).and_then(|()| fs::rename(&new, folder.join(name)));
        if written.is_err() {
            let _ = fs::remove_file(&new);
        }
        written?;
    }
    gone.map_or(Ok(()), |name| fs::remove_file(folder.join(name)))
}

fn write_folder(files: &BTreeMap<String, Vec<u8>>, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for folder in FOLDERS {
        fs::create_dir(to.join(folder))?;
    }
    files
        .iter()
        .try_for_each(|(name, bytes)| write_file(&to.join(name), bytes))
}

fn write_file(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(file)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn write_tar(files: &BTreeMap<String, Vec<u8>>, to: &Path) -> io::Result<()> {
    let file = File::create_new(to)?;
    archive::write(files, BufWriter::new(&file))?;
    file.sync_all()
}

/// A name beside `file` that nobody else has.
fn beside(file: &Path) -> io::Result<PathBuf> {
    let random = getrandom::u64().map_err(io::Error::other)?;
    Ok(file.with_file_name(format!(".new-{random:016x}")))
}

fn unwritable(place: &Path, what: &(impl ToString + ?Sized)) -> LayoutError {
    LayoutError::Unwritable {
        place: place.display().to_string(),
        what: what.to_string(),
    }
}
