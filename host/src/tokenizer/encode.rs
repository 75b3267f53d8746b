//! One text to its tokens, within bounds on text, tokens and time.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tokenizers::{
    Model as _, NormalizedString, Normalizer, NormalizerWrapper, OffsetReferential, OffsetType,
    PreTokenizedString, PreTokenizer as _, Token as Found,
};

use super::frame::Special;
use super::{BYTES_PER_TOKEN, MAX_TOKENS, MIN_TOKENS, Tokenizer};
use crate::excerpt::{NAME_CHARS, printable};

/// How many times longer its normalizers may make a text. Unicode's own make the longest
/// of its letters eleven times longer.
const MAX_GROWTH: usize = 16;

/// Bytes that a text of any length may have when it is normalized.
const MIN_ROOM: usize = 256;

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
    /// and asks `is_late` between words.
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
        let checked = Checked {
            steps: &self.normalizers,
            room: text.len() * MAX_GROWTH + MIN_ROOM,
            failed: Cell::new(None),
        };
        let mut words = self.added.extract_and_normalize(Some(&checked), text);
        if let Some(why) = checked.failed.take() {
            return Err(EncodeError::Failed(why));
        }
        for step in &self.pre_tokenizers {
            if is_late() {
                return Err(EncodeError::Late);
            }
            step.pre_tokenize(&mut words).map_err(failed)?;
            checked.fits(n_bytes(&words)).map_err(EncodeError::Failed)?;
        }
        let (was_late, n_tokens) = (Cell::new(false), Cell::new(0));
        let looked_up = words.tokenize(|word| {
            // Nobody asks for more: what follows costs nothing.
            if n_tokens.get() > most {
                return Ok(Vec::new());
            }
            if is_late() {
                was_late.set(true);
                return Err("late".into());
            }
            let tokens = self.words(word.get())?;
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
    /// words, and find them. Such a word is cut behind its first letter, and its parts are
    /// looked up.
    fn words(&self, word: &str) -> tokenizers::Result<Vec<Found>> {
        let found = self.model.tokenize(word)?;
        if !found.iter().any(|token| self.special.contains(&token.id)) {
            return Ok(found);
        }
        let mut plain = Vec::with_capacity(found.len());
        for token in found {
            let (start, end) = token.offsets;
            let letters = word
                .get(start..end)
                .filter(|_| self.special.contains(&token.id));
            let Some(letters) = letters else {
                plain.push(token);
                continue;
            };
            let cut = letters.ceil_char_boundary(1.min(letters.len()));
            if cut == letters.len() {
                // One letter, or none: it stands for what is not known, where there is that.
                let id = self.unknown.unwrap_or(token.id);
                plain.push(Found { id, ..token });
                continue;
            }
            for (at, part) in [(0, &letters[..cut]), (cut, &letters[cut..])] {
                plain.extend(self.words(part)?.into_iter().map(|token| Found {
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

/// Normalizers that end when a text grows too long. The library passes over their
/// errors, so the last is kept.
struct Checked<'a> {
    steps: &'a [NormalizerWrapper],
    room: usize,
    failed: Cell<Option<String>>,
}

impl Checked<'_> {
    fn fits(&self, n_bytes: usize) -> Result<(), String> {
        if n_bytes <= self.room {
            return Ok(());
        }
        Err(format!(
            "it makes {n_bytes} bytes of it, more than {MAX_GROWTH} times as many as it has"
        ))
    }
}

impl Normalizer for Checked<'_> {
    fn normalize(&self, text: &mut NormalizedString) -> tokenizers::Result<()> {
        for step in self.steps {
            let done = step.normalize(text).map_err(|error| shown(&error));
            if let Err(why) = done.and_then(|()| self.fits(text.get().len())) {
                self.failed.set(Some(why.clone()));
                return Err(why.into());
            }
        }
        Ok(())
    }
}

fn n_bytes(words: &PreTokenizedString) -> usize {
    let words = words.get_splits(OffsetReferential::Normalized, OffsetType::Byte);
    words.iter().map(|(word, ..)| word.len()).sum()
}

#[expect(clippy::needless_pass_by_value, reason = "as `map_err` gives it")]
fn failed(error: tokenizers::Error) -> EncodeError {
    EncodeError::Failed(shown(&error))
}

fn shown(error: &tokenizers::Error) -> String {
    printable(&error.to_string(), NAME_CHARS)
}
