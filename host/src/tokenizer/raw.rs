//! A `tokenizer.json` as its writers spell it, with bounds, before anything is checked.
//!
//! Every list is counted while it is read, and nothing is read twice or kept that is not
//! asked for: a file of 32 MiB of `0,` must not become gigabytes of numbers.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use tokenizers::SplitDelimiterBehavior;
use tokenizers::pre_tokenizers::metaspace::PrependScheme;
use tokenizers::processors::template::Piece;

use super::{
    MAX_ADDED, MAX_MERGES, MAX_SCORED_BYTES, MAX_SPECIAL, MAX_STEPS, MAX_TOKEN_BYTES,
    MAX_VOCABULARY,
};

/// The whole file. What is not named here is refused, but for what only decoding needs.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    pub(super) version: String,
    /// Whoever encodes says how long the answer may be, so only the side matters.
    pub(super) truncation: Option<RawTruncation>,
    pub(super) padding: Option<RawPadding>,
    #[serde(default)]
    pub(super) added_tokens: Bounded<RawAdded, MAX_ADDED>,
    pub(super) normalizer: Option<Outer>,
    pub(super) pre_tokenizer: Option<Outer>,
    pub(super) post_processor: Option<Outer>,
    #[serde(default, rename = "decoder")]
    pub(super) _decoder: IgnoredAny,
    pub(super) model: RawModel,
}

#[derive(Deserialize)]
pub(super) struct RawTruncation {
    #[serde(default)]
    pub(super) direction: Side,
}

#[derive(Deserialize)]
pub(super) struct RawPadding {
    #[serde(default)]
    pub(super) direction: Side,
    pub(super) pad_id: u32,
    #[serde(default)]
    pub(super) pad_type_id: u32,
}

#[derive(Deserialize, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    #[default]
    Right,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAdded {
    pub(super) id: u32,
    pub(super) content: String,
    #[serde(default)]
    pub(super) single_word: bool,
    #[serde(default)]
    pub(super) lstrip: bool,
    #[serde(default)]
    pub(super) rstrip: bool,
    #[serde(default)]
    pub(super) normalized: bool,
    #[serde(default)]
    pub(super) special: bool,
}

/// A step, or a sequence of them.
pub(super) type Outer = Step<Bounded<Step<Never>, MAX_STEPS>>;

/// A step within a sequence.
pub(super) type Inner = Step<Never>;

/// A normalizer, pre-tokenizer or post-processor: the fields of all kinds in one, since
/// telling the kinds apart first would hold the whole step in memory as it came.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, bound(deserialize = "S: Deserialize<'de>"))]
pub(super) struct Step<S> {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(alias = "pretokenizers", alias = "processors")]
    pub(super) normalizers: Option<S>,
    pub(super) clean_text: Option<bool>,
    pub(super) handle_chinese_chars: Option<bool>,
    pub(super) strip_accents: Option<bool>,
    pub(super) lowercase: Option<bool>,
    pub(super) strip_left: Option<bool>,
    pub(super) strip_right: Option<bool>,
    pub(super) pattern: Option<Pattern>,
    pub(super) content: Option<String>,
    pub(super) prepend: Option<String>,
    pub(super) precompiled_charsmap: Option<String>,
    pub(super) add_prefix_space: Option<bool>,
    pub(super) trim_offsets: Option<bool>,
    pub(super) use_regex: Option<bool>,
    pub(super) delimiter: Option<char>,
    pub(super) replacement: Option<char>,
    pub(super) prepend_scheme: Option<PrependScheme>,
    pub(super) split: Option<bool>,
    #[serde(rename = "str_rep")]
    pub(super) _str_rep: Option<IgnoredAny>,
    pub(super) behavior: Option<SplitDelimiterBehavior>,
    pub(super) invert: Option<bool>,
    pub(super) individual_digits: Option<bool>,
    pub(super) length: Option<usize>,
    pub(super) single: Option<Bounded<Piece, { MAX_SPECIAL + 1 }>>,
    #[serde(rename = "pair")]
    pub(super) _pair: Option<IgnoredAny>,
    pub(super) special_tokens: Option<BoundedMap<RawSpecial, MAX_ADDED>>,
    pub(super) sep: Option<(String, u32)>,
    pub(super) cls: Option<(String, u32)>,
}

/// What a step looks for.
#[derive(Deserialize)]
pub(super) enum Pattern {
    String(String),
    Regex(String),
}

#[derive(Deserialize)]
pub(super) struct RawSpecial {
    pub(super) ids: Bounded<u32, MAX_SPECIAL>,
}

/// The model: the fields of all kinds in one, as in [`Step`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawModel {
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) vocab: Vocabulary,
    pub(super) merges: Option<Bounded<Merge, MAX_MERGES>>,
    pub(super) unk_token: Option<String>,
    pub(super) unk_id: Option<usize>,
    pub(super) continuing_subword_prefix: Option<String>,
    pub(super) end_of_word_suffix: Option<String>,
    pub(super) max_input_chars_per_word: Option<usize>,
    pub(super) dropout: Option<f32>,
    pub(super) fuse_unk: Option<bool>,
    pub(super) byte_fallback: Option<bool>,
    pub(super) ignore_merges: Option<bool>,
}

/// The words that a model knows.
pub(super) enum Vocabulary {
    /// With their ids.
    Numbered(Vec<(String, u32)>),
    /// With their scores, in the order of their ids.
    Scored(Vec<(String, f64)>),
}

/// A pair that is joined.
pub(super) struct Merge(pub(super) String, pub(super) String);

/// A list of at most `N` entries.
pub(super) struct Bounded<T, const N: usize>(pub(super) Vec<T>);

/// An object of at most `N` entries.
pub(super) struct BoundedMap<T, const N: usize>(pub(super) Vec<(String, T)>);

/// Where nothing may stand.
pub(super) enum Never {}

impl<T, const N: usize> Default for Bounded<T, N> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de> Deserialize<'de> for Never {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(D::Error::custom(
            "a sequence within a sequence is not taken; write all its steps in one",
        ))
    }
}

impl<'de, T: Deserialize<'de>, const N: usize> Deserialize<'de> for Bounded<T, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List<T, const N: usize>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for List<T, N> {
            type Value = Vec<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {N} entries")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = list.next_element()? {
                    room::<A::Error>(entries.len(), N)?;
                    entries.push(entry);
                }
                Ok(entries)
            }
        }

        let list = deserializer.deserialize_seq(List::<T, N>(PhantomData));
        list.map(Self)
    }
}

impl<'de, T: Deserialize<'de>, const N: usize> Deserialize<'de> for BoundedMap<T, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object<T, const N: usize>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for Object<T, N> {
            type Value = Vec<(String, T)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an object of at most {N} entries")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    room::<A::Error>(entries.len(), N)?;
                    entries.push(entry);
                }
                Ok(entries)
            }
        }

        let object = deserializer.deserialize_map(Object::<T, N>(PhantomData));
        object.map(Self)
    }
}

impl<'de> Deserialize<'de> for Vocabulary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;

        impl<'de> Visitor<'de> for Words {
            type Value = Vocabulary;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("words with their ids, or a list of words with their scores")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vocabulary, A::Error> {
                let mut words = Vec::new();
                while let Some((word, id)) = map.next_entry::<String, u32>()? {
                    room::<A::Error>(words.len(), MAX_VOCABULARY)?;
                    short::<A::Error>(&word, MAX_TOKEN_BYTES)?;
                    words.push((word, id));
                }
                Ok(Vocabulary::Numbered(words))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vocabulary, A::Error> {
                let mut words = Vec::new();
                while let Some((word, score)) = list.next_element::<(String, f64)>()? {
                    room::<A::Error>(words.len(), MAX_VOCABULARY)?;
                    short::<A::Error>(&word, MAX_SCORED_BYTES)?;
                    words.push((word, score));
                }
                Ok(Vocabulary::Scored(words))
            }
        }

        deserializer.deserialize_any(Words)
    }
}

impl<'de> Deserialize<'de> for Merge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pair;

        impl<'de> Visitor<'de> for Pair {
            type Value = Merge;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("two words, in a list or with a space between")
            }

            fn visit_str<E: Error>(self, pair: &str) -> Result<Merge, E> {
                match pair.split_once(' ') {
                    Some((left, right)) if !right.contains(' ') => {
                        Ok(Merge(left.to_owned(), right.to_owned()))
                    }
                    _ => Err(E::custom("a merge is two words with a space between")),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Merge, A::Error> {
                let mut next = || {
                    let word = list.next_element::<String>()?;
                    word.ok_or_else(|| A::Error::custom("a merge is two words"))
                };
                let merge = Merge(next()?, next()?);
                match list.next_element::<IgnoredAny>()? {
                    None => Ok(merge),
                    Some(_) => Err(A::Error::custom("a merge is two words")),
                }
            }
        }

        deserializer.deserialize_any(Pair)
    }
}

fn room<E: Error>(n_entries: usize, most: usize) -> Result<(), E> {
    if n_entries < most {
        return Ok(());
    }
    Err(E::custom(format!(
        "more than {most} entries stand here; bring fewer"
    )))
}

fn short<E: Error>(word: &str, most: usize) -> Result<(), E> {
    if word.len() <= most {
        return Ok(());
    }
    Err(E::custom(format!(
        "a word of {} bytes stands here, at most {most} are taken; leave it out",
        word.len()
    )))
}
