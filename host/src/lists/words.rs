//! The words of a text, alike for spellings that readers take for the same.
//!
//! Compatible forms are joined (Unicode's NFKC), so that full-width and mathematical
//! letters are the letters that they look like; case is folded; invisible characters and
//! accents that stand apart are left out. Look-alikes of other scripts are not: that is a
//! detector's matter, which weighs what it finds.

use std::ops::ControlFlow;

use unicode_normalization::UnicodeNormalization as _;

/// Bytes of the longest word that is kept; no entry has a longer one.
pub(super) const MAX_WORD_BYTES: usize = 1024;

/// Letters after which it is told that they were read, though no word has ended.
const LETTERS_AT_ONCE: usize = 1024;

/// What is met in a text.
pub(super) enum Met<'a> {
    /// A word, or a host's name.
    Token(&'a str),
    /// So many bytes or letters were read, whether or not a token was among them.
    Read(usize),
}

/// Calls `each` with the words of a text, in order, until it breaks.
pub(super) fn each_word<T>(
    text: &str,
    mut each: impl FnMut(&str) -> ControlFlow<T>,
) -> ControlFlow<T> {
    each_met(text, |met| match met {
        Met::Token(word) => each(word),
        Met::Read(_) => ControlFlow::Continue(()),
    })
}

/// The same, and `each` learns how far the reading has come.
pub(super) fn each_met<T>(
    text: &str,
    mut each: impl FnMut(Met<'_>) -> ControlFlow<T>,
) -> ControlFlow<T> {
    let mut word = String::new();
    let mut n_letters = 0;
    let mut letter = |letter: char| -> ControlFlow<T> {
        n_letters += 1;
        if n_letters == LETTERS_AT_ONCE {
            n_letters = 0;
            each(Met::Read(LETTERS_AT_ONCE))?;
        }
        if is_accent(letter) {
            ControlFlow::Continue(())
        } else if stands_alone(letter) {
            end(&mut word, &mut each)?;
            word.push(letter);
            end(&mut word, &mut each)
        } else if belongs_to_word(letter) {
            // What is longer is in no list, whatever follows.
            if word.len() <= MAX_WORD_BYTES {
                word.push(letter);
            }
            ControlFlow::Continue(())
        } else {
            end(&mut word, &mut each)
        }
    };
    if text.is_ascii() {
        for byte in text.bytes() {
            letter(byte.to_ascii_lowercase().into())?;
        }
    } else {
        let seen = text.chars().filter(|letter| !is_invisible(*letter));
        for folded in seen.nfkc().flat_map(fold) {
            letter(folded)?;
        }
    }
    end(&mut word, &mut each)
}

fn end<T>(word: &mut String, each: &mut impl FnMut(Met<'_>) -> ControlFlow<T>) -> ControlFlow<T> {
    if word.is_empty() {
        return ControlFlow::Continue(());
    }
    let flow = each(Met::Token(word));
    word.clear();
    flow
}

/// Alike for letters that differ in case alone. By way of the upper case, which joins what
/// lower case keeps apart: `ß` and `ss`, `ς` and `σ`.
fn fold(letter: char) -> impl Iterator<Item = char> {
    letter.to_uppercase().flat_map(char::to_lowercase)
}

fn belongs_to_word(letter: char) -> bool {
    // Signs of Indic scripts that are no letters stand between letters of one word; their
    // full stops do not.
    let is_indic = matches!(letter, '\u{900}'..='\u{dff}') && !matches!(letter, '।' | '॥');
    letter.is_alphanumeric() || is_indic
}

/// Characters of scripts that put no space between words: each counts as a word, so that
/// an entry is found wherever its characters stand in a row.
pub(super) fn stands_alone(letter: char) -> bool {
    matches!(letter,
        '\u{e00}'..='\u{eff}'       // Thai, Lao
        | '\u{1000}'..='\u{109f}'   // Myanmar
        | '\u{1780}'..='\u{17ff}'   // Khmer
        | '\u{2e80}'..='\u{2fdf}'   // radicals
        | '\u{3005}'..='\u{3007}'
        | '\u{3040}'..='\u{30fa}'   // Hiragana, Katakana
        | '\u{30fc}'..='\u{30ff}'
        | '\u{31f0}'..='\u{31ff}'
        | '\u{3400}'..='\u{4dbf}'   // Han
        | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}'
        | '\u{20000}'..='\u{3ffff}')
}

/// Characters that nobody sees: soft hyphens, joiners, marks of direction, byte order
/// marks, variation selectors.
pub(super) fn is_invisible(letter: char) -> bool {
    matches!(letter,
        '\u{ad}'
        | '\u{34f}'
        | '\u{61c}'
        | '\u{180e}'
        | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// Accents that are part of no letter.
pub(super) fn is_accent(letter: char) -> bool {
    matches!(letter, '\u{300}'..='\u{36f}')
}
