//! Hashed text features: the one place where text becomes numbers.
//!
//! The plugin calls this at inference and the training recipe calls it on its
//! rows, so the two cannot drift. Plain `std`, no tables of its own, and no
//! knowledge of the model: it never decides what a feature is worth.
//!
//! A text is lower-cased, its decimal digits become `0` and each run of
//! whitespace becomes one space. Two families of features are hashed into
//! disjoint ranges of buckets: runs of 3 to 5 characters (spaces included, so
//! that a run knows where words begin and end), and runs of 1 to 2 words, where
//! `!!!` is a word too.
//!
//! Work is bounded: of a whole item only the first [`HEAD`] and the last
//! [`TAIL`] characters are looked at. A run of whitespace counts as one, so that
//! padding pushes nothing out of sight; stepping over it is all it costs.

use std::ops::Range;

/// Number of buckets; every bucket id is below it.
pub const BUCKETS: u32 = 1 << 18;

/// Characters looked at from the beginning of an item.
pub const HEAD: usize = 1_000;

/// Characters looked at from the end of an item.
pub const TAIL: usize = 500;

/// Buckets of character runs.
pub const CHAR_BUCKETS: Range<u32> = 0..3 << 16;

/// Buckets of word runs.
pub const WORD_BUCKETS: Range<u32> = 3 << 16..BUCKETS;

const SHORTEST_RUN: usize = 3;
const LONGEST_RUN: usize = 5;

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

/// The features of one item, ready to be a row of the model's inputs.
///
/// `ids`: distinct buckets, ascending. `values`: as many, each `1 + ln(tf)`
/// with `tf` the number of occurrences, so never below 1.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Features {
    /// Distinct buckets, ascending.
    pub ids: Vec<u32>,
    /// The value of each.
    pub values: Vec<f32>,
}

/// Counts the features of an item whose text parts are `texts`, in order.
///
/// Runs never cross from one part into the next. Text without any visible
/// character has no features.
pub fn extract(texts: &[&str]) -> Features {
    let n_bytes: usize = texts.iter().map(|text| text.len()).sum();
    // Three character runs start at each character; words add about a third.
    let mut buckets = Vec::with_capacity(n_bytes.min(HEAD + TAIL) * 7 / 2 + 8);
    visit(texts, |occurrence| buckets.push(occurrence.bucket));
    buckets.sort_unstable();
    count(&buckets)
}

/// Calls `each` for every feature occurrence, in a fixed order.
///
/// The same texts give the same occurrences on every platform.
pub fn visit(texts: &[&str], mut each: impl FnMut(Occurrence)) {
    let mut cells = Vec::new();
    for Window { part, start, end } in windows(texts) {
        normalise(&texts[part][start..end], start, &mut cells);
        visit_chars(&cells, part, &mut each);
        visit_words(&cells, part, &mut each);
    }
}

/// A stretch of one part that is looked at, on character boundaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub part: usize,
    pub start: usize,
    pub end: usize,
}

/// What [`visit`] looks at, in reading order.
pub(crate) fn windows(texts: &[&str]) -> Vec<Window> {
    let mut head = HEAD;
    let head_ends: Vec<usize> = texts.iter().map(|text| reach(text, &mut head)).collect();
    let mut tail = TAIL;
    let mut windows = Vec::with_capacity(texts.len() + 1);
    for (part, text) in texts.iter().enumerate().rev() {
        let (head_end, tail_start) = (head_ends[part], reach_back(text, &mut tail));
        let mut push = |start, end| {
            if start < end {
                windows.push(Window { part, start, end });
            }
        };
        if tail_start <= head_end {
            push(0, text.len());
        } else {
            push(tail_start, text.len());
            push(0, head_end);
        }
    }
    windows.reverse();
    windows
}

/// How many bytes from the beginning of `text` the `budget` of characters pays for.
fn reach(text: &str, budget: &mut usize) -> usize {
    let mut after_space = false;
    for (at, c) in text.char_indices() {
        if !spend(c, &mut after_space, budget) {
            return at;
        }
    }
    text.len()
}

/// Where the stretch begins that `budget` pays for when `text` is read from its end.
fn reach_back(text: &str, budget: &mut usize) -> usize {
    let mut after_space = false;
    for (at, c) in text.char_indices().rev() {
        if !spend(c, &mut after_space, budget) {
            return at + c.len_utf8();
        }
    }
    0
}

fn spend(c: char, after_space: &mut bool, budget: &mut usize) -> bool {
    let space = c.is_whitespace();
    let free = space && *after_space;
    *after_space = space;
    if !free && *budget == 0 {
        return false;
    }
    *budget -= usize::from(!free);
    true
}

/// One normalised character and the bytes of the original it came from.
#[derive(Clone, Copy)]
struct Cell {
    c: char,
    start: usize,
    end: usize,
}

/// Fills `cells` with `text` normalised, one space before and one after it.
fn normalise(text: &str, offset: usize, cells: &mut Vec<Cell>) {
    cells.clear();
    cells.reserve(text.len().min(HEAD + TAIL) + 2);
    cells.push(Cell {
        c: ' ',
        start: offset,
        end: offset,
    });
    for (at, c) in text.char_indices() {
        let (start, end) = (offset + at, offset + at + c.len_utf8());
        if c.is_whitespace() {
            push_space(cells, start, end);
        } else if c.is_ascii() {
            let c = if c.is_ascii_digit() {
                '0'
            } else {
                c.to_ascii_lowercase()
            };
            cells.push(Cell { c, start, end });
        } else {
            cells.extend(c.to_lowercase().map(|c| Cell { c, start, end }));
        }
    }
    let end = offset + text.len();
    push_space(cells, end, end);
}

/// Appends a space, or lengthens the one already there.
fn push_space(cells: &mut Vec<Cell>, start: usize, end: usize) {
    match cells.last_mut() {
        Some(last) if last.c == ' ' => last.end = end,
        _ => cells.push(Cell { c: ' ', start, end }),
    }
}

fn visit_chars(cells: &[Cell], part: usize, each: &mut impl FnMut(Occurrence)) {
    for (at, first) in cells.iter().enumerate() {
        let mut hash = HASH_START;
        for (n_before, cell) in cells[at..].iter().take(LONGEST_RUN).enumerate() {
            hash = hash_step(hash, cell.c as u32);
            if n_before + 1 >= SHORTEST_RUN {
                each(Occurrence {
                    bucket: bucket(hash, CHAR_BUCKETS),
                    part,
                    start: first.start,
                    end: cell.end,
                });
            }
        }
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
            .fold(HASH_START, |hash, cell| hash_step(hash, cell.c as u32));
        let mut emit = |hash, start| {
            each(Occurrence {
                bucket: bucket(hash, WORD_BUCKETS),
                part,
                start,
                end: last.end,
            });
        };
        emit(hash, first.start);
        if let Some((hash_before, start)) = before {
            // Turned, so that `a b` is not `b a`.
            emit(hash_step(hash_before.rotate_left(5), hash), start);
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

const HASH_START: u32 = 0x811c_9dc5;

/// One step of FNV-1a, taking a whole character where the original takes a byte.
///
/// Fowler, Noll, Vo: The FNV Non-Cryptographic Hash Algorithm
/// (draft-eastlake-fnv).
fn hash_step(hash: u32, word: u32) -> u32 {
    (hash ^ word).wrapping_mul(0x0100_0193)
}

/// Spreads a hash over a range of buckets.
// FNV mixes its high bits badly, and the multiplication below reads just
// those; the finaliser of MurmurHash3 (Appleby, fmix32) mends that first.
fn bucket(mut hash: u32, range: Range<u32>) -> u32 {
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^= hash >> 16;
    let width = u64::from(range.end - range.start);
    range.start + ((u64::from(hash) * width) >> 32) as u32
}

/// Turns sorted buckets into distinct ids and damped counts.
fn count(sorted: &[u32]) -> Features {
    let mut features = Features {
        ids: Vec::with_capacity(sorted.len()),
        values: Vec::with_capacity(sorted.len()),
    };
    for run in sorted.chunk_by(|a, b| a == b) {
        features.ids.push(run[0]);
        let value = if run.len() == 1 {
            1.0
        } else {
            1.0 + (run.len() as f32).ln()
        };
        features.values.push(value);
    }
    features
}

#[cfg(test)]
mod tests {
    use super::*;

    fn occurrences(texts: &[&str]) -> Vec<Occurrence> {
        let mut all = Vec::new();
        visit(texts, |occurrence| all.push(occurrence));
        all
    }

    /// What each occurrence of the word family covers in the original.
    fn words<'a>(texts: &[&'a str]) -> Vec<&'a str> {
        occurrences(texts)
            .into_iter()
            .filter(|occurrence| WORD_BUCKETS.contains(&occurrence.bucket))
            .map(
                |Occurrence {
                     part, start, end, ..
                 }| &texts[part][start..end],
            )
            .collect()
    }

    #[test]
    fn text_without_visible_characters_has_no_features() {
        for texts in [&[][..], &[""], &["", " \n\t "]] {
            assert_eq!(extract(texts), Features::default(), "{texts:?}");
        }
    }

    #[test]
    fn words_and_pairs_of_words_are_found_where_they_stand() {
        let found = words(&["Call  me NOW!!"]);
        assert_eq!(
            found,
            ["Call", "me", "Call  me", "NOW", "me NOW", "!!", "NOW!!"]
        );
    }

    #[test]
    fn a_short_word_is_seen_with_the_spaces_around_it() {
        let runs = occurrences(&["ab"])
            .into_iter()
            .filter(|occurrence| CHAR_BUCKETS.contains(&occurrence.bucket));
        // " ab", " ab " and "ab ".
        assert_eq!(runs.count(), 3);
    }

    #[test]
    fn case_digits_and_width_of_whitespace_do_not_matter() {
        assert_eq!(extract(&["Win 500 now"]), extract(&["WIN\n\n 731 now "]));
    }

    #[test]
    fn word_order_matters() {
        assert_ne!(extract(&["act now"]).ids, extract(&["now act"]).ids);
    }

    #[test]
    fn ids_are_distinct_and_ascending_and_below_the_bucket_count() {
        let features = extract(&["buy cheap pills, buy cheap watches, buy buy buy"]);
        assert!(features.ids.is_sorted_by(|a, b| a < b));
        assert!(features.ids.iter().all(|&id| id < BUCKETS));
        assert_eq!(features.ids.len(), features.values.len());
    }

    #[test]
    fn a_feature_seen_twice_counts_one_plus_ln_two() {
        let features = extract(&["tea", "tea"]);
        assert!(
            features
                .values
                .iter()
                .all(|&value| value == 1.0 + 2.0_f32.ln())
        );
    }

    #[test]
    fn a_character_that_grows_when_lower_cased_keeps_its_place() {
        // `İ` is two bytes and lower-cases to `i` and a combining dot, three bytes.
        let text = "İİ prize £9";
        for Occurrence { start, end, .. } in occurrences(&[text]) {
            assert!(text.is_char_boundary(start) && text.is_char_boundary(end));
            assert!(start < end && end <= text.len());
        }
        assert!(words(&[text]).contains(&"prize"));
    }

    #[test]
    fn runs_do_not_cross_from_one_part_into_the_next() {
        assert_eq!(words(&["one", "two"]), ["one", "two"]);
    }

    #[test]
    fn of_a_long_text_only_head_and_tail_are_looked_at() {
        let text = format!(
            "{}{}{}",
            "h".repeat(HEAD),
            "m".repeat(9_000),
            "t".repeat(TAIL)
        );
        assert_eq!(words(&[&text]), ["h".repeat(HEAD), "t".repeat(TAIL)]);
    }

    #[test]
    fn the_bound_holds_for_the_item_and_not_for_each_part() {
        let part = "x".repeat(800);
        let found = words(&[&part, &part, &part]);
        let lengths: Vec<usize> = found.iter().map(|word| word.len()).collect();
        assert_eq!(lengths, [800, 200, 500]);
    }

    #[test]
    fn a_text_as_long_as_the_bound_is_looked_at_whole() {
        let text = "y".repeat(HEAD + TAIL);
        assert_eq!(words(&[&text]), [text.as_str()]);
    }

    #[test]
    fn padding_with_whitespace_pushes_nothing_out_of_sight() {
        let padded = format!("{0}free prize{0}", " \n".repeat(5_000));
        assert_eq!(extract(&[&padded]), extract(&["free prize"]));
    }

    #[test]
    fn buckets_stay_the_same_from_build_to_build() {
        // A trained model is only as good as this: a change here needs retraining.
        assert_eq!(extract(&["a"]).ids, [164_164, 203_392]);
        let ids = extract(&["Grüße! Call 0800 now"]).ids;
        let sum: u64 = ids.iter().copied().map(u64::from).sum();
        assert_eq!((ids.len(), sum), (65, 7_967_969));
    }
}
