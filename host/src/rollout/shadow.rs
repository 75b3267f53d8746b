//! What a shadow would have done: its verdicts beside those that were given.
//!
//! Verdicts, not scores: a model whose scores all move may change nothing, and one whose
//! scores hardly move may free what was blocked. Counts are exact; of the items that
//! differ a few are kept as examples, the same few whatever order they came in.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::excerpt::printable;
use crate::policy::Action;
use crate::signal::Label;

/// Most labels, and most slices, that are counted apart.
pub const MAX_NAMES: usize = 64;
/// Examples of each pair of actions.
pub const MAX_EXAMPLES: usize = 16;
/// Characters of an item's id in an example, and of a slice's name.
pub const MAX_NAME_CHARS: usize = 120;

/// How one pair of revisions, or policies, compares over all items that both judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// Draws the examples; that of the lineup will do.
    salt: String,
    all: Flips,
    labels: BTreeMap<Label, Flips>,
    slices: BTreeMap<String, Flips>,
    /// Names past [`MAX_NAMES`] that were counted in `all` only.
    n_labels_left_out: u64,
    n_slices_left_out: u64,
    /// By pair: the drawn numbers and ids of the items with the lowest numbers.
    examples: BTreeMap<String, BTreeSet<(u64, String)>>,
}

/// How often each action was given, beside what the shadow would have given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Flips {
    /// Rows: given. Columns: the shadow's. Both from allow to block.
    counts: [[u64; N_ACTIONS]; N_ACTIONS],
}

/// One item that both judged.
#[derive(Debug, Clone, Copy)]
pub struct Compared<'a> {
    /// The item's id.
    pub item: &'a str,
    /// What was answered.
    pub given: Action,
    /// What the shadow would have answered.
    pub shadow: Action,
    /// The labels that the two say different things of: whose rules fired for one alone.
    pub labels: &'a [Label],
    /// The part of all traffic that the item belongs to, such as a language or a tenant;
    /// the caller chooses it.
    pub slice: Option<&'a str>,
}

const N_ACTIONS: usize = Action::ALL.len();

impl Comparison {
    /// Nothing compared yet.
    #[must_use]
    pub fn new(salt: &str) -> Self {
        Self {
            salt: salt.to_owned(),
            all: Flips::default(),
            labels: BTreeMap::new(),
            slices: BTreeMap::new(),
            n_labels_left_out: 0,
            n_slices_left_out: 0,
            examples: BTreeMap::new(),
        }
    }

    /// Counts one item.
    pub fn add(&mut self, compared: &Compared<'_>) {
        let (given, shadow) = (compared.given, compared.shadow);
        self.all.add(given, shadow);
        for label in compared.labels {
            match named(&mut self.labels, label.as_str(), || label.clone()) {
                Some(flips) => flips.add(given, shadow),
                None => self.n_labels_left_out += 1,
            }
        }
        if let Some(slice) = compared.slice {
            let slice = printable(slice, MAX_NAME_CHARS);
            match named(&mut self.slices, slice.as_str(), || slice.clone()) {
                Some(flips) => flips.add(given, shadow),
                None => self.n_slices_left_out += 1,
            }
        }
        if given != shadow {
            self.keep(compared);
        }
    }

    /// All items together.
    #[must_use]
    pub const fn all(&self) -> &Flips {
        &self.all
    }

    /// The items by the labels that they differ in; one may stand under several.
    pub fn labels(&self) -> impl Iterator<Item = (&Label, &Flips)> {
        self.labels.iter()
    }

    /// The items by slice.
    pub fn slices(&self) -> impl Iterator<Item = (&str, &Flips)> {
        self.slices
            .iter()
            .map(|(slice, flips)| (slice.as_str(), flips))
    }

    /// How often a label, and how often a slice, was one too many to be counted apart.
    #[must_use]
    pub const fn n_left_out(&self) -> (u64, u64) {
        (self.n_labels_left_out, self.n_slices_left_out)
    }

    /// Ids of some items that got `given` and would have got `shadow`: a sample of all of
    /// them that depends on their ids and the salt alone.
    pub fn examples(&self, given: Action, shadow: Action) -> impl Iterator<Item = &str> {
        let kept = self.examples.get(&pair(given, shadow));
        kept.into_iter().flatten().map(|(_, item)| item.as_str())
    }

    /// Keeps the items whose hashes are the lowest (bottom-k sampling: Cohen & Kaplan
    /// 2007, doi:10.1145/1281100.1281133): each item is as likely as any, an item that
    /// comes twice counts once, and samples of two hosts can be joined.
    fn keep(&mut self, compared: &Compared<'_>) {
        let mut hasher = Sha256::new();
        hasher.update((self.salt.len() as u64).to_le_bytes());
        hasher.update(&self.salt);
        hasher.update(compared.item);
        let digest = hasher.finalize();
        let drawn = u64::from_be_bytes(digest[..8].try_into().expect("a digest has 32 bytes"));
        let kept = self
            .examples
            .entry(pair(compared.given, compared.shadow))
            .or_default();
        let is_full = kept.len() == MAX_EXAMPLES;
        if is_full && kept.last().is_some_and(|(highest, _)| drawn > *highest) {
            return;
        }
        kept.insert((drawn, printable(compared.item, MAX_NAME_CHARS)));
        if kept.len() > MAX_EXAMPLES {
            kept.pop_last();
        }
    }
}

/// The counts of a name, which are begun while there is room.
fn named<'a, K: Ord + std::borrow::Borrow<str>>(
    counts: &'a mut BTreeMap<K, Flips>,
    name: &str,
    key: impl FnOnce() -> K,
) -> Option<&'a mut Flips> {
    if counts.len() == MAX_NAMES && !counts.contains_key(name) {
        return None;
    }
    Some(counts.entry(key()).or_default())
}

fn pair(given: Action, shadow: Action) -> String {
    format!("{given}→{shadow}")
}

impl Flips {
    fn add(&mut self, given: Action, shadow: Action) {
        self.counts[row(given)][row(shadow)] += 1;
    }

    /// How many items got `given` and would have got `shadow`.
    #[must_use]
    pub fn count(&self, given: Action, shadow: Action) -> u64 {
        self.counts[row(given)][row(shadow)]
    }

    /// All items.
    #[must_use]
    pub fn n_items(&self) -> u64 {
        self.counts.iter().flatten().sum()
    }

    /// Items that would have got a stricter action.
    #[must_use]
    pub fn n_stricter(&self) -> u64 {
        self.sum(|given, shadow| shadow > given)
    }

    /// Items that would have got a milder action.
    #[must_use]
    pub fn n_milder(&self) -> u64 {
        self.sum(|given, shadow| shadow < given)
    }

    fn sum(&self, wanted: impl Fn(Action, Action) -> bool) -> u64 {
        let pairs = Action::ALL
            .into_iter()
            .flat_map(|given| Action::ALL.map(|shadow| (given, shadow)));
        let wanted = pairs.filter(|(given, shadow)| wanted(*given, *shadow));
        wanted
            .map(|(given, shadow)| self.count(given, shadow))
            .sum()
    }
}

fn row(action: Action) -> usize {
    Action::ALL
        .iter()
        .position(|other| *other == action)
        .expect("ALL holds every action")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared<'a>(item: &'a str, given: Action, shadow: Action) -> Compared<'a> {
        Compared {
            item,
            given,
            shadow,
            labels: &[],
            slice: None,
        }
    }

    #[test]
    fn every_pair_of_actions_is_counted_and_flips_have_a_direction() {
        let mut comparison = Comparison::new("salt");
        for (at, given) in Action::ALL.into_iter().enumerate() {
            for (other, shadow) in Action::ALL.into_iter().enumerate() {
                for n in 0..=at * 5 + other {
                    comparison.add(&compared(&format!("{at} {other} {n}"), given, shadow));
                }
            }
        }
        let flips = comparison.all();
        assert_eq!(flips.count(Action::Allow, Action::Block), 5);
        assert_eq!(flips.count(Action::Block, Action::Allow), 21);
        assert_eq!(flips.n_items(), 325);
        let agree: u64 = Action::ALL
            .iter()
            .map(|action| flips.count(*action, *action))
            .sum();
        assert_eq!(
            flips.n_stricter() + flips.n_milder() + agree,
            flips.n_items()
        );
        assert!(flips.n_milder() > flips.n_stricter());
        assert_eq!(comparison.examples(Action::Allow, Action::Allow).count(), 0);
        assert_eq!(comparison.examples(Action::Allow, Action::Block).count(), 5);
        assert_eq!(
            comparison.examples(Action::Block, Action::Allow).count(),
            MAX_EXAMPLES
        );
    }

    #[test]
    fn labels_and_slices_are_counted_apart_up_to_a_bound() {
        let mut comparison = Comparison::new("salt");
        let names: Vec<String> = (0..MAX_NAMES + 3).map(|n| format!("n{n}")).collect();
        for name in &names {
            let labels = [Label::from(name.as_str())];
            comparison.add(&Compared {
                labels: &labels,
                slice: Some(name),
                ..compared(name, Action::Allow, Action::Block)
            });
        }
        assert_eq!(comparison.labels().count(), MAX_NAMES);
        assert_eq!(comparison.slices().count(), MAX_NAMES);
        assert_eq!(comparison.n_left_out(), (3, 3));
        assert_eq!(comparison.all().n_items(), names.len() as u64);
        let (label, flips) = comparison.labels().next().unwrap();
        assert_eq!(
            (label.as_str(), flips.count(Action::Allow, Action::Block)),
            ("n0", 1)
        );
    }

    #[test]
    fn examples_do_not_depend_on_the_order_and_are_spread_over_all_items() {
        let ids: Vec<String> = (0..4_000).map(|n| format!("item {n}")).collect();
        let sample = |ids: &mut dyn Iterator<Item = &String>| -> Vec<String> {
            let mut comparison = Comparison::new("salt");
            for id in ids {
                comparison.add(&compared(id, Action::Block, Action::Allow));
            }
            comparison
                .examples(Action::Block, Action::Allow)
                .map(str::to_owned)
                .collect()
        };
        let forth = sample(&mut ids.iter());
        assert_eq!(forth.len(), MAX_EXAMPLES);
        assert_eq!(forth, sample(&mut ids.iter().rev()));
        assert_eq!(forth, sample(&mut ids.iter().chain(&ids)));
        let late = forth.iter().filter(|id| ids[2_000..].contains(id)).count();
        assert!(
            (3..=13).contains(&late),
            "{late} of 16 from the second half"
        );
    }

    #[test]
    fn a_foreign_name_is_kept_short_and_on_one_line() {
        let mut comparison = Comparison::new("salt");
        let long = "x\n".repeat(500);
        let flip = compared(&long, Action::Block, Action::Allow);
        comparison.add(&Compared {
            slice: Some(&long),
            ..flip
        });
        let example = comparison
            .examples(Action::Block, Action::Allow)
            .next()
            .unwrap();
        assert!(!example.contains('\n') && example.chars().count() < 3 * MAX_NAME_CHARS);
        let json = serde_json::to_string(&comparison).unwrap();
        assert_eq!(
            serde_json::from_str::<Comparison>(&json).unwrap(),
            comparison
        );
    }
}
