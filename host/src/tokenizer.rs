//! Tokenizers: from text to the ids that a model was trained on, by the files that
//! people train them with (`tokenizer.json` of Hugging Face's `tokenizers`).
//!
//! Beside the street: a detector reaches it through the contract. Both the file and the
//! text are hostile. Of the file nothing reaches the library that was not read into types
//! of ours and bounded first ([`Tokenizer::from_json`]); of a text no more is read than
//! the ids that are asked for could need, and the clock is looked at between steps and words
//! ([`Tokenizer::encode`]). It keeps nothing from one text for the next, and no I/O is
//! done here.

mod added;
mod encode;
mod frame;
mod normalizing;
mod raw;
mod steps;
mod words;

use std::collections::HashSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tokenizers::{AddedVocabulary, ModelWrapper, PreTokenizerWrapper};

use crate::excerpt::{NAME_CHARS, printable};
use frame::Frame;
use normalizing::Normalizing;
use raw::{Raw, Side};

pub use encode::{EncodeError, Encoded};
pub use steps::PATTERNS;

/// Bytes of the largest file taken.
pub const MAX_FILE_BYTES: u64 = 32 << 20;

/// Tokens of the shortest answer that may be asked for: room for those that frame a text,
/// and for one of the text.
pub const MIN_TOKENS: usize = 8;

/// Tokens of the longest answer.
pub const MAX_TOKENS: usize = 512;

/// Bytes of a text that are read for each token that is asked for. A word of a language
/// that is written without spaces has three or four; what is longer than this on average
/// is cut.
pub const BYTES_PER_TOKEN: usize = 32;

/// Words of a vocabulary.
const MAX_VOCABULARY: usize = 1 << 20;

/// The largest id: models keep a row of weights for each.
const MAX_ID: u32 = (1 << 22) - 1;

/// Bytes of a word of a vocabulary. Some models search for the longest word that fits, at
/// each letter anew.
const MAX_TOKEN_BYTES: usize = 256;

/// Bytes of a word of `Unigram`, which looks for all words that fit, at each letter. Those
/// of SentencePiece have 16 letters unless it is told otherwise.
const MAX_SCORED_BYTES: usize = 64;

/// Letters of a word that `WordPiece` looks into; what it costs grows with their square.
const MAX_WORD_CHARS: usize = 128;

/// Pairs that a model joins.
const MAX_MERGES: usize = 1 << 20;

/// Words beside the vocabulary.
const MAX_ADDED: usize = 4096;

/// Tokens that frame a text.
const MAX_SPECIAL: usize = MIN_TOKENS - 1;

/// Steps of a sequence.
const MAX_STEPS: usize = 16;

/// Characters of a message that repeats what a file says.
const MESSAGE_CHARS: usize = 300;

/// A tokenizer, ready to encode texts. Shared by all calls; nothing in it changes.
pub struct Tokenizer {
    model: ModelWrapper,
    added: AddedVocabulary,
    normalizers: Vec<Normalizing>,
    pre_tokenizers: Vec<PreTokenizerWrapper>,
    frame: Frame,
    /// Ids that stand for no words.
    special: HashSet<u32>,
    /// The id of what is not known.
    unknown: Option<u32>,
    pad: Pad,
    kind: &'static str,
    n_words: usize,
    n_bytes: u64,
}

/// What stands where a text has no more tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Pad {
    id: u32,
    type_id: u32,
}

/// A file that was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}")]
pub struct TokenizerError {
    /// The part of the file.
    pub place: String,
    /// What is wrong there and how to mend it.
    pub what: String,
}

impl TokenizerError {
    fn new(place: impl Into<String>, what: impl AsRef<str>) -> Self {
        Self {
            place: place.into(),
            // Its author chose some of the words.
            what: printable(what.as_ref(), MESSAGE_CHARS),
        }
    }
}

impl Tokenizer {
    /// Reads a `tokenizer.json`. What it will hold in memory is reckoned before it is
    /// built, and must not pass `most` bytes. Blocking, up to a second or two: not on a
    /// caller's executor.
    ///
    /// An error for what is no such file, for what is too much, and for what no known
    /// tokenizer has: patterns of its own above all, since those could keep the host busy
    /// for hours.
    pub fn from_json(json: &[u8], most: u64) -> Result<Self, TokenizerError> {
        if json.len() as u64 > MAX_FILE_BYTES {
            return Err(TokenizerError::new(
                "the file",
                format!(
                    "has {} bytes, at most {MAX_FILE_BYTES} are taken",
                    json.len()
                ),
            ));
        }
        // Depth is bounded by serde_json (128), lists are as they are read.
        let raw: Raw = serde_json::from_slice(json).map_err(|error| {
            TokenizerError::new("the file", format!("is no tokenizer.json: {error}"))
        })?;
        // What is wrong in ways that nobody thought of ends here.
        catch_unwind(AssertUnwindSafe(|| Self::built(raw, most))).unwrap_or_else(|_| {
            Err(TokenizerError::new(
                "the file",
                "makes the reader fail; write it anew with `tokenizers` 0.22",
            ))
        })
    }

    fn built(raw: Raw, most: u64) -> Result<Self, TokenizerError> {
        check_sides(&raw)?;
        let normalizers = steps::normalizers(raw.normalizer)?;
        let pre_tokenizers = steps::pre_tokenizers(raw.pre_tokenizer)?;
        let frame = Frame::read(raw.post_processor)?;
        let words = words::check(raw.model, &pre_tokenizers, &normalizers)?;
        let n_bytes = words
            .n_bytes()
            .saturating_add(added::n_bytes(&raw.added_tokens.0))
            .saturating_add(steps::n_bytes(&normalizers));
        if n_bytes > most {
            return Err(TokenizerError::new(
                "the vocabulary",
                format!(
                    "would take {n_bytes} bytes of memory, {most} are left of the weights' limit; ask for more with `weights-mib`, or bring less"
                ),
            ));
        }
        let (kind, n_words, unknown) = (words.kind(), words.len(), words.unknown());
        let model = words.build()?;
        let added = added::build(&raw.added_tokens.0, &model, &normalizers, unknown)?;
        let pad = match raw.padding {
            Some(padding) => Pad {
                id: padding.pad_id,
                type_id: padding.pad_type_id,
            },
            None => Pad {
                id: added::pad_id(&added, &model),
                type_id: 0,
            },
        };
        Ok(Self {
            model,
            added,
            normalizers,
            pre_tokenizers,
            frame,
            special: added::special(&raw.added_tokens.0, unknown),
            unknown,
            pad,
            kind,
            n_words,
            n_bytes,
        })
    }

    /// How it makes tokens: `WordPiece`, `BPE`, `Unigram` or `WordLevel`.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// Words of its vocabulary, those that were added left out.
    pub fn n_words(&self) -> usize {
        self.n_words
    }

    /// Bytes that it holds in memory, as reckoned.
    pub fn n_bytes(&self) -> u64 {
        self.n_bytes
    }
}

fn check_sides(raw: &Raw) -> Result<(), TokenizerError> {
    if raw.version != "1.0" {
        return Err(TokenizerError::new(
            "`version`",
            format!("is `{}`, 1.0 is read", printable(&raw.version, NAME_CHARS)),
        ));
    }
    let padding = raw.padding.as_ref().map(|padding| padding.direction);
    let truncation = raw
        .truncation
        .as_ref()
        .map(|truncation| truncation.direction);
    for (place, side) in [("`padding`", padding), ("`truncation`", truncation)] {
        if side == Some(Side::Left) {
            return Err(TokenizerError::new(
                place,
                "is on the left; this host pads and cuts on the right, so write `Right`",
            ));
        }
    }
    Ok(())
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokenizer({}, {} words)", self.kind, self.n_words)
    }
}
