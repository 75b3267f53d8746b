//! Tokenizers: a `tokenizer.json`, and a text after the first zero byte.
//!
//! JSON holds no zero byte, so the text may hold what it likes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use trommel::tokenizer::{BYTES_PER_TOKEN, EncodeError, Encoded, Tokenizer};

/// Tokens that are asked for.
const MAX_TOKENS: usize = 64;

fuzz_target!(|data: &[u8]| {
    let n_json = data.iter().position(|byte| *byte == 0);
    let (json, text) = data.split_at(n_json.unwrap_or(data.len()));
    let tokenizer = match Tokenizer::from_json(json, 64 << 20) {
        Ok(tokenizer) => tokenizer,
        Err(error) => return assert!(!error.to_string().contains('\n'), "{error}"),
    };
    assert!(tokenizer.n_bytes() <= 64 << 20);
    let text = String::from_utf8_lossy(text.get(1..).unwrap_or_default());
    let mut left = &text[..];
    for _ in 0..4 {
        let encoded = tokenizer.encode(left, MAX_TOKENS, &|| false);
        let same = tokenizer.encode(left, MAX_TOKENS, &|| false);
        assert_eq!(encoded, same, "nothing is kept from one text for the next");
        match encoded {
            Ok(encoded) => left = rest(left, &encoded),
            Err(error) => return assert_ne!(error, EncodeError::Late),
        }
    }
});

/// Checks what is said of a text, and gives what was not read of it.
fn rest<'a>(text: &'a str, encoded: &Encoded) -> &'a str {
    let n_tokens = encoded.ids.len();
    assert!(n_tokens <= MAX_TOKENS);
    assert_eq!(encoded.type_ids.len(), n_tokens);
    assert_eq!(encoded.spans.len(), n_tokens);
    assert!((n_tokens..=MAX_TOKENS).contains(&encoded.padded_length()));
    let mut before = (0, 0);
    for &(start, end) in &encoded.spans {
        assert!(text.get(start..end).is_some(), "{start}..{end}");
        assert!(before.0 <= start && before.1 <= end && end <= encoded.end);
        before = (start, end);
    }
    assert!(encoded.end <= MAX_TOKENS * BYTES_PER_TOKEN);
    assert!(encoded.end > 0 || text.is_empty(), "there is a way ahead");
    assert_eq!(encoded.is_cut, encoded.end < text.len());
    text.get(encoded.end..).expect("a letter begins there")
}
