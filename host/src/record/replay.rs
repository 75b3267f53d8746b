//! What another lineup makes of recorded items. Pure: whoever drives it reads the records,
//! finds the items and has them judged.

use std::collections::{BTreeSet, HashMap};

use super::{ContentDigest, Record, RecordedRule, RecordedText};
use crate::Judgement;
use crate::policy::Action;
use crate::rollout::shadow::{Compared, Comparison};
use crate::signal::Label;

/// Records that are compared at once, at most: each takes some hundred bytes.
pub const MAX_RECORDS: usize = 4_000_000;

/// Records, their items, and how the verdicts compare.
#[derive(Debug)]
pub struct Replay {
    records: Vec<Kept>,
    by_digest: HashMap<ContentDigest, Vec<usize>>,
    by_id: HashMap<RecordedText, Vec<usize>>,
    comparison: Comparison,
    n_flips: u64,
}

/// What of a record is needed until its item comes.
#[derive(Debug)]
struct Kept {
    id: Option<RecordedText>,
    digest: ContentDigest,
    verdict: Action,
    rules: Vec<RecordedRule>,
    fate: Fate,
}

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    /// No item of its name came.
    Missing,
    /// An item of its name came, and holds something else now.
    OtherContent,
    /// Its item came, and was not judged.
    Unjudged,
    /// Its item was judged, and the verdicts were compared.
    Compared,
}

/// The records whose item came, to be compared once it is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim(Vec<usize>);

/// A record whose item would get another verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flip {
    /// The item's id as it was recorded; its digest where the record has none.
    pub id: String,
    /// What it got.
    pub given: Action,
    /// What it would get.
    pub now: Action,
    /// The labels whose rules fired for one of the two alone.
    pub labels: Vec<Label>,
}

/// More records than are compared at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there are more than {MAX_RECORDS} records; replay fewer files at a time")]
pub struct TooManyRecords;

impl Replay {
    /// Nothing to replay yet. `salt` draws the examples.
    #[must_use]
    pub fn new(salt: &str) -> Self {
        Self {
            records: Vec::new(),
            by_digest: HashMap::new(),
            by_id: HashMap::new(),
            comparison: Comparison::new(salt),
            n_flips: 0,
        }
    }

    /// Takes a record, whose item is to come; and the claim on it alone, for whoever has
    /// its content at hand.
    ///
    /// # Errors
    ///
    /// When there are [`MAX_RECORDS`] already.
    pub fn add(&mut self, record: Record) -> Result<Claim, TooManyRecords> {
        let at = self.records.len();
        if at == MAX_RECORDS {
            return Err(TooManyRecords);
        }
        let digest = record.item.digest;
        self.by_digest.entry(digest).or_default().push(at);
        if let Some(id) = &record.item.id {
            self.by_id.entry(id.clone()).or_default().push(at);
        }
        self.records.push(Kept {
            id: record.item.id,
            digest,
            verdict: record.verdict,
            rules: record.rules,
            fate: Fate::Missing,
        });
        Ok(Claim(vec![at]))
    }

    /// The records of this item that nobody has claimed yet: those of its content and its
    /// name, or of its content where the record has no name. Of the others that have its
    /// name it is noted that it holds something else. None when there is nothing to judge.
    pub fn claim(&mut self, id: &str, digest: ContentDigest) -> Option<Claim> {
        let same = self.by_digest.get(&digest).into_iter().flatten();
        let is_its = |at: &usize| {
            let record = &self.records[*at];
            let is_free = matches!(record.fate, Fate::Missing | Fate::OtherContent);
            is_free && record.id.as_ref().is_none_or(|recorded| recorded.is_of(id))
        };
        let claimed: Vec<usize> = same.copied().filter(is_its).collect();
        for at in &claimed {
            self.records[*at].fate = Fate::Unjudged;
        }
        let names = [RecordedText::Kept(id.to_owned()), RecordedText::hashed(id)];
        for at in names
            .iter()
            .filter_map(|name| self.by_id.get(name))
            .flatten()
        {
            let fate = &mut self.records[*at].fate;
            if *fate == Fate::Missing {
                *fate = Fate::OtherContent;
            }
        }
        (!claimed.is_empty()).then_some(Claim(claimed))
    }

    /// Notes that the content which came with the records is not what was judged.
    pub fn has_other_content(&mut self, claim: &Claim) {
        self.end(claim, Fate::OtherContent);
    }

    /// Notes that the item was not judged.
    pub fn is_unjudged(&mut self, claim: &Claim) {
        self.end(claim, Fate::Unjudged);
    }

    fn end(&mut self, claim: &Claim, fate: Fate) {
        for at in &claim.0 {
            self.records[*at].fate = fate;
        }
    }

    /// Compares the recorded verdicts with the one that the item got now; the flips.
    pub fn compare(&mut self, claim: &Claim, judgement: &Judgement) -> Vec<Flip> {
        let now = judgement.verdict.action;
        let rules = judgement.verdict.rules.iter().map(RecordedRule::of);
        let rules: Vec<RecordedRule> = rules.collect();
        let mut flips = Vec::new();
        for at in &claim.0 {
            let record = &mut self.records[*at];
            record.fate = Fate::Compared;
            let labels = differing(&record.rules, &rules);
            let id = record.shown();
            self.comparison.add(&Compared {
                item: &id,
                given: record.verdict,
                shadow: now,
                labels: &labels,
                slice: None,
            });
            if record.verdict != now {
                self.n_flips += 1;
                flips.push(Flip {
                    id,
                    given: record.verdict,
                    now,
                    labels,
                });
            }
        }
        flips
    }

    /// How the verdicts compare.
    #[must_use]
    pub const fn comparison(&self) -> &Comparison {
        &self.comparison
    }

    /// Records whose verdict would be another.
    #[must_use]
    pub const fn n_flips(&self) -> u64 {
        self.n_flips
    }

    /// All records.
    #[must_use]
    pub fn n_records(&self) -> usize {
        self.records.len()
    }

    /// The ids, or digests, of the records that met this fate, in their order.
    pub fn with_fate(&self, fate: Fate) -> impl Iterator<Item = String> {
        let records = self.records.iter();
        let records = records.filter(move |record| record.fate == fate);
        records.map(Kept::shown)
    }
}

impl Kept {
    fn shown(&self) -> String {
        match &self.id {
            Some(id) => id.shown().to_owned(),
            None => self.digest.to_string(),
        }
    }
}

/// The labels of the rules that are in one list alone. A rule of one name that asks for
/// another action is another rule.
fn differing(before: &[RecordedRule], now: &[RecordedRule]) -> Vec<Label> {
    let is_in = |rule: &RecordedRule, others: &[RecordedRule]| {
        let mut others = others.iter();
        others.any(|other| other.name == rule.name && other.action == rule.action)
    };
    let gone = before.iter().filter(|rule| !is_in(rule, now));
    let new = now.iter().filter(|rule| !is_in(rule, before));
    let labels = gone.chain(new).flat_map(|rule| &rule.labels);
    let labels: BTreeSet<&Label> = labels.collect();
    labels.into_iter().cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::super::form::tests::{judged, recorded};
    use super::super::{RecordSettings, Redaction};
    use super::*;
    use crate::item::Item;

    fn claimed(replay: &mut Replay, item: &Item) -> Option<Claim> {
        replay.claim(&item.id, ContentDigest::of_item(item))
    }

    fn item(id: &str, text: &str) -> Item {
        Item::from_text(id, text)
    }

    fn replay(records: &[(&Item, Action, &RecordSettings)]) -> Replay {
        let mut replay = Replay::new("salt");
        for (item, action, settings) in records {
            replay.add(recorded(item, *action, settings)).unwrap();
        }
        replay
    }

    fn fates(replay: &Replay, fate: Fate) -> Vec<String> {
        replay.with_fate(fate).collect()
    }

    #[test]
    fn an_item_is_found_by_name_and_content_and_what_differs_is_told() {
        let settings = RecordSettings::default();
        let (a, b, c) = (item("a", "one"), item("b", "two"), item("c", "three"));
        let mut replay = replay(&[
            (&a, Action::Allow, &settings),
            (&b, Action::Block, &settings),
            (&c, Action::Tag, &settings),
            (&a, Action::Allow, &settings),
        ]);
        // Another's name, and a name with other content.
        assert_eq!(claimed(&mut replay, &item("z", "one")), None);
        assert_eq!(claimed(&mut replay, &item("b", "changed")), None);
        let claim = claimed(&mut replay, &a).unwrap();
        assert_eq!(claimed(&mut replay, &a), None, "an item is judged once");
        let flips = replay.compare(&claim, &judged(&a, Action::Review));
        assert_eq!(flips.len(), 2);
        assert_eq!(flips[0].labels, ["review".into()]);
        assert_eq!(
            (flips[0].given, flips[0].now),
            (Action::Allow, Action::Review)
        );
        assert_eq!(
            replay
                .comparison()
                .all()
                .count(Action::Allow, Action::Review),
            2
        );
        assert_eq!(fates(&replay, Fate::OtherContent), ["b"]);
        assert_eq!(fates(&replay, Fate::Missing), ["c"]);
        // It may still come as it was.
        let claim = claimed(&mut replay, &b).unwrap();
        assert_eq!(replay.compare(&claim, &judged(&b, Action::Block)), []);
        assert_eq!(fates(&replay, Fate::OtherContent).len(), 0);
        assert_eq!((replay.n_records(), replay.n_flips()), (4, 2));
    }

    #[test]
    fn names_that_were_hashed_or_left_out_are_found_too() {
        let with = |ids| RecordSettings {
            ids,
            ..RecordSettings::default()
        };
        let (hashed, nameless) = (with(Redaction::Hash), with(Redaction::Omit));
        let long = "x".repeat(10_000);
        let (a, b, c) = (item("a", "one"), item("b", "two"), item(&long, "three"));
        let mut replay = replay(&[
            (&a, Action::Allow, &hashed),
            (&b, Action::Allow, &nameless),
            (&c, Action::Allow, &RecordSettings::default()),
        ]);
        assert_eq!(claimed(&mut replay, &item("a", "changed")), None);
        assert_eq!(fates(&replay, Fate::OtherContent).len(), 1);
        for item in [&a, &item("anything", "two"), &c] {
            let claim = claimed(&mut replay, item).unwrap();
            assert!(
                replay
                    .compare(&claim, &judged(item, Action::Allow))
                    .is_empty()
            );
        }
        assert_eq!(fates(&replay, Fate::Compared).len(), 3);
    }

    #[test]
    fn a_rule_that_fired_for_one_alone_tells_its_labels_though_the_verdict_is_the_same() {
        let rule = |name: &str, action, labels: &[&str]| RecordedRule {
            name: name.to_owned(),
            reason: name.to_owned(),
            action,
            labels: labels.iter().map(|label| Label::from(*label)).collect(),
        };
        let before = [
            rule("both", Action::Block, &["spam"]),
            rule("gone", Action::Tag, &["nudity", "gore"]),
            rule("stricter", Action::Tag, &["hate"]),
        ];
        let now = [
            rule("stricter", Action::Limit, &["hate"]),
            rule("both", Action::Block, &["spam"]),
        ];
        let labels = differing(&before, &now);
        assert_eq!(labels, ["gore".into(), "hate".into(), "nudity".into()]);
    }
}
