//! The reader of a lineup. It may come from anybody who reaches the admin API, so
//! everything is bounded and checked here; what is held later is valid.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::Deserialize;
use toml::Spanned;

use super::{
    DetectorLineup, End, Lineup, LineupError, MAX_ALL_PINS, MAX_BYTES, MAX_DETECTORS, MAX_PINS,
    MAX_REVISIONS, MAX_WORD_CHARS, Stage, Staged,
};
use crate::excerpt::{NAME_CHARS, printable};
use crate::revision::RevisionId;
use crate::rollout::Share;
use crate::signal::DetectorId;
use crate::toml_text::{Lines, long_key};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLineup {
    generation: Spanned<i64>,
    salt: Spanned<String>,
    policy: Option<Spanned<String>>,
    #[serde(default)]
    detector: Vec<Spanned<RawDetector>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDetector {
    id: Spanned<String>,
    previous: Option<Spanned<String>>,
    #[serde(default)]
    revision: Vec<Spanned<RawRevision>>,
    #[serde(default)]
    pin: Vec<Spanned<RawPin>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPin {
    key: Spanned<String>,
    revision: Spanned<String>,
}

/// The keys of all stages: told apart by hand, for a tagged enum would lose the lines.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRevision {
    revision: Spanned<String>,
    stage: Spanned<String>,
    share: Option<Spanned<f64>>,
    end: Option<Spanned<String>>,
}

/// What is wrong, and the byte where.
type Mistake = (usize, String);

pub(super) fn lineup(file: &str, text: &str) -> Result<Lineup, LineupError> {
    let lines = Lines::new(text);
    read(text).map_err(|(at, what)| LineupError {
        file: file.to_owned(),
        line: lines.line(at),
        what,
    })
}

fn read(text: &str) -> Result<Lineup, Mistake> {
    if text.len() > MAX_BYTES {
        let what = format!(
            "the lineup has {} bytes, more than {MAX_BYTES}; shorten it",
            text.len()
        );
        return Err((0, what));
    }
    if let Some(at) = long_key(text) {
        return Err((at, "this key is too long; write tables".to_owned()));
    }
    let raw: RawLineup = toml::from_str(text).map_err(|problem| {
        let at = problem.span().map_or(0, |span| span.start);
        // It may repeat what the file says.
        (at, printable(problem.message(), 300))
    })?;
    let generation = u64::try_from(*raw.generation.as_ref()).unwrap_or(0);
    if generation == 0 {
        let what = format!(
            "`generation` is {}; give a whole number from 1",
            raw.generation.as_ref()
        );
        return Err((raw.generation.span().start, what));
    }
    word("`salt`", raw.salt.as_ref()).map_err(|what| (raw.salt.span().start, what))?;
    let policy = raw.policy.as_ref().map(|policy| digest("`policy`", policy));
    Ok(Lineup {
        generation,
        policy: policy.transpose()?,
        detectors: detectors(raw.detector)?,
        salt: raw.salt.into_inner(),
    })
}

fn detectors(
    raw: Vec<Spanned<RawDetector>>,
) -> Result<BTreeMap<DetectorId, DetectorLineup>, Mistake> {
    if let Some(above) = raw.get(MAX_DETECTORS) {
        let what = format!(
            "{} detectors, more than {MAX_DETECTORS}; give some to another host",
            raw.len()
        );
        return Err((above.span().start, what));
    }
    let mut detectors = BTreeMap::new();
    let mut n_pins = 0;
    for raw in raw {
        let raw = raw.into_inner();
        let at = raw.id.span().start;
        n_pins += raw.pin.len();
        if n_pins > MAX_ALL_PINS {
            let what = format!("more than {MAX_ALL_PINS} pins up to this detector; remove some");
            return Err((at, what));
        }
        word("`id`", raw.id.as_ref()).map_err(|what| (at, what))?;
        let id = DetectorId::from(raw.id.as_ref().as_str());
        let shown = printable(id.as_str(), NAME_CHARS);
        let detector =
            detector(raw).map_err(|(at, what)| (at, format!("detector `{shown}`: {what}")))?;
        if detectors.insert(id, detector).is_some() {
            let what = format!("detector `{shown}` is here twice; put its revisions together");
            return Err((at, what));
        }
    }
    Ok(detectors)
}

fn detector(raw: RawDetector) -> Result<DetectorLineup, Mistake> {
    if let Some(above) = raw.revision.get(MAX_REVISIONS) {
        let what = format!(
            "{} revisions, more than {MAX_REVISIONS}; leave out retired ones",
            raw.revision.len()
        );
        return Err((above.span().start, what));
    }
    let mut detector = DetectorLineup::default();
    for raw in raw.revision {
        let (at, raw) = (raw.span().start, raw.into_inner());
        let staged = Staged {
            revision: digest("`revision`", &raw.revision)?,
            stage: stage(&raw, at)?,
        };
        admit(&detector, staged).map_err(|what| (at, what))?;
        detector.revisions.push(staged);
    }
    if let Some(previous) = raw.previous {
        let at = previous.span().start;
        detector.previous = Some(digest("`previous`", &previous)?);
        check_previous(&detector).map_err(|what| (at, what))?;
    }
    check_canaries(&detector).map_err(|what| (raw.id.span().start, what))?;
    pins(&mut detector, raw.pin)?;
    Ok(detector)
}

/// Each pin names a revision that could answer, as long as the pin is there.
fn pins(detector: &mut DetectorLineup, raw: Vec<Spanned<RawPin>>) -> Result<(), Mistake> {
    if let Some(above) = raw.get(MAX_PINS) {
        let what = format!("{} pins, more than {MAX_PINS}; remove some", raw.len());
        return Err((above.span().start, what));
    }
    for raw in raw {
        let RawPin { key, revision: raw } = raw.into_inner();
        word("`key`", key.as_ref()).map_err(|what| (key.span().start, what))?;
        let revision: RevisionId = digest("`revision`", &raw)?;
        let (shown, short) = (printable(key.as_ref(), NAME_CHARS), revision.short());
        match detector.stage(revision) {
            None => {
                let what = format!(
                    "pin `{shown}` names {short}, which is no revision here; add it with `stage = \"loaded\"`, or remove the pin"
                );
                return Err((raw.span().start, what));
            }
            Some(Stage::Retired) => {
                let what = format!(
                    "pin `{shown}` names {short}, which is retired and could not answer; make it `loaded`, or remove the pin"
                );
                return Err((raw.span().start, what));
            }
            Some(_) => {}
        }
        let at = key.span().start;
        if detector.pins.insert(key.into_inner(), revision).is_some() {
            let what = format!("key `{shown}` is pinned twice; keep one");
            return Err((at, what));
        }
    }
    Ok(())
}

fn stage(raw: &RawRevision, at: usize) -> Result<Stage, Mistake> {
    let stage = match raw.stage.as_ref().as_str() {
        "loaded" => Stage::Loaded,
        "shadow" => Stage::Shadow,
        "canary" => return canary(raw, at),
        "live" => Stage::Live,
        "retired" => Stage::Retired,
        other => {
            let what = format!(
                "unknown stage `{}`; write loaded, shadow, canary, live or retired",
                printable(other, NAME_CHARS)
            );
            return Err((raw.stage.span().start, what));
        }
    };
    let strangers = [
        ("share", raw.share.as_ref().map(Spanned::span)),
        ("end", raw.end.as_ref().map(Spanned::span)),
    ];
    for (key, span) in strangers {
        if let Some(span) = span {
            let what = format!("`{key}` belongs to a canary, and this is {stage}; remove it");
            return Err((span.start, what));
        }
    }
    Ok(stage)
}

fn canary(raw: &RawRevision, at: usize) -> Result<Stage, Mistake> {
    let Some(share) = &raw.share else {
        let what = "a canary lacks `share`; add a fraction of all keys, as in `share = 0.05`";
        return Err((at, what.to_owned()));
    };
    let share = Share::from_fraction(*share.as_ref())
        .map_err(|error| (share.span().start, format!("`share`: {error}")))?;
    let end = match &raw.end {
        None => End::Low,
        Some(end) => match end.as_ref().as_str() {
            "low" => End::Low,
            "high" => End::High,
            other => {
                let what = format!(
                    "unknown end `{}`; write low or high",
                    printable(other, NAME_CHARS)
                );
                return Err((end.span().start, what));
            }
        },
    };
    Ok(Stage::Canary { share, end })
}

/// Whether one more revision may stand beside those that are there.
fn admit(detector: &DetectorLineup, new: Staged) -> Result<(), String> {
    let short = new.revision.short();
    if detector.stage(new.revision).is_some() {
        return Err(format!("revision {short} is here twice; give it one stage"));
    }
    match new.stage {
        Stage::Live => match detector.live() {
            Some(live) => Err(format!(
                "revision {short} is live beside {}; make one of them `loaded`, `canary` or `retired`",
                live.short()
            )),
            None => Ok(()),
        },
        Stage::Canary { end, .. } => match detector.canaries().find(|other| other.2 == end) {
            Some((other, ..)) => Err(format!(
                "canaries {} and {short} take keys from the same end; write `end = \"high\"` below one, or retire one",
                other.short()
            )),
            None => Ok(()),
        },
        Stage::Loaded | Stage::Shadow | Stage::Retired => Ok(()),
    }
}

/// Whether the canaries leave each other room, and somebody answers for the rest.
fn check_canaries(detector: &DetectorLineup) -> Result<(), String> {
    let mut sum = Share::NONE;
    for (_, share, _) in detector.canaries() {
        sum = sum.plus(share).ok_or_else(|| {
            "the canaries' shares are more than 1 together; shrink one".to_owned()
        })?;
    }
    if detector.live().is_none() && detector.canaries().next().is_some() {
        return Err(
            "a canary, and no live revision for the other keys; make one `live`".to_owned(),
        );
    }
    Ok(())
}

/// Whether who was live before could answer at once.
fn check_previous(detector: &DetectorLineup) -> Result<(), String> {
    let previous = detector.previous.expect("the caller has set it");
    let short = previous.short();
    match detector.stage(previous) {
        None => Err(format!(
            "`previous` names {short}, which is no revision here; add it with `stage = \"loaded\"`"
        )),
        Some(Stage::Live) => Err(format!(
            "`previous` names {short}, which is live itself; name who was live before, or remove it"
        )),
        Some(Stage::Retired) => Err(format!(
            "`previous` names {short}, which is retired and could not answer; make it `loaded`, or remove `previous`"
        )),
        Some(Stage::Loaded | Stage::Shadow | Stage::Canary { .. }) => Ok(()),
    }
}

fn digest<T: FromStr>(key: &str, text: &Spanned<String>) -> Result<T, Mistake>
where
    T::Err: std::fmt::Display,
{
    let read = text.as_ref().parse();
    read.map_err(|error: T::Err| (text.span().start, format!("{key}: {error}")))
}

/// Whether a text can serve as a name.
pub(in crate::rollout) fn word(key: &str, text: &str) -> Result<(), String> {
    if text.trim().is_empty() {
        Err(format!("{key} is empty; write a word"))
    } else if text.chars().any(char::is_control) {
        Err(format!("{key} holds a control character; write a word"))
    } else if text.chars().nth(MAX_WORD_CHARS).is_some() {
        Err(format!(
            "{key} has more than {MAX_WORD_CHARS} characters; shorten it"
        ))
    } else {
        Ok(())
    }
}
