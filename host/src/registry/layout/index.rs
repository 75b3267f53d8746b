//! The JSON of a layout: index and manifests, and what they must say.
//!
//! Unknown fields are refused, so that every byte of a package means something.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::LayoutError;
use super::blob::{Descriptor, Digest, TITLE};
use crate::excerpt::printable;
use crate::registry::package::{FileKind, MANIFEST};

/// The type of a package's manifest.
pub const DETECTOR_TYPE: &str = "application/vnd.trommel.detector.v1";

/// The type of a signature's manifest.
pub const SIGNATURE_TYPE: &str = "application/vnd.trommel.signature.v1";

/// What an OCI image manifest is called.
pub(super) const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// What an OCI image index is called.
pub(super) const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";

const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";

/// The blob of an empty config.
pub(super) const EMPTY: &[u8] = b"{}";

/// The annotation of an index that holds a tag.
pub(super) const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// All that `oci-layout` says.
pub(super) const OCI_LAYOUT_TEXT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// Bytes of the largest index or manifest.
pub(super) const MAX_JSON_BYTES: u64 = 256 << 10;

/// Layers of a package at most.
pub(super) const MAX_LAYERS: usize = 256;

/// Characters of a message that repeats what a JSON file says.
const MESSAGE_CHARS: usize = 300;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Version {
    image_layout_version: String,
}

/// `index.json`, or the index that stands for referrers where a registry has none.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Index {
    pub(super) schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) media_type: Option<String>,
    pub(super) manifests: Vec<Descriptor>,
}

/// The manifest of a package or of a signature.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Manifest {
    pub(super) schema_version: u32,
    pub(super) media_type: String,
    pub(super) artifact_type: String,
    pub(super) config: Descriptor,
    pub(super) layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) subject: Option<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) annotations: BTreeMap<String, String>,
}

impl Index {
    pub(super) fn of(manifests: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(INDEX_TYPE.to_owned()),
            manifests,
        }
    }

    pub(super) fn parse(json: &[u8], place: &str) -> Result<Self, LayoutError> {
        let index: Self = parse(json, place)?;
        let is_index = |said: &String| said == INDEX_TYPE;
        if index.schema_version != 2 || !index.media_type.as_ref().is_none_or(is_index) {
            return Err(malformed(
                place,
                format!("is no OCI image index (`{INDEX_TYPE}`, schema version 2)"),
            ));
        }
        Ok(index)
    }
}

impl Manifest {
    pub(super) fn of(
        artifact_type: &str,
        layers: Vec<Descriptor>,
        subject: Option<Descriptor>,
    ) -> Self {
        Self {
            schema_version: 2,
            media_type: MANIFEST_TYPE.to_owned(),
            artifact_type: artifact_type.to_owned(),
            config: Descriptor::of(EMPTY, EMPTY_TYPE),
            layers,
            subject,
            annotations: BTreeMap::new(),
        }
    }

    /// A manifest of either type with an empty config.
    pub(super) fn parse(json: &[u8], place: &str) -> Result<Self, LayoutError> {
        let manifest: Self = parse(json, place)?;
        if manifest.schema_version != 2 || manifest.media_type != MANIFEST_TYPE {
            return Err(malformed(
                place,
                format!("is no OCI image manifest (`{MANIFEST_TYPE}`, schema version 2)"),
            ));
        }
        if manifest.config != Descriptor::of(EMPTY, EMPTY_TYPE) {
            return Err(malformed(
                place,
                format!("its config must be the empty one (`{EMPTY_TYPE}`)"),
            ));
        }
        Ok(manifest)
    }

    /// The layers of a package by file name.
    pub(super) fn files(&self, place: &str) -> Result<BTreeMap<&str, &Descriptor>, LayoutError> {
        if self.subject.is_some() || !self.annotations.is_empty() {
            return Err(malformed(
                place,
                "a package's manifest has neither subject nor annotations",
            ));
        }
        if self.layers.len() > MAX_LAYERS {
            return Err(malformed(
                place,
                format!("more than {MAX_LAYERS} layers; bring fewer files"),
            ));
        }
        let mut files = BTreeMap::new();
        for layer in &self.layers {
            let digest = &layer.digest;
            let Some(title) = layer.annotations.get(TITLE).filter(|title| is_plain(title)) else {
                return Err(malformed(
                    place,
                    format!("layer {digest} has no plain file name; give it one in `{TITLE}`"),
                ));
            };
            if layer.annotations.len() > 1 || layer.artifact_type.is_some() {
                return Err(malformed(
                    place,
                    format!("layer `{title}` says more of itself than its name"),
                ));
            }
            if FileKind::of_layer(title, &layer.media_type).is_none() {
                let given = printable(&layer.media_type, MESSAGE_CHARS);
                return Err(malformed(
                    place,
                    format!(
                        "layer `{title}` is of type `{given}`, which no such file of a package has"
                    ),
                ));
            }
            if files.insert(title.as_str(), layer).is_some() {
                return Err(malformed(place, format!("two layers are called `{title}`")));
            }
        }
        Ok(files)
    }
}

/// The media type of a plugin's manifest.
const PLUGIN_TYPE: &str = "application/vnd.trommel.plugin.v1+toml";

/// The media type of a component.
const COMPONENT_TYPE: &str = "application/wasm";

/// The media type of a model, a layer of its own so that its weights are stored once.
const MODEL_TYPE: &str = "application/vnd.trommel.model.v1+onnx";

/// The media type of a tokenizer, a layer of its own for the same reason.
const TOKENIZER_TYPE: &str = "application/vnd.trommel.tokenizer.v1+json";

/// The media type of every other file.
const FILE_TYPE: &str = "application/vnd.trommel.file.v1";

impl FileKind {
    /// The media type of a file's layer.
    pub(super) fn media_type(self, name: &str) -> &'static str {
        match self {
            Self::Text if name == MANIFEST => PLUGIN_TYPE,
            Self::Component => COMPONENT_TYPE,
            Self::Model => MODEL_TYPE,
            Self::Tokenizer => TOKENIZER_TYPE,
            Self::Text | Self::Image => FILE_TYPE,
        }
    }

    /// The largest kind that a layer may be read as.
    pub(super) fn of_layer(name: &str, media_type: &str) -> Option<Self> {
        match media_type {
            PLUGIN_TYPE if name == MANIFEST => Some(Self::Text),
            _ if name == MANIFEST => None,
            COMPONENT_TYPE => Some(Self::Component),
            MODEL_TYPE => Some(Self::Model),
            TOKENIZER_TYPE => Some(Self::Tokenizer),
            FILE_TYPE => Some(Self::Image),
            _ => None,
        }
    }
}

/// As the plugin's manifest may name files, too.
fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    !name.is_empty() && !name.starts_with('.') && name.chars().all(plain)
}

/// Whether `oci-layout` says what it must.
pub(super) fn check_version(json: &[u8], place: &str) -> Result<(), LayoutError> {
    let version: Version = parse(json, place)?;
    if version.image_layout_version == "1.0.0" {
        return Ok(());
    }
    Err(malformed(
        place,
        "is of another version of OCI's image layout than 1.0.0; pack it again",
    ))
}

/// The tag under which registries without referrers keep those of `digest`.
pub(super) fn fallback_tag(digest: &Digest) -> String {
    format!("sha256-{}", digest.hex())
}

/// Depth is bounded by serde_json (128), length by whoever read the bytes.
pub(super) fn parse<T: DeserializeOwned>(json: &[u8], place: &str) -> Result<T, LayoutError> {
    serde_json::from_slice(json)
        .map_err(|error| malformed(place, printable(&error.to_string(), MESSAGE_CHARS)))
}

pub(super) fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("texts, numbers and lists alone")
}

pub(super) fn malformed(place: &str, what: impl Into<String>) -> LayoutError {
    LayoutError::Malformed {
        place: place.to_owned(),
        what: what.into(),
    }
}
