//! Puts words together again: letters set apart, and digits in letters' places.
//!
//! Cells in, no more cells out, in place; each pass looks at every cell a
//! bounded number of times. It knows no language.

use crate::normalise::Cell;

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
pub(crate) fn unmasked(c: char) -> Option<char> {
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
        '¢' => 'c',
        '¥' => 'y',
        _ => return None,
    })
}

/// Turns digits and signs among letters into the letters they stand for.
///
/// Inside a word up to three in a row and at its end up to two are masks; before
/// a word it takes three letters, so that `50p` and `2nd` stay numbers.
pub(crate) fn unmask(cells: &mut [Cell]) {
    let mut at = 0;
    while at < cells.len() {
        let is_mask = |cell: &Cell| unmasked(cell.c).is_some();
        let n_masks = cells[at..].iter().take_while(|cell| is_mask(cell)).count();
        if n_masks == 0 {
            at += 1;
            continue;
        }
        let masks = at..at + n_masks;
        at += n_masks;
        let is_before = masks.start > 0 && cells[masks.start - 1].c.is_alphabetic();
        let n_after = cells[masks.end..]
            .iter()
            .take(3)
            .take_while(|cell| cell.c.is_alphabetic())
            .count();
        let has_sign = cells[masks.clone()]
            .iter()
            .any(|cell| !cell.c.is_ascii_digit());
        let most = match (is_before, n_after) {
            (true, 1..) => 3,
            (true, 0) if !has_sign => 2,
            (false, 3) if !has_sign => 1,
            _ => 0,
        };
        if n_masks > most || is_address(cells, &masks) {
            continue;
        }
        for cell in &mut cells[masks] {
            cell.c = unmasked(cell.c).expect("they were just counted");
        }
    }
}

/// `@` in an address, and a price written behind a country's name.
fn is_address(cells: &[Cell], masks: &std::ops::Range<usize>) -> bool {
    let is_at = cells[masks.clone()].iter().any(|cell| cell.c == '@');
    let is_price = matches!(cells[masks.start].c, '$' | '€' | '¥') && masks.len() > 1;
    let host = cells[masks.end..].iter().take(40);
    is_price
        || is_at
            && host
                .take_while(|cell| !cell.is_space())
                .any(|cell| cell.c == '.')
}
