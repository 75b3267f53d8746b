//! A detector ready to be called.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use trommel_tensor::{
    Account, BatchCounts, Charge, Graph, Precision, Session, TensorError, WorkQuota,
};

use super::bindings::DetectorPre;
use super::call::CallState;
use super::load::Component;
use super::{Engine, Limits, LoadError};
use crate::item::PartKind;
use crate::revision::RevisionId;
use crate::signal::{DetectorId, Label};
use crate::tokenizer::{Tokenizer, TokenizerError};

/// What a detector is made of; see [`Engine::assemble`].
#[derive(Debug)]
pub struct DetectorParts {
    /// Its name.
    pub id: DetectorId,
    /// The digest over everything below.
    pub revision: RevisionId,
    /// The compiled component.
    pub component: Component,
    /// The labels it may write.
    pub labels: BTreeSet<Label>,
    /// The part kinds it reads: an item with none of them is not shown to it.
    pub reads: Vec<PartKind>,
    /// The models that it may open.
    pub models: Vec<ModelParts>,
    /// The tokenizers that it may open.
    pub tokenizers: Vec<TokenizerParts>,
    /// Its settings, each in its contract spelling.
    pub settings: BTreeMap<String, String>,
    /// What one call may take.
    pub limits: Limits,
}

/// A model as the manifest names it.
#[derive(Debug)]
pub struct ModelParts {
    /// The name that the plugin opens it by.
    pub name: String,
    /// What it computes.
    pub graph: Arc<Graph>,
}

/// A tokenizer as the manifest names it.
#[derive(Debug)]
pub struct TokenizerParts {
    /// The name that the plugin opens it by.
    pub name: String,
    /// What encodes.
    pub tokenizer: Arc<Tokenizer>,
}

/// Whether rows of several callers share a batch of a model, as trials found when it was made
/// ready on a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Batchable {
    /// So many rows at most, and no fewer than two.
    Together(usize),
    /// Each row runs alone, and why.
    Alone(String),
}

/// A detector ready to be called. A clone is the same detector; the last one
/// dropped frees code, weights and what they were charged.
#[derive(Clone)]
pub struct Detector(pub(super) Arc<Ready>);

pub(super) struct Ready {
    pub(super) id: DetectorId,
    pub(super) revision: RevisionId,
    pub(super) pre: DetectorPre<CallState>,
    pub(super) labels: BTreeSet<Label>,
    pub(super) reads: Vec<PartKind>,
    pub(super) models: BTreeMap<String, Arc<dyn Session>>,
    /// The models that ask for f16, each with why it was sent to f32, if it was.
    halves: BTreeMap<String, Option<String>>,
    /// Of its models, by name.
    batching: BTreeMap<String, Batchable>,
    pub(super) tokenizers: BTreeMap<String, Arc<Tokenizer>>,
    pub(super) settings: BTreeMap<String, String>,
    pub(super) limits: Limits,
    pub(super) account: Account,
    weights: Arc<Vec<Charge>>,
}

impl Detector {
    /// Its name.
    pub fn id(&self) -> &DetectorId {
        &self.0.id
    }

    /// Its revision.
    pub fn revision(&self) -> RevisionId {
        self.0.revision
    }

    /// The labels it may write.
    pub fn labels(&self) -> &BTreeSet<Label> {
        &self.0.labels
    }

    /// The part kinds it reads.
    pub fn reads(&self) -> &[PartKind] {
        &self.0.reads
    }

    /// What one call may take.
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// Its models by name, and what each has run. A model that several detectors bring is one,
    /// and counts for all of them.
    pub fn models(&self) -> impl Iterator<Item = (&str, BatchCounts)> {
        let models = self.0.models.iter();
        models.map(|(name, session)| (name.as_str(), session.counts()))
    }

    /// Its models that ask for f16, by name: whether they are stored so here, or why they
    /// run in f32.
    pub fn halves(&self) -> impl Iterator<Item = (&str, Result<(), String>)> {
        self.0.halves.iter().map(|(name, sent_away)| {
            let stored = match sent_away {
                Some(why) => Err(why.clone()),
                None => self.0.models[name].stores_halves(),
            };
            (name.as_str(), stored)
        })
    }

    /// Whether rows of several callers share a batch, model by model, as it was found when it
    /// was loaded. What callers bring may be batched otherwise: other lengths, other moments.
    pub fn batching(&self) -> impl Iterator<Item = (&str, &Batchable)> {
        let batching = self.0.batching.iter();
        batching.map(|(name, batching)| (name.as_str(), batching))
    }

    /// What it holds on the device now: weights, and the tensors of its calls.
    pub fn account(&self) -> &Account {
        &self.0.account
    }
}

impl fmt::Debug for Detector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Detector({} {})", self.0.id, self.0.revision.short())
    }
}

impl Engine {
    /// Makes a detector of its parts: links the component, readies the models,
    /// charges weights and tokenizers, and starts it once as every call will. Blocking:
    /// not on a caller's executor.
    ///
    /// `Mismatch` when its types are not the contract's, `Start` when it fails
    /// before it is called, `Model` or `Tokenizer` when one cannot be readied or they
    /// pass the weights' limit.
    pub fn assemble(&self, parts: DetectorParts) -> Result<Detector, LoadError> {
        let pre = self.link(&parts.component)?;
        let limits = &parts.limits;
        // Weights for good, tensors of as many calls as may run at once.
        let tensor_bytes = limits
            .host_bytes
            .saturating_mul(u64::from(self.options.max_calls));
        let max_bytes = limits.weight_bytes.saturating_add(tensor_bytes);
        let name = format!("detector `{}`", parts.id);
        let work = WorkQuota {
            runs: limits.runs,
            operations_per_second: limits.operations_per_second,
        };
        let account = Account::with_work(name, max_bytes, u64::MAX, work);
        let weights = account.child("its weights", limits.weight_bytes, u64::MAX);
        let mut models = BTreeMap::new();
        let mut halves = BTreeMap::new();
        let mut batching = BTreeMap::new();
        let mut charges = Vec::new();
        for ModelParts { name, graph } in parts.models {
            let failed = |error| LoadError::Model {
                model: name.clone(),
                error,
            };
            charges.push(weights.charge(graph.weight_bytes(), 0).map_err(failed)?);
            let session = self.device.session(&graph).map_err(failed)?;
            let found = found(session.as_ref());
            tell(&parts.id, &name, &found);
            if graph.precision() == Precision::Half {
                tell_whole(&parts.id, &name, session.as_ref());
                halves.insert(name.clone(), None);
            }
            batching.insert(name.clone(), found);
            models.insert(name, session);
        }
        let mut tokenizers = BTreeMap::new();
        for TokenizerParts { name, tokenizer } in parts.tokenizers {
            let charge = weights.charge(tokenizer.n_bytes(), 0);
            charges.push(charge.map_err(|error| LoadError::Tokenizer {
                tokenizer: name.clone(),
                error: TokenizerError {
                    place: "the vocabulary".to_owned(),
                    what: format!("{error}; ask for more with `weights-mib`, or bring less"),
                },
            })?);
            tokenizers.insert(name, tokenizer);
        }
        let ready = Arc::new(Ready {
            id: parts.id,
            revision: parts.revision,
            pre,
            labels: parts.labels,
            reads: parts.reads,
            models,
            halves,
            batching,
            tokenizers,
            settings: parts.settings,
            limits: parts.limits,
            account,
            weights: Arc::new(charges),
        });
        self.try_start(&ready)?;
        Ok(Detector(ready))
    }

    /// The same detector with all of its models in f32, because of `why`. It holds what the
    /// other holds, and is charged nothing more: either is to be dropped. Blocking: not on a
    /// caller's executor. `Model` when the device cannot make one ready.
    pub fn in_single(&self, detector: &Detector, why: &str) -> Result<Detector, LoadError> {
        let half = &detector.0;
        let (mut models, mut batching) = (half.models.clone(), half.batching.clone());
        for name in half.halves.keys() {
            let graph = Graph::clone(half.models[name].graph());
            let graph = Arc::new(graph.stored_as(Precision::Single));
            let session = self.device.session(&graph);
            let session = session.map_err(|error: TensorError| LoadError::Model {
                model: name.clone(),
                error,
            })?;
            batching.insert(name.clone(), found(session.as_ref()));
            models.insert(name.clone(), session);
        }
        let sent_away = half.halves.keys();
        Ok(Detector(Arc::new(Ready {
            id: half.id.clone(),
            revision: half.revision,
            pre: half.pre.clone(),
            labels: half.labels.clone(),
            reads: half.reads.clone(),
            models,
            halves: sent_away
                .map(|name| (name.clone(), Some(why.to_owned())))
                .collect(),
            batching,
            tokenizers: half.tokenizers.clone(),
            settings: half.settings.clone(),
            limits: half.limits.clone(),
            account: half.account.clone(),
            weights: half.weights.clone(),
        })))
    }

    /// Reads a model's graph, sharing weights with the engine's other models. Whether a row
    /// must score the same, bit for bit, in any batch, is `batch_exact`; how a device that
    /// can is to store its values, `precision`.
    /// Blocking: not on a caller's executor. `LoadError::Model` when the
    /// file is no usable model.
    pub fn graph(
        &self,
        model: &str,
        onnx: &[u8],
        batch_exact: bool,
        precision: Precision,
    ) -> Result<Arc<Graph>, LoadError> {
        let graph = Graph::from_onnx(onnx, &self.weights);
        let graph = graph.map(|graph| match batch_exact {
            true => graph,
            false => graph.with_close_rows(),
        });
        let graph = graph.map(|graph| Arc::new(graph.stored_as(precision)));
        graph.map_err(|error| LoadError::Model {
            model: model.to_owned(),
            error,
        })
    }

    /// Reads a tokenizer, sharing it with the engine's other revisions that bring the
    /// same file. What it holds in memory must not pass `most` bytes. Blocking: not on a
    /// caller's executor. `LoadError::Tokenizer` when the file is no usable tokenizer.
    pub fn tokenizer(
        &self,
        name: &str,
        json: &[u8],
        most: u64,
    ) -> Result<Arc<Tokenizer>, LoadError> {
        let tokenizer = self.tokenizers.shared(json, most);
        tokenizer.map_err(|error| LoadError::Tokenizer {
            tokenizer: name.to_owned(),
            error,
        })
    }
}

/// Finds out how many rows of a model run together.
fn found(session: &dyn Session) -> Batchable {
    match session.settle() {
        Some(Ok(n_rows @ 2..)) => Batchable::Together(n_rows),
        Some(Ok(_)) => Batchable::Alone("two were no faster together when it was tried".to_owned()),
        Some(Err(why)) => Batchable::Alone(why),
        None => {
            let why = session.graph().why_alone();
            Batchable::Alone(why.unwrap_or("this device joins no runs of it").to_owned())
        }
    }
}

/// Logs it. The device warns of rows that differ.
fn tell(detector: &DetectorId, model: &str, found: &Batchable) {
    match found {
        Batchable::Together(n_rows) => tracing::info!(
            %detector, model, n_rows,
            "rows of this model run together, so many at most"
        ),
        Batchable::Alone(why) => {
            tracing::info!(%detector, model, why, "rows of this model run alone");
        }
    }
}

/// Says of a model that asks for f16 that it runs in f32 here.
fn tell_whole(detector: &DetectorId, model: &str, session: &dyn Session) {
    if let Err(why) = session.stores_halves() {
        tracing::warn!(%detector, model, why, "this model asks for f16 and runs in f32");
    }
}
