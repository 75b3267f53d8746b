//! Puts words together again: letters set apart, and digits in letters' places.
//!
//! Cells in, no more cells out, in place; each pass looks at every cell a
//! bounded number of times. It knows no language.

use std::ops::Range;

use crate::normalise::{Cell, UNKNOWN};

/// From so many single characters in a row on they are taken for one word.
const FEWEST_APART: usize = 4;

/// Joins `f r e e`, `f.r.e.e` and the like in `cells[base..]`.
///
/// Within one run the narrowest gap is the one between letters; wider ones
/// are kept, for they stand between words.
pub(crate) fn join(cells: &mut Vec<Cell>, base: usize) {
    let (mut from, mut to) = (base, base);
    while from < cells.len() {
        let run = run_apart(&cells[base..], from - base);
        if run.n_letters < FEWEST_APART {
            cells[to] = cells[from];
            (from, to) = (from + 1, to + 1);
            continue;
        }
        // Letters stand at every second place.
        for ahead in 0..2 * run.n_letters - 1 {
            let cell = cells[from + ahead];
            if ahead % 2 == 0 || cell.width > run.gap {
                cells[to] = cell;
                to += 1;
            }
        }
        from += 2 * run.n_letters - 1;
    }
    cells.truncate(to);
}

#[derive(Default)]
struct Apart {
    n_letters: usize,
    /// Width of the narrowest gap.
    gap: usize,
}

/// Single characters from `at` on, with one and the same thing between them.
fn run_apart(cells: &[Cell], at: usize) -> Apart {
    let none = Apart::default();
    let Some(&[first, separator]) = cells.get(at..at + 2) else {
        return none;
    };
    let is_separator = separator.is_space()
        || matches!(
            separator.c,
            '.' | '-' | '_' | '*' | '|' | '/' | ',' | '~' | '+'
        );
    if first.is_space() || !is_separator || separator.width == 0 {
        return none;
    }
    // Between spaces anything may stand; between signs only letters and digits.
    let is_letter = |cell: Cell| {
        if separator.is_space() {
            !cell.is_space()
        } else {
            cell.c.is_alphanumeric()
        }
    };
    if at > 0 && is_letter(cells[at - 1]) || !is_letter(first) {
        return none;
    }
    let mut run = Apart {
        n_letters: 1,
        gap: usize::MAX,
    };
    let mut at = at;
    while let Some(&[gap, letter]) = cells.get(at + 1..at + 3) {
        let stands_alone = cells.get(at + 3).is_none_or(|&next| !is_letter(next));
        if gap.c != separator.c || gap.width == 0 || !is_letter(letter) || !stands_alone {
            break;
        }
        run.gap = run.gap.min(gap.width);
        run.n_letters += 1;
        at += 2;
    }
    run
}

/// The letter that a digit or sign stands for in a masked word.
pub fn unmasked(c: char) -> Option<char> {
    Some(match c {
        '0' => 'o',
        '1' | '!' | '|' => 'i',
        '2' => 'z',
        '3' | '€' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '6' | '9' => 'g',
        '7' | '+' => 't',
        '8' => 'b',
        '¢' | '(' => 'c',
        '#' => 'h',
        '¥' => 'y',
        _ => return None,
    })
}

/// Of the words of a stretch, one in so many must be masked for the stretch to be.
const FEWEST_MASKED: usize = 4;

/// Turns digits and signs among letters into the letters they stand for.
///
/// Word by word: `fr33`, `7h1s` and `$ave` are masked; `50p`, `2nd`, `us$500` and
/// what holds three digits in a row are not. Where many words are, the short ones
/// that hold no letter are too, such as `70` and `+0`, and numbers within words.
pub(crate) fn unmask(cells: &mut [Cell]) {
    let (mut n_words, mut n_masked) = (0, 0);
    each_word(cells, |cells, word| {
        n_words += 1;
        n_masked += usize::from(is_masked(&cells[word]));
    });
    let everywhere = n_masked >= 2 && n_masked * FEWEST_MASKED >= n_words;
    if n_masked == 0 {
        return;
    }
    each_word(cells, |cells, word| {
        let word = &mut cells[word];
        if !(is_masked(word) || everywhere && may_be_masked(word)) {
            return;
        }
        for cell in word {
            cell.c = if cell.c.is_ascii_digit() && cell.end - cell.start > 1 {
                // A digit of another script, chosen for its looks.
                UNKNOWN
            } else {
                unmasked(cell.c).unwrap_or(cell.c)
            };
        }
    });
}

/// Calls `each` with every word that is no address.
fn each_word(cells: &mut [Cell], mut each: impl FnMut(&mut [Cell], Range<usize>)) {
    let mut at = 0;
    while at < cells.len() {
        let n_cells = cells[at..]
            .iter()
            .take_while(|cell| is_of_word(cell.c))
            .count();
        if n_cells == 0 {
            at += 1;
            continue;
        }
        let (start, end) = (at, at + n_cells);
        at = end;
        // An exclamation ends a word and is no part of it, and a bracket opens one.
        let n_trailing = cells[start..end]
            .iter()
            .rev()
            .take_while(|cell| matches!(cell.c, '!' | '(' | '#'))
            .count();
        let n_leading = usize::from(cells[start].c == '(' && is_closed(&cells[start..]));
        if n_leading + n_trailing >= n_cells {
            continue;
        }
        let word = start + n_leading..end - n_trailing;
        let host = cells[end..].iter().take(40);
        let is_address = cells[word.clone()].iter().any(|cell| cell.c == '@')
            && (cells[start].c == '@'
                || host
                    .take_while(|cell| !cell.is_space())
                    .any(|cell| cell.c == '.'));
        if !is_address {
            each(cells, word);
        }
    }
}

/// Whether a bracket is closed again, be it some words on.
fn is_closed(cells: &[Cell]) -> bool {
    cells
        .iter()
        .take(FURTHEST_BRACKET)
        .any(|cell| cell.c == ')')
}

const FURTHEST_BRACKET: usize = 80;

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || unmasked(c).is_some()
}

/// Whether this may be a word where others are masked: not a longer number, not a price.
fn may_be_masked(word: &[Cell]) -> bool {
    let is_digit = |cell: &Cell| cell.c.is_ascii_digit();
    let n_digits = word.iter().filter(|cell| is_digit(cell)).count();
    !is_price(word) && (n_digits < word.len() || n_digits <= 2)
}

/// A sign of money and little else than digits.
fn is_price(word: &[Cell]) -> bool {
    let is_digit = |cell: &Cell| cell.c.is_ascii_digit();
    let n_others = word.iter().filter(|cell| !is_digit(cell)).count();
    let is_amount = |pair: &[Cell]| matches!(pair[0].c, '$' | '€' | '¥') && is_digit(&pair[1]);
    // A letter may follow, as in `$20k`, or a `+`.
    n_others <= 2 && word.windows(2).any(is_amount)
}

/// What a number is counted in, or how it is ordered.
const UNITS: [&str; 28] = [
    "st", "nd", "rd", "th", "am", "pm", "hr", "yr", "mb", "gb", "kg", "km", "cm", "mm", "ml", "p",
    "k", "m", "x", "g", "c", "h", "d", "u", "l", "s", "w", "v",
];

fn is_masked(word: &[Cell]) -> bool {
    let is_digit = |cell: &Cell| cell.c.is_ascii_digit();
    let is_mask = |cell: &Cell| unmasked(cell.c).is_some();
    let n_masks = word.iter().filter(|cell| is_mask(cell)).count();
    let number = word
        .chunk_by(|a, b| is_digit(a) && is_digit(b))
        .any(|run| run.len() >= 3);
    if n_masks == 0 || n_masks == word.len() || number {
        return false;
    }
    if word
        .windows(2)
        .any(|pair| matches!(pair[0].c, '$' | '€' | '¥') && is_digit(&pair[1]))
    {
        return false;
    }
    // The sign before a topic, or a number's.
    let topic = usize::from(word[0].c == '#');
    if n_masks == topic {
        return false;
    }
    let n_leading = word.iter().take_while(|cell| is_digit(cell)).count();
    let rest = &word[n_leading..];
    if n_leading == 0 || rest.iter().any(is_mask) {
        return true;
    }
    let is_unit = UNITS
        .iter()
        .any(|unit| unit.chars().eq(rest.iter().map(|cell| cell.c)));
    n_leading == 1 && !is_unit
}
