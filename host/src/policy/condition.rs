//! Conditions: when a rule fires.
//!
//! Two types keep the promise that a higher score never softens a verdict. A
//! [`Condition`] may read scores and has no `not`; a [`Circumstance`] has
//! `not` and cannot read scores. No tree of them holds a score below a `not`,
//! so a condition that holds still holds when any probability rises.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use super::{DetectorState, Facts, ListState};
use crate::{
    calibrator::Target,
    item::Attribute,
    signal::{CalibratorVersion, DetectorId, Label, Probability, Signal},
};

#[derive(Debug, Clone)]
pub(super) enum Condition {
    Score {
        label: Label,
        threshold: Probability,
    },
    Target(Aim),
    All(Vec<Self>),
    Any(Vec<Self>),
    Circumstance(Circumstance),
}

/// A label that must keep a target: each map from scores to probabilities has a cut of its
/// own, so that the target outlives the model.
#[derive(Debug, Clone)]
pub(super) struct Aim {
    pub(super) label: Label,
    pub(super) target: Target,
    /// Where the file says so.
    pub(super) line: usize,
    pub(super) cuts: BTreeMap<CalibratorVersion, Probability>,
}

/// What is known of an item besides its scores.
#[derive(Debug, Clone)]
pub(super) enum Circumstance {
    Attribute {
        name: String,
        test: Test,
    },
    /// `None` is any loaded detector.
    Detector {
        detector: Option<DetectorId>,
        state: DetectorState,
    },
    /// The item is on the list of this name, or nobody knows whether it is.
    List {
        name: String,
        state: ListState,
    },
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
}

/// Whether an attribute's value will do.
#[derive(Debug, Clone)]
pub(super) enum Test {
    OneOf(Vec<Attribute>),
    AtLeast(Attribute),
    AtMost(Attribute),
    Present(bool),
}

impl Condition {
    pub(super) fn holds(&self, facts: &Facts<'_>) -> bool {
        match self {
            // Some signal reaches the threshold exactly when the highest does.
            Self::Score { label, threshold } => facts
                .signals
                .iter()
                .any(|signal| signal.label == *label && signal.probability >= *threshold),
            Self::Target(aim) => facts.signals.iter().any(|signal| aim.is_reached(signal)),
            Self::All(conditions) => conditions.iter().all(|condition| condition.holds(facts)),
            Self::Any(conditions) => conditions.iter().any(|condition| condition.holds(facts)),
            Self::Circumstance(circumstance) => circumstance.holds(facts),
        }
    }

    /// The labels that it names, each once.
    pub(super) fn labels(&self) -> BTreeSet<&Label> {
        match self {
            Self::Score { label, .. } => BTreeSet::from([label]),
            Self::Target(aim) => BTreeSet::from([&aim.label]),
            Self::All(conditions) | Self::Any(conditions) => {
                conditions.iter().flat_map(Self::labels).collect()
            }
            Self::Circumstance(_) => BTreeSet::new(),
        }
    }

    /// Every target in it.
    pub(super) fn aims(&mut self) -> Vec<&mut Aim> {
        match self {
            Self::Target(aim) => vec![aim],
            Self::All(conditions) | Self::Any(conditions) => {
                conditions.iter_mut().flat_map(Self::aims).collect()
            }
            Self::Score { .. } | Self::Circumstance(_) => Vec::new(),
        }
    }
}

impl Aim {
    fn is_reached(&self, signal: &Signal) -> bool {
        let cut = || self.cuts.get(&signal.calibrator);
        // Without a cut nobody knows what a probability means here: then any signal reaches
        // it, for the other way everything would be let through in silence. A host resolves
        // its policy for every revision before that answers.
        signal.label == self.label && cut().is_none_or(|cut| signal.probability >= *cut)
    }
}

impl Circumstance {
    pub(super) fn holds(&self, facts: &Facts<'_>) -> bool {
        match self {
            Self::Attribute { name, test } => test.passes(facts.attributes.get(name)),
            Self::Detector { detector, state } => facts.detectors.iter().any(|(id, actual)| {
                actual == state && detector.as_ref().is_none_or(|detector| detector == id)
            }),
            Self::List { name, state } => facts.listed.contains(&(name.as_str(), *state)),
            Self::All(circumstances) => circumstances.iter().all(|each| each.holds(facts)),
            Self::Any(circumstances) => circumstances.iter().any(|each| each.holds(facts)),
            Self::Not(circumstance) => !circumstance.holds(facts),
        }
    }
}

impl Test {
    fn passes(&self, value: Option<&Attribute>) -> bool {
        match (self, value) {
            (Self::Present(wanted), value) => value.is_some() == *wanted,
            (_, None) => false,
            (Self::OneOf(wanted), Some(value)) => wanted.iter().any(|wanted| equal(value, wanted)),
            (Self::AtLeast(bound), Some(value)) => {
                compare(value, bound).is_some_and(Ordering::is_ge)
            }
            (Self::AtMost(bound), Some(value)) => {
                compare(value, bound).is_some_and(Ordering::is_le)
            }
        }
    }
}

fn equal(a: &Attribute, b: &Attribute) -> bool {
    match (a, b) {
        (Attribute::Text(a), Attribute::Text(b)) => a == b,
        (Attribute::Flag(a), Attribute::Flag(b)) => a == b,
        _ => compare(a, b).is_some_and(Ordering::is_eq),
    }
}

/// How two numbers compare; nothing compares with NaN, a text or a flag.
fn compare(a: &Attribute, b: &Attribute) -> Option<Ordering> {
    match (a, b) {
        (Attribute::Integer(a), Attribute::Integer(b)) => Some(a.cmp(b)),
        (Attribute::Number(a), Attribute::Number(b)) => a.partial_cmp(b),
        (Attribute::Integer(a), Attribute::Number(b)) => compare_exactly(*a, *b),
        (Attribute::Number(a), Attribute::Integer(b)) => {
            compare_exactly(*b, *a).map(Ordering::reverse)
        }
        _ => None,
    }
}

/// Compares without rounding: as f64, 2⁵³ and 2⁵³ + 1 would be equal.
fn compare_exactly(integer: i64, number: f64) -> Option<Ordering> {
    const BEYOND: f64 = 9_223_372_036_854_775_808.0; // 2⁶³, exact in f64
    if number.is_nan() {
        None
    } else if number >= BEYOND {
        Some(Ordering::Less)
    } else if number < -BEYOND {
        Some(Ordering::Greater)
    } else {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "in range, and floor has no fraction"
        )]
        let whole = number.floor() as i64;
        let fraction = if number > number.floor() {
            Ordering::Less
        } else {
            Ordering::Equal
        };
        Some(integer.cmp(&whole).then(fraction))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_compare_with_others_exactly() {
        const BIG: i64 = 1 << 53;
        for (integer, number, ordering) in [
            (1, 1.0, Some(Ordering::Equal)),
            (1, 1.5, Some(Ordering::Less)),
            (2, 1.5, Some(Ordering::Greater)),
            (-1, -1.5, Some(Ordering::Greater)),
            (-2, -1.5, Some(Ordering::Less)),
            (BIG + 1, 9_007_199_254_740_992.0, Some(Ordering::Greater)),
            (i64::MAX, 9_223_372_036_854_775_808.0, Some(Ordering::Less)),
            (
                i64::MIN,
                -9_223_372_036_854_775_808.0,
                Some(Ordering::Equal),
            ),
            (i64::MAX, f64::INFINITY, Some(Ordering::Less)),
            (i64::MIN, f64::NEG_INFINITY, Some(Ordering::Greater)),
            (0, -0.0, Some(Ordering::Equal)),
            (0, f64::NAN, None),
        ] {
            assert_eq!(
                compare_exactly(integer, number),
                ordering,
                "{integer} and {number}"
            );
        }
    }
}
