//! What is done to a text before its words are looked up: built of kinds that are known,
//! with nothing in them that could take longer than the text is long.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokenizers::normalizers::{
    BertNormalizer, ByteLevel as ByteLetters, Lowercase, NFC, NFD, NFKC, NFKD, Nmt, Precompiled,
    Prepend, Replace, Strip, StripAccents, replace::ReplacePattern,
};
use tokenizers::pre_tokenizers::{
    bert::BertPreTokenizer,
    byte_level::ByteLevel,
    delimiter::CharDelimiterSplit,
    digits::Digits,
    fixed_length::FixedLength,
    metaspace::{Metaspace, PrependScheme},
    punctuation::Punctuation,
    split::{Split, SplitPattern},
    unicode_scripts::UnicodeScripts,
    whitespace::{Whitespace, WhitespaceSplit},
};
use tokenizers::utils::SysRegex;
use tokenizers::{NormalizerWrapper, PreTokenizerWrapper, SplitDelimiterBehavior};

use super::TokenizerError;
use super::normalizing::{Normalizing, Places};
use super::raw::{Bounded, Inner, Never, Outer, Pattern, Step};
use crate::excerpt::{NAME_CHARS, printable};

/// Bytes of a text that a step looks for or puts in.
const MAX_STEP_BYTES: usize = 64;

/// Bytes of a table of SentencePiece's normalizers; that of the common ones has 400,000.
const MAX_CHARSMAP_BYTES: usize = 4 << 20;

/// Bytes of what such a table puts in place of a letter. Its end is searched for each time.
pub(super) const MAX_MAPPED_BYTES: usize = 64;

/// The patterns that known tokenizers split and replace by. A pattern of one's own can
/// keep the host busy for hours on a line of text, so there is none.
pub const PATTERNS: [&str; 15] = [
    // GPT-2, and RoBERTa after it.
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    // GPT-4 (cl100k) and Llama 3.
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    // Qwen 2 and 3.
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    // GPT-4o (o200k).
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    // CLIP.
    r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
    // XLM-RoBERTa, DeBERTa and others of SentencePiece.
    r" {2,}",
    r" +",
    r"\s+",
    r"\s",
    r"\n+",
    r"[\r\n]",
    r"\d",
    r"\d+",
    r"\p{N}",
    r"\p{N}{1,3}",
];

/// The steps that make one spelling of many.
pub(super) fn normalizers(step: Option<Outer>) -> Result<Vec<Normalizing>, TokenizerError> {
    let place = "`normalizer`";
    flat(step, place)?
        .into_iter()
        .map(|step| normalizer(step, place))
        .collect()
}

/// The steps that cut a text into words.
pub(super) fn pre_tokenizers(
    step: Option<Outer>,
) -> Result<Vec<PreTokenizerWrapper>, TokenizerError> {
    let place = "`pre_tokenizer`";
    flat(step, place)?
        .into_iter()
        .map(|step| pre_tokenizer(step, place))
        .collect()
}

/// Bytes that normalizers hold.
pub(super) fn n_bytes(normalizers: &[Normalizing]) -> u64 {
    let tables = normalizers
        .iter()
        .filter(|step| matches!(step.step, NormalizerWrapper::Precompiled(_)));
    // The table as it came, its text, and each of its numbers as a word of the machine.
    tables.count() as u64 * 4 * MAX_CHARSMAP_BYTES as u64
}

/// The steps of a sequence, or the one that is none.
pub(super) fn flat(step: Option<Outer>, place: &str) -> Result<Vec<Inner>, TokenizerError> {
    let Some(mut step) = step else {
        return Ok(Vec::new());
    };
    match step.normalizers.take() {
        Some(Bounded(steps)) if step.kind == "Sequence" => Ok(steps),
        Some(_) => Err(TokenizerError::new(
            place,
            format!(
                "only a `Sequence` holds steps, not a `{}`",
                printable(&step.kind, NAME_CHARS)
            ),
        )),
        None if step.kind == "Sequence" => {
            Err(TokenizerError::new(place, "a `Sequence` without steps"))
        }
        None => Ok(vec![single(step)]),
    }
}

/// A step that is no sequence, as those within one are.
fn single(step: Outer) -> Inner {
    Step::<Never> {
        kind: step.kind,
        normalizers: None,
        clean_text: step.clean_text,
        handle_chinese_chars: step.handle_chinese_chars,
        strip_accents: step.strip_accents,
        lowercase: step.lowercase,
        strip_left: step.strip_left,
        strip_right: step.strip_right,
        pattern: step.pattern,
        content: step.content,
        prepend: step.prepend,
        precompiled_charsmap: step.precompiled_charsmap,
        add_prefix_space: step.add_prefix_space,
        trim_offsets: step.trim_offsets,
        use_regex: step.use_regex,
        delimiter: step.delimiter,
        replacement: step.replacement,
        prepend_scheme: step.prepend_scheme,
        split: step.split,
        _str_rep: None,
        behavior: step.behavior,
        invert: step.invert,
        individual_digits: step.individual_digits,
        length: step.length,
        single: step.single,
        _pair: None,
        special_tokens: step.special_tokens,
        sep: step.sep,
        cls: step.cls,
    }
}

fn normalizer(step: Inner, place: &str) -> Result<Normalizing, TokenizerError> {
    use NormalizerWrapper as Built;
    let failed = |error: String| TokenizerError::new(place, error);
    let built = match step.kind.as_str() {
        "BertNormalizer" => Built::BertNormalizer(BertNormalizer::new(
            step.clean_text.unwrap_or(true),
            step.handle_chinese_chars.unwrap_or(true),
            step.strip_accents,
            step.lowercase.unwrap_or(true),
        )),
        "Strip" => Built::StripNormalizer(Strip::new(
            step.strip_left.unwrap_or(true),
            step.strip_right.unwrap_or(true),
        )),
        "StripAccents" => Built::StripAccents(StripAccents),
        "NFC" => Built::NFC(NFC),
        "NFD" => Built::NFD(NFD),
        "NFKC" => Built::NFKC(NFKC),
        "NFKD" => Built::NFKD(NFKD),
        "Lowercase" => Built::Lowercase(Lowercase),
        "Nmt" => Built::Nmt(Nmt),
        "ByteLevel" => Built::ByteLevel(ByteLetters::new()),
        "Prepend" => Built::Prepend(Prepend::new(put_in(step.prepend, "prepend", place)?)),
        "Replace" => {
            let content = put_in(step.content, "content", place)?;
            let (pattern, places) = match looked_for(step.pattern, place)? {
                Pattern::String(text) => (ReplacePattern::String(text.clone()), Places::Text(text)),
                Pattern::Regex(pattern) => {
                    let places = SysRegex::new(&pattern).map_err(|error| failed(error.to_string()));
                    (ReplacePattern::Regex(pattern), Places::Pattern(places?))
                }
            };
            let built = Replace::new(pattern, content).map_err(|error| failed(error.to_string()));
            return Ok(Normalizing::replacing(Built::Replace(built?), places));
        }
        "Precompiled" => {
            let table = charsmap(&step.precompiled_charsmap.unwrap_or_default(), place)?;
            let built = Precompiled::from(&table).map_err(|error| failed(error.to_string()));
            Built::Precompiled(built?)
        }
        kind => return Err(unknown(kind, place)),
    };
    Ok(built.into())
}

fn pre_tokenizer(step: Inner, place: &str) -> Result<PreTokenizerWrapper, TokenizerError> {
    use PreTokenizerWrapper as Built;
    let behavior = || step.behavior.unwrap_or(SplitDelimiterBehavior::Isolated);
    Ok(match step.kind.as_str() {
        "BertPreTokenizer" => Built::BertPreTokenizer(BertPreTokenizer),
        "Whitespace" => Built::Whitespace(Whitespace),
        "WhitespaceSplit" => Built::WhitespaceSplit(WhitespaceSplit),
        "UnicodeScripts" => Built::UnicodeScripts(UnicodeScripts::new()),
        "Punctuation" => Built::Punctuation(Punctuation::new(behavior())),
        "Digits" => Built::Digits(Digits::new(step.individual_digits.unwrap_or(false))),
        "ByteLevel" => Built::ByteLevel(ByteLevel::new(
            step.add_prefix_space.unwrap_or(true),
            step.trim_offsets.unwrap_or(true),
            step.use_regex.unwrap_or(true),
        )),
        "Metaspace" => {
            let scheme = match step.add_prefix_space {
                Some(false) => PrependScheme::Never,
                _ => step.prepend_scheme.unwrap_or(PrependScheme::Always),
            };
            Built::Metaspace(Metaspace::new(
                step.replacement.unwrap_or('▁'),
                scheme,
                step.split.unwrap_or(true),
            ))
        }
        "CharDelimiterSplit" => match step.delimiter {
            Some(delimiter) => Built::Delimiter(CharDelimiterSplit::new(delimiter)),
            None => return Err(TokenizerError::new(place, "names no `delimiter`")),
        },
        "FixedLength" => match step.length.unwrap_or(5) {
            0 => {
                return Err(TokenizerError::new(
                    place,
                    "words of no letters; write `length`",
                ));
            }
            length => Built::FixedLength(FixedLength::new(length)),
        },
        "Split" => {
            let pattern = match looked_for(step.pattern, place)? {
                Pattern::String(text) => SplitPattern::String(text),
                Pattern::Regex(pattern) => SplitPattern::Regex(pattern),
            };
            let built = Split::new(pattern, behavior(), step.invert.unwrap_or(false));
            Built::Split(built.map_err(|error| TokenizerError::new(place, error.to_string()))?)
        }
        kind => return Err(unknown(kind, place)),
    })
}

pub(super) fn unknown(kind: &str, place: &str) -> TokenizerError {
    let kind = printable(kind, NAME_CHARS);
    TokenizerError::new(
        place,
        format!("`{kind}` is no step that this host knows; leave it out, or use another"),
    )
}

fn looked_for(pattern: Option<Pattern>, place: &str) -> Result<Pattern, TokenizerError> {
    match pattern {
        Some(Pattern::String(text)) if (1..=MAX_STEP_BYTES).contains(&text.len()) => {
            Ok(Pattern::String(text))
        }
        Some(Pattern::String(text)) => Err(TokenizerError::new(
            place,
            format!(
                "looks for a text of {} bytes, from 1 to {MAX_STEP_BYTES} are taken",
                text.len()
            ),
        )),
        Some(Pattern::Regex(pattern)) if PATTERNS.contains(&pattern.as_str()) => {
            Ok(Pattern::Regex(pattern))
        }
        Some(Pattern::Regex(pattern)) => Err(TokenizerError::new(
            place,
            format!(
                "the pattern `{}` is of no tokenizer that this host knows, and could keep it busy for hours; use one of GPT-2, GPT-4, GPT-4o, Qwen, CLIP or SentencePiece, or a plain text",
                printable(&pattern, NAME_CHARS)
            ),
        )),
        None => Err(TokenizerError::new(place, "names no `pattern`")),
    }
}

fn put_in(text: Option<String>, name: &str, place: &str) -> Result<String, TokenizerError> {
    match text {
        Some(text) if text.len() <= MAX_STEP_BYTES => Ok(text),
        Some(text) => Err(TokenizerError::new(
            place,
            format!(
                "`{name}` has {} bytes, at most {MAX_STEP_BYTES} are taken",
                text.len()
            ),
        )),
        None => Err(TokenizerError::new(place, format!("names no `{name}`"))),
    }
}

/// The bytes of a table of SentencePiece's: the length of a search tree, the tree, and
/// the texts that it leads to, each ended by a zero.
fn charsmap(coded: &str, place: &str) -> Result<Vec<u8>, TokenizerError> {
    let refused = |what: &str| {
        Err(TokenizerError::new(
            place,
            format!("`precompiled_charsmap` {what}"),
        ))
    };
    if coded.len() > MAX_CHARSMAP_BYTES {
        return refused("is larger than 4 MiB");
    }
    let Ok(table) = STANDARD.decode(coded) else {
        return refused("is no base64");
    };
    let Some((length, rest)) = table.split_first_chunk() else {
        return refused("breaks off");
    };
    let length = u32::from_le_bytes(*length) as usize;
    // An empty tree has no root to begin at.
    if length < 4 || !length.is_multiple_of(4) {
        return refused("holds no search tree");
    }
    let Some(texts) = rest.get(length..) else {
        return refused("breaks off in its search tree");
    };
    if texts
        .split(|&byte| byte == 0)
        .any(|text| text.len() > MAX_MAPPED_BYTES)
    {
        return refused("puts more than 64 bytes in place of a letter");
    }
    Ok(table)
}
