//! What one item got: the object that every surface answers.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use super::ask::{Answer, Asked};
use crate::engine::{Blame, Call, LogLine};
use crate::excerpt::printable;
use crate::item::{Content, ImageSource, Part, PartKind};
use crate::lists::Consulted;
use crate::policy::{PolicyDigest, Verdict};
use crate::revision::RevisionId;
use crate::rollout::Arm;
use crate::signal::{DetectorId, Label, Signal};

/// Characters of an image's path or a link's target: they may be megabytes long.
const SOURCE_CHARS: usize = 80;

/// The verdict on one item with everything that led to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// The item's id.
    pub id: String,
    /// What the policy decided.
    pub verdict: Verdict,
    /// Which policy that was.
    pub policy: PolicyDigest,
    /// What the answering detectors found.
    pub signals: Vec<Signal>,
    /// The labels that were switched off: no rule saw a signal of one.
    pub killed: Vec<Label>,
    /// The hot lists that were looked into, and what of the item is on each.
    pub lists: Vec<Consulted>,
    /// The detectors that were asked and gave no answer.
    pub degraded: Vec<Degraded>,
    /// The parts that no loaded detector reads.
    pub unjudged: Vec<Unjudged>,
    /// Which revision answers for each detector.
    pub lineup: Lineup,
    /// The generation of the lineup that says so.
    pub generation: u64,
    /// Every call that was made for it: a canary that failed stands here alone, since the
    /// live revision answered.
    pub calls: Vec<Called>,
    /// Where the time went.
    pub timings: Timings,
}

/// A detector that gave no answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Degraded {
    /// Which.
    pub detector: DetectorId,
    /// Which build of it.
    pub revision: RevisionId,
    /// Who is to blame.
    pub blame: Blame,
    /// Why.
    pub reason: String,
}

/// One call of a revision.
#[derive(Debug, Clone, PartialEq)]
pub struct Called {
    /// Whose.
    pub detector: DetectorId,
    /// Who was asked.
    pub revision: RevisionId,
    /// Why.
    pub arm: Arm,
    /// Whether it stepped in for a canary that failed.
    pub stepped_in: bool,
    /// How long it took.
    pub took: Duration,
    /// Who is to blame that it gave no answer, and why; none when it did.
    pub failed: Option<(Blame, String)>,
}

/// A part that no loaded detector reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unjudged {
    /// The part's id.
    pub part: u32,
    /// What the caller calls it; for a link its target, for an unopened image its
    /// path.
    pub name: String,
    /// Why.
    pub reason: &'static str,
}

/// The revision of every detector that answers for the item, or would for another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Lineup(pub BTreeMap<DetectorId, RevisionId>);

/// Wall-clock time spent.
#[derive(Debug, Clone, PartialEq)]
pub struct Timings {
    /// From item to verdict.
    pub total: Duration,
    /// In each detector's call.
    pub detectors: BTreeMap<DetectorId, Duration>,
    /// In codecs, for all images.
    pub decode: Duration,
    /// Making tensors of images, waiting for the device included.
    pub preprocess: Duration,
    /// In models, waiting for the device included; of all calls together.
    pub model: Duration,
}

impl Judgement {
    /// Whether nothing of the item was judged: no detector was asked, or each that
    /// was could not make anything of what the caller gave. The verdict then rests on
    /// attributes and on that alone.
    pub fn is_unseen(&self) -> bool {
        let of_the_caller = |degraded: &&Degraded| degraded.blame == Blame::Caller;
        let n_declined = self.degraded.iter().filter(of_the_caller).count();
        n_declined == self.timings.detectors.len()
    }
}

impl Judgement {
    /// Why nothing of the item was judged, part by part; none when something was.
    pub fn unseen(&self) -> Option<String> {
        if !self.is_unseen() {
            return None;
        }
        let parts = self.unjudged.iter();
        let parts = parts.map(|part| format!("{}: {}", part.name, part.reason));
        let degraded = self.degraded.iter();
        let degraded =
            degraded.map(|degraded| format!("{}: {}", degraded.detector, degraded.reason));
        let why: Vec<String> = parts.chain(degraded).collect();
        Some(format!("nothing in it can be judged ({})", why.join("; ")))
    }
}

impl Unjudged {
    pub(super) fn new(id: u32, part: &Part) -> Self {
        Self {
            part: id,
            name: match &part.content {
                Content::Text { .. } => part.name.clone(),
                Content::Image {
                    source: ImageSource::Path(path),
                } => printable(path, SOURCE_CHARS),
                Content::Image { .. } => part.name.clone(),
                Content::Link { target } => printable(target, SOURCE_CHARS),
            },
            reason: match part.kind() {
                PartKind::Text => "no loaded detector reads text",
                PartKind::Image => "no loaded detector reads images",
                PartKind::Link => "no loaded detector reads links",
            },
        }
    }
}

impl Serialize for Judgement {
    /// `killed` and `lists` only where there are some.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let n_hot = usize::from(!self.killed.is_empty()) + usize::from(!self.lists.is_empty());
        let mut object = serializer.serialize_struct("Judgement", 9 + n_hot)?;
        object.serialize_field("id", &self.id)?;
        object.serialize_field("verdict", &self.verdict.action)?;
        object.serialize_field("rules", &self.verdict.rules)?;
        object.serialize_field("signals", &self.signals)?;
        if !self.killed.is_empty() {
            object.serialize_field("killed", &self.killed)?;
        }
        if !self.lists.is_empty() {
            object.serialize_field("lists", &self.lists)?;
        }
        object.serialize_field("degraded", &self.degraded)?;
        object.serialize_field("unjudged", &self.unjudged)?;
        object.serialize_field("lineup", &self.lineup)?;
        object.serialize_field("generation", &self.generation)?;
        object.serialize_field("timings_us", &self.timings)?;
        object.end()
    }
}

impl Serialize for Timings {
    /// Whole microseconds: `total`, `decode`, `preprocess`, `model`, and `detectors`
    /// by name.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let micros = |time: &Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let detectors: BTreeMap<_, _> = self
            .detectors
            .iter()
            .map(|(id, time)| (id, micros(time)))
            .collect();
        let mut object = serializer.serialize_struct("Timings", 5)?;
        object.serialize_field("total", &micros(&self.total))?;
        object.serialize_field("detectors", &detectors)?;
        object.serialize_field("decode", &micros(&self.decode))?;
        object.serialize_field("preprocess", &micros(&self.preprocess))?;
        object.serialize_field("model", &micros(&self.model))?;
        object.end()
    }
}

/// What the calls for one item gave.
#[derive(Default)]
pub(super) struct Report {
    pub(super) signals: Vec<Signal>,
    pub(super) degraded: Vec<Degraded>,
    /// Who answered.
    pub(super) answered: BTreeMap<DetectorId, RevisionId>,
    pub(super) calls: Vec<Called>,
    pub(super) took: BTreeMap<DetectorId, Duration>,
    pub(super) modelling: Duration,
}

impl Report {
    /// Takes the calls of one detector: the last one is what it says.
    pub(super) fn add(&mut self, asked: &[Asked]) {
        for each in asked {
            self.called(each);
        }
        let Some(last) = asked.last() else { return };
        let loaded = &last.revision.loaded;
        let (id, revision) = (loaded.detector.id(), loaded.detector.revision());
        let took = asked.iter().map(|each| match &each.answer {
            Answer::Called(call) => call.took,
            Answer::LeftAlone(_) => Duration::ZERO,
        });
        self.took.insert(id.clone(), took.sum());
        let findings = match &last.answer {
            Answer::Called(call) => call.outcome.as_ref().map_err(|fault| {
                let reason = fault.to_string();
                (fault.blame(), reason)
            }),
            Answer::LeftAlone(time) => Err((Blame::Guest, left_alone(*time))),
        };
        let findings = match findings {
            Ok(findings) => findings,
            Err((blame, reason)) => {
                self.degraded.push(Degraded {
                    detector: id.clone(),
                    revision,
                    blame,
                    reason,
                });
                return;
            }
        };
        self.answered.insert(id.clone(), revision);
        for raw in &findings.signals {
            let calibrated = loaded.calibrator.probability(&raw.label, raw.score);
            let (probability, calibrator) =
                calibrated.expect("every declared label is calibrated, scores are finite");
            self.signals.push(Signal {
                detector: id.clone(),
                revision,
                probability,
                calibrator,
                label: raw.label.clone(),
                score: raw.score,
                evidence: raw.evidence.clone(),
            });
        }
    }

    fn called(&mut self, asked: &Asked) {
        let detector = &asked.revision.loaded.detector;
        let (took, failed) = match &asked.answer {
            Answer::Called(call) => {
                log_lines(detector.id(), call);
                self.modelling += call.modelling;
                let failed = call.outcome.as_ref().err();
                (
                    call.took,
                    failed.map(|fault| (fault.blame(), fault.to_string())),
                )
            }
            Answer::LeftAlone(time) => (Duration::ZERO, Some((Blame::Guest, left_alone(*time)))),
        };
        self.calls.push(Called {
            detector: detector.id().clone(),
            revision: detector.revision(),
            arm: asked.arm,
            stepped_in: asked.stepped_in,
            took,
            failed,
        });
    }
}

fn left_alone(time: Duration) -> String {
    format!("has failed too often and is left alone for {time:.1?} more")
}

/// Hands a detector's log lines to whatever subscriber the embedder installed.
fn log_lines(detector: &DetectorId, call: &Call) {
    for LogLine {
        level,
        message,
        fields,
    } in &call.log
    {
        // Else a newline in it would begin a line that looks like the host's own.
        let message = printable(message, message.len());
        // `tracing` wants each level spelled out.
        macro_rules! line {
            ($level:expr) => {
                tracing::event!(target: "trommel::guest", $level, %detector, ?fields, "{message}")
            };
        }
        match *level {
            tracing::Level::ERROR => line!(tracing::Level::ERROR),
            tracing::Level::WARN => line!(tracing::Level::WARN),
            tracing::Level::INFO => line!(tracing::Level::INFO),
            tracing::Level::DEBUG => line!(tracing::Level::DEBUG),
            _ => line!(tracing::Level::TRACE),
        }
    }
    if call.n_log_lines_dropped > 0 {
        let n_dropped = call.n_log_lines_dropped;
        tracing::warn!(target: "trommel::guest", %detector, n_dropped, "log lines past the call's bound were dropped");
    }
}
