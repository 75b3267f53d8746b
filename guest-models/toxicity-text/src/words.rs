//! An item as words: what stands between the characters of `trommel-reading` and
//! everything that makes numbers of them.
//!
//! Every word knows its bytes in the original. Words that name a group of people are
//! all one word ([`terms`]), so that no number made of them can tell one group
//! from another. It knows no vocabulary and no model.
//!
//! [`terms`]: crate::terms

use std::ops::Range;

use trommel_reading::normalise::{Cell, Normalised, UNKNOWN};

use crate::terms;

/// Stands for any group of people that [`terms`](crate::terms) names.
pub const GROUP: &str = "\u{1}";

/// Stands for the name of an account, such as `@someone`.
pub const ACCOUNT: &str = "\u{2}";

/// Stands for a link.
pub const LINK: &str = "\u{3}";

/// One word, or a run of one sign.
///
/// `start..end` are bytes of part `part` of the original, on character boundaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word {
    /// Index of the part.
    pub part: usize,
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
    text: (usize, usize),
}

/// The words of an item, in reading order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Words {
    words: Vec<Word>,
    text: String,
}

impl Words {
    /// Divides an item into words.
    ///
    /// In a word all digits are `0`, `l` is `i` (since `1` was read as `i`), letters that
    /// no Latin reading was found for are one, apostrophes are left out. A number is one
    /// `0`, a run of one sign at most two of it.
    pub fn of(normalised: &Normalised) -> Self {
        let mut words = Self::default();
        for (part, cells) in normalised.stretches() {
            for chunk in cells.split(|cell| cell.is_space()) {
                words.read(part, chunk);
            }
        }
        words
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Each word with what it is read as.
    pub fn iter(&self) -> impl Iterator<Item = (&Word, &str)> {
        let text = |word: &Word| &self.text[word.text.0..word.text.1];
        self.words.iter().map(move |word| (word, text(word)))
    }

    /// The same item without the words `left_out`.
    #[must_use]
    pub fn without(&self, left_out: Range<usize>) -> Self {
        let mut words = self.words.clone();
        words.drain(left_out);
        Self {
            words,
            text: self.text.clone(),
        }
    }

    /// Reads what stands between two spaces.
    fn read(&mut self, part: usize, cells: &[Cell]) {
        let (cells, link) = cells.split_at(link_at(cells));
        let mut at = 0;
        while at < cells.len() {
            at += self.read_word(part, cells, at);
        }
        if let Some((first, last)) = link.first().zip(link.last()) {
            self.push(part, (first.start, last.end), LINK.chars());
        }
    }

    /// Reads one word; answers how many cells it has.
    fn read_word(&mut self, part: usize, cells: &[Cell], at: usize) -> usize {
        let rest = &cells[at..];
        let first = rest[0];
        if first.c == '@' && (at == 0 || !is_letter(cells[at - 1].c)) {
            let name = |cell: &&Cell| is_letter(cell.c) || cell.c == '_';
            let n_name = rest[1..].iter().take_while(name).count();
            if n_name > 0 {
                let place = (first.start, rest[n_name].end);
                self.push(part, place, ACCOUNT.chars());
                return n_name + 1;
            }
        }
        if is_letter(first.c) {
            let n_cells = n_of_word(rest);
            self.push_letters(part, &rest[..n_cells]);
            return n_cells;
        }
        let n_cells = rest.iter().take_while(|cell| cell.c == first.c).count();
        let place = (first.start, rest[n_cells - 1].end);
        self.push(
            part,
            place,
            rest[..n_cells.min(2)].iter().map(|cell| cell.c),
        );
        n_cells
    }

    fn push_letters(&mut self, part: usize, cells: &[Cell]) {
        let place = (cells[0].start, cells[cells.len() - 1].end);
        if cells.iter().all(|cell| cell.c.is_numeric()) {
            return self.push(part, place, ['0'].into_iter());
        }
        let folded = cells
            .iter()
            .filter(|cell| !is_apostrophe(cell.c))
            .map(|cell| fold(cell.c));
        self.push(part, place, folded);
        let last = self.words[self.words.len() - 1];
        let text = &self.text[last.text.0..last.text.1];
        if terms::names_a_group(text) {
            self.make_group();
        } else if text == "an" {
            // What follows shall not show in the article.
            self.text.pop();
            self.words.last_mut().expect("it was just pushed").text.1 -= 1;
        }
    }

    fn push(
        &mut self,
        part: usize,
        (start, end): (usize, usize),
        text: impl Iterator<Item = char>,
    ) {
        let from = self.text.len();
        self.text.extend(text);
        let text = (from, self.text.len());
        self.words.push(Word {
            part,
            start,
            end,
            text,
        });
    }

    /// Makes the last word a group's, and one with a group's before it.
    fn make_group(&mut self) {
        let last = self.words.pop().expect("a word was pushed");
        self.text.truncate(last.text.0);
        match self.words.last_mut() {
            Some(before) if before.part == last.part && &self.text[before.text.0..] == GROUP => {
                before.end = last.end;
            }
            _ => self.push(last.part, (last.start, last.end), GROUP.chars()),
        }
    }
}

/// A letter as words hold it.
fn fold(c: char) -> char {
    match c {
        'l' => 'i',
        c if c.is_numeric() => '0',
        c if !c.is_ascii() => UNKNOWN,
        c => c,
    }
}

fn is_letter(c: char) -> bool {
    c.is_alphanumeric()
}

fn is_apostrophe(c: char) -> bool {
    matches!(c, '\'' | '`' | '’')
}

/// How many cells the word has that begins here; an apostrophe between letters is within.
fn n_of_word(cells: &[Cell]) -> usize {
    let mut n_cells = 1;
    while let Some(cell) = cells.get(n_cells) {
        let inside =
            is_apostrophe(cell.c) && cells.get(n_cells + 1).is_some_and(|c| is_letter(c.c));
        if !is_letter(cell.c) && !inside {
            break;
        }
        n_cells += 1;
    }
    n_cells
}

/// Where a link begins; after the last cell when there is none.
fn link_at(cells: &[Cell]) -> usize {
    let begins = |at: usize, what: &str| {
        let rest = cells[at..].iter().map(|cell| cell.c);
        rest.take(what.len()).eq(what.chars())
    };
    let is_link = |&at: &usize| {
        let within = at > 0 && is_letter(cells[at - 1].c);
        !within
            && ["http://", "https://", "www."]
                .iter()
                .any(|what| begins(at, what))
    };
    (0..cells.len()).find(is_link).unwrap_or(cells.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(texts: &[&str]) -> Words {
        Words::of(&Normalised::of(texts))
    }

    fn read(text: &str) -> Vec<String> {
        words(&[text])
            .iter()
            .map(|(_, text)| text.to_owned())
            .collect()
    }

    #[test]
    fn words_signs_numbers_accounts_and_links_are_told_apart() {
        let expected = [
            "hi", ACCOUNT, ":", "dont", "see", "a", "0", "!!", "at", LINK,
        ];
        assert_eq!(
            read("Hi @some_one: don't see an 1998!!! at https://x.com/a?b"),
            expected
        );
    }

    #[test]
    fn an_address_is_no_account() {
        assert_eq!(read("me@home.org"), ["me", "@", "home", ".", "org"]);
    }

    #[test]
    fn all_groups_are_read_alike_and_several_in_a_row_are_one() {
        let first = read("those muslims over there");
        assert_eq!(first, ["those", GROUP, "over", "there"]);
        for other in ["those women over there", "those Black lesbians over there"] {
            assert_eq!(read(other), first, "{other}");
        }
        assert_eq!(read("an Asian man"), read("a black man"));
    }

    #[test]
    fn a_group_in_two_parts_stays_two() {
        let both = words(&["gay", "men"]);
        assert_eq!(both.len(), 2);
    }

    #[test]
    fn a_disguised_word_is_the_plain_one() {
        for disguised in ["k1ll", "K I L L", "k\u{200b}ill", "kіll"] {
            assert_eq!(read(disguised), read("kill"), "{disguised}");
        }
    }

    #[test]
    fn every_word_knows_its_place() {
        let text = "İ don’t, @you — gay lesbians 👍👍";
        let shown: Vec<&str> = words(&[text])
            .iter()
            .map(|(word, _)| &text[word.start..word.end])
            .collect();
        assert_eq!(shown[1], "don’t");
        assert!(
            shown.contains(&"gay lesbians") && shown.contains(&"👍👍"),
            "{shown:?}"
        );
    }

    #[test]
    fn words_left_out_leave_the_others() {
        let all = words(&["one two three four"]);
        let left: Vec<String> = all
            .without(1..3)
            .iter()
            .map(|(_, text)| text.to_owned())
            .collect();
        assert_eq!(left, ["one", "four"].map(|w| w.replace('l', "i")));
    }
}
