//! `trommel plugin inspect`: what a package says, and what this host says to it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Write as _, stdout};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde::Serialize;
use trommel::Host;
use trommel::engine::{Batchable, CONTRACT_VERSION, EngineOptions, imports};
use trommel::item::PartKind;
use trommel::pipeline::{DeviceChoice, PrecisionStatus};
use trommel::registry::{CompileCache, Layout, Package, PublicKey, pipeline_folder};
use trommel::tokenizer::Tokenizer;
use trommel_tensor::{Dimension, GpuOptions, Graph, Port, Precision, Weights};

use super::super::Exit;
use super::super::host::engine_options;
use super::{public_keys, show};

/// Arguments of `trommel plugin inspect`.
#[derive(Debug, Args)]
pub(in crate::cli) struct InspectArguments {
    /// A plugin folder or a packed package.
    #[arg(value_name = "DIR|PKG")]
    package: PathBuf,
    /// A public key to check signatures with; may be given more than once.
    #[arg(long, value_name = "FILE")]
    trusted_key: Vec<PathBuf>,
    /// Where its models run when it is loaded: auto, cpu, gpu, or gpu:N.
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: DeviceChoice,
    /// How to show it.
    #[arg(long, value_enum, default_value = "table")]
    format: InspectFormat,
}

/// How a package is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum InspectFormat {
    /// For people.
    Table,
    /// One JSON object.
    Json,
}

/// All that is shown of a package.
#[derive(Debug, Serialize)]
pub(super) struct Inspection {
    /// What was given.
    pub(super) package: String,
    /// The packed package's digest; a plugin folder has none.
    pub(super) digest: Option<String>,
    pub(super) name: String,
    pub(super) version: String,
    pub(super) description: String,
    pub(super) revision: String,
    pub(super) contract: String,
    pub(super) host_contract: &'static str,
    pub(super) reads: Vec<&'static str>,
    pub(super) imports: Vec<ImportShown>,
    pub(super) limits: LimitsShown,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) settings: BTreeMap<String, String>,
    pub(super) models: Vec<ModelShown>,
    pub(super) tokenizers: Vec<TokenizerShown>,
    /// What trials on this machine found of each model; empty when this host cannot load it.
    pub(super) batches: Vec<BatchShown>,
    pub(super) n_golden_cases: usize,
    pub(super) files: Vec<FileShown>,
    pub(super) signatures: Vec<SignatureShown>,
    /// Why this host cannot load it; empty when it can.
    pub(super) incompatible: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct ImportShown {
    pub(super) name: String,
    pub(super) offered: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct LimitsShown {
    pub(super) memory_bytes: usize,
    pub(super) tensor_bytes: u64,
    pub(super) weight_bytes: u64,
    pub(super) deadline_ms: u128,
}

#[derive(Debug, Serialize)]
pub(super) struct ModelShown {
    pub(super) name: String,
    pub(super) file: String,
    pub(super) sha256: String,
    pub(super) bytes: usize,
    /// How its values are to be stored: `f32` or `f16`.
    pub(super) precision: &'static str,
    /// How far f16 may move a score of a golden case.
    pub(super) tolerance: Option<f32>,
    /// What a model that asks for f16 runs in on the device given, where it loads there.
    pub(super) runs_in: Option<PrecisionStatus>,
    /// What its graph is, where it can be read.
    pub(super) graph: Option<GraphShown>,
}

#[derive(Debug, Serialize)]
pub(super) struct TokenizerShown {
    pub(super) name: String,
    pub(super) file: String,
    pub(super) sha256: String,
    pub(super) bytes: usize,
    /// What it is, where it can be read.
    pub(super) words: Option<WordsShown>,
}

#[derive(Debug, Serialize)]
pub(super) struct WordsShown {
    /// How it makes tokens.
    pub(super) kind: &'static str,
    pub(super) n_words: usize,
    /// Bytes that it holds in memory.
    pub(super) memory_bytes: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct GraphShown {
    pub(super) inputs: Vec<PortShown>,
    pub(super) outputs: Vec<PortShown>,
    /// Nodes by operator.
    pub(super) operators: BTreeMap<String, usize>,
    pub(super) weight_bytes: u64,
    /// Why rows of several callers never share a batch; none when a device may try.
    pub(super) why_alone: Option<String>,
}

/// How many rows of several callers share a batch.
#[derive(Debug, Serialize)]
pub(super) struct BatchShown {
    pub(super) model: String,
    /// Where it was tried.
    pub(super) device: String,
    /// So many at most; 1 where each runs alone.
    pub(super) rows: usize,
    /// Why they run alone.
    pub(super) why: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct PortShown {
    pub(super) name: String,
    pub(super) dtype: &'static str,
    pub(super) shape: Vec<SizeShown>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum SizeShown {
    Fixed(usize),
    Symbol(String),
}

#[derive(Debug, Serialize)]
pub(super) struct FileShown {
    pub(super) file: String,
    /// Of a packed package's layer.
    pub(super) media_type: Option<String>,
    pub(super) digest: Option<String>,
    pub(super) bytes: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct SignatureShown {
    pub(super) key: String,
    /// Whether it is one of the keys that were given.
    pub(super) trusted: bool,
}

pub(in crate::cli) fn run(arguments: &InspectArguments) -> anyhow::Result<Exit> {
    let keys = public_keys(&arguments.trusted_key)?;
    let inspection = inspect(&arguments.package, arguments.device, &keys)?;
    match arguments.format {
        InspectFormat::Table => show::table(&inspection, !keys.is_empty(), &mut stdout())?,
        InspectFormat::Json => {
            let json = serde_json::to_string_pretty(&inspection)?;
            writeln!(stdout(), "{json}")?;
        }
    }
    Ok(Exit::Done)
}

fn inspect(path: &Path, device: DeviceChoice, keys: &[PublicKey]) -> anyhow::Result<Inspection> {
    let options = EngineOptions::default();
    let max_component_bytes = options.max_component_bytes;
    let layout = match Layout::is_at(path) {
        true => Some(Layout::open(
            path,
            keys,
            &options.max_limits,
            max_component_bytes,
        )?),
        false => None,
    };
    let package = match &layout {
        Some(layout) => layout.package_of_any_host()?,
        None => Package::read_of_any_host(path, max_component_bytes)?,
    };
    let manifest = &package.manifest;
    let mut incompatible = Vec::new();
    let imports = imports_of(&package, &mut incompatible);
    let mut models = models_of(&package, &mut incompatible);
    let tokenizers = tokenizers_of(&package, &mut incompatible);
    let n_found = incompatible.len();
    let Loaded {
        refused,
        runs_in,
        batches,
    } = loaded(path, device)?;
    // What the host itself says, unless that is known already.
    incompatible.extend(refused.into_iter().filter(|_| n_found == 0));
    for model in &mut models {
        let own = runs_in.iter().find(|it| it.model == model.name);
        model.runs_in = own.cloned();
    }
    Ok(Inspection {
        package: path.display().to_string(),
        digest: layout.as_ref().map(|layout| layout.digest().to_string()),
        name: manifest.id.to_string(),
        version: manifest.version.clone(),
        description: manifest.description.clone(),
        revision: package.revision(&BTreeMap::new()).to_string(),
        contract: manifest.contract.clone(),
        host_contract: CONTRACT_VERSION,
        reads: manifest.reads.iter().map(kind).collect(),
        imports,
        limits: LimitsShown {
            memory_bytes: manifest.limits.memory_bytes,
            tensor_bytes: manifest.limits.tensor_bytes,
            weight_bytes: manifest.limits.weight_bytes,
            deadline_ms: manifest.limits.deadline.as_millis(),
        },
        labels: texts(&manifest.labels),
        settings: texts(&manifest.settings),
        models,
        tokenizers,
        batches,
        n_golden_cases: manifest.golden.len(),
        files: files_of(path, layout.as_ref(), &package)?,
        signatures: layout.iter().flat_map(signatures_of).collect(),
        incompatible,
    })
}

fn kind(kind: &PartKind) -> &'static str {
    match kind {
        PartKind::Text => "text",
        PartKind::Image => "image",
        PartKind::Link => "link",
    }
}

fn texts(of: &BTreeMap<impl ToString, impl ToString>) -> BTreeMap<String, String> {
    of.iter()
        .map(|(key, value)| (key.to_string(), value.to_string()))
        .collect()
}

fn imports_of(package: &Package, incompatible: &mut Vec<String>) -> Vec<ImportShown> {
    let found = match imports(package.component()) {
        Ok(found) => found,
        Err(error) => {
            incompatible.push(error.to_string());
            return Vec::new();
        }
    };
    let shown = found.into_iter().map(|import| {
        incompatible.extend(import.refused.as_ref().map(ToString::to_string));
        ImportShown {
            offered: import.refused.is_none(),
            name: import.name,
        }
    });
    let mut shown: Vec<ImportShown> = shown.collect();
    shown.sort_by(|a, b| a.name.cmp(&b.name));
    shown
}

fn models_of(package: &Package, incompatible: &mut Vec<String>) -> Vec<ModelShown> {
    let weights = Weights::default();
    let models = package.models().map(|(name, bytes)| {
        let file = &package.manifest.models[name];
        let graph = match Graph::from_onnx(bytes, &weights) {
            Ok(graph) => Some(GraphShown {
                inputs: graph.inputs().iter().map(port).collect(),
                outputs: graph.outputs().iter().map(port).collect(),
                operators: graph.operators().clone(),
                weight_bytes: graph.weight_bytes(),
                why_alone: graph.why_alone().map(str::to_owned),
            }),
            Err(error) => {
                incompatible.push(format!("model `{name}`: {error}"));
                None
            }
        };
        ModelShown {
            name: name.to_owned(),
            file: file.file.clone(),
            sha256: file.sha256.clone(),
            bytes: bytes.len(),
            precision: match file.halved_within {
                Some(_) => Precision::Half,
                None => Precision::Single,
            }
            .name(),
            tolerance: file.halved_within,
            runs_in: None,
            graph,
        }
    });
    models.collect()
}

fn tokenizers_of(package: &Package, incompatible: &mut Vec<String>) -> Vec<TokenizerShown> {
    let most = package.manifest.limits.weight_bytes;
    let tokenizers = package.tokenizers().map(|(name, json)| {
        let file = &package.manifest.tokenizers[name];
        let words = match Tokenizer::from_json(json, most) {
            Ok(tokenizer) => Some(WordsShown {
                kind: tokenizer.kind(),
                n_words: tokenizer.n_words(),
                memory_bytes: tokenizer.n_bytes(),
            }),
            Err(error) => {
                incompatible.push(format!("tokenizer `{name}`: {error}"));
                None
            }
        };
        TokenizerShown {
            name: name.to_owned(),
            file: file.file.clone(),
            sha256: file.sha256.clone(),
            bytes: json.len(),
            words,
        }
    });
    tokenizers.collect()
}

fn port(port: &Port) -> PortShown {
    let size = |dimension: &Dimension| match dimension {
        Dimension::Fixed(size) => SizeShown::Fixed(*size),
        Dimension::Symbol(name) => SizeShown::Symbol(name.clone()),
    };
    PortShown {
        name: port.name.clone(),
        dtype: port.dtype.name(),
        shape: port.shape.iter().map(size).collect(),
    }
}

fn files_of(
    folder: &Path,
    layout: Option<&Layout>,
    package: &Package,
) -> anyhow::Result<Vec<FileShown>> {
    if let Some(layout) = layout {
        let layers = layout.layers().map(|layer| FileShown {
            file: layer.file.to_owned(),
            media_type: Some(layer.media_type.to_owned()),
            digest: Some(layer.digest.to_string()),
            bytes: layer.size,
        });
        return Ok(layers.collect());
    }
    let mut names: Vec<&str> = package.manifest.files().collect();
    names.sort_unstable();
    names.dedup();
    let files = names.into_iter().map(|name| {
        let file = folder.join(name);
        let metadata = fs::metadata(&file)
            .with_context(|| format!("{} cannot be looked at", file.display()))?;
        Ok(FileShown {
            file: name.to_owned(),
            media_type: None,
            digest: None,
            bytes: metadata.len(),
        })
    });
    files.collect()
}

fn signatures_of(layout: &Layout) -> impl Iterator<Item = SignatureShown> {
    layout.signatures().map(|signature| SignatureShown {
        key: signature.key.to_string(),
        trusted: signature.verified,
    })
}

/// What a host finds that loads a package.
struct Loaded {
    /// What stands in the way.
    refused: Vec<String>,
    /// What its models that ask for f16 run in.
    runs_in: Vec<PrecisionStatus>,
    batches: Vec<BatchShown>,
}

/// Loads it as `check` would.
fn loaded(path: &Path, device: DeviceChoice) -> anyhow::Result<Loaded> {
    let gpu = GpuOptions {
        pipeline_cache: pipeline_folder(),
        ..GpuOptions::default()
    };
    let opened = device.open(gpu);
    let built = Host::builder()
        .device(opened.with_context(|| format!("--device {device}"))?)
        .engine_options(engine_options()?)
        .compile_cache(CompileCache::user())
        .detector(path)
        .build();
    let host = match built {
        Ok(host) => host,
        Err(error) => {
            return Ok(Loaded {
                refused: vec![error.to_string()],
                runs_in: Vec::new(),
                batches: Vec::new(),
            });
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .context("cannot start a runtime")?;
    let refused = runtime.block_on(host.verify()).err().unwrap_or_default();
    let revisions = host.status().detectors.into_iter();
    let revisions = revisions.flat_map(|detector| detector.revisions);
    Ok(Loaded {
        refused,
        runs_in: revisions.flat_map(|it| it.precision).collect(),
        batches: batches_of(&host),
    })
}

fn batches_of(host: &Host) -> Vec<BatchShown> {
    let mut all = Vec::new();
    for detector in host.detectors() {
        all.extend(detector.batching().map(|(model, batching)| {
            let (rows, why) = match batching {
                Batchable::Together(rows) => (*rows, None),
                Batchable::Alone(why) => (1, Some(why.clone())),
            };
            BatchShown {
                model: model.to_owned(),
                device: host.device().to_owned(),
                rows,
                why,
            }
        }));
    }
    all
}
