//! A package: the manifest and the files it names, whole and checked.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::keys::Trust;
use super::layout::{Layout, LayoutError};
use super::manifest::{Golden, MAX_BYTES, Manifest, TokenizerFile};
use super::{PackageError, Settings};
use crate::calibrator::Calibrator;
use crate::engine::Limits;
use crate::item::Item;
use crate::revision::RevisionId;
use crate::tokenizer::MAX_FILE_BYTES;

/// The manifest's file.
pub(super) const MANIFEST: &str = "plugin.toml";

/// What model files may hold beside weights.
const MODEL_SLACK_BYTES: u64 = 16 << 20;

/// Bytes of the largest image of a golden case.
const MAX_IMAGE_BYTES: u64 = 8 << 20;

/// Bytes of the largest model of a package.
const MAX_MODEL_BYTES: u64 = 1 << 30;

type Bytes = Cow<'static, [u8]>;

/// A plugin's build, read but not yet compiled.
#[derive(Debug, Clone)]
pub struct Package {
    /// What it says of itself.
    pub manifest: Manifest,
    /// Where it came from, for messages.
    pub(crate) origin: String,
    pub(super) manifest_text: String,
    pub(super) component: Bytes,
    pub(super) models: BTreeMap<String, Bytes>,
    pub(super) tokenizers: BTreeMap<String, Bytes>,
    pub(super) calibrator: Calibrator,
    /// The items of the manifest's golden cases, in its order.
    pub(super) golden: Vec<Arc<Item>>,
    calibrator_text: String,
}

/// A file of a package that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{}: {what}", file.display())]
pub struct FileError {
    /// The file.
    pub file: PathBuf,
    /// Why, and how to mend it.
    pub what: String,
}

impl Package {
    /// Reads a plugin folder: `plugin.toml` and the files that it names. Limits that
    /// the manifest asks for are granted up to `max`, and a component above
    /// `max_component_bytes` is not read.
    ///
    /// The first file that is missing, too large or not plain, the first mistake
    /// in manifest or calibrator, or the first model with another digest.
    pub fn read(
        folder: &Path,
        max: &Limits,
        max_component_bytes: usize,
    ) -> Result<Self, PackageError> {
        Self::read_for(folder, Some(max), max_component_bytes)
    }

    /// Reads a plugin folder that this host may not be able to load: to be shown.
    pub fn read_of_any_host(
        folder: &Path,
        max_component_bytes: usize,
    ) -> Result<Self, PackageError> {
        Self::read_for(folder, None, max_component_bytes)
    }

    fn read_for(
        folder: &Path,
        max: Option<&Limits>,
        max_component_bytes: usize,
    ) -> Result<Self, PackageError> {
        if !folder.is_dir() {
            return Err(PackageError::File(FileError {
                file: folder.to_owned(),
                what: "not a plugin folder; give the folder that holds plugin.toml".to_owned(),
            }));
        }
        Self::from_files_for(&folder.display().to_string(), max, |name, kind| {
            read_file(folder, name, kind, max_component_bytes).map(Cow::Owned)
        })
    }

    /// Reads a plugin folder, or a packed package in a folder or a tar file, when
    /// `trust` lets it load. The rest is as in [`Package::read`].
    ///
    /// Also a packed package that is not what its digests and signatures say, before
    /// anything in it is parsed beyond its manifest, and one that is not trusted.
    pub fn open(
        path: &Path,
        max: &Limits,
        max_component_bytes: usize,
        trust: &Trust,
    ) -> Result<Self, PackageError> {
        if Layout::is_at(path) {
            let layout = Layout::open(path, trust.keys(), max, max_component_bytes)?;
            layout.accept(trust)?;
            return layout.package();
        }
        if matches!(trust, Trust::Keys(_)) {
            return Err(PackageError::Layout(LayoutError::Unsigned {
                package: path.display().to_string(),
            }));
        }
        Self::read(path, max, max_component_bytes)
    }

    /// A package from anything that gives its files by name, such as an archive;
    /// `origin` is only the name that messages use. `read` bounds what it gives:
    /// here nothing is refused for its length.
    ///
    /// As [`Package::read`], and whatever `read` says of a file that is not there.
    pub fn from_files(
        origin: &str,
        max: &Limits,
        read: impl Fn(&str, FileKind) -> Result<Bytes, FileError>,
    ) -> Result<Self, PackageError> {
        Self::from_files_for(origin, Some(max), read)
    }

    /// As [`Package::from_files`]; without `max`, also a package that no host like this
    /// one would load, to be shown.
    pub(super) fn from_files_for(
        origin: &str,
        max: Option<&Limits>,
        read: impl Fn(&str, FileKind) -> Result<Bytes, FileError>,
    ) -> Result<Self, PackageError> {
        let shown = |name: &str| format!("{origin}/{name}");
        let manifest_bytes = read(MANIFEST, FileKind::Text)?;
        let manifest_text = text(&manifest_bytes, &shown(MANIFEST))?;
        let file = shown(MANIFEST);
        let manifest = match max {
            Some(max) => Manifest::parse(&file, &manifest_text, max)?,
            None => Manifest::parse_of_any_host(&file, &manifest_text)?,
        };
        let mut n_bytes = 0_u64;
        let mut hashed = |file: &str, kind: FileKind, sha256: &str, line: usize| {
            let bytes = read(file, kind)?;
            // Before the next is read: a manifest may name one file many times.
            n_bytes += bytes.len() as u64;
            let most = manifest.limits.weight_bytes;
            let place = || format!("{}:{line}", shown(MANIFEST));
            if n_bytes > most.saturating_add(MODEL_SLACK_BYTES) {
                return Err(PackageError::Models {
                    place: place(),
                    given: n_bytes,
                    most,
                });
            }
            let given = hex(&Sha256::digest(&bytes));
            if given != sha256 {
                return Err(PackageError::ModelDigest {
                    place: place(),
                    file: file.to_owned(),
                    given,
                });
            }
            Ok(bytes)
        };
        let (mut models, mut tokenizers) = (BTreeMap::new(), BTreeMap::new());
        for (name, model) in &manifest.models {
            let bytes = hashed(&model.file, FileKind::Model, &model.sha256, model.line)?;
            models.insert(name.clone(), bytes);
        }
        for (name, tokenizer) in &manifest.tokenizers {
            let TokenizerFile { file, sha256, line } = tokenizer;
            let bytes = hashed(file, FileKind::Tokenizer, sha256, *line)?;
            tokenizers.insert(name.clone(), bytes);
        }
        let calibrator_text = text(
            &read(&manifest.calibrator, FileKind::Text)?,
            &shown(&manifest.calibrator),
        )?;
        let calibrator = Calibrator::parse(&shown(&manifest.calibrator), &calibrator_text)?;
        for label in manifest.labels.keys() {
            if !calibrator.labels().any(|known| known == label) {
                return Err(PackageError::Uncalibrated {
                    file: shown(&manifest.calibrator),
                    label: label.clone(),
                });
            }
        }
        let golden = manifest
            .golden
            .iter()
            .map(|golden| golden_item(golden, &read));
        let golden = golden.collect::<Result<_, _>>()?;
        Ok(Self {
            golden,
            component: read(&manifest.component, FileKind::Component)?,
            origin: origin.to_owned(),
            manifest,
            manifest_text,
            models,
            tokenizers,
            calibrator,
            calibrator_text,
        })
    }

    /// Its models by name, as their files hold them.
    pub fn models(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let models = self.models.iter();
        models.map(|(name, bytes)| (name.as_str(), bytes.as_ref()))
    }

    /// Its tokenizers by name, as their files hold them.
    pub fn tokenizers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let tokenizers = self.tokenizers.iter();
        tokenizers.map(|(name, bytes)| (name.as_str(), bytes.as_ref()))
    }

    /// The component's bytes.
    pub fn component(&self) -> &[u8] {
        &self.component
    }

    /// What of `given` differs from the manifest's defaults.
    ///
    /// # Errors
    ///
    /// `Setting`, as [`Manifest::settle`].
    pub fn settle(&self, given: &Settings) -> Result<Settings, PackageError> {
        let settled = self.manifest.settle(given);
        settled.map_err(|error| PackageError::Setting {
            origin: self.origin.clone(),
            error,
        })
    }

    /// The revision's name: sha256 over everything that decides its answers,
    /// each part with its name and length, so that no two packages read alike.
    ///
    /// `settings` are those that differ from the manifest's defaults, as
    /// [`Package::settle`] gives them.
    pub fn revision(&self, settings: &Settings) -> RevisionId {
        let mut hasher = Sha256::new();
        let mut part = |name: &str, bytes: &[u8]| {
            hasher.update(format!("{name} {}\n", bytes.len()));
            hasher.update(bytes);
        };
        part("manifest", self.manifest_text.as_bytes());
        part("component", &self.component);
        for (name, model) in &self.manifest.models {
            part(&format!("model {name}"), model.sha256.as_bytes());
        }
        for (name, tokenizer) in &self.manifest.tokenizers {
            part(&format!("tokenizer {name}"), tokenizer.sha256.as_bytes());
        }
        part("calibrator", self.calibrator_text.as_bytes());
        for (key, value) in settings {
            part(&format!("setting {key}"), value.to_string().as_bytes());
        }
        RevisionId::new(hasher.finalize().into())
    }
}

/// The item of a golden case: its text, its image, or both.
fn golden_item(
    golden: &Golden,
    read: impl Fn(&str, FileKind) -> Result<Bytes, FileError>,
) -> Result<Arc<Item>, FileError> {
    let mut item = Item {
        id: golden.name.clone(),
        ..Item::default()
    };
    if let Some(text) = &golden.text {
        item.push_text("text", text.clone(), None);
    }
    if let Some(image) = &golden.image {
        item.push_image(read(image, FileKind::Image)?.into());
    }
    Ok(Arc::new(item))
}

fn text(bytes: &[u8], file: &str) -> Result<String, PackageError> {
    let text = std::str::from_utf8(bytes).map(str::to_owned);
    text.map_err(|error| {
        PackageError::File(FileError {
            file: file.into(),
            what: format!(
                "not UTF-8 at byte {}; save it as UTF-8",
                error.valid_up_to()
            ),
        })
    })
}

/// What a file of a package is for, whatever its name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// The manifest or the calibrator.
    Text,
    /// The component.
    Component,
    /// An ONNX file.
    Model,
    /// A `tokenizer.json`.
    Tokenizer,
    /// The image of a golden case.
    Image,
}

impl FileKind {
    pub(super) fn max_bytes(self, max_component_bytes: usize) -> u64 {
        match self {
            Self::Text => MAX_BYTES as u64,
            Self::Component => max_component_bytes as u64,
            Self::Model => MAX_MODEL_BYTES,
            Self::Tokenizer => MAX_FILE_BYTES,
            Self::Image => MAX_IMAGE_BYTES,
        }
    }
}

/// A file of a plugin folder.
pub(super) fn read_file(
    folder: &Path,
    name: &str,
    kind: FileKind,
    max_component_bytes: usize,
) -> Result<Vec<u8>, FileError> {
    let file = folder.join(name);
    read_bounded(&file, kind.max_bytes(max_component_bytes))
        .map_err(|what| FileError { file, what })
}

/// The whole file, when it is a plain one of at most `most` bytes.
fn read_bounded(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    // Asked first, and not through links: opening a pipe waits for its writer, and
    // a package holds its files itself.
    let metadata = path
        .symlink_metadata()
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => "is not there; the package must hold it".to_owned(),
            _ => format!("cannot be opened: {error}"),
        })?;
    if !metadata.is_file() {
        return Err("is not a plain file; put the file itself there".to_owned());
    }
    let file = File::open(path).map_err(|error| format!("cannot be opened: {error}"))?;
    if metadata.len() > most {
        return Err(format!(
            "has {} bytes, at most {most} are taken",
            metadata.len()
        ));
    }
    let mut bytes = Vec::new();
    // The file may grow between the two looks.
    let read = file.take(most + 1).read_to_end(&mut bytes);
    read.map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > most {
        return Err(format!(
            "has more than {most} bytes, the most that are taken"
        ));
    }
    Ok(bytes)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
