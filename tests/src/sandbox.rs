//! One detector on an engine of its own, with limits that a test chooses.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use trommel::engine::{
    Call, Detector, DetectorParts, Engine, EngineOptions, Limits, LoadError, ModelParts,
    TokenizerParts,
};
use trommel::item::{Item, PartKind};
use trommel::revision::RevisionId;
use trommel_tensor::{CpuDevice, CpuOptions, Precision};

use crate::spam_model;
use crate::tokenizers::word_piece;

/// See the module.
#[derive(Debug)]
pub struct Sandbox {
    /// The engine.
    pub engine: Engine,
    /// The detector.
    pub detector: Detector,
}

impl Sandbox {
    /// A detector from `component` that may write `spam` and open the bundled
    /// model as `spam`, and a tokenizer as `words`.
    pub fn new(component: &[u8], limits: Limits) -> Result<Self, LoadError> {
        Self::with_options(component, limits, EngineOptions::default())
    }

    /// The same, on an engine of another size.
    ///
    /// # Panics
    ///
    /// When the machine gives no threads.
    pub fn with_options(
        component: &[u8],
        limits: Limits,
        options: EngineOptions,
    ) -> Result<Self, LoadError> {
        Self::with_greeting(component, limits, options, "hello")
    }

    /// The same, with another value of its one setting, `greeting`.
    ///
    /// # Panics
    ///
    /// When the machine gives no threads.
    pub fn with_greeting(
        component: &[u8],
        limits: Limits,
        options: EngineOptions,
        greeting: &str,
    ) -> Result<Self, LoadError> {
        let device = CpuDevice::new(&CpuOptions::default()).expect("threads");
        let engine = Engine::new(Arc::new(device), options)?;
        let settings = BTreeMap::from([("greeting".to_owned(), greeting.to_owned())]);
        let component = engine.prepared(component, &settings, &limits)?;
        let detector = engine.assemble(DetectorParts {
            id: "tested".into(),
            revision: RevisionId::new([7; 32]),
            component: engine.compile(&component)?,
            labels: ["spam".into()].into(),
            reads: vec![PartKind::Text, PartKind::Image],
            models: vec![ModelParts {
                name: "spam".to_owned(),
                graph: engine.graph("spam", &spam_model(), true, Precision::Single)?,
            }],
            tokenizers: vec![TokenizerParts {
                name: "words".to_owned(),
                tokenizer: engine.tokenizer("words", word_piece(), limits.weight_bytes)?,
            }],
            settings,
            limits,
        })?;
        Ok(Self { engine, detector })
    }

    /// Shows it one item, within 10 s.
    ///
    /// # Panics
    ///
    /// As [`Sandbox::detect_by`].
    pub async fn detect(&self, item: Item) -> Call {
        self.detect_by(item, Duration::from_secs(10)).await
    }

    /// Shows it one item that must be done within `time`.
    ///
    /// # Panics
    ///
    /// When an image of the item is none.
    pub async fn detect_by(&self, item: Item, time: Duration) -> Call {
        let by = deadline(time);
        let item = Arc::new(item);
        let exhibit = match item.has_unopened_images() {
            true => Ok(self.engine.exhibit_unopened(&item)),
            false => self.engine.exhibit(&item, by).await,
        };
        let exhibit = Arc::new(exhibit.expect("images that are images"));
        self.engine.detect(&self.detector, &exhibit, by).await
    }

    /// Shows it one text.
    pub async fn script(&self, script: &str) -> Call {
        self.detect(Item::from_text("scripted", script)).await
    }
}

/// `time` from now.
#[expect(
    clippy::disallowed_methods,
    reason = "the engine's deadlines are wall-clock"
)]
pub fn deadline(time: Duration) -> Instant {
    Instant::now() + time
}
