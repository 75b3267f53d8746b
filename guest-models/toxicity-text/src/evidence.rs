//! Evidence: which words of an item speak for a label.
//!
//! Found by leaving words out: each window of words is taken away once, and what the score
//! loses is what the window is worth. The model itself judges the shortened texts, all in
//! one batch. It never changes a score.

use std::ops::Range;

use crate::words::Words;

/// At most so many spans are shown of one label.
pub const MOST_SPANS: usize = 5;

/// At most so many windows are left out, each a row of one batch.
pub const MOST_WINDOWS: usize = 32;

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

/// Runs of words of one part that are left out one after another, [`MOST_WINDOWS`] at most.
///
/// Single words where there are few, else several to a window. What lies beyond the last
/// window, in an item of very many parts, is not looked into.
pub fn windows(words: &Words) -> Vec<Range<usize>> {
    let all: Vec<usize> = words.iter().map(|(word, _)| word.part).collect();
    let n_words = all.len().div_ceil(MOST_WINDOWS).max(1);
    let mut windows: Vec<Range<usize>> = Vec::new();
    for (at, &part) in all.iter().enumerate() {
        match windows.last_mut() {
            Some(last) if last.len() < n_words && all[last.start] == part => last.end = at + 1,
            _ => windows.push(at..at + 1),
        }
    }
    windows.truncate(MOST_WINDOWS);
    windows
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
    fn windows_are_few_and_stay_within_their_part() {
        let long = "a b c ".repeat(200);
        for texts in [
            vec![long.as_str(), "d e"],
            vec!["one"; 100],
            vec!["one two"],
        ] {
            let words = words(&texts);
            let windows = windows(&words);
            assert!(windows.len() <= MOST_WINDOWS && windows[0].start == 0);
            let parts: Vec<usize> = words.iter().map(|(word, _)| word.part).collect();
            assert!(windows.iter().all(|w| parts[w.start] == parts[w.end - 1]));
            assert!(windows.windows(2).all(|two| two[0].end == two[1].start));
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
}
