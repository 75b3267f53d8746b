//! One text to its tokens, within bounds on text, tokens and time.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tokenizers::{
    Model as _, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer as _,
    Token as Found,
};

use super::frame::Special;
use super::normalizing::Checked;
use super::{BYTES_PER_TOKEN, MAX_TOKENS, MIN_TOKENS, Tokenizer};
use crate::excerpt::{NAME_CHARS, printable};

/// How often a special word is cut behind its first letter; what is special even then is
/// cut into letters. What is looked up is so many times the word, and not its square.
const MAX_CUTS: usize = 2;

/// The shortest answer that is padded to; longer ones are padded to the next power of two.
const MIN_LENGTH: usize = 16;

/// A text as tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The tokens' ids, those of the frame among them.
    pub ids: Vec<u32>,
    /// What kind of text each token belongs to.
    pub type_ids: Vec<u32>,
    /// Which bytes of the text each token stands for, on its characters' boundaries; both
    /// starts and ends never fall. Of a token of the frame, none.
    pub spans: Vec<(usize, usize)>,
    /// How far the text was read: all of it, or up to where the rest begins.
    pub end: usize,
    /// Whether there is a rest.
    pub is_cut: bool,
    /// What stands where there are no more tokens: id and type.
    pub pad: (u32, u32),
}

/// Why a text has no tokens.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The time was up.
    #[error("the time was up")]
    Late,
    /// The tokenizer cannot encode it.
    #[error("the tokenizer cannot encode this text: {0}")]
    Failed(String),
}

impl Encoded {
    /// The length that the tokens are padded to: 16, or the least power of two that holds
    /// them, so that texts of many lengths are few shapes to the models.
    pub fn padded_length(&self) -> usize {
        self.ids.len().next_power_of_two().max(MIN_LENGTH)
    }
}

impl Tokenizer {
    /// The first tokens of `text`, at most `max_tokens`, which is kept within
    /// [`MIN_TOKENS`] and [`MAX_TOKENS`]. Reads [`BYTES_PER_TOKEN`] of the text for each,
    /// and asks `is_late` between steps and words.
    ///
    /// Tokens that mean something to the model beside words are put around the text, and
    /// never found in it.
    pub fn encode(
        &self,
        text: &str,
        max_tokens: usize,
        is_late: &dyn Fn() -> bool,
    ) -> Result<Encoded, EncodeError> {
        let max_tokens = max_tokens.clamp(MIN_TOKENS, MAX_TOKENS);
        let read = text.floor_char_boundary(max_tokens * BYTES_PER_TOKEN);
        let tokenized = catch_unwind(AssertUnwindSafe(|| {
            self.tokenize(&text[..read], max_tokens - self.frame.len(), is_late)
        }));
        let tokenized =
            tokenized.unwrap_or_else(|_| Err(EncodeError::Failed("it fell over".to_owned())))?;
        Ok(self.framed(&text[..read], text.len(), max_tokens, &tokenized))
    }

    /// The tokens of a text, and perhaps some beyond `most`.
    fn tokenize(
        &self,
        text: &str,
        most: usize,
        is_late: &dyn Fn() -> bool,
    ) -> Result<Vec<Token>, EncodeError> {
        let mut checked = Checked::new(&self.normalizers, text.len(), is_late);
        let mut words = self.added.extract_and_normalize(Some(&checked), text);
        if let Some(why) = checked.failure() {
            return Err(why);
        }
        for step in &self.pre_tokenizers {
            if is_late() {
                return Err(EncodeError::Late);
            }
            step.pre_tokenize(&mut words).map_err(failed)?;
            let (n_pieces, n_bytes) = size(&words);
            checked.fits(n_bytes)?;
            checked.fits_pieces(n_pieces)?;
        }
        let (was_late, n_tokens) = (Cell::new(false), Cell::new(0));
        let late = || {
            was_late.set(was_late.get() || is_late());
            was_late.get()
        };
        let looked_up = words.tokenize(|word| {
            // Nobody asks for more: what follows costs nothing.
            if n_tokens.get() > most {
                return Ok(Vec::new());
            }
            let tokens = self.words(word.get(), 0, &late)?;
            n_tokens.set(n_tokens.get() + tokens.len());
            Ok(tokens)
        });
        if was_late.get() {
            return Err(EncodeError::Late);
        }
        looked_up.map_err(failed)?;
        let encoding = words.into_encoding(None, 0, OffsetType::Byte);
        let encoding = encoding.map_err(failed)?;
        let spans = encoding.get_offsets().iter().copied();
        let tokens = encoding.get_ids().iter().zip(spans);
        Ok(tokens.map(|(&id, span)| Token { id, span }).collect())
    }

    /// The tokens of a word, none of them special: some models have those among their
    /// words, and find them. Such a word is cut, and its parts are looked up. An error when
    /// it is late.
    fn words(
        &self,
        word: &str,
        n_cuts: usize,
        is_late: &dyn Fn() -> bool,
    ) -> tokenizers::Result<Vec<Found>> {
        if is_late() {
            return Err("late".into());
        }
        let found = self.model.tokenize(word)?;
        if !found.iter().any(|token| self.special.contains(&token.id)) {
            return Ok(found);
        }
        let mut plain = Vec::with_capacity(found.len());
        for token in found {
            if !self.special.contains(&token.id) {
                plain.push(token);
                continue;
            }
            let (start, end) = token.offsets;
            let parts = word
                .get(start..end)
                .map_or(Vec::new(), |word| parts(word, n_cuts));
            if parts.len() < 2 {
                // One letter, or none: it stands for what is not known, where there is that.
                let id = self.unknown.unwrap_or(token.id);
                plain.push(Found { id, ..token });
                continue;
            }
            for (at, part) in parts {
                let found = self.words(part, n_cuts + 1, is_late)?;
                plain.extend(found.into_iter().map(|token| Found {
                    offsets: (token.offsets.0 + start + at, token.offsets.1 + start + at),
                    ..token
                }));
            }
        }
        Ok(plain)
    }

    /// Cuts the tokens, puts the frame around them, and makes their places true.
    fn framed(
        &self,
        text: &str,
        n_text_bytes: usize,
        max_tokens: usize,
        tokens: &[Token],
    ) -> Encoded {
        let most = max_tokens - self.frame.len();
        let (mut ids, mut type_ids, mut spans) = (Vec::new(), Vec::new(), Vec::new());
        let mut place = (0, 0);
        let mut put = |(id, type_id): Special, span| {
            ids.push(id);
            type_ids.push(type_id);
            spans.push(span);
        };
        for &token in &self.frame.before {
            put(token, place);
        }
        for &Token { id, span } in tokens.iter().take(most) {
            place = ordered(place, self.trimmed(text, on_boundaries(text, span)));
            put((id, self.frame.type_id), place);
        }
        let end = match tokens.get(most) {
            // Some letters are several tokens; all of them belong to the first.
            Some(rest) => on_boundaries(text, rest.span).0.max(place.1),
            None => text.len(),
        };
        for &token in &self.frame.after {
            put(token, (place.1, place.1));
        }
        // Whoever goes on from there gets ahead.
        let end = match end {
            0 => text.ceil_char_boundary(1.min(text.len())),
            end => end,
        };
        Encoded {
            ids,
            type_ids,
            spans,
            end,
            is_cut: end < n_text_bytes,
            pad: (self.pad.id, self.pad.type_id),
        }
    }

    /// Without spaces at its ends, where the file asks for that.
    fn trimmed(&self, text: &str, (start, end): (usize, usize)) -> (usize, usize) {
        if !self.frame.trims {
            return (start, end);
        }
        let token = &text[start..end];
        let n_leading = token.len() - token.trim_start_matches(' ').len();
        let n_trailing = token.len() - token.trim_end_matches(' ').len();
        let start = start + n_leading;
        (start, end.saturating_sub(n_trailing).max(start))
    }
}

/// A span of the text that the library told, which need not be one.
fn on_boundaries(text: &str, (start, end): (usize, usize)) -> (usize, usize) {
    let start = text.floor_char_boundary(start.min(text.len()));
    let end = text.ceil_char_boundary(end.min(text.len()));
    (start, end.max(start))
}

/// The span, not before the one before: normalizers may swap marks.
fn ordered(before: (usize, usize), (start, end): (usize, usize)) -> (usize, usize) {
    let start = start.max(before.0);
    (start, end.max(before.1).max(start))
}

/// A token of the text, and where the library says that it stands.
struct Token {
    id: u32,
    span: (usize, usize),
}

/// What a special word is cut into, and where each part begins: its first letter and the
/// rest, or its letters when it was cut often enough.
fn parts(word: &str, n_cuts: usize) -> Vec<(usize, &str)> {
    let most = if n_cuts < MAX_CUTS { 1 } else { word.len() };
    let (mut parts, mut start) = (Vec::new(), 0);
    for (at, _) in word.char_indices().skip(1).take(most) {
        parts.push((start, &word[start..at]));
        start = at;
    }
    parts.push((start, &word[start..]));
    parts
}

/// How many pieces there are, and how many bytes they have.
fn size(words: &PreTokenizedString) -> (usize, usize) {
    let words = words.get_splits(OffsetReferential::Normalized, OffsetType::Byte);
    (words.len(), words.iter().map(|(word, ..)| word.len()).sum())
}

#[expect(clippy::needless_pass_by_value, reason = "as `map_err` gives it")]
fn failed(error: tokenizers::Error) -> EncodeError {
    EncodeError::Failed(shown(&error))
}

pub(super) fn shown(error: &tokenizers::Error) -> String {
    printable(&error.to_string(), NAME_CHARS)
}
