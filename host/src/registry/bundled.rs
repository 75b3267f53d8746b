//! The detectors that come with the host, built from `guest-models/` by the
//! build script and held in the binary.

use std::borrow::Cow;

use super::{FileError, Package, PackageError};
use crate::engine::Limits;

/// A bundled detector's files, by name: what its package folder would hold.
pub type Files = &'static [(&'static str, &'static [u8])];

/// The bundled detectors by name, in the order in which they are loaded.
// Each crate that names a `const` holds what it refers to: the binary held all models twice.
pub static DETECTORS: &[(&str, Files)] = &[
    ("spam-text", SPAM_TEXT),
    ("image-quality", IMAGE_QUALITY),
    ("toxicity-text", TOXICITY_TEXT),
];

const SPAM_TEXT: Files = &[
    (
        "plugin.toml",
        include_bytes!("../../../guest-models/spam-text/plugin.toml"),
    ),
    (
        "calibrator.toml",
        include_bytes!("../../../guest-models/spam-text/calibrator.toml"),
    ),
    (
        "MODEL_CARD.md",
        include_bytes!("../../../guest-models/spam-text/MODEL_CARD.md"),
    ),
    (
        "model.onnx",
        include_bytes!("../../../guest-models/spam-text/model.onnx"),
    ),
    (
        "spam-text.wasm",
        include_bytes!(concat!(env!("OUT_DIR"), "/spam-text.wasm")),
    ),
];

const IMAGE_QUALITY: Files = &[
    (
        "plugin.toml",
        include_bytes!("../../../guest-models/image-quality/plugin.toml"),
    ),
    (
        "calibrator.toml",
        include_bytes!("../../../guest-models/image-quality/calibrator.toml"),
    ),
    (
        "MODEL_CARD.md",
        include_bytes!("../../../guest-models/image-quality/MODEL_CARD.md"),
    ),
    (
        "model.onnx",
        include_bytes!("../../../guest-models/image-quality/model.onnx"),
    ),
    (
        "image-quality.wasm",
        include_bytes!(concat!(env!("OUT_DIR"), "/image-quality.wasm")),
    ),
];

const TOXICITY_TEXT: Files = &[
    (
        "plugin.toml",
        include_bytes!("../../../guest-models/toxicity-text/plugin.toml"),
    ),
    (
        "calibrator.toml",
        include_bytes!("../../../guest-models/toxicity-text/calibrator.toml"),
    ),
    (
        "MODEL_CARD.md",
        include_bytes!("../../../guest-models/toxicity-text/MODEL_CARD.md"),
    ),
    (
        "model.onnx",
        include_bytes!("../../../guest-models/toxicity-text/model.onnx"),
    ),
    (
        "toxicity-text.wasm",
        include_bytes!(concat!(env!("OUT_DIR"), "/toxicity-text.wasm")),
    ),
];

/// The bundled packages, their limits granted up to `max`: an error when a host
/// grants less than they ask for.
pub fn packages(max: &Limits) -> Result<Vec<Package>, PackageError> {
    let detectors = DETECTORS.iter();
    detectors
        .map(|(name, files)| package(&format!("bundled/{name}"), files, max))
        .collect()
}

fn package(origin: &str, files: Files, max: &Limits) -> Result<Package, PackageError> {
    Package::from_files(origin, max, |name, _| {
        let file = files.iter().find(|(known, _)| *known == name);
        file.map(|(_, bytes)| Cow::Borrowed(*bytes))
            .ok_or_else(|| FileError {
                file: format!("{origin}/{name}").into(),
                what: "is not bundled; name it in registry/bundled.rs".to_owned(),
            })
    })
}
