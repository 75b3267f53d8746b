//! Text of others, fit to be shown: short, on one line, and without sequences
//! that a terminal would obey. Plugins and items choose their words; messages
//! and tables repeat some of them. No I/O.

/// Characters of a foreign name in a message.
pub const NAME_CHARS: usize = 60;

/// The first `n_chars` characters of `text`, control characters and marks that
/// reorder text escaped, with `…` where something was left out.
pub fn printable(text: &str, n_chars: usize) -> String {
    let mut shown = String::new();
    let mut letters = text.chars();
    for letter in letters.by_ref().take(n_chars) {
        if letter.is_control() || reorders(letter) {
            shown.extend(letter.escape_default());
        } else {
            shown.push(letter);
        }
    }
    if letters.next().is_some() {
        shown.push('…');
    }
    shown
}

/// Marks that reorder the text around them (Unicode UAX #9, "Directional
/// Formatting Characters"), and the line and paragraph separators.
fn reorders(letter: char) -> bool {
    matches!(
        letter,
        '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_stays_on_one_short_line() {
        assert_eq!(printable("spam\n\u{1b}[2J", 60), "spam\\n\\u{1b}[2J");
        assert_eq!(printable("a\u{202e}b\u{2028}", 60), "a\\u{202e}b\\u{2028}");
        assert_eq!(printable("don't é", 60), "don't é");
        assert_eq!(printable("xxxx", 3), "xxx…");
        assert_eq!(printable("xxx", 3), "xxx");
    }
}
