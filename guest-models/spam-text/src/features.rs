//! Hashed text features: the one place where text becomes numbers.
//!
//! The plugin calls this at inference and the training recipe calls it on its
//! rows, so the two cannot drift. No knowledge of the model: it never decides
//! what a feature is worth.
//!
//! Three families of features are hashed into disjoint ranges of buckets: runs of
//! 3 to 5 characters as [`normalise`] reads them (spaces included, so that a
//! run knows where words begin and end), runs of 4 to 6 letters with all else left
//! out and digits taken for the letters they may stand for, and runs of 1 to 2
//! words, where `!!!` is a word too. Digits become `0` in the first and the last; `l` is
//! `i` in all, and letters that are not Latin are one.
//!
//! [`normalise`]: trommel_reading::normalise

use std::ops::Range;

pub use trommel_reading::buckets::Features;
use trommel_reading::buckets::{HASH_START, bucket, hash_pair, hash_step};
use trommel_reading::normalise::{Cell, Normalised, UNKNOWN};
use trommel_reading::unmasked;

/// Number of buckets; every bucket id is below it.
pub const BUCKETS: u32 = 1 << 19;

/// The families' buckets: character runs, letter runs, word runs.
pub const FAMILIES: [Range<u32>; 3] = [0..3 << 16, 3 << 16..6 << 16, 6 << 16..BUCKETS];

const CHARS: usize = 0;
const LETTERS: usize = 1;
const WORDS: usize = 2;

/// Lengths of the runs of characters, and of letters.
const CHAR_RUNS: Range<usize> = 3..6;
const LETTER_RUNS: Range<usize> = 4..7;

/// One place where a feature stands.
///
/// `start..end` is a byte range of the original text of part `part`; both ends
/// lie on character boundaries. It may include whitespace at either end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occurrence {
    /// The feature's bucket.
    pub bucket: u32,
    /// Index of the part.
    pub part: usize,
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// Counts the features of an item.
///
/// Runs never cross from one part into the next. Text without any visible
/// character has no features.
pub fn extract(normalised: &Normalised) -> Features {
    // Six runs start at each character; words add about a third.
    let mut buckets = Vec::with_capacity(normalised.n_cells() * 13 / 2 + 8);
    visit(normalised, |occurrence| buckets.push(occurrence.bucket));
    Features::count(buckets, &FAMILIES, |square| square.powf(NORM_POWER / 2.0))
}

/// Calls `each` for every feature occurrence, in a fixed order.
///
/// The same item gives the same occurrences on every platform.
pub fn visit(normalised: &Normalised, mut each: impl FnMut(Occurrence)) {
    let mut letters = Vec::new();
    for (part, cells) in normalised.stretches() {
        visit_runs(cells, CHAR_RUNS, &FAMILIES[CHARS], part, &mut each);
        fill_letters(cells, &mut letters);
        visit_runs(&letters, LETTER_RUNS, &FAMILIES[LETTERS], part, &mut each);
        visit_words(cells, part, &mut each);
    }
}

fn visit_runs(
    cells: &[Cell],
    lengths: Range<usize>,
    buckets: &Range<u32>,
    part: usize,
    each: &mut impl FnMut(Occurrence),
) {
    for (at, first) in cells.iter().enumerate() {
        let mut hash = HASH_START;
        for (n_before, cell) in cells[at..].iter().take(lengths.end - 1).enumerate() {
            hash = hash_step(hash, code(cell.c));
            if n_before + 1 >= lengths.start {
                each(Occurrence {
                    bucket: bucket(hash, buckets),
                    part,
                    start: first.start,
                    end: cell.end,
                });
            }
        }
    }
}

/// Letters alone, with digits taken for letters; numbers are left out.
fn fill_letters(cells: &[Cell], letters: &mut Vec<Cell>) {
    letters.clear();
    for word in cells.chunk_by(|a, b| Kind::of(a.c) == Kind::of(b.c)) {
        if Kind::of(word[0].c) != Kind::Alphanumeric {
            letters.extend(
                word.iter()
                    .filter(|cell| matches!(cell.c, '@' | '$'))
                    .map(as_letter),
            );
            continue;
        }
        let is_number =
            word.len() > LONGEST_MASK && word.iter().all(|cell| cell.c.is_ascii_digit());
        if !is_number {
            letters.extend(word.iter().map(as_letter));
        }
    }
}

/// A longer run of digits alone is a number and no word.
const LONGEST_MASK: usize = 2;

fn as_letter(cell: &Cell) -> Cell {
    let c = unmasked(cell.c).unwrap_or(cell.c);
    Cell {
        // `1` may stand for either.
        c: if c == 'l' { 'i' } else { c },
        ..*cell
    }
}

fn visit_words(cells: &[Cell], part: usize, each: &mut impl FnMut(Occurrence)) {
    let mut before: Option<(u32, usize)> = None;
    for word in cells.chunk_by(|a, b| Kind::of(a.c) == Kind::of(b.c)) {
        let (first, last) = (word[0], word[word.len() - 1]);
        if Kind::of(first.c) == Kind::Space {
            continue;
        }
        let hash = word
            .iter()
            .fold(HASH_START, |hash, cell| hash_step(hash, code(cell.c)));
        let mut emit = |hash, start| {
            each(Occurrence {
                bucket: bucket(hash, &FAMILIES[WORDS]),
                part,
                start,
                end: last.end,
            });
        };
        emit(hash, first.start);
        if let Some((hash_before, start)) = before {
            emit(hash_pair(hash_before, hash), start);
        }
        before = Some((hash, first.start));
    }
}

/// A word is a longest run of one kind that is not space.
#[derive(PartialEq, Eq)]
enum Kind {
    Space,
    Alphanumeric,
    Symbol,
}

impl Kind {
    fn of(c: char) -> Self {
        match c {
            ' ' => Self::Space,
            c if c.is_alphanumeric() => Self::Alphanumeric,
            _ => Self::Symbol,
        }
    }
}

/// All digits are one, and so are all letters that no reading was found for: in
/// English they stand in letters' places. `1` was read as `i`, and may be `l`.
fn code(c: char) -> u32 {
    u32::from(match c {
        '0'..='9' => '0',
        'l' => 'i',
        c if !c.is_ascii() && c.is_alphabetic() => UNKNOWN,
        c => c,
    })
}

/// The power of a family's Euclidean length that its values are divided by.
// Scaled to length 1, three words of chat speak as loudly as a whole mail and
// no one cut fits both. A power below 1 lets a longer text be surer.
const NORM_POWER: f32 = 0.84;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(texts: &[&str]) -> Features {
        extract(&Normalised::of(texts))
    }

    /// What each occurrence of a family covers in the original.
    fn covered<'a>(texts: &[&'a str], family: usize) -> Vec<&'a str> {
        let mut covered = Vec::new();
        visit(&Normalised::of(texts), |occurrence| {
            if FAMILIES[family].contains(&occurrence.bucket) {
                covered.push(&texts[occurrence.part][occurrence.start..occurrence.end]);
            }
        });
        covered
    }

    #[test]
    fn text_without_visible_characters_has_no_features() {
        for texts in [&[][..], &[""], &["", " \n\t \u{200b}"]] {
            assert_eq!(of(texts), Features::default(), "{texts:?}");
        }
    }

    #[test]
    fn words_and_pairs_of_words_are_found_where_they_stand() {
        assert_eq!(
            covered(&["Call  me NOW?!"], WORDS),
            ["Call", "me", "Call  me", "NOW", "me NOW", "?!", "NOW?!"]
        );
    }

    #[test]
    fn a_short_word_is_seen_with_the_spaces_around_it() {
        // " ab", " ab " and "ab ".
        assert_eq!(covered(&["ab"], CHARS).len(), 3);
    }

    #[test]
    fn runs_of_letters_leave_all_else_out() {
        assert_eq!(covered(&["a-b c, d"], LETTERS), ["a-b c, d"]);
        assert_eq!(covered(&["0800 123"], LETTERS), [""; 0]);
    }

    #[test]
    fn case_digits_and_width_of_whitespace_do_not_matter() {
        assert_eq!(of(&["Win 500 now"]), of(&["WIN\n\n 731 now "]));
    }

    #[test]
    fn a_disguised_text_has_the_features_of_the_plain_one() {
        let plain = of(&["win free money at http://evil.com"]);
        for disguised in [
            "wіn frее mоnеу at http://evil.com",
            "w1n fr33 m0n3y at http://evil.com",
            "w\u{200b}in fr\u{ad}ee money at http://evil.com",
            "win free money at hxxp://evil[.]com",
            "win f r e e money at http://evil.com",
        ] {
            assert_eq!(of(&[disguised]), plain, "{disguised}");
        }
    }

    #[test]
    fn letters_without_a_reading_are_all_alike() {
        assert_eq!(of(&["fr語e"]), of(&["frжe"]));
        assert_ne!(of(&["fr語e"]), of(&["free"]));
    }

    #[test]
    fn word_order_matters() {
        assert_ne!(of(&["act now"]).ids, of(&["now act"]).ids);
    }

    #[test]
    fn ids_are_distinct_and_ascending_and_below_the_bucket_count() {
        let features = of(&["buy cheap pills, buy cheap watches, buy buy buy"]);
        assert!(features.ids.is_sorted_by(|a, b| a < b));
        assert!(features.ids.iter().all(|&id| id < BUCKETS));
        assert_eq!(features.ids.len(), features.values.len());
    }

    #[test]
    fn a_familys_values_are_divided_by_a_power_of_its_length() {
        let features = of(&["tea", "tea", "cup"]);
        let words: Vec<f32> = features
            .ids
            .iter()
            .zip(&features.values)
            .filter(|(id, _)| FAMILIES[WORDS].contains(id))
            .map(|(_, &value)| value)
            .collect();
        let twice = 1.0 + 2.0_f32.ln();
        let length = (1.0 + twice * twice).sqrt().powf(NORM_POWER);
        let mut expected = [1.0 / length, twice / length];
        expected.sort_by(|a, b| a.total_cmp(b));
        let mut found = words;
        found.sort_by(f32::total_cmp);
        assert!((found[0] - expected[0]).abs() < 1e-6 && (found[1] - expected[1]).abs() < 1e-6);
    }

    #[test]
    fn runs_do_not_cross_from_one_part_into_the_next() {
        assert_eq!(covered(&["one", "two"], WORDS), ["one", "two"]);
    }
}
