//! How often who answers or decides was changed, and by whom.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::rollout::Effect;
use crate::rollout::journal::Cause;

/// Counts since the host began.
#[derive(Debug, Default)]
pub(super) struct Transitions(BTreeMap<(&'static str, &'static str), u64>);

/// How often one thing was done by one of those who may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransitionCount {
    /// What was done: a verb, `lineup` for a whole one that was given, or `policy`.
    pub verb: String,
    /// Who did it: `operator`, `guard`, or `file` for a lineup file that is watched.
    pub by: String,
    /// How often since the host began.
    pub n: u64,
}

impl Transitions {
    /// Who takes a revision out by itself.
    pub(super) const GUARD: &str = "guard";

    const OPERATOR: &str = "operator";
    const FILE: &str = "file";

    /// What led to a new lineup, and whose doing that is.
    pub(super) const fn of(cause: &Cause) -> (&'static str, &'static str) {
        match cause {
            Cause::Given { .. } => ("lineup", Self::OPERATOR),
            Cause::File { .. } => ("lineup", Self::FILE),
            Cause::Policy { .. } => ("policy", Self::OPERATOR),
            Cause::Verb { step, .. } => (step.as_str(), Self::OPERATOR),
        }
    }

    /// What a guard did; none where nothing came of it.
    pub(super) const fn of_guard(effect: Effect) -> Option<&'static str> {
        match effect {
            Effect::Aborted => Some("abort"),
            Effect::RolledBack { .. } => Some("rollback"),
            Effect::Stays => None,
        }
    }

    pub(super) fn add(&mut self, verb: &'static str, by: &'static str) {
        *self.0.entry((verb, by)).or_default() += 1;
    }

    /// All that was done.
    pub(super) fn counts(&self) -> Vec<TransitionCount> {
        let count = |((verb, by), n): (&(&str, &str), &u64)| TransitionCount {
            verb: (*verb).to_owned(),
            by: (*by).to_owned(),
            n: *n,
        };
        self.0.iter().map(count).collect()
    }
}
