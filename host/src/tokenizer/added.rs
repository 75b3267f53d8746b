//! The words beside a vocabulary: checked, weighed, and put into an automaton that finds
//! them all at once. Special ones are among them, and never found.

use std::collections::{HashMap, HashSet};

use tokenizers::{AddedToken, AddedVocabulary, ModelWrapper, NormalizedString, Normalizer as _};

use super::encode::EncodeError;
use super::normalizing::{Checked, Normalizing};
use super::raw::RawAdded;
use super::words::WORD_BYTES;
use super::{MAX_ID, MAX_TOKEN_BYTES, TokenizerError};
use crate::excerpt::{NAME_CHARS, printable};

const PLACE: &str = "`added_tokens`";

/// Bytes that a letter of an added word takes, in an automaton that finds all at once.
const ADDED_BYTE_BYTES: u64 = 256;

/// The same where an automaton is of few words: a row of numbers for each byte there is.
const FEW_ADDED_BYTE_BYTES: u64 = ADDED_BYTE_BYTES + 4 * 256;

/// How many are few, in each of two automatons (`aho-corasick`, which chooses).
const FEW_ADDED: usize = 100;

/// How many times longer an added word may be when it is normalized.
const MAX_ADDED_GROWTH: usize = 4;

/// Bytes that any added word may have when it is normalized: a mark may be put before it.
const MIN_ADDED_BYTES: usize = 16;

/// What is put where a text has no more tokens, unless the file says.
const PADS: [&str; 3] = ["[PAD]", "<pad>", "<|pad|>"];

/// Bytes that added words will hold.
pub(super) fn n_bytes(added: &[RawAdded]) -> u64 {
    let n_letters: usize = added.iter().map(most_bytes).sum();
    let of_each = match added.len() <= 2 * FEW_ADDED {
        true => FEW_ADDED_BYTE_BYTES,
        false => ADDED_BYTE_BYTES,
    };
    added.len() as u64 * 2 * WORD_BYTES + n_letters as u64 * of_each
}

/// Bytes that an added word may have where it is looked for.
fn most_bytes(token: &RawAdded) -> usize {
    let n_bytes = token.content.len();
    match token.normalized {
        true => (n_bytes * MAX_ADDED_GROWTH).max(MIN_ADDED_BYTES),
        false => n_bytes,
    }
}

/// The words beside the vocabulary. The special ones are known by their ids and never
/// found in a text: else whoever writes an item could write a `[SEP]` into it.
pub(super) fn build(
    raw: &[RawAdded],
    model: &ModelWrapper,
    normalizers: &[Normalizing],
    unknown: Option<u32>,
) -> Result<AddedVocabulary, TokenizerError> {
    for token in raw {
        check(token, normalizers, unknown).map_err(refused)?;
    }
    let tokens: Vec<AddedToken> = raw.iter().map(added_token).collect();
    let mut added = AddedVocabulary::new();
    added.set_encode_special_tokens(true);
    // The library normalizes them once more, and expects that this never fails.
    let n_bytes = raw.iter().map(|token| token.content.len()).sum();
    let normalizer = Checked::new(normalizers, n_bytes, &|| false);
    added.add_tokens(&tokens, model, Some(&normalizer));
    let mut words = HashMap::with_capacity(raw.len());
    for token in raw {
        let (id, content) = (token.id, printable(&token.content, NAME_CHARS));
        let follows = added.token_to_id(&token.content, model);
        if id > MAX_ID || follows != Some(id) {
            return Err(refused(format!(
                "`{content}` has id {id}, where {follows:?} follows from the vocabulary; write the ids without a gap"
            )));
        }
        // A word that is found would stand for a special one.
        if words
            .insert(id, &token.content)
            .is_some_and(|other| *other != token.content)
        {
            return Err(refused(format!(
                "`{content}` has id {id}, as another of them has"
            )));
        }
    }
    Ok(added)
}

/// Checks one word, which says of itself what is done to it.
fn check(
    token: &RawAdded,
    normalizers: &[Normalizing],
    unknown: Option<u32>,
) -> Result<(), String> {
    let n_bytes = token.content.len();
    if !(1..=MAX_TOKEN_BYTES).contains(&n_bytes) {
        return Err(format!(
            "a word has {n_bytes} bytes, from 1 to {MAX_TOKEN_BYTES} are taken"
        ));
    }
    let content = printable(&token.content, NAME_CHARS);
    // Each find of such a word would look at all of the text before it.
    if !token.special && (token.lstrip || token.rstrip || token.single_word) {
        return Err(format!(
            "`{content}` is not special, and asks for `single_word`, `lstrip` or `rstrip`; set them to false"
        ));
    }
    // It stands for a byte of a letter that has no word, and a run of such letters is told
    // as one: there is nothing that could be looked up instead.
    if token.special && is_byte(&token.content) {
        return Err(format!(
            "`{content}` is special, and is a byte that a model falls back to; set `special` to false"
        ));
    }
    if token.special && unknown.is_none() && token.content.chars().nth(1).is_none() {
        return Err(format!(
            "`{content}` is special, and its letter has no other word; set `special` to false, or name an `unk_token`"
        ));
    }
    if token.normalized {
        check_normalized(token, normalizers).map_err(|what| format!("`{content}` {what}"))?;
    }
    Ok(())
}

/// Checks what is looked for when a word is normalized as texts are.
fn check_normalized(token: &RawAdded, normalizers: &[Normalizing]) -> Result<(), String> {
    let most = most_bytes(token);
    let mut checked = Checked::new(normalizers, token.content.len(), &|| false);
    let mut made = NormalizedString::from(token.content.as_str());
    let done = checked.normalize(&mut made);
    if let Some(EncodeError::Failed(why)) = checked.failure() {
        return Err(format!(
            "cannot be normalized: {why}; set `normalized` to false"
        ));
    }
    match (done, made.get().len()) {
        (Ok(()), 0) => {
            Err("is nothing when it is normalized; set `normalized` to false".to_owned())
        }
        (Ok(()), n_bytes) if n_bytes <= most => Ok(()),
        _ => Err(format!(
            "grows beyond {MAX_ADDED_GROWTH} times its length when it is normalized; set `normalized` to false"
        )),
    }
}

/// Whether a word is one of those that models fall back to, such as `<0x0A>`.
fn is_byte(word: &str) -> bool {
    let digits = word
        .strip_prefix("<0x")
        .and_then(|word| word.strip_suffix('>'));
    digits.is_some_and(|digits| digits.len() == 2)
}

fn added_token(token: &RawAdded) -> AddedToken {
    AddedToken {
        content: token.content.clone(),
        single_word: token.single_word,
        lstrip: token.lstrip,
        rstrip: token.rstrip,
        normalized: token.normalized,
        special: token.special,
    }
}

/// The ids of the special words, but for that of what is not known.
pub(super) fn special(raw: &[RawAdded], unknown: Option<u32>) -> HashSet<u32> {
    let special = raw.iter().filter(|token| token.special);
    let ids = special.map(|token| token.id);
    ids.filter(|id| Some(*id) != unknown).collect()
}

/// The id that stands where a text has no more tokens, when the file does not say.
pub(super) fn pad_id(added: &AddedVocabulary, model: &ModelWrapper) -> u32 {
    let mut known = PADS.iter().filter_map(|pad| added.token_to_id(pad, model));
    known.next().unwrap_or(0)
}

fn refused(what: String) -> TokenizerError {
    TokenizerError::new(PLACE, what)
}
