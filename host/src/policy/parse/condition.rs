//! Reading conditions.

use super::{Entry, Fault, Problem, Reader, Section, printable};
use crate::{
    policy::{
        DetectorState, MAX_DEPTH,
        condition::{Circumstance, Condition, Test},
        error::quoted,
    },
    signal::{DetectorId, Label},
};

/// The key that says what a condition is about; each has exactly one.
const SUBJECTS: &[&str] = &["label", "attribute", "detector", "all", "any", "not"];
/// The key that says what an attribute must be; each such condition has one.
const TESTS: &[&str] = &["equals", "one_of", "at_least", "at_most", "present"];
/// What may stand beside a subject.
const LABEL_KEYS: &[&str] = &["label", "threshold"];
const ATTRIBUTE_KEYS: &[&str] = &[
    "attribute",
    "equals",
    "one_of",
    "at_least",
    "at_most",
    "present",
];
const DETECTOR_KEYS: &[&str] = &["detector", "state"];
const ALL_KEYS: &[&str] = &[
    "label",
    "threshold",
    "attribute",
    "equals",
    "one_of",
    "at_least",
    "at_most",
    "present",
    "detector",
    "state",
    "all",
    "any",
    "not",
];

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
        let threshold = section.need("threshold", "a probability, as in `threshold = 0.9`")?;
        let threshold = threshold.probability()?;
        self.labels
            .push((label.clone(), self.lines.line(subject.at())));
        Ok(Condition::Score { label, threshold })
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
