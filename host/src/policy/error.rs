//! What can be wrong with a policy file, where, and how to mend it.

use thiserror::Error;

use crate::excerpt;

use super::{MAX_BYTES, MAX_DEPTH, MAX_RULES, parse::MAX_KEY_PARTS};

/// A policy that was refused.
///
/// Shown as `FILE:LINE: what; how to mend it`, on one line whatever the file
/// holds.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{file}:{line}: {problem}")]
pub struct PolicyError {
    /// The name that the policy was read under.
    pub file: String,
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong with one line of a policy. Names are escaped, fit to print.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
#[expect(
    missing_docs,
    reason = "the message of each variant is its documentation"
)]
pub enum Problem {
    #[error("the policy has {n_bytes} bytes, more than {MAX_BYTES}; shorten it")]
    TooLarge { n_bytes: usize },
    #[error("not TOML: {message}; mend the syntax here")]
    Syntax { message: String },
    #[error("a dotted key of more than {MAX_KEY_PARTS} parts; write an inline table instead")]
    LongKey,
    #[error(
        "no rule, so every item would be allowed; add a `[[rule]]`, or write `rule = []` to mean it"
    )]
    NoRule,
    #[error("{n_rules} rules, more than {MAX_RULES}; merge some with `any` or `one_of`")]
    TooManyRules { n_rules: usize },
    #[error("rule `{name}` is named already on line {first}; give it another name")]
    DuplicateRule { name: String, first: usize },

    #[error("unknown key `{key}` in {place}; its keys are {known}")]
    UnknownKey {
        key: String,
        place: &'static str,
        known: String,
    },
    #[error("{place} lacks `{key}`; add {example}")]
    MissingKey {
        place: &'static str,
        key: &'static str,
        example: &'static str,
    },
    #[error("{name} is {found}; write {wanted}")]
    WrongType {
        name: String,
        found: &'static str,
        wanted: &'static str,
    },
    #[error("`{key}` is empty; write {wanted}")]
    Empty {
        key: &'static str,
        wanted: &'static str,
    },
    #[error("`{key}` holds a control character; write {wanted}")]
    ControlCharacter {
        key: &'static str,
        wanted: &'static str,
    },
    #[error("{name} is {written}, which does not fit; write {wanted}")]
    OutOfRange {
        name: String,
        written: String,
        wanted: &'static str,
    },
    #[error(
        "reason `{reason}` is not kebab-case; write lower-case letters, digits and single hyphens, as in `spam-link`"
    )]
    NotKebabCase { reason: String },

    #[error(
        "action `allow` cannot soften what other rules decide; remove this rule and give them an `except`"
    )]
    AllowAction,
    #[error("unknown action `{word}`; write tag, limit, review or block")]
    UnknownAction { word: String },
    #[error("unknown state `{word}`; write answered, degraded or not-asked")]
    UnknownState { word: String },
    #[error("unknown state `{word}` of a list; write found or degraded")]
    UnknownListState { word: String },

    #[error("a label condition has both `threshold` and `target`; keep one of them")]
    TargetAndThreshold,
    #[error(
        "unknown target `{written}`; write `fpr <= 0.01`, or `precision >= 0.98` with a `prevalence`, rates between 0 and 1"
    )]
    UnknownTarget { written: String },
    #[error("`prevalence` belongs to a precision target alone; remove it")]
    StrayPrevalence,
    #[error(
        "`{label}` of detector `{detector}`: {what}; ask for less, or calibrate with more rows"
    )]
    OutOfReach {
        label: String,
        detector: String,
        what: String,
    },
    #[error(
        "`{label}` of detector `{detector}` has no table of counts, which a target needs; write a `threshold`, or calibrate it with a table"
    )]
    NoCounts { label: String, detector: String },

    #[error("conditions nest more than {MAX_DEPTH} deep; split the rule into several")]
    TooDeep,
    #[error("a condition without a subject; give it one of {known}")]
    NoSubject { known: String },
    #[error("one condition has both `{first}` and `{second}`; write two, in an `all` or `any`")]
    TwoSubjects {
        first: &'static str,
        second: &'static str,
    },
    #[error("an attribute condition without a test; give it one of {known}")]
    NoTest { known: String },
    #[error("an attribute condition has both `{first}` and `{second}`; write two, in an `all`")]
    TwoTests {
        first: &'static str,
        second: &'static str,
    },
    #[error(
        "a score inside `{within}`, where raising it would soften the verdict; use attributes, lists and detector states there"
    )]
    ScoreSoftens { within: &'static str },

    #[error("no loaded detector declares the label `{name}`; {hint}")]
    UnknownLabel { name: String, hint: String },
    #[error("no detector is called `{name}`; {hint}")]
    UnknownDetector { name: String, hint: String },
    #[error("no list is called `{name}`; {hint}")]
    UnknownList { name: String, hint: String },
}

/// Lists the names that would have done.
pub(super) fn known<'a>(names: impl Iterator<Item = &'a str> + Clone) -> String {
    const SHOWN: usize = 12;
    let shown: Vec<_> = names
        .clone()
        .take(SHOWN)
        .map(|name| format!("`{}`", printable(name)))
        .collect();
    match (shown.is_empty(), names.count().saturating_sub(SHOWN)) {
        (true, _) => "load a detector first, there is none".to_owned(),
        (false, 0) => format!("write one of {}", shown.join(", ")),
        (false, more) => format!("write one of {} or {more} others", shown.join(", ")),
    }
}

/// Names in backticks, for "one of" and "its keys are".
pub(super) fn quoted(names: &[&str]) -> String {
    names
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Text of the file as it may stand in a message.
pub(super) fn printable(text: &str) -> String {
    excerpt::printable(text, excerpt::NAME_CHARS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_known_names_are_counted_not_listed() {
        let names: Vec<_> = (0..14).map(|i| format!("n{i}")).collect();
        let hint = known(names.iter().map(String::as_str));
        assert!(hint.ends_with("`n11` or 2 others"), "{hint}");
    }
}
