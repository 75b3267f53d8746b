//! What a record holds, and how it is made: a function of item, judgement, origin,
//! settings and the time that is given in.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::bounded::MAX_WORD_BYTES;
use super::{ContentDigest, FORM, RecordSettings, RecordedText, Redaction, StoredContent};
use crate::blame::Blame;
use crate::item::{Attribute, Item, Part, PartKind};
use crate::lists::{Consulted, ListVersion};
use crate::pipeline::Degraded;
use crate::policy::{Action, FiredRule, PolicyDigest};
use crate::revision::RevisionId;
use crate::rollout::{Arm, Moment, Share};
use crate::signal::{DetectorId, Evidence, Label, Signal};
use crate::{Host, Judgement};

/// Parts of an item that are told one by one, at most.
const MAX_PARTS: usize = 256;
/// Attributes of an item, at most.
const MAX_ATTRIBUTES: usize = 64;
/// Pieces of evidence for one signal, at most.
const MAX_EVIDENCE: usize = 32;

/// Where judgements come from: the same for all that one host makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The host's version.
    pub host: String,
    /// Where its models run: `cpu` or `gpu`.
    pub device: String,
}

impl Origin {
    /// Where this host's come from.
    #[must_use]
    pub fn of(host: &Host) -> Self {
        Self {
            host: env!("CARGO_PKG_VERSION").to_owned(),
            device: host.device().to_owned(),
        }
    }
}

/// One verdict with everything that led to it, and nothing that the settings hold back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Which form this is; [`FORM`] when this host wrote it.
    pub form: u32,
    /// When it was written.
    pub at: Moment,
    /// The host's version.
    pub host: String,
    /// Where models ran.
    pub device: String,
    /// How many of the items like this one were recorded: it stands for so many more.
    pub share: Share,
    /// What was judged.
    pub item: RecordedItem,
    /// The lineup's generation; none for a host without a lineup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Who was asked.
    pub asked: Vec<Asked>,
    /// Which policy decided.
    pub policy: PolicyDigest,
    /// What it decided.
    pub verdict: Action,
    /// Which of its rules fired.
    pub rules: Vec<RecordedRule>,
    /// What the detectors that answered found.
    pub signals: Vec<RecordedSignal>,
    /// The labels that were switched off: no rule saw a signal of one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub killed: Vec<Label>,
    /// The hot lists that were looked into.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lists: Vec<RecordedList>,
    /// Who gave no answer.
    pub degraded: Vec<RecordedDegraded>,
    /// The parts that nobody reads.
    pub unjudged: Vec<RecordedUnjudged>,
    /// Where the time went.
    pub timings_us: RecordedTimings,
    /// The item's content, where the settings ask for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<StoredContent>,
    /// The settings ask for the content, and it was too large to be kept.
    #[serde(default, skip_serializing_if = "is_false")]
    pub content_left_out: bool,
}

/// What was judged, by its digests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordedItem {
    /// Its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<RecordedText>,
    /// The digest of all of it but the id.
    pub digest: ContentDigest,
    /// Its parts, in order.
    pub parts: Vec<RecordedPart>,
    /// How many parts it had beyond those.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub n_parts_left_out: usize,
    /// Its attributes; numbers and flags as text, for all may be hashed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, RecordedText>,
    /// How many attributes it had beyond those, those that the settings leave out aside.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub n_attributes_left_out: usize,
}

/// A hot list that was looked into. What was found is content, and is not told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedList {
    /// Its name.
    pub list: String,
    /// Its content then.
    pub version: ListVersion,
    /// Whether the item is on it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub found: bool,
    /// Its time passed before that was known.
    #[serde(default, skip_serializing_if = "is_false")]
    pub degraded: bool,
}

/// A part, by its digest. Its id is its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedPart {
    /// `text`, `image` or `link`.
    pub kind: String,
    /// Its digest.
    pub digest: ContentDigest,
    /// Bytes of what it holds, an image's still coded.
    pub bytes: usize,
}

/// A call of a detector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Which.
    pub detector: DetectorId,
    /// Which build of it.
    pub revision: RevisionId,
    /// Why that one.
    pub arm: Arm,
    /// Whether it stepped in for a canary that had failed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub stepped_in: bool,
    /// Microseconds that the call took.
    pub took_us: u64,
    /// Who is to blame that it gave no answer; none when it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Blame>,
}

/// A rule that fired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedRule {
    /// Its name.
    pub name: String,
    /// Its code.
    pub reason: String,
    /// What it asks for.
    pub action: Action,
    /// The labels that it names.
    pub labels: Vec<Label>,
}

/// A signal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordedSignal {
    /// Who said so.
    pub detector: DetectorId,
    /// Which build of it.
    pub revision: RevisionId,
    /// What it found.
    pub label: Label,
    /// Its raw answer.
    pub score: f32,
    /// The calibrated one.
    pub probability: f64,
    /// Which map made the one of the other.
    pub calibrator: String,
    /// Where it points.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<RecordedEvidence>,
    /// How many pieces of evidence there were beyond those.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub n_evidence_left_out: usize,
}

/// What a person is shown as the reason for a signal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[expect(missing_docs, reason = "as in `signal::Evidence`")]
pub enum RecordedEvidence {
    /// Bytes of a text part: where, not which.
    Span { part: u32, start: u32, end: u32 },
    /// A rectangle of an image part.
    Region {
        part: u32,
        x: f32,
        y: f32,
        width: f32,
        height: f32,
    },
    /// Words; none where the settings leave them out.
    Note {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<RecordedText>,
    },
}

/// A detector that gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedDegraded {
    /// Which.
    pub detector: DetectorId,
    /// Which build of it.
    pub revision: RevisionId,
    /// Who is to blame.
    pub blame: Blame,
    /// Why; a plugin's last words may be in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<RecordedText>,
}

/// A part that nobody reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedUnjudged {
    /// Its id.
    pub part: u32,
    /// Why.
    pub reason: String,
}

/// Wall-clock time spent, in microseconds, as a judgement tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as in `pipeline::Timings`")]
pub struct RecordedTimings {
    pub total: u64,
    pub decode: u64,
    pub preprocess: u64,
    pub model: u64,
}

impl Record {
    /// The record of one judgement, written at `at`. `share` is what
    /// [`RecordSettings::sampled`] says of the item.
    #[must_use]
    pub fn of(
        item: &Item,
        judgement: &Judgement,
        origin: &Origin,
        settings: &RecordSettings,
        (share, at): (Share, Moment),
    ) -> Self {
        let rules = judgement.verdict.rules.iter();
        let signals = judgement.signals.iter();
        let degraded = judgement.degraded.iter();
        let unjudged = judgement.unjudged.iter().take(MAX_PARTS);
        let most = settings.max_content_bytes;
        let most = most.min(RecordSettings::MAX_CONTENT_BYTES);
        let content = settings.content.then(|| StoredContent::of(item, most));
        Self {
            form: FORM,
            at,
            host: origin.host.clone(),
            device: origin.device.clone(),
            share,
            item: RecordedItem::of(item, settings),
            generation: Some(judgement.generation),
            asked: asked(judgement),
            policy: judgement.policy,
            verdict: judgement.verdict.action,
            rules: rules.map(RecordedRule::of).collect(),
            signals: signals
                .map(|signal| RecordedSignal::of(signal, settings.words))
                .collect(),
            killed: judgement.killed.clone(),
            lists: judgement.lists.iter().map(RecordedList::of).collect(),
            degraded: degraded
                .map(|degraded| RecordedDegraded::of(degraded, settings.words))
                .collect(),
            unjudged: unjudged
                .map(|unjudged| RecordedUnjudged {
                    part: unjudged.part,
                    reason: unjudged.reason.to_owned(),
                })
                .collect(),
            timings_us: RecordedTimings {
                total: micros(judgement.timings.total),
                decode: micros(judgement.timings.decode),
                preprocess: micros(judgement.timings.preprocess),
                model: micros(judgement.timings.model),
            },
            content_left_out: content.as_ref().is_some_and(Option::is_none),
            content: content.flatten(),
        }
    }
}

impl RecordedList {
    fn of(consulted: &Consulted) -> Self {
        Self {
            list: consulted.list.clone(),
            version: consulted.version,
            found: consulted.found.is_some(),
            degraded: consulted.degraded.is_some(),
        }
    }
}

impl RecordedItem {
    fn of(item: &Item, settings: &RecordSettings) -> Self {
        let digests: Vec<ContentDigest> = item.parts.iter().map(ContentDigest::of_part).collect();
        let parts = item.parts.iter().zip(&digests).take(MAX_PARTS);
        let parts = parts.map(|(part, digest)| RecordedPart::of(part, *digest));
        // A name is the gateway's word for it, and no longer than a word.
        let is_word = |(name, _): &(&String, &Attribute)| name.len() <= MAX_WORD_BYTES;
        let named = item.attributes.iter().filter(is_word);
        let attribute = |(name, value): (&String, &Attribute)| {
            let value = RecordedText::word(&value.to_string(), settings.attributes)?;
            Some((name.clone(), value))
        };
        let attributes: BTreeMap<_, _> = named.take(MAX_ATTRIBUTES).filter_map(attribute).collect();
        Self {
            id: RecordedText::word(&item.id, settings.ids),
            digest: ContentDigest::of_parts(item, &digests),
            parts: parts.collect(),
            n_parts_left_out: item.parts.len().saturating_sub(MAX_PARTS),
            n_attributes_left_out: match settings.attributes {
                Redaction::Omit => 0,
                _ => item.attributes.len() - attributes.len(),
            },
            attributes,
        }
    }
}

impl RecordedPart {
    fn of(part: &Part, digest: ContentDigest) -> Self {
        let kind = match part.kind() {
            PartKind::Text => "text",
            PartKind::Image => "image",
            PartKind::Link => "link",
        };
        Self {
            kind: kind.to_owned(),
            digest,
            bytes: part.content_bytes(),
        }
    }
}

fn asked(judgement: &Judgement) -> Vec<Asked> {
    let calls = judgement.calls.iter();
    calls
        .map(|called| Asked {
            detector: called.detector.clone(),
            revision: called.revision,
            arm: called.arm,
            stepped_in: called.stepped_in,
            took_us: micros(called.took),
            failed: called.failed.as_ref().map(|(blame, _)| *blame),
        })
        .collect()
}

impl RecordedRule {
    pub(super) fn of(rule: &FiredRule) -> Self {
        Self {
            name: rule.name.clone(),
            reason: rule.reason.clone(),
            action: rule.action,
            labels: rule.labels.clone(),
        }
    }
}

impl RecordedSignal {
    fn of(signal: &Signal, words: Redaction) -> Self {
        let evidence = signal.evidence.iter().take(MAX_EVIDENCE);
        Self {
            detector: signal.detector.clone(),
            revision: signal.revision,
            label: signal.label.clone(),
            score: signal.score,
            probability: signal.probability.get(),
            calibrator: signal.calibrator.to_string(),
            evidence: evidence
                .map(|evidence| RecordedEvidence::of(evidence, words))
                .collect(),
            n_evidence_left_out: signal.evidence.len().saturating_sub(MAX_EVIDENCE),
        }
    }
}

impl RecordedEvidence {
    fn of(evidence: &Evidence, words: Redaction) -> Self {
        match *evidence {
            Evidence::Span { part, start, end } => Self::Span { part, start, end },
            Evidence::Region {
                part,
                x,
                y,
                width,
                height,
            } => Self::Region {
                part,
                x,
                y,
                width,
                height,
            },
            Evidence::Note { ref text } => Self::Note {
                text: RecordedText::note(text, words),
            },
        }
    }
}

impl RecordedDegraded {
    fn of(degraded: &Degraded, words: Redaction) -> Self {
        Self {
            detector: degraded.detector.clone(),
            revision: degraded.revision,
            blame: degraded.blame,
            reason: RecordedText::note(&degraded.reason, words),
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn is_false(flag: &bool) -> bool {
    !flag
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

#[cfg(test)]
pub(super) mod tests;
