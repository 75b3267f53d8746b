//! Judges whether text is spam: hashed features in here, the linear model in
//! the host, and the words that tell as evidence.
//!
//! The street: `trommel-reading` reads the text as a person would, [`features`] makes
//! numbers of it, the model scores them, [`evidence`] points into the original.
//!
//! Holds no weights: `model.onnx` lies beside the component, so that every
//! instance shares it. The training recipe uses [`features`] too, so the model
//! cannot meet features it was not trained on.

pub mod evidence;
pub mod features;

pub use trommel_reading::normalise;
use trommel_sdk::{Detector, Failure, Findings, Item, Model, PartId, SignalRef, Tensor};

/// The score from which reasons are shown: the model's own cut (see its card).
const EVIDENCE_FROM: f32 = -1.54;

/// The detector.
struct SpamText;

impl Detector for SpamText {
    fn detect(item: &Item, findings: &Findings) -> Result<(), Failure> {
        let parts = item.texts();
        let texts = parts
            .iter()
            .map(|part| item.text(*part))
            .collect::<Result<Vec<_>, _>>()?;
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let normalised = normalise::Normalised::of(&texts);
        let features = features::extract(&normalised);
        if features.ids.is_empty() {
            return Ok(());
        }
        let (score, contributions) = run(&features)?;
        let signal = findings.signal("spam", score);
        if score >= EVIDENCE_FROM {
            let contributions: Vec<f32> = contributions.read()?;
            let spans = evidence::spans(&texts, &normalised, &features.ids, &contributions);
            write_spans(findings, signal, &parts, &spans);
        }
        Ok(())
    }
}

trommel_sdk::export!(SpamText);

/// Features that the model is given at least. Their number is a power of two, so that a
/// device which prepares itself for each shape meets few of them.
const LEAST_FEATURES: usize = 64;

/// The logit, and every feature's share of it, f32 `[1, n]` with zeros after the features.
fn run(features: &features::Features) -> Result<(f32, Tensor), Failure> {
    let padded = features.ids.len().next_power_of_two().max(LEAST_FEATURES);
    let shape = [1, u32::try_from(padded).expect("features are bounded")];
    let mut ids: Vec<i64> = features.ids.iter().map(|id| i64::from(*id)).collect();
    ids.resize(padded, 0);
    let mut values = features.values.clone();
    values.resize(padded, 0.0);
    let ids = Tensor::new(&shape, &ids)?;
    let values = Tensor::new(&shape, &values)?;
    let model = Model::open("spam")?;
    let [score, contributions] = model.run(
        &[("ids", &ids), ("values", &values)],
        ["score", "contributions"],
    )?;
    Ok((score.read()?[0], contributions))
}

fn write_spans(findings: &Findings, signal: SignalRef, parts: &[PartId], spans: &[evidence::Span]) {
    for span in spans {
        findings.span(signal, parts[span.part], span.start, span.end);
    }
}
