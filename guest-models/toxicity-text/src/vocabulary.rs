//! Words to pieces that the encoder has a vector for.
//!
//! Plain search in a sorted list: nothing is built, for every call starts in a fresh
//! sandbox. It knows no model; the recipe makes the list and says how.

use std::ops::Range;

use crate::words::{ACCOUNT, GROUP, LINK, Words};

/// No piece; stands behind the end of a text.
pub const PADDING: u32 = 0;

/// What no piece was found for.
pub const STRANGE: u32 = 1;

/// Pieces with a meaning of their own, the first of which is [`PADDING`].
pub const N_SPECIAL: u32 = 5;

/// Most pieces that are looked at: from the beginning, and from the end.
pub const HEAD: usize = 176;
/// Pieces from the end, see [`HEAD`].
pub const TAIL: usize = 80;

/// What a piece begins with that goes on with a word.
pub const GOES_ON: &str = "##";

/// A list of pieces, sorted by their bytes; piece `n` has the id `N_SPECIAL + n`.
///
/// `starts` are where the lines of `lines` begin, and one more at its end; every line ends
/// with a line feed.
#[derive(Debug, Clone, Copy)]
pub struct Vocabulary<'a> {
    /// The pieces, one to a line.
    pub lines: &'a str,
    /// Where each line begins.
    pub starts: &'a [u32],
}

/// The vocabulary of the model that is shipped.
pub static SHIPPED: Vocabulary<'static> = Vocabulary {
    lines: LINES,
    starts: &STARTS,
};

const LINES: &str = include_str!("vocabulary.txt");
static STARTS: [u32; n_lines(LINES) + 1] = starts(LINES);

/// How many lines there are.
pub const fn n_lines(lines: &str) -> usize {
    let (bytes, mut at, mut n_lines) = (lines.as_bytes(), 0, 0);
    while at < bytes.len() {
        n_lines += (bytes[at] == b'\n') as usize;
        at += 1;
    }
    n_lines
}

/// Where each line begins, and where the last one ends; `N` is [`n_lines`] and 1.
pub const fn starts<const N: usize>(lines: &str) -> [u32; N] {
    let (bytes, mut at, mut n_found) = (lines.as_bytes(), 0, 1);
    let mut starts = [0; N];
    while at < bytes.len() {
        if bytes[at] == b'\n' {
            starts[n_found] = at as u32 + 1;
            n_found += 1;
        }
        at += 1;
    }
    starts
}

impl Vocabulary<'_> {
    /// How many vectors the encoder has.
    pub fn n_pieces(&self) -> usize {
        N_SPECIAL as usize + self.starts.len() - 1
    }

    /// The pieces of an item: of a long one the first [`HEAD`] and the last [`TAIL`].
    pub fn encode(&self, words: &Words) -> Vec<u32> {
        let mut ids = Vec::with_capacity(words.len() * 3 / 2);
        for (_, word) in words.iter() {
            match word {
                GROUP => ids.push(2),
                ACCOUNT => ids.push(3),
                LINK => ids.push(4),
                _ => self.cut(word, &mut ids),
            }
        }
        if ids.len() > HEAD + TAIL {
            ids.drain(HEAD..ids.len() - TAIL);
        }
        ids
    }

    /// Takes the longest piece that fits, again and again.
    fn cut(&self, word: &str, ids: &mut Vec<u32>) {
        let beginnings = 0..self.starts.len() - 1;
        let inner = self.narrow(beginnings.clone(), 0, GOES_ON.as_bytes());
        let (mut rest, mut range, mut skipped) = (word, beginnings, 0);
        while !rest.is_empty() {
            let Some((id, n_bytes)) = self.longest(range.clone(), skipped, rest) else {
                ids.push(STRANGE);
                return;
            };
            ids.push(N_SPECIAL + id);
            rest = &rest[n_bytes..];
            (range, skipped) = (inner.clone(), GOES_ON.len());
        }
    }

    /// The longest piece of `range` that `text` begins with, and its bytes of `text`.
    fn longest(&self, mut range: Range<usize>, skipped: usize, text: &str) -> Option<(u32, usize)> {
        let mut found = None;
        for (at, c) in text.char_indices() {
            let end = at + c.len_utf8();
            range = self.narrow(range, skipped + at, &text.as_bytes()[at..end]);
            if range.is_empty() {
                break;
            }
            // A piece sorts before all that it is the beginning of.
            if self.piece(range.start).len() == skipped + end {
                found = Some((range.start as u32, end));
            }
        }
        found
    }

    /// Those of `range` that go on with `bytes` after `skipped` bytes they share.
    fn narrow(&self, range: Range<usize>, skipped: usize, bytes: &[u8]) -> Range<usize> {
        let here = |at: usize| {
            let piece = &self.piece(at)[skipped..];
            &piece[..piece.len().min(bytes.len())]
        };
        let first = |is_before: &dyn Fn(&[u8]) -> bool| {
            let (mut low, mut high) = (range.start, range.end);
            while low < high {
                let middle = low.midpoint(high);
                if is_before(here(middle)) {
                    low = middle + 1;
                } else {
                    high = middle;
                }
            }
            low
        };
        first(&|piece| piece < bytes)..first(&|piece| piece <= bytes)
    }

    fn piece(&self, at: usize) -> &[u8] {
        &self.lines.as_bytes()[self.starts[at] as usize..self.starts[at + 1] as usize - 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trommel_reading::normalise::Normalised;

    const LINES: &str = "!\n##\n##er\n##s\na\nab\nabc\nb\n";
    static STARTS: [u32; n_lines(LINES) + 1] = starts(LINES);
    const VOCABULARY: Vocabulary<'static> = Vocabulary {
        lines: LINES,
        starts: &STARTS,
    };

    fn pieces(text: &str) -> Vec<String> {
        let words = Words::of(&Normalised::of(&[text]));
        let name = |&id: &u32| match id.checked_sub(N_SPECIAL) {
            Some(at) => String::from_utf8(VOCABULARY.piece(at as usize).to_vec()).unwrap(),
            None => format!("<{id}>"),
        };
        VOCABULARY.encode(&words).iter().map(name).collect()
    }

    #[test]
    fn the_longest_piece_is_taken_first() {
        assert_eq!(
            pieces("abc abs aer abers!"),
            ["abc", "ab", "##s", "a", "##er", "ab", "##er", "##s", "!"]
        );
    }

    #[test]
    fn what_has_no_piece_is_strange() {
        assert_eq!(pieces("b x abx"), ["b", "<1>", "ab", "<1>"]);
        assert_eq!(pieces("# ##"), ["<1>", "##"]);
    }

    #[test]
    fn groups_accounts_and_links_have_pieces_of_their_own() {
        assert_eq!(pieces("women @b http://b"), ["<2>", "<3>", "<4>"]);
    }

    #[test]
    fn of_a_long_text_beginning_and_end_are_kept() {
        let text = format!("{}{}", "ab ".repeat(200), "abc ".repeat(200));
        let words = Words::of(&Normalised::of(&[&text]));
        let ids = VOCABULARY.encode(&words);
        assert_eq!(ids.len(), HEAD + TAIL);
        assert!(
            ids[..HEAD].iter().all(|&id| id == ids[0])
                && ids[HEAD..].iter().all(|&id| id == ids[HEAD])
        );
    }

    #[test]
    fn the_shipped_vocabulary_is_sorted_and_knows_every_letter() {
        let n_pieces = SHIPPED.starts.len() - 1;
        assert!((1..n_pieces).all(|at| SHIPPED.piece(at - 1) < SHIPPED.piece(at)));
        // Words hold `l` as `i`. The letter stands at a beginning and within.
        for letter in ('a'..='z').filter(|&letter| letter != 'l').chain(['0']) {
            for piece in [letter.to_string(), format!("{GOES_ON}{letter}")] {
                assert!(SHIPPED.lines.lines().any(|line| line == piece), "{piece}");
            }
        }
    }
}
