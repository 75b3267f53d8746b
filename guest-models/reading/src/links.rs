//! Makes links whole that were taken apart so that no machine sees them.
//!
//! Cells in, fewer cells out, in place and in one pass. It knows spellings
//! only: whether something is a link is no question of its.

use crate::normalise::Cell;

/// What stands in brackets in place of a character, and that character.
const BRACKETED: [(&str, &str); 9] = [
    ("dot", "."),
    ("d0t", "."),
    (".", "."),
    (",", "."),
    ("at", "@"),
    ("@", "@"),
    ("://", "://"),
    (":", ":"),
    ("/", "/"),
];

/// Endings that make of a word before them a host's name.
const ENDINGS: [&str; 9] = ["com", "net", "org", "info", "biz", "co", "ru", "io", "uk"];

/// Mends links in `cells[base..]`.
pub(crate) fn mend(cells: &mut Vec<Cell>, base: usize) {
    let (mut from, mut to) = (base, base);
    while from < cells.len() {
        if let Some((text, n_cells)) = stand_in(&cells[base..], from - base) {
            // Without the space on either side, for evidence begins and ends with ink.
            let seen = || {
                cells[from..from + n_cells]
                    .iter()
                    .filter(|cell| !cell.is_space())
            };
            let (Some(first), Some(last)) = (seen().next(), seen().next_back()) else {
                unreachable!("what stands for a character is seen");
            };
            let whole = Cell {
                start: first.start,
                end: last.end,
                ..*first
            };
            if to > base + 1 && cells[to - 1].is_space() {
                to -= 1;
            }
            from += n_cells;
            if from + 1 < cells.len() && cells[from].is_space() {
                from += 1;
            }
            for c in text.chars() {
                cells[to] = Cell {
                    c,
                    width: 1,
                    ..whole
                };
                to += 1;
            }
            continue;
        }
        cells[to] = cells[from];
        if is_scheme(&cells[from..]) && !before(cells, to, base).is_alphanumeric() {
            for (ahead, c) in "http".chars().enumerate() {
                cells[to + ahead] = Cell {
                    c,
                    ..cells[from + ahead]
                };
            }
            (from, to) = (from + 4, to + 4);
            continue;
        }
        (from, to) = (from + 1, to + 1);
    }
    cells.truncate(to);
}

fn before(cells: &[Cell], at: usize, base: usize) -> char {
    if at > base { cells[at - 1].c } else { ' ' }
}

/// What the cells at `at` stand for, and how many they are.
fn stand_in(cells: &[Cell], at: usize) -> Option<(&'static str, usize)> {
    let rest = &cells[at..];
    match rest[0].c {
        '[' | '(' | '{' | '<' => bracketed(rest),
        ' ' | '.' => spaced_dot(cells, at),
        _ => None,
    }
}

/// `[.]`, `(dot)`, `{ at }`.
fn bracketed(rest: &[Cell]) -> Option<(&'static str, usize)> {
    let inner = 1 + usize::from(rest.get(1)?.is_space());
    for (spelled, meant) in BRACKETED {
        if !starts_with(&rest[inner..], spelled) {
            continue;
        }
        let after = inner + spelled.len();
        let close = after + usize::from(rest.get(after)?.is_space());
        if matches!(rest.get(close)?.c, ']' | ')' | '}' | '>') {
            return Some((meant, close + 1));
        }
    }
    None
}

/// ` dot com`, ` . com`, `. com` after a word.
fn spaced_dot(cells: &[Cell], at: usize) -> Option<(&'static str, usize)> {
    if at == 0 || !cells[at - 1].c.is_alphanumeric() {
        return None;
    }
    let rest = &cells[at..];
    let dot = usize::from(rest[0].is_space());
    let after = if starts_with(&rest[dot..], "dot ") && dot == 1 {
        dot + 3
    } else if rest.get(dot)?.c == '.' {
        dot + 1
    } else {
        return None;
    };
    let ending = after + usize::from(rest.get(after)?.is_space());
    // Nothing to mend in `example.com`.
    if dot == 0 && ending == after {
        return None;
    }
    let is_host = ENDINGS.iter().any(|spelled| {
        starts_with(&rest[ending..], spelled)
            && rest
                .get(ending + spelled.len())
                .is_none_or(|next| !next.c.is_alphanumeric())
    });
    is_host.then_some((".", ending))
}

/// `hxxp`, `hxtp`, `h**p`; the real `http` stays as it is either way.
fn is_scheme(rest: &[Cell]) -> bool {
    rest.len() > 5
        && rest[0].c == 'h'
        && rest[1..3]
            .iter()
            .all(|cell| matches!(cell.c, 'x' | 't' | '*'))
        && rest[3].c == 'p'
        && !(rest[4].c.is_alphanumeric() && rest[4].c != 's')
}

fn starts_with(cells: &[Cell], spelled: &str) -> bool {
    let mut cells = cells.iter();
    spelled
        .chars()
        .all(|c| cells.next().is_some_and(|cell| cell.c == c))
}
