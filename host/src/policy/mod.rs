//! The policy: rules that turn signals into a verdict.
//!
//! Last arrow of the street: signals → policy → verdict. Deciding is pure: the
//! same facts always give the same verdict, with no clock, no file and no
//! random number. A policy never calls a detector and never changes a signal.
//!
//! Labels that somebody has switched off are not seen here: whoever asks leaves their signals
//! out.
//!
//! **Invariant**: raising a probability never softens a verdict. A score is
//! only ever compared with "at least", `not` and `except` cannot hold a score
//! (see `condition.rs`), no rule asks for [`Action::Allow`], and the strictest
//! rule wins; so a higher score can only make more rules fire.
//!
//! A policy is a TOML file:
//!
//! ```toml
//! [[rule]]
//! name = "spam-block"                          # unique
//! when = { label = "spam", threshold = 0.98 }  # probability >= 0.98
//! except = { attribute = "verified", equals = true }
//! action = "block"                             # tag, limit, review or block
//! reason = "spam"                              # a kebab-case code for programs
//! text = "This looks like spam."               # words for the author
//! ```
//!
//! | condition | holds when |
//! |---|---|
//! | `{ label, threshold }` | some signal of the label has at least this probability |
//! | `{ label, target = "fpr <= 0.01" }` | some signal of the label reaches a cut that, with 95 % confidence, at most one negative in a hundred reaches |
//! | `{ label, target = "precision >= 0.98", prevalence = 0.02 }` | it reaches a cut of which, likewise, 98 in 100 are positives where 2 in 100 of all are |
//! | `{ attribute, equals }` | the item's attribute equals a text, number or flag |
//! | `{ attribute, one_of = […] }` | it equals one of these |
//! | `{ attribute, at_least }`, `{ attribute, at_most }` | it is a number on this side of the bound, which is included |
//! | `{ attribute, present }` | the item has it (`true`) or lacks it (`false`) |
//! | `{ detector, state }` | the detector, or any loaded one for `"*"`, is `answered`, `degraded` or `not-asked` |
//! | `{ list = "bad-domains" }` | the item is on the list of this name (see [`crate::lists`]) |
//! | `{ list = "bad-domains", state = "degraded" }` | the item's time passed before it was known whether it is |
//! | `{ all = […] }`, `{ any = […] }` | all, or at least one, of the conditions hold |
//! | `{ not = {…} }` | the condition, one without scores, does not hold |
//!
//! A target is made a cut by [`Policy::resolve`], for each calibrator's counts one of its
//! own, at an edge of a bin; so it means the same after another model has come, which a bare
//! threshold does not. Where several detectors give a label, each keeps the target by
//! itself.
//!
//! A comparison with an attribute that is missing or of another type does not
//! hold; whole and other numbers compare with each other.

mod closest;
mod condition;
mod digest;
mod error;
mod parse;
mod verdict;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

pub use digest::PolicyDigest;
pub use error::{PolicyError, Problem};
pub use verdict::{Action, ActionError, FiredRule, Verdict};

use crate::{
    calibrator::Calibrator,
    item::Attributes,
    signal::{DetectorId, Label, Probability, Signal},
};
use condition::{Aim, Circumstance, Condition};

/// Most bytes that a policy file may have.
pub const MAX_BYTES: usize = 256 * 1024;
/// Most rules that a policy may have.
pub const MAX_RULES: usize = 1_000;
/// How deep conditions may nest; the condition after `when` is the first level.
pub const MAX_DEPTH: usize = 16;

/// Ordered rules over signals.
///
/// ```
/// use trommel::{item::Attributes, policy::{Action, Facts, Policy}};
///
/// let policy = Policy::parse("demo.toml", r#"
///     [[rule]]
///     name = "new-account"
///     when = { attribute = "account_age_days", present = false }
///     action = "limit"
///     reason = "unknown-account"
/// "#)?;
/// let facts = Facts { attributes: &Attributes::new(), ..Facts::default() };
/// assert_eq!(policy.decide(&facts).action, Action::Limit);
/// # Ok::<(), trommel::policy::PolicyError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Policy {
    file: String,
    digest: PolicyDigest,
    rules: Vec<Rule>,
    labels: Vec<(Label, usize)>,
    detectors: Vec<(DetectorId, usize)>,
    lists: Vec<(String, usize)>,
}

/// What a policy may look at.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// What came with the item.
    pub attributes: &'a Attributes,
    /// What the answering detectors found. Where several signals have one
    /// label, the highest probability counts.
    pub signals: &'a [Signal],
    /// Every loaded detector, once, and how it fared.
    pub detectors: &'a [(DetectorId, DetectorState)],
    /// The lists that the item is on, or may be; of all others it is known that it is not.
    pub listed: &'a [(&'a str, ListState)],
}

impl Default for Facts<'_> {
    /// Nothing is known.
    fn default() -> Self {
        static NO_ATTRIBUTES: Attributes = Attributes::new();
        Self {
            attributes: &NO_ATTRIBUTES,
            signals: &[],
            detectors: &[],
            listed: &[],
        }
    }
}

/// What is known of an item and a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ListState {
    /// The item is on it.
    Found,
    /// The item's time passed before all of it was looked through.
    Degraded,
}

/// How a detector fared on one item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DetectorState {
    /// It gave its signals.
    Answered,
    /// It was asked and failed, or is out of service.
    Degraded,
    /// The item holds no part that it reads.
    NotAsked,
}

#[derive(Debug, Clone)]
struct Rule {
    name: String,
    when: Condition,
    /// Those that `when` names.
    labels: Vec<Label>,
    except: Option<Circumstance>,
    action: Action,
    reason: String,
    text: Option<String>,
}

impl Policy {
    /// Reads a policy from the text of its file; `file` is only the name that
    /// messages use.
    ///
    /// # Errors
    ///
    /// The first mistake in the file, with its line and how to mend it. A
    /// policy loads whole or not at all.
    pub fn parse(file: &str, text: &str) -> Result<Self, PolicyError> {
        parse::policy(file, text)
    }

    /// The policy that answers when no other is given.
    ///
    /// It sends what no detector could judge to a person; see `default.toml`
    /// for the reasons. Its names are not meant to be checked: a rule about a
    /// label that nobody declares never fires.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "a test shows that it does not")]
    pub fn built_in() -> Self {
        Self::parse("built-in policy", include_str!("default.toml"))
            .expect("a test parses the built-in policy")
    }

    /// Names it by the text that it was read from.
    #[must_use]
    pub const fn digest(&self) -> PolicyDigest {
        self.digest
    }

    /// Judges one item.
    ///
    /// Every rule that fires is in the verdict, in the order of the file, and
    /// the strictest action wins. A detector that is not in `facts` is in no
    /// state at all.
    #[must_use]
    pub fn decide(&self, facts: &Facts<'_>) -> Verdict {
        self.rules
            .iter()
            .filter(|rule| rule.fires(facts))
            .map(Rule::fired)
            .collect()
    }

    /// The labels that rules name, each with its line; one may come twice.
    pub fn labels(&self) -> impl Iterator<Item = (&Label, usize)> {
        self.labels.iter().map(|(label, line)| (label, *line))
    }

    /// The detectors that rules name, each with its line; one may come twice.
    /// `*` is none.
    pub fn detectors(&self) -> impl Iterator<Item = (&DetectorId, usize)> {
        self.detectors
            .iter()
            .map(|(detector, line)| (detector, *line))
    }

    /// The lists that rules name, each with its line; one may come twice.
    pub fn lists(&self) -> impl Iterator<Item = (&str, usize)> {
        self.lists.iter().map(|(list, line)| (list.as_str(), *line))
    }

    /// Refuses a policy that names a list which is not there, for the reason that
    /// [`Policy::check_names`] has. An empty list may stand in beforehand.
    ///
    /// # Errors
    ///
    /// The first list that is not among the given ones, with its line.
    pub fn check_lists(&self, lists: &BTreeSet<&str>) -> Result<(), PolicyError> {
        let Some((stranger, line)) = self.lists().find(|(name, _)| !lists.contains(name)) else {
            return Ok(());
        };
        let (name, mut hint) = unknown(stranger, lists.iter().copied());
        if lists.is_empty() {
            "give the list first, an empty one will do".clone_into(&mut hint);
        }
        Err(self.error(line, Problem::UnknownList { name, hint }))
    }

    /// Refuses a policy that names what is not there: a misspelt label would
    /// never fire, in silence.
    ///
    /// # Errors
    ///
    /// The first name, labels before detectors, that is not among the given
    /// ones, with its line and the closest that is.
    pub fn check_names(
        &self,
        labels: &BTreeSet<Label>,
        detectors: &BTreeSet<DetectorId>,
    ) -> Result<(), PolicyError> {
        if let Some((label, line)) = self.labels().find(|(label, _)| !labels.contains(*label)) {
            let (name, hint) = unknown(label.as_str(), labels.iter().map(Label::as_str));
            return Err(self.error(line, Problem::UnknownLabel { name, hint }));
        }
        let stranger = self
            .detectors()
            .find(|(detector, _)| !detectors.contains(*detector));
        if let Some((detector, line)) = stranger {
            let (name, hint) = unknown(detector.as_str(), detectors.iter().map(DetectorId::as_str));
            return Err(self.error(line, Problem::UnknownDetector { name, hint }));
        }
        Ok(())
    }

    /// Makes cuts of the targets, for every calibrator that maps their labels. Cuts that were
    /// made for others stay, so that a revision may come while another answers.
    ///
    /// A signal whose calibrator a target was not resolved for reaches it, whatever its
    /// probability: resolve before a revision answers.
    ///
    /// # Errors
    ///
    /// The first target that a calibrator cannot keep, with its line and the best that it
    /// can; and a label whose calibrator holds no counts.
    pub fn resolve(
        mut self,
        calibrators: &[(&DetectorId, &Calibrator)],
    ) -> Result<Self, PolicyError> {
        let aims = self.rules.iter_mut().flat_map(|rule| rule.when.aims());
        for aim in aims {
            for (detector, calibrator) in calibrators {
                let Some(version) = calibrator.version(&aim.label) else {
                    continue;
                };
                let cut = cut(aim, detector, calibrator).map_err(|problem| PolicyError {
                    file: self.file.clone(),
                    line: aim.line,
                    problem,
                })?;
                aim.cuts.insert(version, cut);
            }
        }
        Ok(self)
    }

    fn error(&self, line: usize, problem: Problem) -> PolicyError {
        PolicyError {
            file: self.file.clone(),
            line,
            problem,
        }
    }
}

impl Rule {
    fn fires(&self, facts: &Facts<'_>) -> bool {
        self.when.holds(facts)
            && !self
                .except
                .as_ref()
                .is_some_and(|except| except.holds(facts))
    }

    fn fired(&self) -> FiredRule {
        FiredRule {
            name: self.name.clone(),
            reason: self.reason.clone(),
            action: self.action,
            text: self.text.clone(),
            labels: self.labels.clone(),
        }
    }
}

fn cut(aim: &Aim, detector: &DetectorId, calibrator: &Calibrator) -> Result<Probability, Problem> {
    let label = error::printable(aim.label.as_str());
    let detector = error::printable(detector.as_str());
    let Some(table) = calibrator.table(&aim.label) else {
        return Err(Problem::NoCounts { label, detector });
    };
    let cut = table.cut(aim.target).map_err(|reach| Problem::OutOfReach {
        label,
        detector,
        what: reach.to_string(),
    })?;
    Ok(Probability::new(cut.probability).expect("a table gives probabilities"))
}

/// The unknown name, fit to print, and what to write in its place.
fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> (String, String) {
    let hint = match closest::closest(name, known.clone()) {
        Some(meant) => format!("did you mean `{}`?", error::printable(meant)),
        None => error::known(known),
    };
    (error::printable(name), hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names<T: Ord + for<'a> From<&'a str>>(names: &[&str]) -> BTreeSet<T> {
        names.iter().map(|name| T::from(name)).collect()
    }

    const POLICY: &str = r#"
        [[rule]]
        name = "spam"
        when = { any = [
            { label = "spam", threshold = 0.9 },
            { detector = "spam-text", state = "degraded" },
            { detector = "*", state = "degraded" },
        ] }
        action = "review"
        reason = "spam"
    "#;

    #[test]
    fn the_built_in_policy_loads_and_names_only_what_it_acts_on() {
        let policy = Policy::built_in();
        let labels: BTreeSet<&str> = policy.labels().map(|(label, _)| label.as_str()).collect();
        let known = ["hate", "low-quality", "spam", "toxic"];
        assert_eq!(labels, known.into());
        assert_eq!(policy.detectors().count(), 0);
    }

    #[test]
    fn names_come_with_their_lines() {
        let policy = Policy::parse("p.toml", POLICY).unwrap();
        assert_eq!(policy.labels().collect::<Vec<_>>(), [(&"spam".into(), 5)]);
        assert_eq!(
            policy.detectors().collect::<Vec<_>>(),
            [(&"spam-text".into(), 6)]
        );
    }

    #[test]
    fn a_list_that_is_not_there_is_refused_with_its_line() {
        let rule = "[[rule]]\nname = 'a'\nwhen = { any = [\n{ not = { list = 'links' } },\n{ list = 'bad' }] }\naction = 'tag'\nreason = 'a'\n";
        let policy = Policy::parse("p.toml", rule).unwrap();
        assert_eq!(
            policy.lists().collect::<Vec<_>>(),
            [("links", 4), ("bad", 5)]
        );
        let check = |lists: &[&str]| {
            let checked = policy.check_lists(&lists.iter().copied().collect());
            checked.map_err(|error| error.to_string())
        };
        assert_eq!(check(&["bad", "links"]), Ok(()));
        for (lists, said) in [
            (
                &["link", "bad"][..],
                "p.toml:4: no list is called `links`; did you mean `link`?",
            ),
            (
                &["links"],
                "p.toml:5: no list is called `bad`; write one of `links`",
            ),
            (
                &[],
                "p.toml:4: no list is called `links`; give the list first, an empty one will do",
            ),
        ] {
            assert_eq!(check(lists).unwrap_err(), said);
        }
    }

    #[test]
    fn a_name_that_nobody_declares_is_refused_with_the_closest() {
        let policy = Policy::parse("p.toml", POLICY).unwrap();
        let check = |labels: &[&str], detectors: &[&str]| {
            let checked = policy.check_names(&names(labels), &names(detectors));
            checked.map_err(|error| error.to_string())
        };
        assert_eq!(check(&["spam", "nudity"], &["spam-text"]), Ok(()));
        assert_eq!(
            check(&["spams", "nudity"], &["spam-text"]).unwrap_err(),
            "p.toml:5: no loaded detector declares the label `spam`; did you mean `spams`?"
        );
        assert_eq!(
            check(&["nudity", "hate"], &["spam-text"]).unwrap_err(),
            "p.toml:5: no loaded detector declares the label `spam`; write one of `hate`, `nudity`"
        );
        assert_eq!(
            check(&["spam"], &[]).unwrap_err(),
            "p.toml:6: no detector is called `spam-text`; load a detector first, there is none"
        );
    }
}
