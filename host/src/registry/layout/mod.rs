//! A package as an OCI image layout, in a folder or one tar file: packed, signed,
//! verified and read.
//!
//! Nothing in it is believed before it is checked: index and manifests are bounded and
//! name every other byte by its sha256, signatures are judged before a layer is read,
//! and every layer is hashed before one is looked into. What the package gives then are
//! the files of a plugin folder, read as those are.

mod archive;
mod blob;
mod error;
mod index;
mod listing;
mod pack;
mod signature;
mod source;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

pub use blob::Digest;
pub use error::LayoutError;
pub use index::{DETECTOR_TYPE, SIGNATURE_TYPE};
pub use pack::{Packed, Shape};
pub use signature::{PAYLOAD_TYPE, Signature};

use blob::Descriptor;
use index::{EMPTY, MAX_JSON_BYTES, check_version, malformed};
use listing::{Listed, Listing, listed};
use source::{INDEX, OCI_LAYOUT, Source};

use super::keys::{PublicKey, Trust};
use super::package::{FileKind, MANIFEST};
use super::{FileError, Package, PackageError};
use crate::engine::Limits;
use crate::excerpt::printable;

/// Bytes of all layers of models and tokenizers together, beside the weights that a host grants.
const MODEL_SLACK_BYTES: u64 = 16 << 20;

/// Bytes of all other files together: the images of as many golden cases as there may
/// be, and the texts.
const MAX_OTHER_BYTES: u64 = 520 << 20;

/// A packed package whose manifest and signatures were read and checked; its layers
/// were not.
#[derive(Debug)]
pub struct Layout {
    source: Source,
    package: Listing,
    signatures: Vec<Stored>,
    /// The index of referrers, where there is one.
    fallback: Option<Digest>,
    max: Limits,
    max_component_bytes: usize,
}

/// A signature with the descriptor of its manifest.
#[derive(Debug)]
struct Stored {
    signature: Signature,
    manifest: Descriptor,
}

/// One file of a packed package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer<'a> {
    /// Its name in the plugin folder.
    pub file: &'a str,
    /// Its media type.
    pub media_type: &'a str,
    /// Its digest.
    pub digest: &'a Digest,
    /// Its bytes.
    pub size: u64,
}

impl Layout {
    /// Whether `path` is meant as a packed package: a file, or a folder that is an OCI
    /// image layout rather than a plugin's.
    pub fn is_at(path: &Path) -> bool {
        let has = |name: &str| path.join(name).symlink_metadata().is_ok();
        !path.is_dir() || has(OCI_LAYOUT) || (has(INDEX) && !has(MANIFEST))
    }

    /// Opens a package, checks its manifest against the index and its signatures
    /// against the manifest, and those that name one of `keys` against that key. `max`
    /// and `max_component_bytes` bound what its layers may hold.
    pub fn open(
        path: &Path,
        keys: &[PublicKey],
        max: &Limits,
        max_component_bytes: usize,
    ) -> Result<Self, LayoutError> {
        let source = Source::open(path)?;
        let version = source.read(OCI_LAYOUT, MAX_JSON_BYTES)?;
        check_version(&version, &source.place(OCI_LAYOUT))?;
        let Listed {
            package,
            signatures,
            fallback,
        } = listed(&source)?;
        let mut known = BTreeSet::from([OCI_LAYOUT.to_owned(), INDEX.to_owned()]);
        known.extend(fallback.iter().map(Digest::file));
        let mut stored = Vec::with_capacity(signatures.len());
        for listing in signatures {
            let (signature, envelope) =
                signature::read(&source, &listing, &package.descriptor, keys)?;
            known.extend([listing.descriptor.digest.file(), envelope.file()]);
            stored.push(Stored {
                signature,
                manifest: listing.descriptor,
            });
        }
        let layers = package.manifest.files(&package.place)?;
        known.extend(layers.values().map(|layer| layer.digest.file()));
        known.extend([package.descriptor.digest.file(), Digest::of(EMPTY).file()]);
        if let Some(stray) = source.names().find(|name| !known.contains(*name)) {
            return Err(LayoutError::Stray {
                place: source.place(stray),
            });
        }
        Ok(Self {
            source,
            package,
            signatures: stored,
            fallback,
            max: max.clone(),
            max_component_bytes,
        })
    }

    /// The digest of its manifest, which names everything in it: what is signed.
    pub fn digest(&self) -> &Digest {
        &self.package.descriptor.digest
    }

    /// Its signatures.
    pub fn signatures(&self) -> impl Iterator<Item = &Signature> {
        self.signatures.iter().map(|stored| &stored.signature)
    }

    /// Its files, in the manifest's order.
    pub fn layers(&self) -> impl Iterator<Item = Layer<'_>> {
        self.package.manifest.layers.iter().map(|layer| Layer {
            file: &layer.annotations[blob::TITLE],
            media_type: &layer.media_type,
            digest: &layer.digest,
            size: layer.size,
        })
    }

    /// Checks that `trust` lets it load: `Unsigned` or `Untrusted` where it does not.
    /// It must have been opened with the keys of `trust`.
    pub fn accept(&self, trust: &Trust) -> Result<(), LayoutError> {
        let is_signed = !self.signatures.is_empty();
        if matches!(trust, Trust::Anyone)
            || self.signatures().any(|signature| signature.verified)
            || (!is_signed && matches!(trust, Trust::KeysOrUnsigned(_)))
        {
            return Ok(());
        }
        let package = self.source.origin.clone();
        if !is_signed {
            return Err(LayoutError::Unsigned { package });
        }
        let signers: Vec<String> = self.signatures().map(|one| one.key.to_string()).collect();
        Err(LayoutError::Untrusted {
            package,
            signers: signers.join(", "),
        })
    }

    /// Checks every layer's size and sha256, and that they keep to the host's bounds.
    /// Blocking: it reads the whole package, and keeps none of it.
    pub fn verify(&self) -> Result<(), LayoutError> {
        let mut left = BTreeMap::from([
            (
                "the models",
                self.max.weight_bytes.saturating_add(MODEL_SLACK_BYTES),
            ),
            ("the other files", MAX_OTHER_BYTES),
        ]);
        // Before any is read: whoever wrote the manifest chose the sizes.
        for layer in self.layers() {
            let of = match FileKind::of_layer(layer.file, layer.media_type) {
                Some(FileKind::Model | FileKind::Tokenizer) => "the models",
                _ => "the other files",
            };
            let left = left.get_mut(of).expect("one of the two");
            *left = left.checked_sub(layer.size).ok_or_else(|| {
                malformed(
                    &self.package.place,
                    format!("{of} have more bytes together than this host takes; bring less"),
                )
            })?;
        }
        self.source
            .check_blob(&self.package.manifest.config, "the empty config", 2)?;
        for descriptor in &self.package.manifest.layers {
            self.check_layer(descriptor)?;
        }
        Ok(())
    }

    fn check_layer(&self, descriptor: &Descriptor) -> Result<(), LayoutError> {
        let file = &descriptor.annotations[blob::TITLE];
        let kind = FileKind::of_layer(file, &descriptor.media_type);
        let kind = kind.expect("checked when it was opened");
        let most = kind.max_bytes(self.max_component_bytes);
        self.source
            .check_blob(descriptor, &format!("layer `{file}`"), most)
    }

    /// The package, once every layer is verified. Limits that its manifest asks for
    /// are granted up to those it was opened with.
    ///
    /// As [`Layout::verify`], and as [`Package::read`] of the folder that was packed;
    /// also for a layer that its plugin manifest does not name.
    pub fn package(&self) -> Result<Package, PackageError> {
        self.package_for(Some(&self.max))
    }

    /// As [`Layout::package`], of a package that this host may not be able to load: to
    /// be shown.
    pub fn package_of_any_host(&self) -> Result<Package, PackageError> {
        self.package_for(None)
    }

    fn package_for(&self, max: Option<&Limits>) -> Result<Package, PackageError> {
        self.verify()?;
        let package = Package::from_files_for(&self.source.origin, max, |name, kind| {
            self.file(name, kind).map(Cow::Owned)
        })?;
        let named: BTreeSet<&str> = package.manifest.files().collect();
        match self.layers().find(|layer| !named.contains(layer.file)) {
            None => Ok(package),
            Some(layer) => Err(PackageError::File(FileError {
                file: self.source.place(layer.file).into(),
                what: format!("{MANIFEST} does not name it; leave it out and pack again"),
            })),
        }
    }

    /// A file as the loader asks for it; checked again, since it is read again.
    fn file(&self, name: &str, kind: FileKind) -> Result<Vec<u8>, FileError> {
        let refused = |what: String| FileError {
            file: self.source.place(name).into(),
            what,
        };
        let named = |layer: &&Descriptor| layer.annotations[blob::TITLE] == name;
        let Some(layer) = self.package.manifest.layers.iter().find(named) else {
            return Err(refused("is not there; the package must hold it".to_owned()));
        };
        if layer.media_type != kind.media_type(name) {
            return Err(refused(format!(
                "is a layer of type `{}`, where `{}` is wanted; pack it again",
                printable(&layer.media_type, 80),
                kind.media_type(name)
            )));
        }
        let most = kind.max_bytes(self.max_component_bytes);
        self.source
            .blob(layer, "the layer", most)
            .map_err(|error| refused(error.to_string()))
    }
}
