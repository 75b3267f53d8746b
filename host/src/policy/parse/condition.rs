//! Reading conditions.

use std::collections::BTreeMap;

use super::{Entry, Fault, Problem, Reader, Section, printable};
use crate::{
    calibrator::Target,
    policy::{
        DetectorState, ListState, MAX_DEPTH,
        condition::{Aim, Circumstance, Condition, Test},
        error::quoted,
    },
    signal::{DetectorId, Label},
};

/// The key that says what a condition is about; each has exactly one.
const SUBJECTS: &[&str] = &[
    "label",
    "attribute",
    "detector",
    "list",
    "all",
    "any",
    "not",
];
/// The key that says what an attribute must be; each such condition has one.
const TESTS: &[&str] = &["equals", "one_of", "at_least", "at_most", "present"];
/// What may stand beside a subject.
const LABEL_KEYS: &[&str] = &["label", "threshold", "target", "prevalence"];
const ATTRIBUTE_KEYS: &[&str] = &[
    "attribute",
    "equals",
    "one_of",
    "at_least",
    "at_most",
    "present",
];
const DETECTOR_KEYS: &[&str] = &["detector", "state"];
const LIST_KEYS: &[&str] = &["list", "state"];
const ALL_KEYS: &[&str] = &[
    "label",
    "threshold",
    "target",
    "prevalence",
    "attribute",
    "equals",
    "one_of",
    "at_least",
    "at_most",
    "present",
    "detector",
    "state",
    "list",
    "all",
    "any",
    "not",
];

const THRESHOLD: &str =
    "a probability, as in `threshold = 0.9`, or a target, as in `target = \"fpr <= 0.01\"`";
const CONDITION: &str = "a condition, as in `{ label = \"spam\", threshold = 0.9 }`";
const CIRCUMSTANCE: &str = "a condition, as in `{ attribute = \"verified\", equals = true }`";
const CONDITIONS: &str = "a list of conditions, at least one";
const SCALARS: &str = "a list of texts, numbers or flags, at least one";

impl Reader<'_> {
    /// A condition that may read scores.
    pub(super) fn condition(
        &mut self,
        entry: Entry<'_, '_>,
        depth: usize,
    ) -> Result<Condition, Fault> {
        let (section, subject) = open(entry, depth, CONDITION)?;
        let each = |entry| self.condition(entry, depth + 1);
        Ok(match subject.key() {
            "label" => self.score(&section, subject)?,
            "all" => Condition::All(subject.each(CONDITIONS, each)?),
            "any" => Condition::Any(subject.each(CONDITIONS, each)?),
            _ => Condition::Circumstance(self.circumstance_of(&section, subject, depth, "not")?),
        })
    }

    /// A condition that may not, for it stands inside `within`.
    pub(super) fn circumstance(
        &mut self,
        entry: Entry<'_, '_>,
        depth: usize,
        within: &'static str,
    ) -> Result<Circumstance, Fault> {
        let (section, subject) = open(entry, depth, CIRCUMSTANCE)?;
        self.circumstance_of(&section, subject, depth, within)
    }

    fn circumstance_of(
        &mut self,
        section: &Section<'_, '_>,
        subject: Entry<'_, '_>,
        depth: usize,
        within: &'static str,
    ) -> Result<Circumstance, Fault> {
        let mut each = |entry| self.circumstance(entry, depth + 1, within);
        Ok(match subject.key() {
            "attribute" => attribute(section, subject)?,
            "detector" => self.detector(section, subject)?,
            "list" => self.list(section, subject)?,
            "all" => Circumstance::All(subject.each(CONDITIONS, each)?),
            "any" => Circumstance::Any(subject.each(CONDITIONS, each)?),
            "not" => Circumstance::Not(Box::new(each(subject)?)),
            _ => return Err(subject.fault(Problem::ScoreSoftens { within })),
        })
    }

    fn score(
        &mut self,
        section: &Section<'_, '_>,
        subject: Entry<'_, '_>,
    ) -> Result<Condition, Fault> {
        let label = Label::from(subject.words("the label's name in quotes")?);
        let condition = match section.get("target") {
            Some(target) => Condition::Target(Aim {
                label: label.clone(),
                line: self.lines.line(target.at()),
                target: read_target(section, target)?,
                cuts: BTreeMap::new(),
            }),
            None => {
                let threshold = section.need("threshold", THRESHOLD)?.probability()?;
                if let Some(stray) = section.get("prevalence") {
                    return Err(stray.fault(Problem::StrayPrevalence));
                }
                Condition::Score {
                    label: label.clone(),
                    threshold,
                }
            }
        };
        self.labels.push((label, self.lines.line(subject.at())));
        Ok(condition)
    }

    fn detector(
        &mut self,
        section: &Section<'_, '_>,
        subject: Entry<'_, '_>,
    ) -> Result<Circumstance, Fault> {
        let name = subject.words("a detector's name in quotes, or \"*\" for any")?;
        let state = section.need("state", "a state, as in `state = \"degraded\"`")?;
        let state = read_state(state)?;
        let detector = (name != "*").then(|| DetectorId::from(name));
        let line = self.lines.line(subject.at());
        self.detectors
            .extend(detector.clone().map(|detector| (detector, line)));
        Ok(Circumstance::Detector { detector, state })
    }

    fn list(
        &mut self,
        section: &Section<'_, '_>,
        subject: Entry<'_, '_>,
    ) -> Result<Circumstance, Fault> {
        let name = subject.words("the list's name in quotes")?.to_owned();
        let state = section
            .get("state")
            .map_or(Ok(ListState::Found), list_state)?;
        self.lists
            .push((name.clone(), self.lines.line(subject.at())));
        Ok(Circumstance::List { name, state })
    }
}

/// `fpr <= RATE`, or `precision >= RATE` beside a `prevalence`.
fn read_target(section: &Section<'_, '_>, entry: Entry<'_, '_>) -> Result<Target, Fault> {
    if section.get("threshold").is_some() {
        return Err(entry.fault(Problem::TargetAndThreshold));
    }
    let written = entry.text("a target in quotes, as in `target = \"fpr <= 0.01\"`")?;
    let unknown = || {
        entry.fault(Problem::UnknownTarget {
            written: printable(written),
        })
    };
    let [name, sign, rate] = written.split_whitespace().collect::<Vec<_>>()[..] else {
        return Err(unknown());
    };
    let rate = rate.parse::<f64>().ok();
    let rate = rate.filter(|rate| *rate > 0.0 && *rate < 1.0);
    let prevalence = section.get("prevalence");
    match (name, sign, rate, prevalence) {
        ("fpr", "<=", Some(at_most), None) => Ok(Target::FalsePositiveRate { at_most }),
        ("fpr", "<=", Some(_), Some(stray)) => Err(stray.fault(Problem::StrayPrevalence)),
        ("precision", ">=", Some(at_least), _) => {
            let stated = section.describing("a precision target");
            let prevalence = stated.need(
                "prevalence",
                "the share of positives in your traffic, as in `prevalence = 0.02`",
            )?;
            Ok(Target::Precision {
                at_least,
                prevalence: prevalence.rate()?,
            })
        }
        _ => Err(unknown()),
    }
}

/// The table of a condition, and the entry that says what it is about.
fn open<'v, 'i>(
    entry: Entry<'v, 'i>,
    depth: usize,
    wanted: &'static str,
) -> Result<(Section<'v, 'i>, Entry<'v, 'i>), Fault> {
    if depth > MAX_DEPTH {
        return Err(entry.fault(Problem::TooDeep));
    }
    let section = entry.section("a condition", wanted)?;
    let subject = match section.among(SUBJECTS)[..] {
        [subject] => subject,
        [] => {
            section.only(ALL_KEYS)?;
            return Err(section.fault(Problem::NoSubject {
                known: quoted(SUBJECTS),
            }));
        }
        [first, second, ..] => {
            let (first, second) = (first.key(), second.key());
            return Err(section.fault(Problem::TwoSubjects { first, second }));
        }
    };
    let (what, known) = match subject.key() {
        "label" => ("a label condition", LABEL_KEYS),
        "attribute" => ("an attribute condition", ATTRIBUTE_KEYS),
        "detector" => ("a detector condition", DETECTOR_KEYS),
        "list" => ("a list condition", LIST_KEYS),
        "all" => ("an `all` condition", &["all"][..]),
        "any" => ("an `any` condition", &["any"][..]),
        _ => ("a `not` condition", &["not"][..]),
    };
    let section = section.describing(what);
    section.only(known)?;
    Ok((section, subject))
}

fn attribute(section: &Section<'_, '_>, subject: Entry<'_, '_>) -> Result<Circumstance, Fault> {
    let name = subject.words("the attribute's name in quotes")?.to_owned();
    let test = match section.among(TESTS)[..] {
        [test] => read_test(test)?,
        [] => {
            return Err(section.fault(Problem::NoTest {
                known: quoted(TESTS),
            }));
        }
        [first, second, ..] => {
            let (first, second) = (first.key(), second.key());
            return Err(section.fault(Problem::TwoTests { first, second }));
        }
    };
    Ok(Circumstance::Attribute { name, test })
}

fn read_test(entry: Entry<'_, '_>) -> Result<Test, Fault> {
    let (number, scalar) = ("a finite number", "a text, a finite number, true or false");
    Ok(match entry.key() {
        "equals" => Test::OneOf(vec![entry.scalar(scalar)?]),
        "one_of" => Test::OneOf(entry.each(SCALARS, |each| each.scalar(scalar))?),
        "at_least" => Test::AtLeast(entry.number(number)?),
        "at_most" => Test::AtMost(entry.number(number)?),
        _ => Test::Present(entry.flag("true or false")?),
    })
}

fn list_state(entry: Entry<'_, '_>) -> Result<ListState, Fault> {
    match entry.text("found or degraded, in quotes")? {
        "found" => Ok(ListState::Found),
        "degraded" => Ok(ListState::Degraded),
        word => Err(entry.fault(Problem::UnknownListState {
            word: printable(word),
        })),
    }
}

fn read_state(entry: Entry<'_, '_>) -> Result<DetectorState, Fault> {
    match entry.text("answered, degraded or not-asked, in quotes")? {
        "answered" => Ok(DetectorState::Answered),
        "degraded" => Ok(DetectorState::Degraded),
        "not-asked" => Ok(DetectorState::NotAsked),
        word => Err(entry.fault(Problem::UnknownState {
            word: printable(word),
        })),
    }
}
