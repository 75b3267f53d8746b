//! From labelled sets to rows that a model learns from or is tried on.
//!
//! Decides what is read, how rows are grouped, and which changed copies of a
//! text stand beside it. Fits nothing.

use std::{collections::BTreeMap, path::Path};

use anyhow::Result;
use spam_text::{
    features::{self, Features},
    normalise::Normalised,
};

use crate::{
    augment::{self, Random},
    data::{self, Row, Set},
    folds::{fold, mix},
    model::{Example, Group},
    parallel,
};

/// The labelled sets: what the model is tried on.
pub(crate) const SETS: [&str; 3] = ["sms-spam", "youtube-spam", "spamassassin"];

/// Sets about other things, whose rows are taken for ham: the labelled sets alone
/// know few ways of writing that are not spam.
///
/// Each with its lots: headlines come in two kinds and count twice.
pub(crate) const FURTHER: [(&str, usize); 3] = [
    ("wiki-toxicity", 1),
    ("davidson-tweets", 1),
    ("clickbait", 2),
];

/// At most so many rows of each lot, as the seed draws them.
pub(crate) const MOST_FURTHER: usize = 2_000;

/// What a changed copy counts beside the text itself.
pub(crate) const COPY_EMPHASIS: f64 = 0.3;

/// Everything that was read.
pub(crate) struct Samples {
    /// The labelled sets, then the further ones.
    pub sets: Vec<Set>,
    /// Rows of the labelled sets as they are.
    pub originals: Vec<Sample>,
    /// What is learnt from beside them: copies and further ham.
    pub others: Vec<Sample>,
}

/// A row made ready.
pub(crate) struct Sample {
    pub set: usize,
    pub row: usize,
    pub spam: bool,
    pub fold: usize,
    pub features: Features,
    emphasis: f64,
}

impl Sample {
    pub(crate) fn example(&self) -> Example<'_> {
        let set = self.set;
        Example {
            features: &self.features,
            spam: self.spam,
            group: if set < SETS.len() {
                Group::Class {
                    set,
                    spam: self.spam,
                }
            } else {
                Group::Further {
                    set,
                    lot: self.row % FURTHER[set - SETS.len()].1,
                }
            },
            emphasis: self.emphasis,
        }
    }
}

impl Samples {
    pub(crate) fn read(data: &Path) -> Result<Self> {
        let further = FURTHER.iter().map(|(name, _)| name);
        let names = SETS.iter().chain(further);
        let mut sets = names
            .map(|name| data::read(data, name))
            .collect::<Result<Vec<Set>>>()?;
        for (at, set) in sets[SETS.len()..].iter_mut().enumerate() {
            let lot = |row: &Row| (mix(mix(at as u64) ^ hash(&row.text)), hash(&row.cluster));
            set.rows.sort_by_cached_key(lot);
            set.rows.truncate(MOST_FURTHER * FURTHER[at].1);
            set.rows.iter_mut().for_each(|row| row.spam = false);
        }
        let rows = |sets: std::ops::Range<usize>, all: &[Set]| -> Vec<(usize, usize)> {
            let rows = |set: usize| (0..all[set].rows.len()).map(move |row| (set, row));
            sets.flat_map(rows).collect()
        };
        let labelled = rows(0..SETS.len(), &sets);
        let further = rows(SETS.len()..sets.len(), &sets);
        let sample = |set: usize, at: usize, text: &str, emphasis: f64| {
            let row: &Row = &sets[set].rows[at];
            Sample {
                set,
                row: at,
                spam: row.spam,
                fold: fold(&row.cluster),
                features: extract(text),
                emphasis,
            }
        };
        let originals = parallel::map(&labelled, |&(set, at)| {
            sample(set, at, &sets[set].rows[at].text, 1.0)
        });
        let donors = Donors::of(&sets);
        let copies = parallel::map(&labelled, |&(set, at)| {
            let copy = donors.copy(set, &sets[set].rows[at]);
            sample(set, at, &copy, COPY_EMPHASIS)
        });
        let further = parallel::map(&further, |&(set, at)| {
            sample(set, at, &sets[set].rows[at].text, 1.0)
        });
        Ok(Self {
            originals,
            others: copies.into_iter().chain(further).collect(),
            sets,
        })
    }

    pub(crate) fn text(&self, sample: &Sample) -> &str {
        &self.sets[sample.set].rows[sample.row].text
    }

    /// What a model learns from that may see the samples that `keep` keeps.
    pub(crate) fn examples(&self, keep: impl Fn(&Sample) -> bool) -> Vec<Example<'_>> {
        let all = self.originals.iter().chain(&self.others);
        all.filter(|sample| keep(sample))
            .map(Sample::example)
            .collect()
    }
}

/// The features of one text.
pub(crate) fn extract(text: &str) -> Features {
    features::extract(&Normalised::of(&[text]))
}

/// Ham to dilute a copy with. It comes from the text's own fold and from its own or
/// a further set, so that nothing of a fold or of a labelled set reaches a model
/// that shall not have seen it.
struct Donors<'a> {
    ham: BTreeMap<(usize, usize), Vec<&'a str>>,
}

impl<'a> Donors<'a> {
    fn of(sets: &'a [Set]) -> Self {
        let mut ham: BTreeMap<(usize, usize), Vec<&str>> = BTreeMap::new();
        for (set, Set { rows, .. }) in sets.iter().enumerate() {
            for row in rows.iter().filter(|row| !row.spam) {
                ham.entry((set, fold(&row.cluster)))
                    .or_default()
                    .push(&row.text);
            }
        }
        Self { ham }
    }

    fn copy(&self, set: usize, row: &Row) -> String {
        let here = fold(&row.cluster);
        let further = (SETS.len()..SETS.len() + FURTHER.len()).map(|set| (set, here));
        let lists: Vec<&Vec<&str>> = std::iter::once((set, here))
            .chain(further)
            .filter_map(|key| self.ham.get(&key))
            .collect();
        let mut random = Random::new(hash(&row.text));
        augment::copy(&row.text, &mut random, |random| {
            if lists.is_empty() {
                return String::new();
            }
            let list = lists[random.below(lists.len())];
            list[random.below(list.len())].to_owned()
        })
    }
}

/// FNV-1a, to draw by a text and not by its place.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
