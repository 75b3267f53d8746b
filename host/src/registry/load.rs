//! From a package to a detector that may be called, or the step that failed.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{
    CompileCache, FileError, Golden, LayoutError, ManifestError, Package, SettingError, Settings,
};
use crate::calibrator::{Calibrator, CalibratorError};
use crate::engine::{
    Component, Detector, DetectorParts, Engine, LoadError, ModelParts, Precision, TokenizerParts,
    preparation,
};
use crate::item::Item;
use crate::signal::Label;

/// Why a package cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackageError {
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A packed package is not what it says, or not from whom it should be.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The manifest was refused.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The calibrator was refused.
    #[error(transparent)]
    Calibrator(#[from] CalibratorError),
    /// A label without calibrator.
    #[error("{file}: label `{label}` has no calibrator; fit one and add it")]
    Uncalibrated {
        /// The calibrator's file.
        file: String,
        /// The label.
        label: Label,
    },
    /// A model or tokenizer is not the one that the manifest names.
    #[error(
        "{place}: {file} has sha256 {given}, not the one written here; restore the file or, if it was meant to change, write the new digest"
    )]
    ModelDigest {
        /// Manifest and line.
        place: String,
        /// The file.
        file: String,
        /// What it hashes to.
        given: String,
    },
    /// More bytes of models and tokenizers than the plugin may hold.
    #[error(
        "{place}: the models and tokenizers so far have {given} bytes, the weights' limit is {most}; ask for more with `weights-mib`, or bring less"
    )]
    Models {
        /// Manifest and line.
        place: String,
        /// Bytes of the models and tokenizers so far.
        given: u64,
        /// The limit.
        most: u64,
    },
    /// The manifest and the component disagree on imports.
    #[error("{place}: the component imports {real:?}, the manifest says {said:?}; make them agree")]
    Imports {
        /// Manifest and line.
        place: String,
        /// What the component imports.
        real: Vec<String>,
        /// What the manifest says.
        said: Vec<String>,
    },
    /// A setting that the manifest does not declare, or of another type.
    #[error("{origin}: {error}")]
    Setting {
        /// The package.
        origin: String,
        /// The setting, and what is wrong with it; shown in the message.
        error: SettingError,
    },
    /// The component, a model or a tokenizer was refused.
    #[error("{origin}: {error}")]
    Load {
        /// The package.
        origin: String,
        /// Why; shown in the message.
        error: Box<LoadError>,
    },
}

/// A detector with what is needed around its calls.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The detector.
    pub detector: Detector,
    /// The author's version of it.
    pub version: String,
    /// From its scores to probabilities.
    pub calibrator: Calibrator,
    /// What it must answer before it takes traffic.
    pub golden: Vec<GoldenCase>,
    /// How far f16 may move a score of a golden case: the most that any of its models that
    /// ask for f16 bears; none where none asks.
    pub halved_within: Option<f32>,
    /// The settings that differ from the manifest's defaults.
    pub settings: Settings,
}

/// A golden case with its item.
#[derive(Debug, Clone)]
pub struct GoldenCase {
    /// What the manifest says of it.
    pub golden: Golden,
    /// What is judged.
    pub item: Arc<Item>,
}

/// Compiles and links a package, with `settings` in the place of its manifest's defaults. Blocking and perhaps slow: not on a caller's executor.
///
/// `Setting` for a setting that is not declared or of another type, `Imports` when
/// manifest and component disagree, `Load` when component, model or tokenizer is refused.
pub fn load(
    engine: &Engine,
    cache: &CompileCache,
    package: &Package,
    settings: &Settings,
) -> Result<Loaded, PackageError> {
    let failed = |error| PackageError::Load {
        origin: package.origin.clone(),
        error: Box::new(error),
    };
    let manifest = &package.manifest;
    let settings = package.settle(settings)?;
    let resolved = resolve(package, &settings);
    let component = match preparation(&package.component).map_err(failed)? {
        None => cache.component(engine, &package.component),
        Some(_) => cache.prepared(engine, &package.component, &resolved, &manifest.limits),
    };
    let component = component.map_err(failed)?;
    check_imports(package, &component)?;
    let mut models = Vec::new();
    for (name, onnx) in &package.models {
        let said = &manifest.models[name];
        let precision = match said.halved_within {
            Some(_) => Precision::Half,
            None => Precision::Single,
        };
        let graph = engine.graph(name, onnx, said.batch_exact, precision);
        let graph = graph.map_err(failed)?;
        models.push(ModelParts {
            name: name.clone(),
            graph,
        });
    }
    let mut tokenizers = Vec::new();
    for (name, json) in &package.tokenizers {
        let most = manifest.limits.weight_bytes;
        tokenizers.push(TokenizerParts {
            name: name.clone(),
            tokenizer: engine.tokenizer(name, json, most).map_err(failed)?,
        });
    }
    let parts = DetectorParts {
        id: manifest.id.clone(),
        revision: package.revision(&settings),
        component,
        labels: manifest.labels.keys().cloned().collect(),
        reads: manifest.reads.clone(),
        models,
        tokenizers,
        settings: resolved,
        limits: manifest.limits.clone(),
    };
    let tolerances = manifest.models.values().filter_map(|it| it.halved_within);
    Ok(Loaded {
        halved_within: tolerances.reduce(f32::max),
        settings,
        detector: engine.assemble(parts).map_err(failed)?,
        version: manifest.version.clone(),
        calibrator: package.calibrator.clone(),
        golden: manifest
            .golden
            .iter()
            .zip(&package.golden)
            .map(|(golden, item)| GoldenCase {
                golden: golden.clone(),
                item: item.clone(),
            })
            .collect(),
    })
}

/// Every setting in its contract spelling: given, else the default.
fn resolve(package: &Package, given: &Settings) -> BTreeMap<String, String> {
    let declared = package.manifest.settings.iter();
    let resolved = declared.map(|(key, default)| {
        let value = given.get(key).unwrap_or(default);
        (key.clone(), value.to_string())
    });
    resolved.collect()
}

fn check_imports(package: &Package, component: &Component) -> Result<(), PackageError> {
    let real = component.imports();
    let said = &package.manifest.imports;
    if real.iter().copied().eq(said.iter().map(String::as_str)) {
        return Ok(());
    }
    Err(PackageError::Imports {
        place: format!(
            "{}/plugin.toml:{}",
            package.origin, package.manifest.imports_line
        ),
        real: real.iter().map(ToString::to_string).collect(),
        said: said.iter().cloned().collect(),
    })
}
