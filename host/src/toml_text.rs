//! What is looked at before the TOML parser sees a file from outside: its lines
//! and the length of its keys. No I/O; used by `policy` and `registry`.

/// Most parts that one dotted key may have.
///
/// The TOML parser bounds how deep values nest and how many parts a key has at
/// 80 each, but not their product: 6 KiB of long keys in nested tables make a
/// tree whose drop overflowed a 1 MiB stack in a debug build (toml 1.2.1).
pub(crate) const MAX_KEY_PARTS: usize = 16;

/// Where the lines of a file begin, in bytes.
pub(crate) struct Lines(Vec<usize>);

impl Lines {
    pub(crate) fn new(text: &str) -> Self {
        Self(text.match_indices('\n').map(|(at, _)| at + 1).collect())
    }

    /// The line that byte `at` stands on, counted from 1.
    pub(crate) fn line(&self, at: usize) -> usize {
        self.0.partition_point(|begin| *begin <= at) + 1
    }
}

/// Where a key has too many parts.
pub(crate) fn long_key(text: &str) -> Option<usize> {
    let mut rest = text.as_bytes();
    let mut n_parts = 1;
    while let [byte, ..] = rest {
        match byte {
            b'.' => n_parts += 1,
            b'=' | b',' | b'[' | b']' | b'{' | b'}' | b'\n' => n_parts = 1,
            _ => {}
        }
        if n_parts > MAX_KEY_PARTS {
            return Some(text.len() - rest.len());
        }
        let n_read = match byte {
            b'#' => rest
                .iter()
                .position(|byte| matches!(byte, b'\r' | b'\n'))
                .unwrap_or(rest.len()),
            b'"' | b'\'' => string(rest, *byte),
            _ => 1,
        };
        rest = &rest[n_read..];
    }
    None
}

/// How many bytes the string at the start of `rest` has, quotes included.
///
/// It ends where the TOML lexer ends it, also when it is never closed: a short
/// string with its line, a long one with the file.
fn string(rest: &[u8], quote: u8) -> usize {
    let long = rest.starts_with(&[quote; 3]);
    let n_quotes = if long { 3 } else { 1 };
    let mut at = n_quotes;
    while let Some(byte) = rest.get(at) {
        match byte {
            b'\n' if !long => return at,
            b'\\' if quote == b'"' => {
                at += 1 + usize::from(matches!(rest.get(at + 1), Some(b'"' | b'\\')));
            }
            _ if rest[at..].starts_with(&[quote; 3][..n_quotes]) => {
                // A long string may end with two quotes of its own.
                let n_more = if long { 2 } else { 0 };
                let own = rest[at + n_quotes..].iter().take(n_more);
                return at + n_quotes + own.take_while(|byte| **byte == quote).count();
            }
            _ => at += 1,
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_from_one() {
        let lines = Lines::new("a\nbc\r\n\nd");
        for (at, line) in [(0, 1), (1, 1), (2, 2), (5, 2), (6, 3), (7, 4), (99, 4)] {
            assert_eq!(lines.line(at), line, "byte {at}");
        }
    }

    #[test]
    fn dots_in_strings_comments_and_numbers_make_no_long_key() {
        let dots = ".".repeat(40);
        for text in [
            format!("{} = 1", ["a"; MAX_KEY_PARTS].join(".")),
            format!("# {dots}\na = 1"),
            format!(r#"a = "\"{dots}\\" # {dots}"#),
            format!(r"a = '{dots}\' # '"),
            format!("a = \"\"\"\n\"{dots}\\\"\"\"\"\" # {dots}"),
            format!("a = '''{dots}\n{dots}'''''\nb = 1"),
            "a = [1.5, 2.5]\n".repeat(40),
        ] {
            assert_eq!(long_key(&text), None, "{text}");
        }
    }

    #[test]
    fn a_long_key_is_found_behind_strings_closed_or_not() {
        let long = ["a"; MAX_KEY_PARTS + 1].join(".");
        let before = [
            "",
            "[",
            "a = { ",
            "# \"\n",
            "a = \"é\\\\\"\n",
            "a = '''x'''''\n",
            "a = \"\\\n",
        ];
        for text in before.map(|before| format!("{before}{long} = 1")) {
            assert!(long_key(&text).is_some(), "{text}");
        }
    }

    #[test]
    pub(crate) fn long_keys_in_nested_tables_are_refused_before_they_fill_the_stack() {
        let table = "a.".repeat(79) + "a = {";
        let text = table.repeat(79) + "a = 1" + &"}".repeat(79);
        assert_eq!(long_key(&text), Some(31));
    }
}
