//! The words that a tokenizer knows: checked, weighed, and made into a model.

use std::collections::HashSet;

use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::models::unigram::Unigram;
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::{ModelWrapper, NormalizerWrapper, PreTokenizerWrapper};

use super::normalizing::Normalizing;
use super::raw::{Merge, RawModel, Vocabulary};
use super::{MAX_ID, MAX_WORD_CHARS, TokenizerError};
use crate::excerpt::{NAME_CHARS, printable};

const MODEL: &str = "`model`";

/// Bytes that a word takes in a table and on the heap, beside its own: twice, since
/// models look it up both ways.
pub(super) const WORD_BYTES: u64 = 2 * (64 + 24);

/// Bytes that a pair to join takes.
const MERGE_BYTES: u64 = 48;

/// Bytes that a node of `Unigram`'s search tree takes: a table of its own.
const NODE_BYTES: u64 = 400;

/// A vocabulary that may be built.
pub(super) enum Words {
    Pieces {
        vocab: Vec<(String, u32)>,
        unk: String,
        prefix: String,
        max_chars: usize,
    },
    Pairs {
        vocab: Vec<(String, u32)>,
        merges: Vec<Merge>,
        unk: Option<String>,
        prefix: Option<String>,
        suffix: Option<String>,
        fuse_unk: bool,
        byte_fallback: bool,
        ignore_merges: bool,
    },
    Scored {
        vocab: Vec<(String, f64)>,
        unk: usize,
        byte_fallback: bool,
    },
    Whole {
        vocab: Vec<(String, u32)>,
        unk: String,
    },
}

/// Checks what a file says of its model.
pub(super) fn check(
    raw: RawModel,
    pre_tokenizers: &[PreTokenizerWrapper],
    normalizers: &[Normalizing],
) -> Result<Words, TokenizerError> {
    let kind = raw.kind.as_deref();
    let kind =
        kind.ok_or_else(|| refused("has no `type`; write it anew with `tokenizers` 0.22"))?;
    match (kind, raw.vocab) {
        ("Unigram", Vocabulary::Scored(vocab)) => match raw.unk_id {
            Some(unk) if unk < vocab.len() => Ok(Words::Scored {
                vocab,
                unk,
                byte_fallback: raw.byte_fallback.unwrap_or(false),
            }),
            _ => Err(refused(
                "`unk_id` names no word, so most letters could not be told; name one",
            )),
        },
        ("WordPiece", Vocabulary::Numbered(vocab)) => {
            let max_chars = raw.max_input_chars_per_word.unwrap_or(100);
            if max_chars > MAX_WORD_CHARS {
                return Err(refused(format!(
                    "looks into words of {max_chars} letters, at most {MAX_WORD_CHARS} are taken; lower `max_input_chars_per_word`"
                )));
            }
            Ok(Words::Pieces {
                unk: known(raw.unk_token, &vocab)?,
                vocab: numbered(vocab)?,
                prefix: short(raw.continuing_subword_prefix)?.unwrap_or_default(),
                max_chars,
            })
        }
        ("WordLevel", Vocabulary::Numbered(vocab)) => Ok(Words::Whole {
            unk: known(raw.unk_token, &vocab)?,
            vocab: numbered(vocab)?,
        }),
        ("BPE", Vocabulary::Numbered(vocab)) => {
            if raw.dropout.is_some_and(|dropout| dropout != 0.0) {
                return Err(refused(
                    "leaves pairs out by chance, and a verdict must be repeatable; set `dropout` to null",
                ));
            }
            let byte_fallback = raw.byte_fallback.unwrap_or(false);
            let unk = match raw.unk_token {
                Some(unk) => Some(known(Some(unk), &vocab)?),
                None => {
                    knows_all(&vocab, byte_fallback, pre_tokenizers, normalizers)?;
                    None
                }
            };
            Ok(Words::Pairs {
                vocab: numbered(vocab)?,
                merges: raw.merges.unwrap_or_default().0,
                unk,
                prefix: short(raw.continuing_subword_prefix)?,
                suffix: short(raw.end_of_word_suffix)?,
                fuse_unk: raw.fuse_unk.unwrap_or(false),
                byte_fallback,
                ignore_merges: raw.ignore_merges.unwrap_or(false),
            })
        }
        ("Unigram" | "WordPiece" | "WordLevel" | "BPE", _) => {
            Err(refused("its `vocab` is not of its `type`"))
        }
        (kind, _) => Err(refused(format!(
            "`{}` is no model that this host knows; it knows WordPiece, BPE, Unigram and WordLevel",
            printable(kind, NAME_CHARS)
        ))),
    }
}

impl Words {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Pieces { .. } => "WordPiece",
            Self::Pairs { .. } => "BPE",
            Self::Scored { .. } => "Unigram",
            Self::Whole { .. } => "WordLevel",
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Scored { vocab, .. } => vocab.len(),
            Self::Pieces { vocab, .. } | Self::Pairs { vocab, .. } | Self::Whole { vocab, .. } => {
                vocab.len()
            }
        }
    }

    /// The id of what is not known, where there is one.
    pub(super) fn unknown(&self) -> Option<u32> {
        let id = |vocab: &[(String, u32)], unk: &String| {
            let known = vocab.iter().find(|(word, _)| word == unk);
            known.map(|(_, id)| *id)
        };
        match self {
            Self::Scored { unk, .. } => u32::try_from(*unk).ok(),
            Self::Pieces { vocab, unk, .. } | Self::Whole { vocab, unk } => id(vocab, unk),
            Self::Pairs { vocab, unk, .. } => id(vocab, unk.as_ref()?),
        }
    }

    /// Bytes that the model will hold, reckoned upwards.
    pub(super) fn n_bytes(&self) -> u64 {
        let of_words = |n_letters: u64| self.len() as u64 * WORD_BYTES + 2 * n_letters;
        match self {
            Self::Scored { vocab, .. } => {
                let words: Vec<&str> = vocab.iter().map(|(word, _)| word.as_str()).collect();
                of_words(letters(words.iter().copied())) + n_nodes(words) * NODE_BYTES
            }
            Self::Pairs { vocab, merges, .. } => {
                of_words(letters(vocab.iter().map(|(word, _)| word.as_str())))
                    + merges.len() as u64 * MERGE_BYTES
            }
            Self::Pieces { vocab, .. } | Self::Whole { vocab, .. } => {
                of_words(letters(vocab.iter().map(|(word, _)| word.as_str())))
            }
        }
    }

    /// The model. It remembers no text: what one call had tokenized is neither seen nor
    /// paid for by the next.
    pub(super) fn build(self) -> Result<ModelWrapper, TokenizerError> {
        let failed = |error: tokenizers::Error| refused(error.to_string());
        Ok(match self {
            Self::Pieces {
                vocab,
                unk,
                prefix,
                max_chars,
            } => {
                let vocab: Vocab = vocab.into_iter().collect();
                let model = WordPiece::builder()
                    .vocab(vocab)
                    .unk_token(unk)
                    .continuing_subword_prefix(prefix)
                    .max_input_chars_per_word(max_chars);
                ModelWrapper::WordPiece(model.build().map_err(failed)?)
            }
            Self::Whole { vocab, unk } => {
                let vocab: Vocab = vocab.into_iter().collect();
                let model = WordLevel::builder().vocab(vocab).unk_token(unk);
                ModelWrapper::WordLevel(model.build().map_err(failed)?)
            }
            Self::Scored {
                vocab,
                unk,
                byte_fallback,
            } => {
                let mut model = Unigram::from(vocab, Some(unk), byte_fallback).map_err(failed)?;
                model.resize_cache(0);
                ModelWrapper::Unigram(model)
            }
            Self::Pairs {
                vocab,
                merges,
                unk,
                prefix,
                suffix,
                fuse_unk,
                byte_fallback,
                ignore_merges,
            } => {
                let vocab: Vocab = vocab.into_iter().collect();
                let merges = merges.into_iter().map(|Merge(left, right)| (left, right));
                let mut model = BPE::builder()
                    .cache_capacity(0)
                    .vocab_and_merges(vocab, merges.collect())
                    .fuse_unk(fuse_unk)
                    .byte_fallback(byte_fallback)
                    .ignore_merges(ignore_merges);
                if let Some(unk) = unk {
                    model = model.unk_token(unk);
                }
                if let Some(prefix) = prefix {
                    model = model.continuing_subword_prefix(prefix);
                }
                if let Some(suffix) = suffix {
                    model = model.end_of_word_suffix(suffix);
                }
                ModelWrapper::BPE(model.build().map_err(failed)?)
            }
        })
    }
}

/// A vocabulary whose ids are each of one word, and within bounds.
fn numbered(vocab: Vec<(String, u32)>) -> Result<Vec<(String, u32)>, TokenizerError> {
    let mut ids = HashSet::with_capacity(vocab.len());
    for (word, id) in &vocab {
        let wrong = |what: &str| {
            let word = printable(word, NAME_CHARS);
            Err(refused(format!("`{word}` has id {id}, {what}")))
        };
        if *id > MAX_ID {
            return wrong(&format!("at most {MAX_ID} is taken"));
        }
        if !ids.insert(*id) {
            return wrong("as another word has");
        }
    }
    Ok(vocab)
}

/// The word for what is not known, when there is one.
fn known(unk: Option<String>, vocab: &[(String, u32)]) -> Result<String, TokenizerError> {
    match unk {
        Some(unk) if vocab.iter().any(|(word, _)| *word == unk) => Ok(unk),
        Some(unk) => Err(refused(format!(
            "`unk_token` is `{}`, which its vocabulary does not hold; add it",
            printable(&unk, NAME_CHARS)
        ))),
        None => Err(refused(
            "has no `unk_token` for words that it does not know; name one",
        )),
    }
}

/// Checks that a model without a word for what is not known has none such: it would leave
/// letters out, and all that follows would be told of the wrong place in the text.
fn knows_all(
    vocab: &[(String, u32)],
    byte_fallback: bool,
    pre_tokenizers: &[PreTokenizerWrapper],
    normalizers: &[Normalizing],
) -> Result<(), TokenizerError> {
    let words: HashSet<&str> = vocab.iter().map(|(word, _)| word.as_str()).collect();
    let is_of_bytes = pre_tokenizers
        .iter()
        .any(|step| matches!(step, PreTokenizerWrapper::ByteLevel(_)))
        || normalizers
            .iter()
            .any(|step| matches!(step.step, NormalizerWrapper::ByteLevel(_)));
    let mut letters = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet().into_iter();
    let mut knows_letters = || letters.all(|letter| words.contains(letter.to_string().as_str()));
    let knows_bytes =
        || (0..=255_u8).all(|byte| words.contains(format!("<0x{byte:02X}>").as_str()));
    if (is_of_bytes && knows_letters()) || (byte_fallback && knows_bytes()) {
        return Ok(());
    }
    Err(refused(
        "has no `unk_token`, and its vocabulary does not hold all 256 bytes; name one, or add them",
    ))
}

/// A prefix or suffix of words.
fn short(affix: Option<String>) -> Result<Option<String>, TokenizerError> {
    match affix {
        Some(affix) if affix.len() > 16 => Err(refused(format!(
            "a prefix or suffix of {} bytes, at most 16 are taken",
            affix.len()
        ))),
        affix => Ok(affix),
    }
}

fn letters<'a>(words: impl Iterator<Item = &'a str>) -> u64 {
    words.map(|word| word.len() as u64).sum()
}

/// Nodes of the tree that holds these words, letter by letter.
fn n_nodes(mut words: Vec<&str>) -> u64 {
    words.sort_unstable();
    let mut before = "";
    let mut n_nodes = 1;
    for word in words {
        let shared = before.bytes().zip(word.bytes()).take_while(|(a, b)| a == b);
        n_nodes += (word.len() - shared.count()) as u64;
        before = word;
    }
    n_nodes
}

fn refused(what: impl AsRef<str>) -> TokenizerError {
    TokenizerError::new(MODEL, what)
}
