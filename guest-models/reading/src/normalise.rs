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

/// Stands for any letter that is not Latin, once features are made.
pub const UNKNOWN: char = '\u{fffd}';

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
        // More than is left, for spaces at the seams count differently from behind.
        let mut budget = 2 * TAIL;
        for (at, text) in texts.iter().enumerate().skip(first) {
            if at > first {
                self.open(at, 0);
                start = 0;
            }
            let stop = self.read(text, start, &mut budget);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What the texts are read as, stretch by stretch, without the outer spaces.
    fn read(texts: &[&str]) -> Vec<String> {
        Normalised::of(texts)
            .stretches()
            .map(|(_, cells)| {
                cells[1..cells.len() - 1]
                    .iter()
                    .map(|cell| cell.c)
                    .collect()
            })
            .collect()
    }

    fn check(disguised: &str, plain: &str) {
        assert_eq!(read(&[disguised]), [plain], "{disguised}");
    }

    #[test]
    fn every_disguise_is_read_as_what_is_meant() {
        for (disguised, plain) in [
            ("Fгее МОNЕY", "free money"),
            ("𝓯𝓻𝓮𝓮 ⓕⓡⓔⓔ 🅵🆁🅴🅴 ｆｒｅｅ ḟřèé", "free free free free free"),
            ("f\u{200b}r\u{ad}e\u{2060}e", "free"),
            ("f\u{301}r\u{336}ee\u{fe0f}", "free"),
            ("Fr33 m0n3y, w1n ca$h", "free money, win cash"),
            ("V1$i+ my c#4nn3|", "visit my channei"),
            ("(0m3 +0 7h3 p4r+y 70d@y!", "come to the party today!"),
            ("f r e e   m o n e y", "free money"),
            ("f.r.e.e m-o-n-e-y", "free money"),
            ("hxxps://evil[.]com/a", "https://evil.com/a"),
            (
                "evil (dot) com, evil dot com, evil . com",
                "evil.com, evil.com, evil.com",
            ),
            ("freeeeeeee!!!!!!", "freee!!!"),
            ("free\t\n \u{a0}money", "free money"),
        ] {
            check(disguised, plain);
        }
    }

    #[test]
    fn what_only_resembles_a_disguise_is_left_alone() {
        for plain in [
            "50p for the 2nd, call 0800 123",
            "i a m in the u.s.a. now",
            "us$500 to me@example.com",
            "see you. come home",
            "(come home) or not :( #lunch",
            "#1 of 20 (2 days), 3 + 4",
            "日本語 жж",
        ] {
            check(plain, plain);
        }
    }

    #[test]
    fn blank_texts_have_no_stretch() {
        assert!(read(&[]).is_empty());
        assert!(read(&["", " \n\t ", "\u{200b}\u{301}"]).is_empty());
    }

    #[test]
    fn every_part_is_a_stretch() {
        assert_eq!(read(&["one", "", "two"]), ["one", "two"]);
    }

    #[test]
    fn of_a_long_text_only_head_and_tail_are_read() {
        let text = format!(
            "{}{}{}",
            "ab".repeat(500),
            "m".repeat(9_000),
            "yz".repeat(250)
        );
        assert_eq!(read(&[&text]), ["ab".repeat(500), "yz".repeat(250)]);
    }

    #[test]
    fn a_text_as_long_as_the_bound_is_read_whole() {
        let text = "xy".repeat((HEAD + TAIL) / 2);
        assert_eq!(read(&[&text]), [text.as_str()]);
    }

    #[test]
    fn the_bound_holds_for_the_item_and_not_for_each_part() {
        let part = "xy".repeat(400);
        let lengths: Vec<usize> = read(&[&part, &part, &part])
            .iter()
            .map(String::len)
            .collect();
        assert_eq!(lengths, [800, 200, 500]);
    }

    #[test]
    fn padding_pushes_nothing_out_of_sight() {
        for padding in [" \n", "\u{200b}", "\u{301}"] {
            let text = format!("{0}free prize{0}", padding.repeat(5_000));
            check(&text, "free prize");
        }
    }

    #[test]
    fn megabytes_of_what_nobody_sees_take_no_memory() {
        let text = format!("{}{}end", "ab".repeat(600), "\u{200b}".repeat(1_000_000));
        let normalised = Normalised::of(&[&text]);
        assert!(normalised.cells.capacity() < 10_000);
        assert!(read(&[&text])[0].ends_with("end"));
    }

    /// Texts of what the passes look for, so that they meet at every edge.
    fn strange_text(seed: u64) -> String {
        const PIECES: [&str; 35] = [
            "a",
            "B",
            "1",
            "3",
            " ",
            "  ",
            "\n",
            ".",
            "-",
            "_",
            "[",
            "]",
            "(",
            ")",
            "#",
            "٣",
            "dot",
            "[.]",
            "hxxp",
            "://",
            "com",
            "@",
            "$",
            "\u{301}",
            "\u{200b}",
            "é",
            "İ",
            "ﬁ",
            "𝓯",
            "🅰",
            "日",
            "!",
            "ß",
            "€",
            "\u{e0061}",
        ];
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 33) as usize
        };
        let n_pieces = next() % if seed.is_multiple_of(50) { 3_000 } else { 40 };
        (0..n_pieces)
            .map(|_| PIECES[next() % PIECES.len()])
            .collect()
    }

    #[test]
    fn cells_lie_in_order_on_character_boundaries_of_any_text() {
        for seed in 0..3_000 {
            let text = strange_text(seed);
            let parts = [text.as_str(), &strange_text(seed + 1)];
            let normalised = Normalised::of(&parts);
            for (part, cells) in normalised.stretches() {
                let mut start = 0;
                for cell in cells {
                    assert!(parts[part].is_char_boundary(cell.start), "{text:?}");
                    assert!(parts[part].is_char_boundary(cell.end), "{text:?}");
                    assert!(start <= cell.start && cell.start <= cell.end, "{text:?}");
                    start = cell.start;
                }
                assert!(cells[0].is_space() && cells[cells.len() - 1].is_space());
            }
        }
    }
}
