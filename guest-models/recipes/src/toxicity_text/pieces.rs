//! Makes the vocabulary: the pieces that words are cut into.
//!
//! Byte-pair merges over the words of the training texts (Sennrich, Haddow & Birch 2016,
//! arXiv:1508.07909), without a look at any label. The plugin cuts by the longest piece, so
//! only the list of pieces is kept and not the order of merges.

use std::collections::BTreeMap;

use toxicity_text::{
    vocabulary::{GOES_ON, Vocabulary},
    words::{ACCOUNT, GROUP, LINK, Words},
};

/// Most merges, and how often a pair must stand somewhere to be one.
const MOST_MERGES: usize = 7_000;
const LEAST_PAIRS: u32 = 12;

/// How often a character must stand somewhere to be a piece.
const LEAST_CHARS: u32 = 8;

/// A vocabulary that was made here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pieces {
    pub lines: String,
    starts: Vec<u32>,
}

impl Pieces {
    /// Of the words of `texts`.
    pub(super) fn of<'a>(texts: impl Iterator<Item = &'a Words>) -> Self {
        let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
        for words in texts {
            for (_, word) in words.iter() {
                if ![GROUP, ACCOUNT, LINK].contains(&word) {
                    *counts.entry(word).or_default() += 1;
                }
            }
        }
        let mut lines: Vec<String> = merged(&counts).into_iter().collect();
        lines.sort_unstable();
        lines.dedup();
        let mut starts = vec![0];
        let mut text = String::new();
        for line in lines {
            text += &line;
            text.push('\n');
            starts.push(text.len() as u32);
        }
        Self {
            lines: text,
            starts,
        }
    }

    pub(super) fn vocabulary(&self) -> Vocabulary<'_> {
        Vocabulary {
            lines: &self.lines,
            starts: &self.starts,
        }
    }
}

/// A word as the pieces it consists of so far.
struct Cut {
    pieces: Vec<u32>,
    count: u32,
}

fn merged(counts: &BTreeMap<&str, u32>) -> Vec<String> {
    let mut chars: BTreeMap<char, u32> = BTreeMap::new();
    for (word, count) in counts {
        for c in word.chars() {
            *chars.entry(c).or_default() += count;
        }
    }
    let mut names: Vec<String> = Vec::new();
    let mut ids: BTreeMap<String, u32> = BTreeMap::new();
    let mut id = |name: String, names: &mut Vec<String>| {
        *ids.entry(name.clone()).or_insert_with(|| {
            names.push(name);
            names.len() as u32 - 1
        })
    };
    for (&c, _) in chars.iter().filter(|(_, count)| **count >= LEAST_CHARS) {
        id(c.to_string(), &mut names);
        id(format!("{GOES_ON}{c}"), &mut names);
    }
    let known = |word: &str| word.chars().all(|c| chars[&c] >= LEAST_CHARS);
    let mut cuts: Vec<Cut> = Vec::new();
    for (word, &count) in counts.iter().filter(|(word, _)| known(word)) {
        let piece = |(at, c): (usize, char)| match at {
            0 => c.to_string(),
            _ => format!("{GOES_ON}{c}"),
        };
        let pieces = word
            .char_indices()
            .map(piece)
            .map(|name| id(name, &mut names))
            .collect();
        cuts.push(Cut { pieces, count });
    }
    let mut pairs: BTreeMap<(u32, u32), (u32, Vec<u32>)> = BTreeMap::new();
    for (at, cut) in cuts.iter().enumerate() {
        for pair in cut.pieces.windows(2) {
            let (count, places) = pairs.entry((pair[0], pair[1])).or_default();
            *count += cut.count;
            places.push(at as u32);
        }
    }
    for _ in 0..MOST_MERGES {
        let most = pairs
            .iter()
            .max_by_key(|(pair, (count, _))| (*count, std::cmp::Reverse(**pair)));
        let Some((&pair, &(count, _))) = most else {
            break;
        };
        if count < LEAST_PAIRS {
            break;
        }
        let (_, mut places) = pairs.remove(&pair).expect("it was just found");
        places.dedup();
        let tail = names[pair.1 as usize]
            .strip_prefix(GOES_ON)
            .expect("a second piece goes on");
        let new = id(format!("{}{tail}", names[pair.0 as usize]), &mut names);
        for at in places {
            merge(&mut cuts[at as usize], at, pair, new, &mut pairs);
        }
    }
    names
}

/// Joins the pair in one word, and counts what stands beside it anew.
fn merge(
    cut: &mut Cut,
    at: u32,
    pair: (u32, u32),
    new: u32,
    pairs: &mut BTreeMap<(u32, u32), (u32, Vec<u32>)>,
) {
    if !cut.pieces.windows(2).any(|two| (two[0], two[1]) == pair) {
        return;
    }
    for two in cut.pieces.windows(2) {
        if let Some((count, _)) = pairs.get_mut(&(two[0], two[1])) {
            *count -= cut.count;
        }
    }
    let mut joined = Vec::with_capacity(cut.pieces.len());
    let mut rest = &cut.pieces[..];
    while let Some((&first, after)) = rest.split_first() {
        if after.first().is_some_and(|&second| (first, second) == pair) {
            joined.push(new);
            rest = &after[1..];
        } else {
            joined.push(first);
            rest = after;
        }
    }
    cut.pieces = joined;
    for two in cut.pieces.windows(2) {
        let (count, places) = pairs.entry((two[0], two[1])).or_default();
        *count += cut.count;
        places.push(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trommel_reading::normalise::Normalised;

    #[test]
    fn what_stands_together_often_becomes_a_piece() {
        let words = Words::of(&Normalised::of(&[&"never ever clever ".repeat(20)]));
        let pieces = Pieces::of(std::iter::once(&words));
        let lines: Vec<&str> = pieces.lines.lines().collect();
        assert!(
            lines.is_sorted() && lines.contains(&"ever") && lines.contains(&"never"),
            "{lines:?}"
        );
        let ids = pieces.vocabulary().encode(&words);
        assert_eq!(ids.len(), 60);
    }
}
