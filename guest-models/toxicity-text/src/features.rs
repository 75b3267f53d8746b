//! Hashed features of words: what the linear half of the model sees.
//!
//! Two families in disjoint ranges of buckets: runs of 3 to 5 characters of the words
//! with one space between them, and runs of 1 to 2 words. It never decides what a feature is worth.

use std::ops::Range;

use crate::words::Words;

/// Number of buckets; every id is below it.
pub const BUCKETS: u32 = 1 << 18;

/// The families' buckets: runs of characters, runs of words.
const FAMILIES: [Range<u32>; 2] = [0..5 << 15, 5 << 15..BUCKETS];

/// Lengths of the runs of characters.
const RUNS: Range<usize> = 3..6;

/// Distinct buckets, ascending, and the value of each: `1 + ln(occurrences)`, divided by the
/// Euclidean length of its family.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Features {
    /// Distinct buckets, ascending.
    pub ids: Vec<u32>,
    /// The value of each.
    pub values: Vec<f32>,
}

/// The features of an item; none of one without words.
pub fn extract(words: &Words) -> Features {
    let mut buckets = Vec::new();
    runs_of_characters(words, &mut buckets);
    runs_of_words(words, &mut buckets);
    buckets.sort_unstable();
    count(&buckets)
}

fn runs_of_characters(words: &Words, buckets: &mut Vec<u32>) {
    let mut chars = vec![u32::from(' ')];
    for (_, word) in words.iter() {
        chars.extend(word.chars().map(u32::from));
        chars.push(u32::from(' '));
    }
    if chars.len() == 1 {
        return;
    }
    for at in 0..chars.len() {
        let mut hash = HASH_START;
        for (n_before, &c) in chars[at..].iter().take(RUNS.end - 1).enumerate() {
            hash = hash_step(hash, c);
            if n_before + 1 >= RUNS.start {
                buckets.push(bucket(hash, &FAMILIES[0]));
            }
        }
    }
}

fn runs_of_words(words: &Words, buckets: &mut Vec<u32>) {
    let mut before: Option<u32> = None;
    for (_, word) in words.iter() {
        let hash = word.chars().map(u32::from).fold(HASH_START, hash_step);
        buckets.push(bucket(hash, &FAMILIES[1]));
        if let Some(before) = before {
            // Turned, so that `a b` is not `b a`.
            buckets.push(bucket(hash_step(before.rotate_left(5), hash), &FAMILIES[1]));
        }
        before = Some(hash);
    }
}

const HASH_START: u32 = 0x811c_9dc5;

/// One step of FNV-1a (Fowler, Noll, Vo; draft-eastlake-fnv), taking a whole character
/// where the original takes a byte.
fn hash_step(hash: u32, word: u32) -> u32 {
    (hash ^ word).wrapping_mul(0x0100_0193)
}

/// Spreads a hash over a range of buckets, by MurmurHash3's finaliser (Appleby, fmix32).
fn bucket(mut hash: u32, range: &Range<u32>) -> u32 {
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^= hash >> 16;
    let width = u64::from(range.end - range.start);
    range.start + ((u64::from(hash) * width) >> 32) as u32
}

fn count(sorted: &[u32]) -> Features {
    let mut features = Features::default();
    for run in sorted.chunk_by(|a, b| a == b) {
        features.ids.push(run[0]);
        features.values.push(1.0 + (run.len() as f32).ln());
    }
    for family in &FAMILIES {
        let bound = |bucket| features.ids.partition_point(|&id| id < bucket);
        let values = bound(family.start)..bound(family.end);
        let values = &mut features.values[values];
        let square: f32 = values.iter().map(|value| value * value).sum();
        let length = square.sqrt();
        values.iter_mut().for_each(|value| *value /= length);
    }
    features
}

#[cfg(test)]
mod tests {
    use super::*;
    use trommel_reading::normalise::Normalised;

    fn of(text: &str) -> Features {
        extract(&Words::of(&Normalised::of(&[text])))
    }

    #[test]
    fn text_without_words_has_no_features() {
        assert_eq!(of(" \u{200b}"), Features::default());
    }

    #[test]
    fn ids_are_distinct_and_ascending_and_below_the_bucket_count() {
        let features = of("come here now, come here at once");
        assert!(features.ids.is_sorted_by(|a, b| a < b));
        assert!(features.ids.iter().all(|&id| id < BUCKETS));
        assert_eq!(features.ids.len(), features.values.len());
    }

    #[test]
    fn a_disguised_text_has_the_features_of_the_plain_one() {
        assert_eq!(of("y0u 4re an id1ot"), of("you are a idiot"));
    }

    #[test]
    fn whom_a_text_names_is_in_no_feature() {
        assert_eq!(
            of("three women and a Jew"),
            of("three Asians and a catholic")
        );
    }

    #[test]
    fn each_family_has_the_length_of_one() {
        let features = of("come here now, come here at once");
        for family in &FAMILIES {
            let of_family = features.ids.iter().zip(&features.values);
            let of_family = of_family.filter(|(id, _)| family.contains(id));
            let square: f32 = of_family.map(|(_, value)| value * value).sum();
            assert!((square - 1.0).abs() < 1e-5, "{square}");
        }
    }

    #[test]
    fn word_order_matters() {
        assert_ne!(of("act now").ids, of("now act").ids);
    }
}
