//! What each character is read as: the reader of `unicode.bin`.
//!
//! The recipe (`guest-models/recipes/src/unicode.rs`) writes the table and says
//! what stands in it; here it is only looked up. Two steps and no search, since
//! every character of every text comes by.

/// Characters from here on are not in the table.
// Above lie ideographs, tags and variation selectors, which need no table.
pub const ABOVE: u32 = 0x2_0000;

/// Characters of one block.
pub const BLOCK: usize = 64;

/// Longest text that one character is read as, in characters.
pub const LONGEST: usize = 4;

/// Code: the character is read as itself.
pub const KEPT: u16 = 0;

/// Code: the character changes the look of the one before it and is dropped.
pub const MARK: u16 = 0x80;

/// Code: nobody sees the character; it is dropped.
pub const DROPPED: u16 = 0x81;

/// The first code that names a text; codes below `0x80` are ASCII characters.
pub const FIRST_TEXT: u16 = 0x82;

/// The table.
pub static BYTES: &[u8] = include_bytes!("unicode.bin");

/// What a character is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// As itself.
    Kept,
    /// As nothing, being a mark on the character before it.
    Mark,
    /// As nothing, being unseen.
    Dropped,
    /// As another character, lower-case.
    Char(char),
    /// As up to [`LONGEST`] characters, lower-case.
    Text(&'static str),
}

const INDEX: usize = 4;
const BLOCKS: usize = INDEX + 2 * (ABOVE as usize / BLOCK);

/// What `c` is read as. Letters of ASCII are lower-cased.
pub fn reading(c: char) -> Reading {
    let code = u32::from(c);
    if code >= ABOVE {
        return match code {
            // Tags and the variation selectors' supplement: never drawn.
            0xe_0000..=0xe_0fff => Reading::Dropped,
            _ => Reading::Kept,
        };
    }
    let block = usize::from(number(INDEX + 2 * (code as usize / BLOCK)));
    match number(BLOCKS + 2 * (block * BLOCK + code as usize % BLOCK)) {
        KEPT => Reading::Kept,
        MARK => Reading::Mark,
        DROPPED => Reading::Dropped,
        text @ FIRST_TEXT.. => self::text(text - FIRST_TEXT),
        ascii => Reading::Char(char::from(ascii as u8)),
    }
}

fn text(at: u16) -> Reading {
    let (n_blocks, n_texts) = (usize::from(number(0)), usize::from(number(2)));
    let ends = BLOCKS + 2 * n_blocks * BLOCK;
    let end = |at: usize| usize::from(number(ends + 2 * at));
    let at = usize::from(at);
    let start = if at == 0 { 0 } else { end(at - 1) };
    let texts = &BYTES[ends + 2 * n_texts..];
    let text = str::from_utf8(&texts[start..end(at)]).expect("the recipe writes UTF-8");
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(only), None) => Reading::Char(only),
        _ => Reading::Text(text),
    }
}

fn number(at: usize) -> u16 {
    u16::from_le_bytes([BYTES[at], BYTES[at + 1]])
}
