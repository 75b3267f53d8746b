//! Characters between letters: some that nobody sees, some that everybody
//! reads past.

use crate::{Random, by_word};

/// Shown as nothing within a word.
const INVISIBLE: [char; 12] = [
    '\u{200b}',  // zero width space
    '\u{200c}',  // zero width non-joiner
    '\u{200d}',  // zero width joiner
    '\u{2060}',  // word joiner
    '\u{feff}',  // zero width no-break space
    '\u{00ad}',  // soft hyphen
    '\u{034f}',  // combining grapheme joiner
    '\u{180e}',  // mongolian vowel separator
    '\u{2063}',  // invisible separator
    '\u{fe00}',  // variation selector 1
    '\u{fe0f}',  // variation selector 16
    '\u{e0100}', // variation selector 17
];

/// Invisible characters inside words, in a fifth to all of the gaps between
/// letters. A text uses one to three kinds.
pub(crate) fn zero_width(text: &str, random: &mut Random) -> String {
    let share = random.between(20, 100);
    let kinds: Vec<char> = (0..random.between(1, 3))
        .map(|_| *random.pick(&INVISIBLE))
        .collect();
    by_word(text, |word| {
        between_letters(word, |changed| {
            if random.chance(share) {
                changed.push(*random.pick(&kinds));
            }
        })
    })
}

/// What evaders put between letters, the usual ones more often.
const SEPARATORS: [&str; 8] = [" ", " ", " ", ".", ".", "-", "_", "*"];

/// A separator between all letters of most words. Words that are spaced apart by
/// blanks stand two or three blanks from the next in three texts of four, as
/// evaders keep them readable; in the fourth nothing tells where a word ends.
pub(crate) fn letter_spacing(text: &str, random: &mut Random) -> String {
    let separator = *random.pick(&SEPARATORS);
    let share = random.between(70, 100);
    let gap = match random.below(4) {
        _ if separator != " " => "",
        0 => "",
        1 => "  ",
        _ => " ",
    };
    by_word(text, |word| {
        if !random.chance(share) {
            return word.to_owned();
        }
        let mut spaced = between_letters(word, |changed| changed.push_str(separator));
        if spaced.len() > word.len() {
            spaced.push_str(gap);
        }
        spaced
    })
}

/// Calls `insert` wherever two letters or digits meet.
fn between_letters(word: &str, mut insert: impl FnMut(&mut String)) -> String {
    let mut changed = String::with_capacity(word.len() * 2);
    let mut after_letter = false;
    for letter in word.chars() {
        // Marks are no letters here, so none is torn from its letter.
        let is_letter = letter.is_alphanumeric();
        if after_letter && is_letter {
            insert(&mut changed);
        }
        changed.push(letter);
        after_letter = is_letter;
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_the_separators_the_text_is_as_it_was() {
        let text = "Win a FREE prize, cafe\u{301}s too: call 0900 123";
        for seed in 0..200 {
            let changed = zero_width(text, &mut Random::new(seed));
            assert_eq!(changed.replace(INVISIBLE, ""), text);
            let changed = letter_spacing(text, &mut Random::new(seed));
            let bare = |text: &str| text.replace([' ', '.', '-', '_', '*'], "");
            assert_eq!(bare(&changed), bare(text));
        }
    }
}
