//! Makes the table of characters that look like others, for `trommel-reading` to carry.
//!
//! Unicode's data in, bytes out: what every character below
//! [`ABOVE`] is read as. It knows the table's layout, which
//! `guest-models/reading/src/table.rs` reads, and nothing of texts.
//!
//! Three sources, in this order: compatibility decomposition (Unicode Standard
//! Annex 15), the confusables of Unicode Technical Standard 39, and for what
//! neither knows the character's name: `LATIN SMALL LETTER B WITH TOPBAR` is
//! read as `b`.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result, ensure};
use trommel_reading::table::{ABOVE, BLOCK, DROPPED, FIRST_TEXT, KEPT, LONGEST, MARK};
use unicode_normalization::UnicodeNormalization as _;
use unicode_properties::{GeneralCategory as Category, UnicodeGeneralCategory as _};
use unicode_security::confusable_detection::skeleton;

/// Writes the table beside its reader, below the plugin's folder `out`.
pub(crate) fn write(out: &Path) -> Result<()> {
    let path = out.join("src/unicode.bin");
    fs::write(&path, table()?).with_context(|| format!("cannot write {}", path.display()))
}

/// The table's bytes: the number of blocks, each block's place, the blocks, the
/// texts' ends, the texts. All numbers are u16, little-endian.
pub(crate) fn table() -> Result<Vec<u8>> {
    let mut texts: BTreeMap<String, u16> = BTreeMap::new();
    let readings: Vec<Reading> = (0..ABOVE).map(reading_of).collect();
    for reading in &readings {
        if let Reading::Text(text) = reading
            && !is_short(text)
        {
            texts.insert(text.clone(), 0);
        }
    }
    for (at, place) in texts.values_mut().enumerate() {
        *place = FIRST_TEXT + u16::try_from(at)?;
    }
    let codes: Vec<u16> = readings
        .iter()
        .map(|reading| match reading {
            Reading::Kept => KEPT,
            Reading::Mark => MARK,
            Reading::Dropped => DROPPED,
            Reading::Text(text) if is_short(text) => u16::from(text.as_bytes()[0]),
            Reading::Text(text) => texts[text],
        })
        .collect();

    let mut places: BTreeMap<&[u16], u16> = BTreeMap::new();
    let (mut index, mut blocks): (Vec<u16>, Vec<u16>) = (Vec::new(), Vec::new());
    for block in codes.chunks(BLOCK) {
        let next = u16::try_from(blocks.len() / BLOCK)?;
        let place = *places.entry(block).or_insert(next);
        if place == next {
            blocks.extend_from_slice(block);
        }
        index.push(place);
    }
    let mut ends = Vec::new();
    let mut joined = String::new();
    for text in texts.keys() {
        joined += text;
        ends.push(u16::try_from(joined.len())?);
    }
    let head = [
        u16::try_from(blocks.len() / BLOCK)?,
        u16::try_from(ends.len())?,
    ];
    let numbers = head.iter().chain(&index).chain(&blocks).chain(&ends);
    let mut bytes: Vec<u8> = numbers.flat_map(|number| number.to_le_bytes()).collect();
    bytes.extend(joined.bytes());
    ensure!(
        bytes.len() < 200 << 10,
        "the table has grown to {} bytes",
        bytes.len()
    );
    Ok(bytes)
}

#[derive(Debug, PartialEq)]
enum Reading {
    /// As itself.
    Kept,
    /// As nothing: it changes the look of the character before it.
    Mark,
    /// As nothing: nobody sees it.
    Dropped,
    Text(String),
}

/// One ASCII character, which is its own code.
fn is_short(text: &str) -> bool {
    text.len() == 1
}

fn reading_of(code: u32) -> Reading {
    let Some(c) = char::from_u32(code) else {
        return Reading::Kept;
    };
    if c.is_whitespace() {
        return Reading::Kept;
    }
    if is_unseen(c) {
        return Reading::Dropped;
    }
    if matches!(
        c.general_category(),
        Category::NonspacingMark | Category::EnclosingMark
    ) {
        return Reading::Mark;
    }
    // Hangul syllables are many, decompose by rule, and look like nothing else.
    if ('\u{ac00}'..='\u{d7a3}').contains(&c) {
        return Reading::Kept;
    }
    let text = text_of(c);
    if text.is_empty() || text.chars().count() > LONGEST || text == c.to_string() {
        return Reading::Kept;
    }
    Reading::Text(text)
}

/// Control and format characters, and those that a font need not draw.
fn is_unseen(c: char) -> bool {
    // Default_Ignorable_Code_Point, as far as it is no control or format character.
    let is_ignorable = matches!(c,
        '\u{34f}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{2065}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}');
    is_ignorable || matches!(c.general_category(), Category::Control | Category::Format)
}

fn text_of(c: char) -> String {
    if c == '\u{2800}' {
        // A braille cell without dots.
        return " ".into();
    }
    if c.general_category() == Category::DashPunctuation {
        return "-".into();
    }
    if let Some(inside) = enclosed(c) {
        return inside.to_ascii_lowercase().to_string();
    }
    let decomposed = bare(&c.to_string());
    if c.is_ascii() || decomposed.starts_with(' ') {
        // A spacing accent, whose decomposition is a space and a mark.
        return look_alike(c);
    }
    decomposed.chars().map(look_alike).collect()
}

/// Compatibility decomposition without marks and without what nobody sees.
fn bare(text: &str) -> String {
    let is_mark = |c: char| {
        matches!(
            c.general_category(),
            Category::NonspacingMark | Category::EnclosingMark
        )
    };
    text.nfkd()
        .filter(|&c| !is_mark(c) && !is_unseen(c))
        .collect()
}

/// The one letter or digit that a symbol draws in a circle, a square or brackets.
fn enclosed(c: char) -> Option<char> {
    let name = unicode_names2::name(c)?.to_string();
    let is_symbol = matches!(
        c.general_category(),
        Category::OtherSymbol | Category::OtherNumber
    );
    if !is_symbol {
        return None;
    }
    if let Some((_, digit)) = name.rsplit_once("DIGIT ") {
        let digit = digit
            .trim_end_matches(" FULL STOP")
            .trim_end_matches(" COMMA");
        const DIGITS: [&str; 10] = [
            "ZERO", "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE",
        ];
        let at = DIGITS.iter().position(|name| *name == digit)?;
        return char::from_digit(u32::try_from(at).ok()?, 10);
    }
    letter_of(&name)
}

/// The letter of the Latin alphabet that a name ends in.
fn letter_of(name: &str) -> Option<char> {
    let (_, letter) = name.rsplit_once("LETTER ")?;
    let mut letters = letter.chars();
    let first = letters.next().filter(char::is_ascii_uppercase)?;
    letters.next().is_none().then_some(first)
}

/// What one character is read as, lower-cased.
fn look_alike(c: char) -> String {
    if c.is_ascii() {
        return c.to_ascii_lowercase().to_string();
    }
    match c.general_category() {
        // Money is a word of its own in spam: `£` shall not become `l`.
        Category::CurrencySymbol => return c.to_string(),
        Category::DecimalNumber => {
            if let Some(digit) = digit_of(c) {
                return digit.to_string();
            }
        }
        _ => {}
    }
    if let Some(letter) = latin_letter(c) {
        return letter.to_string();
    }
    if c.is_uppercase()
        && let Some(seen) = prototype(c)
    {
        // Drawn like `I` and `l`, but upper-case.
        return if seen == "l" { "i".into() } else { seen };
    }
    let lower: String = c.to_lowercase().collect();
    let seen = |c: char| {
        latin_letter(c)
            .map(String::from)
            .or_else(|| prototype(c))
            .unwrap_or_else(|| c.to_string())
    };
    bare(&lower).chars().map(seen).collect()
}

/// Digits of all scripts stand in runs of ten, from 0 to 9.
fn digit_of(c: char) -> Option<char> {
    let name = unicode_names2::name(c)?.to_string();
    let last = name.rsplit(' ').next()?;
    let digits = [
        "ZERO", "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE",
    ];
    let at = digits.iter().position(|digit| *digit == last)?;
    char::from_digit(u32::try_from(at).ok()?, 10)
}

/// `LATIN … LETTER X`, with or without what is added to it.
fn latin_letter(c: char) -> Option<char> {
    let name = unicode_names2::name(c)?.to_string();
    if !name.contains("LATIN") || name.contains("LIGATURE") {
        return None;
    }
    let plain = name.split(" WITH ").next()?;
    // `TURNED V` does not look like `v`; the confusables know better.
    let is_turned = ["TURNED", "REVERSED", "INVERTED", "SIDEWAYS", "UPSIDE"]
        .iter()
        .any(|word| plain.contains(word));
    if is_turned {
        return prototype(c)
            .filter(|seen| seen.len() == 1)
            .and_then(|seen| seen.chars().next())
            .or_else(|| last_letter(plain));
    }
    match plain.rsplit_once("LETTER ").map(|(_, letter)| letter) {
        Some("SCHWA" | "OPEN E") => Some('e'),
        Some("ETH") => Some('d'),
        Some("ALPHA") => Some('a'),
        Some("IOTA") => Some('i'),
        Some("OPEN O") => Some('o'),
        Some("UPSILON") => Some('u'),
        Some("ESH") => Some('s'),
        Some("EZH") => Some('z'),
        Some("LEZH") => Some('l'),
        Some("ENG") => Some('n'),
        Some("HENG") => Some('h'),
        // `U BAR`: a letter and what is added to it.
        Some(name) if name.ends_with(" BAR") && name.len() == 5 => name
            .chars()
            .next()
            .filter(char::is_ascii_uppercase)
            .map(|letter| letter.to_ascii_lowercase()),
        _ => last_letter(plain),
    }
}

/// The last word of a name, when it is one letter.
fn last_letter(name: &str) -> Option<char> {
    let mut last = name.rsplit(' ').next()?.chars();
    let letter = last.next().filter(char::is_ascii_uppercase)?;
    last.next().is_none().then_some(letter.to_ascii_lowercase())
}

/// What the confusables of Unicode say, where that is ASCII.
fn prototype(c: char) -> Option<String> {
    let mut seen = bare(&skeleton(&c.to_string()).collect::<String>());
    let mut one = seen.chars();
    if let (Some(only), None) = (one.next(), one.next())
        && !only.is_ascii()
    {
        // Small capitals stand between Cyrillic and Latin letters.
        seen = latin_letter_without_prototype(only)?.to_string();
    }
    match seen.as_str() {
        // The prototypes of `m` and `w` themselves.
        "rn" => Some("m".into()),
        "vv" => Some("w".into()),
        seen if seen.is_ascii() && !seen.trim().is_empty() => Some(seen.to_ascii_lowercase()),
        _ => None,
    }
}

fn latin_letter_without_prototype(c: char) -> Option<char> {
    let name = unicode_names2::name(c)?.to_string();
    let plain = name.split(" WITH ").next()?;
    (name.contains("LATIN") && !name.contains("TURNED"))
        .then(|| last_letter(plain))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(c: char, expected: &str) {
        assert_eq!(reading_of(c.into()), Reading::Text(expected.into()), "{c}");
    }

    #[test]
    fn letters_that_look_like_latin_ones_are_read_as_those() {
        for (c, expected) in [
            ('а', "a"),
            ('В', "b"),
            ('н', "h"),
            ('Н', "h"),
            ('М', "m"),
            ('т', "t"),
            ('І', "i"),
            ('Η', "h"),
            ('η', "n"),
            ('ν', "v"),
            ('ρ', "p"),
            ('ｆ', "f"),
            ('𝐟', "f"),
            ('𝓡', "r"),
            ('é', "e"),
            ('ø', "o"),
            ('ƀ', "b"),
            ('ɓ', "b"),
            ('ʀ', "r"),
            ('ⅿ', "m"),
            ('ı', "i"),
            ('🅰', "a"),
            ('🇦', "a"),
            ('Ⓐ', "a"),
            ('⒜', "a"),
            ('❶', "1"),
            ('٣', "3"),
            ('ﬁ', "fi"),
            ('’', "'"),
            ('—', "-"),
            ('…', "..."),
            ('İ', "i"),
            ('Ω', "ω"),
        ] {
            check(c, expected);
        }
    }

    #[test]
    fn what_nobody_sees_is_dropped_and_marks_are_marks() {
        for c in [
            '\u{200b}', '\u{ad}', '\u{feff}', '\u{2060}', '\u{fe0f}', '\u{202e}',
        ] {
            assert_eq!(reading_of(c.into()), Reading::Dropped, "{c:?}");
        }
        assert_eq!(reading_of(0x301), Reading::Mark);
        assert_eq!(reading_of(0x336), Reading::Mark);
    }

    #[test]
    fn other_scripts_and_money_stay_as_they_are() {
        for c in ['語', '한', 'ж', '£', '€', '!', 'a'] {
            assert_eq!(reading_of(c.into()), Reading::Kept, "{c}");
        }
    }

    #[test]
    fn the_committed_table_is_the_one_made_here() {
        assert!(
            table().unwrap() == trommel_reading::table::BYTES,
            "run `cargo xtask tables`: Unicode's data or this file has changed"
        );
    }
}
