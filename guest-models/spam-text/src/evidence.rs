//! Evidence: which words of an item speak for its score.
//!
//! Runs after the model, on the model's own contributions, so that the words
//! shown are those that moved the score. It never changes a score, and points
//! into the original text rather than the normalised one.

use std::ops::Range;

use trommel_reading::normalise::Normalised;

use crate::features::{Occurrence, visit};

/// At most so many spans are returned.
pub const MOST_SPANS: usize = 5;

/// Texts longer than this many characters are shown in part only.
const SHORT_TEXT: usize = 200;

/// Longer words are cut into pieces of so many characters, so that a long
/// address or a script without spaces can still be pointed into.
const PIECE: usize = 32;

/// A word is strong when it holds this share of what the strongest one holds.
const STRONG: f32 = 0.25;

/// A stretch of the original text that speaks for a high score.
///
/// `start..end` are bytes of part `part`, on character boundaries, without
/// whitespace at either end. `weight` is the stretch's share of the score, in
/// logits, above 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span {
    /// Index of the part.
    pub part: usize,
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
    /// Share of the score.
    pub weight: f32,
}

/// The stretches that speak most for a high score, the strongest first.
///
/// `normalised` is how `texts` are read, `ids` are those that
/// [`extract`](crate::features::extract) gave for it; `contributions` are the model's, one for each id (what is missing
/// counts as 0, what is left over is padding). Each contribution is divided
/// among the places where its feature stands, and there among the words in
/// proportion to their bytes. Strong words that follow one another, with no
/// more than one character of whitespace between, become one span.
///
/// At most [`MOST_SPANS`]; of what is looked at in a text of over 200
/// characters together at most 30 %. Empty if no word speaks for a high score.
pub fn spans(
    texts: &[&str],
    normalised: &Normalised,
    ids: &[u32],
    contributions: &[f32],
) -> Vec<Span> {
    let mut words = words(texts, normalised);
    weigh(&mut words, normalised, ids, contributions);
    let mut spans = join(texts, &words, &strongest(texts, &words));
    spans.sort_by(|a, b| b.weight.total_cmp(&a.weight));
    spans.truncate(MOST_SPANS);
    spans
}

/// A word, or a piece of a long one, with what it was found to weigh.
struct Word {
    part: usize,
    start: usize,
    end: usize,
    n_chars: usize,
    weight: f32,
}

/// The words of what is looked at, in reading order.
// Made of cells, which are bounded, and not of the text's characters: megabytes
// of what nobody sees may lie between two letters.
fn words(texts: &[&str], normalised: &Normalised) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    for (part, cells) in normalised.stretches() {
        let mut n_cells = 0;
        for pair in cells.windows(2) {
            let (before, cell) = (pair[0], pair[1]);
            if cell.is_space() {
                continue;
            }
            match words.last_mut() {
                // Cells of one bracketed dot, or of one ligature, share their bytes.
                Some(word) if word.part == part && cell.start < word.end => {
                    word.end = word.end.max(cell.end);
                }
                Some(word)
                    if n_cells < PIECE
                        && !before.is_space()
                        && is_unbroken(&texts[part][word.end..cell.start]) =>
                {
                    word.end = cell.end;
                    n_cells += 1;
                }
                _ => {
                    words.push(Word {
                        part,
                        start: cell.start,
                        end: cell.end,
                        n_chars: 0,
                        weight: 0.0,
                    });
                    n_cells = 1;
                }
            }
        }
    }
    for word in &mut words {
        word.n_chars = texts[word.part][word.start..word.end].chars().count();
    }
    words
}

/// Whether nothing but one space, or what nobody sees, lies between two cells.
// Letters set apart were joined: their spaces are no cells any more.
fn is_unbroken(gap: &str) -> bool {
    gap.len() <= 4 || !gap.contains(char::is_whitespace)
}

/// Divides every contribution among the words its feature stands in.
fn weigh(words: &mut [Word], normalised: &Normalised, ids: &[u32], contributions: &[f32]) {
    let mut counts = vec![0_u32; ids.len()];
    visit(normalised, |Occurrence { bucket, .. }| {
        if let Ok(at) = ids.binary_search(&bucket) {
            counts[at] += 1;
        }
    });
    visit(normalised, |occurrence| {
        if let Ok(at) = ids.binary_search(&occurrence.bucket) {
            let contribution = contributions.get(at).copied().unwrap_or(0.0);
            spread(words, occurrence, contribution / counts[at] as f32);
        }
    });
}

/// Divides `share` among the words that `occurrence` touches.
fn spread(words: &mut [Word], occurrence: Occurrence, share: f32) {
    let Occurrence {
        part, start, end, ..
    } = occurrence;
    let first = words.partition_point(|word| (word.part, word.end) <= (part, start));
    let n_touched = words[first..]
        .iter()
        .take_while(|word| word.part == part && word.start < end)
        .count();
    let touched = &mut words[first..first + n_touched];
    let overlap = |word: &Word| (word.end.min(end) - word.start.max(start)) as f32;
    let n_bytes: f32 = touched.iter().map(overlap).sum();
    if n_bytes == 0.0 {
        return;
    }
    for word in touched {
        word.weight += share * overlap(word) / n_bytes;
    }
}

/// Which words are shown, in reading order: the strongest that there is room for.
fn strongest(texts: &[&str], words: &[Word]) -> Vec<usize> {
    let heaviest = words
        .iter()
        .fold(0.0, |weight: f32, word| weight.max(word.weight));
    let mut ranked: Vec<usize> = (0..words.len())
        .filter(|&at| words[at].weight > 0.0 && words[at].weight >= STRONG * heaviest)
        .collect();
    ranked.sort_by(|&a, &b| words[b].weight.total_cmp(&words[a].weight));
    let mut room = room(texts, words);
    ranked.retain(|&at| {
        let cost = cost(&words[at]);
        let fits = cost <= room;
        room -= if fits { cost } else { 0 };
        fits
    });
    ranked.sort_unstable();
    ranked
}

/// How many characters may be shown.
fn room(texts: &[&str], words: &[Word]) -> usize {
    let n_chars: usize = texts.iter().map(|text| text.chars().count()).sum();
    // Of a text that is looked at in part, a share of that part.
    let n_seen = n_chars.min(words.iter().map(cost).sum());
    if n_chars > SHORT_TEXT {
        n_seen * 3 / 10
    } else {
        n_seen + 1
    }
}

/// A word is counted with one character of whitespace after it.
fn cost(word: &Word) -> usize {
    word.n_chars + 1
}

/// Makes one span of each run of shown words that follow one another.
fn join(texts: &[&str], words: &[Word], shown: &[usize]) -> Vec<Span> {
    let follows = |&a: &usize, &b: &usize| {
        let (before, after) = (&words[a], &words[b]);
        b == a + 1
            && before.part == after.part
            && is_narrow(texts[before.part], before.end..after.start)
    };
    let span = |run: &[usize]| {
        let (first, last) = (&words[run[0]], &words[run[run.len() - 1]]);
        Span {
            part: first.part,
            start: first.start,
            end: last.end,
            weight: run.iter().map(|&at| words[at].weight).sum(),
        }
    };
    shown.chunk_by(follows).map(span).collect()
}

fn is_narrow(text: &str, gap: Range<usize>) -> bool {
    text[gap].chars().take(2).count() < 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::extract;

    /// Contributions of a model that knows the features of `bad` only.
    fn judge(texts: &[&str], bad: &[&str]) -> (Vec<u32>, Vec<f32>) {
        let ids_of = |texts: &[&str]| extract(&Normalised::of(texts)).ids;
        let bad: Vec<u32> = bad.iter().flat_map(|bad| ids_of(&[bad])).collect();
        let ids = ids_of(texts);
        let contribution = |id| if bad.contains(id) { 1.0 } else { -0.01 };
        let contributions = ids.iter().map(contribution).collect();
        (ids, contributions)
    }

    fn shown<'a>(texts: &[&'a str], bad: &[&str]) -> Vec<&'a str> {
        let (ids, contributions) = judge(texts, bad);
        spans(texts, &Normalised::of(texts), &ids, &contributions)
            .iter()
            .map(|span| &texts[span.part][span.start..span.end])
            .collect()
    }

    fn filler() -> String {
        "quiet evening by the lake ".repeat(20)
    }

    #[test]
    fn the_word_that_moved_the_score_is_shown() {
        assert_eq!(
            shown(&["see you at lunch, lottery"], &["lottery"]),
            ["lottery"]
        );
    }

    #[test]
    fn strong_words_that_follow_one_another_become_one_span() {
        let found = shown(
            &["dear friend claim prize tomorrow morning"],
            &["claim prize"],
        );
        assert_eq!(found, ["claim prize"]);
    }

    #[test]
    fn words_of_two_lines_apart_stay_apart() {
        let found = shown(&["claim\n\nprize"], &["claim", "prize"]);
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn nothing_is_shown_where_nothing_speaks_for_a_high_score() {
        assert!(shown(&["a walk in the park"], &[]).is_empty());
        assert!(spans(&[""], &Normalised::of(&[""]), &[], &[]).is_empty());
    }

    #[test]
    fn spans_lie_on_the_original_when_lower_casing_changes_its_length() {
        let texts = ["İİİ straße", "ÄÖÜ İ casino İ"];
        assert_eq!(shown(&texts, &["casino"]), ["casino"]);
    }

    #[test]
    fn spans_come_strongest_first() {
        let texts = ["sunny jackpot weather and a lottery winner here"];
        let (ids, contributions) = judge(&texts, &["jackpot", "lottery winner"]);
        let spans = spans(&texts, &Normalised::of(&texts), &ids, &contributions);
        assert_eq!(spans.len(), 2);
        assert!(spans[0].weight >= spans[1].weight && spans[1].weight > 0.0);
    }

    #[test]
    fn no_more_than_five_spans_are_shown() {
        let text = "jackpot tea ".repeat(9);
        assert!(text.len() < SHORT_TEXT);
        assert_eq!(shown(&[&text], &["jackpot"]).len(), MOST_SPANS);
    }

    #[test]
    fn of_a_long_text_at_most_three_tenths_are_shown() {
        let text = "jackpot lottery casino winner ".repeat(20);
        let n_shown: usize = shown(&[&text], &[&text])
            .iter()
            .map(|span| span.len())
            .sum();
        assert!(
            0 < n_shown && n_shown * 10 <= text.len() * 3,
            "{n_shown} of {}",
            text.len()
        );
    }

    #[test]
    fn a_long_word_is_shown_in_part() {
        let text = format!("{}{}", filler(), "jackpot".repeat(40));
        let found = shown(&[&text], &["jackpotjackpotjackpot"]);
        assert!(found[0].contains("jackpot"), "{found:?}");
        assert!(found[0].len() < 280);
    }

    #[test]
    fn missing_contributions_count_as_nothing() {
        let texts = ["jackpot"];
        let normalised = Normalised::of(&texts);
        assert!(spans(&texts, &normalised, &extract(&normalised).ids, &[]).is_empty());
    }

    #[test]
    fn padding_after_the_contributions_changes_nothing() {
        let texts = ["jackpot tonight"];
        let (ids, mut contributions) = judge(&texts, &["jackpot"]);
        let normalised = Normalised::of(&texts);
        let alone = spans(&texts, &normalised, &ids, &contributions);
        contributions.extend([0.0; 7]);
        let padded = spans(&texts, &normalised, &ids, &contributions);
        assert_eq!(padded, alone);
    }

    #[test]
    fn spans_of_any_text_lie_on_visible_characters() {
        const PIECES: [&str; 14] = [
            "a", "B1", "  ", "\n", ".", "-x-", "[.]", "@", "\u{301}", "\u{200b}", "İ", "ﬁ", "🅰",
            "日",
        ];
        let text = |seed: usize| -> String {
            let pieces = (0..40).map(|at| PIECES[(seed * 7 + at * at * (seed + 3)) % PIECES.len()]);
            pieces.collect()
        };
        for seed in 0..500 {
            let (first, second) = (text(seed), text(seed + 1));
            let parts = [first.as_str(), &second];
            let normalised = Normalised::of(&parts);
            let ids = extract(&normalised).ids;
            for span in spans(&parts, &normalised, &ids, &vec![1.0; ids.len()]) {
                let shown = &parts[span.part][span.start..span.end];
                assert!(!shown.is_empty() && shown == shown.trim(), "{parts:?}");
            }
        }
    }
}
