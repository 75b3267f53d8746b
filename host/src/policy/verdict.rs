//! Verdicts: what becomes of an item, and which rules said so.
//!
//! Last noun of the street. A verdict is only ever made from the rules that
//! fired; the strictest wins and none is forgotten.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::signal::Label;

/// What becomes of an item, from mildest to strictest.
///
/// Shown, parsed and serialised as the lower-case word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Shown as it is.
    Allow,
    /// Shown with a mark.
    Tag,
    /// Shown to fewer people.
    Limit,
    /// Held until a person has looked.
    Review,
    /// Not shown.
    Block,
}

impl Action {
    /// Every action, from mildest to strictest.
    pub const ALL: [Self; 5] = [
        Self::Allow,
        Self::Tag,
        Self::Limit,
        Self::Review,
        Self::Block,
    ];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Tag => "tag",
            Self::Limit => "limit",
            Self::Review => "review",
            Self::Block => "block",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Action {
    type Err = ActionError;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let named = Self::ALL.into_iter().find(|action| action.as_str() == word);
        named.ok_or_else(|| ActionError {
            word: word.to_owned(),
        })
    }
}

/// The word names no action.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("unknown action `{}`; write allow, tag, limit, review or block", word.escape_default())]
pub struct ActionError {
    /// The word that was refused.
    pub word: String,
}

/// What becomes of one item.
///
/// Collect it from the rules that fired: the strictest action wins, and no
/// rule at all means allow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The strictest action of the rules that fired.
    pub action: Action,
    /// The rules that fired, in the order of the policy.
    pub rules: Vec<FiredRule>,
}

impl FromIterator<FiredRule> for Verdict {
    fn from_iter<I: IntoIterator<Item = FiredRule>>(rules: I) -> Self {
        let rules = Vec::from_iter(rules);
        let strictest = rules.iter().map(|rule| rule.action).max();
        Self {
            action: strictest.unwrap_or(Action::Allow),
            rules,
        }
    }
}

/// A rule that fired on an item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FiredRule {
    /// The rule's name, unique in its policy.
    pub name: String,
    /// Why, as a kebab-case code for programs.
    pub reason: String,
    /// What the rule asks for.
    pub action: Action,
    /// Why, in words for the author of the item.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The labels that the rule names, each once. Whoever compares two verdicts needs
    /// them; an answer does not.
    #[serde(skip)]
    pub labels: Vec<Label>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fired(action: Action) -> FiredRule {
        FiredRule {
            name: action.to_string(),
            reason: "why".into(),
            action,
            text: None,
            labels: Vec::new(),
        }
    }

    #[test]
    fn the_strictest_rule_wins_and_all_are_kept() {
        let verdict = Verdict::from_iter([Action::Tag, Action::Block, Action::Limit].map(fired));
        assert_eq!(verdict.action, Action::Block);
        assert_eq!(verdict.rules.len(), 3);
    }

    #[test]
    fn no_rule_means_allow() {
        assert_eq!(Verdict::from_iter([]).action, Action::Allow);
    }

    #[test]
    fn an_action_reads_back_as_it_is_shown() {
        for action in Action::ALL {
            assert_eq!(action.to_string().parse(), Ok(action));
            assert_eq!(
                serde_json::to_string(&action).unwrap(),
                format!("\"{action}\"")
            );
        }
        assert!(Action::ALL.is_sorted());
        assert_eq!(
            "Block".parse::<Action>().unwrap_err().to_string(),
            "unknown action `Block`; write allow, tag, limit, review or block"
        );
    }
}
