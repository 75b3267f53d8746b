//! Takes the disguise off a text: what is drawn alike is read alike.
//!
//! Text in, cells out: each cell is one character as it is read, with the bytes
//! of the original that it came from, so that evidence can point there. It
//! knows no features and no model.
//!
//! In this order: unseen characters and marks go; characters that look like
//! others become those ([`table`]), lower-case; each run of
//! whitespace becomes one cell; longer runs of one character shrink to three
//! (these while reading); links are made whole again ([`links`]); letters set
//! apart are joined and digits that stand for letters become those ([`words`]).
//!
//! Work is bounded: of a whole item only the first [`HEAD`] and the last
//! [`TAIL`] characters are read. What is not seen, marks and further whitespace
//! count as nothing, so that padding pushes nothing out of sight; stepping over
//! them is all they cost.
//!
//! [`table`]: crate::table
//! [`links`]: crate::links
//! [`words`]: crate::words

use std::ops::Range;

use crate::table::{Reading, reading};
use crate::{links, words};

/// Characters read from the beginning of an item.
pub const HEAD: usize = 1_000;

/// Characters read from the end of an item.
pub const TAIL: usize = 500;

/// No more than so many of one character are kept where they follow one another.
const LONGEST_RUN: usize = 3;

/// One character as it is read, and where it stood.
///
/// `start..end` are bytes of the original part, on character boundaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    /// Lower-case; a space stands for any whitespace.
    pub c: char,
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
    /// Characters of whitespace that became this space; 0 at either end of a
    /// stretch; otherwise 1.
    pub width: usize,
}

impl Cell {
    /// Whether this is whitespace.
    pub fn is_space(self) -> bool {
        self.c == ' '
    }

    fn edge(at: usize) -> Self {
        Self {
            c: ' ',
            start: at,
            end: at,
            width: 0,
        }
    }
}

/// What was read without a gap in one part: a space, the text, a space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// Index of the part.
    pub part: usize,
    cells: Range<usize>,
}

/// An item as it is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Normalised {
    cells: Vec<Cell>,
    stretches: Vec<Stretch>,
}

impl Normalised {
    /// Reads an item whose text parts are `texts`, in order.
    pub fn of(texts: &[&str]) -> Self {
        let mut reader = Reader::default();
        let mut budget = HEAD;
        for (part, text) in texts.iter().enumerate() {
            reader.open(part, 0);
            let stop = reader.read(text, 0, &mut budget);
            if stop < text.len() {
                reader.read_tail(texts, part, stop);
                break;
            }
            reader.close(stop);
        }
        reader.normalised
    }

    /// Each stretch with its cells, in reading order.
    pub fn stretches(&self) -> impl Iterator<Item = (usize, &[Cell])> {
        self.stretches
            .iter()
            .map(|Stretch { part, cells }| (*part, &self.cells[cells.clone()]))
    }

    /// How many cells there are.
    pub fn n_cells(&self) -> usize {
        self.cells.len()
    }
}

#[derive(Default)]
struct Reader {
    normalised: Normalised,
    /// Where the open stretch begins.
    base: usize,
    part: usize,
}

impl Reader {
    fn open(&mut self, part: usize, at: usize) {
        self.part = part;
        self.base = self.normalised.cells.len();
        self.normalised.cells.push(Cell::edge(at));
    }

    /// Ends the open stretch and keeps it unless it is blank.
    fn close(&mut self, at: usize) {
        let cells = &mut self.normalised.cells;
        if cells.len() > self.base && cells[cells.len() - 1].is_space() {
            cells.pop();
        }
        if cells.len() <= self.base + 1 {
            cells.truncate(self.base);
            return;
        }
        cells.push(Cell::edge(at));
        links::mend(cells, self.base);
        words::join(cells, self.base);
        words::unmask(&mut cells[self.base..]);
        self.normalised.stretches.push(Stretch {
            part: self.part,
            cells: self.base..cells.len(),
        });
    }

    /// Reads on from `start` until the budget is spent; answers where it stopped.
    fn read(&mut self, text: &str, start: usize, budget: &mut usize) -> usize {
        self.normalised
            .cells
            .reserve((text.len() - start).min(*budget) + 2);
        for (at, c) in text[start..].char_indices() {
            let (start, end) = (start + at, start + at + c.len_utf8());
            let reading = read_char(c);
            if !self.is_free(reading) {
                if *budget == 0 {
                    return start;
                }
                *budget -= 1;
            }
            self.push(reading, c, start, end);
        }
        text.len()
    }

    /// Whether a character pushes nothing further from sight.
    fn is_free(&self, reading: Reading) -> bool {
        match reading {
            Reading::Mark | Reading::Dropped => true,
            Reading::Char(' ') => self.last().is_space(),
            _ => false,
        }
    }

    fn last(&self) -> Cell {
        *self
            .normalised
            .cells
            .last()
            .expect("an open stretch has an edge")
    }

    fn push(&mut self, reading: Reading, c: char, start: usize, end: usize) {
        match reading {
            Reading::Dropped => {}
            Reading::Mark => {
                // The mark belongs to the letter: evidence shows both or none.
                if let Some(last) = self.normalised.cells.last_mut()
                    && !last.is_space()
                    && last.end == start
                {
                    last.end = end;
                }
            }
            Reading::Char(' ') => self.push_space(start, end),
            Reading::Char(c) => self.push_char(c, start, end),
            Reading::Kept => self.push_char(c, start, end),
            Reading::Text(text) => {
                for c in text.chars() {
                    self.push_char(c, start, end);
                }
            }
        }
    }

    fn push_space(&mut self, start: usize, end: usize) {
        let cells = &mut self.normalised.cells;
        match cells.last_mut() {
            Some(last) if last.is_space() => {
                last.end = end;
                last.width += 1;
            }
            _ => cells.push(Cell {
                c: ' ',
                start,
                end,
                width: 1,
            }),
        }
    }

    fn push_char(&mut self, c: char, start: usize, end: usize) {
        let cells = &mut self.normalised.cells;
        let n_same = cells[self.base..]
            .iter()
            .rev()
            .take(LONGEST_RUN)
            .take_while(|cell| cell.c == c)
            .count();
        if n_same == LONGEST_RUN && !c.is_ascii_digit() {
            cells.last_mut().expect("it was just counted").end = end;
            return;
        }
        cells.push(Cell {
            c,
            start,
            end,
            width: 1,
        });
    }

    /// The head ended within `part` at `stop`: reads the end of the item, going
    /// on without a gap where the two meet.
    fn read_tail(&mut self, texts: &[&str], part: usize, stop: usize) {
        let mut budget = TAIL;
        let (mut first, mut start) = (part, stop);
        for at in (part..texts.len()).rev() {
            let floor = if at == part { stop } else { 0 };
            (first, start) = (at, floor + reach_back(&texts[at][floor..], &mut budget));
            if start > floor {
                break;
            }
        }
        if (first, start) != (part, stop) {
            self.close(stop);
            self.open(first, start);
        }
        for at in first..texts.len() {
            if at > first {
                self.open(at, 0);
                start = 0;
            }
            let stop = self.read(texts[at], start, &mut usize::MAX.clone());
            self.close(stop);
        }
    }
}

fn read_char(c: char) -> Reading {
    match c {
        'a'..='z' | '!'..='@' | '['..='`' | '{'..='~' => Reading::Kept,
        'A'..='Z' => Reading::Char(c.to_ascii_lowercase()),
        c if c.is_whitespace() => Reading::Char(' '),
        c => reading(c),
    }
}

/// Where the stretch begins that `budget` pays for when `text` is read from its end.
fn reach_back(text: &str, budget: &mut usize) -> usize {
    let mut after_space = false;
    for (at, c) in text.char_indices().rev() {
        let reading = read_char(c);
        let is_unseen = matches!(reading, Reading::Mark | Reading::Dropped);
        let is_space = reading == Reading::Char(' ');
        if is_unseen || is_space && after_space {
            continue;
        }
        after_space = is_space;
        if *budget == 0 {
            return at + c.len_utf8();
        }
        *budget -= 1;
    }
    0
}
