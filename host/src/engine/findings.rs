//! What a detector wrote, checked while it writes.

use trommel_tensor::Tensor;

use super::bindings::trommel::detector::log::Level;
use super::{Fault, Limits};
use crate::excerpt::{NAME_CHARS, printable};
use crate::item::{Content, Item};
use crate::signal::{Evidence, Label};

/// Characters of a message that repeats a guest's words.
const MESSAGE_CHARS: usize = 1000;

/// What one call found: everything in it kept the contract's promises.
#[derive(Debug, Default)]
pub struct Findings {
    /// One per label, in the order written.
    pub signals: Vec<RawSignal>,
    /// Embeddings by name, f32 `[dim]`, still on their device.
    pub embeddings: Vec<(String, Tensor)>,
}

/// A signal before calibration.
#[derive(Debug, Clone, PartialEq)]
pub struct RawSignal {
    /// A label that the manifest declares.
    pub label: Label,
    /// Finite.
    pub score: f32,
    /// Within the item.
    pub evidence: Vec<Evidence>,
}

/// One line that a detector logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// `trace`, `debug`, `info`, `warn` or `error`.
    pub level: tracing::Level,
    /// The message.
    pub message: String,
    /// Named values.
    pub fields: Vec<(String, String)>,
}

impl LogLine {
    /// What keeping it costs, its bookkeeping included: many empty fields are
    /// not free.
    pub(super) fn n_bytes(&self) -> usize {
        let field = |(name, value): &(String, String)| {
            name.len() + value.len() + size_of::<(String, String)>()
        };
        size_of::<Self>() + self.message.len() + self.fields.iter().map(field).sum::<usize>()
    }
}

/// Fills [`Findings`], refusing what breaks a promise.
#[derive(Debug, Default)]
pub(super) struct Writer {
    pub(super) findings: Findings,
    n_written: usize,
    n_bytes: usize,
}

impl Writer {
    /// Counts one more finding of `bytes`, or refuses it.
    fn admit(&mut self, bytes: usize, limits: &Limits) -> Result<(), Fault> {
        self.n_written += 1;
        self.n_bytes = self.n_bytes.saturating_add(bytes);
        let within = |what, given, most| match given <= most {
            true => Ok(()),
            false => Err(broken(format!(
                "wrote {given} {what}, its limit is {most}; write less"
            ))),
        };
        within("findings", self.n_written, limits.findings)?;
        within("bytes of findings", self.n_bytes, limits.findings_bytes)
    }

    pub(super) fn signal(
        &mut self,
        label: Option<&Label>,
        written: &str,
        score: f32,
        limits: &Limits,
    ) -> Result<u32, Fault> {
        self.admit(written.len(), limits)?;
        let Some(label) = label else {
            return Err(broken(format!(
                "wrote label `{}`, which its manifest does not declare; add it there",
                shown(written)
            )));
        };
        if !score.is_finite() {
            return Err(broken(format!(
                "wrote score {score} for label `{label}`; a score is a finite number"
            )));
        }
        if self
            .findings
            .signals
            .iter()
            .any(|signal| signal.label == *label)
        {
            return Err(broken(format!(
                "wrote label `{label}` twice; a call writes each label once"
            )));
        }
        self.findings.signals.push(RawSignal {
            label: label.clone(),
            score,
            evidence: Vec::new(),
        });
        let index = self.findings.signals.len() - 1;
        Ok(u32::try_from(index).expect("the limit on findings is far below"))
    }

    pub(super) fn evidence(
        &mut self,
        signal: u32,
        evidence: Evidence,
        item: &Item,
        limits: &Limits,
    ) -> Result<(), Fault> {
        let bytes = match &evidence {
            Evidence::Note { text } => text.len(),
            Evidence::Span { .. } | Evidence::Region { .. } => size_of::<Evidence>(),
        };
        self.admit(bytes, limits)?;
        check_evidence(&evidence, item)?;
        let index = usize::try_from(signal).ok();
        let signal = index.and_then(|index| self.findings.signals.get_mut(index));
        let signal =
            signal.ok_or_else(|| broken("wrote evidence for a signal it has not written"))?;
        signal.evidence.push(evidence);
        Ok(())
    }

    pub(super) fn embedding(
        &mut self,
        name: String,
        tensor: Tensor,
        limits: &Limits,
    ) -> Result<(), Fault> {
        // Its numbers are read back and checked when the call ends.
        self.admit(name.len() + tensor.n_bytes(), limits)?;
        if tensor.dtype() != trommel_tensor::Dtype::F32 || tensor.shape().len() != 1 {
            return Err(broken(format!(
                "wrote embedding `{}` as {tensor:?}; an embedding is f32 [dim]",
                shown(&name)
            )));
        }
        if self
            .findings
            .embeddings
            .iter()
            .any(|(known, _)| *known == name)
        {
            return Err(broken(format!("wrote embedding `{}` twice", shown(&name))));
        }
        self.findings.embeddings.push((name, tensor));
        Ok(())
    }
}

fn check_evidence(evidence: &Evidence, item: &Item) -> Result<(), Fault> {
    match *evidence {
        Evidence::Note { .. } => Ok(()),
        Evidence::Span { part, start, end } => {
            let span = (start as usize)..(end as usize);
            match item.text(part) {
                Some(text) if !span.is_empty() && text.get(span).is_some() => Ok(()),
                Some(text) => Err(broken(format!(
                    "wrote span {start}..{end} of part {part}, which has {} bytes; a span is not empty, within its part and on character boundaries",
                    text.len()
                ))),
                None => Err(broken(format!(
                    "wrote a span of part {part}, which is no text of the item"
                ))),
            }
        }
        Evidence::Region {
            part,
            x,
            y,
            width,
            height,
        } => {
            let is_image = item
                .part(part)
                .is_some_and(|part| matches!(part.content, Content::Image { .. }));
            // Written so that NaN fails too.
            let within = |from: f32, size: f32| from >= 0.0 && size > 0.0 && from + size <= 1.0;
            if is_image && within(x, width) && within(y, height) {
                return Ok(());
            }
            Err(broken(format!(
                "wrote region {x},{y} {width}×{height} of part {part}; a region is a rectangle within an image part, in fractions 0..=1"
            )))
        }
    }
}

pub(super) fn broken(what: impl Into<String>) -> Fault {
    Fault::BrokenPromise(what.into())
}

/// What a guest or its component may have chosen the words of, for a message.
pub(super) fn on_one_line(text: &str) -> String {
    printable(&text.replace('\n', " "), MESSAGE_CHARS)
}

fn shown(text: &str) -> String {
    printable(text, NAME_CHARS)
}

/// Collects log lines up to a bound in bytes; the rest is counted.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) lines: Vec<LogLine>,
    pub(super) n_dropped: usize,
    n_bytes: usize,
}

impl Log {
    /// Whether there is room for `bytes` more.
    pub(super) fn admits(&self, bytes: usize, max_bytes: usize) -> bool {
        self.n_bytes.saturating_add(bytes) <= max_bytes
    }

    pub(super) fn push(&mut self, line: LogLine) {
        self.n_bytes += line.n_bytes();
        self.lines.push(line);
    }

    /// The last line logged as an error, fit to be shown.
    pub(super) fn last_words(&self) -> Option<String> {
        let errors = self
            .lines
            .iter()
            .rev()
            .filter(|line| line.level == tracing::Level::ERROR);
        errors.map(|line| on_one_line(&line.message)).next()
    }
}

pub(super) fn level(level: Level) -> tracing::Level {
    match level {
        Level::Trace => tracing::Level::TRACE,
        Level::Debug => tracing::Level::DEBUG,
        Level::Info => tracing::Level::INFO,
        Level::Warn => tracing::Level::WARN,
        Level::Error => tracing::Level::ERROR,
    }
}
