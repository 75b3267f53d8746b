//! Evidence: which words of an item speak for a label.
//!
//! Found by leaving words out: each window of words is taken away once, and what the score
//! loses is what the window is worth. The model itself judges the shortened texts, a few at
//! a time. It never changes a score.

use std::ops::Range;

use crate::words::{Word, Words};

/// At most so many spans are shown of one label.
pub const MOST_SPANS: usize = 5;

/// At most so many windows are left out, each a row of the model's inputs.
pub const MOST_WINDOWS: usize = 32;

/// Words with more bytes than this between them may have unread text there: of a long one
/// only head and tail are read.
const FAR_APART: usize = 100;

/// Longer texts, in characters, are shown in part only.
const SHORT_TEXT: usize = 200;

/// A window is strong when it is worth this share of what the strongest one is.
const STRONG: f32 = 0.25;

/// A stretch of the original text that speaks for a label.
///
/// `start..end` are bytes of part `part`, on character boundaries. `weight` is what the
/// score loses without it, above 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span {
    /// Index of the part.
    pub part: usize,
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
    /// What it is worth, in logits.
    pub weight: f32,
}

/// Runs of words that are left out one after another, [`MOST_WINDOWS`] at most.
///
/// Single words where there are few, else several to a window. No window reaches from one
/// part into another, nor over the middle of a text that was not read, nor shares a byte
/// with the next. Of an item of more parts than windows the last parts are not looked into.
pub fn windows(words: &Words) -> Vec<Range<usize>> {
    let all: Vec<&Word> = words.iter().map(|(word, _)| word).collect();
    let runs = runs(&all);
    let n_windows = |n_words: usize| -> usize {
        let of_run = |run: &Range<usize>| run.len().div_ceil(n_words);
        runs.iter().map(of_run).sum()
    };
    let fewest = all.len().div_ceil(MOST_WINDOWS).max(1);
    let fits = |n_words: &usize| n_windows(*n_words) <= MOST_WINDOWS;
    let n_words = (fewest..all.len()).find(fits).unwrap_or(all.len());
    let mut windows: Vec<Range<usize>> = Vec::new();
    for run in runs {
        let first = windows.len();
        for at in run {
            match windows[first..].last_mut() {
                Some(last) if last.len() < n_words || all[at].start < all[at - 1].end => {
                    last.end = at + 1;
                }
                _ => windows.push(at..at + 1),
            }
        }
    }
    windows.truncate(MOST_WINDOWS);
    windows
}

/// The words of each part, divided once more at the widest gap if it is wide.
// Not at each wide gap: whoever writes words far apart would have too many runs to look into.
fn runs(all: &[&Word]) -> Vec<Range<usize>> {
    let gap = |at: usize| match all[at].part == all[at - 1].part {
        true => all[at].start.saturating_sub(all[at - 1].end),
        false => 0,
    };
    let widest = (1..all.len())
        .max_by_key(|&at| gap(at))
        .filter(|&at| gap(at) > FAR_APART);
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (at, word) in all.iter().enumerate() {
        match runs.last_mut() {
            Some(run) if all[run.start].part == word.part && widest != Some(at) => {
                run.end = at + 1;
            }
            _ => runs.push(at..at + 1),
        }
    }
    runs
}

/// The stretches that speak most for a label, the strongest first.
///
/// `losses` holds, for each of `windows`, what the score loses without it. Strong windows that
/// follow one another closely become one span. At most [`MOST_SPANS`]; of a text of over
/// 200 characters at most 30 %. Empty if no window speaks for the label.
pub fn spans(texts: &[&str], words: &Words, windows: &[Range<usize>], losses: &[f32]) -> Vec<Span> {
    let places: Vec<Span> = windows
        .iter()
        .zip(losses)
        .map(|(window, &weight)| place(words, window, weight))
        .collect();
    let shown = strongest(texts, &places);
    let follows = |&a: &usize, &b: &usize| {
        let (before, after) = (&places[a], &places[b]);
        b == a + 1
            && before.part == after.part
            && is_narrow(&texts[before.part][before.end..after.start])
    };
    let joined = |run: &[usize]| Span {
        end: places[run[run.len() - 1]].end,
        weight: run.iter().map(|&at| places[at].weight).sum(),
        ..places[run[0]]
    };
    let mut spans: Vec<Span> = shown.chunk_by(follows).map(joined).collect();
    spans.sort_by(|a, b| b.weight.total_cmp(&a.weight));
    spans.truncate(MOST_SPANS);
    spans
}

fn place(words: &Words, window: &Range<usize>, weight: f32) -> Span {
    let mut inside = words
        .iter()
        .skip(window.start)
        .take(window.len())
        .map(|(word, _)| *word);
    let first = inside.next().expect("a window holds a word");
    let last = inside.last().unwrap_or(first);
    Span {
        part: first.part,
        start: first.start,
        end: last.end,
        weight,
    }
}

/// Which windows are shown, in reading order: the strongest that there is room for.
fn strongest(texts: &[&str], places: &[Span]) -> Vec<usize> {
    let heaviest = places
        .iter()
        .fold(0.0, |most: f32, place| most.max(place.weight));
    let mut ranked: Vec<usize> = (0..places.len())
        .filter(|&at| places[at].weight > 0.0 && places[at].weight >= STRONG * heaviest)
        .collect();
    ranked.sort_by(|&a, &b| places[b].weight.total_cmp(&places[a].weight));
    // One character more for the space that joined spans have between them.
    let cost = |at: usize| {
        texts[places[at].part][places[at].start..places[at].end]
            .chars()
            .count()
            + 1
    };
    let n_chars: usize = texts.iter().map(|text| text.chars().count()).sum();
    let mut room = match n_chars {
        ..=SHORT_TEXT => n_chars + 1,
        _ => n_chars * 3 / 10,
    };
    ranked.retain(|&at| {
        let fits = cost(at) <= room;
        room -= if fits { cost(at) } else { 0 };
        fits
    });
    ranked.sort_unstable();
    ranked
}

/// Whether no more than one character lies between two windows.
fn is_narrow(gap: &str) -> bool {
    gap.chars().take(2).count() < 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use trommel_reading::normalise::Normalised;

    fn words(texts: &[&str]) -> Words {
        Words::of(&Normalised::of(texts))
    }

    /// What is shown by a model that loses 1 for each window that holds one of `bad`.
    fn shown<'a>(texts: &[&'a str], bad: &[&str]) -> Vec<&'a str> {
        let words = words(texts);
        let windows = windows(&words);
        let all: Vec<&str> = words.iter().map(|(_, word)| word).collect();
        let loss = |window: &Range<usize>| {
            let n_bad = all[window.clone()]
                .iter()
                .filter(|word| bad.contains(word))
                .count();
            if n_bad == 0 { -0.1 } else { n_bad as f32 }
        };
        let losses: Vec<f32> = windows.iter().map(loss).collect();
        let spans = spans(texts, &words, &windows, &losses);
        spans
            .iter()
            .map(|span| &texts[span.part][span.start..span.end])
            .collect()
    }

    #[test]
    fn the_word_that_moved_the_score_is_shown() {
        assert_eq!(shown(&["see you at once, Moron!"], &["moron"]), ["Moron"]);
        assert!(shown(&["see you at once"], &["moron"]).is_empty());
    }

    #[test]
    fn strong_words_that_follow_one_another_become_one_span() {
        assert_eq!(
            shown(&["you bad moron", "moron"], &["bad", "moron"]),
            ["bad moron", "moron"]
        );
    }

    #[test]
    fn a_character_that_is_read_as_two_signs_is_shown_whole() {
        assert_eq!(
            shown(&["bad ⁉ moron"], &["bad", "!", "?", "moron"]),
            ["bad ⁉ moron"]
        );
        let text = "moron⁉".repeat(12);
        let all = shown(&[&text], &["moron", "!", "?"]);
        assert!(all.len() == 1 && text.starts_with(all[0]) && all[0].ends_with('⁉'));
        // One of its signs alone speaks for the label.
        assert_eq!(shown(&["see ⁉"], &["?"]), ["⁉"]);
    }

    #[test]
    fn windows_are_few_and_stay_within_their_part() {
        let long = "ab cd ".repeat(200);
        for texts in [
            vec![long.as_str(), "d e"],
            vec!["a title of five words", &long[..59 * 3]],
            vec!["one"; 100],
            vec!["one two"],
        ] {
            let words = words(&texts);
            let windows = windows(&words);
            assert!(windows.len() <= MOST_WINDOWS && windows[0].start == 0);
            let parts: Vec<usize> = words.iter().map(|(word, _)| word.part).collect();
            assert!(windows.iter().all(|w| parts[w.start] == parts[w.end - 1]));
            assert!(windows.windows(2).all(|two| two[0].end == two[1].start));
            // Every word is looked at unless there are more parts than windows.
            let n_seen = windows.last().map_or(0, |last| last.end);
            assert!(n_seen == words.len() || texts.len() > MOST_WINDOWS);
        }
        assert!(windows(&Words::default()).is_empty());
    }

    #[test]
    fn what_was_not_read_is_not_shown() {
        let text = format!(
            "{}moron{}moron{}",
            "ab cd ".repeat(165),
            " unread".repeat(70),
            " ab cd".repeat(82)
        );
        for shown in shown(&[&text], &["moron"]) {
            assert!(
                shown.contains("moron") && !shown.contains("unread unread"),
                "{shown}"
            );
        }
    }

    #[test]
    fn of_a_long_text_at_most_three_tenths_are_shown_and_at_most_five_spans() {
        let text = "moron walks home on foot today ".repeat(20);
        let shown = shown(&[&text], &["moron"]);
        let n_shown: usize = shown.iter().map(|shown| shown.len()).sum();
        assert!((1..=MOST_SPANS).contains(&shown.len()));
        assert!(
            n_shown * 10 <= text.len() * 3,
            "{n_shown} of {}",
            text.len()
        );
    }

    /// Texts of what reading changes: characters that become several or none, or that join
    /// their neighbours.
    fn strange_text(seed: usize) -> String {
        const PIECES: [&str; 24] = [
            "a", "B1", "  ", "\n", ".", "-x-", "[.]", "@", "\u{301}", "\u{200b}", "İ", "ﬁ", "🅰",
            "日", "⁉", "½", "℀", "…", "muslim ", "hxxp://", " dot com", "!!", "an ", "@me",
        ];
        let mut state = (seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 33) as usize
        };
        let n_pieces = match seed % 20 {
            0 => 2_000,
            _ => 1 + next() % 60,
        };
        (0..n_pieces)
            .map(|_| PIECES[next() % PIECES.len()])
            .collect()
    }

    #[test]
    fn spans_of_any_text_lie_on_visible_characters() {
        let mut n_shown = 0;
        for seed in 0..2_000 {
            let (first, second) = (strange_text(seed), strange_text(seed + 1));
            let parts = [first.as_str(), &second];
            let words = words(&parts);
            let windows = windows(&words);
            // All speak for the label, or every third does not.
            for period in [usize::MAX, 3] {
                let weight = |at: usize| if at % period == 1 { -1.0 } else { 1.0 };
                let losses: Vec<f32> = (0..windows.len()).map(weight).collect();
                let spans = spans(&parts, &words, &windows, &losses);
                for span in &spans {
                    let shown = &parts[span.part][span.start..span.end];
                    assert!(!shown.is_empty() && shown == shown.trim(), "{parts:?}");
                }
                for (at, span) in spans.iter().enumerate() {
                    let apart = |b: &Span| {
                        b.part != span.part || b.start >= span.end || b.end <= span.start
                    };
                    assert!(spans[at + 1..].iter().all(apart), "{parts:?}: {spans:?}");
                }
                n_shown += spans.len();
            }
        }
        assert!(n_shown > 2_000, "{n_shown}");
    }
}
