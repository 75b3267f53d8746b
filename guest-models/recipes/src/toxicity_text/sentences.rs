//! Sentences of our own making, for what the labelled sets do not teach: that naming a
//! group is no offence, that a wish to hurt one is, and what "not", a quotation or another
//! target make of a sentence.
//!
//! Written without a look at the texts of any probe; who wrote them knew of which kinds of
//! cases HateCheck's paper speaks. Words and chance in, sentences out; it trains nothing.

use std::{collections::BTreeMap, sync::LazyLock};

use toxicity_text::terms;

use crate::augment::Random;

/// What a sentence is; its labels follow from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Against a group of people for what they are.
    Hate,
    /// A group named with nothing said against it.
    Neutral,
    /// For a group, against hate, or what hate does.
    Support,
    /// Hate that is quoted and condemned, or denied.
    Countered,
    /// An insult to one person, or to people of a trade or a taste.
    Insult,
    /// Strong words about things, or for joy.
    Coarse,
    /// Dislike of a thing in mild words.
    Dislike,
}

/// Labels of a sentence, in the model's order; none where the kind does not say.
pub(super) type Labels = [Option<f32>; 3];

impl Kind {
    /// `toxic`, `hate`, `offensive`.
    pub(super) fn labels(self) -> Labels {
        match self {
            Self::Hate => [Some(1.0); 3],
            Self::Neutral | Self::Support | Self::Dislike => [Some(0.0); 3],
            Self::Countered => [Some(0.0), Some(0.0), None],
            Self::Insult => [Some(1.0), Some(0.0), Some(1.0)],
            Self::Coarse => [None, Some(0.0), Some(1.0)],
        }
    }
}

/// How many sentences are made of each kind.
const LOTS: [(Kind, usize); 7] = [
    (Kind::Hate, 3_000),
    (Kind::Neutral, 2_400),
    (Kind::Support, 2_200),
    (Kind::Countered, 1_200),
    (Kind::Insult, 2_000),
    (Kind::Coarse, 400),
    (Kind::Dislike, 500),
];

/// All sentences, each once, in a fixed order.
pub(super) fn all(seed: u64) -> Vec<(String, Kind)> {
    let mut random = Random::new(seed);
    let mut made = std::collections::BTreeSet::new();
    let mut sentences = Vec::new();
    for (kind, n_wanted) in LOTS {
        // Patterns with few slots run dry; the tries are bounded.
        let mut n_here = 0;
        for _ in 0..3 * n_wanted {
            let sentence = one(kind, &mut random);
            if made.insert(sentence.clone()) {
                sentences.push((sentence, kind));
                n_here += 1;
            }
            if n_here == n_wanted {
                break;
            }
        }
    }
    sentences
}

fn one(kind: Kind, random: &mut Random) -> String {
    let pattern = match kind {
        Kind::Hate => hateful(random),
        Kind::Neutral => pick("neutral", random),
        Kind::Support => pick("support", random),
        Kind::Countered => pick("countered", random),
        Kind::Insult => pick("insults", random),
        Kind::Coarse => pick("coarse", random),
        Kind::Dislike => pick("dislikes", random),
    };
    let sentence = fill(pattern, random);
    let frame = match kind {
        // A frame such as "I think" changes nothing of what is said.
        Kind::Hate | Kind::Insult | Kind::Neutral | Kind::Dislike if random.chance(0.25) => {
            pick("frames", random)
        }
        _ => "{}",
    };
    frame.replace("{}", &sentence)
}

fn hateful(random: &mut Random) -> &'static str {
    pick(HATE[random.below(HATE.len())], random)
}

/// Fills every slot of a pattern, the inner ones of what was filled in too.
fn fill(pattern: &str, random: &mut Random) -> String {
    let mut filled = String::new();
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('{') {
        let (slot, after) = after.split_once('}').expect("a slot is closed");
        filled.push_str(before);
        filled.push_str(&slot_of(slot, random));
        rest = after;
    }
    filled + rest
}

fn slot_of(slot: &str, random: &mut Random) -> String {
    match slot {
        "groups" => groups(random),
        "group" => group(random),
        "of-group" => term(random).to_owned(),
        "slander" => fill(pick(slot, random), random),
        "hate" => fill(hateful(random), random),
        _ => pick(slot, random).to_owned(),
    }
}

/// One word of the detector's list. All are read alike, so any will do.
fn term(random: &mut Random) -> &'static str {
    let all: Vec<&str> = terms::terms().collect();
    all[random.below(all.len())]
}

/// Several people of a group.
fn groups(random: &mut Random) -> String {
    let term = term(random);
    match random.below(5) {
        0 | 1 => term.to_owned(),
        2 | 3 => format!("{term} people"),
        _ => format!("{term} {}", pick("people", random)),
    }
}

/// One of a group, without an article.
fn group(random: &mut Random) -> String {
    let term = term(random);
    match random.below(3) {
        0 => term.to_owned(),
        1 => format!("{term} person"),
        _ => format!("{term} {}", pick("companion", random)),
    }
}

/// The lists of hate; which of them a sentence is of is chance.
const HATE: [&str; 9] = [
    "feelings",
    "claims",
    "lesser",
    "wishes",
    "threats",
    "curses",
    "denials",
    "referred",
    "addressed",
];

/// The lists of `sentences.txt`, by name.
static LISTS: LazyLock<BTreeMap<&str, Vec<&str>>> = LazyLock::new(|| {
    let mut lists = BTreeMap::new();
    let mut list: &mut Vec<&str> = lists.entry("").or_default();
    let lines = include_str!("sentences.txt").lines();
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_prefix('[') {
            Some(name) => list = lists.entry(name.trim_end_matches(']')).or_default(),
            None => list.push(line),
        }
    }
    lists
});

fn pick(list: &str, random: &mut Random) -> &'static str {
    let list = LISTS
        .get(list)
        .unwrap_or_else(|| panic!("sentences.txt has no list `{list}`"));
    list[random.below(list.len())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_same_seed_makes_the_same_sentences() {
        assert_eq!(all(1), all(1));
        assert_ne!(all(1), all(2));
    }

    #[test]
    fn of_every_kind_as_many_are_made_as_wanted_and_no_slot_stays_open() {
        let sentences = all(1);
        for (kind, n_wanted) in LOTS {
            let n_made = sentences.iter().filter(|(_, made)| *made == kind).count();
            assert_eq!(n_made, n_wanted, "{kind:?}");
        }
        assert!(
            sentences
                .iter()
                .all(|(sentence, _)| !sentence.contains(['{', '}']))
        );
    }

    #[test]
    fn every_slot_has_its_list_and_every_list_its_use() {
        let made = ["groups", "group", "of-group", "hate"];
        let slots: BTreeSet<&str> = LISTS
            .values()
            .flatten()
            .flat_map(|line| line.split('{').skip(1))
            .filter_map(|rest| rest.split_once('}'))
            .map(|(slot, _)| slot)
            .filter(|slot| !slot.is_empty() && !made.contains(slot))
            .collect();
        let by_name = [
            "",
            "neutral",
            "support",
            "countered",
            "insults",
            "coarse",
            "dislikes",
        ];
        let by_name = by_name
            .into_iter()
            .chain(["frames", "people", "companion"])
            .chain(HATE);
        let used: BTreeSet<&str> = slots.into_iter().chain(by_name).collect();
        let lists: BTreeSet<&str> = LISTS.keys().copied().collect();
        assert_eq!(lists, used);
    }
}
