//! Hashed features of words: what the linear half of the model sees.
//!
//! Two families in disjoint ranges of buckets: runs of 3 to 5 characters of the words
//! with one space between them, and runs of 1 to 2 words. It never decides what a feature is worth.

use std::ops::Range;

pub use trommel_reading::buckets::Features;
use trommel_reading::buckets::{HASH_START, bucket, hash_pair, hash_step};

use crate::words::Words;

/// Number of buckets; every id is below it.
pub const BUCKETS: u32 = 1 << 18;

/// The families' buckets: runs of characters, runs of words.
const FAMILIES: [Range<u32>; 2] = [0..5 << 15, 5 << 15..BUCKETS];

/// Lengths of the runs of characters.
const RUNS: Range<usize> = 3..6;

/// The features of an item, each family of length 1; none of one without words.
pub fn extract(words: &Words) -> Features {
    let mut buckets = Vec::new();
    runs_of_characters(words, &mut buckets);
    runs_of_words(words, &mut buckets);
    Features::count(buckets, &FAMILIES, f32::sqrt)
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
            buckets.push(bucket(hash_pair(before, hash), &FAMILIES[1]));
        }
        before = Some(hash);
    }
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
